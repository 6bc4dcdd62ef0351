//! Contexts: a task here and one in another actor, and how the end of one becomes the end of the other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use runtime::trace::ContextState;
use runtime::{CallError, Context, Error, Exit, Never, Portal, Rung, Timings, nursery};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::gate::{self, Gate};
use crate::{Need, PATIENT};

crate::cases![
    None => [
        a_context_starts_with_one_value_and_ends_with_another,
        a_task_that_ends_without_having_started_is_an_error,
        an_error_before_started_is_that_error,
        a_failing_task_cuts_the_body_short,
        a_panicking_task_is_told_with_its_place,
        a_failing_body_ends_the_task_first,
        a_cancel_of_ones_own_is_absorbed,
        a_cancel_of_ones_own_is_told_to_who_asks_for_the_result,
        a_cancel_of_the_whole_actor_is_not_absorbed,
        a_result_that_was_there_before_the_cancel_is_had,
        a_task_that_cancels_itself_is_told_as_such,
        a_task_that_cancels_itself_before_started_is_told_as_such,
        a_body_that_fails_while_its_context_is_cancelled_is_heard,
        a_task_that_fails_while_it_is_cancelled_is_heard,
        a_failure_is_not_masked_by_a_clean_up_that_awaits,
        a_dropped_context_is_cancelled_and_the_actor_waits_for_that,
        a_stream_is_opened_once,
        a_context_of_a_function_that_is_not_exposed_is_refused,
        a_method_can_be_a_context,
        a_child_opens_a_context_in_its_parent,
        many_contexts_at_once_keep_apart,
        an_actor_that_is_told_to_end_tells_who_wanted_it,
        a_slow_clean_up_stalls_nothing_else,
    ],
    None, IMPATIENT => [
        a_task_that_does_not_acknowledge_is_given_up,
        a_clean_up_that_does_not_end_is_given_up,
    ],
    Some(Need::Process) => [a_death_ends_a_context],
];

/// For tasks that do not end though they are asked to.
const IMPATIENT: Timings = Timings {
    ack: Duration::from_millis(500),
    soft: Duration::from_secs(1),
    terminate: Duration::from_millis(200),
    abandon: Duration::from_millis(300),
    ..PATIENT
};

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{0} went wrong")]
struct Wrong(u32);

#[runtime::context]
async fn double(cx: Context<u64>, n: u64) -> Result<u64, Wrong> {
    cx.started(n).await.map_err(|_| Wrong(0))?;
    Ok(n * 2)
}

async fn a_context_starts_with_one_value_and_ends_with_another() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<double>().await?;
        let opening = actor.context::<double>((21,));
        let both = opening.open(async |cx| {
            let first = *cx.first();
            assert_eq!(cx.peer(), actor.id());
            Ok((first, cx.result().await?))
        });
        assert_eq!(both.await?, (21, 42));
        // The result need not be asked for.
        assert_eq!(actor.context::<double>((1,)).open(async |cx| Ok(*cx.first())).await?, 1);
        actor.cancel().await
    })
    .await
}

#[runtime::context]
async fn never_start(cx: Context) -> u32 {
    drop(cx);
    7
}

async fn a_task_that_ends_without_having_started_is_an_error() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<never_start>().await?;
        let ended = actor.context::<never_start>(()).open(async |_| Ok(())).await;
        let Err(CallError::Failed(Error::NotStarted { actor: who, function })) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!((&who, function.as_str()), (actor.id(), "actors::contexts::never_start"));
        actor.cancel().await
    })
    .await
}

#[runtime::context]
async fn fail(cx: Context, when: When) -> Result<Never, Wrong> {
    match when {
        When::BeforeStarted => Err(Wrong(1)),
        When::AfterStarted => {
            cx.started(()).await.expect("it can be sent");
            Err(Wrong(2))
        }
        When::Panicking => {
            cx.started(()).await.expect("it can be sent");
            panic!("this is the end");
        }
    }
}

#[derive(Serialize, Deserialize)]
enum When {
    BeforeStarted,
    AfterStarted,
    Panicking,
}

async fn an_error_before_started_is_that_error() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<fail>().await?;
        let ended = actor
            .context::<fail>((When::BeforeStarted,))
            .open(async |_| -> runtime::Result<()> { panic!("it never started") })
            .await;
        let Err(CallError::Returned(Wrong(1), remote)) = ended else { panic!("{ended:?}") };
        assert_eq!(remote.source_actor(), actor.id());
        actor.cancel().await
    })
    .await
}

