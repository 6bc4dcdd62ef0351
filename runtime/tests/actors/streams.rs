//! Streams: order, flow control, ends, subscriptions, types.

use std::time::Duration;

use runtime::{
    CallError, Context, Error, Never, Overrun, Remote, Sender, Started, Stream, Subscription,
    nursery,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::Need;

crate::cases![
Some(Need::Process) => [bytes_that_are_no_value_are_refused_where_they_arrive],
None => [
    ping_and_pong,
    everything_arrives_in_order_both_ways_at_once,
    large_items_arrive_whole,
    a_sender_waits_for_a_receiver_that_is_slow_and_nobody_else_does,
    a_stream_can_overrun_instead_of_waiting,
    a_task_whose_stream_overruns_says_so,
    a_stream_can_drop_instead_of_waiting,
    the_end_of_a_stream_is_told_again_and_again,
    who_was_told_the_end_sends_no_more,
    a_cancel_is_no_end_of_the_stream,
    a_failure_is_no_end_of_the_stream,
    what_is_left_is_let_go_of_at_the_end,
    a_result_is_had_though_nobody_opened_the_stream,
    who_asks_for_the_result_has_no_more_to_say,
    the_halves_of_a_stream_serve_two_tasks,
    subscribers_see_everything_in_order,
    a_slow_subscriber_is_told_what_it_missed,
    a_reader_that_is_dropped_loses_nothing_for_the_others,
    who_resubscribes_begins_where_the_other_is,
    a_one_way_stream_is_read_to_its_end,
    a_one_way_stream_tells_how_its_function_failed,
    a_dropped_reader_ends_the_function,
    who_knows_other_types_is_refused_at_once,
]];

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("no more after {0}")]
struct Enough(u32);

/// Sends back what it gets, plus one.
#[runtime::context]
async fn increment(cx: Context<u32, u32, u32>) -> runtime::Result<u32> {
    let cx = cx.started(1).await?;
    let mut stream = cx.open_stream()?;
    let mut count = 0;
    while let Some(n) = stream.recv().await? {
        stream.send(n + 1).await?;
        count += 1;
    }
    Ok(count)
}

async fn ping_and_pong() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<increment>().await?;
        let opened = actor.context::<increment>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let mut n = *cx.first();
            for _ in 0..10 {
                stream.send(n).await?;
                n = stream.recv().await?.expect("an answer");
            }
            stream.close();
            Ok((n, cx.result().await?))
        });
        assert_eq!(opened.await?, (11, 10));
        actor.cancel().await
    })
    .await
}

async fn everything_arrives_in_order_both_ways_at_once() -> runtime::Result<()> {
    const COUNT: u32 = 10_000;
    nursery(async |n| {
        let actor = n.actor("a").expose::<increment>().await?;
        let opened = actor.context::<increment>(()).open(async |cx| {
            let (sender, mut receiver) = cx.open_stream()?.split();
            let send = async move {
                for i in 0..COUNT {
                    sender.send(i).await?;
                }
                Ok::<_, Error>(sender)
            };
            let receive = async move {
                for i in 0..COUNT {
                    assert_eq!(receiver.recv().await?, Some(i + 1));
                }
                Ok::<_, Error>(receiver)
            };
            let (sender, receiver) = tokio::join!(send, receive);
            drop((sender?, receiver?));
            Ok(cx.result().await?)
        });
        assert_eq!(opened.await?, COUNT);
        actor.cancel().await
    })
    .await
}

#[runtime::context]
async fn echo_bytes(cx: Context<(), Vec<u8>, Vec<u8>>) -> runtime::Result<()> {
    let mut stream = cx.started(()).await?.open_stream()?;
    while let Some(bytes) = stream.recv().await? {
        stream.send(bytes).await?;
    }
    Ok(())
}

