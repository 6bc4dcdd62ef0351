//! Cancel scopes and shields: what is cut short, what is waited for, what is bounded.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use runtime::{
    CancelScope, Error, Nursery, Portal, Rung, Timings, fail_after, move_on_after, nursery, shield,
};
use tokio::sync::oneshot;

use crate::PATIENT;
use crate::gate::{self, Gate};

crate::cases![
    None => [
        a_body_that_ends_in_time_has_its_value,
        a_passed_deadline_is_told_apart,
        a_cancelled_scope_returns_when_its_bodys_children_are_reaped,
        a_scope_inside_a_cancelled_one_is_cut_with_it,
        a_cut_body_of_a_nursery_is_waited_for_with_all_below_it,
        shielded_work_goes_on_and_its_scope_waits_for_it,
        shielded_work_ends_with_its_limit,
        a_panic_in_shielded_work_reaches_who_awaits_it,
        a_shield_waits_no_longer_than_its_actor_may,
    ],
    None, BRIEF => [what_fails_in_a_cut_body_is_the_scopes_failure],
];

const BRIEF: Timings =
    Timings { ack: Duration::from_millis(250), abandon: Duration::from_millis(800), ..PATIENT };

/// Never passes while a test goes well.
const LONG: Duration = Duration::from_secs(60);

#[runtime::remote]
async fn spin(gate: PathBuf) {
    gate::pass(gate);
    loop {
        std::hint::spin_loop();
    }
}

async fn a_body_that_ends_in_time_has_its_value() -> runtime::Result<()> {
    assert_eq!(move_on_after(LONG, async { 7 }).await?, Some(7));
    assert_eq!(fail_after(LONG, async { 7 }).await?, 7);
    // Asked first, even when the time is over.
    assert_eq!(move_on_after(Duration::ZERO, async { 7 }).await?, Some(7));
    let scope = CancelScope::new();
    scope.cancel();
    assert_eq!(scope.run(async { 7 }).await?, Some(7));
    assert!(scope.is_cancelled() && !scope.cancelled_caught());
    Ok(())
}

async fn a_passed_deadline_is_told_apart() -> runtime::Result<()> {
    let limit = Duration::from_millis(10);
    let begun = Instant::now();
    assert_eq!(move_on_after(limit, std::future::pending::<()>()).await?, None);
    assert!(begun.elapsed() >= limit);
    let late = fail_after(limit, std::future::pending::<()>()).await;
    assert!(matches!(late, Err(Error::DeadlinePassed { after }) if after == limit), "{late:?}");
    let scope = CancelScope::within(LONG);
    scope.set_deadline(Some(Instant::now()));
    assert_eq!(scope.run(std::future::pending::<()>()).await?, None);
    assert!(scope.is_cancelled() && scope.cancelled_caught());
    Ok(())
}

/// Starts an actor, and cancels `scope` when it serves.
async fn stand_in(scope: &CancelScope, told: &Cell<Option<Portal>>) -> runtime::Result<()> {
    nursery(async |n| {
        told.set(Some(n.actor("daemon").await?));
        scope.cancel();
        std::future::pending().await
    })
    .await
}

fn has_ended(told: &Cell<Option<Portal>>) -> bool {
    told.take().expect("it was started").teardown().is_some()
}

async fn a_cancelled_scope_returns_when_its_bodys_children_are_reaped() -> runtime::Result<()> {
    let (scope, told) = (CancelScope::new(), Cell::new(None));
    assert!(scope.run(stand_in(&scope, &told)).await?.is_none());
    assert!(scope.cancelled_caught());
    assert!(has_ended(&told));
    Ok(())
}

async fn a_scope_inside_a_cancelled_one_is_cut_with_it() -> runtime::Result<()> {
    let (outer, inner, told) = (CancelScope::new(), CancelScope::new(), Cell::new(None));
    assert!(outer.run(inner.run(stand_in(&outer, &told))).await?.is_none());
    assert!(outer.cancelled_caught() && !inner.cancelled_caught());
    assert!(has_ended(&told));
    Ok(())
}

#[runtime::remote]
async fn fail() -> runtime::Result<()> {
    Err(Error::message("as it should"))
}