async fn a_failing_task_cuts_the_body_short() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<fail>().await?;
        let dropped = Rc::new(Notify::new());
        let told = Told(Rc::clone(&dropped));
        let ended = actor
            .context::<fail>((When::AfterStarted,))
            .open(async move |_| {
                let _told = told;
                std::future::pending::<runtime::Result<()>>().await
            })
            .await;
        assert!(matches!(ended, Err(CallError::Returned(Wrong(2), _))), "{ended:?}");
        dropped.notified().await;
        // As an error of a call it can be passed on; the value is still in it.
        let error: Error = ended.expect_err("it failed").into();
        let Error::Remote(remote) = error else { panic!("{error:?}") };
        assert_eq!(remote.downcast::<Wrong>(), Some(Wrong(2)));
        actor.cancel().await
    })
    .await
}

async fn a_panicking_task_is_told_with_its_place() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<fail>().await?;
        let opening = actor.context::<fail>((When::Panicking,));
        let ended = opening.open(async |cx| Ok(cx.result().await.map(|_| ())?)).await;
        let Err(CallError::Failed(Error::Remote(remote))) = ended else { panic!("{ended:?}") };
        assert_eq!(remote.message(), "this is the end");
        assert!(remote.location().expect("the hook noted it").file.ends_with("contexts.rs"));
        actor.cancel().await
    })
    .await
}

/// Tells of its own end.
struct Told(Rc<Notify>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Knows what became of its tasks.
#[derive(Default)]
struct Ward {
    ended: RefCell<BTreeMap<u32, bool>>,
    begun: Notify,
    released: Rc<Notify>,
}

struct Ending<'w>(&'w Ward, u32);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.ended.borrow_mut().insert(self.1, true);
    }
}

#[runtime::actor]
impl Ward {
    /// Waits until it is ended.
    #[runtime::context]
    async fn stay(&self, cx: Context<u32, u32, u32>, number: u32) -> Result<Never, Wrong> {
        let _ending = Ending(self, number);
        let _cx = cx.started(number).await.expect("it can be sent");
        std::future::pending().await
    }

    /// Waits until it is told to, and fails then.
    #[runtime::context]
    async fn stay_and_fail(&self, cx: Context<(), (), ()>) -> Result<Never, Wrong> {
        let cx = cx.started(()).await.expect("it can be sent");
        let mut stream = cx.open_stream().expect("the first");
        let told = stream.recv().await.expect("it was told");
        assert_eq!(told, Some(()));
        // What has gone wrong has, however busy it is to be cancelled.
        let wrong = Err(Wrong(9));
        cx.cancel();
        wrong
    }

    #[runtime::context]
    async fn leave(&self, cx: Context<(), (), ()>, how: Leave) -> u32 {
        match how {
            Leave::BeforeStarted => {
                cx.cancel();
                std::future::pending().await
            }
            Leave::AfterStarted => {
                let cx = cx.started(()).await.expect("it can be sent");
                cx.cancel();
                assert!(matches!(cx.open_stream(), Err(Error::Cancelled { .. })));
                std::future::pending().await
            }
            Leave::WithAValue => {
                cx.started(()).await.expect("it can be sent");
                5
            }
        }
    }

    /// Never starts.
    #[runtime::context]
    async fn hesitate(&self, cx: Context, number: u32) {
        let _ending = Ending(self, number);
        let _cx = cx;
        self.begun.notify_one();
        std::future::pending::<()>().await;
    }

    /// Is not ended before it is released.
    #[runtime::context]
    async fn linger(&self, cx: Context, number: u32) -> runtime::Result<()> {
        let _ending = Ending(self, number);
        let _cx = cx.started(()).await?;
        let released = Rc::clone(&self.released);
        runtime::shield(PATIENT.soft, async move { released.notified().await }).await
    }

    /// Lets all go that linger.
    async fn release(&self) {
        self.released.notify_waiters();
    }

    /// Hears of nothing before the gate opens.
    #[runtime::context]
    async fn block(&self, cx: Context<(), (), ()>, gate: PathBuf) -> runtime::Result<()> {
        let mut stream = cx.started(()).await?.open_stream()?;
        stream.recv().await?;
        gate::pass(gate);
        stream.recv().await.map(drop)
    }

    async fn wait_begun(&self) {
        self.begun.notified().await;
    }

    async fn has_ended(&self, number: u32) -> bool {
        self.ended.borrow().contains_key(&number)
    }
}

