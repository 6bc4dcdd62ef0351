//! Supervisors that go wrong: the attempt ends as our fault, all of its processes end, and the run
//! goes on with a new supervisor. That nothing is left, `probe` checks for each of them.

use std::time::Duration;

use nix::sys::signal::Signal;
use runner_core::event::Event;

use crate::driver::Scenario;
use crate::fake::GREETING;
use crate::probe::{Driver, Run, is_start_of, run, scenario, suite};

crate::trials![
    a_dead_one_is_named_with_its_signal,
    a_dead_one_leaves_its_last_output,
    one_that_exits_is_named_with_its_code,
    what_a_dead_one_left_is_ended_also_when_it_flees,
    two_may_die_at_once,
    a_stopped_one_is_ended_at_once,
    a_silent_one_is_ended_when_its_time_is_over,
    one_that_closes_its_socket_and_stays_is_ended,
    one_that_sends_garbage_is_ended,
    one_that_announces_too_much_is_ended,
    one_that_never_ends_its_sentence_is_ended,
    one_that_speaks_out_of_turn_is_ended,
    one_that_gives_up_is_believed,
    one_that_dies_after_its_report_is_replaced,
    a_dead_one_gets_no_more_work,
    one_with_an_unkillable_process_is_replaced,
    one_that_floods_is_heard_and_nobody_starves,
    one_that_will_not_leave_is_ended,
    another_version_says_rebuild,
    one_that_never_greets_is_given_up,
    one_that_dies_before_greeting_is_given_up,
    one_that_greets_with_garbage_is_given_up,
    a_binary_that_cannot_be_started_is_named,
    faults_count_as_failures,
    one_that_dies_while_its_case_waits_for_a_retry_is_replaced,
];

/// A case that goes wrong, and one that must still run.
fn goes_on_after(test: &str) -> Run {
    let run = run(scenario(&[test, "next"]));
    // In any order: an end with a report is told when that is written.
    let ends = (run.of(test).outcome.word(), run.of("next").outcome.word());
    assert_eq!(ends, ("RUNNER FAULT", "PASS"));
    assert_eq!((run.finished().len(), run.lost()), (2, 1));
    assert_eq!(run.problems, Vec::<String>::new());
    run
}

fn assert_says(message: &str, words: &str) {
    assert!(message.contains(words), "`{message}` does not say `{words}`");
}

fn a_dead_one_is_named_with_its_signal() {
    assert_says(goes_on_after("dies").fault_of("dies"), "was ended by SIGKILL");
}

fn a_dead_one_leaves_its_last_output() {
    let run = goes_on_after("dies");
    assert_says(&run.read(run.of("dies").output.as_ref()), "last words");
}

fn one_that_exits_is_named_with_its_code() {
    assert_says(goes_on_after("exits").fault_of("exits"), "exited with 3");
}

fn what_a_dead_one_left_is_ended_also_when_it_flees() {
    goes_on_after("leaves a chain");
}

fn two_may_die_at_once() {
    let run = run(Scenario { slots: 2, ..scenario(&["dies", "dies", "dies", "dies", "next"]) });
    let words: Vec<&str> = run.outcomes().into_iter().map(|(_, word)| word).collect();
    assert_eq!(words.iter().filter(|word| **word == "RUNNER FAULT").count(), 4, "{words:?}");
    assert_eq!(run.of("next").outcome.word(), "PASS");
}

fn a_stopped_one_is_ended_at_once() {
    let patient =
        Scenario { silence_limit: Duration::from_secs(3600), ..scenario(&["stops", "next"]) };
    let run = run(patient);
    assert_says(run.fault_of("stops"), "was stopped by SIGSTOP");
    assert_eq!(run.of("next").outcome.word(), "PASS");
}

fn a_silent_one_is_ended_when_its_time_is_over() {
    let run = goes_on_after("is silent");
    assert_says(run.fault_of("is silent"), "was silent");
    let report = run.read(run.of("is silent").hang_report.as_ref());
    assert_says(&report, "supervisor ");
    assert_says(&report, "sleeping in futex");
}

fn one_that_closes_its_socket_and_stays_is_ended() {
    goes_on_after("closes");
}

fn one_that_sends_garbage_is_ended() {
    let run = goes_on_after("sends garbage");
    assert_says(run.fault_of("sends garbage"), "unreadable frame");
}

fn one_that_announces_too_much_is_ended() {
    let run = goes_on_after("sends a huge frame");
    assert_says(run.fault_of("sends a huge frame"), "exceeds the limit");
}

fn one_that_never_ends_its_sentence_is_ended() {
    goes_on_after("sends half a frame");
}

