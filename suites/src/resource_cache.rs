//! What several tasks of an actor share: opened once, closed once, by whoever leaves last.

use std::cell::Cell;
use std::rc::Rc;

use runner::TestResult;
use runtime::{
    CallError, CancelScope, Context, Error, Lease, Provide, gather_contexts, maybe_open_context,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::actors::{Refused, refuse};
use crate::shape;

runner::marks! { timeout = "30s" }

/// What was done with a resource.
#[derive(Default)]
struct Log {
    opened: Cell<u32>,
    closed: Cell<u32>,
    opening: Notify,
    closing: Notify,
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
            n.run_in_actor::<refuse>("one", (1,)).await?;
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
                runtime::nursery(async |n| Ok(n.run_in_actor::<refuse>("one", (7,)).await?.await?))
                    .await
            };
            maybe_open_context("key", open, async |_| Ok(())).await
        });
    }
    log.opening.notified().await;
    log.go_on.notify_one();
    while let Some(outcome) = users.join_next().await {
        // Whoever is told, it is the same value from the same place.
        let Err(Error::Remote(told)) = outcome? else { panic!("it was opened") };
        assert_eq!((told.source_actor().name.as_str(), told.downcast()), ("one", Some(Refused(7))));
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

/// How a gathered context goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Goes {
    On,
    /// It fails before it has started.
    Nowhere,
    /// It fails when all have started.
    Wrong,
}

/// Knows how many contexts have begun, and how many are there.
#[derive(Default)]
struct Meeting {
    begun: Cell<u32>,
    present: Cell<u32>,
    changed: Notify,
}

/// One that is there, for as long as this lives.
struct Present<'m>(&'m Meeting);

impl<'m> Present<'m> {
    fn enter(meeting: &'m Meeting) -> Present<'m> {
        meeting.begun.set(meeting.begun.get() + 1);
        meeting.present.set(meeting.present.get() + 1);
        meeting.changed.notify_waiters();
        Present(meeting)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.present.set(self.0.present.get() - 1);
    }
}

#[runtime::actor]
impl Meeting {
    /// Starts when so many have begun.
    #[runtime::context]
    async fn attend(&self, cx: Context<u32>, of: u32, goes: Goes) -> Result<(), Refused> {
        let _present = Present::enter(self);
        while self.begun.get() < of {
            self.changed.notified().await;
        }
        if goes == Goes::Nowhere {
            return Err(Refused(of));
        }
        let _cx = cx.started(of).await.map_err(|_| Refused(100))?;
        match goes {
            Goes::On => std::future::pending().await,
            Goes::Nowhere | Goes::Wrong => Err(Refused(of)),
        }
    }

