//! Cancels: asking, then forcing, and the record of it.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use runtime::{Error, Nursery, Rung, Teardown, nursery};

use crate::{Need, TIMINGS};

crate::cases![
    None => [a_healthy_tree_ends_by_asking, a_slow_clean_up_below_is_waited_for],
    Some(Need::Process) => [
        a_spinning_actor_is_terminated,
        a_stopped_actor_is_killed,
        a_spinning_leaf_does_not_cost_its_healthy_parent_its_life,
    ],
    Some(Need::Thread) => [a_spinning_thread_is_abandoned_and_named],
];

#[runtime::remote]
async fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

#[runtime::remote]
async fn stop() {
    raise(Signal::SIGSTOP).expect("a signal to oneself");
}

#[runtime::remote]
async fn sleep_for_ever() {
    std::future::pending::<()>().await;
}

#[runtime::remote]
async fn tree(depth: u32) -> runtime::Result<()> {
    nursery(async |n| {
        for number in 0..2 {
            let name = format!("{depth}.{number}");
            if depth == 1 {
                n.run_in_actor::<sleep_for_ever>(name, ()).await?;
            } else {
                n.run_in_actor::<tree>(name, (depth - 1,)).await?;
            }
        }
        std::future::pending().await
    })
    .await
}

#[runtime::remote]
async fn above_a_spinner() -> runtime::Result<()> {
    nursery(async |n| {
        n.run_in_actor::<spin>("spinner", ()).await?;
        std::future::pending().await
    })
    .await
}

/// Takes its time to end, in a destructor.
struct Slow(Duration);

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(self.0);
    }
}

#[runtime::remote]
async fn end_slowly() {
    let _slow = Slow(TIMINGS.soft / 2);
    std::future::pending::<()>().await;
}

#[runtime::remote]
async fn above_a_slow_one() -> runtime::Result<()> {
    nursery(async |n| {
        n.run_in_actor::<end_slowly>("slow", ()).await?;
        std::future::pending().await
    })
    .await
}

/// What the scope of one actor that runs `F`, cancelled once it runs, is told.
async fn cancelled<F: runtime::Function<Args = ()>>() -> (runtime::Result<()>, Duration) {
    let n = Nursery::open().expect("an actor");
    n.run_in_actor::<F>("actor", ()).await.expect("it starts");
    // The call is behind the spec in the channel; let it begin.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    (n.shutdown().await, begun.elapsed())
}

fn teardown(ended: runtime::Result<()>) -> Teardown {
    match ended {
        Err(Error::Forced { teardown, .. }) => teardown,
        other => panic!("{other:?}"),
    }
}

fn rungs(teardown: &Teardown) -> Vec<Rung> {
    teardown.rungs.iter().map(|taken| taken.rung).collect()
}

async fn a_healthy_tree_ends_by_asking() -> runtime::Result<()> {
    let n = Nursery::open()?;
    let top = n.run_in_actor::<tree>("top", (2,)).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    n.shutdown().await?;
    let teardown = top.teardown().expect("it has ended");
    assert!(!teardown.is_forced(), "{teardown}");
    Ok(())
}

async fn a_slow_clean_up_below_is_waited_for() -> runtime::Result<()> {
    cancelled::<above_a_slow_one>().await.0
}

async fn a_spinning_actor_is_terminated() -> runtime::Result<()> {
    let (ended, took) = cancelled::<spin>().await;
    let teardown = teardown(ended);
    assert_eq!(rungs(&teardown), [Rung::Request, Rung::Terminate]);
    assert!((TIMINGS.ack..TIMINGS.ack * 2).contains(&took), "{took:?}: {teardown}");
    Ok(())
}

async fn a_stopped_actor_is_killed() -> runtime::Result<()> {
    let (ended, took) = cancelled::<stop>().await;
    let teardown = teardown(ended);
    assert_eq!(rungs(&teardown), [Rung::Request, Rung::Terminate, Rung::Kill]);
    assert!(took < TIMINGS.soft, "{took:?}: {teardown}");
    Ok(())
}

async fn a_spinning_leaf_does_not_cost_its_healthy_parent_its_life() -> runtime::Result<()> {
    let (ended, took) = cancelled::<above_a_spinner>().await;
    // The spinner's teardown, told by its parent's last message.
    let Err(Error::Remote(told)) = ended else { panic!("{ended:?}") };
    let spinner = told.downcast::<Error>().map_or(Ok(()), Err);
    assert_eq!(rungs(&teardown(spinner)), [Rung::Request, Rung::Terminate]);
    assert!(took < TIMINGS.soft, "{took:?}");
    Ok(())
}

async fn a_spinning_thread_is_abandoned_and_named() -> runtime::Result<()> {
    let (ended, took) = cancelled::<spin>().await;
    let teardown = teardown(ended);
    assert_eq!(rungs(&teardown), [Rung::Request, Rung::Abandon]);
    assert!((TIMINGS.abandon..TIMINGS.abandon * 2).contains(&took), "{took:?}: {teardown}");
    let abandoned = runtime::spawn::abandoned();
    assert_eq!(abandoned.iter().map(|thread| thread.name.as_str()).collect::<Vec<_>>(), ["actor"]);
    Ok(())
}
