//! Plain test binaries under the built runner: libtest's and libtest-mimic's, with tests that know
//! nothing of any runner and behave as badly as tests do.

mod workspace;

use std::collections::BTreeSet;
use std::fs;

use workspace::{folder, runner, runner_with};

#[test]
fn every_target_is_listed_and_nothing_else_is_printed() {
    let run = runner(&["list", "--backend", "warm"]);
    assert_eq!(run.code, 0, "{run}");
    let expected = "\
plain tests::adds::warm
plain tests::tells_its_parent::warm
plain::behaviour aborts::warm
plain::behaviour exits_with_77::warm
plain::behaviour fails::warm
plain::behaviour floods::warm
plain::behaviour hangs::warm
plain::behaviour is_flaky::warm
plain::behaviour leaks::warm
plain::behaviour passes::warm
plain::behaviour tells_its_parent::warm
plain::behaviour tells_what_it_finds::warm
plain::behaviour waits_to_be_asked::warm
plain::behaviour writes_in_every_way::warm
plain::mimic [slow] has a kind::warm
plain::mimic mimics::warm
plain::mimic mimics, badly::warm
plain::mimic waits::warm
";
    assert_eq!(run.stdout, expected);
}

#[test]
fn the_exit_code_is_the_verdict() {
    let words = ["passes", "fails", "exits_with_77", "aborts", "adds", "mimics", "badly", "kind"];
    let run = runner(&words);
    assert_eq!(run.code, 100, "{run}");
    let expected = [
        "FAIL behaviour exits_with_77::warm",
        "FAIL behaviour fails::cold",
        "FAIL behaviour fails::warm",
        "FAIL mimic mimics, badly::cold",
        "FAIL mimic mimics, badly::warm",
        "PASS behaviour passes::cold",
        "PASS behaviour passes::warm",
        "PASS lib tests::adds::cold",
        "PASS lib tests::adds::warm",
        "PASS mimic [slow] has a kind::cold",
        "PASS mimic [slow] has a kind::warm",
        "PASS mimic mimics::cold",
        "PASS mimic mimics::warm",
        "SIGNALLED behaviour aborts::cold",
        "SIGNALLED behaviour aborts::warm",
        "XFAIL behaviour exits_with_77::cold",
    ];
    assert_eq!(run.ends(), expected, "{run}");
    let details = ["panicked at behaviour.rs:", "exited with 77", "SIGABRT", "77 is expected here"];
    for detail in details {
        assert!(run.stdout.contains(detail), "{detail}: {run}");
    }
}

#[test]
fn a_backend_has_to_tolerate_that_fds_are_captured() {
    let manifest = fs::read_to_string(folder().join("runner.toml")).expect("written");
    let strict = manifest.replace("[backends.cold]", "[backends.cold]\ncapture = [\"sys\"]");
    fs::write(folder().join("strict.toml"), strict).expect("written");
    let arguments = ["--manifest", "strict.toml", "passes", "--capture=sys"];
    let expected = "backend `cold` does not tolerate capture `fd`";
    let run = runner_with(&arguments, &[("CI", "1")]);
    assert_eq!(run.code, 96, "{run}");
    assert!(run.stderr.contains(expected), "{run}");
    let run = runner(&arguments);
    assert_eq!(run.code, 0, "{run}");
    assert!(run.stderr.contains(expected), "{run}");
}

#[test]
fn that_output_cannot_be_taken_as_the_manifest_says_is_told() {
    let manifest = fs::read_to_string(folder().join("runner.toml")).expect("written");
    let wishful = manifest.replace("[suites.mimic]", "[suites.mimic]\ncapture = \"tee-sys\"");
    fs::write(folder().join("wishful.toml"), wishful).expect("written");
    let expected = "suite `mimic` has a harness of its own: its output is taken by capture `fd`, \
                    not `tee-sys`";
    let arguments = ["--manifest", "wishful.toml", "passes"];
    let run = runner(&arguments);
    assert_eq!(run.code, 0, "{run}");
    assert_eq!(run.stderr.matches("harness of its own").count(), 1, "{run}");
    assert!(run.stderr.contains(expected), "{run}");
    let run = runner_with(&arguments, &[("CI", "1")]);
    assert_eq!(run.code, 96, "{run}");
    assert!(run.stderr.contains(expected) && run.stderr.contains("wishful.toml"), "{run}");
}

