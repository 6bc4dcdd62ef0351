//! What a well-behaved run looks like.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use runner_core::event::{Cut, CutRunning, Event, Finished, Stress};
use runner_core::outcome::{FlakyPolicy, Standing};

use crate::driver::Scenario;
use crate::probe::{Driver, is_start_of, run, scenario, suite};

crate::trials![
    every_case_has_a_start_and_an_end,
    all_slots_work,
    one_supervisor_serves_case_after_case,
    slots_move_on_to_other_suites,
    skipped_cases_are_told_and_not_run,
    max_fail_stops_starting,
    max_fail_ends_what_runs_if_that_is_wanted,
    a_failed_case_is_tried_again_and_every_try_is_kept,
    a_case_that_waits_for_its_retry_lets_others_run,
    an_interrupt_forgoes_a_retry_and_the_last_try_counts,
    a_flaky_case_fails_the_run_where_that_is_wanted,
    a_lost_attempt_is_tried_again,
    a_group_runs_no_more_at_once_than_it_may,
    a_run_that_lasts_too_long_is_ended,
    stress_runs_a_case_again_with_other_seeds,
    stress_without_end_is_ended_by_an_interrupt,
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
    let variables = [
        "EXECUTE_MARK",
        "PATH",
        "RUNNER_CONTROL_FD",
        "RUNNER_MEMORY_FD",
        "RUNNER_OWNER",
        "RUNNER_ROLE",
    ];
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

fn max_fail_ends_what_runs_if_that_is_wanted() {
    let cases = ["is polite", "fails", "one"];
    let run = run(Scenario { slots: 2, fail_fast: Some((1, true)), ..scenario(&cases) });
    assert_eq!(run.outcomes(), [("fails", "FAIL"), ("is polite", "INTERRUPTED")]);
    assert_eq!((run.not_started, run.interrupted), (1, false));
    let cut = Cut::MaxFail { failures: 1, running: CutRunning::Asked };
    assert!(run.events.contains(&Event::RunCut { cause: cut }), "{:?}", run.events);
}

fn a_failed_case_is_tried_again_and_every_try_is_kept() {
    let run = run(Scenario { retries: (2, Duration::ZERO), ..scenario(&["fails twice"]) });
    let [first, second, third] = run.finished()[..] else { panic!("{:?}", run.events) };
    let words: Vec<_> = run.outcomes().into_iter().map(|(_, word)| word).collect();
    assert_eq!(words, ["FAIL", "FAIL", "PASS"]);
    assert_eq!(
        [first, second, third].map(|it| (it.attempt, it.attempts)),
        [(1, 3), (2, 3), (3, 3)]
    );
    assert_eq!([first, second, third].map(Finished::is_last), [false, false, true]);
    assert!(third.is_flaky() && third.standing() == Standing::Good);
    for failed in [first, second] {
        let text = run.read(failed.output.as_ref());
        assert!(text.ends_with("hello from a failed try\n"), "{text}");
    }
    assert_ne!(first.output, second.output);
    // Each is repeated by its own seed; the first has the run's.
    assert_eq!(first.seed, 42);
    assert_ne!(first.seed, second.seed);
    assert_eq!(second.again, format!("--seed {} 'fails twice::fork'", second.seed));
}

fn a_case_that_waits_for_its_retry_lets_others_run() {
    let retries = (1, Duration::from_millis(50));
    let run = run(Scenario { retries, ..scenario(&["fails", "one", "two"]) });
    let order: Vec<_> =
        run.finished().iter().map(|it| (it.case.test.as_str(), it.attempt)).collect();
    assert_eq!(order, [("fails", 1), ("one", 1), ("two", 1), ("fails", 2)]);
    assert_eq!(run.finished()[0].retry, Some(Duration::from_millis(50)));
}

fn an_interrupt_forgoes_a_retry_and_the_last_try_counts() {
    let retries = (1, Duration::from_secs(3600));
    let mut driver = Driver::start(Scenario { retries, ..scenario(&["fails", "is polite"]) });
    driver.wait_for(|event| is_start_of(event, "is polite"));
    driver.signal(Signal::SIGINT);
    let run = driver.wait();
    let forgone =
        |event: &Event| matches!(event, Event::RetryForgone { case, .. } if case.test == "fails");
    assert!(run.events.iter().any(forgone), "{:?}", run.events);
    assert_eq!((run.not_started, run.interrupted), (0, true));
}

fn a_flaky_case_fails_the_run_where_that_is_wanted() {
    let cases = scenario(&["fails twice", "one"]);
    let flaky = FlakyPolicy::Fail;
    let run =
        run(Scenario { retries: (5, Duration::ZERO), flaky, fail_fast: Some((1, false)), ..cases });
    let last = run.finished()[2];
    assert!(last.is_flaky() && last.is_last() && last.standing() == Standing::Bad, "{last:?}");
    assert_eq!(run.not_started, 1, "it counted as a failure");
}

fn a_lost_attempt_is_tried_again() {
    let run = run(Scenario { retries: (1, Duration::ZERO), ..scenario(&["exits"]) });
    assert_eq!(run.outcomes(), [("exits", "RUNNER FAULT"), ("exits", "RUNNER FAULT")]);
    assert_eq!(run.finished()[1].attempt, 2);
}

/// Each of these only ends by an interrupt: the second of the group must never begin.
fn a_group_runs_no_more_at_once_than_it_may() {
    let cases = ["in db: one", "in db: two", "in db: three", "is polite"];
    let groups = [("db".to_owned(), 1)].into();
    let run = {
        let mut driver = Driver::start(Scenario { slots: 4, groups, ..scenario(&cases) });
        driver.wait_for(
            |event| matches!(event, Event::AttemptFinished(it) if it.case.test == "in db: three"),
        );
        driver.signal(Signal::SIGINT);
        driver.wait()
    };
    let mut open = 0;
    for event in &run.events {
        match event {
            Event::AttemptStarted { case, .. } if case.test.starts_with("in db") => open += 1,
            Event::AttemptFinished(it) if it.case.test.starts_with("in db") => open -= 1,
            _ => {}
        }
        assert!(open <= 1, "{:?}", run.events);
    }
    assert_eq!(run.not_started, 0);
}

fn a_run_that_lasts_too_long_is_ended() {
    let after = Duration::from_millis(300);
    let run = run(Scenario { global_timeout: Some(after), ..scenario(&["is polite", "one"]) });
    assert_eq!(run.outcomes(), [("is polite", "INTERRUPTED")]);
    assert_eq!((run.not_started, run.interrupted), (1, false));
    let cut = Event::RunCut { cause: Cut::GlobalTimeout { after } };
    assert!(run.events.contains(&cut), "{:?}", run.events);
}

fn stress_runs_a_case_again_with_other_seeds() {
    let run =
        run(Scenario { stress: Some(Stress::Count(3)), slots: 2, ..scenario(&["one", "two"]) });
    let of_one = || run.finished().into_iter().filter(|it| it.case.test == "one");
    assert_eq!(of_one().map(|it| it.round).collect::<Vec<_>>(), [1, 2, 3]);
    let seeds: BTreeSet<u64> = of_one().map(|it| it.seed).collect();
    assert_eq!(seeds.len(), 3);
    assert_eq!(run.finished().len(), 6);
}

fn stress_without_end_is_ended_by_an_interrupt() {
    let mut driver =
        Driver::start(Scenario { stress: Some(Stress::Endless), ..scenario(&["one"]) });
    driver.wait_for(|event| matches!(event, Event::AttemptFinished(it) if it.round == 20));
    driver.signal(Signal::SIGINT);
    let run = driver.wait();
    assert_eq!((run.not_started, run.interrupted), (0, true));
}