#[derive(Serialize, Deserialize)]
enum Leave {
    BeforeStarted,
    AfterStarted,
    WithAValue,
}

async fn a_failing_body_ends_the_task_first() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let ended =
            ward.stay(1).open(async |_| runtime::Result::<()>::Err(Error::message("enough"))).await;
        let Err(CallError::Failed(Error::User(enough))) = ended else { panic!("{ended:?}") };
        assert_eq!(enough.to_string(), "enough");
        assert!(ward.has_ended(1).await?);
        ward.cancel().await
    })
    .await
}

async fn a_cancel_of_ones_own_is_absorbed() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let value = ward.stay(1).open(async |cx| {
            assert_eq!(cx.state(), ContextState::Started);
            assert_eq!(cx.canceller(), None);
            cx.cancel().await;
            assert_eq!(cx.canceller().as_ref(), Some(runtime::current()?.id()));
            Ok(3)
        });
        assert_eq!(value.await?, 3);
        assert!(ward.has_ended(1).await?);
        ward.cancel().await
    })
    .await
}

async fn a_cancel_of_ones_own_is_told_to_who_asks_for_the_result() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let me = runtime::current()?.id().clone();
        let opened = ward.stay(1).open(async |cx| {
            cx.cancel().await;
            match cx.result().await {
                Err(CallError::Failed(Error::Cancelled { subject, canceller })) => {
                    assert_eq!((&subject, &canceller), (ward.id(), &me));
                    Ok(())
                }
                other => panic!("{other:?}"),
            }
        });
        opened.await?;
        ward.cancel().await
    })
    .await
}

async fn a_cancel_of_the_whole_actor_is_not_absorbed() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let portal: Portal = (*ward).clone();
        let ended = ward
            .stay(1)
            .open(async move |cx| {
                portal.cancel().await?;
                assert_eq!(cx.state(), ContextState::ActorCancelled);
                Ok(())
            })
            .await;
        let Err(CallError::Failed(Error::Cancelled { subject, canceller })) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!((&subject, &canceller), (ward.id(), runtime::current()?.id()));
        Ok(())
    })
    .await
}

async fn a_result_that_was_there_before_the_cancel_is_had() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let value = ward.leave(Leave::WithAValue).open(async |cx| {
            while cx.state() != ContextState::Returned {
                tokio::task::yield_now().await;
            }
            cx.cancel().await;
            Ok(cx.result().await?)
        });
        assert_eq!(value.await?, 5);
        ward.cancel().await
    })
    .await
}

async fn a_task_that_cancels_itself_is_told_as_such() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let opening = ward.leave(Leave::AfterStarted);
        let ended = opening.open(async |cx| Ok(cx.result().await?)).await;
        let Err(CallError::Failed(Error::Cancelled { subject, canceller })) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!((&subject, &canceller), (ward.id(), ward.id()));
        ward.cancel().await
    })
    .await
}

async fn a_task_that_cancels_itself_before_started_is_told_as_such() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let ended = ward.leave(Leave::BeforeStarted).open(async |_| Ok(())).await;
        let Err(CallError::Failed(Error::Cancelled { subject, canceller })) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!((&subject, &canceller), (ward.id(), ward.id()));
        ward.cancel().await
    })
    .await
}

async fn a_body_that_fails_while_its_context_is_cancelled_is_heard() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let ended = ward.leave(Leave::AfterStarted).open(async |cx| {
            while cx.state() != ContextState::PeerCancelled {
                tokio::task::yield_now().await;
            }
            runtime::Result::<()>::Err(Error::message("a new one"))
        });
        let told = ended.await.expect_err("it fails").to_string();
        assert_eq!(told, "a new one");
        ward.cancel().await
    })
    .await
}

async fn a_task_that_fails_while_it_is_cancelled_is_heard() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let ended = ward
            .stay_and_fail()
            .open(async |cx| {
                let stream = cx.open_stream()?;
                stream.send(()).await?;
                Ok(cx.result().await.map(|_| ())?)
            })
            .await;
        assert!(matches!(ended, Err(CallError::Returned(Wrong(9), _))), "{ended:?}");
        ward.cancel().await
    })
    .await
}

