//! A line an event, in nextest's format; below what failed, what a person needs to go on.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::Style;
use runner_core::event::{CaseName, Cut, CutRunning, Event, Finished, Interrupt, Stress};
use runner_core::outcome::{Outcome, Standing, signal_name};
use runner_core::protocol::ResourceDelta;
use runner_core::report::left_on_purpose;

use super::excerpt::{self, Excerpt, Omitted};
use super::style::{BAD, FAINT, GOOD, ODD, STRONG, of};
use super::tally::{FLAKY, Tally};
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
    /// Ends of cases that are to come, if that is known.
    to_run: Option<usize>,
    suites: usize,
    stress: Option<Stress>,
    /// What is to be said of the machine, once a deadline has passed.
    headroom: Option<String>,
}

impl Lines {
    /// Nothing has happened yet.
    pub fn new(told: Told, context: Context) -> Self {
        let (tally, to_run, suites) = (Tally::default(), None, 1);
        Self { told, context, tally, to_run, suites, stress: None, headroom: None }
    }

    /// What has been counted so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How many ends of cases there will be, if that is known.
    pub(super) fn to_run(&self) -> Option<usize> {
        self.to_run
    }

    /// Appends the lines of one event.
    pub fn on_event(&mut self, event: &Event, out: &mut Vec<u8>) {
        self.tally.on_event(event);
        // Writing to memory cannot fail.
        let _ = self.write(event, out);
    }

    /// Events came faster than they could be written: says so, and goes on from what they came to.
    pub(super) fn on_missed(&mut self, events: usize, tally: Tally, out: &mut Vec<u8>) {
        self.tally = tally;
        let log = self.context.folder.join("events.jsonl");
        let text = format!(
            "{} came faster than they could be written here; all of them are in {}",
            summary::counted(events, "event"),
            log.display()
        );
        // Writing to memory cannot fail.
        let _ = status(out, ODD, "MISSED", text);
    }

    fn write(&mut self, event: &Event, out: &mut Vec<u8>) -> io::Result<()> {
        match event {
            Event::RunStarted { run, backends, suites, to_run, slots, seed, stress, .. } => {
                self.to_run = ends(*to_run, *stress);
                self.suites = *suites;
                self.stress = *stress;
                writeln!(out, "{}", rule())?;
                status(out, GOOD, "Run", format!("{run}, seed {seed}"))?;
                let text = format!(
                    "{} on {}, {slots} at once{}",
                    summary::counted(*to_run, "case"),
                    backends.join(", "),
                    stress.map(in_words).unwrap_or_default(),
                );
                status(out, GOOD, "Starting", text)
            }
            Event::AttemptSlow { case, elapsed, round, .. } => {
                let seconds = elapsed.as_secs_f64();
                let name = self.name(case, *round);
                status(out, ODD, "SLOW", format!("[>{seconds:>7.3}s] {name}"))
            }
            Event::AttemptFinished(finished) => self.finished(finished, out),
            Event::ScaleProposed { percent, reasons } => {
                self.headroom = Some(headroom(*percent, reasons));
                Ok(())
            }
            Event::RetryForgone { case, round } => {
                let name = self.name(case, *round);
                status(out, ODD, "NO RETRY", format!("{name}: the run ends before"))
            }
            Event::RunCut { cause } => status(out, BAD, "Canceling", why_cut(*cause)),
            Event::InterruptRequested { signal, answer } => {
                let signal = signal_name(*signal);
                let text = match answer {
                    Interrupt::Ask => format!("{signal}: ending what runs; once more to kill it"),
                    Interrupt::Kill => format!("{signal}: killing what runs"),
                };
                status(out, BAD, "Canceling", text)
            }
            Event::AttemptInspected { case, round, elapsed, report, .. } => {
                let text = format!("{} {}", seconds(*elapsed), self.name(case, *round));
                status(out, ODD, "RUNNING", text)?;
                self.report(report.as_deref(), out)
            }
            Event::RunPaused { running } => {
                let running = summary::counted(*running, "case");
                status(out, ODD, "Paused", format!("with {running} running, clocks stopped"))
            }
            Event::RunResumed { after } => {
                status(out, ODD, "Resumed", format!("after {:.1} s", after.as_secs_f64()))
            }
            Event::StatusAsked => status(out, STRONG, "Status", self.status()),
            Event::SupervisorLost { slot, suite, message } => {
                status(out, BAD, "LOST", format!("supervisor of {suite} in slot {slot}: {message}"))
            }
            Event::RunFinished { duration, backends, not_started, .. } => {
                matrix::write(&self.tally, self.suites, out)?;
                self.again_list(out)?;
                summary::write(*duration, backends, *not_started, out)
            }
            Event::AttemptStarted { case, round, .. } if self.told >= Told::Beginnings => {
                status(out, FAINT, "START", self.name(case, *round))
            }
            Event::CaseSkipped { .. } | Event::AttemptStarted { .. } | Event::Tick => Ok(()),
        }
    }

