//! Contexts and the streams in them: what links the two tasks, who ends first, what overruns.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use runner::{Case, TestResult};
use runtime::{
    CallError, CancelScope, Context, ContextState, Error, Never, Nursery, Overrun, Portal,
    RootConfig, Rung,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::actors::{Refused, refuse};
use crate::attempt::root_config;
use crate::gate::{self, Gate};
use crate::shape;

runner::marks! { timeout = "30s" }

/// Much more than an end takes, and less than any deadline of the runtime's that would hide one.
const SOON: Duration = Duration::from_secs(5);

/// An actor that knows which of its tasks are under way, and which items they were sent.
#[derive(Default)]
struct Peer {
    running: RefCell<BTreeSet<u32>>,
    changed: Notify,
    go: Notify,
}

/// A task under way, for as long as this lives.
struct Running<'p>(&'p Peer, u32);

impl<'p> Running<'p> {
    fn enter(peer: &'p Peer, number: u32) -> Self {
        peer.running.borrow_mut().insert(number);
        Running(peer, number)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.borrow_mut().remove(&self.1);
        self.0.changed.notify_waiters();
    }
}

/// What a task does when it has started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Then {
    Return,
    Wait,
    /// Cancels itself.
    Cancel,
    Fail,
    Panic,
}

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
enum PeerError {
    #[error("refused")]
    Refused,
}

#[runtime::actor]
impl Peer {
    /// Starts with its number, twice of which is its value.
    #[runtime::context]
    async fn run(
        &self,
        cx: Context<u32, u32, u32>,
        number: u32,
        then: Then,
    ) -> Result<u32, PeerError> {
        let _running = Running::enter(self, number);
        let cx = cx.started(number).await.expect("a number can be sent");
        match then {
            Then::Return => {}
            Then::Wait => std::future::pending().await,
            Then::Cancel => {
                cx.cancel();
                std::future::pending::<()>().await;
            }
            Then::Fail => return Err(PeerError::Refused),
            Then::Panic => panic!("on purpose"),
        }
        Ok(2 * number)
    }

    /// Cancels itself before it has started.
    #[runtime::context]
    async fn decline(&self, cx: Context<u32>) -> Never {
        cx.cancel();
        std::future::pending().await
    }

    #[runtime::context]
    async fn forget_to_start(&self, cx: Context<u32>) -> u32 {
        drop(cx);
        7
    }

    /// Receives when it is told to, until the end; says what.
    #[runtime::context]
    async fn take(&self, cx: Context<(), u32, u32>) -> runtime::Result<Vec<u32>> {
        let mut stream = cx.started(()).await?.open_stream()?;
        self.go.notified().await;
        let mut taken = Vec::new();
        while let Some(item) = stream.recv().await? {
            taken.push(item);
        }
        Ok(taken)
    }

    /// Sends so many as fast as it can, and says so.
    #[runtime::context]
    async fn pour(&self, cx: Context<(), u32, u32>, count: u32) -> runtime::Result<u32> {
        let stream = cx.started(()).await?.open_stream()?;
        for item in 0..count {
            stream.send(item).await?;
        }
        Ok(count)
    }

    /// Sends back one item each time it is told to go.
    #[runtime::context]
    async fn step(&self, cx: Context<(), u32, u32>) -> runtime::Result<()> {
        let mut stream = cx.started(()).await?.open_stream()?;
        loop {
            self.go.notified().await;
            let Some(item) = stream.recv().await? else { return Ok(()) };
            stream.send(item).await?;
        }
    }

    /// Holds a stream and a child that takes its time to end.
    #[runtime::context]
    async fn hold_a_child(
        &self,
        cx: Context<(), u32, u32>,
        gate: PathBuf,
        ended: PathBuf,
    ) -> runtime::Result<()> {
        let cx = cx.started(()).await?;
        let _stream = cx.open_stream()?;
        runtime::nursery(async |n| {
            n.run_in_actor::<end_slowly>("slow", (gate.clone(), ended)).await?;
            // The child may arrive before it is known here, and would not be asked to end then, but killed.
            gate::arrive(&gate).map_err(Error::user)?;
            std::future::pending().await
        })
        .await
    }