async fn a_dropped_context_is_cancelled_and_the_actor_waits_for_that() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let begun = Notify::new();
        let opened = ward.stay(1).open(async |_| {
            begun.notify_one();
            std::future::pending::<runtime::Result<()>>().await
        });
        tokio::select! {
            ended = opened => panic!("{ended:?}"),
            () = begun.notified() => {}
        }
        while !ward.has_ended(1).await? {}
        // Before `started`, too.
        let opened =
            ward.hesitate(2).open(async |_| std::future::pending::<runtime::Result<()>>().await);
        tokio::select! {
            ended = opened => panic!("{ended:?}"),
            begun = ward.wait_begun() => begun?,
        }
        while !ward.has_ended(2).await? {}
        ward.cancel().await
    })
    .await
}

async fn a_stream_is_opened_once() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let opened = ward.stay(1).open(async |cx| {
            let first = cx.open_stream()?;
            assert!(matches!(cx.open_stream(), Err(Error::Misuse(_))));
            assert_eq!(cx.state(), ContextState::Streaming);
            drop(first);
            assert!(matches!(cx.open_stream(), Err(Error::Misuse(_))));
            assert_eq!(cx.state(), ContextState::StreamFinished);
            cx.cancel().await;
            Ok(())
        });
        opened.await?;
        ward.cancel().await
    })
    .await
}

async fn a_context_of_a_function_that_is_not_exposed_is_refused() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let ended = ward.context::<double>((1,)).open(async |_| Ok(())).await;
        assert!(matches!(ended, Err(CallError::Failed(Error::NotExposed { .. }))), "{ended:?}");
        ward.cancel().await
    })
    .await
}

async fn a_method_can_be_a_context() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let opened = ward.stay(4).open(async |cx| {
            assert_eq!(*cx.first(), 4);
            assert!(!ward.has_ended(4).await?);
            cx.cancel().await;
            Ok(())
        });
        opened.await?;
        assert!(ward.has_ended(4).await?);
        ward.cancel().await
    })
    .await
}

#[runtime::remote]
async fn double_above(n: u64) -> runtime::Result<u64> {
    let parent = runtime::current()?.parent_portal().expect("a parent");
    let opening = parent.context::<double>((n,));
    Ok(opening.open(async |cx| Ok(*cx.first() + cx.result().await?)).await?)
}

async fn a_child_opens_a_context_in_its_parent() -> runtime::Result<()> {
    nursery(async |n| {
        let child = n.actor("child").expose::<double_above>().offer::<double>().await?;
        assert_eq!(child.call::<double_above>((10,)).await?, 30);
        child.cancel().await
    })
    .await
}

async fn many_contexts_at_once_keep_apart() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<double>().await?;
        let mut contexts = tokio::task::JoinSet::new();
        for i in 0..200 {
            let actor = actor.clone();
            contexts.spawn_local(async move {
                let opening = actor.context::<double>((i,));
                (i, opening.open(async |cx| Ok(cx.result().await?)).await)
            });
        }
        for (i, doubled) in contexts.join_all().await {
            assert_eq!(doubled?, i * 2);
        }
        actor.cancel().await
    })
    .await
}

#[runtime::context]
async fn hold_below(cx: Context) -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("below").await?;
        let opened = ward.stay(1).open(async |_| {
            cx.started(()).await?;
            std::future::pending::<runtime::Result<()>>().await
        });
        Ok(opened.await?)
    })
    .await
}

/// Two levels: what is cancelled by whom is told as it was, and everything below has ended.
async fn an_actor_that_is_told_to_end_tells_who_wanted_it() -> runtime::Result<()> {
    nursery(async |n| {
        let middle = n.actor("middle").expose::<hold_below>().await?;
        let portal = middle.clone();
        let ended = middle.context::<hold_below>(()).open(async move |_| portal.cancel().await);
        let ended = ended.await;
        let Err(CallError::Failed(Error::Cancelled { subject, canceller })) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!((&subject, &canceller), (middle.id(), runtime::current()?.id()));
        Ok(())
    })
    .await
}

async fn a_slow_clean_up_stalls_nothing_else() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let opened = ward.linger(1).open(async |cx| {
            cx.cancel().await;
            assert_eq!(cx.state(), ContextState::Started);
            // Calls are answered,
            assert!(!ward.has_ended(1).await?);
            // and cancels heard: of another context, and of a call.
            let other = ward.stay(2).open(async |other| {
                other.cancel().await;
                Ok(())
            });
            other.await?;
            assert!(ward.has_ended(2).await?);
            tokio::select! {
                biased;
                begun = ward.wait_begun() => panic!("{begun:?}"),
                ended = ward.has_ended(1) => assert!(!ended?),
            }
            ward.release().await?;
            Ok(())
        });
        opened.await?;
        assert!(ward.has_ended(1).await?);
        ward.cancel().await
    })
    .await
}