    fn finished(&mut self, finished: &Finished, out: &mut Vec<u8>) -> io::Result<()> {
        let is_plain = finished.outcome == Outcome::Pass
            && finished.attempt == 1
            && leftovers(finished).is_empty();
        if self.told < Told::Ends && is_plain {
            return Ok(());
        }
        let text = format!(
            "{} {}{}",
            seconds(finished.duration),
            self.progress(),
            self.name(&finished.case, finished.round)
        );
        status(out, of(finished), &word(finished), text)?;
        self.detail(finished, out)?;
        if finished.outcome == Outcome::Timeout
            && let Some(text) = self.headroom.take()
        {
            status(out, ODD, "Headroom", text)?;
        }
        match (finished.standing(), finished.retry) {
            (Standing::Bad, None) => self.again(&finished.again, out),
            (_, Some(wait)) => indented(out, format!("to be tried again{}", after(wait))),
            (Standing::Good | Standing::Neutral | Standing::Cut, None) => Ok(()),
        }
    }

    /// `(12/640) `, or `(12) ` where nobody knows how many there will be.
    fn progress(&self) -> String {
        let finished = self.tally.finished();
        match self.to_run {
            Some(to_run) => format!("({finished:>0$}/{to_run}) ", to_run.to_string().len()),
            None => format!("({finished}) "),
        }
    }

    /// What is known beyond the word, the end of the output, the beginning of the hang report.
    fn detail(&self, finished: &Finished, out: &mut Vec<u8>) -> io::Result<()> {
        for line in finished.outcome.detail().lines() {
            indented(out, printable::line(line.as_bytes()))?;
        }
        for line in leftovers(finished) {
            indented(out, printable::line(line.as_bytes()))?;
        }
        let is_bad = matches!(finished.standing(), Standing::Bad | Standing::Cut);
        if let Some(output) = finished.output.as_ref().filter(|_| is_bad) {
            let path = self.context.folder.join(output);
            quoted(out, "output", &path, excerpt::end_of(&path, OUTPUT_LINES))?;
        }
        self.report(finished.hang_report.as_deref(), out)
    }

    fn report(&self, report: Option<&Path>, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(report) = report else {
            return Ok(());
        };
        let path = self.context.folder.join(report);
        quoted(out, "hang report", &path, excerpt::first_paragraph_of(&path, HANG_LINES))
    }

    /// `12/640 finished, 2 failed`.
    fn status(&self) -> String {
        let finished = match self.to_run {
            Some(to_run) => format!("{}/{to_run} finished", self.tally.finished()),
            None => format!("{} finished", self.tally.finished()),
        };
        match self.tally.failed() {
            0 => finished,
            failed => format!("{finished}, {failed} failed"),
        }
    }

    fn again(&self, id: &str, out: &mut Vec<u8>) -> io::Result<()> {
        writeln!(out, "{:>12} {STRONG}{} {id}{STRONG:#}", "again:", self.context.again)
    }

    /// Once more at the end, where a person looks first.
    fn again_list(&self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.tally.failures().is_empty() {
            return Ok(());
        }
        writeln!(out, "{}", rule())?;
        for failure in self.tally.failures() {
            let name = self.name(&failure.case, failure.round);
            let text = match failure.outcome.detail().lines().next() {
                Some(detail) => {
                    let detail = printable::beginning(detail, DETAIL_CHARACTERS);
                    format!("{name}  {FAINT}{detail}{FAINT:#}")
                }
                None => name,
            };
            status(out, BAD, &word(failure), text)?;
            if let Some(report) = &failure.hang_report {
                let path = self.context.folder.join(report);
                indented(out, format!("hang report: {}", path.display()))?;
            }
            self.again(&failure.again, out)?;
        }
        Ok(())
    }

    /// With its suite only where there are several, with its round only under stress.
    fn name(&self, case: &CaseName, round: u32) -> String {
        let mut name =
            if self.suites > 1 { format!("{} {}", case.suite, case.id) } else { case.id.clone() };
        if self.stress.is_some() {
            name.push_str(&format!(" (round {round})"));
        }
        name
    }
}

