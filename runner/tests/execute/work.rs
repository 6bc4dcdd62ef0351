//! What a well-behaved run looks like.

use nix::sys::signal::Signal;
use runner_core::event::Event;

use crate::driver::Scenario;
use crate::probe::{Driver, is_start_of, run, scenario, suite};

crate::trials![
    every_case_has_a_start_and_an_end,
    all_slots_work,
    one_supervisor_serves_case_after_case,
    slots_move_on_to_other_suites,
    skipped_cases_are_told_and_not_run,
    max_fail_stops_starting,
    a_supervisor_gets_what_it_is_promised,
    output_is_kept_of_what_is_notable,
    output_is_kept_of_everything_if_wanted,
    a_hang_report_names_the_function,
    no_cases_is_no_error,
];

fn every_case_has_a_start_and_an_end() {
    let run = run(scenario(&["one", "fails", "two"]));
    assert_eq!(run.outcomes(), [("one", "PASS"), ("fails", "FAIL"), ("two", "PASS")]);
    let kinds: Vec<&str> = run.events.iter().map(kind).collect();
    assert_eq!(kinds, ["start", "end", "start", "end", "start", "end"]);
    assert_eq!(run.of("one").again, "--seed 42 one::fork");
    assert_eq!((run.not_started, run.interrupted), (0, false));
    assert_eq!(run.problems, Vec::<String>::new());
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::AttemptStarted { .. } => "start",
        Event::AttemptFinished(_) => "end",
        _ => "other",
    }
}

/// Each of four polite ones only ends by an interrupt: they must all run at once.
fn all_slots_work() {
    let cases = ["is polite", "is polite", "is polite", "is polite", "one"];
    let mut driver = Driver::start(Scenario { slots: 4, ..scenario(&cases) });
    for _ in 0..4 {
        driver.wait_for(|event| is_start_of(event, "is polite"));
    }
    driver.signal(Signal::SIGINT);
    let run = driver.wait();
    let mut slots: Vec<u32> = run.finished().iter().map(|finished| finished.slot).collect();
    slots.sort_unstable();
    assert_eq!(slots, [0, 1, 2, 3]);
}

fn one_supervisor_serves_case_after_case() {
    let run = run(scenario(&["tells", "one", "tells again"]));
    assert_eq!(run.told("tells")["pid"], run.told("tells again")["pid"]);
}

fn slots_move_on_to_other_suites() {
    let suites = vec![suite("a", &["one", "two"]), suite("b", &["three"]), suite("c", &["four"])];
    let run = run(Scenario { suites, ..scenario(&[]) });
    let suites: Vec<&str> = run.finished().iter().map(|f| f.case.suite.as_str()).collect();
    assert_eq!(suites, ["a", "a", "b", "c"]);
}

fn skipped_cases_are_told_and_not_run() {
    let run = run(scenario(&["skipped", "one"]));
    assert_eq!(run.outcomes(), [("one", "PASS")]);
    let told = run
        .events
        .iter()
        .any(|event| matches!(event, Event::CaseSkipped { reason, .. } if reason == "by mark"));
    assert!(told, "{:?}", run.events);
}

fn max_fail_stops_starting() {
    let run = run(Scenario {
        fail_fast: Some((1, false)),
        ..scenario(&["one", "fails", "two", "three"])
    });
    assert_eq!(run.outcomes(), [("one", "PASS"), ("fails", "FAIL")]);
    assert_eq!((run.not_started, run.interrupted), (2, false));
}

fn a_supervisor_gets_what_it_is_promised() {
    let run = run(scenario(&["tells"]));
    let told = run.told("tells");
    assert_eq!(told["own_session"], true);
    assert_eq!(told["cwd"], env!("CARGO_MANIFEST_DIR"));
    assert_eq!(told["stdin"], "/dev/null");
    let fds: Vec<&str> =
        told["fds"].as_array().unwrap().iter().flat_map(|fd| fd.as_str()).collect();
    let ours = |fd: &&&str| fd.starts_with("socket:") || fd.contains("runner-attempt");
    assert_eq!(fds.iter().filter(ours).count(), 2, "control and memory: {fds:?}");
    let binary = std::env::current_exe().unwrap();
    assert!(!fds.iter().any(|fd| *fd == binary.to_str().unwrap()), "{fds:?}");
    assert_eq!(told["blocked"], "0000000000000000");
    assert_eq!(told["argument"], binary.to_str().unwrap());
    let variables =
        ["EXECUTE_MARK", "PATH", "RUNNER_CONTROL_FD", "RUNNER_MEMORY_FD", "RUNNER_ROLE"];
    assert_eq!(told["variables"], serde_json::json!(variables));
    let attempt = &told["attempt"];
    assert_eq!(attempt["case_id"], "tells::fork");
    assert_eq!(attempt["axes"]["transport"], "uds");
    assert_eq!(attempt["seed"], 42);
    assert_eq!(attempt["env"], serde_json::json!([["SPAWN_BACKEND", "fork"]]));
}

fn output_is_kept_of_what_is_notable() {
    let run = run(scenario(&["prints", "prints and passes", "fails"]));
    let text = run.read(run.of("prints").output.as_ref());
    assert!(text.starts_with("actor[") && text.ends_with("] | hello from an actor\n"), "{text}");
    assert_eq!(run.of("prints and passes").output, None);
    assert_eq!(run.of("fails").output, None, "the output of the case before is not its own");
}

fn output_is_kept_of_everything_if_wanted() {
    let run = run(Scenario { keep_all_output: true, ..scenario(&["prints and passes", "one"]) });
    let text = run.read(run.of("prints and passes").output.as_ref());
    assert!(text.ends_with("| hello\n"), "{text}");
    assert_eq!(run.of("one").output, None);
}

fn a_hang_report_names_the_function() {
    let run = run(scenario(&["hangs", "one"]));
    assert_eq!(run.of("hangs").outcome.word(), "TIMEOUT");
    let text = run.read(run.of("hangs").hang_report.as_ref());
    let first_paragraph = text.split("\n\n").next().unwrap();
    let named = first_paragraph.contains("fake::a_function_that_spins at ");
    assert!(named && first_paragraph.contains("fake.rs:"), "{text}");
    assert_eq!(run.of("one").hang_report, None);
}

fn no_cases_is_no_error() {
    let run = run(scenario(&[]));
    assert_eq!(run.events, []);
}