    async fn present(&self) -> u32 {
        self.present.get()
    }
}

/// Gathers three contexts, each of which waits for the others to begin; the second goes as told.
async fn meet(second: Goes, has_body: bool) -> TestResult {
    runtime::nursery(async |n| {
        let meeting = n.start::<Meeting>("meeting").await?;
        let openings = [Goes::On, second, Goes::On].map(|goes| meeting.attend(3, goes));
        let outcome = gather_contexts(openings, async |opened| {
            assert_eq!(opened.iter().map(|cx| *cx.first()).collect::<Vec<_>>(), [3, 3, 3]);
            if has_body {
                std::future::pending::<()>().await;
            }
            if second == Goes::On {
                for cx in &opened {
                    cx.cancel().await;
                }
            }
            Ok(())
        })
        .await;
        match (second, outcome) {
            (Goes::On, Ok(())) => {}
            (Goes::Nowhere | Goes::Wrong, Err(CallError::Returned(Refused(3), _))) => {}
            (_, other) => panic!("{second:?}, {has_body}: {other:?}"),
        }
        assert_eq!(meeting.present().await?, 0);
        meeting.cancel().await
    })
    .await?;
    Ok(())
}

/// They are begun side by side: each may wait for another.
#[runner::test]
async fn contexts_that_are_gathered_begin_together() -> TestResult {
    meet(Goes::On, false).await
}

#[runner::test]
async fn a_gathered_context_that_cannot_start_ends_the_others() -> TestResult {
    meet(Goes::Nowhere, false).await
}

/// Whether the body still runs or has ended well.
#[runner::test]
async fn a_gathered_context_that_fails_ends_the_others() -> TestResult {
    meet(Goes::Wrong, true).await?;
    meet(Goes::Wrong, false).await
}

/// Opens and closes when it is told to.
async fn provide_slowly(log: Rc<Log>, provide: Provide<u32>) -> runtime::Result<()> {
    log.opened.set(log.opened.get() + 1);
    log.opening.notify_one();
    log.go_on.notified().await;
    provide.until_unused(log.opened.get()).await;
    log.closing.notify_one();
    log.go_on.notified().await;
    log.closed.set(log.closed.get() + 1);
    Ok(())
}

async fn use_slowly<T>(
    log: &Rc<Log>,
    body: impl AsyncFnOnce(Lease<u32>) -> runtime::Result<T>,
) -> runtime::Result<T> {
    let log = Rc::clone(log);
    let open = async move |provide| provide_slowly(log, provide).await;
    maybe_open_context("slow", open, body).await
}

/// Who comes when it is closing already waits for that, and has it opened anew.
#[runner::test]
async fn who_comes_in_the_midst_of_the_close_has_the_next_generation() -> TestResult {
    let log = Rc::new(Log::default());
    let visit = async || use_slowly(&log, async |lease| Ok((*lease, lease.was_cached()))).await;
    let late = async {
        log.closing.notified().await;
        visit().await
    };
    let (first, second, ()) = tokio::join!(visit(), late, async {
        log.opening.notified().await;
        log.go_on.notify_one();
        // The second has come by now, and the first is still being closed.
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        assert_eq!(log.counts(), (1, 0));
        log.go_on.notify_one();
        log.opening.notified().await;
        assert_eq!(log.counts(), (2, 1));
        log.go_on.notify_one();
        log.closing.notified().await;
        log.go_on.notify_one();
    });
    assert_eq!((first?, second?), ((1, false), (2, false)));
    assert_eq!(log.counts(), (2, 2));
    Ok(())
}

/// Who leaves while it is being opened takes it from nobody.
#[runner::test]
async fn an_opening_goes_on_for_those_who_still_wait() -> TestResult {
    let log = Rc::new(Log::default());
    let mut first = Box::pin(use_slowly(&log, async |lease| Ok(*lease)));
    let mut second = Box::pin(use_slowly(&log, async |lease| Ok(*lease)));
    tokio::select! {
        biased;
        ended = &mut first => panic!("{ended:?}: it is not open"),
        ended = &mut second => panic!("{ended:?}: it is not open"),
        () = log.opening.notified() => {}
    }
    drop(first);
    log.go_on.notify_one();
    let (second, ()) = tokio::join!(second, async {
        log.closing.notified().await;
        log.go_on.notify_one();
    });
    assert_eq!((second?, log.counts()), (1, (1, 1)));
    Ok(())
}

/// When nobody waits for it any more, it is not opened to the end.
#[runner::test]
async fn an_opening_that_nobody_waits_for_is_cut() -> TestResult {
    let log = Rc::new(Log::default());
    let scope = CancelScope::new();
    let using = scope.run(use_slowly(&log, async |lease| Ok(*lease)));
    let (outcome, ()) = tokio::join!(using, async {
        log.opening.notified().await;
        scope.cancel();
    });
    assert!(outcome?.is_none());
    assert_eq!(Rc::strong_count(&log), 1, "what opened it is gone");
    assert_eq!(log.counts(), (1, 0));
    Ok(())
}

/// A last user that waits for the close, and is cancelled there, leaves that to its scope.
#[runner::test]
async fn a_last_user_that_is_cancelled_in_the_close_waits_all_the_same() -> TestResult {
    let log = Rc::new(Log::default());
    let scope = CancelScope::new();
    let using = scope.run(use_slowly(&log, async |lease| Ok(*lease)));
    let (outcome, ()) = tokio::join!(using, async {
        log.opening.notified().await;
        log.go_on.notify_one();
        log.closing.notified().await;
        scope.cancel();
        tokio::task::yield_now().await;
        log.go_on.notify_one();
    });
    assert!(outcome?.is_none());
    assert_eq!(log.counts(), (1, 1));
    Ok(())
}
