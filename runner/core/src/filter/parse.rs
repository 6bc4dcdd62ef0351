//! The grammar. From loosest to tightest: `or | +`, then `and & -`, then `not !`, then
//! parentheses and questions.

use std::ops::Range;

use super::pattern::Pattern;
use super::{FilterError, Node, Position, Question, Vocabulary};
use crate::diagnostic::nearest;

/// Deeper expressions are refused: the parser and the matcher recurse.
const DEPTH_LIMIT: usize = 100;

/// Parses a whole expression.
pub(super) fn parse(
    text: &str,
    position: Position,
    vocabulary: &Vocabulary,
) -> Result<Node, Vec<FilterError>> {
    let mut parser = Parser { text, at: 0, depth: 0, position, vocabulary, typos: Vec::new() };
    let parsed = parser.whole();
    let mut errors = parser.typos;
    match parsed {
        Ok(node) if errors.is_empty() => Ok(node),
        Ok(_) => Err(errors),
        Err(error) => {
            errors.push(*error);
            Err(errors)
        }
    }
}

type Parsed<T> = Result<T, Box<FilterError>>;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    position: Position,
    vocabulary: &'a Vocabulary,
    typos: Vec<FilterError>,
}

#[derive(Clone, Copy)]
enum Operator {
    Or,
    And,
    Without,
}

/// What other languages write, and what is meant.
const FOREIGN_OPERATORS: [(&str, &str); 5] =
    [("||", "or"), ("&&", "and"), ("OR", "or"), ("AND", "and"), ("NOT", "not")];

/// Questions of nextest's that are about cargo's graph or the build.
const REFUSED_QUESTIONS: [&str; 3] = ["deps", "rdeps", "platform"];

impl<'a> Parser<'a> {
    fn whole(&mut self) -> Parsed<Node> {
        self.skip_space();
        if self.rest().is_empty() {
            return Err(self.error(self.at..self.at, "an empty filterset").hint_is("all()"));
        }
        let node = self.union()?;
        if self.rest().is_empty() {
            return Ok(node);
        }
        if self.rest().starts_with(')') {
            return Err(self.error(self.at..self.at + 1, "`)` without `(`"));
        }
        Err(self.unexpected("`and`, `or`, `-` or the end"))
    }

    fn union(&mut self) -> Parsed<Node> {
        let mut left = self.intersection()?;
        while let Some(Operator::Or) = self.peek_operator() {
            self.take_operator();
            let right = self.intersection()?;
            left = Node::either(left, right);
        }
        Ok(left)
    }

    fn intersection(&mut self) -> Parsed<Node> {
        let mut left = self.complement()?;
        loop {
            match self.peek_operator() {
                Some(Operator::And) => {
                    self.take_operator();
                    left = Node::both(left, self.complement()?);
                }
                Some(Operator::Without) => {
                    self.take_operator();
                    let right = Node::Not(Box::new(self.complement()?));
                    left = Node::both(left, right);
                }
                Some(Operator::Or) | None => return Ok(left),
            }
        }
    }