/// The rung on which a context was given up.
fn given_up<T: std::fmt::Debug>(
    ended: Result<T, CallError<Error>>,
    by: &Portal,
) -> (Rung, Duration) {
    match ended {
        Err(CallError::Failed(Error::Unresponsive { actor, rung, after })) if actor == *by.id() => {
            (rung, after)
        }
        other => panic!("{other:?}"),
    }
}

async fn a_task_that_does_not_acknowledge_is_given_up() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let gate = Gate::closed();
        let mut blocked = None;
        let opening = ward.block(gate.path());
        let ended = opening.open(async |cx| {
            cx.open_stream()?.send(()).await?;
            blocked = Some(gate.wait_for(1).await);
            cx.cancel().await;
            Ok(())
        });
        assert_eq!(given_up(ended.await, &ward), (Rung::Request, IMPATIENT.ack));
        blocked.expect("it waits").open();
        // What it still says of the context harms nobody.
        assert!(!ward.has_ended(1).await?);
        ward.cancel().await
    })
    .await
}

async fn a_clean_up_that_does_not_end_is_given_up() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let bound = IMPATIENT.soft + IMPATIENT.terminate + IMPATIENT.abandon;
        let begun = Instant::now();
        let at_the_end = ward.linger(1).open(async |cx| {
            cx.cancel().await;
            Ok(())
        });
        let for_its_result = ward.linger(2).open(async |cx| {
            cx.cancel().await;
            Ok(cx.result().await?)
        });
        let scope = runtime::CancelScope::new();
        let dropped = scope.run(ward.linger(3).open(async |_| {
            scope.cancel();
            std::future::pending::<runtime::Result<()>>().await
        }));
        let (at_the_end, for_its_result, dropped) =
            tokio::join!(at_the_end, for_its_result, dropped);
        assert!(begun.elapsed() >= bound);
        for ended in [at_the_end, for_its_result, dropped.map(drop).map_err(CallError::Failed)] {
            assert_eq!(given_up(ended, &ward), (Rung::Soft, bound));
        }
        // It ends when it likes, and what it says then harms nobody.
        assert!(!ward.has_ended(1).await?);
        ward.release().await?;
        while !(ward.has_ended(1).await? && ward.has_ended(2).await?) {}
        ward.cancel().await
    })
    .await
}

#[runtime::context]
async fn die(cx: Context) -> Never {
    cx.started(()).await.expect("it can be sent");
    raise(Signal::SIGKILL).expect("a signal to oneself");
    std::future::pending().await
}

async fn a_death_ends_a_context() -> runtime::Result<()> {
    let mut begun = None;
    let ended: runtime::Result<()> = nursery(async |n| {
        let actor = n.actor("doomed").expose::<die>().await?;
        begun = Some(Instant::now());
        let ended = actor
            .context::<die>(())
            .open(async |_| std::future::pending::<runtime::Result<()>>().await)
            .await;
        let Err(CallError::Failed(Error::ActorDied { exit: Exit::Signal(9), .. })) = ended else {
            panic!("{ended:?}")
        };
        Ok(())
    })
    .await;
    assert!(matches!(ended, Err(Error::ActorDied { exit: Exit::Signal(9), .. })), "{ended:?}");
    let took = begun.expect("it was opened").elapsed();
    assert!(took < PATIENT.ack.min(Duration::from_secs(5)), "{took:?}");
    Ok(())
}

/// Fails, and takes its time to clean up before it says so.
#[runtime::context]
async fn fail_and_clean_up(cx: Context<(), (), ()>) -> Result<Never, Wrong> {
    let cx = cx.started(()).await.expect("it can be sent");
    let wrong = Err(Wrong(4));
    cx.cancel();
    let clean_up = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    runtime::shield(PATIENT.soft, clean_up).await.expect("it was long enough");
    wrong
}

async fn a_failure_is_not_masked_by_a_clean_up_that_awaits() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<fail_and_clean_up>().await?;
        let ended = actor
            .context::<fail_and_clean_up>(())
            .open(async |cx| Ok(cx.result().await.map(|_| ())?));
        let ended = ended.await;
        assert!(matches!(ended, Err(CallError::Returned(Wrong(4), _))), "{ended:?}");
        actor.cancel().await
    })
    .await
}
