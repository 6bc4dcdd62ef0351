//! Events in, text out.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use runner_core::event::{
    BackendCounts, CaseName, Cut, CutRunning, EVENT_VERSION, Event, Finished, Interrupt, SkipCause,
    Stress,
};
use runner_core::outcome::{FlakyPolicy, LeakPolicy, Outcome};
use runner_core::protocol::ResourceDelta;

use super::bar::Running;
use super::*;
use crate::samples::{self, process};

fn case(test: &str, backend: &str) -> CaseName {
    CaseName {
        suite: "suites".into(),
        id: format!("{test}::{backend}"),
        test: test.into(),
        backend: backend.into(),
    }
}

fn started(suites: usize, to_run: usize) -> Event {
    Event::RunStarted {
        version: EVENT_VERSION,
        run: "2026-01-01-x".into(),
        profile: "default".into(),
        backends: ["exec", "fork", "thread"].map(String::from).to_vec(),
        suites,
        to_run,
        slots: 2,
        seed: 7,
        stress: None,
    }
}

fn attempt(test: &str, backend: &str) -> Event {
    Event::AttemptStarted { case: case(test, backend), attempt: 1, round: 1, slot: 0 }
}

fn finished(test: &str, backend: &str, outcome: Outcome) -> Finished {
    let duration = Duration::from_millis(1234);
    let again = format!("--seed 7 {test}::{backend}");
    Finished { duration, again, seed: 7, ..samples::finished(case(test, backend), outcome) }
}

fn end(test: &str, backend: &str, outcome: Outcome) -> Event {
    Event::AttemptFinished(Box::new(finished(test, backend, outcome)))
}

fn skip(test: &str, backend: &str, cause: SkipCause, reason: &str) -> Event {
    Event::CaseSkipped { case: case(test, backend), cause, reason: reason.into() }
}

fn failure() -> Outcome {
    Outcome::Fail {
        message: "assertion failed: 1 == 2".into(),
        location: Some("suites/src/rpc.rs:12:5".into()),
    }
}

/// As the runner ends a run: with the counts of the events before.
fn run_finished(events: &[Event], not_started: usize) -> Event {
    let mut tally = Tally::default();
    events.iter().for_each(|event| tally.on_event(event));
    Event::RunFinished {
        duration: Duration::from_millis(12_345),
        backends: tally.backends().to_vec(),
        not_started,
        exit_code: 100,
    }
}

fn shown_in(folder: PathBuf, told: Told, events: &[Event]) -> String {
    let mut lines = Lines::new(told, Context { folder, again: "runner".into() });
    let mut out = Vec::new();
    events.iter().for_each(|event| lines.on_event(event, &mut out));
    anstream::adapter::strip_str(&String::from_utf8(out).expect("text")).to_string()
}

fn shown(mut events: Vec<Event>) -> String {
    events.push(run_finished(&events, 0));
    shown_in(PathBuf::from("target/runner/runs/x"), Told::Ends, &events)
}

#[test]
fn a_green_run() {
    let text = shown(vec![
        started(1, 2),
        attempt("local::adds", "exec"),
        end("local::adds", "exec", Outcome::Pass),
        end("local::adds", "fork", Outcome::Pass),
    ]);
    assert_snapshot!(text);
}

#[test]
fn every_outcome_has_its_line_its_cell_and_its_count() {
    let needs = "needs `killable`, which `thread` does not provide";
    let text = shown(vec![
        started(1, 14),
        skip("rpc::kill", "thread", SkipCause::Needs, needs),
        skip("rpc::stop", "thread", SkipCause::Needs, needs),
        skip(
            "rpc::stop",
            "fork",
            SkipCause::Mark,
            "`#[skip_on_backend(\"fork\")]` at src/rpc.rs:9",
        ),
        skip("rpc::old", "exec", SkipCause::Ignored, "slow"),
        skip("rpc::new", "thread", SkipCause::Unavailable, "no command `x` in PATH"),
        end("rpc::pass", "exec", Outcome::Pass),
        end("rpc::fail", "exec", failure()),
        end("rpc::fail", "fork", Outcome::Pass),
        end("rpc::kill", "exec", Outcome::ExitedEarly { code: 0 }),
        end("rpc::kill", "fork", Outcome::Signalled { signal: 9 }),
        end("rpc::stop", "exec", Outcome::Timeout),
        Event::SupervisorLost { slot: 1, suite: "suites".into(), message: "it fell silent".into() },
        end("x::leak", "exec", Outcome::Leak { processes: vec![process()] }),
        end("x::skip", "exec", Outcome::Skipped { reason: "no network here".into() }),
        end("x::xfail", "exec", Outcome::Xfail { reason: "issue 7".into() }),
        end("x::xpass", "exec", Outcome::Xpass { strict: false }),
        end("x::xpass", "fork", Outcome::Xpass { strict: true }),
        end("x::setup", "exec", Outcome::SetupError { message: "no temp dir".into() }),
        end("x::fault", "exec", Outcome::RunnerFault { message: "its supervisor died".into() }),
    ]);
    assert_snapshot!(text);
}

