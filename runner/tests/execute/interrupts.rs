//! Signals to the runner: heard at once, whatever the supervisors do, and nothing is left.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use runner_core::event::{Event, Interrupt};

use crate::driver::Scenario;
use crate::probe::{Driver, is_start_of, scenario};

crate::trials![
    once_asks_what_runs_and_starts_nothing,
    every_ending_signal_is_answered,
    twice_kills,
    three_times_waits_for_nobody,
    a_deaf_supervisor_is_ended_after_the_second,
    one_that_has_not_greeted_does_not_hold_up_the_end,
];

/// A supervisor is given an hour, so that whatever ends is ended by the interrupt.
fn patient(cases: &[&str]) -> Scenario {
    Scenario { silence_limit: Duration::from_secs(3600), ..scenario(cases) }
}

fn start(scenario: Scenario) -> Driver {
    let first = scenario.suites[0].cases[0].clone();
    let mut driver = Driver::start(scenario);
    driver.wait_for(|event| is_start_of(event, &first));
    driver
}

/// Sends a signal and sees within how long it is answered.
fn interrupt(driver: &mut Driver, signal: Signal, wanted: Interrupt) {
    let sent = Instant::now();
    driver.signal(signal);
    driver.wait_for(|event| {
        let number = signal as i32;
        *event == Event::InterruptRequested { signal: number, answer: wanted }
    });
    assert!(sent.elapsed() < Duration::from_secs(1), "answered after {:?}", sent.elapsed());
}

fn once_asks_what_runs_and_starts_nothing() {
    let mut driver = start(patient(&["is polite", "one"]));
    interrupt(&mut driver, Signal::SIGINT, Interrupt::Ask);
    let run = driver.wait();
    assert_eq!(run.outcomes(), [("is polite", "INTERRUPTED")]);
    assert_eq!((run.not_started, run.interrupted), (1, true));
}

fn every_ending_signal_is_answered() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut driver = start(patient(&["is polite"]));
        interrupt(&mut driver, signal, Interrupt::Ask);
        assert_eq!(driver.wait().outcomes(), [("is polite", "INTERRUPTED")]);
    }
}

fn twice_kills() {
    let mut driver = start(patient(&["is stubborn"]));
    interrupt(&mut driver, Signal::SIGINT, Interrupt::Ask);
    interrupt(&mut driver, Signal::SIGTERM, Interrupt::Kill);
    let run = driver.wait();
    assert_eq!(run.outcomes(), [("is stubborn", "INTERRUPTED")]);
    assert_eq!(run.lost(), 0, "the supervisor did it");
}

fn three_times_waits_for_nobody() {
    let mut driver = start(patient(&["is deaf"]));
    interrupt(&mut driver, Signal::SIGINT, Interrupt::Ask);
    interrupt(&mut driver, Signal::SIGINT, Interrupt::Kill);
    interrupt(&mut driver, Signal::SIGINT, Interrupt::Kill);
    let run = driver.wait();
    assert_eq!(run.outcomes(), [("is deaf", "INTERRUPTED")]);
    assert_eq!(run.lost(), 1);
}

fn a_deaf_supervisor_is_ended_after_the_second() {
    let mut driver = start(patient(&["is deaf", "one"]));
    interrupt(&mut driver, Signal::SIGINT, Interrupt::Ask);
    interrupt(&mut driver, Signal::SIGINT, Interrupt::Kill);
    let run = driver.wait();
    assert_eq!(run.outcomes(), [("is deaf", "RUNNER FAULT")]);
    assert_eq!((run.not_started, run.interrupted), (1, true));
}

fn one_that_has_not_greeted_does_not_hold_up_the_end() {
    let mut mute = patient(&["one"]);
    mute.suites[0].env.push((crate::fake::GREETING.into(), "none".into()));
    mute.suites.push(crate::probe::suite("other", &["is polite"]));
    mute.slots = 2;
    let mut driver = Driver::start(mute);
    driver.wait_for(|event| is_start_of(event, "is polite"));
    interrupt(&mut driver, Signal::SIGINT, Interrupt::Ask);
    let run = driver.wait();
    assert_eq!(run.outcomes(), [("is polite", "INTERRUPTED")]);
    assert_eq!(run.not_started, 1);
}
