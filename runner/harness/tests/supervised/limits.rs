//! What an attempt may have and leave.

use runner_core::outcome::{Expectation, Outcome, judge};
use runner_core::process;
use runner_core::protocol::{Attempt, Facts, LeakAllowance, ResourceDelta, Resources};

use crate::Test;
use crate::bench::Bench;

pub(crate) const TESTS: &[Test] = &[
    ("a_fork_bomb_ends_with_its_attempt_and_fails", fork_bomb),
    ("a_daemon_that_is_allowed_goes_on_until_the_supervisor_ends", allowed_daemon),
    ("what_an_attempt_leaves_is_counted_where_asked_for", resources),
    ("an_end_by_a_signal_without_a_name_is_told", nameless_signal),
    ("a_thread_that_died_of_a_panic_unheard_fails_the_case", unheard),
    ("a_panic_that_somebody_was_told_of_is_no_failure", heard),
    ("a_case_can_be_interrupted_however_the_run_was_started", interruptible),
];

fn fork_bomb() {
    let mut bench = Bench::start();
    let mut attempt = bench.attempt("forks_without_end");
    attempt.max_processes = 64;
    let facts = bench.run(attempt);
    assert!(facts.too_many_processes.is_some_and(|count| count > 64), "{facts:?}");
    assert!(facts.unkillable.is_empty(), "{facts:?}");
    assert!(failure(&facts).contains("max-processes"));
    assert!(process::descendants(bench.pid()).is_empty());
    assert_eq!(judge(&bench.run(bench.attempt("passes")), &Expectation::Pass), Outcome::Pass);
}

fn allowed_daemon() {
    let mut bench = Bench::start();
    let leaves = |bench: &mut Bench, test: &str, pattern: &str| {
        let mut attempt = bench.attempt(test);
        attempt.leak_allow = vec![LeakAllowance { pattern: pattern.into() }];
        bench.run(attempt)
    };
    let leaked = leaves(&mut bench, "leaves_a_daemon", "sleep 5*");
    assert_eq!((leaked.leaks.len(), leaked.allowed_leaks.len()), (1, 0));
    let allowed = leaves(&mut bench, "leaves_a_daemon", "sleep 47*");
    assert_eq!((allowed.leaks.len(), allowed.allowed_leaks.len()), (0, 1));
    assert_eq!(judge(&allowed, &Expectation::Pass), Outcome::Pass);
    let daemon = allowed.allowed_leaks[0].pid;
    let next = bench.run(bench.attempt("passes"));
    assert_eq!(judge(&next, &Expectation::Pass), Outcome::Pass);
    assert_eq!(process::children(bench.pid()), [daemon]);
    drop(bench);
    assert_eq!(process::brief(daemon), None);
}

fn resources() {
    let mut bench = Bench::start();
    let mut attempt = bench.attempt("leaves_this_and_that");
    attempt.resources = Resources::Count;
    let facts = bench.run(attempt.clone());
    let said = bench.said();
    let name = format!("supervised-{}", said.trim().trim_start_matches("shm "));
    let expected = ResourceDelta {
        threads: Some(1),
        fds: Some(1),
        children: 0,
        shm: vec![name.clone()],
        sockets: vec!["rt/door".into()],
    };
    std::fs::remove_file(std::path::Path::new("/dev/shm").join(&name)).expect("it was left");
    let found = facts.resources.expect("counted");
    assert!(found.shm.contains(&name), "{found:?}");
    assert_eq!(ResourceDelta { shm: vec![name], ..found }, expected);
    let nothing = Attempt { work: bench.attempt("passes").work, ..attempt };
    let nothing = bench.run(nothing).resources.expect("counted");
    assert_eq!((nothing.threads, nothing.fds, nothing.children), (Some(0), Some(0), 0));
}

fn nameless_signal() {
    let mut bench = Bench::start();
    let facts = bench.run(bench.attempt("ends_itself_by_a_realtime_signal"));
    assert_eq!(judge(&facts, &Expectation::Pass), Outcome::Signalled { signal: 40 });
}

fn unheard() {
    let mut bench = Bench::start();
    for (test, thread) in [
        ("drops_a_thread_that_panics", "early"),
        ("keeps_a_thread_that_panics", "kept"),
        ("has_a_child_whose_thread_panics", "of a child"),
    ] {
        let facts = bench.run(bench.attempt(test));
        let [panic] = facts.detached_panics.as_slice() else {
            panic!("{test}: {facts:?}");
        };
        assert_eq!((&*panic.thread, &*panic.message), (thread, "nobody hears this"));
        assert!(panic.location.contains("bodies.rs:"), "{}", panic.location);
        assert!(failure(&facts).contains(thread));
    }
}

fn heard() {
    let mut bench = Bench::start();
    for test in ["joins_a_thread_that_panics", "catches_and_scopes_panics"] {
        let facts = bench.run(bench.attempt(test));
        assert_eq!(judge(&facts, &Expectation::Pass), Outcome::Pass, "{test}: {}", bench.said());
    }
}

fn failure(facts: &Facts) -> String {
    match judge(facts, &Expectation::Pass) {
        Outcome::Fail { message, .. } => message,
        other => panic!("no failure: {other:?}"),
    }
}

fn interruptible() {
    let mut bench = Bench::start_where_interrupts_are_ignored();
    let facts = bench.run(bench.attempt("ignores_nothing"));
    assert_eq!(judge(&facts, &Expectation::Pass), Outcome::Pass, "{}", bench.said());
}