async fn large_items_arrive_whole() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<echo_bytes>().await?;
        let opened = actor.context::<echo_bytes>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            for megabytes in [0, 1, 3] {
                let sent = vec![megabytes; usize::from(megabytes) << 20];
                stream.send(sent.clone()).await?;
                assert!(stream.recv().await?.is_some_and(|received| received == sent));
            }
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await
}

/// Receives only when it is told to.
#[derive(Default)]
struct Slow {
    go: Notify,
}

#[runtime::actor]
impl Slow {
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

    /// Never opens its stream.
    #[runtime::context]
    async fn ignore(&self, cx: Context<(), u32, u32>) -> runtime::Result<()> {
        let _cx = cx.started(()).await?;
        self.go.notified().await;
        Ok(())
    }

    /// Sends without end.
    #[runtime::context]
    async fn pour(&self, cx: Context<(), u32, u32>) -> runtime::Result<()> {
        let stream = cx.started(()).await?.open_stream()?;
        for i in 0.. {
            stream.send(i).await?;
        }
        Ok(())
    }

    async fn go(&self) {
        self.go.notify_one();
    }
}

/// How many items can be sent at once: how many were when the first one had to wait.
async fn fill<R, T>(stream: &Stream<R, T>, item: impl Fn(u32) -> T) -> runtime::Result<u32>
where
    R: serde::de::DeserializeOwned + Send + 'static,
    T: Serialize + Send + 'static,
{
    let mut count = 0;
    loop {
        let sent = tokio::select! {
            biased;
            sent = stream.send(item(count)) => sent,
            () = std::future::ready(()) => return Ok(count),
        };
        sent?;
        count += 1;
    }
}

async fn a_sender_waits_for_a_receiver_that_is_slow_and_nobody_else_does() -> runtime::Result<()> {
    nursery(async |n| {
        let slow = n.start::<Slow>("slow").await?;
        let opened = slow.take().open(async |cx| {
            let stream = cx.open_stream()?;
            assert_eq!(fill(&stream, |i| i).await?, 64);
            assert_eq!(stream.statistics().credit, 0);
            // Another context on the same channel, meanwhile.
            let other = slow.take().capacity(3).open(async |cx| {
                let stream = cx.open_stream()?;
                assert_eq!(fill(&stream, |i| i).await?, 3);
                cx.cancel().await;
                Ok(())
            });
            other.await?;
            slow.go().await?;
            for i in 64..200 {
                stream.send(i).await?;
            }
            assert_eq!(stream.statistics().sent, 200);
            stream.close();
            Ok(cx.result().await?)
        });
        assert_eq!(opened.await?, (0..200).collect::<Vec<_>>());
        slow.cancel().await
    })
    .await
}

async fn a_stream_can_overrun_instead_of_waiting() -> runtime::Result<()> {
    nursery(async |n| {
        let slow = n.start::<Slow>("slow").await?;
        let opened = slow.ignore().overrun(Overrun::Error).open(async |cx| {
            let stream = cx.open_stream()?;
            for i in 0..64 {
                stream.send(i).await?;
            }
            let overrun = stream.send(64).await;
            let Err(Error::StreamOverrun { actor, capacity: 64 }) = overrun else {
                panic!("{overrun:?}")
            };
            assert_eq!(&actor, slow.id());
            slow.go().await?;
            Ok(())
        });
        opened.await?;
        slow.cancel().await
    })
    .await
}

async fn a_task_whose_stream_overruns_says_so() -> runtime::Result<()> {
    nursery(async |n| {
        let slow = n.start::<Slow>("slow").await?;
        let opened = slow.pour().overrun(Overrun::Error).capacity(8);
        let ended = opened.open(async |cx| Ok(cx.result().await?)).await;
        // Its error is this crate's, so it arrives as what it is, and as the function's.
        let Err(CallError::Returned(Error::StreamOverrun { actor, capacity: 8 }, remote)) = ended
        else {
            panic!("{ended:?}")
        };
        assert_eq!(&actor, runtime::current()?.id());
        assert_eq!(remote.source_actor(), slow.id());
        slow.cancel().await
    })
    .await
}

