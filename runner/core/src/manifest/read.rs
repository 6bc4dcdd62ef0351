//! TOML with spans, read key by key; whatever is wrong is noted and reading goes on.
//!
//! A [`Table`] knows a key because somebody asked for it: what is left when it is closed is
//! unknown, and what was asked for is what a typo is compared with.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::LONGEST;
use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::test::Place;

/// The text, and what was found wrong with it so far.
pub(super) struct Reader {
    source: Arc<Source>,
    errors: RefCell<Diagnostics>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table that is being read.
pub(super) struct Table<'a> {
    reader: &'a Reader,
    /// As messages call it: `[backends.fork]`.
    title: String,
    /// Its header.
    span: Range<usize>,
    entries: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
    refused: Cell<&'static [&'static str]>,
}

/// Any value that was asked for, not yet taken for anything.
#[derive(Clone)]
pub(super) struct Value<'a> {
    reader: &'a Reader,
    /// As messages call it: `capture`.
    name: String,
    value: &'a DeValue<'a>,
    pub(super) span: Range<usize>,
}

impl Reader {
    pub(super) fn new(source: &Arc<Source>) -> Self {
        Self { source: Arc::clone(source), errors: RefCell::default() }
    }

    /// What was found wrong, in the order of the file.
    pub(super) fn into_errors(self) -> Diagnostics {
        let mut errors = self.errors.into_inner();
        errors.sort();
        errors
    }

    pub(super) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        Place { file: self.source.name.clone(), line: self.source.line(span.start) }
    }

    /// Notes an error at these bytes.
    pub(super) fn wrong(&self, span: &Range<usize>, message: impl Into<String>) {
        self.note(Diagnostic::new(message).at_span(&self.source, span.clone()));
    }

    /// Notes an error that is probably a typo of something known.
    pub(super) fn typo<'k>(
        &self,
        at: &Located<String>,
        message: impl Into<String>,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let diagnostic = Diagnostic::new(message).at_span(&self.source, at.span.clone());
        self.note(diagnostic.suggest(&at.value, known));
    }

    pub(super) fn note(&self, diagnostic: Diagnostic) {
        self.errors.borrow_mut().push(diagnostic);
    }
}

impl<'a> Table<'a> {
    pub(super) fn new(
        reader: &'a Reader,
        title: impl Into<String>,
        span: Range<usize>,
        entries: &'a DeTable<'a>,
    ) -> Self {
        let title = title.into();
        Self { reader, title, span, entries, asked: RefCell::default(), refused: Cell::new(&[]) }
    }

    pub(super) fn reader(&self) -> &'a Reader {
        self.reader
    }

    /// Its header in the file.
    pub(super) fn place(&self) -> Place {
        self.reader.place(&self.span)
    }

    /// Keys that are known elsewhere and deliberately not obeyed: each is an error of its own.
    pub(super) fn refuse(&self, keys: &'static [&'static str]) {
        self.refused.set(keys);
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.asked.borrow_mut().push(key);
        let value = self.entries.get(key)?;
        Some(Value {
            reader: self.reader,
            name: key.to_owned(),
            value: value.get_ref(),
            span: value.span(),
        })
    }

    /// Notes an error about the table as a whole.
    pub(super) fn wrong(&self, message: &str) {
        self.reader.wrong(&self.span, format!("{}: {message}", self.title));
    }

    /// The value of a key that must be there.
    pub(super) fn demand(&self, key: &'static str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.reader.wrong(&self.span, format!("{} says no `{key}`", self.title));
        }
        value
    }

    /// Every entry in the order of the file, for tables whose keys are names.
    pub(super) fn entries(&self) -> Vec<(Located<String>, Value<'a>)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries.into_iter().map(|(key, value)| self.entry(key, value)).collect()
    }

    /// Notes every key that nobody asked for.
    pub(super) fn close(self) {
        for (key, _) in self.entries() {
            if !self.asked.borrow().contains(&key.value.as_str()) {
                self.unknown(&key);
            }
        }
    }

    fn entry(
        &self,
        key: &Spanned<toml::de::DeString<'a>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> (Located<String>, Value<'a>) {
        let name = key.get_ref().to_string();
        let located = Located { value: name.clone(), span: key.span() };
        let value = Value { reader: self.reader, name, value: value.get_ref(), span: value.span() };
        (located, value)
    }

    fn unknown(&self, key: &Located<String>) {
        if self.refused.get().contains(&key.value.as_str()) {
            let message = format!("`{}` is known to nextest and not obeyed here", key.value);
            let diagnostic =
                Diagnostic::new(message).at_span(&self.reader.source, key.span.clone());
            self.reader.note(diagnostic.hint("take it out: a key that does nothing is a trap"));
            return;
        }
        let asked = self.asked.borrow();
        let message = format!("{} has no key `{}`", self.title, key.value);
        self.reader.typo(key, message, asked.iter().copied());
    }
}

