//! Which cases: nextest's filterset grammar, with `backend()` and `mark()` added.
//!
//! `manifest` parses the filters of overrides, the faces those of the command line; `expand`
//! asks them about cases. `deps()`, `rdeps()` and `platform()` ask things of cargo's graph that
//! nobody here knows: they are refused by name.

mod parse;
mod pattern;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Source};

use pattern::Pattern;

/// A parsed filterset expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    root: Node,
}

/// The names an expression may ask for. One that matches none of them is a typo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// Canonical names and aliases.
    pub backends: BTreeSet<String>,
    /// Cargo packages of the suites.
    pub packages: BTreeSet<String>,
    /// Test targets of the suites.
    pub binaries: BTreeSet<String>,
    /// `package::target`.
    pub binary_ids: BTreeSet<String>,
}

/// Where an expression stands, which decides what it may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// On the command line: everything.
    CommandLine,
    /// `default-filter` of a profile: not `default()`, which would be itself.
    DefaultFilter,
    /// `filter` of an override: not `group()` and `mark()`, which overrides decide.
    Override,
}

/// What expressions ask about: one case, or one test on one backend.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// `area::test`.
    pub test: &'a str,
    /// `area::test::backend[::axis…]`, which is what nextest sees as the test's name.
    pub id: &'a str,
    /// Name of the test target.
    pub binary: &'a str,
    /// `package::target`.
    pub binary_id: &'a str,
    /// Cargo package.
    pub package: &'a str,
    /// Canonical name of the backend, then its aliases.
    pub backend: &'a [&'a str],
    /// Its group, if it has one.
    pub group: Option<&'a str>,
    /// Kinds of the marks in force on it.
    pub marks: &'a BTreeSet<&'static str>,
    /// The profile's `default-filter`; everything where there is none.
    pub default: Option<&'a Filter>,
}

/// What is wrong with an expression, and at which of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Bytes of the expression.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// Said beside the underlined bytes; may be empty.
    pub label: String,
    /// What could be done about it.
    pub hint: Option<String>,
}

/// The group of cases that are in none, as nextest names it.
pub const GLOBAL_GROUP: &str = "@global";

/// Words that `mark()` knows.
pub const MARKS: [&str; 6] =
    ["needs", "skip_on_backend", "xfail_on_backend", "timeout", "group", "ignore"];

/// What every test of a suite is for cargo.
const KIND: &str = "test";

#[derive(Clone, Debug, PartialEq)]
enum Node {
    All,
    None,
    Default,
    Ask(Question, Pattern),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Test,
    Binary,
    BinaryId,
    Package,
    Kind,
    Group,
    Backend,
    Mark,
}

impl Filter {
    /// Parses an expression.
    ///
    /// # Errors
    /// The first thing the grammar has no reading for, and every name that is not in the
    /// vocabulary up to there.
    pub fn parse(
        text: &str,
        position: Position,
        vocabulary: &Vocabulary,
    ) -> Result<Self, Vec<FilterError>> {
        parse::parse(text, position, vocabulary).map(|root| Self { root })
    }

    /// Whether the subject is among what the expression names.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.root.matches(subject)
    }
}

impl FilterError {
    /// With the bytes it underlines, `offset` being where the expression begins in `source`.
    pub fn into_diagnostic(self, source: &Arc<Source>, offset: usize) -> Diagnostic {
        let span = self.span.start + offset..self.span.end + offset;
        self.into_diagnostic_about(source, &span)
    }

    /// With all of `span` underlined, where the expression's bytes are not those of `source`.
    pub fn into_diagnostic_about(self, source: &Arc<Source>, span: &Range<usize>) -> Diagnostic {
        let diagnostic =
            Diagnostic::new(self.message).at_span(source, span.clone()).label(self.label);
        match self.hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    }
}

impl Node {
    /// Both of them. Answers do not depend on who is asked first: the cheaper one is.
    fn both(left: Self, right: Self) -> Self {
        let (first, second) = cheaper_first(left, right);
        Self::And(first, second)
    }

    /// Either of them.
    fn either(left: Self, right: Self) -> Self {
        let (first, second) = cheaper_first(left, right);
        Self::Or(first, second)
    }

    fn cost(&self) -> usize {
        match self {
            Self::All | Self::None => 0,
            Self::Default => 200,
            Self::Ask(_, pattern) => pattern.cost(),
            Self::Not(node) => node.cost(),
            Self::And(left, right) | Self::Or(left, right) => left.cost() + right.cost(),
        }
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Default => subject.default.is_none_or(|filter| filter.matches(subject)),
            Self::Ask(question, pattern) => question.holds(pattern, subject),
            Self::Not(node) => !node.matches(subject),
            Self::And(left, right) => left.matches(subject) && right.matches(subject),
            Self::Or(left, right) => left.matches(subject) || right.matches(subject),
        }
    }
}

fn cheaper_first(left: Node, right: Node) -> (Box<Node>, Box<Node>) {
    let is_ordered = left.cost() <= right.cost();
    let (first, second) = if is_ordered { (left, right) } else { (right, left) };
    (Box::new(first), Box::new(second))
}

impl Question {
    const ALL: [Self; 8] = [
        Self::Test,
        Self::Binary,
        Self::BinaryId,
        Self::Package,
        Self::Kind,
        Self::Group,
        Self::Backend,
        Self::Mark,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Binary => "binary",
            Self::BinaryId => "binary_id",
            Self::Package => "package",
            Self::Kind => "kind",
            Self::Group => "group",
            Self::Backend => "backend",
            Self::Mark => "mark",
        }
    }

    /// A test is asked by its own name and by its case's id, so that an expression means the
    /// same here and under nextest, where the id is the name.
    fn holds(self, pattern: &Pattern, subject: &Subject<'_>) -> bool {
        match self {
            Self::Test => pattern.matches(subject.test) || pattern.matches(subject.id),
            Self::Binary => pattern.matches(subject.binary),
            Self::BinaryId => pattern.matches(subject.binary_id),
            Self::Package => pattern.matches(subject.package),
            Self::Kind => pattern.matches(KIND),
            Self::Group => pattern.matches(subject.group.unwrap_or(GLOBAL_GROUP)),
            Self::Backend => subject.backend.iter().any(|name| pattern.matches(name)),
            Self::Mark => subject.marks.iter().any(|mark| pattern.matches(mark)),
        }
    }

    /// The names that exist, where they are known before anything is listed.
    fn known(self, vocabulary: &Vocabulary) -> Option<Vec<&str>> {
        let set = match self {
            Self::Test | Self::Group => return None,
            Self::Kind => return Some(vec![KIND]),
            Self::Mark => return Some(MARKS.to_vec()),
            Self::Binary => &vocabulary.binaries,
            Self::BinaryId => &vocabulary.binary_ids,
            Self::Package => &vocabulary.packages,
            Self::Backend => &vocabulary.backends,
        };
        Some(set.iter().map(String::as_str).collect())
    }
}

#[cfg(test)]
mod tests;