async fn a_stream_can_drop_instead_of_waiting() -> runtime::Result<()> {
    nursery(async |n| {
        let slow = n.start::<Slow>("slow").await?;
        let opened = slow.take().overrun(Overrun::Drop).capacity(4).open(async |cx| {
            let stream = cx.open_stream()?;
            for i in 0..10 {
                stream.send(i).await?;
            }
            let statistics = stream.statistics();
            assert_eq!((statistics.sent, statistics.dropped), (4, 6));
            slow.go().await?;
            stream.close();
            Ok(cx.result().await?)
        });
        assert_eq!(opened.await?, [0, 1, 2, 3]);
        slow.cancel().await
    })
    .await
}

#[runtime::context]
async fn count_to(cx: Context<(), Never, u32>, end: u32, then: Then) -> Result<u32, Enough> {
    let cx = cx.started(()).await.expect("it can be sent");
    let stream = cx.open_stream().expect("the first");
    for i in 0..end {
        stream.send(i).await.expect("it is read");
    }
    match then {
        Then::Return => Ok(end),
        Then::CloseAndStay => {
            stream.close();
            std::future::pending().await
        }
        Then::Cancel => {
            cx.cancel();
            std::future::pending().await
        }
        Then::Fail => Err(Enough(end)),
    }
}

#[derive(Serialize, Deserialize)]
enum Then {
    Return,
    CloseAndStay,
    Cancel,
    Fail,
}

async fn the_end_of_a_stream_is_told_again_and_again() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<count_to>().expose::<increment>().await?;
        for then in [Then::Return, Then::CloseAndStay] {
            let opened = actor.context::<count_to>((2, then)).open(async |cx| {
                let mut stream = cx.open_stream()?;
                assert_eq!(stream.recv().await?, Some(0));
                assert_eq!(stream.recv().await?, Some(1));
                assert_eq!(stream.recv().await?, None);
                assert_eq!(stream.recv().await?, None);
                assert!(matches!(stream.subscribe(), Err(Error::StreamEnded { .. })));
                cx.cancel().await;
                Ok(())
            });
            opened.await?;
        }
        actor.cancel().await
    })
    .await
}

#[runtime::context]
async fn answer_after_the_end(cx: Context<(), u32, u32>) -> runtime::Result<()> {
    let mut stream = cx.started(()).await?.open_stream()?;
    assert_eq!(stream.recv().await?, None);
    stream.send(1).await
}

async fn who_was_told_the_end_sends_no_more() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<answer_after_the_end>().await?;
        let ended = actor.context::<answer_after_the_end>(()).open(async |cx| {
            cx.open_stream()?.close();
            Ok(())
        });
        let ended = ended.await;
        assert!(
            matches!(ended, Err(CallError::Returned(Error::StreamEnded { .. }, _))),
            "{ended:?}"
        );
        actor.cancel().await
    })
    .await
}

/// All that is received before the end or the error, and that.
async fn read<T>(stream: &mut Stream<u32, T>) -> (Vec<u32>, runtime::Result<()>)
where
    T: Serialize + Send + 'static,
{
    let mut received = Vec::new();
    loop {
        match stream.recv().await {
            Ok(Some(item)) => received.push(item),
            Ok(None) => return (received, Ok(())),
            Err(error) => return (received, Err(error)),
        }
    }
}

async fn a_cancel_is_no_end_of_the_stream() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<count_to>().await?;
        let ended = actor.context::<count_to>((3, Then::Cancel)).open(async |cx| {
            let (received, end) = read(&mut cx.open_stream()?).await;
            assert_eq!(received, [0, 1, 2]);
            assert!(matches!(end, Err(Error::Cancelled { .. })), "{end:?}");
            end
        });
        let ended = ended.await;
        assert!(matches!(ended, Err(CallError::Failed(Error::Cancelled { .. }))), "{ended:?}");
        actor.cancel().await
    })
    .await
}

