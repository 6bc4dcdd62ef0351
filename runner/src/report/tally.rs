//! Counts events: per backend for the summary, cell by cell for the matrix.
//!
//! A case counts once in each round of stress, with the last of its tries. A try that is followed
//! by another one counts for nothing by itself.

use std::collections::{BTreeMap, BTreeSet};

use runner_core::event::{BackendCounts, CaseName, Event, Finished, SkipCause};
use runner_core::outcome::{Outcome, Standing};

/// What has become of the cases so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    backends: Vec<BackendCounts>,
    rows: BTreeMap<Row, Vec<Cell>>,
    finished: usize,
    /// Last tries of cases that wait for another one.
    waiting: BTreeMap<CaseName, Finished>,
    /// One for each case that fails the run, in the order they did first.
    failures: Vec<Finished>,
    failed_once: BTreeSet<CaseName>,
    kept: Kept,
}

/// What is kept beside counts.
#[derive(Clone, Copy, Debug, Default)]
enum Kept {
    /// What became of each case.
    #[default]
    Cases,
    Nothing,
}

/// A test with its axis values: what the columns of the matrix have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) suite: String,
    pub(super) name: String,
}

/// What became of one case; of its worst round, if there were several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) backend: String,
    pub(super) word: &'static str,
    pub(super) standing: Standing,
    /// Why, where there is more to say than the word.
    pub(super) reason: Option<String>,
    /// How many rounds there were …
    pub(super) rounds: usize,
    /// … and how many of them failed.
    pub(super) failed: usize,
}

/// The word for what passed only when it was tried again.
pub(super) const FLAKY: &str = "FLAKY";

impl Tally {
    /// One that only counts: a run may have many cases.
    pub fn of_counts() -> Self {
        Self { kept: Kept::Nothing, ..Self::default() }
    }

    /// Takes one event in.
    pub fn on_event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { backends, .. } => {
                let empty = |backend: &String| BackendCounts {
                    backend: backend.clone(),
                    ..BackendCounts::default()
                };
                self.backends = backends.iter().map(empty).collect();
            }
            Event::CaseSkipped { case, cause, reason } => self.on_skipped(case, *cause, reason),
            Event::AttemptFinished(finished) if finished.is_last() => self.on_last(finished),
            Event::AttemptFinished(finished) => {
                self.waiting.insert(finished.case.clone(), finished.as_ref().clone());
            }
            Event::RetryForgone { case, .. } => {
                if let Some(finished) = self.waiting.remove(case) {
                    self.on_last(&finished);
                }
            }
            Event::AttemptStarted { .. }
            | Event::AttemptSlow { .. }
            | Event::ScaleProposed { .. }
            | Event::RunCut { .. }
            | Event::AttemptInspected { .. }
            | Event::RunPaused { .. }
            | Event::RunResumed { .. }
            | Event::StatusAsked
            | Event::InterruptRequested { .. }
            | Event::SupervisorLost { .. }
            | Event::RunFinished { .. }
            | Event::Tick => {}
        }
    }

    /// One for each selected backend, in manifest order.
    pub fn backends(&self) -> &[BackendCounts] {
        &self.backends
    }

    /// Cases that are over, each as often as there were rounds.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Cases that fail the run, each as often as it did.
    pub fn failed(&self) -> usize {
        self.backends.iter().map(|counts| counts.failed).sum()
    }

    /// Cases that ended only because the run did.
    pub fn interrupted(&self) -> usize {
        self.backends.iter().map(|counts| counts.interrupted).sum()
    }

    /// The last try of each case that fails the run, of the first round in which it did; none
    /// where [only counts](Self::of_counts) are kept.
    pub fn failures(&self) -> &[Finished] {
        &self.failures
    }

    pub(super) fn rows(&self) -> &BTreeMap<Row, Vec<Cell>> {
        &self.rows
    }

    fn on_skipped(&mut self, case: &CaseName, cause: SkipCause, reason: &str) {
        let counts = self.counts(&case.backend);
        match cause {
            SkipCause::Needs => counts.skipped_by_needs += 1,
            SkipCause::Mark => counts.skipped_by_mark += 1,
            SkipCause::Ignored => counts.ignored += 1,
            SkipCause::Unavailable => counts.unavailable += 1,
        }
        self.put(
            case,
            Cell {
                backend: case.backend.clone(),
                word: word_of(cause),
                standing: Standing::Neutral,
                reason: Some(reason.to_owned()),
                rounds: 1,
                failed: 0,
            },
        );
    }

    fn on_last(&mut self, finished: &Finished) {
        self.finished += 1;
        self.waiting.remove(&finished.case);
        let standing = finished.standing();
        let note = Note::on(&finished.outcome);
        let counts = self.counts(&finished.case.backend);
        counts.run += 1;
        match standing {
            Standing::Good => counts.passed += 1,
            Standing::Bad => counts.failed += 1,
            Standing::Neutral => counts.skipped_by_body += 1,
            Standing::Cut => counts.interrupted += 1,
        }
        if standing == Standing::Good {
            counts.flaky += usize::from(finished.is_flaky());
            if let Some(count) = note.count {
                *count(counts) += 1;
            }
        }
        let cell = Cell {
            backend: finished.case.backend.clone(),
            word: if finished.is_flaky() { FLAKY } else { finished.outcome.word() },
            standing,
            reason: note.reason.map(str::to_owned),
            rounds: 1,
            failed: usize::from(standing == Standing::Bad),
        };
        self.put(&finished.case, cell);
        if standing == Standing::Bad {
            self.keep_failure(finished);
        }
    }

    fn keep_failure(&mut self, finished: &Finished) {
        match self.kept {
            Kept::Nothing => {}
            Kept::Cases => {
                if self.failed_once.insert(finished.case.clone()) {
                    self.failures.push(finished.clone());
                }
            }
        }
    }

    fn put(&mut self, case: &CaseName, cell: Cell) {
        match self.kept {
            Kept::Nothing => return,
            Kept::Cases => {}
        }
        let cells = self.rows.entry(Row::of(case)).or_default();
        match cells.iter_mut().find(|other| other.backend == cell.backend) {
            Some(other) => other.merge(cell),
            None => cells.push(cell),
        }
    }

    /// A log may name a backend its header does not; it gets a column all the same.
    fn counts(&mut self, backend: &str) -> &mut BackendCounts {
        let known = self.backends.iter().position(|counts| counts.backend == backend);
        let index = known.unwrap_or(self.backends.len());
        if known.is_none() {
            let counts = BackendCounts { backend: backend.to_owned(), ..BackendCounts::default() };
            self.backends.push(counts);
        }
        &mut self.backends[index]
    }
}

