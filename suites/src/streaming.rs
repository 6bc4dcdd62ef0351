//! Streams at work: requests over them, several kinds at a time, ends that are not each other.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use runner::{Case, TestResult};
use runtime::{CallError, CancelScope, Context, Error, Never, Sender, Started, Stream};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::actors::{Refused, pid};
use crate::gate::{self, Gate};
use crate::process::{self, Process};
use crate::shape;

runner::marks! { timeout = "30s" }

/// A request with a number of its own, over a stream of many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Request {
    id: u32,
    text: String,
}

/// Answers the last request first, in groups of four.
#[runtime::context]
async fn answer_out_of_order(cx: Context<(), Request, Request>) -> runtime::Result<()> {
    let mut stream = cx.started(()).await?.open_stream()?;
    let mut waiting = Vec::new();
    while let Some(request) = stream.recv().await? {
        waiting.push(request);
        if waiting.len() == 4 {
            while let Some(Request { id, text }) = waiting.pop() {
                stream.send(Request { id, text: text.chars().rev().collect() }).await?;
            }
        }
    }
    Ok(())
}

#[runner::test]
async fn requests_go_over_a_stream_and_answers_find_them() -> TestResult {
    const REQUESTS: u32 = 200;
    runtime::nursery(async |n| {
        let server = n.actor("server").expose::<answer_out_of_order>().await?;
        let opened = server.context::<answer_out_of_order>(()).open(async |cx| {
            let (sender, mut receiver) = cx.open_stream()?.split();
            let send = async {
                for id in 0..REQUESTS {
                    sender.send(Request { id, text: format!("request {id}") }).await?;
                }
                Ok::<(), Error>(())
            };
            let receive = async {
                let mut open: BTreeSet<u32> = (0..REQUESTS).collect();
                while !open.is_empty() {
                    let Some(answer) = receiver.recv().await? else { break };
                    let asked: String = answer.text.chars().rev().collect();
                    assert_eq!(asked, format!("request {}", answer.id));
                    assert!(open.remove(&answer.id), "{} twice", answer.id);
                }
                Ok::<BTreeSet<u32>, Error>(open)
            };
            let ((), open) = tokio::try_join!(send, receive)?;
            assert_eq!(open, BTreeSet::new());
            Ok(())
        });
        opened.await?;
        server.cancel().await
    })
    .await?;
    Ok(())
}

/// How a task that sends comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum End {
    Returns,
    Closes,
    Cancels,
    Fails,
    Dies,
}

#[runtime::context]
async fn count(cx: Context<(), Never, u32>, items: u32, end: End) -> Result<u32, Refused> {
    let cx: Started<Never, u32> = cx.started(()).await.map_err(|_| Refused(100))?;
    let stream = cx.open_stream().map_err(|_| Refused(101))?;
    for item in 0..items {
        stream.send(item).await.map_err(|_| Refused(102))?;
    }
    match end {
        End::Returns => return Ok(items),
        End::Closes => stream.close(),
        End::Cancels => cx.cancel(),
        End::Fails => return Err(Refused(items)),
        End::Dies => drop(process::end_by(Signal::SIGKILL)),
    }
    std::future::pending().await
}

/// All that comes, and how it ends.
async fn read(stream: &mut Stream<u32, Never>) -> (Vec<u32>, runtime::Result<()>) {
    let mut items = Vec::new();
    loop {
        match stream.recv().await {
            Ok(Some(item)) => items.push(item),
            Ok(None) => return (items, Ok(())),
            Err(error) => return (items, Err(error)),
        }
    }
}

