//! What several tasks of an actor share: opened once, closed once, by whoever leaves last.

use std::cell::Cell;
use std::rc::Rc;

use runner::TestResult;
use runtime::{CancelScope, Context, Error, Lease, Provide, gather_contexts, maybe_open_context};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::actors::Refused;
use crate::shape;

runner::marks! { timeout = "30s" }

/// What was done with a resource.
#[derive(Default)]
struct Log {
    opened: Cell<u32>,
    closed: Cell<u32>,
    opening: Notify,
    go_on: Notify,
}

impl Log {
    fn counts(&self) -> (u32, u32) {
        (self.opened.get(), self.closed.get())
    }

    /// Opens, is used, and takes its time to close.
    async fn provide(self: Rc<Self>, provide: Provide<u32>) -> runtime::Result<()> {
        self.opened.set(self.opened.get() + 1);
        provide.until_unused(self.opened.get()).await;
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        self.closed.set(self.closed.get() + 1);
        Ok(())
    }
}

async fn use_it<T>(
    log: &Rc<Log>,
    key: impl Into<String>,
    body: impl AsyncFnOnce(Lease<u32>) -> runtime::Result<T>,
) -> runtime::Result<T> {
    let log = Rc::clone(log);
    maybe_open_context(key.into(), async move |provide| log.provide(provide).await, body).await
}

#[runner::test]
async fn ten_users_share_what_is_opened_once() -> TestResult {
    let log = Rc::new(Log::default());
    let mut users = JoinSet::new();
    for _ in 0..10 {
        let log = Rc::clone(&log);
        users.spawn_local(async move {
            use_it(&log, "key", async |lease| {
                assert_eq!((*lease, log.counts()), (1, (1, 0)));
                tokio::task::yield_now().await;
                Ok(lease.was_cached())
            })
            .await
        });
    }
    let mut opened = 0;
    while let Some(was_cached) = users.join_next().await {
        opened += u32::from(!was_cached??);
    }
    assert_eq!((opened, log.counts()), (1, (1, 1)));
    Ok(())
}

/// Users are counted for each key, and not all together.
#[runner::test]
async fn each_key_has_a_life_of_its_own() -> TestResult {
    let log = Rc::new(Log::default());
    let (first, second) = (Notify::new(), Notify::new());
    let one = use_it(&log, "one", async |lease| {
        first.notified().await;
        Ok(*lease)
    });
    let other = use_it(&log, "other", async |lease| {
        second.notified().await;
        Ok(*lease)
    });
    let (one, other, ()) = tokio::join!(
        async {
            let value = one.await;
            assert_eq!(log.counts(), (2, 1));
            second.notify_one();
            value
        },
        other,
        async {
            while log.opened.get() < 2 {
                tokio::task::yield_now().await;
            }
            first.notify_one();
        }
    );
    assert_ne!(one?, other?);
    assert_eq!(log.counts(), (2, 2));
    Ok(())
}

#[runner::test]
async fn the_last_user_returns_when_the_resource_is_closed() -> TestResult {
    let log = Rc::new(Log::default());
    use_it(&log, "key", async |_| Ok(())).await?;
    assert_eq!(log.counts(), (1, 1));
    Ok(())
}

#[runner::test]
async fn an_error_of_the_close_is_the_last_users() -> TestResult {
    let close = async |provide: Provide<u32>| {
        provide.until_unused(1).await;
        tokio::task::yield_now().await;
        Err(Error::user(Refused(3)))
    };
    let outcome = maybe_open_context("key", close, async |_| Ok(())).await;
    match outcome {
        Err(Error::User(user)) => assert_eq!(user.downcast_ref::<Refused>(), Some(&Refused(3))),
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// Whoever is cancelled waits too: its scope does.
#[runner::test]
async fn a_last_user_that_is_cancelled_waits_for_the_close() -> TestResult {
    let (log, entered, scope) = (Rc::new(Log::default()), Notify::new(), CancelScope::new());
    let using = scope.run(use_it(&log, "key", async |_| {
        entered.notify_one();
        std::future::pending::<runtime::Result<()>>().await
    }));
    let (outcome, ()) = tokio::join!(using, async {
        entered.notified().await;
        scope.cancel();
    });
    assert!(outcome?.is_none());
    assert_eq!(log.counts(), (1, 1));
    Ok(())
}

/// So does a nursery whose body used it when it was cut.
#[runner::test]
async fn a_nursery_that_fails_waits_for_the_close_of_what_its_body_used() -> TestResult {
    let log = Rc::new(Log::default());
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        use_it(&log, "key", async |_| {
            n.run_in_actor::<crate::actors::refuse>("one", (1,)).await?;
            std::future::pending().await
        })
        .await
    })
    .await;
    assert_eq!(shape::of(&outcome.expect_err("one fails")), "one:refused-1");
    assert_eq!(log.counts(), (1, 1));
    Ok(())
}

