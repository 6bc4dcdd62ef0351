//! Roots: one at a time, and nothing of one is left when it is over.

use std::panic::{AssertUnwindSafe, catch_unwind};

use runner::{Case, TestResult};
use runtime::{CallError, Config, Error, InitError, Nursery, RootConfig};

use crate::actors::{Identity, pid};
use crate::attempt::root_config;
use crate::process;

runner::marks! { timeout = "20s" }

#[runtime::remote]
async fn open_a_root() -> runtime::Result<()> {
    runtime::block_on_root(RootConfig::default(), async {})
}

#[runner::test]
async fn a_second_root_in_a_root_is_refused() -> TestResult {
    let own = runtime::current()?.id().clone();
    match open_a_root().await {
        Err(Error::SecondRoot(inside)) => assert_eq!(inside, own),
        other => panic!("{other:?}"),
    }
    Ok(())
}

#[runner::test]
async fn a_second_root_in_a_child_is_refused_and_said_so() -> TestResult {
    runtime::nursery(async |n| {
        let child = n.actor("child").expose::<open_a_root>().await?;
        match child.call::<open_a_root>(()).await {
            Err(CallError::Returned(Error::SecondRoot(inside), remote)) => {
                assert_eq!(&inside, child.id());
                assert_eq!(remote.source_actor(), child.id());
            }
            other => panic!("{other:?}"),
        }
        child.cancel().await
    })
    .await?;
    Ok(())
}

/// A process has one, whatever thread the other is on.
#[runner::test]
async fn a_second_root_beside_a_root_is_refused() -> TestResult {
    let own = runtime::current()?.id().clone();
    let beside = std::thread::Builder::new()
        .name("beside".to_owned())
        .spawn(|| runtime::block_on_root(RootConfig::default(), async {}))?;
    match beside.join().expect("it panics for nothing") {
        Err(Error::SecondRoot(inside)) => assert_eq!(inside, own),
        other => panic!("{other:?}"),
    }
    Ok(())
}

#[runner::test]
async fn a_late_init_is_refused() {
    // The harness has called it, and there are threads by now: either reason will do.
    let outcome = runtime::init(Config::default());
    assert!(matches!(outcome, Err(InitError::Twice | InitError::Threads { .. })), "{outcome:?}");
}

#[runner::test]
fn one_root_after_the_other_is_a_new_actor(case: Case) -> TestResult {
    let config = root_config(&case)?;
    let first = runtime::block_on_root(config.clone(), async { Identity::own() })??;
    assert!(matches!(runtime::current(), Err(Error::NoRuntime)));
    let second = RootConfig { name: "second".to_owned(), ..config };
    let second = runtime::block_on_root(second, async { Identity::own() })??;
    assert!(matches!(runtime::current(), Err(Error::NoRuntime)));
    assert_eq!((first.name.as_str(), second.name.as_str()), ("root", "second"));
    assert_ne!(first.uuid, second.uuid);
    assert_eq!(first.pid, second.pid);
    Ok(())
}

#[runner::test]
fn a_root_that_panics_takes_its_tree_along(case: Case) -> TestResult {
    let before = process::descendants(process::own_pid());
    let config = root_config(&case)?;
    let root = || {
        runtime::block_on_root(config, async {
            let nursery = Nursery::open()?;
            nursery.actor("child").await?;
            let told = "on purpose";
            std::panic::panic_any(told);
            #[expect(unreachable_code, reason = "says what the body would return")]
            Ok::<(), Error>(())
        })
    };
    let payload = catch_unwind(AssertUnwindSafe(root)).expect_err("the body panics");
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"on purpose"));
    assert!(matches!(runtime::current(), Err(Error::NoRuntime)));
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
#[timeout("60s")]
fn many_roots_in_a_row_leave_nothing(case: Case) -> TestResult {
    let pid = process::own_pid();
    // The first makes what a process keeps: its spawner, its reaper, tokio's own descriptors.
    one_root(&case)?;
    let processes = process::descendants(pid);
    let threads = process::threads(pid)?.len();
    let descriptors = process::descriptors(pid)?.len();
    for _ in 0..25 {
        one_root(&case)?;
    }
    assert_eq!(process::descendants(pid), processes);
    // An actor's thread goes on for its last few instructions after its end was noticed.
    let has_settled = || {
        let threads_now = process::threads(pid).map_or(usize::MAX, |threads| threads.len());
        let now = process::descriptors(pid).map_or(usize::MAX, |descriptors| descriptors.len());
        threads_now <= threads && now <= descriptors
    };
    assert!(process::comes_true(has_settled), "{:?}", process::descriptors(pid));
    Ok(())
}

fn one_root(case: &Case) -> TestResult {
    let body = runtime::nursery(async |n| {
        let child = n.actor("child").expose::<pid>().await?;
        child.call::<pid>(()).await?;
        child.cancel().await
    });
    Ok(runtime::block_on_root(root_config(case)?, body)??)
}
