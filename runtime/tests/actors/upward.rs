//! Calls from a child to its parent: over the same channel, at the same time as calls the other way.

use std::cell::Cell;
use std::rc::Rc;

use runtime::{CallError, Error, Exit, Nursery, Portal, nursery};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::Need;

crate::cases![
    None => [
        a_child_calls_what_it_is_offered,
        a_child_calls_the_methods_of_its_parent,
        a_constructor_can_call_its_parent,
        a_parent_serves_only_what_it_offers,
        both_ends_call_at_once_with_the_same_numbers,
        a_call_to_a_parent_is_cancelled_when_dropped,
        a_parent_is_not_its_childs_to_end,
        a_root_has_no_parent_to_call,
    ],
    Some(Need::Process) => [what_a_dead_child_asked_for_is_ended],
];

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{0} has no double")]
struct NoDouble(u64);

#[runtime::remote]
async fn double(n: u64) -> Result<u64, NoDouble> {
    n.checked_mul(2).ok_or(NoDouble(n))
}

#[runtime::remote]
async fn triple(n: u64) -> u64 {
    n * 3
}

fn parent() -> Portal {
    runtime::current().expect("an actor").parent_portal().expect("a parent")
}

#[runtime::remote]
async fn ask_for_double(n: u64) -> runtime::Result<u64> {
    match parent().call::<double>((n,)).await {
        Ok(doubled) => Ok(doubled),
        Err(CallError::Returned(NoDouble(n), _)) => Ok(n),
        Err(CallError::Failed(error)) => Err(error),
    }
}

async fn a_child_calls_what_it_is_offered() -> runtime::Result<()> {
    nursery(async |n| {
        let child = n.actor("child").expose::<ask_for_double>().offer::<double>().await?;
        assert_eq!(child.call::<ask_for_double>((21,)).await?, 42);
        assert_eq!(child.call::<ask_for_double>((u64::MAX,)).await?, u64::MAX);
        child.cancel().await
    })
    .await
}

async fn a_parent_serves_only_what_it_offers() -> runtime::Result<()> {
    nursery(async |n| {
        let child = n.actor("child").expose::<ask_for_double>().offer::<triple>().await?;
        let error = child.call::<ask_for_double>((1,)).await.expect_err("it is refused");
        let CallError::Returned(Error::NotExposed { actor, function }, _) = error else {
            panic!("{error:?}")
        };
        assert_eq!(&actor, runtime::current()?.id());
        assert_eq!(function, "actors::upward::double");
        child.cancel().await
    })
    .await
}

/// An actor in the middle: its child calls its methods.
struct Middle {
    nursery: Nursery,
    total: Cell<u64>,
}

#[runtime::actor]
impl Middle {
    fn new() -> runtime::Result<Middle> {
        Ok(Middle { nursery: Nursery::open()?, total: Cell::new(0) })
    }

    async fn add(&self, n: u64) -> u64 {
        self.total.set(self.total.get() + n);
        self.total.get()
    }

    async fn have_a_child_add(&self) -> runtime::Result<u64> {
        self.nursery.run_in_actor::<add_above>("child", ()).await?.await?;
        Ok(self.total.get())
    }
}

#[runtime::remote]
async fn add_above() -> runtime::Result<u64> {
    let middle = MiddleHandle::from(parent());
    middle.add(5).await?;
    Ok(middle.add(6).await?)
}

async fn a_child_calls_the_methods_of_its_parent() -> runtime::Result<()> {
    nursery(async |n| {
        let middle = n.start::<Middle>("middle").await?;
        assert_eq!(middle.add(4).await?, 4);
        assert_eq!(middle.have_a_child_add().await?, 15);
        middle.cancel().await
    })
    .await
}

struct Eager(u64);

#[runtime::actor]
impl Eager {
    async fn new() -> runtime::Result<Eager> {
        Ok(Eager(parent().call::<triple>((5,)).await?))
    }

    async fn got(&self) -> u64 {
        self.0
    }
}

