//! Cancels: asking, then forcing, and the record of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use runtime::{Error, Nursery, Rung, RungTaken, Teardown, Timings, nursery};

use crate::gate::{self, Gate};
use crate::{Need, PATIENT};

crate::cases![
    None => [a_healthy_tree_ends_by_asking],
    None, BRIEF_ACK => [
        a_slow_clean_up_below_is_waited_for,
        a_slow_clean_up_below_a_constructor_is_waited_for,
    ],
    Some(Need::Process), BRIEF_ACK => [
        a_spinning_actor_is_terminated,
        a_spinning_leaf_does_not_cost_its_healthy_parent_its_life,
    ],
    Some(Need::Process), DEEP => [a_stuck_leaf_costs_one_ladder_at_any_depth],
    Some(Need::Process), BRIEF => [a_stopped_actor_is_killed],
    Some(Need::Thread), BRIEF => [a_spinning_thread_is_abandoned_and_named],
];

/// For actors that do not acknowledge, among others that do. When a signal is enough, there is time for it to be.
const BRIEF_ACK: Timings = Timings { ack: Duration::from_secs(1), ..PATIENT };

/// For trees whose lowest levels are to have more than the least there is: each keeps a terminate wait for itself.
const DEEP: Timings = Timings { terminate: Duration::from_millis(250), ..BRIEF_ACK };

/// For actors that nothing but the last rung ends.
const BRIEF: Timings = Timings {
    ack: Duration::from_millis(250),
    terminate: Duration::from_millis(125),
    abandon: Duration::from_millis(800),
    ..PATIENT
};

#[runtime::remote]
async fn spin(gate: PathBuf) {
    gate::pass(gate);
    loop {
        std::hint::spin_loop();
    }
}

#[runtime::remote]
async fn stop(gate: PathBuf) {
    gate::pass(gate);
    raise(Signal::SIGSTOP).expect("a signal to oneself");
}

#[runtime::remote]
async fn sleep_for_ever(gate: PathBuf) {
    gate::pass(gate);
    std::future::pending::<()>().await;
}

#[runtime::remote]
async fn tree(depth: u32, gate: PathBuf) -> runtime::Result<()> {
    nursery(async |n| {
        for number in 0..2 {
            let (name, gate) = (format!("{depth}.{number}"), gate.clone());
            if depth == 1 {
                n.run_in_actor::<sleep_for_ever>(name, (gate,)).await?;
            } else {
                n.run_in_actor::<tree>(name, (depth - 1, gate)).await?;
            }
        }
        std::future::pending().await
    })
    .await
}

#[runtime::remote]
async fn above_a_spinner(gate: PathBuf) -> runtime::Result<()> {
    nursery(async |n| {
        n.run_in_actor::<spin>("spinner", (gate.clone(),)).await?;
        // A start that is cancelled before it is over is undone, without asking.
        gate::pass(gate);
        std::future::pending().await
    })
    .await
}

/// Takes its time to end, in a destructor: more than for an acknowledgement.
struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::sleep(BRIEF_ACK.ack * 3 / 2);
    }
}

#[runtime::remote]
async fn end_slowly(gate: PathBuf) {
    gate::pass(gate);
    let _slow = Slow;
    std::future::pending::<()>().await;
}

#[runtime::remote]
async fn above_a_slow_one(gate: PathBuf) -> runtime::Result<()> {
    nursery(async |n| {
        n.run_in_actor::<end_slowly>("slow", (gate.clone(),)).await?;
        gate::pass(gate);
        std::future::pending().await
    })
    .await
}

