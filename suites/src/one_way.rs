//! Streams in one direction: a function that only sends, and whoever reads it.

use std::path::PathBuf;

use runner::{Case, TestResult};
use runtime::{CallError, CancelScope, Error, Nursery, Sender};

use crate::actors::{Refused, pid};
use crate::process;
use crate::shape;

runner::marks! { timeout = "30s" }

/// Says in a file that its function has ended.
struct Parting(PathBuf);

impl Drop for Parting {
    fn drop(&mut self) {
        drop(std::fs::write(&self.0, "gone"));
    }
}

#[runtime::stream]
async fn count(out: Sender<u64>, to: u64) -> runtime::Result<()> {
    for number in 0..to {
        out.send(number).await?;
    }
    Ok(())
}

#[runtime::stream]
async fn count_for_ever(out: Sender<u64>, parting: PathBuf) -> runtime::Result<()> {
    let _parting = Parting(parting);
    for number in 0.. {
        out.send(number).await?;
    }
    Ok(())
}

#[runtime::stream]
async fn count_and_fail(out: Sender<u64>, to: u64) -> Result<(), Refused> {
    for number in 0..to {
        out.send(number).await.map_err(|_| Refused(0))?;
    }
    Err(Refused(u32::try_from(to).unwrap_or_default()))
}

#[runner::test]
async fn a_reader_sees_every_value_in_order_and_then_the_end() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        for to in [0, 1, 64, 65, 5000] {
            let mut numbers = actor.stream::<count>((to,)).await?;
            for expected in 0..to {
                assert_eq!(numbers.recv().await?, Some(expected));
            }
            for _ in 0..2 {
                assert_eq!(numbers.recv().await?, None);
            }
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Whoever has read enough drops the reader; the actor goes on without that function.
#[runner::test]
async fn a_reader_that_is_dropped_ends_the_function(case: Case) -> TestResult {
    let parting = case.temp_dir()?.join("parting");
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count_for_ever>().expose::<pid>().await?;
        let mut numbers = actor.stream::<count_for_ever>((parting.clone(),)).await?;
        for expected in 0..10 {
            assert_eq!(numbers.recv().await?, Some(expected));
        }
        drop(numbers);
        // Whatever is asked after that: the cancel overtakes it, or it waits its turn.
        actor.call::<pid>(()).await?;
        while !parting.exists() {
            tokio::task::yield_now().await;
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_reader_that_cancels_returns_when_the_function_has_ended(case: Case) -> TestResult {
    let parting = case.temp_dir()?.join("parting");
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count_for_ever>().await?;
        let mut numbers = actor.stream::<count_for_ever>((parting.clone(),)).await?;
        assert_eq!(numbers.recv().await?, Some(0));
        numbers.cancel().await?;
        assert!(parting.exists());
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_function_that_fails_tells_its_reader_after_its_values() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count_and_fail>().await?;
        let mut numbers = actor.stream::<count_and_fail>((3,)).await?;
        for expected in 0..3 {
            assert_eq!(numbers.recv().await?, Some(expected));
        }
        let error = numbers.recv().await.expect_err("it fails");
        assert_eq!(error.returned(), Some(Refused(3)));
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_reader_of_an_actor_that_is_cancelled_is_told_by_whom() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let mut numbers = actor.stream::<count>((u64::MAX,)).await?;
        assert_eq!(numbers.recv().await?, Some(0));
        actor.cancel().await?;
        let error = loop {
            match numbers.recv().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a cancel is no end"),
                Err(CallError::Failed(error)) => break error,
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(shape::of(&error), "actor cancelled");
        Ok(())
    })
    .await?;
    Ok(())
}

/// The task that reads comes and goes; the stream is one.
#[runner::test]
async fn readers_that_come_and_go_lose_nothing() -> TestResult {
    const VALUES: u64 = 300;
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<count>().await?;
        let mut numbers = actor.stream::<count>((VALUES,)).await?;
        let mut seen = Vec::new();
        let mut cut = 0;
        while seen.len() < VALUES as usize {
            // Each reader is dropped where it waits for the first time, or has had its share.
            let reader = async {
                for _ in 0..7 {
                    seen.extend(numbers.recv().await?);
                    tokio::task::yield_now().await;
                }
                Ok::<(), Error>(())
            };
            let mut polls = 0;
            let patience = std::future::poll_fn(|cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                if polls > 3 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            });
            tokio::select! {
                biased;
                outcome = reader => outcome?,
                () = patience => cut += 1,
            }
        }
        assert!(cut > 0, "no reader was ever dropped");
        assert!(seen.into_iter().eq(0..VALUES));
        assert_eq!(numbers.recv().await?, None);
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// Reads two others, and sends what both of them sent so far.
struct Adder {
    nursery: Nursery,
}

#[runtime::actor]
impl Adder {
    async fn new() -> runtime::Result<Adder> {
        Ok(Adder { nursery: Nursery::open()? })
    }

    #[runtime::stream]
    async fn sums(&self, out: Sender<u64>, to: u64) -> runtime::Result<()> {
        let one = self.nursery.actor("one").expose::<count>().await?;
        let other = self.nursery.actor("other").expose::<count>().await?;
        let mut one = one.stream::<count>((to,)).await?;
        let mut other = other.stream::<count>((to,)).await?;
        while let (Some(one), Some(other)) = (one.recv().await?, other.recv().await?) {
            out.send(one + other).await?;
        }
        Ok(())
    }
}

/// Two sources, one that joins them, one that reads: each a process or thread of its own.
#[runner::test]
async fn streams_of_streams_carry_all_there_is() -> TestResult {
    const VALUES: u64 = 2000;
    let before = process::descendants(process::own_pid());
    runtime::nursery(async |n| {
        let adder = n.start::<Adder>("adder").await?;
        let mut sums = adder.sums(VALUES).await?;
        for expected in 0..VALUES {
            assert_eq!(sums.recv().await?, Some(2 * expected));
        }
        assert_eq!(sums.recv().await?, None);
        adder.cancel().await
    })
    .await?;
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// The same, cut off in the middle by its reader.
#[runner::test]
async fn streams_of_streams_are_cancelled_from_their_end() -> TestResult {
    let before = process::descendants(process::own_pid());
    let scope = CancelScope::new();
    let body = runtime::nursery(async |n| {
        let adder = n.start::<Adder>("adder").await?;
        let mut sums = adder.sums(u64::MAX).await?;
        for expected in 0..100 {
            assert_eq!(sums.recv().await?, Some(2 * expected));
        }
        scope.cancel();
        while sums.recv().await?.is_some() {}
        Ok(())
    });
    let outcome = scope.run(body).await?;
    assert!(outcome.is_none(), "{outcome:?}");
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}
