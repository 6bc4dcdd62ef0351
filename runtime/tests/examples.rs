//! Every example, on every backend: what it prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use runtime::{Backend, Capability};

#[test]
fn counter() {
    let expected =
        "3 more: 3\n4 more: 7\n5 more: 7 + 5 is beyond the limit of 10\ntotal: 7\nfib(10): 55\n";
    for backend in Backend::ALL {
        prints("counter", backend, expected);
    }
}

/// The leaves fail at about the same time: who had not failed when the first failure came to be known was cancelled instead.
#[test]
fn failing_tree() {
    let leaf = |branch: u32, leaf: u32| {
        let path = format!("1.{branch}.{leaf}");
        format!("leaf {path} withered in actor {path}, by way of [\"1.{branch}\", \"1\"]")
    };
    let all = [leaf(1, 1), leaf(1, 2), leaf(2, 1), leaf(2, 2)];
    for backend in Backend::ALL {
        let said = said("failing_tree", backend);
        let places: Vec<Option<usize>> =
            said.lines().map(|line| all.iter().position(|leaf| leaf == line)).collect();
        assert!(!places.is_empty() && places.iter().all(Option::is_some), "on {backend}: {said}");
        assert!(places.is_sorted_by(|one, next| one < next), "on {backend}: {said}");
    }
}

#[test]
fn survivor() {
    for backend in Backend::ALL {
        let first = if backend.capabilities().has(Capability::Process) {
            "the call ended with its actor: exit code 3\nattempt 0 died: exit code 3\n"
        } else {
            "attempt 0 panicked: the first attempt fails\n"
        };
        prints("survivor", backend, &format!("{first}attempt 1 worked: 1\n"));
    }
}

#[test]
fn an_unknown_backend_is_refused_with_the_one_that_was_meant() {
    let output = run("counter", "frok");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("did you mean `fork`?"), "{said}");
}

fn prints(example: &str, backend: Backend, expected: &str) {
    assert_eq!(said(example, backend), expected, "{example} on {backend}");
}

fn said(example: &str, backend: Backend) -> String {
    let output = run(example, backend.name());
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example} on {backend}: {}\n{complained}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn run(example: &str, backend: &str) -> Output {
    let command = Command::new("timeout")
        .args(["--kill-after=5", "30"])
        .arg(directory().join(example))
        .args(["--backend", backend])
        .output();
    command.expect("`timeout` is installed")
}

/// Beside this test's own directory. `cargo test` builds them before tests run; `cargo test --test examples` does not.
fn directory() -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    let profile = test.parent().and_then(Path::parent).expect("it is in PROFILE/deps");
    profile.join("examples")
}
