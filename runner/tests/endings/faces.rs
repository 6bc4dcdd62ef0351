//! The suite binary as `cargo test` and `cargo nextest run` drive it.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::Signal;
use runner_core::owner::Owner;

use crate::started::{Started, fixtures, look_alike, state, threads_named};

const HANGS: &str = "hangs::sleeps_for_ever::plain";

fn hanging() -> Started {
    let started = Started::new(look_alike().args(["--exact", HANGS, "--nocapture"]));
    started.until("the body runs", |this| !threads_named(this.pid(), "body").is_empty());
    started
}

/// One after the other on one slot: without another supervisor the second could not run.
#[test]
fn a_lost_supervisor_is_replaced() {
    let (code, text) =
        Started::new(look_alike().args(["--test-threads", "1", "supervisor::"])).end();
    assert_eq!(code, 101, "{text}");
    assert!(text.contains("supervisor::is_killed::plain  its supervisor"), "{text}");
    assert!(text.contains("supervisor::is_stopped::plain  its supervisor"), "{text}");
    assert!(!text.contains("no supervisor is left"), "{text}");
}

/// What a case may write over is its own.
#[test]
fn a_case_has_the_memory_of_its_own_slot_alone() {
    // Two cases are called so.
    let face = Started::new(look_alike().args(["--test-threads", "2", "hangs::stops_itself"]));
    face.until("both bodies run", |this| threads_named(this.pid(), "body").len() == 2);
    let memories = threads_named(face.pid(), "body").into_iter().map(|case| {
        let maps = fs::read_to_string(format!("/proc/{case}/maps")).expect("a living case");
        let of_attempts = maps.lines().filter(|line| Owner::in_mapping(line).is_some());
        of_attempts.map(|line| line.split_whitespace().nth(4).map(str::to_owned)).collect()
    });
    let memories: Vec<BTreeSet<Option<String>>> = memories.collect();
    assert_eq!(memories.iter().map(BTreeSet::len).collect::<Vec<_>>(), [1, 1], "{memories:?}");
    assert_ne!(memories[0], memories[1]);
    face.signal(Signal::SIGTERM);
    let (code, text) = face.end();
    assert_eq!(code, 101, "{text}");
}

/// What the terminal and nextest send at Ctrl-Z, and at `fg`.
#[test]
fn a_stop_reaches_the_case_and_then_the_face() {
    let face = hanging();
    let case = threads_named(face.pid(), "body")[0];
    face.signal(Signal::SIGTSTP);
    face.until_stopped();
    face.until("the case is stopped", |_| state(case) == Some('T'));
    face.signal(Signal::SIGCONT);
    face.until("the case goes on", |_| state(case) != Some('T'));
    face.signal(Signal::SIGTERM);
    let (code, text) = face.end();
    assert_eq!(code, 101, "{text}");
    assert!(text.contains("TIMEOUT"), "{text}");
}

/// Once for the look, and once more when its time is over: the look did not end it.
#[test]
fn a_look_is_answered_on_stderr_and_the_case_goes_on() {
    let face = hanging();
    face.signal(Signal::SIGUSR1);
    let (_, text) = face.end();
    assert_eq!(text.matches(&format!("hang report: {HANGS}")).count(), 2, "{text}");
    assert!(text.contains("TIMEOUT"), "{text}");
}

#[test]
fn the_line_that_runs_a_failure_again_has_its_seed() {
    let case = "prints::broken_utf8_and_no_newline::plain";
    let (code, text) = Started::new(look_alike().args(["--exact", case])).end();
    assert_eq!(code, 101, "{text}");
    let line = text.lines().find(|line| line.trim_start().starts_with("again: "));
    let words: Vec<&str> = line.unwrap_or_else(|| panic!("{text}")).split_whitespace().collect();
    let [.., "--seed", seed, again] = words[..] else { panic!("{words:?}") };
    assert!(seed.parse::<u64>().is_ok(), "{seed}");
    assert_eq!(again, case);
}

#[test]
fn what_may_outlive_a_case_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let manifest = folder.path().join("runner.toml");
    let text = fs::read_to_string(fixtures().join("runner.toml")).expect("the manifest");
    let allowed = "\n[profile.shared]\nleak = { allow = [\"sleep*\"] }\n";
    fs::write(&manifest, text + allowed).expect("written");
    let case = "leaves::a_daemon_in_disguise::plain";
    let mut face = look_alike();
    face.args(["--exact", case]).env("RUNNER_MANIFEST", &manifest);
    let (code, text) = Started::new(face.env("NEXTEST_PROFILE", "shared")).end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("] {case}\n")) && text.contains("PASS ["), "{text}");
    assert!(text.contains("left on purpose: sleep `sleep 1000` (pid "), "{text}");
}

#[test]
fn the_profile_is_the_one_that_nextest_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let manifest = folder.path().join("runner.toml");
    let lax = "\n[profile.lax]\nleak-timeout = { period = \"100ms\", result = \"pass\" }\n";
    let text = fs::read_to_string(fixtures().join("runner.toml")).expect("the manifest") + lax;
    fs::write(&manifest, text).expect("written");
    let case = "leaves::a_setsid_daemon_with_closed_stdio::plain";
    for (profile, expected) in [("lax", 0), ("nobody-knows-it", 101)] {
        let mut face = look_alike();
        face.args(["--exact", case]).env("RUNNER_MANIFEST", &manifest);
        let (code, text) = Started::new(face.env("NEXTEST_PROFILE", profile)).end();
        assert_eq!(code, expected, "{profile}: {text}");
        assert!(text.contains("LEAK"), "{profile}: {text}");
    }
}