    fn complement(&mut self) -> Parsed<Node> {
        self.skip_space();
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            let message = format!("nested deeper than {DEPTH_LIMIT}");
            return Err(self.error(self.at..self.at + 1, message));
        }
        let node = if self.take("!") || self.take_word("not") {
            Node::Not(Box::new(self.complement()?))
        } else if self.rest().starts_with('(') {
            self.parenthesised()?
        } else {
            self.question()?
        };
        self.depth -= 1;
        self.skip_space();
        Ok(node)
    }

    fn parenthesised(&mut self) -> Parsed<Node> {
        let open = self.at..self.at + 1;
        self.at += 1;
        let node = self.union()?;
        if self.take(")") {
            return Ok(node);
        }
        if self.rest().is_empty() {
            return Err(self.error(open, "`(` without `)`"));
        }
        Err(self.unexpected("`and`, `or`, `-` or `)`"))
    }

    fn question(&mut self) -> Parsed<Node> {
        let start = self.at;
        let word = self.identifier();
        if word.is_empty() {
            return Err(self.unexpected("a question such as `test(…)` or `backend(…)`"));
        }
        self.skip_space();
        if !self.rest().starts_with('(') {
            return Err(self.bare_word(start..start + word.len()));
        }
        match word {
            "all" => self.without_argument(Node::All),
            "none" => self.without_argument(Node::None),
            "default" => self.default(start..start + word.len()),
            _ => self.asked(start..start + word.len()),
        }
    }

    fn without_argument(&mut self, node: Node) -> Parsed<Node> {
        self.at += 1;
        self.skip_space();
        if self.take(")") {
            return Ok(node);
        }
        Err(self.unexpected("`)`: this takes no argument"))
    }

    fn default(&mut self, word: Range<usize>) -> Parsed<Node> {
        if self.position == Position::DefaultFilter {
            return Err(self.error(word, "`default()` within the default filter is itself"));
        }
        self.without_argument(Node::Default)
    }

    fn asked(&mut self, word: Range<usize>) -> Parsed<Node> {
        let name = &self.text[word.clone()];
        let Some(question) = Question::ALL.into_iter().find(|question| question.word() == name)
        else {
            return Err(self.unknown_question(word));
        };
        self.check_position(question, word)?;
        self.at += 1;
        self.skip_space();
        let start = self.at;
        let pattern = self.pattern(question)?;
        let span = start..self.at;
        self.skip_space();
        if !self.take(")") {
            return Err(self.unexpected("`)`"));
        }
        self.check_vocabulary(question, &pattern, span);
        Ok(Node::Ask(question, pattern))
    }

    fn check_position(&self, question: Question, word: Range<usize>) -> Parsed<()> {
        match (self.position, question) {
            (Position::Override, Question::Group | Question::Mark) => {
                let message = format!("`{}()` asks for what overrides decide", question.word());
                Err(self.error(word, message))
            }
            (
                Position::CommandLine | Position::DefaultFilter | Position::Override,
                Question::Test
                | Question::Binary
                | Question::BinaryId
                | Question::Package
                | Question::Kind
                | Question::Backend
                | Question::Group
                | Question::Mark,
            ) => Ok(()),
        }
    }

    fn check_vocabulary(&mut self, question: Question, pattern: &Pattern, span: Range<usize>) {
        let Some(known) = question.known(self.vocabulary) else {
            return;
        };
        if known.iter().any(|name| pattern.matches(name)) {
            return;
        }
        let hint = match nearest(pattern.text(), known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        let what = question.word();
        self.typos.push(FilterError {
            span,
            message: format!("no {what} matches `{}`", pattern.text()),
            label: String::new(),
            hint: Some(hint),
        });
    }

    fn pattern(&mut self, question: Question) -> Parsed<Pattern> {
        let start = self.at;
        if self.take("/") {
            return self.regex(start);
        }
        if self.take("=") {
            return self.literal().map(Pattern::Equal);
        }
        if self.take("~") {
            return self.literal().map(Pattern::Contains);
        }
        if self.take("#") {
            return self.glob(start);
        }
        match question {
            Question::Test => self.literal().map(Pattern::Contains),
            Question::Kind => self.literal().map(Pattern::Equal),
            Question::Binary
            | Question::BinaryId
            | Question::Package
            | Question::Group
            | Question::Backend
            | Question::Mark => self.glob(start),
        }
    }

    fn regex(&mut self, start: usize) -> Parsed<Pattern> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((offset, character)) = characters.next() {
            match character {
                '/' => {
                    self.at += offset + 1;
                    let wrong =
                        |why| self.error(start..self.at, "not a regular expression").says(why);
                    return Pattern::regex(&text).map_err(wrong);
                }
                // `\/` is the only escape of ours; all others are the expression's own.
                '\\' => match characters.next() {
                    Some((_, '/')) => text.push('/'),
                    Some((_, other)) => text.extend(['\\', other]),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(self.error(start..self.text.len(), "a regular expression without its closing `/`"))
    }

    fn glob(&mut self, start: usize) -> Parsed<Pattern> {
        let text = self.literal()?;
        Pattern::glob(&text).map_err(|why| self.error(start..self.at, "not a glob").says(why))
    }

    /// Text up to the closing parenthesis, escapes resolved, space around it dropped.
    fn literal(&mut self) -> Parsed<String> {
        self.skip_space();
        let start = self.at;
        let mut text = String::new();
        loop {
            let Some(character) = self.rest().chars().next() else {
                return Err(self.error(start..self.at, "`(` without `)`"));
            };
            match character {
                ')' => break,
                ',' => {
                    let error = self.error(self.at..self.at + 1, "`,` must be escaped");
                    return Err(error.hint_is("\\,"));
                }
                '\\' => text.push(self.escape()?),
                other => {
                    text.push(other);
                    self.at += other.len_utf8();
                }
            }
        }
        text.truncate(text.trim_end().len());
        if text.is_empty() {
            return Err(self.error(start..self.at + 1, "nothing to match against"));
        }
        Ok(text)
    }

    fn escape(&mut self) -> Parsed<char> {
        let start = self.at;
        self.at += 1;
        let Some(kind) = self.rest().chars().next() else {
            return Err(self.error(start..self.at, "a backslash with nothing after it"));
        };
        self.at += kind.len_utf8();
        match kind {
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            '\\' | '/' | ')' | ',' => Ok(kind),
            'u' => self.unicode(start),
            _ => {
                let error = self.error(start..self.at, "an escape nobody knows");
                Err(error.says("known are \\n \\r \\t \\\\ \\/ \\) \\, \\u{…}"))
            }
        }
    }

    fn unicode(&mut self, start: usize) -> Parsed<char> {
        let end = self.rest().find('}').map_or(self.text.len(), |offset| self.at + offset);
        let digits = self.text[self.at..end].strip_prefix('{').unwrap_or_default();
        let value = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        self.at = (end + 1).min(self.text.len());
        value.ok_or_else(|| self.error(start..self.at, "not a character: write `\\u{1F600}`"))
    }

    fn peek_operator(&self) -> Option<Operator> {
        let rest = self.rest();
        match rest.chars().next()? {
            '|' if !rest.starts_with("||") => Some(Operator::Or),
            '+' => Some(Operator::Or),
            '&' if !rest.starts_with("&&") => Some(Operator::And),
            '-' => Some(Operator::Without),
            'o' if starts_with_word(rest, "or") => Some(Operator::Or),
            'a' if starts_with_word(rest, "and") => Some(Operator::And),
            _ => None,
        }
    }

    fn take_operator(&mut self) {
        if !self.take_word("or") && !self.take_word("and") {
            self.at += 1;
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let is_next = self.rest().starts_with(token);
        if is_next {
            self.at += token.len();
        }
        is_next
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_next = starts_with_word(self.rest(), word);
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    fn identifier(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn unexpected(&self, wanted: &str) -> Box<FilterError> {
        let rest = self.rest();
        for (foreign, ours) in FOREIGN_OPERATORS {
            if rest.starts_with(foreign) {
                let span = self.at..self.at + foreign.len();
                let error = self.error(span, format!("`{foreign}` is no operator"));
                return error.hint_is(ours);
            }
        }
        match rest.chars().next() {
            None => self.error(self.at..self.at, format!("expected {wanted}, found the end")),
            Some(found) => {
                let span = self.at..self.at + found.len_utf8();
                self.error(span, format!("expected {wanted}, found `{found}`"))
            }
        }
    }

    fn unknown_question(&self, word: Range<usize>) -> Box<FilterError> {
        let name = &self.text[word.clone()];
        if REFUSED_QUESTIONS.contains(&name) {
            let message = format!("`{name}()` is nextest's, and not answered here");
            return self.error(word, message);
        }
        let known = Question::ALL.into_iter().map(Question::word).chain(["all", "none", "default"]);
        let error = self.error(word, format!("`{name}()` is no question"));
        match nearest(name, known) {
            Some(near) => error.hint_is(&format!("{near}()")),
            None => error.says("see `runner --help` for those there are"),
        }
    }

    fn bare_word(&self, word: Range<usize>) -> Box<FilterError> {
        let name = &self.text[word.clone()];
        for (foreign, ours) in FOREIGN_OPERATORS {
            if name == foreign {
                return self.error(word, format!("`{name}` is no operator")).hint_is(ours);
            }
        }
        let meant = format!("test({name})");
        self.error(word, format!("`{name}` is no expression")).hint_is(&meant)
    }

    fn error(&self, span: Range<usize>, message: impl Into<String>) -> Box<FilterError> {
        Box::new(FilterError { span, message: message.into(), label: String::new(), hint: None })
    }
}

impl FilterError {
    fn hint_is(mut self: Box<Self>, meant: &str) -> Box<Self> {
        self.hint = Some(format!("did you mean `{meant}`?"));
        self
    }

    fn says(mut self: Box<Self>, label: impl Into<String>) -> Box<Self> {
        self.label = label.into();
        self
    }
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(|c: char| c.is_whitespace() || c == '(')
    })
}