impl Cell {
    /// The worse of two rounds is what is shown.
    fn merge(&mut self, other: Self) {
        let (rounds, failed) = (self.rounds + other.rounds, self.failed + other.failed);
        if other.weight() > self.weight() {
            *self = other;
        }
        (self.rounds, self.failed) = (rounds, failed);
    }

    fn weight(&self) -> u8 {
        match self.standing {
            Standing::Good if self.word == "PASS" => 0,
            Standing::Good | Standing::Neutral => 1,
            Standing::Cut => 2,
            Standing::Bad => 3,
        }
    }
}

impl Row {
    fn of(CaseName { suite, id, test, backend }: &CaseName) -> Self {
        let axes = id.strip_prefix(test.as_str()).and_then(|rest| rest.strip_prefix("::"));
        let axes = axes.and_then(|rest| rest.strip_prefix(backend.as_str())).unwrap_or_default();
        Self { suite: suite.clone(), name: format!("{test}{axes}") }
    }
}

/// What is noted about an outcome beside its standing.
struct Note<'a> {
    /// What it adds one to, where the case fails nothing.
    count: Option<fn(&mut BackendCounts) -> &mut usize>,
    /// What the word does not say and the failure blocks do not tell.
    reason: Option<&'a str>,
}

impl<'a> Note<'a> {
    const NOTHING: Self = Self { count: None, reason: None };

    fn on(outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Leak { .. } => {
                Self { count: Some(|counts| &mut counts.leaked), ..Self::NOTHING }
            }
            Outcome::Timeout => {
                Self { count: Some(|counts| &mut counts.timed_out), ..Self::NOTHING }
            }
            Outcome::Xfail { reason } => {
                Self { count: Some(|counts| &mut counts.xfailed), reason: Some(reason) }
            }
            Outcome::Xpass { .. } => {
                Self { count: Some(|counts| &mut counts.xpassed), ..Self::NOTHING }
            }
            Outcome::Skipped { reason } | Outcome::Unavailable { reason } => {
                Self { reason: Some(reason), ..Self::NOTHING }
            }
            Outcome::Pass
            | Outcome::Fail { .. }
            | Outcome::ExitedEarly { .. }
            | Outcome::Signalled { .. }
            | Outcome::SetupError { .. }
            | Outcome::Interrupted
            | Outcome::RunnerFault { .. } => Self::NOTHING,
        }
    }
}

fn word_of(cause: SkipCause) -> &'static str {
    match cause {
        SkipCause::Needs | SkipCause::Mark => "SKIP",
        SkipCause::Ignored => "IGNORED",
        SkipCause::Unavailable => "UNAVAILABLE",
    }
}