#[test]
fn an_interrupted_run_says_what_was_not_started() {
    let mut events = vec![
        started(1, 3),
        Event::AttemptSlow {
            case: case("a::b", "exec"),
            attempt: 1,
            round: 1,
            elapsed: Duration::from_secs(10),
        },
        Event::InterruptRequested { signal: 2, answer: Interrupt::Ask },
        Event::InterruptRequested { signal: 2, answer: Interrupt::Kill },
        end("a::b", "exec", Outcome::Interrupted),
    ];
    events.push(run_finished(&events, 2));
    assert_snapshot!(shown_in(PathBuf::from("x"), Told::Ends, &events));
}

#[test]
fn a_failure_shows_the_end_of_its_output_and_the_beginning_of_its_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let output: String = (1..=100).map(|number| format!("line {number}\x1b[2J\n")).collect();
    std::fs::write(folder.path().join("001.out"), output).expect("written");
    let report = "hang report: a::b::exec\nthread 1 `body` in spin\n\nthread 1\n  0  spin\n";
    std::fs::write(folder.path().join("001.hang"), report).expect("written");
    let mut hung = finished("a::b", "exec", Outcome::Timeout);
    hung.output = Some("001.out".into());
    hung.hang_report = Some("001.hang".into());
    let mut lost = finished("a::c", "exec", failure());
    lost.output = Some("gone.out".into());
    let events = [
        started(1, 2),
        Event::AttemptFinished(Box::new(hung)),
        Event::AttemptFinished(Box::new(lost)),
    ];
    let text = shown_in(folder.path().to_owned(), Told::Ends, &events);
    let path = folder.path().display().to_string();
    assert_snapshot!(text.replace(&path, "FOLDER"));
}

#[test]
fn a_warned_leak_is_named_but_fails_nothing() {
    let mut leaky = finished("a::b", "exec", Outcome::Leak { processes: Vec::new() });
    leaky.policy.leak = LeakPolicy::Warn;
    let text = shown(vec![started(1, 1), Event::AttemptFinished(Box::new(leaky))]);
    assert!(text.contains("LEAK"), "{text}");
    assert!(!text.contains("again:"), "{text}");
    assert!(text.contains("1 case run: 1 passed (1 leaky)"), "{text}");
}

/// One of several tries; the last one has no wait after it.
fn tried(test: &str, attempt: u32, wait: Option<Duration>, outcome: Outcome) -> Event {
    Event::AttemptFinished(Box::new(Finished {
        attempt,
        attempts: 3,
        retry: wait,
        ..finished(test, "exec", outcome)
    }))
}

#[test]
fn tries_are_told_and_only_the_last_one_counts() {
    let (at_once, later) = (Some(Duration::ZERO), Some(Duration::from_millis(1500)));
    let text = shown(vec![
        started(1, 5),
        tried("a::flaky", 1, at_once, failure()),
        tried("a::flaky", 2, later, Outcome::Timeout),
        tried("a::flaky", 3, None, Outcome::Pass),
        tried("a::broken", 1, at_once, failure()),
        tried("a::broken", 2, at_once, failure()),
        tried("a::broken", 3, None, Outcome::Signalled { signal: 11 }),
        tried("a::at_once", 1, None, Outcome::Pass),
        tried("a::cut", 1, later, failure()),
        tried("a::held", 1, later, failure()),
        Event::InterruptRequested { signal: 15, answer: Interrupt::Ask },
        Event::RetryForgone { case: case("a::cut", "exec"), round: 1 },
        Event::RetryForgone { case: case("a::held", "exec"), round: 1 },
    ]);
    assert_snapshot!(text);
}