#[test]
fn a_command_that_is_taken_for_a_word_is_told() {
    let run = runner(&["--manifest", "runner.toml", "list"]);
    assert_eq!(run.code, 4, "{run}");
    assert!(run.stderr.contains("`list` is a command only where it comes first"), "{run}");
}

#[test]
fn an_ignored_test_runs_when_it_is_asked_for() {
    let run = runner(&["waits", "waits_to_be_asked", "--backend", "warm"]);
    assert_eq!(run.code, 4, "{run}");
    let run = runner(&["waits", "waits_to_be_asked", "--backend", "warm", "--run-ignored", "only"]);
    let expected = ["FAIL behaviour waits_to_be_asked::warm", "FAIL mimic waits::warm"];
    assert_eq!(run.ends(), expected, "{run}");
    assert!(run.stdout.contains("was asked"), "{run}");
}

#[test]
fn a_hang_is_ended_with_a_report_and_its_output() {
    let run = runner(&["hangs::warm"]);
    assert_eq!(run.ends(), ["TIMEOUT behaviour hangs::warm"], "{run}");
    let report = String::from_utf8(run.file("hang report: ")).expect("text");
    assert!(report.contains("nanosleep"), "{report}");
    assert!(report.contains("before it hung"), "{report}");
}

#[test]
fn what_a_test_leaves_is_named_and_gone() {
    let file = folder().join(format!("leak-{}", std::process::id()));
    let variables = [("LEAK", file.to_str().expect("text"))];
    let run = runner_with(&["leaks::warm", "--leak=fail"], &variables);
    assert_eq!(run.ends(), ["LEAK behaviour leaks::warm"], "{run}");
    assert!(run.stdout.contains("left sleep `sleep 1000`"), "{run}");
    assert_eq!(run.code, 100);
    let pid = fs::read_to_string(&file).expect("written");
    fs::remove_file(&file).expect("it was there");
    assert!(!fs::exists(format!("/proc/{pid}")).expect("/proc"), "{pid} is still there");
}

#[test]
fn of_a_flood_both_ends_are_kept_and_the_loss_is_said() {
    let run = runner(&["floods::warm"]);
    assert_eq!(run.ends(), ["FAIL behaviour floods::warm"], "{run}");
    let output = run.output();
    assert!(output.len() < 20 << 20, "{} bytes", output.len());
    let text = String::from_utf8_lossy(&output);
    assert!(text.contains("the first line\n") && text.contains("\nthe last line\n"));
    assert!(text.contains("bytes in the middle were lost: capture-limit"));
}

#[test]
fn output_is_whole_and_in_order_whoever_wrote_it() {
    let run = runner(&["writes_in_every_way::warm"]);
    let output = run.output();
    let text = String::from_utf8_lossy(&output);
    let told: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("1 ")).collect();
    let expected = [
        "1 to stdout",
        "2 to stderr",
        "3 from a child",
        "4 and its stderr",
        "5 \u{fffd}\u{fffd} no UTF-8",
        "6 through a pipe",
        "7 from a thread",
        "8 from a thread",
        "9 a part of a line",
    ];
    assert_eq!(told, expected);
    assert!(output.windows(2).any(|two| two == b"\xff\xfe"), "the very bytes");
}

#[test]
fn without_capture_output_goes_where_the_runners_goes() {
    let run = runner(&["writes_in_every_way::warm", "--no-capture"]);
    assert!(run.stdout.contains("1 to stdout\n") && run.stdout.contains("3 from a child\n"));
    assert!(run.stderr.contains("2 to stderr\n"), "{run}");
}

