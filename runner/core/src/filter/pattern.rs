//! The four ways of naming something: `=equal`, `~contained`, `/regex/`, `#glob`.

use regex_lite::Regex;

/// One of them, ready to be asked.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// The whole name.
    Equal(String),
    /// A part of the name.
    Contains(String),
    /// A regular expression found anywhere in the name.
    Regex(Regex),
    /// A glob over the whole name.
    Glob {
        /// As it was written.
        text: String,
        /// What it was translated to; nothing where it has only one way to match.
        regex: Option<Regex>,
    },
}

impl Pattern {
    /// Why `text` is no regular expression, for a person.
    pub(super) fn regex(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Self::Regex).map_err(|error| error.to_string())
    }

    /// Why `text` is no glob, for a person.
    pub(super) fn glob(text: &str) -> Result<Self, String> {
        let is_literal = !text.contains(['*', '?', '[', ']', '{', '}', ',', '\\']);
        let compile = |text: String| Regex::new(&text).map_err(|error| error.to_string());
        let regex = if is_literal { None } else { Some(compile(regex_of_glob(text)?)?) };
        Ok(Self::Glob { text: text.to_owned(), regex })
    }

    /// What was written, without the sign of its kind.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Equal(text) | Self::Contains(text) | Self::Glob { text, .. } => text,
            Self::Regex(regex) => regex.as_str(),
        }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Equal(text) | Self::Glob { text, regex: None } => name == text,
            Self::Contains(text) => name.contains(text),
            Self::Regex(regex) | Self::Glob { regex: Some(regex), .. } => regex.is_match(name),
        }
    }

    /// What asking it costs, against comparing two words.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Equal(_) | Self::Glob { regex: None, .. } => 1,
            Self::Contains(_) => 2,
            Self::Regex(_) | Self::Glob { regex: Some(_), .. } => 100,
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.text() == other.text()
    }
}

/// `*` and `?` also match separators, as they do for nextest: names are no paths.
fn regex_of_glob(glob: &str) -> Result<String, String> {
    let mut regex = String::from("^(?s:");
    let mut depth = 0_usize;
    let mut rest = glob.chars();
    while let Some(character) = rest.next() {
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => regex.push_str(&class_of_glob(&mut rest)?),
            '{' => {
                depth += 1;
                regex.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                regex.push(')');
            }
            ',' if depth > 0 => regex.push('|'),
            '\\' => match rest.next() {
                Some(escaped) => push_literal(&mut regex, escaped),
                None => return Err("a backslash with nothing after it".into()),
            },
            other => push_literal(&mut regex, other),
        }
    }
    if depth > 0 {
        return Err("`{` without `}`".into());
    }
    regex.push_str(")$");
    Ok(regex)
}

fn class_of_glob(rest: &mut std::str::Chars<'_>) -> Result<String, String> {
    let mut class = String::from("[");
    let mut is_first = true;
    loop {
        match rest.next() {
            None => return Err("`[` without `]`".into()),
            Some('!' | '^') if class == "[" => {
                class.push('^');
                continue;
            }
            Some(']') if !is_first => break,
            Some('-') => class.push('-'),
            Some(other) => push_literal(&mut class, other),
        }
        is_first = false;
    }
    class.push(']');
    Ok(class)
}

fn push_literal(regex: &mut String, character: char) {
    regex.push_str(&regex_lite::escape(character.encode_utf8(&mut [0; 4])));
}
