//! What a test body is told about its case, and what it may answer.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runner_core::memory::Memory;
use runner_core::protocol::{Attempt, Done};

/// What a fallible test body returns. Any error will do.
pub type TestResult<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One case, as its body sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Case {
    attempt: Arc<Attempt>,
    memory: &'static Memory,
}

impl Case {
    pub(crate) fn new(attempt: Attempt, memory: &'static Memory) -> Self {
        Self { attempt: Arc::new(attempt), memory }
    }

    /// `area::test::backend[::axis…]`.
    pub fn id(&self) -> &str {
        &self.attempt.case_id
    }

    /// The backend's canonical name.
    pub fn backend(&self) -> &str {
        &self.attempt.backend
    }

    /// The value of an axis the test opted in to.
    pub fn axis(&self, name: &str) -> Option<&str> {
        self.attempt.axes.get(name).map(String::as_str)
    }

    /// All axis values, by axis.
    pub fn axes(&self) -> &BTreeMap<String, String> {
        &self.attempt.axes
    }

    /// Which try this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt.attempt
    }

    /// The slot it runs in, from 0: two attempts that run at the same time never share one.
    pub fn slot(&self) -> u32 {
        self.attempt.slot
    }

    /// For whatever the body randomises; printed with a failure, part of the line that runs it
    /// again.
    pub fn seed(&self) -> u64 {
        self.attempt.seed
    }

    /// What is left of the deadline; `None` without one. Time while the attempt was stopped or
    /// debugged does not count.
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.attempt.clocks.deadline?;
        Some(deadline.saturating_sub(self.memory.elapsed()))
    }

    /// A folder of this attempt's own, made on first use and removed after it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn temp_dir(&self) -> io::Result<PathBuf> {
        private_folder(&self.attempt.temp_dir.join("tmp"))
    }

    /// As [`temp_dir`](Self::temp_dir), for sockets: its path stays short, because a socket's
    /// path may have no more than 107 bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn runtime_dir(&self) -> io::Result<PathBuf> {
        private_folder(&self.attempt.temp_dir.join("rt"))
    }
}

fn private_folder(path: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Ok(path.to_owned())
}

/// What a test body may return.
pub trait Verdict {
    /// The attempt's word about itself.
    fn done(self) -> Done;
}

impl Verdict for () {
    fn done(self) -> Done {
        Done::Passed
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> Verdict for Result<(), E> {
    fn done(self) -> Done {
        match self {
            Ok(()) => Done::Passed,
            Err(error) => Done::Failed { message: chain_of(&*error.into()) },
        }
    }
}

/// `what: because: because`.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        append(&mut text, cause);
        source = cause.source();
    }
    text
}

/// Many errors print their source themselves: once is enough.
fn append(text: &mut String, cause: &dyn Display) {
    let cause = cause.to_string();
    if !text.ends_with(&cause) {
        text.push_str(": ");
        text.push_str(&cause);
    }
}

/// Ends the test as skipped; `skip!` calls it.
#[doc(hidden)]
pub fn skip(reason: String) -> ! {
    std::panic::resume_unwind(Box::new(SkipRequest(reason)))
}

pub(crate) struct SkipRequest(pub(crate) String);