/// What was sent arrives before the end, and the end is the same each time it is looked at.
#[runner::test]
async fn the_end_of_a_stream_stays_its_end() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        for end in [End::Returns, End::Closes] {
            let opened = actor.context::<count>((3, end)).open(async |cx| {
                let mut stream = cx.open_stream()?;
                let (items, outcome) = read(&mut stream).await;
                assert_eq!(items, [0, 1, 2]);
                outcome?;
                for _ in 0..3 {
                    assert_eq!(stream.recv().await?, None);
                }
                assert!(matches!(stream.subscribe().map(drop), Err(Error::StreamEnded { .. })));
                cx.cancel().await;
                Ok(())
            });
            opened.await?;
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_cancel_is_not_the_end_of_a_stream() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let outcome = actor.context::<count>((3, End::Cancels)).open(async |cx| {
            let (items, outcome) = read(&mut cx.open_stream()?).await;
            assert_eq!(items, [0, 1, 2]);
            assert!(matches!(outcome, Err(Error::Cancelled { .. })), "{outcome:?}");
            outcome
        });
        match outcome.await {
            Err(CallError::Failed(Error::Cancelled { subject, canceller })) => {
                assert_eq!((&subject, &canceller), (actor.id(), actor.id()));
            }
            other => panic!("{other:?}"),
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_failure_is_not_the_end_of_a_stream() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let outcome = actor.context::<count>((3, End::Fails)).open(async |cx| {
            let (items, outcome) = read(&mut cx.open_stream()?).await;
            assert_eq!(items, [0, 1, 2]);
            let error = outcome.expect_err("it failed");
            assert_eq!(shape::of(&error), "actor:refused-3");
            Err::<(), _>(error)
        });
        // Told once, though the body passed it on.
        let error = outcome.await.expect_err("it failed");
        assert_eq!(error.returned(), Some(Refused(3)));
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
#[needs("process")]
async fn a_death_is_not_the_end_of_a_stream() -> TestResult {
    let outcome = runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let outcome = actor.context::<count>((3, End::Dies)).open(async |cx| {
            let (items, outcome) = read(&mut cx.open_stream()?).await;
            // What it had written when it was killed is there, and nothing else.
            assert!([0, 1, 2].starts_with(&items), "{items:?}");
            assert!(matches!(outcome, Err(Error::ActorDied { .. })), "{outcome:?}");
            outcome
        });
        let error = Error::from(outcome.await.expect_err("it died"));
        assert_eq!(shape::of(&error), "actor†signal 9 (SIGKILL)");
        Ok(())
    })
    .await;
    let error = outcome.expect_err("a daemon died");
    assert_eq!(shape::of(&error), "actor†signal 9 (SIGKILL)");
    Ok(())
}

/// After the end, from whichever side, there is nobody to send to.
#[runner::test]
async fn what_is_sent_after_the_end_is_refused() -> TestResult {
    #[runtime::context]
    async fn close_at_once(cx: Context<(), u32, u32>) -> runtime::Result<()> {
        cx.started(()).await?.open_stream()?.close();
        std::future::pending().await
    }
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<close_at_once>().await?;
        let opened = actor.context::<close_at_once>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            assert_eq!(stream.recv().await?, None);
            match stream.send(1).await {
                Err(Error::StreamEnded { actor: at }) => assert_eq!(&at, actor.id()),
                other => panic!("{other:?}"),
            }
            cx.cancel().await;
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Counts as fast as it is read.
#[runtime::stream]
async fn numbers(out: Sender<u32>, gate: std::path::PathBuf) -> runtime::Result<()> {
    gate::arrive(&gate).map_err(Error::user)?;
    for number in 0.. {
        out.send(number).await?;
    }
    Ok(())
}

/// Says each number back.
#[runtime::context]
async fn echo(cx: Context<(), u32, u32>) -> runtime::Result<()> {
    let mut stream = cx.started(()).await?.open_stream()?;
    while let Some(number) = stream.recv().await? {
        stream.send(number).await?;
    }
    Ok(())
}

/// A stream in both directions and one in one, from the same actor, both read; then all of it is
/// cancelled at once.
#[runner::test]
async fn streams_of_both_kinds_are_cancelled_together(case: Case) -> TestResult {
    let gate = Gate::closed(&case, "gate")?;
    let before = process::descendants(process::own_pid());
    let scope = CancelScope::new();
    let body = runtime::nursery(async |n| -> runtime::Result<()> {
        let actor = n.actor("actor").expose::<echo>().expose::<numbers>().await?;
        let one_way = async {
            let mut numbers = actor.stream::<numbers>((gate.path(),)).await?;
            for expected in 0..500 {
                assert_eq!(numbers.recv().await?, Some(expected));
            }
            scope.cancel();
            while numbers.recv().await?.is_some() {}
            Ok::<(), Error>(())
        };
        let two_way = actor.context::<echo>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            for number in 0.. {
                stream.send(number).await?;
                assert_eq!(stream.recv().await?, Some(number));
            }
            Ok(())
        });
        let two_way = async { two_way.await.map_err(Error::from) };
        tokio::try_join!(one_way, two_way).map(drop)
    });
    assert!(scope.run(body).await?.is_none());
    assert!(scope.cancelled_caught());
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// Passes on what it is sent until it has passed on enough; then fails.
#[runtime::context]
async fn relay_until(cx: Context<(), u32, u32>, enough: u32) -> Result<(), Refused> {
    let cx = cx.started(()).await.map_err(|_| Refused(100))?;
    let mut stream = cx.open_stream().map_err(|_| Refused(101))?;
    for _ in 0..enough {
        let item = stream.recv().await.map_err(|_| Refused(102))?;
        stream.send(item.ok_or(Refused(103))?).await.map_err(|_| Refused(104))?;
    }
    Err(Refused(enough))
}

