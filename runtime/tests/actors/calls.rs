//! Calls: values there and back, what is refused, what is cancelled.

use std::cell::Cell;
use std::time::Duration;

use runtime::{CallError, Error, nursery};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

crate::cases![None => [
    an_actor_keeps_its_state,
    methods_that_only_read_run_side_by_side,
    a_thousand_calls_in_flight_get_each_its_own_answer,
    large_values_come_back_whole,
    what_is_not_exposed_is_refused,
    a_returned_error_arrives_as_its_value,
    a_panic_is_an_error_with_its_place_and_the_actor_goes_on,
    a_dropped_call_is_cancelled_in_the_actor,
    the_child_knows_who_it_is,
    outside_an_actor_there_is_no_runtime,
]];

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{0} is too many")]
struct TooMany(u64);

#[derive(Default)]
struct Desk {
    total: Cell<u64>,
    arrived: Notify,
    dropped: Notify,
}

#[runtime::actor]
impl Desk {
    async fn add(&mut self, n: u64) -> Result<u64, TooMany> {
        let total = self.total.get() + n;
        if total > 100 {
            return Err(TooMany(total));
        }
        self.total.set(total);
        Ok(total)
    }

    async fn meet(&self) {
        self.arrived.notified().await;
    }

    async fn join(&self) {
        self.arrived.notify_one();
    }

    async fn break_down(&mut self) {
        panic!("the desk broke");
    }

    async fn wait_for_ever(&self) {
        let _told = Told(&self.dropped);
        self.arrived.notify_one();
        std::future::pending::<()>().await;
    }

    async fn wait_dropped(&self) {
        self.dropped.notified().await;
    }
}

struct Told<'a>(&'a Notify);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[runtime::remote]
async fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

#[runtime::remote]
async fn square_later(n: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(n % 7)).await;
    n * n
}

#[runtime::remote]
async fn whoami() -> runtime::Result<(String, bool, String)> {
    let me = runtime::current()?;
    let parent = me.parent().map_or_else(String::new, |parent| parent.name.clone());
    Ok((me.name().to_owned(), me.is_root(), parent))
}

async fn an_actor_keeps_its_state() -> runtime::Result<()> {
    nursery(async |n| {
        let desk = n.start::<Desk>("desk").await?;
        assert_eq!(desk.add(3).await?, 3);
        assert_eq!(desk.add(4).await?, 7);
        desk.cancel().await
    })
    .await
}

async fn methods_that_only_read_run_side_by_side() -> runtime::Result<()> {
    nursery(async |n| {
        let desk = n.start::<Desk>("desk").await?;
        let (met, joined) = tokio::join!(desk.meet(), desk.join());
        met?;
        joined?;
        desk.cancel().await
    })
    .await
}

async fn a_thousand_calls_in_flight_get_each_its_own_answer() -> runtime::Result<()> {
    nursery(async |n| {
        let worker = n.actor("worker").expose::<square_later>().await?;
        let mut calls = tokio::task::JoinSet::new();
        for i in 0..1000 {
            let worker = worker.clone();
            calls.spawn_local(async move { (i, worker.call::<square_later>((i,)).await) });
        }
        for (i, squared) in calls.join_all().await {
            assert_eq!(squared?, i * i);
        }
        worker.cancel().await
    })
    .await
}

async fn large_values_come_back_whole() -> runtime::Result<()> {
    nursery(async |n| {
        let worker = n.actor("worker").expose::<echo>().await?;
        let sent: Vec<u8> = (0..2 << 20).map(|i: u32| i.to_le_bytes()[i as usize % 3]).collect();
        assert_eq!(worker.call::<echo>((sent.clone(),)).await?, sent);
        worker.cancel().await
    })
    .await
}

async fn what_is_not_exposed_is_refused() -> runtime::Result<()> {
    nursery(async |n| {
        let desk = n.start::<Desk>("desk").await?;
        match desk.call::<echo>((vec![1],)).await {
            Err(CallError::Failed(Error::NotExposed { actor, function })) => {
                assert_eq!((&actor, function.as_str()), (desk.id(), "actors::calls::echo"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(desk.add(1).await?, 1);
        desk.cancel().await
    })
    .await
}

async fn a_returned_error_arrives_as_its_value() -> runtime::Result<()> {
    nursery(async |n| {
        let desk = n.start::<Desk>("desk").await?;
        match desk.add(101).await {
            Err(CallError::Returned(error, remote)) => {
                assert_eq!(error, TooMany(101));
                assert_eq!(remote.source_actor(), desk.id());
                assert_eq!(remote.message(), "101 is too many");
                assert_eq!(remote.downcast::<TooMany>(), Some(TooMany(101)));
            }
            other => panic!("{other:?}"),
        }
        desk.cancel().await
    })
    .await
}

async fn a_panic_is_an_error_with_its_place_and_the_actor_goes_on() -> runtime::Result<()> {
    nursery(async |n| {
        let desk = n.start::<Desk>("desk").await?;
        match desk.break_down().await {
            Err(CallError::Failed(Error::Remote(remote))) => {
                assert!(remote.is_panic());
                assert_eq!(remote.message(), "the desk broke");
                let place = remote.location().expect("the hook noted it");
                assert!(place.file.ends_with("calls.rs"), "{place}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(desk.add(1).await?, 1);
        desk.cancel().await
    })
    .await
}

async fn a_dropped_call_is_cancelled_in_the_actor() -> runtime::Result<()> {
    nursery(async |n| {
        let desk = n.start::<Desk>("desk").await?;
        tokio::select! {
            _ = desk.wait_for_ever() => panic!("it returned"),
            met = desk.meet() => met?,
        }
        desk.wait_dropped().await?;
        desk.cancel().await
    })
    .await
}

async fn the_child_knows_who_it_is() -> runtime::Result<()> {
    nursery(async |n| {
        let (name, is_root, parent) = n.run_in_actor::<whoami>("leaf", ()).await?.await?;
        assert_eq!((name.as_str(), is_root, parent.as_str()), ("leaf", false, "root"));
        assert!(runtime::current()?.is_root());
        Ok(())
    })
    .await
}

async fn outside_an_actor_there_is_no_runtime() -> runtime::Result<()> {
    let elsewhere = std::thread::Builder::new().spawn(|| runtime::current().err());
    let refused = elsewhere.expect("a thread").join().expect("no panic");
    assert!(matches!(refused, Some(Error::NoRuntime)));
    Ok(())
}
