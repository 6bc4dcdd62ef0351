//! Counts events: per backend for the summary, cell by cell for the matrix.

use std::collections::BTreeMap;

use runner_core::event::{BackendCounts, Event, Finished, SkipCause};
use runner_core::outcome::{Outcome, Standing};

/// What has become of the cases so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    backends: Vec<BackendCounts>,
    rows: BTreeMap<Row, Vec<Cell>>,
    finished: usize,
}

/// A test with its axis values: what the columns of the matrix have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) suite: String,
    pub(super) name: String,
}

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) backend: String,
    pub(super) word: &'static str,
    pub(super) standing: Standing,
    /// Why, where there is more to say than the word.
    pub(super) reason: Option<String>,
}

impl Tally {
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
            Event::CaseSkipped { case, cause, reason } => {
                let counts = self.counts(&case.backend);
                match cause {
                    SkipCause::Needs => counts.skipped_by_needs += 1,
                    SkipCause::Mark => counts.skipped_by_mark += 1,
                    SkipCause::Ignored => counts.ignored += 1,
                    SkipCause::Unavailable => counts.unavailable += 1,
                }
                let cell = Cell {
                    backend: case.backend.clone(),
                    word: word_of(*cause),
                    standing: Standing::Neutral,
                    reason: Some(reason.clone()),
                };
                self.put(Row::of(&case.suite, &case.id, &case.test, &case.backend), cell);
            }
            Event::AttemptFinished(finished) => self.on_finished(finished),
            Event::AttemptStarted { .. }
            | Event::AttemptSlow { .. }
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

    /// Attempts that are over.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Cases that fail the run.
    pub fn failed(&self) -> usize {
        self.backends.iter().map(|counts| counts.failed).sum()
    }

    pub(super) fn rows(&self) -> &BTreeMap<Row, Vec<Cell>> {
        &self.rows
    }

    fn on_finished(&mut self, finished: &Finished) {
        self.finished += 1;
        let standing = finished.outcome.standing(finished.leak);
        let case = &finished.case;
        let counts = self.counts(&case.backend);
        counts.run += 1;
        match standing {
            Standing::Good => counts.passed += 1,
            Standing::Bad => counts.failed += 1,
            Standing::Neutral => counts.skipped_by_body += 1,
        }
        match &finished.outcome {
            Outcome::Leak { .. } if standing == Standing::Good => counts.leaked += 1,
            Outcome::Xfail { .. } => counts.xfailed += 1,
            Outcome::Pass
            | Outcome::Fail { .. }
            | Outcome::ExitedEarly { .. }
            | Outcome::Signalled { .. }
            | Outcome::Timeout
            | Outcome::Leak { .. }
            | Outcome::Skipped { .. }
            | Outcome::Xpass { .. }
            | Outcome::Unavailable { .. }
            | Outcome::SetupError { .. }
            | Outcome::Interrupted
            | Outcome::RunnerFault { .. } => {}
        }
        let cell = Cell {
            backend: case.backend.clone(),
            word: finished.outcome.word(),
            standing,
            reason: reason_of(&finished.outcome),
        };
        self.put(Row::of(&case.suite, &case.id, &case.test, &case.backend), cell);
    }

    fn put(&mut self, row: Row, cell: Cell) {
        self.rows.entry(row).or_default().push(cell);
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

impl Row {
    fn of(suite: &str, id: &str, test: &str, backend: &str) -> Self {
        let axes = id.strip_prefix(test).and_then(|rest| rest.strip_prefix("::"));
        let axes = axes.and_then(|rest| rest.strip_prefix(backend)).unwrap_or_default();
        Self { suite: suite.to_owned(), name: format!("{test}{axes}") }
    }
}

/// Only what the word does not say and the failure blocks do not tell.
fn reason_of(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Skipped { reason }
        | Outcome::Xfail { reason }
        | Outcome::Unavailable { reason } => Some(reason.clone()),
        Outcome::Pass
        | Outcome::Fail { .. }
        | Outcome::ExitedEarly { .. }
        | Outcome::Signalled { .. }
        | Outcome::Timeout
        | Outcome::Leak { .. }
        | Outcome::Xpass { .. }
        | Outcome::SetupError { .. }
        | Outcome::Interrupted
        | Outcome::RunnerFault { .. } => None,
    }
}

fn word_of(cause: SkipCause) -> &'static str {
    match cause {
        SkipCause::Needs | SkipCause::Mark => "SKIP",
        SkipCause::Ignored => "IGNORED",
        SkipCause::Unavailable => "UNAVAILABLE",
    }
}
