//! What failed in a recorded run: by backend, then by what it looks like, with what to do next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use runner_core::event::{CaseName, Event, Finished};
use runner_core::outcome::{Outcome, Standing};

use crate::history::{History, Record};
use crate::printable;
use crate::store::Recording;

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const BAD: Style = Style::new().bold().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));

/// So many cases of one signature are named.
const NAMED: usize = 10;

/// How much of what a failure said is its signature.
const MARK_CHARACTERS: usize = 160;

/// How it failed: what has the same signature has probably the same cause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Signature {
    word: &'static str,
    /// The panic's place, else the first line of what it said.
    mark: String,
}

/// What the report on a run is made with beside the run.
pub struct Context<'a> {
    /// What became of the cases in other runs.
    pub history: &'a History,
    /// The run's folder, as it should be printed.
    pub folder: &'a Path,
    /// What stands before what names a case in the line that runs it again.
    pub again: &'a str,
}

/// The report on a run. Reads the hang reports in the run's folder.
pub fn report(recording: &Recording, context: &Context<'_>) -> String {
    let finished = verdicts(recording);
    let failures: Vec<&Finished> = finished.iter().copied().filter(|it| is_failure(it)).collect();
    let mut text = String::new();
    let ran = finished.len();
    let _ = writeln!(
        text,
        "{STRONG}{}{STRONG:#}: {} of {ran} cases failed",
        recording.id,
        failures.len()
    );
    if let Some(reasons) = short_of_time(recording) {
        let _ = writeln!(text, "the machine was short of time: {reasons}");
    }
    for (backend, of_backend) in by_backend(&failures) {
        let _ = writeln!(text, "\n{STRONG}{backend}{STRONG:#}: {} failed", of_backend.len());
        for (signature, cases) in by_signature(&of_backend, &recording.folder) {
            write_signature(&mut text, &signature, &cases);
            for case in cases.iter().take(NAMED) {
                write_case(&mut text, case, &finished, context);
            }
            if cases.len() > NAMED {
                let _ = writeln!(text, "    … and {} more", cases.len() - NAMED);
            }
        }
    }
    write_flaky(&mut text, &finished, context.history);
    text
}

/// Ids of the cases that failed, in the order they failed in.
pub fn failed_ids(recording: &Recording) -> Vec<String> {
    let failures = verdicts(recording).into_iter().filter(|finished| is_failure(finished));
    failures.map(|finished| finished.case.id.clone()).collect()
}

/// The attempt of each case that decides about it: the last try, and under stress that of the
/// first round that failed. In the order in which cases ended first.
fn verdicts(recording: &Recording) -> Vec<&Finished> {
    let mut verdicts: Vec<&Finished> = Vec::new();
    let mut places: BTreeMap<&CaseName, usize> = BTreeMap::new();
    for finished in recording.attempts() {
        match places.get(&finished.case) {
            Some(place) => {
                let known = &mut verdicts[*place];
                let is_same_round = known.round == finished.round;
                if is_same_round || !is_failure(known) {
                    *known = finished;
                }
            }
            None => {
                places.insert(&finished.case, verdicts.len());
                verdicts.push(finished);
            }
        }
    }
    verdicts
}

fn is_failure(finished: &Finished) -> bool {
    finished.standing() == Standing::Bad
}

fn by_backend<'a>(failures: &[&'a Finished]) -> BTreeMap<&'a str, Vec<&'a Finished>> {
    let mut groups: BTreeMap<&str, Vec<&Finished>> = BTreeMap::new();
    for failure in failures {
        groups.entry(&failure.case.backend).or_default().push(failure);
    }
    groups
}

/// The most frequent first.
fn by_signature<'a>(
    failures: &[&'a Finished],
    folder: &Path,
) -> Vec<(Signature, Vec<&'a Finished>)> {
    let mut groups: BTreeMap<Signature, Vec<&Finished>> = BTreeMap::new();
    for failure in failures {
        groups.entry(Signature::of(failure, folder)).or_default().push(failure);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, cases)| std::cmp::Reverse(cases.len()));
    groups
}