#[test]
fn a_test_finds_what_cargo_and_nextest_would_give_it() {
    let run = runner(&["tells_what_it_finds::cold", "-j2"]);
    let output = String::from_utf8(run.output()).expect("text");
    let root = folder().display();
    for expected in [
        "arguments [\"--exact\", \"tells_what_it_finds\", \"--nocapture\"]".to_owned(),
        format!("folder {root}"),
        "stdin \"\"".to_owned(),
        "fds [\"/dev/null\", \"/memfd:runner-output (deleted)\", \"/memfd:runner-output (deleted)\"]"
            .to_owned(),
        "blocked 0000000000000000".to_owned(),
        "leads true".to_owned(),
        "MODE=cold".to_owned(),
        "SPAWN_BACKEND=cold".to_owned(),
        format!("CARGO_MANIFEST_DIR={root}"),
        "CARGO_PKG_VERSION=1.2.3".to_owned(),
        "NEXTEST=1".to_owned(),
        "NEXTEST_EXECUTION_MODE=process-per-test".to_owned(),
        "NEXTEST_TEST_PHASE=run".to_owned(),
        "NEXTEST_TEST_NAME=tells_what_it_finds".to_owned(),
        "NEXTEST_BINARY_ID=plain::behaviour".to_owned(),
        "NEXTEST_ATTEMPT=1".to_owned(),
        "NEXTEST_TEST_GLOBAL_SLOT=0".to_owned(),
        "NEXTEST_PROFILE=default".to_owned(),
        format!("NEXTEST_WORKSPACE_ROOT={root}"),
    ] {
        assert!(output.lines().any(|line| line == expected), "{expected}\n{output}");
    }
    for absent in ["RUNNER_", "NEXTEST_TEST_NAME=outer", "EXECUTE_MARK"] {
        assert!(!output.lines().any(|line| line.starts_with(absent)), "{absent}\n{output}");
    }
}

#[test]
fn a_flaky_test_is_told_apart_and_fails_the_run_only_if_that_is_wanted() {
    let run = runner(&["is_flaky::warm", "--retries", "2"]);
    assert_eq!(run.code, 0, "{run}");
    assert!(run.stdout.contains("TRY 1 FAIL") && run.stdout.contains("FLAKY 2/3"), "{run}");
    assert!(run.stdout.contains("1 case run: 1 passed (1 flaky)"), "{run}");
    let run = runner(&["is_flaky::warm", "--retries", "2", "--flaky-result", "fail"]);
    assert_eq!(run.code, 100, "{run}");
    let run = runner(&["is_flaky::warm"]);
    assert_eq!(run.code, 100, "{run}");
}

#[test]
fn stress_runs_a_test_again_and_tells_it_so() {
    let run = runner(&["tells_what_it_finds::cold", "passes::cold", "--stress-count", "2"]);
    assert_eq!(run.code, 100, "{run}");
    assert!(run.stdout.contains("4 cases run: 2 passed, 2 failed"), "{run}");
    for expected in ["NEXTEST_STRESS_CURRENT=1", "NEXTEST_STRESS_TOTAL=2"] {
        assert!(run.stdout.contains(expected), "{expected}: {run}");
    }
}

#[test]
fn the_line_that_runs_a_case_again_does() {
    let run = runner(&["fails::warm", "passes::warm", "--timeout-scale", "2"]);
    let line = run.stdout.lines().find(|line| line.trim().starts_with("again: "));
    // What stands before the flags depends on who started the runner.
    let again = line.and_then(|line| line.find("--timeout").map(|start| &line[start..]));
    let again: Vec<&str> = again.unwrap_or_else(|| panic!("{run}")).split(' ').collect();
    assert_eq!((again[0], again[1], again[2]), ("--timeout-scale", "2", "--seed"));
    let repeated = runner(&again);
    assert_eq!(repeated.ends(), ["FAIL behaviour fails::warm"], "{repeated}");
    assert!(repeated.stdout.contains(&format!("seed {}", again[3])), "{repeated}");
}

#[test]
fn too_many_failures_stop_the_run() {
    let run = runner(&["fails", "-j1", "--max-fail", "1"]);
    assert_eq!(run.code, 100, "{run}");
    assert!(run.stdout.contains("1 failure: nothing more is started (max-fail)"), "{run}");
    assert!(run.stdout.contains("1 case not started"), "{run}");
}

#[test]
fn one_supervisor_a_slot_serves_every_binary() {
    let run = runner(&["-j1", "-E", "test(tells_its_parent) and backend(warm)"]);
    let parents: BTreeSet<&str> =
        run.stdout.lines().filter_map(|line| line.trim().strip_prefix("parent ")).collect();
    assert_eq!(run.ends().len(), 2, "{run}");
    assert_eq!(parents.len(), 1, "{run}");
}