async fn a_failure_is_no_end_of_the_stream() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<count_to>().await?;
        let ended = actor.context::<count_to>((3, Then::Fail)).open(async |cx| {
            let (received, end) = read(&mut cx.open_stream()?).await;
            assert_eq!(received, [0, 1, 2]);
            assert!(matches!(end, Err(Error::Remote(_))), "{end:?}");
            end
        });
        // Told once, though the body passed it on.
        assert!(matches!(ended.await, Err(CallError::Returned(Enough(3), _))));
        actor.cancel().await
    })
    .await
}

async fn what_is_left_is_let_go_of_at_the_end() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<count_to>().await?;
        let opened = actor
            .context::<count_to>((1000, Then::Return))
            .open(async |cx| cx.open_stream()?.recv().await);
        // The function could send all the rest, or it would have failed.
        assert_eq!(opened.await?, Some(0));
        actor.cancel().await
    })
    .await
}

async fn a_result_is_had_though_nobody_opened_the_stream() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<count_to>().await?;
        let opening = actor.context::<count_to>((1000, Then::Return));
        assert_eq!(opening.open(async |cx| Ok(cx.result().await?)).await?, 1000);
        actor.cancel().await
    })
    .await
}

/// The function reads to the end, which nobody but the one who waits for it can make.
async fn who_asks_for_the_result_has_no_more_to_say() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<increment>().await?;
        let unopened = actor.context::<increment>(()).open(async |cx| Ok(cx.result().await?));
        assert_eq!(unopened.await?, 0);
        let held = actor.context::<increment>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            for i in 0..3 {
                stream.send(i).await?;
            }
            let (count, read) = tokio::join!(cx.result(), read(&mut stream));
            assert_eq!(count?, 3);
            // What came is there.
            let (items, end) = read;
            end?;
            assert_eq!(items, [1, 2, 3]);
            let late = stream.send(4).await;
            assert!(matches!(late, Err(Error::StreamEnded { .. })), "{late:?}");
            Ok(())
        });
        held.await?;
        actor.cancel().await
    })
    .await
}

async fn the_halves_of_a_stream_serve_two_tasks() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<increment>().await?;
        let opened = actor.context::<increment>(()).open(async |cx| {
            let (sender, mut receiver) = cx.open_stream()?.split();
            let sending = tokio::task::spawn_local(async move {
                for i in 0..500 {
                    sender.send(i).await.expect("it is read");
                }
            });
            let mut sum = 0;
            for _ in 0..500 {
                sum += receiver.recv().await?.expect("an answer");
            }
            sending.await.expect("no panic");
            drop(receiver);
            Ok((sum, cx.result().await?))
        });
        assert_eq!(opened.await?, ((1..=500).sum(), 500));
        actor.cancel().await
    })
    .await
}

async fn all_of(mut subscription: Subscription<u32>) -> runtime::Result<Vec<u32>> {
    let mut seen = Vec::new();
    while let Some(item) = subscription.recv().await? {
        seen.push(item);
    }
    Ok(seen)
}