/// The first to come is cancelled, before, while and after it opens; the next has it all the same.
#[runner::test]
async fn a_first_user_that_is_cancelled_wedges_nobody() -> TestResult {
    for polls in 0..12 {
        let log = Rc::new(Log::default());
        let mut first = Box::pin(use_it(&log, "key", async |_| {
            std::future::pending::<runtime::Result<()>>().await
        }));
        for _ in 0..polls {
            tokio::select! {
                biased;
                ended = &mut first => panic!("{ended:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        let second = use_it(&log, "key", async |lease| Ok(*lease));
        let (second, ()) = tokio::join!(second, async { drop(first) });
        second?;
        let (opened, closed) = log.counts();
        assert!(opened >= 1, "{polls}");
        // Nothing is left open: whoever comes now has a new one.
        let value = use_it(&log, "key", async |lease| Ok(*lease)).await?;
        assert_eq!(log.counts(), (value, value), "{polls}: after {opened} and {closed}");
    }
    Ok(())
}

#[runner::test]
async fn who_comes_while_it_closes_has_the_next_generation() -> TestResult {
    let log = Rc::new(Log::default());
    let seen = Cell::new(Vec::new());
    let visit = async || {
        use_it(&log, "key", async |lease| {
            let mut all = seen.take();
            all.push((*lease, lease.generation()));
            seen.set(all);
            Ok(())
        })
        .await
    };
    let mut first = Box::pin(visit());
    // Until it waits for the close.
    loop {
        tokio::select! {
            biased;
            ended = &mut first => panic!("{ended:?}: it closed at once"),
            () = tokio::task::yield_now() => {}
        }
        let all = seen.take();
        let is_used = !all.is_empty();
        seen.set(all);
        if is_used {
            break;
        }
    }
    let (one, other) = tokio::join!(first, visit());
    one.and(other)?;
    let all = seen.take();
    assert_eq!(all.iter().map(|(value, _)| *value).collect::<Vec<_>>(), [1, 2]);
    assert!(all[0].1 < all[1].1, "{all:?}");
    assert_eq!(log.counts(), (2, 2));
    Ok(())
}

#[runner::test]
async fn what_cannot_be_opened_fails_all_who_wait() -> TestResult {
    let log = Rc::new(Log::default());
    let mut users = JoinSet::new();
    for _ in 0..3 {
        let log = Rc::clone(&log);
        users.spawn_local(async move {
            let open = async move |_: Provide<u32>| {
                log.opening.notify_one();
                log.go_on.notified().await;
                Err(Error::message("no such thing"))
            };
            maybe_open_context("key", open, async |_| Ok(())).await
        });
    }
    log.opening.notified().await;
    log.go_on.notify_one();
    while let Some(outcome) = users.join_next().await {
        let told = outcome?.expect_err("it fails").to_string();
        assert!(told.contains("no such thing"), "{told}");
    }
    // It was not kept.
    use_it(&log, "key", async |_| Ok(())).await?;
    Ok(())
}

#[runtime::context]
async fn count(cx: Context<u32, u32, u32>, to: u32) -> runtime::Result<()> {
    let stream = cx.started(to).await?.open_stream()?;
    for number in 0..to {
        stream.send(number).await?;
    }
    Ok(())
}

/// One stream from another actor, for ten tasks of this one.
#[runner::test]
async fn one_remote_stream_is_shared_by_ten_tasks() -> TestResult {
    const VALUES: u32 = 200;
    const USERS: usize = 10;
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let opened = Rc::new(Cell::new(0));
        let ready = Rc::new(tokio::sync::Barrier::new(USERS + 1));
        let mut users = JoinSet::new();
        for _ in 0..USERS {
            let (actor, opened, ready) = (actor.clone(), Rc::clone(&opened), Rc::clone(&ready));
            users.spawn_local(async move {
                let open = {
                    let ready = Rc::clone(&ready);
                    async move |provide: Provide<tokio::sync::broadcast::Sender<u32>>| {
                        opened.set(opened.get() + 1);
                        let opened = actor.context::<count>((VALUES,)).open(async |cx| {
                            let mut stream = cx.open_stream()?;
                            let (all, _) = tokio::sync::broadcast::channel(VALUES as usize);
                            let feed = async {
                                ready.wait().await;
                                while let Some(number) = stream.recv().await? {
                                    all.send(number).ok();
                                }
                                Ok::<(), Error>(())
                            };
                            let ((), fed) = tokio::join!(provide.until_unused(all.clone()), feed);
                            fed
                        });
                        opened.await.map_err(Error::from)
                    }
                };
                maybe_open_context("numbers", open, async |lease| {
                    let mut all = lease.subscribe();
                    ready.wait().await;
                    for expected in 0..VALUES {
                        assert_eq!(all.recv().await.map_err(Error::user)?, expected);
                    }
                    Ok(())
                })
                .await
            });
        }
        while let Some(user) = users.join_next().await {
            user.map_err(Error::user)??;
        }
        assert_eq!(opened.get(), 1);
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Many contexts under one body: entered together, in order; one that fails ends the others.
#[runner::test]
async fn contexts_are_gathered_in_order() -> TestResult {
    runtime::nursery(async |n| {
        let (one, other) =
            (n.actor("one").expose::<count>().await?, n.actor("other").expose::<count>().await?);
        let openings = (1..=6).map(|to| {
            if to % 2 == 0 { one.context::<count>((to,)) } else { other.context::<count>((to,)) }
        });
        let first = gather_contexts(openings, async |opened| {
            Ok(opened.iter().map(|cx| *cx.first()).collect::<Vec<u32>>())
        });
        assert_eq!(first.await?, [1, 2, 3, 4, 5, 6]);
        let none = gather_contexts((0..0).map(|to| one.context::<count>((to,))), async |_| Ok(()));
        let none = none.await.map_err(Error::from);
        assert!(matches!(none, Err(Error::Misuse(_))), "{none:?}");
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}
