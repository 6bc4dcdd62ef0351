//! Several contexts under one body; things that several tasks share; publishers and subscribers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use runtime::{
    CallError, Context, Error, Never, Provide, Sender, gather_contexts, maybe_open_context,
    nursery, publish,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

crate::cases![None => [
    gathered_contexts_come_in_order,
    gathering_nothing_is_refused,
    a_gathered_context_that_cannot_start_ends_the_others,
    a_gathered_context_that_fails_ends_the_others,
    a_gathered_body_that_fails_ends_all,
    a_resource_is_opened_once_for_all_and_closed_once,
    the_last_user_waits_for_the_close_and_has_its_error,
    a_resource_that_cannot_be_opened_fails_all_who_wait,
    who_comes_while_it_closes_has_a_new_one,
    a_first_user_that_is_cancelled_leaves_it_to_the_others,
    a_resource_that_everybody_left_while_it_opened_is_gone,
    a_last_user_that_is_dropped_is_followed_by_the_close,
    subscribers_have_their_topics_of_one_producer,
    a_producer_that_fails_tells_all_subscribers,
    a_subscription_needs_a_topic,
]];

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{0} went wrong")]
struct Wrong(u32);

#[derive(Default)]
struct Ward {
    present: RefCell<BTreeSet<u32>>,
}

struct Visit<'w>(&'w Ward, u32);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.present.borrow_mut().remove(&self.1);
    }
}

/// From this number on, a visit fails: at once, or when it has started.
const BAD: u32 = 100;
const WORSE: u32 = 200;

#[runtime::actor]
impl Ward {
    #[runtime::context]
    async fn visit(&self, cx: Context<u32>, number: u32) -> Result<Never, Wrong> {
        self.present.borrow_mut().insert(number);
        let _visit = Visit(self, number);
        if number >= WORSE {
            return Err(Wrong(number));
        }
        // The later ones start first.
        for _ in 0..BAD.saturating_sub(number) {
            tokio::task::yield_now().await;
        }
        let _cx = cx.started(number).await.expect("it can be sent");
        if number >= BAD {
            return Err(Wrong(number));
        }
        std::future::pending().await
    }

    async fn count(&self) -> usize {
        self.present.borrow().len()
    }
}

async fn gathered_contexts_come_in_order() -> runtime::Result<()> {
    nursery(async |n| {
        let (a, b) = (n.start::<Ward>("a").await?, n.start::<Ward>("b").await?);
        let openings = (0..6).map(|i| if i % 2 == 0 { a.visit(i) } else { b.visit(i) });
        // Two handles, one function; boxed up as one kind of opening.
        let gathered = gather_contexts(openings, async |opened| {
            let firsts: Vec<u32> = opened.iter().map(|cx| *cx.first()).collect();
            assert_eq!(a.count().await? + b.count().await?, 6);
            for cx in opened {
                cx.cancel().await;
            }
            Ok(firsts)
        });
        assert_eq!(gathered.await?, [0, 1, 2, 3, 4, 5]);
        assert_eq!(a.count().await? + b.count().await?, 0);
        a.cancel().await?;
        b.cancel().await
    })
    .await
}

async fn gathering_nothing_is_refused() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let none = (0..0).map(|i| ward.visit(i));
        let refused = gather_contexts(none, async |_| Ok(())).await;
        assert!(matches!(refused, Err(CallError::Failed(Error::Misuse(_)))), "{refused:?}");
        ward.cancel().await
    })
    .await
}

async fn a_gathered_context_that_cannot_start_ends_the_others() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let openings = [1, WORSE, 2].map(|i| ward.visit(i));
        let failed = gather_contexts(openings, async |_| -> runtime::Result<()> {
            panic!("not all have started")
        });
        let failed = failed.await;
        assert!(matches!(failed, Err(CallError::Returned(Wrong(WORSE), _))), "{failed:?}");
        assert_eq!(ward.count().await?, 0);
        ward.cancel().await
    })
    .await
}

async fn a_gathered_context_that_fails_ends_the_others() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let openings = [1, BAD, 2].map(|i| ward.visit(i));
        let failed = gather_contexts(openings, async |_| {
            std::future::pending::<runtime::Result<()>>().await
        });
        let failed = failed.await;
        assert!(matches!(failed, Err(CallError::Returned(Wrong(BAD), _))), "{failed:?}");
        assert_eq!(ward.count().await?, 0);
        // Also when the body had ended.
        let openings = [1, BAD].map(|i| ward.visit(i));
        let failed = gather_contexts(openings, async |_| Ok(())).await;
        assert!(matches!(failed, Err(CallError::Returned(Wrong(BAD), _))), "{failed:?}");
        assert_eq!(ward.count().await?, 0);
        ward.cancel().await
    })
    .await
}