async fn subscribers_see_everything_in_order() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<count_to>().await?;
        let opening = actor.context::<count_to>((1000, Then::Return)).capacity(1000);
        let opened = opening.open(async |cx| {
            let mut stream = cx.open_stream()?;
            let mut readers = tokio::task::JoinSet::new();
            for _ in 0..10 {
                readers.spawn_local(all_of(stream.subscribe()?));
            }
            let (seen, end) = read(&mut stream).await;
            end?;
            let expected: Vec<u32> = (0..1000).collect();
            assert_eq!(seen, expected);
            for seen in readers.join_all().await {
                assert_eq!(seen?, expected);
            }
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await
}

async fn a_slow_subscriber_is_told_what_it_missed() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<count_to>().await?;
        let opened = actor.context::<count_to>((10, Then::Return)).capacity(4).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let mut slow = stream.subscribe()?;
            let quiet = stream.subscribe()?.skipping();
            let (seen, end) = read(&mut stream).await;
            end?;
            assert_eq!(seen.len(), 10);
            let lagged = slow.recv().await;
            assert!(matches!(lagged, Err(Error::Lagged { missed: 6 })), "{lagged:?}");
            assert_eq!(all_of(slow).await?, [6, 7, 8, 9]);
            assert_eq!(all_of(quiet).await?, [6, 7, 8, 9]);
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await
}

async fn a_reader_that_is_dropped_loses_nothing_for_the_others() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<increment>().await?;
        let opened = actor.context::<increment>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let mut first = stream.subscribe()?;
            let mut second = stream.subscribe()?;
            // Both wait; the first of them is dropped.
            tokio::select! {
                biased;
                _ = first.recv() => panic!("nothing was sent"),
                _ = second.recv() => panic!("nothing was sent"),
                () = std::future::ready(()) => {}
            }
            stream.send(6).await?;
            assert_eq!(second.recv().await?, Some(7));
            drop(second);
            assert_eq!(first.recv().await?, Some(7));
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await
}

async fn who_resubscribes_begins_where_the_other_is() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<count_to>().await?;
        let opened = actor.context::<count_to>((10, Then::Return)).capacity(4).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let mut first = stream.subscribe()?;
            for expected in 0..2 {
                assert_eq!(first.recv().await?, Some(expected));
            }
            let mut behind = first.resubscribe();
            let mut far_behind = first.resubscribe();
            assert_eq!(all_of(first).await?, [2, 3, 4, 5, 6, 7, 8, 9]);
            let lagged = behind.recv().await;
            assert!(matches!(lagged, Err(Error::Lagged { missed: 4 })), "{lagged:?}");
            assert_eq!(all_of(behind.resubscribe()).await?, [6, 7, 8, 9]);
            assert_eq!(all_of(behind).await?, [6, 7, 8, 9]);
            // One of a stream that has ended has what is kept, and then the end.
            assert!(far_behind.recv().await.is_err());
            assert_eq!(all_of(far_behind.resubscribe().skipping()).await?, [6, 7, 8, 9]);
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await
}

#[runtime::stream]
async fn ticks(out: Sender<u32>, count: u32) -> Result<(), Enough> {
    for i in 0..count {
        out.send(i).await.expect("it is read");
    }
    if count == 13 { Err(Enough(count)) } else { Ok(()) }
}

async fn a_one_way_stream_is_read_to_its_end() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<ticks>().await?;
        let mut incoming = actor.stream::<ticks>((200,)).await?;
        for i in 0..200 {
            assert_eq!(incoming.recv().await?, Some(i));
        }
        assert_eq!(incoming.recv().await?, None);
        assert_eq!(incoming.recv().await?, None);
        actor.cancel().await
    })
    .await
}

async fn a_one_way_stream_tells_how_its_function_failed() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<ticks>().await?;
        let mut incoming = actor.stream::<ticks>((13,)).await?;
        for i in 0..13 {
            assert_eq!(incoming.recv().await?, Some(i));
        }
        let failed = incoming.recv().await;
        assert!(matches!(failed, Err(CallError::Returned(Enough(13), _))), "{failed:?}");
        actor.cancel().await
    })
    .await
}

/// Tells when its function has ended.
#[derive(Default)]
struct Clock {
    ended: Notify,
}

struct Ended<'c>(&'c Clock);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended.notify_one();
    }
}

