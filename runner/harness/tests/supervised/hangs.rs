//! What is known of a case that hangs.

use std::time::{Duration, Instant};

use runner_core::process;
use runner_core::protocol::{Done, FromSupervisor, Hang, ToSupervisor};

use crate::Test;
use crate::bench::{Bench, shown};

pub(crate) const TESTS: &[Test] = &[
    ("trace_points_are_shown_beside_failures_only", trace_points),
    ("a_hang_report_has_stacks_tasks_and_last_events", tasks_and_events),
    ("every_process_of_a_hang_has_stacks", children),
    ("a_stopped_process_has_stacks_too_and_stays_stopped", stopped),
    ("who_holds_the_allocators_lock_is_found", allocator),
    ("who_holds_the_loaders_lock_is_found", loader),
    ("sockets_are_told", sockets),
    ("who_asks_is_answered_and_the_case_goes_on_undisturbed", inspect),
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

fn children() {
    let report = Bench::start().hang_report("waits_for_a_child");
    for expected in ["bodies::spins_in_a_child", "bodies::sleeps_for_ever", "`sleeper`"] {
        assert!(named_in_second_process(&report, expected), "no {expected} in\n{report}");
    }
}

fn named_in_second_process(report: &str, expected: &str) -> bool {
    report.rsplit("\nprocess ").next().is_some_and(|second| second.contains(expected))
}

fn stopped() {
    let mut bench = Bench::start();
    bench.begin(bench.attempt("stops_itself"));
    bench.wait_for("ready");
    let case = process::children(bench.pid())[0];
    let state = || process::brief(case).map(|process| process.state);
    let since = Instant::now();
    while state() != Some('T') {
        assert!(since.elapsed() < Duration::from_secs(20));
    }
    let report = shown(&inspected(&mut bench));
    assert!(report.contains("bodies::stops_itself"), "{report}");
    assert_eq!(state(), Some('T'));
    bench.say(&ToSupervisor::Expire);
    let report = shown(&bench.facts().hang.expect("a hang"));
    assert!(report.contains("bodies::stops_itself"), "{report}");
    assert!(report.contains("the watchdog of the case did not run"), "{report}");
}

fn inspected(bench: &mut Bench) -> Hang {
    bench.say(&ToSupervisor::Inspect);
    match bench.hear() {
        FromSupervisor::Inspected(hang) => *hang,
        _ => panic!("not what was asked for, but of {}", bench.said()),
    }
}

fn allocator() {
    let report = Bench::start().hang_report("locks::holds_the_allocators_lock");
    assert!(report.contains("bodies::locks::hold_the_allocators"), "{report}");
    assert!(report.contains("`waiter` in supervised::bodies::locks::wait_for_memory"), "{report}");
}

fn loader() {
    let report = Bench::start().hang_report("locks::holds_the_loaders_lock");
    assert!(report.contains("bodies::locks::spin_in_the_loader"), "{report}");
}

fn sockets() {
    let report = Bench::start().hang_report("listens");
    let listening = |line: &str| line.contains("sockets: ") && line.contains("/door (listening)");
    assert!(report.lines().any(listening), "{report}");
}

fn inspect() {
    let mut bench = Bench::start();
    let mut attempt = bench.attempt("minds_interruptions");
    // So many looks take their time on a busy machine.
    attempt.clocks.deadline = None;
    bench.begin(attempt);
    bench.wait_for("ready");
    for _ in 0..40 {
        inspected(&mut bench);
    }
    let report = shown(&inspected(&mut bench));
    assert!(!report.contains("watchdog"), "{report}");
    for expected in ["`body`", "spins_until_let_go", "wait_without_interruption", "leaf runs"] {
        assert!(report.contains(expected), "no {expected} in\n{report}");
    }
    bench.let_go();
    let facts = bench.facts();
    assert_eq!((facts.done, facts.stopped, facts.hang), (Some(Done::Passed), None, None));
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
    bench.say(&ToSupervisor::Expire);
    let report = shown(&bench.facts().hang.expect("a hang"));
    assert!(report.contains("sleeps_for_ever"), "{report}");
    report
}