    /// Cancels itself, which takes its time because of a child it has.
    #[runtime::context]
    async fn decline_slowly(
        &self,
        cx: Context<(), u32, u32>,
        gate: PathBuf,
        ended: PathBuf,
    ) -> runtime::Result<()> {
        let cx = cx.started(()).await?;
        runtime::nursery(async |n| {
            n.run_in_actor::<end_slowly>("slow", (gate, ended)).await?;
            cx.cancel();
            std::future::pending().await
        })
        .await
    }

    /// Keeps the whole actor from doing anything until the gate opens.
    async fn block(&self, gate: PathBuf) {
        drop(gate::pass_blocking(&gate));
    }

    /// Never opens its stream.
    #[runtime::context]
    async fn ignore(&self, cx: Context<(), u32, u32>) -> runtime::Result<()> {
        let _cx = cx.started(()).await?;
        self.go.notified().await;
        Ok(())
    }

    async fn go(&self) {
        self.go.notify_one();
    }

    async fn running(&self) -> Vec<u32> {
        self.running.borrow().iter().copied().collect()
    }

    /// Returns when the task has ended.
    async fn outlive(&self, number: u32) {
        loop {
            let changed = self.changed.notified();
            if !self.running.borrow().contains(&number) {
                return;
            }
            changed.await;
        }
    }
}

/// Arrives, waits, and when it is cut, passes the gate before it has ended.
#[runtime::remote]
async fn end_slowly(gate: PathBuf, ended: PathBuf) -> runtime::Result<()> {
    let _slow = SlowEnd { gate: gate.clone(), ended };
    gate::arrive(&gate).map_err(Error::user)?;
    std::future::pending().await
}

struct SlowEnd {
    gate: PathBuf,
    ended: PathBuf,
}

impl Drop for SlowEnd {
    fn drop(&mut self) {
        drop(gate::pass_blocking(&self.gate));
        drop(std::fs::write(&self.ended, "ended"));
    }
}

/// A root that forces nobody while a gate is closed.
fn patient(case: &Case) -> TestResult<RootConfig> {
    let patience = Duration::from_secs(10);
    let mut config = root_config(case)?;
    config.timings.ack = patience;
    config.timings.soft = patience;
    config.timings.abandon = patience;
    Ok(config)
}

/// Runs `body` beside an actor that ends when the body has.
async fn with_peer(
    body: impl AsyncFnOnce(&Nursery, &PeerHandle) -> runtime::Result<()>,
) -> TestResult {
    runtime::nursery(async |n| {
        let peer = n.start::<Peer>("peer").await?;
        body(n, &peer).await?;
        match peer.teardown() {
            Some(_) => Ok(()),
            None => peer.cancel().await,
        }
    })
    .await?;
    Ok(())
}

/// Who asked whom to end.
fn cancelled<T, E>(outcome: &Result<T, CallError<E>>) -> Option<(&str, &str)> {
    match outcome {
        Err(CallError::Failed(Error::Cancelled { subject, canceller })) => {
            Some((&subject.name, &canceller.name))
        }
        Ok(_) | Err(CallError::Returned(..) | CallError::Failed(_)) => None,
    }
}

