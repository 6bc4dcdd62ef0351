//! What happened, in order, on its way to the sink: events, and the files they name.
//!
//! Reactions come first and their telling afterwards: the executor notes things here while it
//! reacts, and settles once the supervisors have their next work, so that rendering and writing
//! overlap with attempts instead of delaying them.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runner_core::event::{CaseName, Event, Finished};
use runner_core::memory::Output;
use runner_core::protocol::Hang;
use runner_core::report;

use super::run::{ExecuteError, SuiteBinary};
use super::scribe::{HangFacts, Scribe, Ticket};

/// Lines of each writer in a hang report.
const LAST_LINES: usize = 5;

/// Events that wait to be told, and reports that wait to be written.
pub(super) struct Ledger<'a> {
    run_dir: &'a Path,
    sink: &'a mut dyn FnMut(&Event),
    entries: VecDeque<Entry>,
    scribe: Scribe,
    /// What is told when a hang report is written.
    reports: BTreeMap<Ticket, (PathBuf, Pending)>,
    next_ticket: Ticket,
    problems: Vec<String>,
}

enum Entry {
    Event(Event),
    Ended(Box<Ended>),
    Inspected(Box<Inspected>),
}

/// An event that names a report.
enum Pending {
    Ended(Box<Finished>),
    Inspected { case: CaseName, attempt: u32, round: u32, elapsed: Duration },
}

/// What an attempt is doing, because somebody wanted to know.
pub(super) struct Inspected {
    /// As [`Ended::label`].
    pub(super) label: String,
    pub(super) case: CaseName,
    pub(super) attempt: u32,
    pub(super) round: u32,
    /// Since it was started.
    pub(super) elapsed: Duration,
    /// What it has written so far.
    pub(super) output: Output,
    pub(super) hang: Hang,
}

/// The end of an attempt, and what is to be written about it.
pub(super) struct Ended {
    /// Names the files; never the same for two attempts of a run.
    pub(super) label: String,
    /// The event, without files.
    pub(super) finished: Finished,
    /// What it wrote, if that is to be kept.
    pub(super) output: Output,
    /// What was seen when that passed, or when its supervisor went wrong.
    pub(super) hang: Option<Hang>,
}

impl<'a> Ledger<'a> {
    pub(super) fn new(
        run_dir: &'a Path,
        binaries: &[SuiteBinary],
        sink: &'a mut dyn FnMut(&Event),
    ) -> Result<Self, ExecuteError> {
        let scribe = Scribe::new(binaries)
            .map_err(|error| ExecuteError::new("prepare for hang reports", error))?;
        Ok(Self {
            run_dir,
            sink,
            entries: VecDeque::new(),
            scribe,
            reports: BTreeMap::new(),
            next_ticket: 0,
            problems: Vec::new(),
        })
    }

    /// Something happened.
    pub(super) fn note(&mut self, event: Event) {
        self.entries.push_back(Entry::Event(event));
    }

    /// An attempt ended.
    pub(super) fn note_end(&mut self, ended: Ended) {
        self.entries.push_back(Entry::Ended(Box::new(ended)));
    }

    /// Somebody wanted to know what an attempt is doing.
    pub(super) fn note_inspected(&mut self, inspected: Inspected) {
        self.entries.push_back(Entry::Inspected(Box::new(inspected)));
    }

    /// Something went wrong beside the cases.
    pub(super) fn note_problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// Tells everything that was noted, in order; only the end of an attempt with a hang report
    /// is told later.
    pub(super) fn settle(&mut self) {
        while let Some(entry) = self.entries.pop_front() {
            match entry {
                Entry::Event(event) => (self.sink)(&event),
                Entry::Ended(ended) => self.tell_end(*ended),
                Entry::Inspected(inspected) => self.tell_inspected(*inspected),
            }
        }
    }

    /// Time passed.
    pub(super) fn tick(&mut self) {
        (self.sink)(&Event::Tick);
    }

    /// Readable when [`Ledger::on_report`] has something to do.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.scribe.bell()
    }

    /// Reports were written.
    pub(super) fn on_report(&mut self) {
        while let Some((ticket, result)) = self.scribe.try_finished() {
            let Some((name, pending)) = self.reports.remove(&ticket) else {
                continue;
            };
            let report = match result {
                Ok(()) => Some(name),
                Err(error) => {
                    self.problems.push(unwritten(&name, &error));
                    None
                }
            };
            self.note(pending.event(report));
        }
    }

    /// Waits for no report any more: somebody is in a hurry.
    pub(super) fn give_up_reports(&mut self) {
        for (_, (_, pending)) in std::mem::take(&mut self.reports) {
            self.note(pending.event(None));
        }
    }

    /// Whether everything is told.
    pub(super) fn is_settled(&self) -> bool {
        self.entries.is_empty() && self.reports.is_empty()
    }

    /// What went wrong beside the cases.
    pub(super) fn into_problems(self) -> Vec<String> {
        self.problems
    }

    fn tell_end(&mut self, ended: Ended) {
        let Ended { label, mut finished, output, hang } = ended;
        finished.output = self.write_output(&label, &output);
        let Some(hang) = hang else {
            (self.sink)(&Event::AttemptFinished(Box::new(finished)));
            return;
        };
        let facts = HangFacts {
            case: finished.case.id.clone(),
            hang,
            last_lines: report::last_lines(&output, LAST_LINES),
        };
        let name = format!("{label}.hang");
        self.submit(name.into(), facts, Pending::Ended(Box::new(finished)));
    }

    fn tell_inspected(&mut self, inspected: Inspected) {
        let Inspected { label, case, attempt, round, elapsed, output, hang } = inspected;
        let facts = HangFacts {
            case: case.id.clone(),
            hang,
            last_lines: report::last_lines(&output, LAST_LINES),
        };
        // The ticket tells it from earlier looks at the same attempt.
        let name = format!("{label}-look-{}.hang", self.next_ticket);
        self.submit(name.into(), facts, Pending::Inspected { case, attempt, round, elapsed });
    }

    fn submit(&mut self, name: PathBuf, facts: HangFacts, pending: Pending) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        match self.scribe.submit(ticket, self.run_dir.join(&name), facts) {
            Ok(()) => drop(self.reports.insert(ticket, (name, pending))),
            Err(error) => {
                self.problems.push(unwritten(&name, &error));
                (self.sink)(&pending.event(None));
            }
        }
    }

    fn write_output(&mut self, label: &str, output: &Output) -> Option<PathBuf> {
        if output.records.is_empty() && output.lost_bytes == 0 && output.torn == 0 {
            return None;
        }
        let name = PathBuf::from(format!("{label}.out"));
        match write_attributed(&self.run_dir.join(&name), output) {
            Ok(()) => Some(name),
            Err(error) => {
                self.problems.push(unwritten(&name, &error));
                None
            }
        }
    }
}

impl Pending {
    fn event(self, report: Option<PathBuf>) -> Event {
        match self {
            Self::Ended(mut finished) => {
                finished.hang_report = report;
                Event::AttemptFinished(finished)
            }
            Self::Inspected { case, attempt, round, elapsed } => {
                Event::AttemptInspected { case, attempt, round, elapsed, report }
            }
        }
    }
}

fn write_attributed(path: &Path, output: &Output) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    report::write_attributed(output, &mut file)?;
    file.flush()
}

fn unwritten(name: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", name.display())
}