async fn a_gathered_body_that_fails_ends_all() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let openings = [1, 2].map(|i| ward.visit(i));
        let failed = gather_contexts(openings, async |_| {
            runtime::Result::<()>::Err(Error::message("enough"))
        });
        assert_eq!(failed.await.expect_err("it fails").to_string(), "enough");
        assert_eq!(ward.count().await?, 0);
        ward.cancel().await
    })
    .await
}

/// What became of a resource.
#[derive(Default)]
struct Log {
    opened: Cell<u32>,
    closed: Cell<u32>,
    opening: Notify,
    go: Notify,
}

impl Log {
    async fn run(self: Rc<Log>, provide: Provide<u32>) -> runtime::Result<()> {
        self.opened.set(self.opened.get() + 1);
        provide.until_unused(self.opened.get()).await;
        tokio::task::yield_now().await;
        self.closed.set(self.closed.get() + 1);
        Ok(())
    }
}

async fn a_resource_is_opened_once_for_all_and_closed_once() -> runtime::Result<()> {
    let log = Rc::new(Log::default());
    let mut users = JoinSet::new();
    for _ in 0..10 {
        let log = Rc::clone(&log);
        users.spawn_local(async move {
            let open = {
                let log = Rc::clone(&log);
                async move |provide| log.run(provide).await
            };
            maybe_open_context("key", open, async |lease| {
                assert_eq!((*lease, log.closed.get()), (1, 0));
                tokio::task::yield_now().await;
                Ok(lease.was_cached())
            })
            .await
        });
    }
    let cached: Vec<bool> = users.join_all().await.into_iter().collect::<runtime::Result<_>>()?;
    assert_eq!(cached.iter().filter(|cached| !**cached).count(), 1);
    assert_eq!((log.opened.get(), log.closed.get()), (1, 1));
    Ok(())
}

async fn the_last_user_waits_for_the_close_and_has_its_error() -> runtime::Result<()> {
    let closed = Rc::new(Cell::new(false));
    let seen = Rc::clone(&closed);
    let open = async move |provide: Provide<()>| {
        provide.until_unused(()).await;
        tokio::task::yield_now().await;
        seen.set(true);
        Err(Error::message("the close failed"))
    };
    let ended = maybe_open_context(1_u8, open, async |_| Ok(())).await;
    assert!(closed.get());
    let Err(Error::User(error)) = ended else { panic!("{ended:?}") };
    assert_eq!(error.to_string(), "the close failed");
    Ok(())
}

async fn a_resource_that_cannot_be_opened_fails_all_who_wait() -> runtime::Result<()> {
    let mut users = JoinSet::new();
    for _ in 0..3 {
        users.spawn_local(async {
            let open = async |_: Provide<u32>| {
                tokio::task::yield_now().await;
                Err(Error::message("no such thing"))
            };
            maybe_open_context(2_u8, open, async |_| Ok(())).await
        });
    }
    for failed in users.join_all().await {
        let told = failed.expect_err("it fails").to_string();
        assert!(told.contains("no such thing"), "{told}");
    }
    Ok(())
}

async fn who_comes_while_it_closes_has_a_new_one() -> runtime::Result<()> {
    let log = Rc::new(Log::default());
    let use_it = |log: Rc<Log>| async move {
        let open = {
            let log = Rc::clone(&log);
            async move |provide| log.run(provide).await
        };
        maybe_open_context(3_u8, open, async |lease| Ok((*lease, lease.generation()))).await
    };
    let mut first = Box::pin(use_it(Rc::clone(&log)));
    // Until it waits for the close.
    while log.opened.get() == 0 || log.closed.get() == 0 {
        tokio::select! {
            biased;
            ended = &mut first => {
                assert_eq!(ended?.0, 1);
                break;
            }
            () = tokio::task::yield_now() => {}
        }
    }
    let second = use_it(Rc::clone(&log)).await?;
    assert_eq!((second.0, log.opened.get(), log.closed.get()), (2, 2, 2));
    Ok(())
}

async fn a_first_user_that_is_cancelled_leaves_it_to_the_others() -> runtime::Result<()> {
    let log = Rc::new(Log::default());
    let use_it = |log: Rc<Log>| async move {
        let open = {
            let log = Rc::clone(&log);
            async move |provide| {
                log.opening.notify_one();
                log.go.notified().await;
                log.run(provide).await
            }
        };
        maybe_open_context(4_u8, open, async |lease| Ok(*lease)).await
    };
    let mut first = Box::pin(use_it(Rc::clone(&log)));
    tokio::select! {
        biased;
        ended = &mut first => panic!("{ended:?}"),
        () = log.opening.notified() => {}
    }
    let mut second = Box::pin(use_it(Rc::clone(&log)));
    tokio::select! {
        biased;
        ended = &mut second => panic!("{ended:?}"),
        () = std::future::ready(()) => {}
    }
    drop(first);
    log.go.notify_one();
    assert_eq!(second.await?, 1);
    assert_eq!((log.opened.get(), log.closed.get()), (1, 1));
    Ok(())
}

