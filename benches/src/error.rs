//! What can keep a figure from being measured.

use std::fmt::Display;

/// A side of a figure that could not be measured, or the build before it.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(crate) struct BenchError {
    what: String,
    why: String,
}

/// The result of everything here.
pub(crate) type Result<T, E = BenchError> = std::result::Result<T, E>;

impl BenchError {
    /// What was tried, and why it did not work.
    pub(crate) fn new(what: impl Into<String>, why: impl Display) -> Self {
        Self { what: what.into(), why: why.to_string() }
    }
}

/// Names what was tried.
pub(crate) trait Trying<T> {
    /// The error becomes one about `what`.
    fn trying(self, what: &str) -> Result<T>;
}

impl<T, E: Display> Trying<T> for Result<T, E> {
    fn trying(self, what: &str) -> Result<T> {
        self.map_err(|error| BenchError::new(what, error))
    }
}