#[runner::test]
async fn a_task_that_never_starts_is_an_error() -> TestResult {
    with_peer(async |_, peer| {
        let outcome = peer.forget_to_start().open(async |_| Ok(())).await;
        match outcome {
            Err(CallError::Failed(Error::NotStarted { actor, function })) => {
                assert_eq!(&actor, peer.id());
                assert!(function.ends_with("forget_to_start"), "{function}");
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await
}

/// How the opener's body ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Body {
    Returns,
    Fails,
    /// The scope around the context is cancelled.
    IsCut,
}

/// However the two tasks end and whether there is a stream: the peer's is gone when the context is.
async fn set_up_and_tear_down(body: Body, then: Then, with_stream: bool) -> TestResult {
    with_peer(async |_, peer| {
        let scope = CancelScope::new();
        let opened = peer.run(1, then).open(async |cx| {
            assert_eq!(*cx.first(), 1);
            let stream = with_stream.then(|| cx.open_stream()).transpose()?;
            let expected =
                if with_stream { ContextState::Streaming } else { ContextState::Started };
            assert!([expected, ContextState::Returned].contains(&cx.state()), "{}", cx.state());
            match body {
                Body::Returns if then == Then::Wait => cx.cancel().await,
                Body::Returns => {}
                Body::Fails => return Err(Error::user(Refused(1))),
                Body::IsCut => {
                    scope.cancel();
                    std::future::pending::<()>().await;
                }
            }
            drop(stream);
            Ok(())
        });
        let outcome = scope.run(opened).await?;
        match (body, outcome) {
            (Body::Returns, Some(Ok(()))) | (Body::IsCut, None) => {}
            (Body::Fails, Some(Err(CallError::Failed(error)))) => {
                assert_eq!(shape::of(&error), "refused-1");
            }
            (_, other) => panic!("{body:?}, {then:?}, {with_stream}: {other:?}"),
        }
        if body == Body::IsCut {
            // Dropped: it was told, and nobody waits for it here.
            peer.outlive(1).await?;
        }
        assert_eq!(peer.running().await?, [0; 0]);
        Ok(())
    })
    .await
}

#[runner::test]
async fn both_tasks_are_gone_when_the_body_returns() -> TestResult {
    for (then, with_stream) in kinds() {
        set_up_and_tear_down(Body::Returns, then, with_stream).await?;
    }
    Ok(())
}

#[runner::test]
async fn both_tasks_are_gone_when_the_body_fails() -> TestResult {
    for (then, with_stream) in kinds() {
        set_up_and_tear_down(Body::Fails, then, with_stream).await?;
    }
    Ok(())
}

#[runner::test]
async fn both_tasks_are_gone_when_the_body_is_cut() -> TestResult {
    for (then, with_stream) in kinds() {
        set_up_and_tear_down(Body::IsCut, then, with_stream).await?;
    }
    Ok(())
}

fn kinds() -> [(Then, bool); 4] {
    [(Then::Return, false), (Then::Return, true), (Then::Wait, false), (Then::Wait, true)]
}

#[runner::test]
async fn a_task_that_fails_cuts_the_body_and_is_told_as_itself() -> TestResult {
    with_peer(async |_, peer| {
        let is_dropped = Cell::new(false);
        let outcome = peer
            .run(1, Then::Fail)
            .open(async |_| -> runtime::Result<()> {
                let _dropped = OnDrop(&is_dropped);
                std::future::pending().await
            })
            .await;
        assert!(is_dropped.get());
        match outcome {
            Err(CallError::Returned(PeerError::Refused, remote)) => {
                assert_eq!(remote.source_actor(), peer.id());
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await
}

struct OnDrop<'c>(&'c Cell<bool>);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[runner::test]
async fn a_task_that_panics_is_told_with_its_place() -> TestResult {
    with_peer(async |_, peer| {
        let opened = peer.run(1, Then::Panic).open(async |cx| Ok(cx.result().await.map(drop)?));
        match opened.await {
            Err(CallError::Failed(Error::Remote(remote))) => {
                assert!(remote.is_panic());
                assert_eq!(remote.message(), "on purpose");
                let place = remote.location().map(|place| place.file.clone());
                assert!(place.is_some_and(|file| file.ends_with("context_streams.rs")));
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await
}

/// Asked for on this very context: nobody's error.
#[runner::test]
async fn a_cancel_of_ones_own_is_absorbed_where_the_scope_ends() -> TestResult {
    with_peer(async |_, peer| {
        let own = runtime::current()?.id().clone();
        let value = peer.run(1, Then::Wait).open(async |cx| {
            assert_eq!((cx.state(), cx.canceller()), (ContextState::Started, None));
            cx.cancel().await;
            assert_eq!(cx.canceller(), Some(own));
            Ok(9)
        });
        assert_eq!(value.await?, 9);
        assert_eq!(peer.running().await?, [0; 0]);
        Ok(())
    })
    .await
}

/// Who asks for the result of what it has cancelled is told what it has done, and by whom.
#[runner::test]
async fn the_result_of_what_one_has_cancelled_is_a_cancel() -> TestResult {
    with_peer(async |_, peer| {
        let opened = peer.run(1, Then::Wait).open(async |cx| {
            cx.cancel().await;
            let result = cx.result().await;
            assert_eq!(cancelled(&result), Some(("peer", "root")));
            Ok(())
        });
        opened.await?;
        Ok(())
    })
    .await
}

/// Asked of the actor, and not of the context: an error in each context with it.
#[runner::test]
async fn a_cancel_of_the_actor_is_not_absorbed() -> TestResult {
    with_peer(async |_, peer| {
        let portal: Portal = (**peer).clone();
        let outcome = peer
            .run(1, Then::Wait)
            .open(async |cx| {
                portal.cancel().await?;
                assert_eq!(cx.state(), ContextState::ActorCancelled);
                Ok(())
            })
            .await;
        assert_eq!(cancelled(&outcome), Some(("peer", "root")));
        Ok(())
    })
    .await
}

#[runner::test]
async fn a_cancel_of_the_actor_is_the_result_of_its_context() -> TestResult {
    with_peer(async |_, peer| {
        let portal: Portal = (**peer).clone();
        let opened = peer.run(1, Then::Wait).open(async |cx| {
            portal.cancel().await?;
            let result = cx.result().await;
            assert_eq!(cancelled(&result), Some(("peer", "root")));
            result.map_err(Error::from)
        });
        assert_eq!(cancelled(&opened.await), Some(("peer", "root")));
        Ok(())
    })
    .await
}

/// What came before the cancel is had, also by who cancels.
#[runner::test]
async fn a_result_that_came_early_wins_over_the_cancel() -> TestResult {
    with_peer(async |_, peer| {
        let value = peer.run(4, Then::Return).open(async |cx| {
            while cx.state() != ContextState::Returned {
                tokio::task::yield_now().await;
            }
            cx.cancel().await;
            Ok(cx.result().await?)
        });
        assert_eq!(value.await?, 8);
        Ok(())
    })
    .await
}

#[runner::test]
async fn a_result_that_came_early_wins_over_the_cancel_of_the_actor() -> TestResult {
    with_peer(async |_, peer| {
        let portal: Portal = (**peer).clone();
        let value = peer.run(4, Then::Return).open(async |cx| {
            while cx.state() != ContextState::Returned {
                tokio::task::yield_now().await;
            }
            portal.cancel().await?;
            Ok(cx.result().await?)
        });
        assert_eq!(value.await?, 8);
        Ok(())
    })
    .await
}

#[runner::test]
async fn a_task_that_cancels_itself_before_it_starts_says_so() -> TestResult {
    with_peer(async |_, peer| {
        let outcome = peer.decline().open(async |_| Ok(())).await;
        assert_eq!(cancelled(&outcome), Some(("peer", "peer")));
        Ok(())
    })
    .await
}

#[runner::test]
async fn a_task_that_cancels_itself_later_says_so_in_its_stream_too() -> TestResult {
    with_peer(async |_, peer| {
        let outcome = peer
            .run(1, Then::Cancel)
            .open(async |cx| {
                while cx.state() != ContextState::PeerCancelled {
                    tokio::task::yield_now().await;
                }
                // What it had sent could still be read; it had sent nothing.
                match cx.open_stream()?.recv().await {
                    Err(Error::Cancelled { subject, canceller }) => {
                        assert_eq!((&subject, &canceller), (peer.id(), peer.id()));
                    }
                    other => panic!("{other:?}"),
                }
                Ok(())
            })
            .await;
        assert_eq!(cancelled(&outcome), Some(("peer", "peer")));
        Ok(())
    })
    .await
}

/// The body's own error is new; the cancel it met is not.
#[runner::test]
async fn an_error_of_the_body_wins_over_the_cancel_it_meets() -> TestResult {
    with_peer(async |_, peer| {
        let outcome: Result<(), _> = peer
            .run(1, Then::Cancel)
            .open(async |cx| {
                while cx.state() != ContextState::PeerCancelled {
                    tokio::task::yield_now().await;
                }
                Err(Error::user(Refused(3)))
            })
            .await;
        let error = Error::from(outcome.expect_err("the body fails"));
        assert_eq!(shape::of(&error), "refused-3");
        Ok(())
    })
    .await
}

#[runner::test]
async fn there_is_one_stream() -> TestResult {
    with_peer(async |_, peer| {
        let opened = peer.run(1, Then::Wait).open(async |cx| {
            let stream = cx.open_stream()?;
            assert!(matches!(cx.open_stream(), Err(Error::Misuse(_))));
            drop(stream);
            assert!(matches!(cx.open_stream(), Err(Error::Misuse(_))));
            assert_eq!(cx.state(), ContextState::StreamFinished);
            cx.cancel().await;
            Ok(())
        });
        opened.await?;
        Ok(())
    })
    .await
}

/// As many as may wait do, and the next is told so where it is sent.
#[runner::test]
async fn what_is_sent_to_who_never_opens_the_stream_overruns() -> TestResult {
    with_peer(async |_, peer| {
        let opened = peer.ignore().overrun(Overrun::Error).open(async |cx| {
            let stream = cx.open_stream()?;
            for item in 0..64 {
                stream.send(item).await?;
            }
            match stream.send(64).await {
                Err(Error::StreamOverrun { actor, capacity }) => {
                    assert_eq!((&actor, capacity), (peer.id(), 64));
                }
                other => panic!("{other:?}"),
            }
            peer.go().await?;
            Ok(())
        });
        opened.await?;
        Ok(())
    })
    .await
}

/// The other way round it is the task's error, and arrives as such.
#[runner::test]
async fn a_task_whose_opener_never_opens_the_stream_overruns() -> TestResult {
    with_peer(async |_, peer| {
        let opening = peer.pour(u32::MAX).overrun(Overrun::Error);
        let outcome = opening.open(async |cx| Ok(cx.result().await?)).await;
        match outcome {
            Err(CallError::Returned(Error::StreamOverrun { actor, capacity: 64 }, remote)) => {
                assert_eq!(&actor, runtime::current()?.id());
                assert_eq!(remote.source_actor(), peer.id());
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await
}

/// More than wait at a time.
const MANY: u32 = 200;

/// The peer receives when all but what may wait has been sent.
async fn slow_peer(overrun: Overrun, is_cancelled: bool) -> TestResult {
    with_peer(async |_, peer| {
        let outcome = peer
            .take()
            .overrun(overrun)
            .open(async |cx| {
                let stream = cx.open_stream()?;
                for item in 0..64 {
                    stream.send(item).await?;
                }
                if is_cancelled {
                    cx.cancel().await;
                    return Ok(None);
                }
                if overrun != Overrun::Wait {
                    stream.send(64).await?;
                    assert_eq!(stream.statistics().dropped, 1);
                }
                peer.go().await?;
                if overrun == Overrun::Wait {
                    for item in 64..MANY {
                        stream.send(item).await?;
                    }
                }
                stream.close();
                Ok(Some(cx.result().await?))
            })
            .await;
        match (overrun, is_cancelled, outcome) {
            (_, true, Ok(None)) => {}
            (Overrun::Wait, false, Ok(Some(taken))) => assert!(taken.into_iter().eq(0..MANY)),
            (Overrun::Drop, false, Ok(Some(taken))) => assert!(taken.into_iter().eq(0..64)),
            (
                Overrun::Error,
                false,
                Err(CallError::Failed(Error::StreamOverrun { capacity: 64, .. })),
            ) => {}
            (_, _, other) => panic!("{overrun:?}, {is_cancelled}: {other:?}"),
        }
        Ok(())
    })
    .await
}

/// This side receives when the peer has sent what may wait, and one more was put off.
async fn slow_opener(overrun: Overrun, is_cancelled: bool) -> TestResult {
    with_peer(async |_, peer| {
        let outcome = peer
            .pour(MANY)
            .overrun(overrun)
            .open(async |cx| {
                let mut stream = cx.open_stream()?;
                while stream.statistics().waiting < 64 && cx.state() == ContextState::Streaming {
                    tokio::task::yield_now().await;
                }
                if is_cancelled {
                    cx.cancel().await;
                    return Ok(None);
                }
                let mut taken = Vec::new();
                while let Some(item) = stream.recv().await? {
                    taken.push(item);
                }
                cx.result().await?;
                Ok(Some(taken))
            })
            .await;
        match (overrun, is_cancelled, outcome) {
            (Overrun::Wait | Overrun::Drop, true, Ok(None)) => {}
            (Overrun::Wait, false, Ok(Some(taken))) => assert!(taken.into_iter().eq(0..MANY)),
            (Overrun::Drop, false, Ok(Some(taken))) => {
                assert!(taken[..64].iter().copied().eq(0..64) && taken.is_sorted(), "{taken:?}");
            }
            (
                Overrun::Error,
                _,
                Err(CallError::Returned(Error::StreamOverrun { capacity: 64, .. }, _)),
            ) => {}
            (_, _, other) => panic!("{overrun:?}, {is_cancelled}: {other:?}"),
        }
        Ok(())
    })
    .await
}

#[runner::test]
async fn a_sender_waits_for_who_is_slow() -> TestResult {
    for is_cancelled in [false, true] {
        slow_peer(Overrun::Wait, is_cancelled).await?;
        slow_opener(Overrun::Wait, is_cancelled).await?;
    }
    Ok(())
}

#[runner::test]
async fn a_stream_overruns_if_it_was_opened_so() -> TestResult {
    for is_cancelled in [false, true] {
        slow_peer(Overrun::Error, is_cancelled).await?;
        slow_opener(Overrun::Error, is_cancelled).await?;
    }
    Ok(())
}

/// Each item that is received makes room for one, at once.
#[runner::test]
async fn room_comes_back_item_by_item_where_an_overrun_is_an_error() -> TestResult {
    with_peer(async |_, peer| {
        let opening = peer.step().capacity(4).overrun(Overrun::Error);
        let opened = opening.open(async |cx| {
            let mut stream = cx.open_stream()?;
            for item in 0..4 {
                stream.send(item).await?;
            }
            for item in 4..20 {
                peer.go().await?;
                assert_eq!(stream.recv().await?, Some(item - 4));
                stream.send(item).await?;
            }
            cx.cancel().await;
            Ok(())
        });
        opened.await?;
        Ok(())
    })
    .await
}

#[runner::test]
async fn a_stream_drops_what_is_too_much_if_it_was_opened_so() -> TestResult {
    for is_cancelled in [false, true] {
        slow_peer(Overrun::Drop, is_cancelled).await?;
        slow_opener(Overrun::Drop, is_cancelled).await?;
    }
    Ok(())
}

/// A context that is stalled for want of credit stalls nothing else on its channel.
#[runner::test]
async fn who_is_slow_in_one_context_is_quick_in_another() -> TestResult {
    with_peer(async |_, peer| {
        let opened = peer.take().capacity(2).open(async |cx| {
            let stream = cx.open_stream()?;
            stream.send(0).await?;
            stream.send(1).await?;
            // The next one would have to wait.
            assert_eq!(stream.statistics().credit, 0);
            let started = Instant::now();
            assert_eq!(peer.run(3, Then::Return).open(async |cx| Ok(cx.result().await?)).await?, 6);
            peer.running().await?;
            assert!(started.elapsed() < SOON);
            peer.go().await?;
            for item in 2..MANY {
                stream.send(item).await?;
            }
            stream.close();
            Ok(cx.result().await?)
        });
        assert!(opened.await?.into_iter().eq(0..MANY));
        Ok(())
    })
    .await
}

/// The opener goes on when the task has ended, and not when it was told to.
#[runner::test]
async fn a_context_outlasts_the_task_of_its_peer() -> TestResult {
    with_peer(async |_, peer| {
        for number in 0..20 {
            let opened = peer.run(number, Then::Wait).open(async |cx| {
                cx.cancel().await;
                Ok(())
            });
            opened.await?;
            assert_eq!(peer.running().await?, [0; 0]);
        }
        Ok(())
    })
    .await
}

/// Nor before all that the task leaves has ended. Until then its stream has not ended either: it was cut.
#[runner::test]
fn a_context_outlasts_what_the_task_of_its_peer_leaves(case: Case) -> TestResult {
    let ended = case.temp_dir()?.join("ended");
    runtime::block_on_root(patient(&case)?, async {
        let mut gate = Gate::closed(&case, "gate")?;
        with_peer(async |_, peer| {
            let opened = peer.hold_a_child(gate.path(), ended.clone()).open(async |cx| {
                let mut stream = cx.open_stream()?;
                gate.arrived(2).await.map_err(Error::user)?;
                cx.cancel().await;
                let (told, arrived) = tokio::join!(stream.recv(), async {
                    let arrived = gate.arrived(1).await;
                    tokio::task::yield_now().await;
                    gate.open();
                    arrived
                });
                arrived.map_err(Error::user)?;
                assert!(matches!(told, Err(Error::Cancelled { .. })), "{told:?}");
                Ok(())
            });
            opened.await?;
            assert!(ended.exists());
            Ok(())
        })
        .await
    })?
}

/// Who wants the end of a task that is already ending by another's wish is told of that one.
#[runner::test]
fn the_first_cancel_is_the_one_that_counts(case: Case) -> TestResult {
    let ended = case.temp_dir()?.join("ended");
    runtime::block_on_root(patient(&case)?, async {
        let mut gate = Gate::closed(&case, "gate")?;
        with_peer(async |_, peer| {
            let outcome = peer
                .decline_slowly(gate.path(), ended.clone())
                .open(async |cx| {
                    // The child is there; and then it is being ended.
                    gate.arrived(2).await.map_err(Error::user)?;
                    cx.cancel().await;
                    gate.open();
                    Ok(())
                })
                .await;
            assert_eq!(cancelled(&outcome), Some(("peer", "peer")));
            Ok(())
        })
        .await
    })?
}

/// A task that was asked to end, in an actor that does not even hear of it, is given up, and that is said.
#[runner::test]
async fn a_task_that_does_not_hear_that_it_is_to_end_is_given_up(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let ack = runtime::current()?.timings().ack;
    with_peer(async |_, peer| {
        let (path, blocked) = (gate.path(), peer.clone());
        let mut blocking = None;
        let started = Instant::now();
        let outcome = peer
            .run(1, Then::Wait)
            .open(async |cx| {
                let block = async move { blocked.block(path).await };
                blocking = Some(tokio::task::spawn_local(block));
                gate.arrived(1).await.map_err(Error::user)?;
                cx.cancel().await;
                assert!(started.elapsed() >= ack, "it has not heard of it");
                Ok(())
            })
            .await;
        match outcome {
            Err(CallError::Failed(Error::Unresponsive { actor, rung, after })) => {
                assert_eq!((&actor, rung, after), (peer.id(), Rung::Request, ack));
            }
            other => panic!("{other:?}"),
        }
        gate.open();
        if let Some(blocking) = blocking {
            blocking.await.map_err(Error::user)??;
        }
        // It goes on, and the task has ended after all.
        peer.outlive(1).await?;
        Ok(())
    })
    .await
}

/// Two failures that have nothing to do with each other are two.
#[runner::test]
async fn a_body_and_a_task_that_both_fail_are_both_told() -> TestResult {
    with_peer(async |_, peer| {
        let outcome: Result<(), _> = peer
            .run(1, Then::Fail)
            .open(async |cx| {
                while cx.state() != ContextState::Errored {
                    tokio::task::yield_now().await;
                }
                Err(Error::user(Refused(3)))
            })
            .await;
        let error = Error::from(outcome.expect_err("both fail"));
        assert_eq!(shape::of(&error), "(refused-3 peer:refused)");
        Ok(())
    })
    .await
}

/// Who waits for the value sends no more: a task that reads to the end comes to it, also while the stream is held.
#[runner::test]
async fn the_wait_for_the_value_ends_what_is_sent() -> TestResult {
    with_peer(async |_, peer| {
        let opened = peer.take().open(async |cx| {
            let stream = cx.open_stream()?;
            for item in 0..3 {
                stream.send(item).await?;
            }
            peer.go().await?;
            let taken = cx.result().await?;
            let late = stream.send(3).await;
            assert!(matches!(late, Err(Error::StreamEnded { .. })), "{late:?}");
            Ok(taken)
        });
        assert_eq!(opened.await?, [0, 1, 2]);
        Ok(())
    })
    .await
}

/// A body that is cut may leave what has failed: that is not hidden by the cancel.
#[runner::test]
async fn what_failed_in_a_body_that_is_cut_is_told() -> TestResult {
    with_peer(async |_, peer| {
        let outcome = peer
            .run(1, Then::Wait)
            .open(async |_| -> runtime::Result<()> {
                let kept = Nursery::open()?;
                let one = kept.run_in_actor::<refuse>("one", (4,)).await?;
                assert!(one.result().await.is_err());
                peer.cancel().await?;
                std::future::pending().await
            })
            .await;
        let error = Error::from(outcome.expect_err("one failed"));
        assert_eq!(shape::of(&error), "one:refused-4");
        Ok(())
    })
    .await
}

/// Left over are what was sent and nobody received; the value comes after it.
#[runner::test]
async fn what_is_left_in_the_stream_is_let_go_of() -> TestResult {
    with_peer(async |_, peer| {
        let value = peer.pour(60).open(async |cx| {
            let mut stream = cx.open_stream()?;
            assert_eq!(stream.recv().await?, Some(0));
            let value = cx.result().await?;
            Ok(value)
        });
        assert_eq!(value.await?, 60);
        // Nobody ever looked into this one.
        assert_eq!(peer.pour(MANY).open(async |cx| Ok(cx.result().await?)).await?, MANY);
        assert_eq!(peer.pour(60).open(async |_| Ok(1)).await?, 1);
        Ok(())
    })
    .await
}
