//! What an attempt may have and leave.

use runner_core::outcome::{Expectation, Outcome, judge};
use runner_core::process;
use runner_core::protocol::Facts;

use crate::Test;
use crate::bench::Bench;

pub(crate) const TESTS: &[Test] = &[
    ("a_fork_bomb_ends_with_its_attempt_and_fails", fork_bomb),
    ("an_end_by_a_signal_without_a_name_is_told", nameless_signal),
    ("a_thread_that_died_of_a_panic_unheard_fails_the_case", unheard),
    ("a_panic_that_somebody_was_told_of_is_no_failure", heard),
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
    let facts = bench.run(bench.attempt("joins_catches_and_scopes_panics"));
    assert_eq!(judge(&facts, &Expectation::Pass), Outcome::Pass, "{}", bench.said());
}

fn failure(facts: &Facts) -> String {
    match judge(facts, &Expectation::Pass) {
        Outcome::Fail { message, .. } => message,
        other => panic!("no failure: {other:?}"),
    }
}
