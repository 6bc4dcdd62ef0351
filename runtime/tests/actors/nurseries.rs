//! Nurseries: who fails, who is cancelled, what comes back.

use std::path::PathBuf;

use runtime::{Error, Nursery, Rung, nursery};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::gate::{self, Gate};

crate::cases![None => [
    a_one_shot_ends_the_scope_with_its_value,
    a_one_shot_that_is_not_read_still_fails_the_scope,
    an_error_read_in_the_body_counts_once,
    an_error_of_the_body_cancels_the_children,
    a_failing_child_cancels_its_siblings_and_the_body,
    twenty_five_that_fail_at_once_are_all_there_in_order,
    nested_groups_cross_with_their_members,
    a_cancelled_nursery_starts_nothing_more_and_ends_well,
    an_owned_nursery_shuts_down,
    a_dropped_nursery_is_torn_down_before_the_root_ends,
    a_dropped_nursery_future_cancels_its_children,
    a_failure_that_nobody_awaits_reaches_the_parent,
    a_body_that_panics_has_its_children_torn_down,
]];

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("number {0} failed")]
struct Numbered(u64);

#[runtime::remote]
async fn value() -> u64 {
    42
}

#[runtime::remote]
async fn fail(number: u64) -> Result<(), Numbered> {
    Err(Numbered(number))
}

#[runtime::remote]
async fn fail_behind(number: u64, gate: PathBuf) -> Result<(), Numbered> {
    gate::pass(gate);
    Err(Numbered(number))
}

#[runtime::remote]
async fn sleep_for_ever() {
    std::future::pending::<()>().await;
}

#[runtime::remote]
async fn two_that_fail(depth: u32, gate: PathBuf) -> runtime::Result<()> {
    nursery(async |n| {
        for number in 0..2 {
            let name = format!("{depth}.{number}");
            if depth == 1 {
                n.run_in_actor::<fail_behind>(name, (number, gate.clone())).await?;
            } else {
                n.run_in_actor::<two_that_fail>(name, (depth - 1, gate.clone())).await?;
            }
        }
        Ok(())
    })
    .await
}

#[runtime::remote]
async fn drop_a_nursery_whose_child_fails() -> runtime::Result<()> {
    let n = Nursery::open()?;
    let failing = n.run_in_actor::<fail>("failing", (7,)).await?;
    // Its failure is in the nursery by the time it is known here, and this call does not look.
    drop(failing.await);
    drop(n);
    Ok(())
}

fn numbers(error: Error) -> Vec<u64> {
    error
        .into_leaves()
        .into_iter()
        .map(|leaf| match leaf {
            Error::Remote(remote) => remote.downcast::<Numbered>().expect("a numbered failure").0,
            other => panic!("{other:?}"),
        })
        .collect()
}

async fn a_one_shot_ends_the_scope_with_its_value() -> runtime::Result<()> {
    let mut one_shot = None;
    nursery(async |n| {
        one_shot = Some(n.run_in_actor::<value>("value", ()).await?);
        Ok(())
    })
    .await?;
    // After the scope, which waited for it.
    assert_eq!(one_shot.expect("it was started").await?, 42);
    Ok(())
}

async fn a_one_shot_that_is_not_read_still_fails_the_scope() -> runtime::Result<()> {
    let ended: runtime::Result<()> = nursery(async |n| {
        n.run_in_actor::<fail>("failing", (1,)).await?;
        Ok(())
    })
    .await;
    assert_eq!(numbers(ended.expect_err("it fails")), [1]);
    Ok(())
}

async fn an_error_read_in_the_body_counts_once() -> runtime::Result<()> {
    let ended: runtime::Result<()> = nursery(async |n| {
        n.run_in_actor::<fail>("failing", (1,)).await?.await?;
        Ok(())
    })
    .await;
    assert!(matches!(ended, Err(Error::Remote(_))), "{ended:?}");
    Ok(())
}

async fn an_error_of_the_body_cancels_the_children() -> runtime::Result<()> {
    let mut daemon = None;
    let ended: runtime::Result<()> = nursery(async |n| {
        daemon = Some(n.actor("daemon").expose::<value>().await?);
        n.run_in_actor::<sleep_for_ever>("sleeper", ()).await?;
        Err(Error::message("the body's own"))
    })
    .await;
    assert_eq!(ended.expect_err("it fails").to_string(), "the body's own");
    let teardown = daemon.expect("it was started").teardown().expect("it has ended");
    assert!(matches!(teardown.rung(), Some(Rung::Request | Rung::Soft)), "{teardown}");
    Ok(())
}

