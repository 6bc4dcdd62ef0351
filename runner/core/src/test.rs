//! What a suite binary says about the tests registered in it: plain data, no function pointers.
//!
//! Made by the harness from its link-time registry; read by `expand`, also by the runner after
//! the private listing (`protocol::Listing`).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A test: a function registered in a suite, before it is crossed with backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// `area::function`, without the crate's name; unique in its binary.
    pub name: String,
    /// The module part of `name` (`area`), empty at the crate's root.
    pub module: String,
    /// Where the function is.
    pub place: Place,
    /// Axes besides the backend that the test opted in to.
    pub axes: Vec<String>,
    /// Marks on the function, in source order.
    pub marks: Vec<Mark>,
}

/// Marks written once for a whole module by `marks! { … }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleMarks {
    /// The module, without the crate's name; empty for the crate's root.
    pub module: String,
    /// The marks, in source order.
    pub marks: Vec<Mark>,
}

/// A statement on a test, module or filter, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What it says.
    pub kind: MarkKind,
    /// Where it stands.
    pub place: Place,
}

/// What a mark says. Names of backends and capabilities are checked in `expand`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkKind {
    /// Runs only on backends that provide every one of these capabilities; skipped elsewhere.
    Needs(Vec<String>),
    /// Not run on these backends.
    SkipOnBackend {
        /// Backend names or aliases.
        backends: Vec<String>,
        /// Why, for every report.
        reason: Option<String>,
    },
    /// Expected to fail on these backends.
    XfailOnBackend {
        /// Backend names or aliases.
        backends: Vec<String>,
        /// Why, for every report.
        reason: Option<String>,
        /// A pass is then a failure.
        strict: bool,
    },
    /// Wall-clock deadline of one attempt.
    Timeout(Duration),
    /// The group whose limits apply.
    Group(String),
    /// Run only when ignored tests are asked for.
    Ignore {
        /// Why, for every report.
        reason: Option<String>,
    },
}

/// A place in a source file or manifest, for messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The file as the compiler or the manifest loader names it.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
