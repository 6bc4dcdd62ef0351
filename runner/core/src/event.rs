//! What happened in a run, as data: the truth every report is made from.
//!
//! A leaf: whoever runs cases produces these, whoever tells a person about them reads these, and
//! neither knows the other. The order within a run: [`Event::RunStarted`] first, then a
//! [`Event::CaseSkipped`] or one started–finished pair an attempt for every case,
//! [`Event::RunFinished`] last. `runner` owns the first and the last; its executor the rest.
//!
//! A case has several attempts where it is tried again after a failure, and several *rounds* of
//! them under stress. The last attempt of a round is the one that decides: see
//! [`Finished::standing`].

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::{FlakyPolicy, Outcome, Policy, Standing};
use crate::protocol::{Process, ResourceDelta};

/// Version of everything in this module, as the first line of a recorded run says it.
pub const EVENT_VERSION: u32 = 2;

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
        /// How often each case is run, if more than once.
        stress: Option<Stress>,
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
        /// Which round of stress it belongs to, from 1.
        round: u32,
        /// Place among the slots, from 0.
        slot: u32,
    },
    /// An attempt's slow period passed (again).
    AttemptSlow {
        /// The case.
        case: CaseName,
        /// Which try this is, from 1.
        attempt: u32,
        /// Which round of stress it belongs to, from 1.
        round: u32,
        /// Since the attempt started.
        elapsed: Duration,
    },
    /// An attempt is over, and nothing of it is left.
    AttemptFinished(Box<Finished>),
    /// The machine has less time than deadlines take for granted. Nothing was changed.
    ScaleProposed {
        /// A `--timeout-scale` that would make up for it, in percent.
        percent: u32,
        /// What speaks for it, for a person.
        reasons: Vec<String>,
    },
    /// A case was to be tried again, and will not be: the run ends before. Its last attempt
    /// decides after all.
    RetryForgone {
        /// The case.
        case: CaseName,
        /// Which round of stress its last attempt belongs to, from 1.
        round: u32,
    },
    /// Nothing more is started, for a reason of the run's own.
    RunCut {
        /// Which.
        cause: Cut,
    },
    /// A person or a supervisor of ours asked for the end of the run.
    InterruptRequested {
        /// The signal's number.
        signal: i32,
        /// How it is answered.
        answer: Interrupt,
    },
    /// Somebody wanted to know what an attempt is doing; it was not disturbed.
    AttemptInspected {
        /// The case.
        case: CaseName,
        /// Which try this is, from 1.
        attempt: u32,
        /// Which round of stress it belongs to, from 1.
        round: u32,
        /// Since the attempt started.
        elapsed: Duration,
        /// What it is doing, a file name in the run's folder; none if that could not be written.
        report: Option<PathBuf>,
    },
    /// The whole run stands still, all clocks included.
    RunPaused {
        /// Attempts under way.
        running: usize,
    },
    /// It goes on.
    RunResumed {
        /// How long it stood still.
        after: Duration,
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
    /// Somebody wants to know how far the run is. For those who draw; never recorded.
    #[serde(skip)]
    StatusAsked,
}

/// How one attempt ended and what there is to read about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The case.
    pub case: CaseName,
    /// Which try this was, from 1.
    pub attempt: u32,
    /// How many tries there can be.
    pub attempts: u32,
    /// Which round of stress it belongs to, from 1.
    pub round: u32,
    /// After what time the case is tried again, if it is.
    pub retry: Option<Duration>,
    /// Place among the slots, from 0.
    pub slot: u32,
    /// The verdict on this attempt.
    pub outcome: Outcome,
    /// What is held against the case.
    pub policy: Policy,
    /// Wall time of the attempt.
    pub duration: Duration,
    /// Captured output, a file name in the run's folder; none if nothing was captured.
    pub output: Option<PathBuf>,
    /// Hang report, a file name in the run's folder.
    pub hang_report: Option<PathBuf>,
    /// Processes that were left and may be.
    pub allowed_leaks: Vec<Process>,
    /// What it left beside processes, if that was asked for.
    pub resources: Option<ResourceDelta>,
    /// The arguments of `runner` that run this case again.
    pub again: String,
    /// The attempt's seed.
    pub seed: u64,
}

/// How often each case is run under stress, never twice at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stress {
    /// So many times; above 0.
    Count(u32),
    /// Until the run is ended.
    Endless,
    /// Once, and again as long as less time than this has passed.
    For(Duration),
}

/// Why nothing more is started, where nobody asked for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Cut {
    /// So many cases have failed.
    MaxFail {
        /// The limit that was reached.
        failures: usize,
        /// What becomes of what runs.
        running: CutRunning,
    },
    /// The run has lasted as long as it may; what runs is asked to end.
    GlobalTimeout {
        /// The limit that was reached.
        after: Duration,
    },
}

/// What becomes of running attempts when nothing more is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutRunning {
    /// They end by themselves.
    Awaited,
    /// They are asked to end.
    Asked,
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
    /// … that ended only because the run did.
    pub interrupted: usize,
    /// … of the passed, those that did only when they were tried again.
    pub flaky: usize,
    /// … of the passed, those that left processes and were only warned about.
    pub leaked: usize,
    /// … of the passed, those whose deadline passed and were only warned about.
    pub timed_out: usize,
    /// … that failed as a mark expects.
    pub xfailed: usize,
    /// … of the passed, those of which a mark expects a failure.
    pub xpassed: usize,
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

impl Finished {
    /// Whether this attempt decides what becomes of its case (in its round).
    pub fn is_last(&self) -> bool {
        self.retry.is_none()
    }

    /// Whether the case passed only when it was tried again.
    pub fn is_flaky(&self) -> bool {
        self.attempt > 1 && self.outcome.standing(self.policy) == Standing::Good
    }

    /// What this attempt means for the run if it is the last, failed tries before it included.
    pub fn standing(&self) -> Standing {
        match (self.outcome.standing(self.policy), self.policy.flaky) {
            (Standing::Good, FlakyPolicy::Fail) if self.attempt > 1 => Standing::Bad,
            (standing, FlakyPolicy::Fail | FlakyPolicy::Pass) => standing,
        }
    }
}
