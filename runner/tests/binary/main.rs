//! The built binary on small workspaces: what a person types and what they get.
//!
//! The suite binaries here are programs of a few lines that print a listing, or fail to: what is
//! tried is everything up to the first case and everything after the last. Running cases is tried
//! with the real harness in `execute` and in the fixture workspace.

mod workspace;

use workspace::{Answer, workspace};

#[test]
fn a_broken_manifest_is_shown_with_line_and_column_and_nothing_is_built() {
    let workspace = workspace("broken_manifest", Answer::Good);
    workspace.manifest("[backends.fork]\nprovids = []\n[suites.fake]\npackage = \"fake\"\n");
    let run = workspace.runner(&["list"]);
    assert_eq!(run.code, 96);
    assert!(run.stderr.contains("--> runner.toml:2:1"), "{}", run.stderr);
    assert!(run.stderr.contains("did you mean `provides`?"), "{}", run.stderr);
    assert!(run.stderr.contains("--> runner.toml:3:9"), "{}", run.stderr);
    assert!(!run.stderr.contains("Compiling"), "{}", run.stderr);
}

#[test]
fn no_manifest_is_one_clear_error() {
    let workspace = workspace("no_manifest", Answer::Good);
    let run = workspace.runner(&["--manifest", "elsewhere.toml"]);
    assert_eq!(run.code, 96);
    assert!(run.stderr.contains("cannot read elsewhere.toml"), "{}", run.stderr);
}

#[test]
fn an_unknown_backend_is_a_usage_error_with_a_hint() {
    let workspace = workspace("unknown_backend", Answer::Good);
    for flag in ["--spawn-backend=frok", "--backend=thread,frok"] {
        let run = workspace.runner(&[flag]);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains("no backend is called `frok`"), "{}", run.stderr);
        assert!(run.stderr.contains("did you mean `fork`?"), "{}", run.stderr);
    }
}

#[test]
fn a_broken_filterset_is_shown_with_its_place() {
    let workspace = workspace("broken_filterset", Answer::Good);
    let run = workspace.runner(&["-E", "tset(x) or backend(frok)", "-E", "(all()"]);
    assert_eq!(run.code, 94);
    assert!(run.stderr.contains("did you mean `test()`?"), "{}", run.stderr);
    assert!(run.stderr.contains("`(` without `)`"), "{}", run.stderr);
    assert!(run.stderr.contains("--> --filterset:1:1"), "{}", run.stderr);
}

