//! A line an event, in nextest's format; below what failed, what a person needs to go on.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::Style;
use runner_core::event::{CaseName, Event, Finished, Interrupt};
use runner_core::outcome::{Outcome, Standing, signal_name};

use super::excerpt::{self, Excerpt, Omitted};
use super::style::{BAD, FAINT, GOOD, ODD, STRONG, of};
use super::tally::Tally;
use super::{matrix, summary};
use crate::printable;

/// Lines of captured output shown below a failure.
const OUTPUT_LINES: usize = 20;

/// Lines of a hang report's first paragraph shown below a timeout: what each thread was in.
const HANG_LINES: usize = 24;

/// How much of what is known beyond a word is repeated at the end.
const DETAIL_CHARACTERS: usize = 120;

/// What events do not say.
#[derive(Clone, Debug)]
pub struct Context {
    /// The run's folder, as it should be printed.
    pub folder: PathBuf,
    /// What stands before a case's id in the line that runs it again.
    pub again: String,
}

/// What gets a line; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// What is not a plain pass.
    Notable,
    /// Every end of an attempt.
    Ends,
    /// Every beginning too: somebody else's output comes in between.
    Beginnings,
}

/// Turns events into lines.
pub struct Lines {
    told: Told,
    context: Context,
    tally: Tally,
    to_run: usize,
    suites: usize,
    failures: Vec<Finished>,
}

impl Lines {
    /// Nothing has happened yet.
    pub fn new(told: Told, context: Context) -> Self {
        Self { told, context, tally: Tally::default(), to_run: 0, suites: 1, failures: Vec::new() }
    }

    /// What has been counted so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Appends the lines of one event.
    pub fn on_event(&mut self, event: &Event, out: &mut Vec<u8>) {
        self.tally.on_event(event);
        // Writing to memory cannot fail.
        let _ = self.write(event, out);
    }

    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> io::Result<()> {
        match event {
            Event::RunStarted { run, backends, suites, to_run, slots, seed, .. } => {
                self.to_run = *to_run;
                self.suites = *suites;
                writeln!(out, "{}", rule())?;
                status(out, GOOD, "Run", format!("{run}, seed {seed}"))?;
                let text = format!(
                    "{} on {}, {slots} at once",
                    summary::counted(*to_run, "case"),
                    backends.join(", ")
                );
                status(out, GOOD, "Starting", text)
            }
            Event::AttemptSlow { case, elapsed, .. } => {
                let seconds = elapsed.as_secs_f64();
                let name = self.name(case);
                status(out, ODD, "SLOW", format!("[>{seconds:>7.3}s] {name}"))
            }
            Event::AttemptFinished(finished) => self.finished(finished, out),
            Event::InterruptRequested { signal, answer } => {
                let signal = signal_name(*signal);
                let text = match answer {
                    Interrupt::Ask => format!("{signal}: ending what runs; once more to kill it"),
                    Interrupt::Kill => format!("{signal}: killing what runs"),
                };
                status(out, BAD, "Canceling", text)
            }
            Event::SupervisorLost { slot, suite, message } => {
                status(out, BAD, "LOST", format!("supervisor of {suite} in slot {slot}: {message}"))
            }
            Event::RunFinished { duration, backends, not_started, .. } => {
                matrix::write(&self.tally, self.suites, out)?;
                self.again_list(out)?;
                summary::write(*duration, backends, *not_started, out)
            }
            Event::AttemptStarted { case, .. } if self.told >= Told::Beginnings => {
                status(out, FAINT, "START", self.name(case))
            }
            Event::CaseSkipped { .. } | Event::AttemptStarted { .. } | Event::Tick => Ok(()),
        }
    }