async fn a_resource_that_everybody_left_while_it_opened_is_gone() -> runtime::Result<()> {
    let begun = Rc::new(Notify::new());
    let told = Rc::clone(&begun);
    let open = async move |_: Provide<()>| {
        told.notify_one();
        std::future::pending().await
    };
    tokio::select! {
        ended = maybe_open_context(5_u8, open, async |_| Ok(())) => panic!("{ended:?}"),
        () = begun.notified() => {}
    }
    let open = async |provide: Provide<()>| {
        provide.until_unused(()).await;
        Ok(())
    };
    maybe_open_context(5_u8, open, async |_| Ok(())).await
}

async fn a_last_user_that_is_dropped_is_followed_by_the_close() -> runtime::Result<()> {
    let log = Rc::new(Log::default());
    let open = {
        let log = Rc::clone(&log);
        async move |provide| log.run(provide).await
    };
    let entered = Notify::new();
    let scope = runtime::CancelScope::new();
    let used = scope.run(maybe_open_context(6_u8, open, async |_| {
        entered.notify_one();
        std::future::pending::<runtime::Result<()>>().await
    }));
    let (used, ()) = tokio::join!(used, async {
        entered.notified().await;
        scope.cancel();
    });
    assert!(used?.is_none());
    // The scope has waited for it.
    assert_eq!(log.closed.get(), 1);
    Ok(())
}

#[runtime::stream]
async fn weather(out: Sender<(String, u32)>, topics: Vec<String>) -> runtime::Result<()> {
    publish("weather", topics, out, async |publisher| {
        // For the last who is to come.
        while !publisher.topics().contains("wind") {
            publisher.wait_changed().await;
        }
        for i in 0..10 {
            for topic in publisher.topics() {
                publisher.publish(&topic, i).await?;
            }
        }
        Ok(())
    })
    .await
}

async fn subscribers_have_their_topics_of_one_producer() -> runtime::Result<()> {
    nursery(async |n| {
        let station = n.actor("station").expose::<weather>().await?;
        let topics = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut first = station.stream::<weather>((topics(&["rain", "sun"]),)).await?;
        // One that comes and goes.
        drop(station.stream::<weather>((topics(&["fog", "snow", "hail"]),)).await?);
        let mut second = station.stream::<weather>((topics(&["sun", "wind"]),)).await?;
        let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
        let read = async {
            while let Some(item) = first.recv().await? {
                of_first.push(item);
            }
            runtime::Result::<()>::Ok(())
        };
        let read_too = async {
            while let Some(item) = second.recv().await? {
                of_second.push(item);
            }
            runtime::Result::<()>::Ok(())
        };
        let (read, read_too) = tokio::join!(read, read_too);
        read.and(read_too)?;
        let of = |items: &[(String, u32)], topic: &str| -> Vec<u32> {
            items.iter().filter(|(name, _)| name == topic).map(|(_, item)| *item).collect()
        };
        let all: Vec<u32> = (0..10).collect();
        assert_eq!((of(&of_first, "rain"), of(&of_first, "sun")), (all.clone(), all.clone()));
        assert_eq!((of(&of_second, "sun"), of(&of_second, "wind")), (all.clone(), all));
        assert_eq!((of_first.len(), of_second.len()), (20, 20));
        station.cancel().await
    })
    .await
}

#[runtime::stream]
async fn doomed(out: Sender<(String, u32)>, topic: String) -> runtime::Result<()> {
    publish("doomed", [topic], out, async |publisher| {
        while publisher.topics().len() < 2 {
            publisher.wait_changed().await;
        }
        Err(Error::message("no more"))
    })
    .await
}

async fn a_producer_that_fails_tells_all_subscribers() -> runtime::Result<()> {
    nursery(async |n| {
        let station = n.actor("station").expose::<doomed>().await?;
        let mut first = station.stream::<doomed>(("a".to_owned(),)).await?;
        let mut second = station.stream::<doomed>(("b".to_owned(),)).await?;
        for reader in [&mut first, &mut second] {
            let told = reader.recv().await.expect_err("it fails").to_string();
            assert!(told.contains("no more"), "{told}");
        }
        station.cancel().await
    })
    .await
}

#[runtime::stream]
async fn nothing(out: Sender<(String, u32)>) -> runtime::Result<()> {
    publish("nothing", [], out, async |_| Ok(())).await
}

async fn a_subscription_needs_a_topic() -> runtime::Result<()> {
    nursery(async |n| {
        let station = n.actor("station").expose::<nothing>().await?;
        let refused = station.stream::<nothing>(()).await?.recv().await;
        assert!(matches!(refused, Err(CallError::Returned(Error::Misuse(_), _))), "{refused:?}");
        station.cancel().await
    })
    .await
}