fn one_that_speaks_out_of_turn_is_ended() {
    let run = run(scenario(&["finishes twice", "next", "last"]));
    let words: Vec<&str> = run.outcomes().into_iter().map(|(_, word)| word).collect();
    // The second report may be taken for that of the next case: nobody can tell. But whatever is
    // reported, every case is, once.
    assert_eq!(words.len(), 3);
    assert_eq!(run.of("last").outcome.word(), "PASS");
}

fn one_that_gives_up_is_believed() {
    assert_says(goes_on_after("gives up").fault_of("gives up"), "gave up: cannot fork");
}

fn one_that_dies_after_its_report_is_replaced() {
    let run = run(scenario(&["finishes and dies", "one", "two"]));
    assert_eq!(run.of("finishes and dies").outcome.word(), "PASS");
    assert_eq!(run.of("two").outcome.word(), "PASS");
}

/// Its report and its death are seen at once.
fn a_dead_one_gets_no_more_work() {
    let mut driver = Driver::start(scenario(&["finishes and dies behind its back", "one"]));
    driver.wait_for(|event| is_start_of(event, "finishes and dies behind its back"));
    driver.signal(Signal::SIGSTOP);
    driver.until_alone();
    driver.signal(Signal::SIGCONT);
    let run = driver.wait();
    assert_eq!(run.of("finishes and dies behind its back").outcome.word(), "PASS");
    assert_eq!(run.of("one").outcome.word(), "PASS");
    assert_eq!(run.lost(), 0);
}

fn one_with_an_unkillable_process_is_replaced() {
    let run = run(scenario(&["tells", "leaves an unkillable", "tells again"]));
    assert_ne!(run.told("tells")["pid"], run.told("tells again")["pid"]);
    assert_says(run.fault_of("leaves an unkillable"), "survived SIGKILL");
    assert_eq!(run.lost(), 0);
}

fn one_that_floods_is_heard_and_nobody_starves() {
    let run = run(Scenario { slots: 2, ..scenario(&["floods", "one", "two", "three"]) });
    assert_eq!(run.of("floods").outcome.word(), "PASS");
    assert_eq!(run.finished().len(), 4);
    assert!(run.events.len() > 10_000);
}

fn one_that_will_not_leave_is_ended() {
    let run = run(scenario(&["will not leave"]));
    assert_eq!(run.outcomes(), [("will not leave", "PASS")]);
}

/// A suite whose supervisors greet wrongly does not keep another from being run.
fn never_opens(greeting: &str) -> Run {
    let mut bad = suite("bad", &["one", "two"]);
    bad.env.push((GREETING.into(), greeting.into()));
    let run = run(Scenario { suites: vec![bad, suite("good", &["three"])], ..scenario(&[]) });
    for test in ["one", "two"] {
        assert_says(run.fault_of(test), "suite bad: ");
    }
    assert_eq!(run.of("three").outcome.word(), "PASS");
    assert_eq!(run.finished().len(), 3);
    run
}

fn another_version_says_rebuild() {
    let run = never_opens("other version");
    assert_says(run.fault_of("one"), "speaks protocol 99");
    assert_says(run.fault_of("one"), "rebuild");
}

fn one_that_never_greets_is_given_up() {
    assert_says(never_opens("none").fault_of("two"), "did not greet within 2s");
}

fn one_that_dies_before_greeting_is_given_up() {
    assert_says(never_opens("death").fault_of("two"), "its supervisor exited with 9");
}

fn one_that_greets_with_garbage_is_given_up() {
    assert_says(never_opens("garbage").fault_of("two"), "unreadable frame");
}

fn a_binary_that_cannot_be_started_is_named() {
    let mut bad = suite("bad", &["one"]);
    bad.file = Some("/etc/passwd".into());
    let run = run(Scenario { suites: vec![bad, suite("good", &["two"])], ..scenario(&[]) });
    assert_says(run.fault_of("one"), "suite bad: cannot start /etc/passwd: ");
    assert_eq!(run.of("two").outcome.word(), "PASS");
}

fn faults_count_as_failures() {
    let run = run(Scenario { fail_fast: Some((1, false)), ..scenario(&["dies", "one"]) });
    assert_eq!(run.outcomes(), [("dies", "RUNNER FAULT")]);
    assert_eq!(run.not_started, 1);
}

fn one_that_dies_while_its_case_waits_for_a_retry_is_replaced() {
    let retries = (1, Duration::from_secs(2));
    let mut driver = Driver::start(Scenario { retries, ..scenario(&["fails once"]) });
    driver.wait_for(|event| matches!(event, Event::AttemptFinished(_)));
    // Nothing runs: its supervisor is only kept for what is to come.
    driver.kill_others();
    let run = driver.wait();
    assert_eq!(run.outcomes(), [("fails once", "FAIL"), ("fails once", "PASS")]);
    assert_eq!(run.lost(), 1);
}