/// What passed only when it was tried again: nothing failed for it, but something is wrong.
fn write_flaky(text: &mut String, all: &[&Finished], history: &History) {
    let flaky: Vec<_> = all.iter().filter(|it| it.is_flaky() && !is_failure(it)).collect();
    if flaky.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{STRONG}flaky{STRONG:#}: {} passed at a later try", flaky.len());
    for Finished { case, attempt, attempts, .. } in flaky {
        let _ = writeln!(text, "    {}  {FAINT}at try {attempt} of {attempts}{FAINT:#}", case.id);
        if let Some(record) = history.of(case).filter(|record| record.runs > 1) {
            let _ = writeln!(text, "      {}", in_words(record));
        }
    }
}

fn write_signature(text: &mut String, signature: &Signature, cases: &[&Finished]) {
    let Signature { word, mark } = signature;
    let _ = writeln!(text, "  {BAD}{word}{BAD:#} {mark}  {FAINT}×{}{FAINT:#}", cases.len());
}

fn write_case(text: &mut String, case: &Finished, all: &[&Finished], context: &Context<'_>) {
    let Context { history, folder, again } = context;
    let passing = passing_elsewhere(case, all);
    let elsewhere = if passing.is_empty() {
        "passes nowhere else".to_owned()
    } else {
        format!("passes on {}", passing.into_iter().collect::<Vec<_>>().join(", "))
    };
    let _ = writeln!(text, "    {}  {FAINT}{elsewhere}{FAINT:#}", case.case.id);
    if let Some(record) = history.of(&case.case).filter(|record| record.runs > 1) {
        let _ = writeln!(text, "      {}", in_words(record));
    }
    for (what, file) in [("hang report", &case.hang_report), ("output", &case.output)] {
        if let Some(file) = file {
            let _ = writeln!(text, "      {what}: {}", folder.join(file).display());
        }
    }
    let _ = writeln!(text, "      again: {STRONG}{again} {}{STRONG:#}", case.again);
}

/// `failed in 3 of 12 runs, flaky in 2, since RUN`
fn in_words(Record { runs, failed, flaky, failing_since }: Record<'_>) -> String {
    let mut text = format!("failed in {failed} of {runs} runs");
    if flaky > 0 {
        let _ = write!(text, ", flaky in {flaky}");
    }
    match failing_since {
        Some(run) if failed < runs => drop(write!(text, ", without a pass since {run}")),
        Some(_) | None => {}
    }
    text
}

/// Why deadlines may have passed that would not have elsewhere.
fn short_of_time(recording: &Recording) -> Option<String> {
    recording.events.iter().find_map(|event| {
        let Event::ScaleProposed { reasons, .. } = event else { return None };
        Some(reasons.join(", "))
    })
}

/// Where the case's body was when its deadline passed, by the first paragraph of its hang report;
/// where the body is not named, the first thread that is.
fn hung_in(report: &Path) -> Option<String> {
    let text = fs::read_to_string(report).ok()?;
    let gists = || {
        let lines = text.lines().take_while(|line| !line.is_empty());
        lines.filter_map(|line| line.strip_prefix("thread ")?.split_once(" in "))
    };
    let is_body = |(thread, _): &(&str, &str)| thread.ends_with("`body`");
    gists().find(is_body).or_else(|| gists().next()).map(|(_, place)| place.to_owned())
}

/// Backends on which the same test passed in the same run.
fn passing_elsewhere<'a>(case: &Finished, all: &[&'a Finished]) -> BTreeSet<&'a str> {
    let same = |other: &&&Finished| {
        other.case.suite == case.case.suite && other.case.test == case.case.test
    };
    let passed = |other: &&&Finished| matches!(other.outcome, Outcome::Pass);
    all.iter().filter(same).filter(passed).map(|other| other.case.backend.as_str()).collect()
}