/// What the scope of one actor that runs `F`, cancelled once so many are at the gate, is told.
async fn cancelled<F>(at_gate: usize) -> runtime::Result<()>
where
    F: runtime::Function<Args = (PathBuf,)>,
{
    let n = Nursery::open()?;
    let gate = Gate::closed();
    n.run_in_actor::<F>("actor", (gate.path(),)).await?;
    gate.open_for(at_gate).await;
    n.shutdown().await
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

/// That the rung was not left before its time.
fn sat_through(taken: &RungTaken, wait: Duration) {
    assert!(taken.took >= wait, "{taken:?}");
}

async fn a_healthy_tree_ends_by_asking() -> runtime::Result<()> {
    let n = Nursery::open()?;
    let gate = Gate::closed();
    let top = n.run_in_actor::<tree>("top", (2, gate.path())).await?;
    gate.open_for(4).await;
    n.shutdown().await?;
    let teardown = top.teardown().expect("it has ended");
    assert!(!teardown.is_forced(), "{teardown}");
    Ok(())
}

async fn a_slow_clean_up_below_is_waited_for() -> runtime::Result<()> {
    cancelled::<above_a_slow_one>(2).await
}

/// Its constructor has an actor below it, and does not end.
struct Unfinished;

#[runtime::actor]
impl Unfinished {
    async fn new(gate: PathBuf) -> runtime::Result<Unfinished> {
        nursery(async |n| {
            n.run_in_actor::<end_slowly>("slow", (gate.clone(),)).await?;
            gate::pass(gate);
            std::future::pending().await
        })
        .await
    }

    async fn never(&self) {}
}

async fn a_slow_clean_up_below_a_constructor_is_waited_for() -> runtime::Result<()> {
    let (n, gate) = (Nursery::open()?, Gate::closed());
    tokio::select! {
        _ = n.start::<Unfinished>("unfinished").with((gate.path(),)) => panic!("it is never ready"),
        () = gate.open_for(2) => {}
    }
    // Nobody was forced, and none is left.
    n.join().await
}

/// So many actors, each below the one before, and a spinner below them all.
#[runtime::remote]
async fn chain(depth: u32, gate: PathBuf) -> runtime::Result<()> {
    nursery(async |n| {
        if depth == 0 {
            n.run_in_actor::<spin>("spinner", (gate.clone(),)).await?;
        } else {
            n.run_in_actor::<chain>(format!("chain {depth}"), (depth - 1, gate.clone())).await?;
        }
        gate::pass(gate);
        std::future::pending().await
    })
    .await
}

async fn a_stuck_leaf_costs_one_ladder_at_any_depth() -> runtime::Result<()> {
    for depth in [0, 3] {
        let (n, gate) = (Nursery::open()?, Gate::closed());
        n.run_in_actor::<chain>("top", (depth, gate.path())).await?;
        gate.open_for(depth as usize + 2).await;
        let begun = Instant::now();
        n.shutdown().await.expect_err("the spinner was forced");
        let took = begun.elapsed();
        assert!(took >= BRIEF_ACK.ack, "depth {depth}: {took:?}");
        assert!(took < BRIEF_ACK.ack * 2 + Duration::from_millis(500), "depth {depth}: {took:?}");
    }
    Ok(())
}

async fn a_spinning_actor_is_terminated() -> runtime::Result<()> {
    let teardown = teardown(cancelled::<spin>(1).await);
    assert_eq!(rungs(&teardown), [Rung::Request, Rung::Terminate]);
    sat_through(&teardown.rungs[0], BRIEF_ACK.ack);
    Ok(())
}

async fn a_stopped_actor_is_killed() -> runtime::Result<()> {
    let teardown = teardown(cancelled::<stop>(1).await);
    assert_eq!(rungs(&teardown), [Rung::Request, Rung::Terminate, Rung::Kill]);
    sat_through(&teardown.rungs[0], BRIEF.ack);
    sat_through(&teardown.rungs[1], BRIEF.terminate);
    Ok(())
}

async fn a_spinning_leaf_does_not_cost_its_healthy_parent_its_life() -> runtime::Result<()> {
    let ended = cancelled::<above_a_spinner>(2).await;
    // The spinner's teardown, told by its parent's last message.
    let Err(Error::Remote(told)) = ended else { panic!("{ended:?}") };
    let spinner = told.downcast::<Error>().map_or(Ok(()), Err);
    assert_eq!(rungs(&teardown(spinner)), [Rung::Request, Rung::Terminate]);
    Ok(())
}

async fn a_spinning_thread_is_abandoned_and_named() -> runtime::Result<()> {
    let teardown = teardown(cancelled::<spin>(1).await);
    assert_eq!(rungs(&teardown), [Rung::Request, Rung::Abandon]);
    sat_through(&teardown.rungs[0], BRIEF.abandon);
    let abandoned = runtime::spawn::abandoned();
    assert_eq!(abandoned.iter().map(|thread| thread.name.as_str()).collect::<Vec<_>>(), ["actor"]);
    Ok(())
}
