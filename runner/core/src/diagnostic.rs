//! Errors a person made and can mend: what is wrong, where, and what was probably meant.
//!
//! `manifest`, `filter` and `expand` collect them, all that can be found in one pass; the faces
//! print them whole. Faults of the machine or of ours are not here: those are the error types of
//! the modules they happen in.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::test::Place;

/// Everything that is wrong, in the order it was found. Never empty where it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    message: String,
    position: Position,
    label: String,
    hints: Vec<String>,
}

/// A text that spans point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As messages call it: a path relative to where the user stands, or `--filterset`.
    pub name: String,
    /// Its whole text.
    pub text: String,
}

/// Whether a rendered text has escape sequences in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text alone.
    Plain,
    /// ANSI colours.
    Coloured,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Position {
    Nowhere,
    Line(Place),
    Span(Arc<Source>, Range<usize>),
}

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    /// Adds all of `other`, after what is here.
    pub fn append(&mut self, other: Self) {
        self.list.extend(other.list);
    }

    /// Brings those of one text into its order; those without a place come first.
    pub fn sort(&mut self) {
        self.list.sort_by(|left, right| left.position.key().cmp(&right.position.key()));
    }

    /// True as long as nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The value, if nothing was wrong with it.
    ///
    /// # Errors
    /// What was collected.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The text for a person, without a newline at its end.
    pub fn render(&self, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Coloured => Renderer::styled(),
        };
        let texts: Vec<String> = self.list.iter().map(|one| one.render(&renderer)).collect();
        texts.join("\n\n")
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        Self { list: vec![one] }
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Diagnostics {}

impl Diagnostic {
    /// Something wrong that has no place in a text.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position: Position::Nowhere,
            label: String::new(),
            hints: Vec::new(),
        }
    }

    /// Points at a line whose text is not at hand.
    pub fn at_line(mut self, place: &Place) -> Self {
        self.position = Position::Line(place.clone());
        self
    }

    /// Points at bytes of a text; they are underlined.
    pub fn at_span(mut self, source: &Arc<Source>, span: Range<usize>) -> Self {
        self.position = Position::Span(Arc::clone(source), source.clamp(span));
        self
    }

    /// Says this beside the underlined bytes.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Says this below, as help.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds `did you mean …` if one of `known` is near `word`, else lists what is known.
    pub fn suggest<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        match nearest(word, known.iter().copied()) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => self,
            None => self.hint(format!("known here: {}", known.join(", "))),
        }
    }

    fn render(&self, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(self.message.as_str());
        let mut group: Group<'_> = match &self.position {
            Position::Nowhere => Group::with_title(title),
            Position::Line(place) => {
                title.element(Origin::path(place.file.as_str()).line(place.line as usize))
            }
            Position::Span(source, span) => title.element(
                Snippet::source(source.text.as_str()).path(source.name.as_str()).annotation(
                    AnnotationKind::Primary.span(span.clone()).label(self.label.as_str()),
                ),
            ),
        };
        for hint in &self.hints {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        renderer.render(&[group])
    }
}

impl Position {
    fn key(&self) -> (&str, u32, usize) {
        match self {
            Self::Nowhere => ("", 0, 0),
            Self::Line(place) => (&place.file, place.line, 0),
            Self::Span(source, span) => (&source.name, source.line(span.start), span.start),
        }
    }
}

impl Source {
    /// The line of a byte, counted from 1.
    pub fn line(&self, offset: usize) -> u32 {
        let before = self.text.as_bytes().iter().take(offset);
        let newlines = before.filter(|byte| **byte == b'\n').count();
        u32::try_from(newlines).unwrap_or(u32::MAX - 1) + 1
    }

    fn clamp(&self, span: Range<usize>) -> Range<usize> {
        let end = span.end.min(self.text.len());
        span.start.min(end)..end
    }
}

/// The one of `known` that `word` is most probably a typo of.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // With a third of the longer word wrong it is still a typo: `frok`, `alias` for `aliases`.
    let farthest = |candidate: &str| (word.len().max(candidate.len()) / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= farthest(candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
