//! What happened in a run, as data: the truth every report is made from.
//!
//! A leaf: whoever runs cases produces these, whoever tells a person about them reads these, and
//! neither knows the other. The order within a run: [`Event::RunStarted`] first, then a
//! [`Event::CaseSkipped`] or one started–finished pair an attempt for every case,
//! [`Event::RunFinished`] last. `runner` owns the first and the last; its executor the rest.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::{LeakPolicy, Outcome};

/// Version of everything in this module, as the first line of a recorded run says it.
pub const EVENT_VERSION: u32 = 1;

/// Something that happened. Closed: a new event breaks every reader until it is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Cases are known; nothing has been started yet.
    RunStarted {
        /// [`EVENT_VERSION`] of the writer.
        version: u32,
        /// The run's id, also the name of its folder.
        run: String,
        /// The profile in force.
        profile: String,
        /// The selected backends, in manifest order.
        backends: Vec<String>,
        /// How many suites have cases in this run.
        suites: usize,
        /// How many cases will be run.
        to_run: usize,
        /// How many attempts may run at once.
        slots: usize,
        /// What every random choice of the run is derived from.
        seed: u64,
    },
    /// A case is not run.
    CaseSkipped {
        /// The case.
        case: CaseName,
        /// Which rule said so.
        cause: SkipCause,
        /// Why, for a person.
        reason: String,
    },
    /// An attempt was handed to its supervisor.
    AttemptStarted {
        /// The case.
        case: CaseName,
        /// Which try this is, from 1.
        attempt: u32,
        /// Place among the slots, from 0.
        slot: u32,
    },
    /// An attempt's slow period passed (again).
    AttemptSlow {
        /// The case.
        case: CaseName,
        /// Which try this is, from 1.
        attempt: u32,
        /// Since the attempt started.
        elapsed: Duration,
    },
    /// An attempt is over, and nothing of it is left.
    AttemptFinished(Box<Finished>),
    /// A person or a supervisor of ours asked for the end of the run.
    InterruptRequested {
        /// The signal's number.
        signal: i32,
        /// How it is answered.
        answer: Interrupt,
    },
    /// A supervisor died or fell silent; its attempt was ended from outside.
    SupervisorLost {
        /// Its place among the slots, from 0.
        slot: u32,
        /// The suite it served.
        suite: String,
        /// What is known, for a person.
        message: String,
    },
    /// Nothing runs any more and nothing will.
    RunFinished {
        /// Wall time of the run, without build and listing.
        duration: Duration,
        /// One for each selected backend, in manifest order.
        backends: Vec<BackendCounts>,
        /// Cases that an interrupt or `--max-fail` kept from being started.
        not_started: usize,
        /// The exit code of the runner.
        exit_code: u8,
    },
    /// Time passed. For those who draw; never recorded.
    #[serde(skip)]
    Tick,
}

/// How one attempt ended and what there is to read about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The case.
    pub case: CaseName,
    /// Which try this was, from 1.
    pub attempt: u32,
    /// Place among the slots, from 0.
    pub slot: u32,
    /// The verdict.
    pub outcome: Outcome,
    /// What a leak means for this case.
    pub leak: LeakPolicy,
    /// Wall time of the attempt.
    pub duration: Duration,
    /// Captured output, a file name in the run's folder; none if nothing was captured.
    pub output: Option<PathBuf>,
    /// Hang report, a file name in the run's folder.
    pub hang_report: Option<PathBuf>,
    /// The arguments of `runner` that run this case again.
    pub again: String,
    /// The attempt's seed.
    pub seed: u64,
}

/// A case as messages name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CaseName {
    /// The suite of the manifest.
    pub suite: String,
    /// `area::test::backend[::axis…]`.
    pub id: String,
    /// `area::test`.
    pub test: String,
    /// The backend's canonical name.
    pub backend: String,
}

/// Which rule keeps a case from being run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipCause {
    /// A capability that the backend does not provide.
    Needs,
    /// A `skip_on_backend` mark.
    Mark,
    /// An `ignore` mark, and ignored tests were not asked for.
    Ignored,
    /// The backend cannot run here.
    Unavailable,
}

/// How a request to end the run is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interrupt {
    /// Nothing new is started; what runs is asked to end, with its grace.
    Ask,
    /// What runs is killed.
    Kill,
}

/// What became of one backend's cases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendCounts {
    /// The backend.
    pub backend: String,
    /// Cases that were started.
    pub run: usize,
    /// … that ended as they should (expected failures included).
    pub passed: usize,
    /// … that fail the run.
    pub failed: usize,
    /// … of the passed, those that left processes and were only warned about.
    pub leaked: usize,
    /// … that failed as a mark expects.
    pub xfailed: usize,
    /// … that asked for it while running.
    pub skipped_by_body: usize,
    /// Not started: lacks a capability.
    pub skipped_by_needs: usize,
    /// Not started: `skip_on_backend`.
    pub skipped_by_mark: usize,
    /// Not started: `ignore`.
    pub ignored: usize,
    /// Not started: the backend cannot run here.
    pub unavailable: usize,
}