/// Of the reasons the worst: the others are in the log.
fn headroom(percent: u32, reasons: &[String]) -> String {
    let scale = f64::from(percent) / 100.0;
    let reason = reasons.first().map_or("this machine is slow", String::as_str);
    format!("{reason}; with `--timeout-scale {scale}` deadlines have room")
}

/// `PASS`; `TRY 1 FAIL` where there may be another; `FLAKY 2/3` where that was the good one.
fn word(finished: &Finished) -> String {
    let Finished { attempt, attempts, .. } = finished;
    match (finished.is_flaky(), *attempts) {
        (true, _) => format!("{FLAKY} {attempt}/{attempts}"),
        (false, 0 | 1) => finished.outcome.word().to_owned(),
        (false, _) if *attempt == 1 && finished.is_last() => finished.outcome.word().to_owned(),
        (false, _) => format!("TRY {attempt} {}", finished.outcome.word()),
    }
}

/// What is left though nothing is held against the case for it.
fn leftovers(finished: &Finished) -> Vec<String> {
    let allowed = finished.allowed_leaks.iter().map(left_on_purpose);
    let resources = finished.resources.as_ref().map(|delta| resources(delta, named(finished)));
    let resources = resources.filter(|text| !text.is_empty());
    allowed.chain(resources.map(|text| format!("left beside: {text}"))).collect()
}

/// How many of the processes that were left are told by name.
fn named(finished: &Finished) -> u32 {
    let leaks = match &finished.outcome {
        Outcome::Leak { processes } => processes.len(),
        Outcome::Pass
        | Outcome::Fail { .. }
        | Outcome::ExitedEarly { .. }
        | Outcome::Signalled { .. }
        | Outcome::Timeout
        | Outcome::Skipped { .. }
        | Outcome::Xfail { .. }
        | Outcome::Xpass { .. }
        | Outcome::Unavailable { .. }
        | Outcome::SetupError { .. }
        | Outcome::Interrupted
        | Outcome::RunnerFault { .. } => 0,
    };
    u32::try_from(leaks + finished.allowed_leaks.len()).unwrap_or(u32::MAX)
}

/// `2 threads, 1 fd, /dev/shm/x`; less than before is said too. Without the processes that are
/// `named` elsewhere.
fn resources(delta: &ResourceDelta, named: u32) -> String {
    let ResourceDelta { threads, fds, children, shm, sockets } = delta;
    let signed = |count: Option<i32>, noun: &str| match count {
        None | Some(0) => String::new(),
        Some(count) => {
            let magnitude = summary::counted(count.unsigned_abs() as usize, noun);
            if count < 0 { format!("{magnitude} less") } else { magnitude }
        }
    };
    let children = match children.saturating_sub(named) {
        0 => String::new(),
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    };
    let counts = [signed(*threads, "thread"), signed(*fds, "fd"), children];
    let names = shm.iter().map(|name| format!("/dev/shm/{name}"));
    let names = names.chain(sockets.iter().map(|name| format!("socket {name}")));
    let all: Vec<String> = counts.into_iter().filter(|it| !it.is_empty()).chain(names).collect();
    all.join(", ")
}

fn after(wait: Duration) -> String {
    if wait.is_zero() { String::new() } else { format!(" in {:.1} s", wait.as_secs_f64()) }
}

/// How many ends of cases there will be.
fn ends(to_run: usize, stress: Option<Stress>) -> Option<usize> {
    match stress {
        None => Some(to_run),
        Some(Stress::Count(count)) => to_run.checked_mul(count.try_into().ok()?),
        Some(Stress::Endless | Stress::For(_)) => None,
    }
}

fn in_words(stress: Stress) -> String {
    match stress {
        Stress::Count(count) => format!(", {} of each", summary::counted(count as usize, "round")),
        Stress::Endless => ", again and again".to_owned(),
        Stress::For(time) => format!(", again and again for {}", humantime::format_duration(time)),
    }
}

fn why_cut(cause: Cut) -> String {
    match cause {
        Cut::MaxFail { failures, running } => {
            let failed = summary::counted(failures, "failure");
            match running {
                CutRunning::Awaited => format!("{failed}: nothing more is started (max-fail)"),
                CutRunning::Asked => format!("{failed}: ending what runs (max-fail)"),
            }
        }
        Cut::GlobalTimeout { after } => {
            let after = humantime::format_duration(after);
            format!("the run has lasted {after}: ending what runs (global-timeout)")
        }
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
