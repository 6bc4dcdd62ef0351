//! Ctrl-C: the root hears it, its actors do not. Once cancels the tree, twice kills it.

use std::cell::Cell;
use std::future::pending;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use runner::{Case, TestResult};
use runtime::spawn::Capability;
use runtime::{Error, Nursery, Portal, Rung, block_on_root};
use tokio::sync::Notify;

use crate::actors::{pid, release_stuck, stay, stick};
use crate::attempt::{backend, root_config};
use crate::gate::Gate;
use crate::process::{self, Process};

runner::marks! { timeout = "20s" }

/// A healthy tree ends in a small part of this. The soft wait alone would be 1.6 s.
const HEALTHY: Duration = Duration::from_millis(1500);

/// Less than the three seconds that a thread is given which is only asked.
const LONGER: Duration = Duration::from_secs(2);

fn interrupt_this_process() -> runtime::Result<()> {
    Process::open(std::process::id()).and_then(|own| own.send(Signal::SIGINT)).map_err(Error::user)
}

/// Runs a root until it is interrupted, and says how long it took from `body`'s word on.
fn interrupted(
    case: &Case,
    body: impl AsyncFnOnce(&Nursery) -> runtime::Result<Instant>,
) -> TestResult<Duration> {
    let before = process::descendants(process::own_pid());
    let word = Cell::new(None);
    let root = runtime::nursery(async |n| {
        word.set(Some(body(n).await?));
        pending::<runtime::Result<()>>().await
    });
    match block_on_root(root_config(case)?, root) {
        Err(Error::Interrupted) => {}
        other => return Err(format!("{other:?}").into()),
    }
    let took = word.take().ok_or("it was interrupted before it asked for it")?.elapsed();
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(took)
}

#[runner::test]
fn an_interrupt_cancels_an_idle_daemon(case: Case) -> TestResult {
    let mut daemon: Option<Portal> = None;
    let took = interrupted(&case, async |n| {
        daemon = Some(n.actor("daemon").await?);
        interrupt_this_process()?;
        Ok(Instant::now())
    })?;
    assert!(took < HEALTHY, "took {took:?}");
    let teardown = daemon.and_then(|daemon| daemon.teardown());
    assert_eq!(teardown.map(|teardown| teardown.is_forced()), Some(false));
    Ok(())
}

#[runner::test]
fn an_interrupt_cancels_what_runs_and_what_runs_in_its_children(case: Case) -> TestResult {
    let took = interrupted(&case, async |n| {
        let mut gate = Gate::closed(&case, "gate").map_err(Error::user)?;
        for _ in 0..3 {
            n.run_in_actor::<stay>("twin", (gate.path(),)).await?;
        }
        gate.arrived(3).await.map_err(Error::user)?;
        interrupt_this_process()?;
        Ok(Instant::now())
    })?;
    assert!(took < HEALTHY, "took {took:?}");
    Ok(())
}

/// The nursery in a task of its own, the interrupt anywhere.
#[runner::test]
fn an_interrupt_reaches_nurseries_of_every_task(case: Case) -> TestResult {
    let before = process::descendants(process::own_pid());
    let outcome = block_on_root(root_config(&case)?, async {
        let (started_tx, started_rx) = tokio::sync::oneshot::channel();
        tokio::task::spawn_local(runtime::nursery(async |n| {
            for _ in 0..3 {
                n.actor("twin").await?;
            }
            started_tx.send(()).ok();
            pending::<runtime::Result<()>>().await
        }));
        started_rx.await.ok();
        interrupt_this_process()?;
        pending::<runtime::Result<()>>().await
    });
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// Its body has ended, and it waits for a daemon that nobody has cancelled: it takes the gentle way.
#[runner::test]
fn an_interrupt_ends_a_nursery_that_waits_for_a_daemon(case: Case) -> TestResult {
    let before = process::descendants(process::own_pid());
    let mut daemon = None;
    let started = Cell::new(Instant::now());
    let has_started = Notify::new();
    let outcome = block_on_root(root_config(&case)?, async {
        let scope = runtime::nursery(async |n| {
            daemon = Some(n.actor("daemon").await?);
            has_started.notify_one();
            Ok(())
        });
        let interrupt = async {
            has_started.notified().await;
            // The body ends in the same poll, and the scope waits.
            tokio::task::yield_now().await;
            started.set(Instant::now());
            interrupt_this_process()
        };
        tokio::join!(scope, interrupt).0
    });
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    let took = started.get().elapsed();
    assert!(took < HEALTHY, "took {took:?}");
    let teardown = daemon.and_then(|daemon: Portal| daemon.teardown());
    assert_eq!(teardown.map(|teardown| teardown.is_forced()), Some(false));
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// Without a signal, for programs that have no terminal: the same.
#[runner::test]
fn an_interrupt_can_be_asked_for(case: Case) -> TestResult {
    let took = interrupted(&case, async |n| {
        n.actor("daemon").await?;
        runtime::interrupt();
        Ok(Instant::now())
    })?;
    assert!(took < HEALTHY, "took {took:?}");
    Ok(())
}

/// Sends the second when the first has cut its body off: two at once are one.
struct Again;

impl Drop for Again {
    fn drop(&mut self) {
        interrupt_this_process().expect("this process is there");
    }
}

/// The first asks, and what is stuck does not answer; the second does not ask.
#[runner::test]
fn a_second_interrupt_asks_nobody(case: Case) -> TestResult {
    let before = process::descendants(process::own_pid());
    let (started, stuck) = (Cell::new(None), Cell::new(None));
    let outcome = block_on_root(root_config(&case)?, async {
        let mut gate = Gate::closed(&case, "gate").map_err(Error::user)?;
        runtime::nursery(async |n| {
            let _again = Again;
            stuck.set(Some(n.run_in_actor::<stick>("stuck", (gate.path(),)).await?));
            gate.arrived(1).await.map_err(Error::user)?;
            started.set(Some(Instant::now()));
            interrupt_this_process()?;
            pending::<runtime::Result<()>>().await
        })
        .await
    });
    let took = started.take().map(|started| started.elapsed());
    release_stuck();
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    // Nothing was waited for: no SIGTERM, and no thread's whole time to end.
    let teardown = stuck.take().and_then(|stuck| stuck.teardown()).ok_or("it has not ended")?;
    let rungs: Vec<Rung> = teardown.rungs.iter().map(|taken| taken.rung).collect();
    let is_killable = backend(&case)?.capabilities().has(Capability::Killable);
    let last = if is_killable { Rung::Kill } else { Rung::Abandon };
    assert!([&[last][..], &[Rung::Request, last]].contains(&rungs.as_slice()), "{rungs:?}");
    assert!(took.is_some_and(|took| took < LONGER), "took {took:?}");
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// One that is the tree's to end does not end by itself.
#[runner::test]
#[needs("process")]
async fn an_actor_does_nothing_on_an_interrupt_while_its_parent_lives() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<pid>().await?;
        let own = actor.call::<pid>(()).await?;
        let process = Process::open(own).map_err(Error::user)?;
        for _ in 0..3 {
            process.send(Signal::SIGINT).map_err(Error::user)?;
        }
        assert_eq!(actor.call::<pid>(()).await?, own);
        assert_eq!(process::stat(own.cast_signed()).map_err(Error::user)?.group, own.cast_signed());
        actor.cancel().await
    })
    .await?;
    Ok(())
}