impl<'a> Value<'a> {
    pub(super) fn reader(&self) -> &'a Reader {
        self.reader
    }

    pub(super) fn string(&self) -> Option<Located<String>> {
        match self.value.as_str() {
            Some(text) => Some(Located { value: text.to_owned(), span: self.span.clone() }),
            None => self.mistyped("a string"),
        }
    }

    /// A string that is not empty.
    pub(super) fn word(&self) -> Option<Located<String>> {
        let word = self.string()?;
        if word.value.is_empty() {
            self.reader.wrong(&word.span, format!("`{}` is empty", self.name));
            return None;
        }
        Some(word)
    }

    /// A list of any strings.
    pub(super) fn strings(&self) -> Option<Vec<String>> {
        let Some(array) = self.value.as_array() else {
            return self.mistyped("a list of strings");
        };
        let strings = array.iter().filter_map(|item| self.item(item).string());
        Some(strings.map(|string| string.value).collect())
    }

    /// A list of strings without repetition.
    pub(super) fn words(&self) -> Option<Vec<Located<String>>> {
        let Some(array) = self.value.as_array() else {
            return self.mistyped("a list of strings");
        };
        let mut words: Vec<Located<String>> = Vec::new();
        for item in array.iter() {
            let Some(word) = self.item(item).word() else { continue };
            if words.iter().any(|other| other.value == word.value) {
                self.reader.wrong(&word.span, format!("`{}` is said twice", word.value));
            } else {
                words.push(word);
            }
        }
        Some(words)
    }

    /// The same, with at least one string in it.
    pub(super) fn some_words(&self) -> Option<Vec<Located<String>>> {
        let words = self.words()?;
        if words.is_empty() {
            self.reader.wrong(&self.span, format!("`{}` is empty", self.name));
        }
        Some(words)
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.mistyped("`true` or `false`"))
    }

    pub(super) fn integer(&self) -> Option<i64> {
        let integer = self.value.as_integer().and_then(|integer| {
            let digits = integer.as_str().replace('_', "");
            i64::from_str_radix(&digits, integer.radix()).ok()
        });
        integer.or_else(|| self.mistyped("an integer"))
    }

    /// An integer above 0.
    pub(super) fn count(&self) -> Option<usize> {
        match usize::try_from(self.integer()?) {
            Ok(count) if count > 0 => Some(count),
            Ok(_) | Err(_) => {
                self.reader.wrong(&self.span, format!("`{}` must be above 0", self.name));
                None
            }
        }
    }

    /// A finite number above 0.
    pub(super) fn factor(&self) -> Option<f64> {
        let text = match self.value {
            DeValue::Integer(integer) => integer.as_str().replace('_', ""),
            DeValue::Float(float) => float.as_str().replace('_', ""),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return self.mistyped("a number"),
        };
        match text.parse::<f64>() {
            Ok(factor) if factor.is_finite() && factor > 0.0 => Some(factor),
            Ok(_) | Err(_) => {
                self.reader.wrong(&self.span, format!("`{}` must be above 0", self.name));
                None
            }
        }
    }

    /// A span of time as nextest writes it: `"1m 30s"`, `"100ms"`. Never above [`LONGEST`].
    pub(super) fn duration(&self) -> Option<Duration> {
        let text = self.string()?;
        match humantime::parse_duration(&text.value) {
            Ok(duration) => Some(duration.min(LONGEST)),
            Err(error) => {
                let diagnostic = Diagnostic::new(format!("`{}` is no span of time", text.value))
                    .at_span(&self.reader.source, text.span)
                    .label(error.to_string());
                self.reader.note(diagnostic.hint("write `\"60s\"`, `\"1m 30s\"`, `\"100ms\"`"));
                None
            }
        }
    }

    /// A span of time that is not 0.
    pub(super) fn period(&self) -> Option<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() {
            self.reader.wrong(&self.span, format!("`{}` must be above 0", self.name));
            return None;
        }
        Some(duration)
    }

    /// One of a closed set of words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let word = self.string()?;
        let found = choices.iter().find(|(name, _)| *name == word.value);
        if found.is_none() {
            let message = format!("`{}` cannot be `{}`", self.name, word.value);
            self.reader.typo(&word, message, choices.iter().map(|(name, _)| *name));
        }
        found.map(|(_, choice)| *choice)
    }

    /// A table, called so in messages.
    pub(super) fn table(&self, title: impl Into<String>) -> Option<Table<'a>> {
        match self.value.as_table() {
            Some(entries) => Some(Table::new(self.reader, title, self.header(), entries)),
            None => self.mistyped("a table"),
        }
    }

    /// A table whose header is a name elsewhere.
    pub(super) fn table_at(
        &self,
        title: impl Into<String>,
        header: &Range<usize>,
    ) -> Option<Table<'a>> {
        let table = self.table(title)?;
        Some(Table { span: header.clone(), ..table })
    }

    /// A list of tables, `[[…]]`, each called so in messages.
    pub(super) fn tables(&self, title: &str) -> Option<Vec<Table<'a>>> {
        let Some(array) = self.value.as_array() else {
            return self.mistyped("a list of tables");
        };
        Some(array.iter().filter_map(|item| self.item(item).table(title)).collect())
    }

    /// The strings of the lists under `key` in every table of this one, in the order of the
    /// file. What is not of that shape has been noted by whoever read it for its own sake.
    pub(super) fn quiet_lists(&self, key: &str) -> Vec<Located<String>> {
        let tables = self.value.as_table().into_iter().flat_map(DeTable::values);
        let lists =
            tables.filter_map(|table| table.get_ref().as_table()?.get(key)?.get_ref().as_array());
        let items = lists.flat_map(|list| list.iter());
        let mut words: Vec<_> = items
            .filter_map(|item| {
                let value = item.get_ref().as_str()?.to_owned();
                Some(Located { value, span: item.span() })
            })
            .collect();
        words.sort_by_key(|word| word.span.start);
        words
    }

    /// Notes an error about this value: it "must be …".
    pub(super) fn wrong(&self, what: &str) {
        self.reader.wrong(&self.span, format!("`{}` {what}", self.name));
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(super) fn is_string(&self) -> bool {
        self.value.is_str()
    }

    pub(super) fn is_boolean(&self) -> bool {
        self.value.is_bool()
    }

    /// Where the text of a string begins in the file, if it stands there as it is.
    pub(super) fn text_offset(&self) -> Option<usize> {
        let text = self.value.as_str()?;
        let raw = self.reader.source.text.get(self.span.clone())?;
        (raw.len() == text.len() + 2).then_some(self.span.start + 1)
    }

    fn item(&self, item: &'a Spanned<DeValue<'a>>) -> Self {
        Self {
            reader: self.reader,
            name: self.name.clone(),
            value: item.get_ref(),
            span: item.span(),
        }
    }

    /// A table's span is its header; one written inline is pointed at by its opening brace alone,
    /// lest an error underlines half the file.
    fn header(&self) -> Range<usize> {
        let text = self.reader.source.text.get(self.span.clone()).unwrap_or_default();
        let end = text.find('\n').unwrap_or(text.len());
        self.span.start..self.span.start + end
    }

    fn mistyped<T>(&self, wanted: &str) -> Option<T> {
        let found = self.value.type_str();
        let diagnostic = Diagnostic::new(format!("`{}` must be {wanted}", self.name))
            .at_span(&self.reader.source, self.span.clone())
            .label(format!("this is of type {found}"));
        self.reader.note(diagnostic);
        None
    }
}

impl Located<String> {
    /// Notes an error unless the name is safe in ids, shells and file names.
    pub(super) fn check_name(&self, reader: &Reader, what: &str) -> bool {
        let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let is_name = self.value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && self.value.chars().all(is_safe);
        if !is_name {
            let message = format!("`{}` is no name for {what}", self.value);
            let diagnostic = Diagnostic::new(message).at_span(reader.source(), self.span.clone());
            reader.note(
                diagnostic
                    .hint("letters, digits, `_`, `-` and `.` only: it becomes part of case ids"),
            );
        }
        is_name
    }
}
