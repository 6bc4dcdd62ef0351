//! What an attempt may have and leave.

use runner_core::outcome::{Expectation, Outcome, judge};
use runner_core::process;
use runner_core::protocol::Facts;

use crate::Test;
use crate::bench::Bench;

pub(crate) const TESTS: &[Test] = &[("a_fork_bomb_ends_with_its_attempt_and_fails", fork_bomb)];

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

fn failure(facts: &Facts) -> String {
    match judge(facts, &Expectation::Pass) {
        Outcome::Fail { message, .. } => message,
        other => panic!("no failure: {other:?}"),
    }
}
