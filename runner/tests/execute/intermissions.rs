//! A run that is stopped and goes on, and one that is only looked at.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use runner_core::event::Event;

use crate::driver::Scenario;
use crate::probe::{Driver, is_start_of, scenario};

crate::trials![
    a_stop_stops_what_runs_and_then_the_runner,
    a_supervisor_that_does_not_answer_does_not_hold_up_a_stop,
    no_clock_runs_while_the_runner_is_stopped,
    what_is_to_start_meanwhile_starts_afterwards,
    a_look_is_written_and_disturbs_nobody,
    a_signal_that_was_ignored_from_the_start_stays_ignored,
];

/// A supervisor is given an hour, so that whatever ends is ended by what the test does.
fn patient(cases: &[&str]) -> Scenario {
    Scenario { silence_limit: Duration::from_secs(3600), ..scenario(cases) }
}

fn start(scenario: Scenario) -> Driver {
    let first = scenario.suites[0].cases[0].clone();
    let mut driver = Driver::start(scenario);
    driver.wait_for(|event| is_start_of(event, &first));
    driver
}

fn stop(driver: &mut Driver) {
    driver.signal(Signal::SIGTSTP);
    driver.wait_for(|event| *event == Event::RunPaused { running: 1 });
    driver.until_stopped();
}

fn go_on(driver: &mut Driver) {
    driver.signal(Signal::SIGCONT);
    driver.wait_for(|event| matches!(event, Event::RunResumed { .. }));
}

fn a_stop_stops_what_runs_and_then_the_runner() {
    let mut driver = start(patient(&["answers"]));
    stop(&mut driver);
    go_on(&mut driver);
    let run = driver.wait();
    assert_eq!(run.outcomes(), [("answers", "PASS")], "it was told to go on");
}

fn a_supervisor_that_does_not_answer_does_not_hold_up_a_stop() {
    let mut driver = start(patient(&["is polite"]));
    stop(&mut driver);
    go_on(&mut driver);
    driver.signal(Signal::SIGINT);
    assert_eq!(driver.wait().outcomes(), [("is polite", "INTERRUPTED")]);
}

fn no_clock_runs_while_the_runner_is_stopped() {
    let limit = Duration::from_millis(300);
    let mut driver = start(Scenario { silence_limit: limit, ..scenario(&["answers"]) });
    stop(&mut driver);
    let stopped = Instant::now();
    // Long enough for a supervisor to be called silent.
    while stopped.elapsed() < 5 * limit {
        std::thread::park_timeout(limit);
    }
    go_on(&mut driver);
    let run = driver.wait();
    assert_eq!((run.outcomes(), run.lost()), (vec![("answers", "PASS")], 0));
}

fn what_is_to_start_meanwhile_starts_afterwards() {
    let mut driver = start(patient(&["ends while all stops", "one"]));
    driver.signal(Signal::SIGTSTP);
    driver.wait_for(|event| matches!(event, Event::RunPaused { running: 0 }));
    driver.until_stopped();
    driver.signal(Signal::SIGCONT);
    driver.wait_for(|event| is_start_of(event, "one"));
    let run = driver.wait();
    assert_eq!(run.outcomes(), [("ends while all stops", "PASS"), ("one", "PASS")]);
}

fn a_look_is_written_and_disturbs_nobody() {
    let mut driver = start(patient(&["answers"]));
    for _ in 0..2 {
        driver.signal(Signal::SIGUSR1);
        driver.wait_for(|event| matches!(event, Event::AttemptInspected { .. }));
        let Event::AttemptInspected { report: Some(report), .. } = driver.last_seen() else {
            panic!("no report: {:?}", driver.last_seen());
        };
        let text = driver.read(report);
        assert!(text.contains("a_function_that_spins"), "{text}");
    }
    stop(&mut driver);
    go_on(&mut driver);
    assert_eq!(driver.wait().outcomes(), [("answers", "PASS")]);
}

/// As `nohup` does. What is blocked is queued, ignored or not: it must not be listened for.
fn a_signal_that_was_ignored_from_the_start_stays_ignored() {
    let mut command = Command::new("sh");
    let this = std::env::current_exe().unwrap();
    command.args(["-c", "trap '' HUP; exec \"$0\""]).arg(this);
    let mut driver = Driver::start_as(command, patient(&["answers"]));
    driver.wait_for(|event| is_start_of(event, "answers"));
    driver.signal(Signal::SIGHUP);
    stop(&mut driver);
    go_on(&mut driver);
    let run = driver.wait();
    assert_eq!((run.outcomes(), run.interrupted), (vec![("answers", "PASS")], false));
}