    fn finished(&mut self, finished: &Finished, out: &mut Vec<u8>) -> io::Result<()> {
        if self.told < Told::Ends && finished.outcome == Outcome::Pass {
            return Ok(());
        }
        let width = self.to_run.to_string().len();
        let seconds = finished.duration.as_secs_f64();
        let text = format!(
            "[{seconds:>8.3}s] ({:>width$}/{}) {}",
            self.tally.finished(),
            self.to_run,
            self.name(&finished.case)
        );
        status(out, of(&finished.outcome, finished.leak), finished.outcome.word(), text)?;
        self.detail(finished, out)?;
        if finished.outcome.standing(finished.leak) == Standing::Bad {
            self.again(&finished.again, out)?;
            self.failures.push(finished.clone());
        }
        Ok(())
    }

    /// What is known beyond the word, the end of the output, the beginning of the hang report.
    fn detail(&self, finished: &Finished, out: &mut Vec<u8>) -> io::Result<()> {
        for line in finished.outcome.detail().lines() {
            indented(out, printable::line(line.as_bytes()))?;
        }
        let is_bad = finished.outcome.standing(finished.leak) == Standing::Bad;
        if let Some(output) = finished.output.as_ref().filter(|_| is_bad) {
            let path = self.context.folder.join(output);
            quoted(out, "output", &path, excerpt::end_of(&path, OUTPUT_LINES))?;
        }
        if let Some(report) = &finished.hang_report {
            let path = self.context.folder.join(report);
            quoted(out, "hang report", &path, excerpt::first_paragraph_of(&path, HANG_LINES))?;
        }
        Ok(())
    }

    fn again(&self, id: &str, out: &mut Vec<u8>) -> io::Result<()> {
        writeln!(out, "{:>12} {STRONG}{} {id}{STRONG:#}", "again:", self.context.again)
    }

    /// Once more at the end, where a person looks first.
    fn again_list(&self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.failures.is_empty() {
            return Ok(());
        }
        writeln!(out, "{}", rule())?;
        for failure in &self.failures {
            let name = self.name(&failure.case);
            let text = match failure.outcome.detail().lines().next() {
                Some(detail) => {
                    let detail = printable::beginning(detail, DETAIL_CHARACTERS);
                    format!("{name}  {FAINT}{detail}{FAINT:#}")
                }
                None => name,
            };
            status(out, BAD, failure.outcome.word(), text)?;
            if let Some(report) = &failure.hang_report {
                let path = self.context.folder.join(report);
                indented(out, format!("hang report: {}", path.display()))?;
            }
            self.again(&failure.again, out)?;
        }
        Ok(())
    }

    /// With its suite only where there are several.
    fn name(&self, case: &CaseName) -> String {
        if self.suites > 1 { format!("{} {}", case.suite, case.id) } else { case.id.clone() }
    }
}

/// A word in nextest's column, and a text.
pub(super) fn status(
    out: &mut Vec<u8>,
    style: Style,
    word: &str,
    text: impl Display,
) -> io::Result<()> {
    writeln!(out, "{style}{word:>12}{style:#} {text}")
}

/// What separates the parts of a report.
pub(super) fn rule() -> &'static str {
    "────────────"
}

/// `1.2` for a person.
pub(super) fn seconds(duration: Duration) -> String {
    format!("[{:>8.3}s]", duration.as_secs_f64())
}

fn indented(out: &mut Vec<u8>, text: impl Display) -> io::Result<()> {
    writeln!(out, "{:>12} {text}", "")
}

fn quoted(
    out: &mut Vec<u8>,
    what: &str,
    path: &Path,
    excerpt: io::Result<Excerpt>,
) -> io::Result<()> {
    let path = path.display();
    let excerpt = match excerpt {
        Ok(excerpt) => excerpt,
        Err(error) => return indented(out, format!("{what}: cannot read {path}: {error}")),
    };
    let rest = match excerpt.omitted {
        Omitted::Nothing => String::new(),
        Omitted::Lines(count) => format!(", {} more there", summary::counted(count, "line")),
        Omitted::Much => ", much more there".to_owned(),
    };
    indented(out, format!("{FAINT}{what}: {path}{rest}{FAINT:#}"))?;
    for line in &excerpt.lines {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}
