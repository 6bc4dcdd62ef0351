//! What the executor is given and what it gives back.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use runner_core::event::{Event, SkipCause, Stress};
use runner_core::expand::{Case, Plan as CasePlan};
use runner_core::manifest::FailFast;

use super::executor::Executor;
use crate::again::Again;
use crate::durations::Durations;
use crate::keys::KeySource;

/// Five seconds for what survives SIGKILL, which a supervisor waits for, and as much again and
/// more for a loaded machine.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(15);

/// A suite's binary, as it was when it was listed.
#[derive(Debug)]
pub struct SuiteBinary {
    /// The suite's name in the manifest.
    pub name: String,
    /// Opened at listing: a rebuild may unlink the path, but never changes what runs.
    pub file: File,
    /// Where it was, for messages and as its first argument.
    pub path: PathBuf,
    /// Working directory of its processes.
    pub package_root: PathBuf,
    /// The whole environment of its processes, but for the runner's own variables.
    pub env: Vec<(OsString, OsString)>,
    /// Who runs its tests, and how.
    pub harness: Harness,
}

/// What a binary was linked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harness {
    /// Ours: the binary is its own supervisor.
    Own,
    /// Any other: it is executed once for each attempt.
    Plain {
        /// Tests that it only runs with `--ignored`.
        ignored: BTreeSet<String>,
    },
}

/// The bounds of a run.
#[derive(Debug)]
pub struct Limits {
    /// How many attempts may run at once; 0 is taken as 1.
    pub slots: usize,
    /// How many slots' worth of cases of each group may run at once. A group that is not named
    /// has no limit.
    pub groups: BTreeMap<String, usize>,
    /// When failures end the run.
    pub fail_fast: Option<FailFast>,
    /// How long the run may last.
    pub global_timeout: Option<Duration>,
    /// How often each case is run, if more than once.
    pub stress: Option<Stress>,
    /// How long cases took before.
    pub durations: Durations,
    /// How to run each case again.
    pub again: Again,
    /// How long a supervisor may be silent when something is due from it, beyond every clock of
    /// the attempt; it needs a few seconds where SIGKILL does not help. [`SILENCE_LIMIT`] unless
    /// there is a reason.
    pub silence_limit: Duration,
    /// Room for the captured output of one attempt.
    pub capture_limit_bytes: usize,
    /// What every random choice of a body is derived from.
    pub seed: u64,
    /// Where output and hang reports are written. Must exist.
    pub run_dir: PathBuf,
    /// Where fds 1 and 2 of attempts go.
    pub raw_output: RawOutput,
    /// Whose captured output is written to a file.
    pub keep_output: KeepOutput,
    /// Where keys come from: `t` asks what everything does that runs, Enter how far the run is.
    pub keys: KeySource,
}

/// Where fds 1 and 2 of attempts go.
#[derive(Debug)]
pub enum RawOutput {
    /// To those of the runner.
    Inherit,
    /// To this file, opened for appending.
    File(File),
}

/// Whose captured output is written to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepOutput {
    /// Of everything but a plain pass or skip.
    Notable,
    /// Of every attempt that wrote something.
    Every,
}

/// What is not in the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Cases that were not started, or not as often as they should, because the run was ended.
    pub not_started: usize,
    /// Whether somebody asked for the end of the run.
    pub end: RunEnd,
    /// What went wrong beside the cases, for a person: files that could not be written, processes
    /// that did not die.
    pub problems: Vec<String>,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunEnd {
    /// Nothing was left to do, or a limit of the run's own was reached.
    #[default]
    ByItself,
    /// A signal asked for it.
    Interrupted,
}

/// The run could not be carried out at all; outcomes of cases are never errors.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}")]
pub struct ExecuteError {
    action: String,
    source: io::Error,
}

impl ExecuteError {
    /// `action` completes "cannot …" and names its subject.
    pub(super) fn new(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { action: action.into(), source: source.into() }
    }
}

/// Runs every case that is to be run, tells the rest as skipped, and returns when nothing of the
/// run is left: no process, no socket, no temporary folder.
///
/// `sink` gets the events in order, between [`Event::RunStarted`] and [`Event::RunFinished`],
/// which are the caller's; [`Event::Tick`] comes ten times a second, whatever else happens. It is
/// called from the loop: what it does, everything waits for.
///
/// SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT, SIGUSR1 and SIGCHLD are blocked in the calling thread
/// meanwhile. The caller
/// must have no other thread (one that does not block them would be killed by them, and the
/// process with it), and no child it waits for itself. This process stays a child subreaper.
///
/// # Errors
/// What the kernel says where there can be no run without it: epoll, signalfd, temporary folder.
pub fn run(
    binaries: &[SuiteBinary],
    cases: Vec<Case>,
    limits: &Limits,
    sink: &mut dyn FnMut(&Event),
) -> Result<Summary, ExecuteError> {
    let (mut to_run, not_run): (Vec<Case>, Vec<Case>) =
        cases.into_iter().partition(|case| case.plan == CasePlan::Run);
    for event in not_run.iter().filter_map(skipped) {
        sink(&event);
    }
    // A run may be long: what it does not need is given back.
    drop(not_run);
    to_run.shrink_to_fit();
    Executor::new(binaries, to_run, limits, sink)?.run()
}

fn skipped(case: &Case) -> Option<Event> {
    let (cause, reason) = match &case.plan {
        CasePlan::Run => return None,
        CasePlan::Lacking { reason, .. } => (SkipCause::Needs, reason),
        CasePlan::Skip { reason, .. } => (SkipCause::Mark, reason),
        CasePlan::Ignored { reason, .. } => (SkipCause::Ignored, reason),
        CasePlan::Unavailable { reason } => (SkipCause::Unavailable, reason),
    };
    Some(Event::CaseSkipped { case: case.name(), cause, reason: reason.clone() })
}
