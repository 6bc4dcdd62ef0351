//! The last lines: a line a backend, and one for all.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::Style;
use runner_core::event::BackendCounts;

use super::lines::{rule, seconds};
use super::style::{BAD, GOOD, ODD};

/// Writes them.
pub(super) fn write(
    duration: Duration,
    backends: &[BackendCounts],
    not_started: usize,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    writeln!(out, "{}", rule())?;
    let width = backends.iter().map(|counts| counts.backend.len()).max().unwrap_or(0).max(12);
    for counts in backends {
        let style = style_of(counts);
        writeln!(out, "{style}{:>width$}{style:#} {}", counts.backend, sentence(counts))?;
    }
    let total = total(backends);
    let style = if not_started > 0 { BAD } else { style_of(&total) };
    let mut text = sentence(&total);
    if not_started > 0 {
        text.push_str(&format!("; {} not started", counted(not_started, "case")));
    }
    writeln!(out, "{style}{:>width$}{style:#} {} {text}", "Summary", seconds(duration))
}

/// `1 case`, `2 cases`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// `12 cases run: 11 passed, 1 failed; 4 skipped (3 by needs, 1 by skip_on_backend)`
fn sentence(counts: &BackendCounts) -> String {
    let passed = format!("{} passed", counts.passed);
    let ends = [
        among(
            &passed,
            &[
                (counts.flaky, "flaky"),
                (counts.leaked, "leaky"),
                (counts.timed_out, "timed out"),
                (counts.xfailed, "failed as expected"),
                (counts.xpassed, "passed unexpectedly"),
            ],
        ),
        part(counts.failed, "failed"),
        part(counts.interrupted, "interrupted"),
        part(counts.skipped_by_body, "skipped itself"),
    ];
    let run = match counts.run {
        0 => counted(0, "case") + " run",
        run => format!("{} run: {}", counted(run, "case"), joined(&ends)),
    };
    let skipped = counts.skipped_by_needs + counts.skipped_by_mark;
    let causes =
        [(counts.skipped_by_needs, "by needs"), (counts.skipped_by_mark, "by skip_on_backend")];
    let skipped =
        if skipped > 0 { among(&format!("{skipped} skipped"), &causes) } else { String::new() };
    let not_run =
        [skipped, part(counts.ignored, "ignored"), part(counts.unavailable, "unavailable")];
    match joined(&not_run) {
        nothing if nothing.is_empty() => run,
        not_run => format!("{run}; {not_run}"),
    }
}

fn part(count: usize, what: &str) -> String {
    if count == 0 { String::new() } else { format!("{count} {what}") }
}

fn among(whole: &str, parts: &[(usize, &str)]) -> String {
    let parts: Vec<String> = parts.iter().map(|(count, what)| part(*count, what)).collect();
    match joined(&parts) {
        nothing if nothing.is_empty() => whole.to_owned(),
        parts => format!("{whole} ({parts})"),
    }
}

fn joined(parts: &[String]) -> String {
    let said: Vec<&str> =
        parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    said.join(", ")
}

/// A backend that ran nothing is not green.
fn style_of(counts: &BackendCounts) -> Style {
    match (counts.failed, counts.run - counts.interrupted) {
        (0, 0) => ODD,
        (0, _) => GOOD,
        (_, _) => BAD,
    }
}

fn total(backends: &[BackendCounts]) -> BackendCounts {
    backends.iter().fold(BackendCounts::default(), |sum, counts| BackendCounts {
        backend: String::new(),
        run: sum.run + counts.run,
        passed: sum.passed + counts.passed,
        failed: sum.failed + counts.failed,
        interrupted: sum.interrupted + counts.interrupted,
        flaky: sum.flaky + counts.flaky,
        leaked: sum.leaked + counts.leaked,
        timed_out: sum.timed_out + counts.timed_out,
        xfailed: sum.xfailed + counts.xfailed,
        xpassed: sum.xpassed + counts.xpassed,
        skipped_by_body: sum.skipped_by_body + counts.skipped_by_body,
        skipped_by_needs: sum.skipped_by_needs + counts.skipped_by_needs,
        skipped_by_mark: sum.skipped_by_mark + counts.skipped_by_mark,
        ignored: sum.ignored + counts.ignored,
        unavailable: sum.unavailable + counts.unavailable,
    })
}
