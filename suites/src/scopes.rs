//! Cancel scopes: what a deadline or a cancel cuts short in this actor and in others, what a shield
//! keeps, and what is left of either.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use runner::{Case, TestResult};
use runtime::{
    CallError, CancelScope, Context, Error, Nursery, Portal, Rung, fail_after, move_on_after,
    shield, spawn,
};
use tokio::sync::oneshot;

use crate::actors::{Refused, pid, refuse, release_stuck, stay, stick};
use crate::gate::{self, Gate};
use crate::process;
use crate::shape;

runner::marks! { timeout = "20s" }

/// Never passes while a test goes well.
const LONG: Duration = Duration::from_secs(60);

/// Says in a file that its task is gone.
struct Parting(PathBuf);

impl Drop for Parting {
    fn drop(&mut self) {
        drop(std::fs::write(&self.0, "gone"));
    }
}

/// Arrives, and says when it is cut off.
#[runtime::remote]
async fn stay_and_part(gate: PathBuf, parting: PathBuf) -> runtime::Result<()> {
    let _parting = Parting(parting);
    gate::arrive(&gate).map_err(Error::user)?;
    std::future::pending().await
}

/// A call that its caller's deadline cuts off ends where it runs, and its actor goes on.
#[runner::test]
async fn a_deadline_ends_the_call_in_the_other_actor(case: Case) -> TestResult {
    let parting = case.temp_dir()?.join("parting");
    let mut gate = Gate::closed(&case, "gate")?;
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<stay_and_part>().expose::<pid>().await?;
        let scope = CancelScope::new();
        let call = actor.call::<stay_and_part>((gate.path(), parting.clone()));
        let (cut, arrived) = tokio::join!(scope.run(call), async {
            let arrived = gate.arrived(1).await;
            scope.set_deadline(Some(Instant::now()));
            arrived
        });
        arrived.map_err(Error::user)?;
        assert!(cut?.is_none());
        assert!(scope.cancelled_caught());
        actor.call::<pid>(()).await?;
        assert!(process::comes_true(|| parting.exists()), "the task lives on");
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn what_ends_in_time_has_its_value_and_what_does_not_is_told_apart() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<pid>().expose::<refuse>().await?;
        assert!(move_on_after(LONG, actor.call::<pid>(())).await?.is_some());
        let refused = fail_after(LONG, actor.call::<refuse>((1,))).await?;
        assert_eq!(refused.err().and_then(CallError::returned), Some(Refused(1)));
        let limit = Duration::from_millis(5);
        assert_eq!(move_on_after(limit, std::future::pending::<()>()).await?, None);
        match fail_after(limit, std::future::pending::<()>()).await {
            Err(Error::DeadlinePassed { after }) => assert_eq!(after, limit),
            other => panic!("{other:?}"),
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// The scope returns when the nursery inside it has been torn down, and not before.
#[runner::test]
async fn a_scope_that_is_cancelled_leaves_nothing_of_its_body(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let before = process::descendants(process::own_pid());
    let daemon: Cell<Option<Portal>> = Cell::new(None);
    let scope = CancelScope::new();
    let path = gate.path();
    let body = runtime::nursery(async |n| -> runtime::Result<()> {
        daemon.set(Some(n.actor("daemon").await?));
        n.run_in_actor::<stay>("one", (path,)).await?;
        std::future::pending().await
    });
    let (cut, arrived) = tokio::join!(scope.run(body), async {
        let arrived = gate.arrived(1).await;
        scope.cancel();
        arrived
    });
    arrived?;
    assert!(cut?.is_none());
    assert!(scope.cancelled_caught());
    assert!(daemon.take().is_some_and(|daemon| daemon.teardown().is_some()));
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// What failed before the cut is not hidden by it.
#[runner::test]
async fn a_failure_in_a_body_that_is_cut_is_the_scopes() -> TestResult {
    let scope = CancelScope::new();
    let body = async {
        let kept = Nursery::open()?;
        let one = kept.run_in_actor::<refuse>("one", (4,)).await?;
        assert!(one.result().await.is_err());
        scope.cancel();
        std::future::pending::<runtime::Result<()>>().await
    };
    let outcome = scope.run(body).await;
    assert_eq!(shape::of(&outcome.expect_err("one failed")), "one:refused-4");
    Ok(())
}

/// The inner is cut with the outer, and is not who was cancelled.
#[runner::test]
async fn of_two_scopes_the_cancelled_one_catches() -> TestResult {
    let (outer, inner) = (CancelScope::new(), CancelScope::new());
    let body = inner.run(async {
        outer.cancel();
        std::future::pending::<()>().await;
    });
    assert!(outer.run(body).await?.is_none());
    assert_eq!((outer.cancelled_caught(), inner.cancelled_caught()), (true, false));
    Ok(())
}

/// Work that has to be finished is, though whoever asked for it is gone; the scope waits.
#[runner::test]
async fn what_is_shielded_is_finished_before_the_scope_ends() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<pid>().await?;
        let (begun_tx, begun_rx) = oneshot::channel();
        let (go_on_tx, go_on_rx) = oneshot::channel::<()>();
        let (done_tx, mut done_rx) = oneshot::channel();
        let last_word = {
            let actor = actor.clone();
            async move {
                begun_tx.send(()).ok();
                go_on_rx.await.ok();
                // A call, and so a wait for another actor: neither is cut.
                done_tx.send(actor.call::<pid>(()).await).ok();
            }
        };
        let scope = CancelScope::new();
        let (outcome, ()) = tokio::join!(scope.run(shield(LONG, last_word)), async {
            begun_rx.await.ok();
            scope.cancel();
            tokio::task::yield_now().await;
            go_on_tx.send(()).ok();
        });
        assert!(outcome?.is_none());
        assert!(matches!(done_rx.try_recv(), Ok(Ok(_))), "it was not finished");
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Waits in a shield for what never comes.
#[runtime::remote]
async fn wait_shielded(gate: PathBuf, limit: Duration) -> runtime::Result<()> {
    gate::arrive(&gate).map_err(Error::user)?;
    shield(limit, std::future::pending()).await
}

/// A shield delays the end of an actor by its limit at most, and the actor is not forced.
#[runner::test]
async fn a_shield_ends_with_its_limit_and_says_so(case: Case) -> TestResult {
    const LIMIT: Duration = Duration::from_millis(50);
    let mut gate = Gate::closed(&case, "gate")?;
    let outcome = runtime::nursery(async |n| {
        let one = n.run_in_actor::<wait_shielded>("one", (gate.path(), LIMIT)).await?;
        gate.arrived(1).await.map_err(Error::user)?;
        one.cancel().await?;
        assert_eq!(one.teardown().map(|teardown| teardown.is_forced()), Some(false));
        Ok(())
    })
    .await;
    let Err(Error::Remote(remote)) = outcome else { panic!("{outcome:?}") };
    match remote.downcast::<Error>() {
        Some(Error::DeadlinePassed { after }) => assert_eq!(after, LIMIT),
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// Nobody has to cancel anything for that.
#[runner::test]
async fn a_shield_that_nobody_cancels_ends_with_its_limit_too() -> TestResult {
    const LIMIT: Duration = Duration::from_millis(5);
    match shield(LIMIT, std::future::pending::<()>()).await {
        Err(Error::DeadlinePassed { after }) => assert_eq!(after, LIMIT),
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// Passes a gate in a shield, and fails with what it finds behind it.
#[runtime::context]
async fn fail_behind_a_shield(cx: Context<()>, gate: PathBuf) -> Result<(), Refused> {
    let _cx = cx.started(()).await.map_err(|_| Refused(100))?;
    let passed = shield(LONG, async move { gate::pass(&gate).await }).await;
    passed.map_err(|_| Refused(101))?.map_err(|_| Refused(102))?;
    Err(Refused(5))
}

/// A cancel cuts what waits for shielded work after that work, and so does not hide what comes of it.
#[runner::test]
async fn what_waits_for_a_shield_sees_its_end_before_it_is_cut(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<fail_behind_a_shield>().await?;
        let opening = actor.context::<fail_behind_a_shield>((gate.path(),));
        let outcome = opening.open(async |cx| {
            gate.arrived(1).await.map_err(Error::user)?;
            cx.cancel().await;
            gate.open();
            Ok(())
        });
        match outcome.await {
            Err(CallError::Returned(Refused(5), _)) => {}
            other => panic!("{other:?}"),
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Passes a gate in a shield, and says so in a file.
#[runtime::context]
async fn finish_in_a_shield(cx: Context<()>, gate: PathBuf, done: PathBuf) -> runtime::Result<()> {
    let _cx = cx.started(()).await?;
    shield(LONG, async move {
        drop(gate::pass(&gate).await);
        drop(std::fs::write(done, "done"));
    })
    .await
}

/// Whoever is cut leaves the task of its context behind; the scope that cut it waits for that.
#[runner::test]
async fn a_scope_waits_for_the_task_of_a_context_that_it_cut(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let done = case.temp_dir()?.join("done");
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<finish_in_a_shield>().await?;
        let arguments = (gate.path(), done.clone());
        let opened = actor
            .context::<finish_in_a_shield>(arguments)
            .open(async |_| std::future::pending::<runtime::Result<()>>().await);
        let scope = CancelScope::new();
        let is_done = async { scope.run(opened).await.map(|cut| (cut.is_none(), done.exists())) };
        let (cut, arrived) = tokio::join!(is_done, async {
            let arrived = gate.arrived(1).await;
            scope.cancel();
            tokio::task::yield_now().await;
            gate.open();
            arrived
        });
        arrived.map_err(Error::user)?;
        assert_eq!(cut?, (true, true));
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// An actor that waits in a shield for one that never answers is ended all the same.
#[runner::test]
async fn no_shield_keeps_an_actor_longer_than_its_parent_waits(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let started = Cell::new(Instant::now());
    let outcome = runtime::nursery(async |n| {
        let one = n.run_in_actor::<wait_shielded>("one", (gate.path(), LONG)).await?;
        gate.arrived(1).await.map_err(Error::user)?;
        started.set(Instant::now());
        one.cancel().await
    })
    .await;
    assert!(started.get().elapsed() < Duration::from_secs(6), "{:?}", started.get().elapsed());
    let Err(Error::Remote(remote)) = outcome else { panic!("{outcome:?}") };
    assert!(matches!(remote.downcast(), Some(Error::DeadlinePassed { .. })), "{remote}");
    Ok(())
}

/// Asking takes time that not everybody has. It is no failure: it is what was wanted.
#[runner::test]
#[needs("killable")]
async fn an_actor_is_killed_without_being_asked(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let before = process::descendants(process::own_pid());
    let parting = case.temp_dir()?.join("parting");
    runtime::nursery(async |n| {
        let arguments = (gate.path(), parting.clone());
        let one = n.run_in_actor::<stay_and_part>("one", arguments).await?;
        gate.arrived(1).await.map_err(Error::user)?;
        one.kill().await?;
        let rungs = one.teardown().map(|teardown| teardown.rungs).unwrap_or_default();
        assert_eq!(rungs.iter().map(|taken| taken.rung).collect::<Vec<_>>(), [Rung::Kill]);
        assert_eq!(process::descendants(process::own_pid()), before);
        Ok(())
    })
    .await?;
    assert!(!parting.exists(), "no code of it ran any more");
    Ok(())
}

/// Where nothing can be killed, what never yields is given up at once.
#[runner::test]
#[needs("in-process")]
async fn a_thread_is_given_up_without_being_waited_for(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    runtime::nursery(async |n| {
        let stuck = n.actor("stuck").expose::<stick>().await?;
        let (call, killed) = tokio::join!(stuck.call::<stick>((gate.path(),)), async {
            gate.arrived(1).await.map_err(Error::user)?;
            let started = Instant::now();
            stuck.kill().await?;
            Ok::<Duration, Error>(started.elapsed())
        });
        assert!(call.is_err());
        let took = killed?;
        assert!(took < Duration::from_secs(1), "took {took:?}");
        assert_eq!(stuck.teardown().and_then(|teardown| teardown.rung()), Some(Rung::Abandon));
        Ok(())
    })
    .await?;
    release_stuck();
    assert!(process::comes_true(|| spawn::abandoned().is_empty()), "it has ended and is listed");
    Ok(())
}