#[test]
fn nonsense_on_the_command_line_is_a_usage_error() {
    let workspace = workspace("usage", Answer::Good);
    for arguments in [&["--no-such-flag"][..], &["-j", "0"], &["--profile", "nihgtly"]] {
        assert_eq!(workspace.runner(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn a_suite_that_is_no_target_is_shown_where_it_is_named() {
    let workspace = workspace("no_target", Answer::Good);
    workspace.manifest("[backends.fork]\n[suites.fake]\npackage = \"fake\"\ntest = \"fakes\"\n");
    let run = workspace.runner(&["list"]);
    assert_eq!(run.code, 96);
    assert!(run.stderr.contains("package `fake` has no test target `fakes`"), "{}", run.stderr);
    assert!(run.stderr.contains("--> runner.toml:2"), "{}", run.stderr);
    assert!(run.stderr.contains("did you mean `fake`?"), "{}", run.stderr);
}

#[test]
fn a_build_that_fails_has_cargos_own_words_and_code() {
    let workspace = workspace("no_build", Answer::Good);
    workspace.source("fn main() { let x: u8 = \"\"; }");
    let run = workspace.runner(&["list"]);
    assert_eq!(run.code, 101);
    assert!(run.stderr.contains("mismatched types"), "{}", run.stderr);
}

#[test]
fn a_folder_that_is_no_workspace_has_code_102() {
    let workspace = workspace("no_workspace", Answer::Good);
    workspace.write("Cargo.toml", "[package");
    let run = workspace.runner(&["list"]);
    assert_eq!(run.code, 102);
    assert!(run.stderr.contains("cargo metadata in "), "{}", run.stderr);
}

#[test]
fn cases_are_listed_with_what_would_be_done() {
    let workspace = workspace("listed", Answer::Good);
    let run = workspace.runner(&["list", "-T", "human"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let expected = "\
fake:
    a::one::fork
    a::one::thread  skipped: one address space (src/a.rs:3)
    a::two::fork
    a::two::thread
";
    assert_eq!(run.stdout, expected);
    // Not a terminal: as nextest prints it.
    let run = workspace.runner(&["list", "--backend", "subint", "two"]);
    assert_eq!(run.stdout, "fake::fake a::two::thread\n");
    let run = workspace.runner(&["list", "--format", "json", "-E", "mark(skip_on_backend)"]);
    let list: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(list["test-count"], 1);
    assert_eq!(list["cases"][0]["plan"], "skipped");
}

#[test]
fn the_environment_is_that_of_the_suites_package() {
    let workspace = workspace("environment", Answer::Environment);
    let run = workspace.runner(&["list", "-T", "oneline", "--backend", "fork"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    // The program makes its tests' names out of what it finds.
    let root = workspace.path().display().to_string();
    for expected in [
        format!("fake::fake CARGO_MANIFEST_DIR={root}::fork"),
        format!("fake::fake PWD={root}::fork"),
        "fake::fake CARGO_PKG_NAME=fake::fork".to_owned(),
        "fake::fake RUNNER_ROLE=list::fork".to_owned(),
        "fake::fake NEXTEST_BINARY_ID=fake::fake::fork".to_owned(),
        "fake::fake NEXTEST_TEST_NAME=::fork".to_owned(),
        "fake::fake RUNNER_MINE=::fork".to_owned(),
    ] {
        assert!(run.stdout.lines().any(|line| line == expected), "{expected}\n{}", run.stdout);
    }
}

#[test]
fn a_binary_that_cannot_be_listed_is_named_and_has_code_104() {
    for (name, answer, expected) in [
        ("garbage", Answer::Garbage, "printed something that is no listing"),
        ("newer", Answer::Newer, "speaks protocol 4711"),
        ("crash", Answer::Crash, "exited with 101 while listing"),
        ("typo", Answer::Typo, "no backend is called `frok`"),
        ("empty", Answer::Empty, "suite `fake` has no tests"),
    ] {
        let workspace = workspace(name, answer);
        let run = workspace.runner(&[]);
        assert_eq!(run.code, 104, "{name}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("fake") || name == "typo", "{name}: {}", run.stderr);
    }
}

#[test]
fn a_mark_with_a_typo_is_shown_with_its_file_and_line() {
    let workspace = workspace("typo_place", Answer::Typo);
    let run = workspace.runner(&[]);
    assert!(run.stderr.contains("--> src/a.rs:3"), "{}", run.stderr);
    assert!(run.stderr.contains("did you mean `fork`?"), "{}", run.stderr);
}

#[test]
fn nothing_to_run_has_code_4_and_says_why() {
    let workspace = workspace("nothing", Answer::Good);
    let run = workspace.runner(&["no_such_test"]);
    assert_eq!(run.code, 4);
    assert!(run.stderr.contains("no tests to run"), "{}", run.stderr);
    let run = workspace.runner(&["a::one::thread"]);
    assert_eq!(run.code, 4);
    assert!(run.stderr.contains("a::one::thread: one address space"), "{}", run.stderr);
}

#[test]
fn a_missing_backend_is_an_error_by_name_or_in_ci_and_said_otherwise() {
    let workspace = workspace("missing_backend", Answer::Good);
    workspace.manifest(
        "[backends.fork]\n[backends.thread]\nrequires = [\"command:no-such-command\"]\n\
         [suites.fake]\npackage = \"fake\"\ntest = \"fake\"\n",
    );
    let expected = "backend `thread` cannot run here: no command `no-such-command` in PATH";
    let run = workspace.runner(&["list", "--backend", "thread"]);
    assert_eq!(run.code, 96);
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    let run = workspace.runner_with(&["list"], &[("CI", "true")]);
    assert_eq!(run.code, 96);
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    let run = workspace.runner(&["list", "-T", "human", "two"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let line = "    a::two::thread  unavailable: no command `no-such-command` in PATH";
    assert!(run.stdout.lines().any(|it| it == line), "{}", run.stdout);
}

#[test]
fn a_capture_mode_that_is_not_tolerated_is_an_error_in_ci_and_a_warning_elsewhere() {
    let workspace = workspace("capture", Answer::Good);
    workspace.manifest(
        "[backends.fork]\ncapture = [\"fd\"]\n[backends.thread]\n[suites.fake]\npackage = \"fake\"\ntest = \"fake\"\n",
    );
    let expected = "backend `fork` does not tolerate capture `sys`";
    let run = workspace.runner_with(&["no_such_test"], &[("CI", "1")]);
    assert_eq!(run.code, 96);
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    let run = workspace.runner(&["no_such_test"]);
    assert_eq!(run.code, 4);
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    let run = workspace.runner_with(&["no_such_test", "--no-capture"], &[("CI", "1")]);
    assert_eq!(run.code, 4, "{}", run.stderr);
}

#[test]
fn triage_and_last_failed_read_what_was_recorded() {
    let workspace = workspace("triage", Answer::Good);
    assert!(workspace.runner(&["triage"]).stderr.contains("no recorded run in "));
    workspace.record("2026-01-01T00-00-00-000-aaaaaa", include_str!("recorded.jsonl"));
    let run = workspace.runner(&["triage"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let expected = "\
2026-01-01T00-00-00-000-aaaaaa: 2 of 3 cases failed

fork: 2 failed
  FAIL src/a.rs:7:9  ×1
    a::two::fork  passes on thread
      output: target/runner/runs/2026-01-01T00-00-00-000-aaaaaa/001.out
      again: runner --seed 7 a::two::fork
  TIMEOUT   ×1
    a::one::fork  passes nowhere else
      hang report: target/runner/runs/2026-01-01T00-00-00-000-aaaaaa/000.hang
      again: runner --seed 7 a::one::fork
";
    assert_eq!(run.stdout, expected);
    let run = workspace.runner(&["list", "--last-failed"]);
    assert_eq!(run.stdout, "fake::fake a::one::fork\nfake::fake a::two::fork\n");
    let run = workspace.runner(&["list", "--last-failed", "two"]);
    assert_eq!(run.stdout, "fake::fake a::two::fork\n");
    assert_eq!(workspace.runner(&["--last-failed", "three"]).code, 4);
}

#[test]
fn triage_tells_how_often_a_case_fails_and_which_timeouts_hang_in_one_place() {
    let workspace = workspace("history", Answer::Good);
    let recorded = include_str!("recorded.jsonl");
    let passed = recorded.replace(r#"{"outcome":"timeout"}"#, r#"{"outcome":"pass"}"#);
    workspace.record("2026-01-01T00-00-00-000-aaaaaa", &passed);
    workspace.record("2026-01-02T00-00-00-000-bbbbbb", recorded);
    workspace.record("2026-01-03T00-00-00-000-cccccc", recorded);
    let newest = "target/runner/runs/2026-01-03T00-00-00-000-cccccc";
    let report = "hang report: a::one::fork\nthread 7 `body` in spin at src/a.rs:9\n\n";
    workspace.write(&format!("{newest}/000.hang"), report);
    let run = workspace.runner(&["triage"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("  TIMEOUT in spin at src/a.rs:9  ×1\n"), "{}", run.stdout);
    let since = "failed in 2 of 3 runs, without a pass since 2026-01-02T00-00-00-000-bbbbbb";
    assert!(run.stdout.contains(since), "{}", run.stdout);
    assert!(run.stdout.contains("failed in 3 of 3 runs\n"), "{}", run.stdout);
    workspace.record("2025-12-31T00-00-00-000-dddddd", "{\"version\":1}\n");
    let run = workspace.runner(&["triage"]);
    let warned = "recorded runs that cannot be read are not counted: 1";
    assert!(run.stderr.contains(warned), "{}", run.stderr);
}

#[test]
fn a_truncated_or_newer_recording_is_one_clear_message() {
    let workspace = workspace("torn", Answer::Good);
    let whole = include_str!("recorded.jsonl");
    workspace.record("2026-01-01T00-00-00-000-aaaaaa", &whole[..whole.len() - 40]);
    let run = workspace.runner(&["triage"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("events.jsonl:6 is no event"), "{}", run.stderr);
    assert!(run.stdout.contains("2 of 3 cases failed"), "{}", run.stdout);
    workspace.record("2026-01-02T00-00-00-000-bbbbbb", "{\"event\":\"x\",\"version\":99}\n");
    for arguments in [&["triage"][..], &["--last-failed"]] {
        let run = workspace.runner(arguments);
        assert_eq!(run.code, 96, "{}", run.stderr);
        assert!(run.stderr.contains("another version of the runner"), "{}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    }
}

#[test]
fn completions_and_help_need_no_workspace() {
    let workspace = workspace("help", Answer::Good);
    workspace.remove("runner.toml");
    let run = workspace.runner(&["completions", "bash"]);
    assert_eq!(run.code, 0);
    assert!(run.stdout.contains("--spawn-backend"), "{}", run.stdout);
    let run = workspace.runner(&["--help"]);
    assert_eq!(run.code, 0);
    assert!(run.stdout.contains("runner --spawn-backend=all"), "{}", run.stdout);
}
