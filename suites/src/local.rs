//! One actor alone: where there is none, what a root knows of itself, plain tasks in it.

use std::thread;
use std::time::{Duration, Instant};

use runner::{Case, TestResult};
use runtime::{Error, Nursery};
use tokio::task::JoinSet;

use crate::actors::Identity;
use crate::attempt;

runner::marks! { timeout = "20s" }

/// Of a timer that ten tasks wait for.
const SHORT: Duration = Duration::from_millis(100);

#[runner::test]
fn outside_an_actor_there_is_no_runtime() {
    assert!(matches!(runtime::current(), Err(Error::NoRuntime)));
    assert!(matches!(Nursery::open(), Err(Error::NoRuntime)));
}

#[runner::test]
fn a_nursery_without_an_actor_runs_a_root_for_itself() -> TestResult {
    let scheduler = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = scheduler.block_on(runtime::nursery(async |n| {
        let child = n.actor("child").await?;
        child.cancel().await?;
        Ok((runtime::current()?.is_root(), runtime::current()?.name().to_owned()))
    }));
    assert_eq!(outcome?, (true, "root".to_owned()));
    assert!(matches!(runtime::current(), Err(Error::NoRuntime)));
    Ok(())
}

#[runner::test]
async fn a_plain_thread_of_an_actor_has_no_runtime() -> TestResult {
    let ask = || {
        let nobody = matches!(runtime::current(), Err(Error::NoRuntime));
        nobody && matches!(Nursery::open(), Err(Error::NoRuntime))
    };
    let plain = thread::Builder::new().name("plain".into()).spawn(ask)?;
    assert_eq!(plain.join().ok(), Some(true));
    assert!(tokio::task::spawn_blocking(ask).await?);
    Ok(())
}

#[runner::test]
async fn the_root_knows_itself(case: Case) -> TestResult {
    let this = runtime::current()?;
    assert!(this.is_root());
    assert_eq!(this.name(), "root");
    assert_eq!(this.backend(), None);
    assert_eq!(this.parent(), None);
    assert_eq!(this.pid(), std::process::id());
    assert_eq!(this.default_backend(), attempt::backend(&case)?);
    Ok(())
}

#[runner::test]
async fn every_task_of_an_actor_sees_the_same_actor() -> TestResult {
    let own = Identity::own()?;
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        tasks.spawn_local(async { Identity::own() });
    }
    while let Some(seen) = tasks.join_next().await {
        assert_eq!(seen??, own);
    }
    Ok(())
}

#[runner::test]
async fn plain_tasks_and_timers_run_in_a_root() -> TestResult {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    // The eleventh is shorter than the ten would be one after the other.
    for (number, after) in (0..10).map(|number| (number, SHORT)).chain([(10, 5 * SHORT)]) {
        tasks.spawn_local(async move {
            tokio::time::sleep_until((started + after).into()).await;
            number
        });
    }
    let mut numbers = Vec::new();
    while let Some(number) = tasks.join_next().await {
        numbers.push(number?);
    }
    assert!(started.elapsed() >= 5 * SHORT, "took {:?}", started.elapsed());
    assert_eq!(numbers.last(), Some(&10), "{numbers:?}");
    numbers.sort_unstable();
    assert_eq!(numbers, (0..=10).collect::<Vec<_>>());
    Ok(())
}