#[runtime::actor]
impl Clock {
    #[runtime::stream]
    async fn run(&self, out: Sender<u32>) {
        let _ended = Ended(self);
        for i in 0.. {
            out.send(i).await.expect("it is read until it is cancelled");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn wait_all_ended(&self) {
        self.ended.notified().await;
    }
}

async fn a_dropped_reader_ends_the_function() -> runtime::Result<()> {
    nursery(async |n| {
        let clock = n.start::<Clock>("clock").await?;
        let mut incoming = clock.run().await?;
        assert_eq!(incoming.recv().await?, Some(0));
        drop(incoming);
        clock.wait_all_ended().await?;
        let mut incoming = clock.run().await?;
        assert_eq!(incoming.recv().await?, Some(0));
        incoming.cancel().await?;
        clock.wait_all_ended().await?;
        clock.cancel().await
    })
    .await
}

/// The function `increment` as a program knows it that was built from other sources: it starts otherwise.
struct Stranger;

impl Remote for Stranger {
    const NAME: &'static str = <increment as Remote>::NAME;
    type Args = ();
    type Output = u32;
    type Error = Error;
}

impl runtime::ContextFunction for Stranger {
    type Started = u64;
    type Receives = u32;
    type Sends = u32;
}

/// Bytes of the one could be read as the other.
async fn who_knows_other_types_is_refused_at_once() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<increment>().await?;
        let body = async |_| -> runtime::Result<()> { panic!("it started") };
        let ended = actor.context::<Stranger>(()).open(body).await;
        let Err(CallError::Failed(Error::WrongType { what, reason })) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(what, "actors::streams::increment");
        assert_eq!(reason, format!("actor {} was built from other sources", actor.id()));
        actor.cancel().await
    })
    .await
}

/// Goes out as text, and is read as a number: as of two programs that have other fields in one type.
#[derive(Debug, PartialEq)]
struct Mangled(u64);

impl Serialize for Mangled {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => 0_u64.serialize(serializer),
            _ => "no number at all".serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Mangled {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Mangled, D::Error> {
        u64::deserialize(deserializer).map(Mangled)
    }
}

#[runtime::context]
async fn mangle(
    cx: Context<Mangled, Mangled, u32>,
    first: u64,
    last: u64,
) -> runtime::Result<Mangled> {
    let mut stream = cx.started(Mangled(first)).await?.open_stream()?;
    while stream.recv().await?.is_some() {}
    Ok(Mangled(last))
}

async fn bytes_that_are_no_value_are_refused_where_they_arrive() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").expose::<mangle>().expose::<increment>().await?;
        // What it starts with.
        let ended = actor.context::<mangle>((1, 0)).open(async |_| Ok(())).await;
        let Err(CallError::Failed(Error::WrongType { what, .. })) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(what, "what actors::streams::mangle starts with");
        // What it receives: there, as the error of its function.
        let ended = actor.context::<mangle>((0, 0)).open(async |cx| {
            cx.open_stream()?.send(Mangled(1)).await?;
            Ok(cx.result().await.map(drop)?)
        });
        let ended = ended.await;
        let Err(CallError::Returned(Error::WrongType { what, .. }, _)) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(what, "an item of the stream of actors::streams::mangle");
        // What it returns: here.
        let ended = actor.context::<mangle>((0, 1)).open(async |cx| {
            // Also if nobody asks for it.
            cx.open_stream()?.close();
            Ok(())
        });
        let ended = ended.await;
        let Err(CallError::Failed(Error::WrongType { what, .. })) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(what, "the value of actors::streams::mangle");
        // And nothing of it harms the others.
        let opened = actor.context::<increment>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            stream.send(1).await?;
            stream.recv().await
        });
        assert_eq!(opened.await?, Some(2));
        actor.cancel().await
    })
    .await
}

#[expect(dead_code, reason = "that it compiles is what it is for")]
async fn a_started_context_is_what_a_function_keeps(cx: Context<(), u32, u32>) {
    let started: runtime::Result<Started<u32, u32>> = cx.started(()).await;
    drop(started);
}
