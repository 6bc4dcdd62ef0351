//! Cancels from elsewhere than the context they end: by another task, another actor, or at once by
//! several. Who asked is told apart.

use std::cell::Cell;
use std::time::{Duration, Instant};

use runner::TestResult;
use runtime::{CallError, CancelScope, Context, ContextState, Error, Never, Nursery, Portal};
use tokio::sync::Notify;

use crate::actors::{Refused, pid};
use crate::shape;

runner::marks! { timeout = "20s" }

/// Waits, and sends now and then what nobody has to read.
#[runtime::context]
async fn tick(cx: Context<u32, Never, u32>) -> runtime::Result<()> {
    let stream = cx.started(1).await?.open_stream()?;
    for number in 0.. {
        stream.send(number).await?;
    }
    Ok(())
}

fn cancelled<T, E>(outcome: &Result<T, CallError<E>>) -> Option<(&str, &str)> {
    match outcome {
        Err(CallError::Failed(Error::Cancelled { subject, canceller })) => {
            Some((&subject.name, &canceller.name))
        }
        Ok(_) | Err(CallError::Returned(..) | CallError::Failed(_)) => None,
    }
}

/// While one task reads the stream, another cancels the actor.
#[runner::test]
async fn a_reader_is_told_that_another_task_has_cancelled_the_actor() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<tick>().await?;
        let (portal, is_reading) = (actor.clone(), Notify::new());
        let opened = actor.context::<tick>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let end = loop {
                match stream.recv().await {
                    Ok(Some(_)) => is_reading.notify_one(),
                    Ok(None) => panic!("a cancel is no end"),
                    Err(error) => break error,
                }
            };
            assert_eq!(shape::of(&end), "actor cancelled");
            assert_eq!(cx.state(), ContextState::ActorCancelled);
            Ok(())
        });
        let (outcome, cancelled_it) = tokio::join!(opened, async {
            is_reading.notified().await;
            portal.cancel().await
        });
        cancelled_it?;
        assert_eq!(cancelled(&outcome), Some(("actor", "root")));
        Ok(())
    })
    .await?;
    Ok(())
}

/// While one task reads the stream, another cuts the scope that it is in.
#[runner::test]
async fn a_reader_whose_scope_is_cancelled_takes_the_task_along() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<tick>().expose::<pid>().await?;
        let (scope, is_reading, is_dropped) = (CancelScope::new(), Notify::new(), Cell::new(false));
        let opened = actor.context::<tick>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let _dropped = OnDrop(&is_dropped);
            while stream.recv().await?.is_some() {
                is_reading.notify_one();
            }
            Ok(())
        });
        let (outcome, ()) = tokio::join!(scope.run(opened), async {
            is_reading.notified().await;
            scope.cancel();
        });
        assert!(outcome?.is_none());
        assert!(is_dropped.get() && scope.cancelled_caught());
        actor.call::<pid>(()).await?;
        actor.cancel().await?;
        assert_eq!(actor.teardown().map(|teardown| teardown.is_forced()), Some(false));
        Ok(())
    })
    .await?;
    Ok(())
}

struct OnDrop<'c>(&'c Cell<bool>);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// The nursery's cancel is each context's, and the body goes on after it.
#[runner::test]
async fn a_nursery_that_is_cancelled_tells_each_context_so() -> TestResult {
    runtime::nursery(async |n| {
        let (one, other) = (waiter(n, "one").await?, waiter(n, "other").await?);
        let (both_wait, open) = (Notify::new(), Cell::new(0));
        let wait = async |portal: &Portal| {
            let opened = portal.context::<tick>(()).open(async |cx| {
                open.set(open.get() + 1);
                if open.get() == 2 {
                    both_wait.notify_one();
                }
                Ok(cx.result().await?)
            });
            opened.await
        };
        let (first, second, ()) = tokio::join!(wait(&one), wait(&other), async {
            both_wait.notified().await;
            n.cancel().await;
        });
        assert_eq!(cancelled(&first), Some(("one", "root")));
        assert_eq!(cancelled(&second), Some(("other", "root")));
        Ok(())
    })
    .await?;
    Ok(())
}

async fn waiter(n: &Nursery, name: &str) -> runtime::Result<Portal> {
    n.actor(name).expose::<tick>().await
}

/// On this context and of the actor at once: whoever came first is who is told; either way there is
/// one answer, and it is the same for the state, the canceller and the outcome.
#[runner::test]
async fn two_cancels_at_once_have_one_outcome() -> TestResult {
    for round in 0..20 {
        runtime::nursery(async |n| {
            let actor = waiter(n, "actor").await?;
            let portal = actor.clone();
            let outcome = actor
                .context::<tick>(())
                .open(async |cx| {
                    let of_context = cx.cancel();
                    let of_actor = async {
                        for _ in 0..round % 5 {
                            tokio::task::yield_now().await;
                        }
                        portal.cancel().await
                    };
                    let ((), of_actor) = tokio::join!(of_context, of_actor);
                    of_actor?;
                    Ok(cx.state())
                })
                .await;
            match &outcome {
                Ok(state) => assert_eq!(*state, ContextState::SelfCancelled),
                Err(_) => assert_eq!(cancelled(&outcome), Some(("actor", "root"))),
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Between a request to end and its answer there is time for something to go wrong; that wins.
#[runner::test]
async fn an_error_beside_a_cancel_wins() -> TestResult {
    let started = Instant::now();
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        let actor = waiter(n, "actor").await?;
        let opened = actor.context::<tick>(()).open(async |cx| {
            cx.cancel().await;
            Err::<(), _>(Error::user(Refused(6)))
        });
        Ok(opened.await?)
    })
    .await;
    assert_eq!(shape::of(&outcome.expect_err("the body fails")), "refused-6");
    assert!(started.elapsed() < Duration::from_secs(5));
    Ok(())
}