#[test]
fn a_flaky_pass_fails_the_run_where_the_policy_says_so() {
    let mut flaky = Finished { attempt: 2, attempts: 2, ..finished("a::b", "exec", Outcome::Pass) };
    flaky.policy.flaky = FlakyPolicy::Fail;
    let text = shown(vec![started(1, 1), Event::AttemptFinished(Box::new(flaky))]);
    assert!(text.contains("FLAKY 2/2 [   1.234s] (1/1) a::b::exec"), "{text}");
    assert!(text.contains("again: runner --seed 7 a::b::exec"), "{text}");
    assert!(text.contains("1 case run: 0 passed, 1 failed"), "{text}");
}

#[test]
fn rounds_of_stress_are_counted_and_the_worst_is_shown() {
    let round = |round, outcome| {
        let it = Finished { round, seed: u64::from(round), ..finished("a::b", "exec", outcome) };
        Event::AttemptFinished(Box::new(it))
    };
    let mut begin = started(1, 1);
    if let Event::RunStarted { stress, .. } = &mut begin {
        *stress = Some(Stress::Count(4));
    }
    let text = shown(vec![
        begin,
        round(1, Outcome::Pass),
        round(2, failure()),
        round(3, Outcome::Timeout),
        round(4, Outcome::Pass),
    ]);
    assert_snapshot!(text);
}

#[test]
fn what_is_left_beside_a_pass_is_told() {
    let mut it = finished("a::b", "exec", Outcome::Pass);
    it.resources = Some(ResourceDelta {
        threads: Some(2),
        fds: Some(-1),
        children: 2,
        shm: vec!["ring".into()],
        sockets: vec!["a.sock".into()],
    });
    it.allowed_leaks = vec![process()];
    let mut leaky =
        finished("a::d", "exec", Outcome::Leak { processes: vec![process(), process()] });
    leaky.resources = Some(ResourceDelta { children: 2, fds: Some(1), ..ResourceDelta::default() });
    let mut clean = finished("a::c", "exec", Outcome::Pass);
    clean.resources = Some(ResourceDelta::default());
    let events = [it, leaky, clean].map(|it| Event::AttemptFinished(Box::new(it)));
    let text = shown_in(PathBuf::from("x"), Told::Notable, &events);
    let expected = "left beside: 2 threads, 1 fd less, 1 process, /dev/shm/ring, socket a.sock\n";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("left on purpose: sleep `sleep 1000` (pid 4711, 1.5 s old)"), "{text}");
    assert!(text.contains("left beside: 1 fd\n"), "who is named is not counted: {text}");
    assert!(!text.contains("a::c"), "{text}");
}

#[test]
fn a_run_that_ends_by_its_own_limits_says_which() {
    let cut = |cause| shown_in(PathBuf::from("x"), Told::Ends, &[Event::RunCut { cause }]);
    for (cause, expected) in [
        (
            Cut::MaxFail { failures: 1, running: CutRunning::Awaited },
            "Canceling 1 failure: nothing more is started (max-fail)",
        ),
        (
            Cut::MaxFail { failures: 2, running: CutRunning::Asked },
            "Canceling 2 failures: ending what runs (max-fail)",
        ),
        (
            Cut::GlobalTimeout { after: Duration::from_secs(90) },
            "Canceling the run has lasted 1m 30s: ending what runs (global-timeout)",
        ),
    ] {
        assert_eq!(cut(cause).trim(), expected);
    }
}

#[test]
fn a_lack_of_time_is_told_once_where_a_deadline_has_passed() {
    let reasons = vec!["2ms of work took 5.0 ms".to_owned(), "and more".to_owned()];
    let proposed = Event::ScaleProposed { percent: 250, reasons };
    let ends = [end("a::b", "exec", failure()), end("a::b", "fork", Outcome::Timeout)];
    let expected = "    Headroom 2ms of work took 5.0 ms; with `--timeout-scale 2.5` deadlines \
                    have room";
    let headroom = |events: &[Event]| -> Vec<String> {
        let text = shown(events.to_vec());
        text.lines().filter(|line| line.contains("Headroom")).map(str::to_owned).collect()
    };
    let [failed, timed_out] = ends;
    assert_eq!(headroom(&[started(2, 1), proposed.clone(), failed]), Vec::<String>::new());
    let twice = [started(2, 1), proposed, timed_out.clone(), timed_out];
    assert_eq!(headroom(&twice), [expected]);
}