/// Several consumers of one program; the failure of one ends all of them, and is what comes out.
#[runner::test]
async fn one_consumer_that_fails_ends_the_others() -> TestResult {
    const CONSUMERS: u32 = 4;
    let before = process::descendants(process::own_pid());
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        let mut dialogues = JoinSet::new();
        for number in 0..CONSUMERS {
            let name = format!("consumer-{number}");
            let consumer = n.actor(name).expose::<relay_until>().await?;
            // One of them will have had enough soon, the others never.
            let enough = if number == 2 { 40 } else { u32::MAX };
            dialogues.spawn_local(async move {
                let opened = consumer.context::<relay_until>((enough,)).open(async |cx| {
                    let mut stream = cx.open_stream()?;
                    for item in 0.. {
                        stream.send(item).await?;
                        assert_eq!(stream.recv().await?, Some(item));
                    }
                    Ok(())
                });
                opened.await.map_err(Error::from)
            });
        }
        while let Some(dialogue) = dialogues.join_next().await {
            dialogue.map_err(Error::user)??;
        }
        Ok(())
    })
    .await;
    let error = outcome.expect_err("one fails");
    assert_eq!(shape::of(&error), "consumer-2:refused-40");
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// Every item arrives once, in order, in both directions at once, whatever their sizes.
#[runner::test]
async fn items_of_all_sizes_arrive_in_order() -> TestResult {
    #[runtime::context]
    async fn echo_bytes(cx: Context<(), Vec<u8>, Vec<u8>>) -> runtime::Result<u32> {
        let mut stream = cx.started(()).await?.open_stream()?;
        let mut count = 0;
        while let Some(bytes) = stream.recv().await? {
            stream.send(bytes).await?;
            count += 1;
        }
        Ok(count)
    }
    const SIZES: [usize; 8] = [0, 1, 7, 4096, 65_537, 3, 1 << 20, 12];
    let item = |number: usize| vec![number as u8; SIZES[number % SIZES.len()]];
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<echo_bytes>().await?;
        let opened = actor.context::<echo_bytes>(()).open(async |cx| {
            let (sender, mut receiver) = cx.open_stream()?.split();
            let send = async move {
                for number in 0..80 {
                    sender.send(item(number)).await?;
                }
                Ok::<_, Error>(sender)
            };
            let receive = async move {
                for number in 0..80 {
                    let received = receiver.recv().await?;
                    assert!(received == Some(item(number)), "item {number}");
                }
                Ok::<_, Error>(receiver)
            };
            drop(tokio::try_join!(send, receive)?);
            Ok(cx.result().await?)
        });
        assert_eq!(opened.await?, 80);
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Streams between two actors one of which is stopped: the other's cancel does not wait for it.
#[runner::test]
#[needs("process")]
async fn a_stream_with_a_stopped_actor_is_torn_down_by_force() -> TestResult {
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<echo>().expose::<pid>().await?;
        let process = Process::open(actor.call::<pid>(()).await?).map_err(Error::user)?;
        let opened = actor.context::<echo>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            stream.send(1).await?;
            assert_eq!(stream.recv().await?, Some(1));
            process.stop().map_err(Error::user)?;
            stream.send(2).await?;
            Err::<(), _>(Error::user(Refused(2)))
        });
        Ok(opened.await?)
    })
    .await;
    let told = shape::of(&outcome.expect_err("the body fails"));
    assert!(told.contains("refused-2") && told.contains("actor forced:Kill"), "{told}");
    Ok(())
}
