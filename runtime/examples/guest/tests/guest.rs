//! What the host prints on each backend, with its `main` taken.

use std::process::{Command, Output};

const REFUSED: &str =
    "refused: `init` must come before any other thread, and 2 threads are running";

#[test]
fn actors_run_in_the_worker_binary_or_in_threads() {
    for (backend, program) in [("exec", "worker"), ("forkserver", "worker"), ("thread", "host")] {
        let output = host(backend);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{backend}: {output:?}");
        assert!(said.starts_with(REFUSED), "{backend}: {said}");
        assert!(said.contains("Config::worker"), "{backend} does not say how to mend it: {said}");
        let counted = format!("\n5 words\ncounted in {program}\n");
        assert!(said.ends_with(&counted), "{backend}: {said}");
    }
}

#[test]
fn what_would_copy_the_process_is_refused_by_name() {
    for backend in ["fork", "thread_forkserver"] {
        let output = host(backend);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{backend}");
        assert!(
            said.contains("Unsupported") && said.contains("worker binary"),
            "{backend}: {said}"
        );
    }
}

#[test]
fn a_worker_that_cannot_be_executed_is_refused_at_once() {
    let refused = runtime::init(runtime::Config::worker("/no/such/worker")).err();
    let refused = refused.map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("/no/such/worker") && refused.contains("No such file"), "{refused}");
}

/// A test's process has threads too: this is a guest as good as the example.
#[test]
fn a_worker_that_is_no_worker_fails_the_start_with_its_exit() {
    let guard = runtime::init(runtime::Config::worker("/bin/false")).expect("it can be executed");
    let body = runtime::nursery(async |n| n.actor("nobody").await?.cancel().await);
    let outcome = runtime::block_on_root(runtime::RootConfig::default(), body).expect("a root");
    match outcome {
        Err(runtime::Error::SpawnFailed(failure)) => {
            assert_eq!(failure.exit, Some(runtime::Exit::Code(1)), "{failure}");
        }
        other => panic!("{other:?}"),
    }
    drop(guard);
}

fn host(backend: &str) -> Output {
    Command::new("timeout")
        .args(["--kill-after=5", "30", env!("CARGO_BIN_EXE_host"), "--backend", backend])
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("`timeout` is installed")
}