#[test]
fn several_suites_are_told_apart() {
    let text = shown(vec![started(2, 1), end("a::b", "exec", failure())]);
    assert!(text.contains("(1/1) suites a::b::exec"), "{text}");
}

#[test]
fn axes_are_rows_not_columns() {
    let mut wide = finished("a::b", "exec", failure());
    wide.case.id = "a::b::exec::uds".into();
    let text = shown(vec![started(1, 1), Event::AttemptFinished(Box::new(wide))]);
    assert!(text.lines().any(|line| line.starts_with("a::b::uds  FAIL")), "{text}");
}

#[test]
fn above_a_bar_passes_are_not_told() {
    let events = [end("a::b", "exec", Outcome::Pass), end("a::c", "exec", failure())];
    let text = shown_in(PathBuf::from("x"), Told::Notable, &events);
    assert!(!text.contains("a::b"), "{text}");
    assert!(text.contains("a::c"), "{text}");
}

#[test]
fn a_backend_that_a_log_header_does_not_name_is_counted() {
    let mut tally = Tally::default();
    tally.on_event(&end("a::b", "new", Outcome::Pass));
    let expected =
        BackendCounts { backend: "new".into(), run: 1, passed: 1, ..BackendCounts::default() };
    assert_eq!(tally.backends(), [expected]);
}

#[test]
fn the_bar_names_what_has_been_running_longest() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut running = Running::default();
    let mut tally = Tally::default();
    for (event, millis) in [
        (started(1, 9), 0),
        (attempt("a::old", "exec"), 0),
        (attempt("a::done", "exec"), 100),
        (end("a::done", "exec", failure()), 200),
        (attempt("a::young", "exec"), 2_900),
    ] {
        running.on_event(&event, at(millis));
        tally.on_event(&event);
    }
    let message = running.message(&tally, at(3_000));
    assert_eq!(message, "in 3 s, 1 failed\n     3.0 s  a::old::exec");
}

/// A reader that does not read must not hold up a run, nor be told a wrong sum.
#[test]
fn a_terminal_that_stands_still_holds_up_nothing_and_gets_the_right_sum() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (texts, told) = std::sync::mpsc::channel::<Vec<u8>>();
    let lines = Lines::new(Told::Ends, Context { folder: "x".into(), again: "runner".into() });
    let mut reporter = Reporter::start_with(View::Plain, 4, move |news, settled| {
        draw_lines(&news, &settled, lines, |text| {
            // The first line is only written when somebody reads: then everything is.
            let _ = released.recv();
            texts.send(text.to_vec()).map_err(io::Error::other)
        })
    })
    .expect("a thread");
    let mut tally = Tally::default();
    let mut tell = |event: &Event| {
        reporter.on_event(event, &tally);
        tally.on_event(event);
    };
    tell(&started(1, 1000));
    for _ in 0..999 {
        tell(&end("a::b", "exec", Outcome::Pass));
    }
    tell(&end("a::c", "exec", failure()));
    drop(release);
    let counts = tally.backends().to_vec();
    let last = Event::RunFinished {
        duration: Duration::from_secs(1),
        backends: counts,
        not_started: 0,
        exit_code: 100,
    };
    reporter.on_event(&last, &tally);
    reporter.finish();
    let text: Vec<u8> = told.iter().flatten().collect();
    let text = anstream::adapter::strip_str(&String::from_utf8(text).expect("text")).to_string();
    assert!(text.contains("MISSED"), "{text}");
    assert!(text.contains("all of them are in x/events.jsonl"), "{text}");
    assert!(text.contains("1000 cases run: 999 passed, 1 failed"), "{text}");
    assert!(
        text.contains("again: runner --seed 7 a::c::exec"),
        "told in the list at the end: {text}"
    );
}