/// Without what differs from run to run: numbers of processes, identities of actors. A place
/// keeps its line.
fn without_names(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut shown = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let length = from.find(|c: char| !is_part(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(length);
        shown.push_str(before);
        let is_inside = shown.ends_with(is_word) || after.starts_with(is_word);
        let is_identity = !is_inside && length >= 8;
        let is_process = shown.ends_with("pid ");
        shown.push_str(if is_identity || is_process { "…" } else { word });
        rest = after;
    }
    shown.push_str(rest);
    printable::beginning(&shown, MARK_CHARACTERS)
}

impl Signature {
    /// A timeout is one with others that hang in the same place: the word alone says nothing.
    fn of(finished: &Finished, folder: &Path) -> Self {
        let outcome = &finished.outcome;
        let mark = match outcome {
            Outcome::Timeout => {
                let report = finished.hang_report.as_ref();
                let place = report.and_then(|report| hung_in(&folder.join(report)));
                place.map(|place| format!("in {place}")).unwrap_or_default()
            }
            Outcome::Fail { location: Some(location), .. } => location.clone(),
            Outcome::Fail { location: None, .. }
            | Outcome::Pass
            | Outcome::ExitedEarly { .. }
            | Outcome::Signalled { .. }
            | Outcome::Leak { .. }
            | Outcome::Skipped { .. }
            | Outcome::Xfail { .. }
            | Outcome::Xpass { .. }
            | Outcome::Unavailable { .. }
            | Outcome::SetupError { .. }
            | Outcome::Interrupted
            | Outcome::RunnerFault { .. } => {
                outcome.detail().lines().next().unwrap_or_default().to_owned()
            }
        };
        Self { word: outcome.word(), mark: without_names(&mark) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_signature_has_nothing_of_one_run_in_it() {
        for (text, expected) in [
            ("actor doomed@8433c703 died: signal 9", "actor doomed@… died: signal 9"),
            ("left `x` (pid 4711, 1.5 s old)", "left `x` (pid …, 1.5 s old)"),
            ("src/a.rs:1234:5", "src/a.rs:1234:5"),
            ("a decade of deadbeefs", "a decade of deadbeefs"),
            ("", ""),
        ] {
            assert_eq!(without_names(text), expected);
        }
    }

    #[test]
    fn the_same_panic_on_two_tests_is_one_signature() {
        let fail = |message: &str| Outcome::Fail {
            message: message.into(),
            location: Some("src/a.rs:7:9".into()),
        };
        let signature = |outcome| Signature::of(&finished(outcome), Path::new("no folder"));
        assert_eq!(signature(fail("1 != 2")), signature(fail("3 != 4")));
        assert_ne!(signature(fail("x")), signature(Outcome::Timeout));
    }

    #[test]
    fn timeouts_are_told_apart_by_where_the_body_hangs() {
        let folder = tempfile::tempdir().expect("a folder");
        let signature = |name: &str, report: &str| {
            fs::write(folder.path().join(name), report).expect("written");
            let hung = Finished { hang_report: Some(name.into()), ..finished(Outcome::Timeout) };
            Signature::of(&hung, folder.path()).mark
        };
        let report = "hang report: a::b\nthread 7 `main` in wait at src/main.rs:1\n\
                      thread 8 `body` in lock at src/a.rs:7\n\nprocess 7\n";
        assert_eq!(signature("a", report), "in lock at src/a.rs:7");
        let other_pids = report.replace(" 7 ", " 9 ").replace(" 8 ", " 10 ");
        assert_eq!(signature("b", &other_pids), "in lock at src/a.rs:7");
        let elsewhere = report.replace("a.rs:7", "b.rs:3");
        assert_eq!(signature("c", &elsewhere), "in lock at src/b.rs:3");
        let stopped = "hang report: a::b\nthread 7 `fixtures` in raise\n\nthread 8 `body` in no\n";
        assert_eq!(signature("d", stopped), "in raise");
        assert_eq!(signature("e", "hang report: a::b\n\n"), "");
    }

    fn finished(outcome: Outcome) -> Finished {
        let case = CaseName {
            suite: "s".into(),
            id: "a::b::fork".into(),
            test: "a::b".into(),
            backend: "fork".into(),
        };
        samples::finished(case, outcome)
    }
}
