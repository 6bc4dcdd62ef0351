//! What is known of a case that hangs.

use runner_core::protocol::Done;

use crate::Test;
use crate::bench::{Bench, shown};

pub(crate) const TESTS: &[Test] = &[
    ("trace_points_are_shown_beside_failures_only", trace_points),
    ("a_hang_report_has_stacks_tasks_and_last_events", tasks_and_events),
    ("a_hook_that_hangs_costs_its_own_text_only", hook_hangs),
    ("a_hook_that_panics_costs_its_own_text_only", hook_panics),
];

fn trace_points() {
    let mut bench = Bench::start();
    let passed = bench.run(bench.attempt("passes"));
    assert_eq!((passed.done, passed.last_events), (Some(Done::Passed), Vec::new()));
    let failed = bench.run(bench.attempt("fails_with_events"));
    let words: Vec<&str> = failed.last_events.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(words, ["first word", "last word"]);
}

fn tasks_and_events() {
    let report = Bench::start().hang_report("sleeps");
    for expected in [
        "`body` in supervised::bodies::sleeps_for_ever",
        "actors and tasks\n  root waits for leaf\n  leaf runs\n",
        "] goes to sleep\n",
    ] {
        assert!(report.contains(expected), "no {expected} in\n{report}");
    }
}

fn hook_hangs() {
    let report = with_hook("hang");
    assert!(report.contains("leaf\n  \n  (the hook that tells this did not"), "{report}");
}

fn hook_panics() {
    let report = with_hook("panic");
    assert!(report.contains("actors and tasks\n  root waits for leaf\n"), "{report}");
    assert!(!report.contains("leaf runs"), "{report}");
}

fn with_hook(manner: &str) -> String {
    let mut bench = Bench::start();
    let mut attempt = bench.attempt("sleeps");
    attempt.env.push(("DESCRIBE".into(), manner.into()));
    bench.begin(attempt);
    bench.wait_for("ready");
    bench.say(&runner_core::protocol::ToSupervisor::Expire);
    let report = shown(&bench.facts().hang.expect("a hang"));
    assert!(report.contains("sleeps_for_ever"), "{report}");
    report
}