async fn a_failing_child_cancels_its_siblings_and_the_body() -> runtime::Result<()> {
    let ended: runtime::Result<()> = nursery(async |n| {
        n.run_in_actor::<sleep_for_ever>("sleeper", ()).await?;
        n.actor("daemon").await?;
        n.run_in_actor::<fail>("failing", (3,)).await?;
        std::future::pending().await
    })
    .await;
    assert_eq!(numbers(ended.expect_err("it fails")), [3]);
    Ok(())
}

async fn twenty_five_that_fail_at_once_are_all_there_in_order() -> runtime::Result<()> {
    let ended: runtime::Result<()> = nursery(async |n| {
        let gate = Gate::closed();
        for number in 0..25 {
            n.run_in_actor::<fail_behind>(format!("failing {number}"), (number, gate.path()))
                .await?;
        }
        gate.open_for(25).await;
        Ok(())
    })
    .await;
    assert_eq!(numbers(ended.expect_err("it fails")), (0..25).collect::<Vec<_>>());
    Ok(())
}

async fn nested_groups_cross_with_their_members() -> runtime::Result<()> {
    let ended: runtime::Result<()> = nursery(async |n| {
        let gate = Gate::closed();
        n.run_in_actor::<two_that_fail>("top", (3, gate.path())).await?;
        gate.open_for(8).await;
        Ok(())
    })
    .await;
    let error = ended.expect_err("it fails");
    let Error::Remote(remote) = &error else { panic!("{error:?}") };
    let group = remote.group().expect("two branches failed");
    assert_eq!(group.members().len(), 2);
    assert!(
        group
            .members()
            .iter()
            .all(|member| matches!(member, Error::Remote(branch) if branch.group().is_some()))
    );
    assert_eq!(numbers(error), [0, 1, 0, 1, 0, 1, 0, 1]);
    Ok(())
}

async fn a_cancelled_nursery_starts_nothing_more_and_ends_well() -> runtime::Result<()> {
    nursery(async |n| {
        let sleeper = n.run_in_actor::<sleep_for_ever>("sleeper", ()).await?;
        n.cancel().await;
        assert!(matches!(n.actor("late").await, Err(Error::Cancelled { .. })));
        assert!(matches!(sleeper.await.map_err(Error::from), Err(Error::Cancelled { .. })));
        Ok(())
    })
    .await
}

async fn an_owned_nursery_shuts_down() -> runtime::Result<()> {
    let n = Nursery::open()?;
    let daemon = n.actor("daemon").expose::<value>().await?;
    assert_eq!(daemon.call::<value>(()).await?, 42);
    n.shutdown().await?;
    assert!(matches!(
        daemon.call::<value>(()).await.map_err(Error::from),
        Err(Error::Cancelled { .. })
    ));
    Ok(())
}

async fn a_dropped_nursery_is_torn_down_before_the_root_ends() -> runtime::Result<()> {
    let n = Nursery::open()?;
    n.actor("daemon").expose::<value>().await?;
    n.run_in_actor::<sleep_for_ever>("sleeper", ()).await?;
    // That nothing is left is looked at after every case.
    drop(n);
    Ok(())
}

async fn a_dropped_nursery_future_cancels_its_children() -> runtime::Result<()> {
    let (started_tx, started_rx) = oneshot::channel();
    let forever = nursery(async move |n| {
        let daemon = n.actor("daemon").expose::<value>().await?;
        started_tx.send(daemon).expect("it is awaited");
        std::future::pending::<runtime::Result<()>>().await
    });
    let daemon = tokio::select! {
        ended = forever => panic!("{ended:?}"),
        daemon = started_rx => daemon.expect("it was started"),
    };
    daemon.wait_ended().await;
    assert!(!daemon.teardown().expect("it has ended").is_forced());
    Ok(())
}

async fn a_failure_that_nobody_awaits_reaches_the_parent() -> runtime::Result<()> {
    let ended = nursery(async |n| {
        n.run_in_actor::<drop_a_nursery_whose_child_fails>("careless", ())
            .await?
            .await
            .map_err(Error::from)
    })
    .await;
    assert_eq!(numbers(ended.expect_err("it fails")), [7]);
    Ok(())
}

#[runtime::remote]
async fn panic_above_a_sleeper() -> runtime::Result<()> {
    nursery(async |n| {
        n.run_in_actor::<sleep_for_ever>("sleeper", ()).await?;
        panic!("above a sleeper")
    })
    .await
}

async fn a_body_that_panics_has_its_children_torn_down() -> runtime::Result<()> {
    let ended: runtime::Result<()> = nursery(async |n| {
        n.run_in_actor::<panic_above_a_sleeper>("panicking", ()).await?;
        Ok(())
    })
    .await;
    let Err(Error::Remote(remote)) = ended else { panic!("{ended:?}") };
    assert!(remote.is_panic(), "{remote}");
    Ok(())
}