async fn a_cut_body_of_a_nursery_is_waited_for_with_all_below_it() -> runtime::Result<()> {
    let told = Cell::new(None);
    let ended: runtime::Result<()> = nursery(async |n| {
        let inner = Nursery::open()?;
        told.set(Some(inner.actor("below").await?));
        n.run_in_actor::<fail>("failing", ()).await?;
        std::future::pending().await
    })
    .await;
    assert!(matches!(ended, Err(Error::Remote(_))), "{ended:?}");
    assert!(has_ended(&told));
    Ok(())
}

async fn what_fails_in_a_cut_body_is_the_scopes_failure() -> runtime::Result<()> {
    let scope = CancelScope::new();
    let ended = scope
        .run(nursery(async |n| {
            let gate = Gate::closed();
            n.run_in_actor::<spin>("spinner", (gate.path(),)).await?;
            gate.open_for(1).await;
            scope.cancel();
            std::future::pending::<runtime::Result<()>>().await
        }))
        .await;
    let Err(Error::Forced { teardown, .. }) = ended else { panic!("{ended:?}") };
    assert!(teardown.rung() > Some(Rung::Soft), "{teardown}");
    Ok(())
}

async fn shielded_work_goes_on_and_its_scope_waits_for_it() -> runtime::Result<()> {
    let (scope, done) = (CancelScope::new(), Rc::new(Cell::new(false)));
    let (begun_tx, begun_rx) = oneshot::channel();
    let (finish_tx, finish_rx) = oneshot::channel::<()>();
    let work = {
        let done = Rc::clone(&done);
        async move {
            begun_tx.send(()).expect("it is awaited");
            finish_rx.await.expect("somebody says so");
            // A wait inside is not cut either.
            tokio::task::yield_now().await;
            done.set(true);
        }
    };
    let cancels = async {
        begun_rx.await.expect("it begins");
        scope.cancel();
        tokio::task::yield_now().await;
        finish_tx.send(()).expect("the work goes on");
    };
    let (outcome, ()) = tokio::join!(scope.run(shield(LONG, work)), cancels);
    assert!(outcome?.is_none() && scope.cancelled_caught());
    assert!(done.get());
    assert_eq!(shield(LONG, async { 7 }).await?, 7);
    Ok(())
}

async fn shielded_work_ends_with_its_limit() -> runtime::Result<()> {
    let limit = Duration::from_millis(10);
    let late = shield(limit, std::future::pending::<()>()).await;
    assert!(matches!(late, Err(Error::DeadlinePassed { after }) if after == limit), "{late:?}");
    // So does the scope that waits for it, and says why.
    let scope = CancelScope::new();
    let body = async {
        tokio::join!(shield(limit, std::future::pending::<()>()), async { scope.cancel() }).0
    };
    let cut = scope.run(body).await;
    assert!(matches!(cut, Err(Error::DeadlinePassed { .. })), "{cut:?}");
    Ok(())
}

async fn a_panic_in_shielded_work_reaches_who_awaits_it() -> runtime::Result<()> {
    let ended: runtime::Result<()> = nursery(async |n| {
        n.run_in_actor::<panic_in_a_shield>("panicking", ()).await?;
        Ok(())
    })
    .await;
    let Err(Error::Remote(remote)) = ended else { panic!("{ended:?}") };
    assert!(remote.is_panic() && remote.message() == "shielded", "{remote}");
    Ok(())
}

#[runtime::remote]
async fn panic_in_a_shield() -> runtime::Result<()> {
    shield(LONG, async { panic!("shielded") }).await
}

/// Waits in a shield for what never comes.
#[runtime::remote]
async fn wait_shielded(gate: PathBuf) -> runtime::Result<()> {
    gate::pass(gate);
    shield(LONG, std::future::pending()).await
}

async fn a_shield_waits_no_longer_than_its_actor_may() -> runtime::Result<()> {
    let n = Nursery::open()?;
    let gate = Gate::closed();
    let waiting = n.run_in_actor::<wait_shielded>("waiting", (gate.path(),)).await?;
    gate.open_for(1).await;
    let begun = Instant::now();
    waiting.cancel_within(Duration::from_secs(3)).await?;
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    // It was given up in time to say so itself: nobody was forced.
    assert_eq!(waiting.teardown().map(|teardown| teardown.is_forced()), Some(false));
    let told = n.join().await;
    let Err(Error::Remote(remote)) = &told else { panic!("{told:?}") };
    assert!(matches!(remote.downcast(), Some(Error::DeadlinePassed { .. })), "{remote}");
    Ok(())
}
