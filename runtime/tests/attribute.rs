//! `#[runtime::test]` under libtest: these are tests as a user writes them; what must fail is ignored here, and run by a
//! test that reads what libtest says of it.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::{Command, Output};

use runtime::{Backend, CallError, Error, Nursery, nursery};

#[derive(Default)]
struct Counter {
    total: u64,
}

#[runtime::actor]
impl Counter {
    async fn add(&mut self, n: u64) -> u64 {
        self.total += n;
        self.total
    }

    async fn shout(&self, word: String) {
        println!("{word}");
    }

    async fn die(&self) {
        std::process::exit(3);
    }

    async fn arguments(&self) -> Vec<String> {
        std::env::args().skip(1).collect()
    }
}

#[runtime::remote]
async fn own_backend() -> runtime::Result<Option<Backend>> {
    Ok(runtime::current()?.backend())
}

/// One actor, one call, and what it says of itself.
async fn works_on(backend: Backend) -> runtime::Result<()> {
    nursery(async |n| {
        let counter = n.start::<Counter>("counter").await?;
        assert_eq!(counter.add(2).await?, 2);
        assert_eq!(n.run_in_actor::<own_backend>("asked", ()).await?.await?, Some(backend));
        counter.cancel().await
    })
    .await
}

#[runtime::test(backend = "exec")]
async fn an_actor_has_a_fresh_image_of_the_test_binary() -> runtime::Result<()> {
    works_on(Backend::Exec).await
}

#[runtime::test(backend = "forkserver")]
async fn an_actor_comes_from_the_fork_server() -> runtime::Result<()> {
    works_on(Backend::Forkserver).await
}

#[runtime::test(backend = "fork")]
async fn an_actor_is_a_copy_of_the_test() -> runtime::Result<()> {
    works_on(Backend::Fork).await
}

#[runtime::test(backend = "thread")]
async fn an_actor_is_a_thread_of_the_test() -> runtime::Result<()> {
    works_on(Backend::Thread).await
}

#[runtime::test(backend = "thread_forkserver")]
async fn an_actor_comes_from_the_main_thread() -> runtime::Result<()> {
    works_on(Backend::ThreadForkserver).await
}

#[runtime::test]
async fn the_default_is_what_the_variable_says() -> runtime::Result<()> {
    works_on(
        std::env::var("RUNTIME_BACKEND")
            .map_or(Ok(Backend::Exec), |name| name.parse().map_err(Error::user))?,
    )
    .await
}

#[runtime::test]
async fn a_test_may_return_nothing() {
    assert!(runtime::current().expect("an actor").is_root());
}

#[runtime::test]
#[should_panic(expected = "one is not two")]
async fn a_test_may_be_expected_to_panic() {
    assert_eq!(1, 2, "one is not two");
}

#[runtime::test(backend = "exec")]
async fn an_actor_of_a_test_sees_no_arguments_of_the_harness() -> runtime::Result<()> {
    nursery(async |n| {
        let counter = n.start::<Counter>("counter").await?;
        assert_eq!(counter.arguments().await?, Vec::<String>::new());
        counter.cancel().await
    })
    .await
}

#[runtime::test(backend = "fork")]
async fn a_dead_actor_ends_its_call_and_not_the_test() -> runtime::Result<()> {
    let outcome = nursery(async |n| {
        let counter = n.start::<Counter>("counter").await?;
        let died = counter.die().await;
        assert!(matches!(died, Err(CallError::Failed(Error::ActorDied { .. }))), "{died:?}");
        Ok(())
    })
    .await;
    assert!(matches!(outcome, Err(Error::ActorDied { .. })), "{outcome:?}");
    Ok(())
}

#[test]
fn a_plain_test_stays_one() {
    assert!(matches!(runtime::current(), Err(Error::NoRuntime)));
}

mod to_be_run_by_hand {
    use super::*;

    #[runtime::test]
    #[ignore = "it fails"]
    async fn panics() {
        println!("about to panic");
        panic!("as it should");
    }

    #[runtime::test]
    #[ignore = "it fails"]
    async fn returns_an_error() -> runtime::Result<()> {
        Err(Error::message("no luck"))
    }

    #[runtime::test]
    #[ignore = "it fails"]
    async fn dies() {
        std::process::abort();
    }

    #[runtime::test(backend = "exec")]
    #[ignore = "its output is what matters"]
    async fn speaks() -> runtime::Result<()> {
        println!("the root speaks");
        eprintln!("the root complains");
        nursery(async |n| {
            let counter = n.start::<Counter>("counter").await?;
            counter.shout("an actor speaks".to_owned()).await?;
            counter.cancel().await
        })
        .await?;
        panic!("libtest shows the output of what fails");
    }

    /// Leaves an actor that must be gone when the test is reported.
    #[runtime::test(backend = "exec")]
    #[ignore = "it is left by a panic"]
    async fn leaves_an_actor() {
        let nursery = Nursery::open().expect("an actor");
        nursery.start::<Counter>("left_behind").await.expect("a start");
        panic!("left");
    }
}

/// What libtest says of one of the tests above, run as `cargo test` would.
fn run(test: &str, more: &[&str]) -> (bool, String) {
    let program: PathBuf = std::env::current_exe().expect("this program has a path");
    let Output { status, stdout, stderr } = Command::new("timeout")
        .args(["--kill-after=5", "30"])
        .arg(program)
        .args(["--ignored", "--exact", &format!("to_be_run_by_hand::{test}")])
        .args(more)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("`timeout` is installed");
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.success(), said)
}

fn assert_fails(test: &str, words: &[&str]) {
    let (passed, said) = run(test, &[]);
    assert!(!passed, "{said}");
    assert!(said.contains("test result: FAILED. 0 passed; 1 failed"), "{said}");
    for word in words {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
}

#[test]
fn a_panic_is_shown_with_its_place_and_fails_the_test() {
    let words =
        ["about to panic", "to_be_run_by_hand::panics' ", "tests/attribute.rs:", "as it should"];
    assert_fails("panics", &words);
}

#[test]
fn a_returned_error_fails_the_test() {
    assert_fails("returns_an_error", &["Error: ", "no luck"]);
}

#[test]
fn the_death_of_the_tests_process_fails_the_test() {
    assert_fails("dies", &["died: signal: 6"]);
}

#[test]
fn all_output_is_captured_by_the_harness_and_shown_under_the_test() {
    let (_, said) = run("speaks", &[]);
    let report = said.find("---- to_be_run_by_hand::speaks stdout ----").expect(&said);
    for word in ["the root speaks", "the root complains", "an actor speaks"] {
        assert!(said.find(word).is_some_and(|at| at > report), "no `{word}` there in: {said}");
    }
}

#[test]
fn output_is_not_captured_if_the_harness_is_told_so() {
    let (_, said) = run("speaks", &["--nocapture"]);
    assert!(said.contains("an actor speaks") && !said.contains("stdout ----"), "{said}");
}

#[test]
fn no_actor_of_a_test_outlives_its_report() {
    assert_fails("leaves_an_actor", &["left"]);
    let left = std::fs::read_dir("/proc").expect("proc").flatten().filter_map(|entry| {
        let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        line.contains("actor[left_behind@").then_some(line)
    });
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
}
