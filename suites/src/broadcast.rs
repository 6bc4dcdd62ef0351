//! One stream, read by several tasks of an actor.

use runner::TestResult;
use runtime::{Context, Error, Never, Overrun, Subscription};
use tokio::task::JoinSet;

use crate::actors::pid;

runner::marks! { timeout = "30s" }

#[runtime::context]
async fn count(cx: Context<(), u32, u32>, to: u32) -> runtime::Result<()> {
    let stream = cx.started(()).await?.open_stream()?;
    for number in 0..to {
        stream.send(number).await?;
    }
    Ok(())
}

/// Sends what it is sent.
#[runtime::context]
async fn echo(cx: Context<(), u32, u32>) -> runtime::Result<()> {
    let mut stream = cx.started(()).await?.open_stream()?;
    while let Some(number) = stream.recv().await? {
        stream.send(number).await?;
    }
    Ok(())
}

async fn all_of(mut subscription: Subscription<u32>) -> runtime::Result<Vec<u32>> {
    let mut seen = Vec::new();
    while let Some(number) = subscription.recv().await? {
        seen.push(number);
    }
    Ok(seen)
}

#[runner::test]
async fn every_subscriber_and_the_source_see_everything_in_order() -> TestResult {
    const VALUES: u32 = 1000;
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let opening = actor.context::<count>((VALUES,)).capacity(VALUES);
        let opened = opening.open(async |cx| {
            let mut stream = cx.open_stream()?;
            let mut readers = JoinSet::new();
            for _ in 0..10 {
                readers.spawn_local(all_of(stream.subscribe()?));
            }
            let mut seen = Vec::new();
            while let Some(number) = stream.recv().await? {
                seen.push(number);
            }
            assert!(seen.into_iter().eq(0..VALUES));
            while let Some(seen) = readers.join_next().await {
                assert!(seen.map_err(Error::user)??.into_iter().eq(0..VALUES));
            }
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// The quick one sees all; the slow one is told what it missed, and goes on with the oldest kept.
#[runner::test]
async fn a_subscriber_slower_than_the_source_lags() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let opened = actor.context::<count>((10,)).capacity(4).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let mut slow = stream.subscribe()?;
            let mut seen = Vec::new();
            while let Some(number) = stream.recv().await? {
                seen.push(number);
            }
            assert!(seen.into_iter().eq(0..10));
            let lagged = slow.recv().await;
            assert!(matches!(lagged, Err(Error::Lagged { missed: 6 })), "{lagged:?}");
            assert_eq!(all_of(slow).await?, [6, 7, 8, 9]);
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// The other way round: it is the source's own reader that is slow.
#[runner::test]
async fn a_source_slower_than_its_subscriber_lags() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let opened = actor.context::<count>((10,)).capacity(4).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let quick = stream.subscribe()?;
            assert!(all_of(quick).await?.into_iter().eq(0..10));
            let lagged = stream.recv().await;
            assert!(matches!(lagged, Err(Error::Lagged { missed: 6 })), "{lagged:?}");
            for expected in 6..10 {
                assert_eq!(stream.recv().await?, Some(expected));
            }
            assert_eq!(stream.recv().await?, None);
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Falls behind three times, and each time by as much as was too much for it.
#[runner::test]
async fn a_lag_is_counted_anew_each_time() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<echo>().await?;
        let opened = actor.context::<echo>(()).capacity(5).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let mut slow = stream.subscribe()?;
            let mut sent = 0;
            for too_many in [1_u32, 4, 20] {
                for _ in 0..5 + too_many {
                    stream.send(sent).await?;
                    assert_eq!(stream.recv().await?, Some(sent));
                    sent += 1;
                }
                match slow.recv().await {
                    Err(Error::Lagged { missed }) => assert_eq!(missed, u64::from(too_many)),
                    other => panic!("{other:?}"),
                }
                for kept in sent - 5..sent {
                    assert_eq!(slow.recv().await?, Some(kept));
                }
            }
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn who_does_not_want_to_know_is_not_told_of_a_lag() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let opened = actor.context::<count>((10,)).capacity(4).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let careless = stream.subscribe()?.skipping();
            while stream.recv().await?.is_some() {}
            assert_eq!(all_of(careless).await?, [6, 7, 8, 9]);
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_stream_that_has_ended_takes_no_subscriber() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let opened = actor.context::<count>((1,)).open(async |cx| {
            let mut stream = cx.open_stream()?;
            while stream.recv().await?.is_some() {}
            for _ in 0..2 {
                let refused = stream.subscribe().map(drop);
                assert!(matches!(refused, Err(Error::StreamEnded { .. })), "{refused:?}");
            }
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Whoever waits first is dropped: the item that comes then is the next one's, and nobody misses it.
#[runner::test]
async fn a_first_reader_that_is_cancelled_hands_over() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<echo>().await?;
        let opened = actor.context::<echo>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let (mut first, mut second) = (stream.subscribe()?, stream.subscribe()?);
            for number in 0..20 {
                {
                    let (one, other) = (first.recv(), second.recv());
                    tokio::pin!(one, other);
                    tokio::select! {
                        biased;
                        item = &mut one => panic!("{item:?} was not sent yet"),
                        item = &mut other => panic!("{item:?} was not sent yet"),
                        () = std::future::ready(()) => {}
                    }
                }
                stream.send(number).await?;
                assert_eq!(second.recv().await?, Some(number));
                assert_eq!(first.recv().await?, Some(number));
                assert_eq!(stream.recv().await?, Some(number));
            }
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// The same while both go on waiting: the one that is left is woken.
#[runner::test]
async fn a_reader_that_waits_behind_one_that_is_cancelled_is_woken() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<echo>().await?;
        let opened = actor.context::<echo>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let (first, second) = (stream.subscribe()?, stream.subscribe()?);
            let first = tokio::task::spawn_local(all_of(first));
            let second = tokio::task::spawn_local(all_of(second));
            tokio::task::yield_now().await;
            first.abort();
            stream.send(7).await?;
            assert_eq!(stream.recv().await?, Some(7));
            stream.close();
            assert_eq!(second.await.map_err(Error::user)??, [7]);
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// A cancel wakes everybody who reads.
#[runner::test]
async fn every_subscriber_is_told_of_a_cancel() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<echo>().await?;
        let opened = actor.context::<echo>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let mut readers = JoinSet::new();
            for _ in 0..5 {
                readers.spawn_local(all_of(stream.subscribe()?));
            }
            tokio::task::yield_now().await;
            cx.cancel().await;
            while let Some(seen) = readers.join_next().await {
                let seen = seen.map_err(Error::user)?;
                assert!(matches!(seen, Err(Error::Cancelled { .. })), "{seen:?}");
            }
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// What nobody fetches is not sent: subscribing keeps the stream bounded.
#[runner::test]
async fn subscribers_that_do_not_read_make_the_sender_wait() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().expose::<pid>().await?;
        let opening = actor.context::<count>((u32::MAX,)).capacity(8).overrun(Overrun::Wait);
        let opened = opening.open(async |cx| {
            let mut stream = cx.open_stream()?;
            let mut reader = stream.subscribe()?;
            assert_eq!(reader.recv().await?, Some(0));
            // All that may be sent is there, and the actor is given time for more.
            while stream.statistics().waiting < 7 {
                tokio::task::yield_now().await;
            }
            actor.call::<pid>(()).await?;
            // What was sent beyond that would be missing here.
            for expected in 1..100 {
                assert_eq!(reader.recv().await?, Some(expected));
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

/// A reader from where another one is sees what that one will.
#[runner::test]
async fn a_subscription_is_copied_where_it_stands() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let opened = actor.context::<count>((6,)).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let mut reader = stream.subscribe()?;
            assert_eq!(reader.recv().await?, Some(0));
            assert_eq!(reader.recv().await?, Some(1));
            let copy = reader.resubscribe();
            assert_eq!(all_of(reader).await?, [2, 3, 4, 5]);
            // Also of one that is behind the others.
            let again = copy.resubscribe();
            assert_eq!(all_of(copy).await?, [2, 3, 4, 5]);
            assert_eq!(all_of(again).await?, [2, 3, 4, 5]);
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Who subscribes later sees what comes later.
#[runner::test]
async fn a_later_subscriber_begins_with_what_comes_next() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let opened = actor.context::<count>((6,)).open(async |cx| {
            let mut stream = cx.open_stream()?;
            let early = stream.subscribe()?;
            for expected in 0..3 {
                assert_eq!(stream.recv().await?, Some(expected));
            }
            let late = stream.subscribe()?;
            assert_eq!(all_of(late).await?, [3, 4, 5]);
            assert_eq!(all_of(early).await?, [0, 1, 2, 3, 4, 5]);
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// A stream that nobody sends into can be subscribed to all the same.
#[runner::test]
async fn a_stream_that_only_comes_is_subscribed_to() -> TestResult {
    #[runtime::context]
    async fn tick(cx: Context<(), Never, u32>) -> runtime::Result<()> {
        let stream = cx.started(()).await?.open_stream()?;
        stream.send(1).await
    }
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<tick>().await?;
        let opened = actor.context::<tick>(()).open(async |cx| {
            let (_, mut receiver) = cx.open_stream()?.split();
            let reader = receiver.subscribe()?;
            assert_eq!(all_of(reader).await?, [1]);
            Ok(())
        });
        opened.await?;
        actor.cancel().await
    })
    .await?;
    Ok(())
}