async fn a_constructor_can_call_its_parent() -> runtime::Result<()> {
    nursery(async |n| {
        let eager = n.start::<Eager>("eager").offer::<triple>().await?;
        assert_eq!(eager.got().await?, 15);
        eager.cancel().await
    })
    .await
}

#[runtime::remote]
async fn ask_often(count: u64) -> runtime::Result<u64> {
    let mut sum = 0;
    for n in 0..count {
        sum += parent().call::<triple>((n,)).await?;
    }
    Ok(sum)
}

async fn both_ends_call_at_once_with_the_same_numbers() -> runtime::Result<()> {
    nursery(async |n| {
        let child =
            n.actor("child").expose::<ask_often>().expose::<triple>().offer::<triple>().await?;
        let asking = child.call::<ask_often>((100,));
        let asked = async {
            for n in 0..100 {
                assert_eq!(child.call::<triple>((n,)).await?, n * 3);
            }
            runtime::Result::<()>::Ok(())
        };
        let (sum, asked) = tokio::join!(asking, asked);
        asked?;
        assert_eq!(sum?, 3 * (0..100).sum::<u64>());
        child.cancel().await
    })
    .await
}

thread_local! {
    static BEGUN: Rc<Notify> = Rc::default();
    static DROPPED: Rc<Notify> = Rc::default();
}

struct Told;

impl Drop for Told {
    fn drop(&mut self) {
        DROPPED.with(|dropped| dropped.notify_one());
    }
}

#[runtime::remote]
async fn wait_for_ever() {
    let _told = Told;
    BEGUN.with(|begun| begun.notify_one());
    std::future::pending::<()>().await;
}

#[runtime::remote]
async fn begin_and_drop() -> runtime::Result<()> {
    let parent = parent();
    tokio::select! {
        ended = parent.call::<wait_for_ever>(()) => Ok(ended?),
        begun = parent.call::<wait_begun>(()) => Ok(begun?),
    }
}

#[runtime::remote]
async fn wait_begun() {
    BEGUN.with(Rc::clone).notified().await;
}

async fn a_call_to_a_parent_is_cancelled_when_dropped() -> runtime::Result<()> {
    nursery(async |n| {
        let child = n
            .actor("child")
            .expose::<begin_and_drop>()
            .offer::<wait_for_ever>()
            .offer::<wait_begun>()
            .await?;
        child.call::<begin_and_drop>(()).await?;
        DROPPED.with(Rc::clone).notified().await;
        child.cancel().await
    })
    .await
}

#[runtime::remote]
async fn begin_and_die() -> runtime::Result<()> {
    let parent = parent();
    tokio::select! {
        ended = parent.call::<wait_for_ever>(()) => Ok(ended?),
        _ = parent.call::<wait_begun>(()) => std::process::exit(3),
    }
}

async fn what_a_dead_child_asked_for_is_ended() -> runtime::Result<()> {
    let ended: runtime::Result<()> = nursery(async |n| {
        n.actor("child")
            .expose::<begin_and_die>()
            .offer::<wait_for_ever>()
            .offer::<wait_begun>()
            .await?
            .call::<begin_and_die>(())
            .await?;
        Ok(())
    })
    .await;
    DROPPED.with(Rc::clone).notified().await;
    assert!(matches!(ended, Err(Error::ActorDied { exit: Exit::Code(3), .. })), "{ended:?}");
    Ok(())
}

#[runtime::remote]
async fn end_above() -> runtime::Result<()> {
    parent().cancel().await
}

async fn a_parent_is_not_its_childs_to_end() -> runtime::Result<()> {
    nursery(async |n| {
        let ended = n.actor("child").expose::<end_above>().await?;
        let refused = ended.call::<end_above>(()).await.expect_err("it is refused");
        assert!(matches!(refused, CallError::Returned(Error::NotExposed { .. }, _)), "{refused:?}");
        ended.cancel().await
    })
    .await
}

async fn a_root_has_no_parent_to_call() -> runtime::Result<()> {
    assert!(runtime::current()?.parent_portal().is_none());
    Ok(())
}
