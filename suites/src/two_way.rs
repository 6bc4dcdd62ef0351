//! Questions and answers over a stream, whichever way the loops on its two sides are written.

use runner::TestResult;
use runtime::{Context, Error};

runner::marks! { timeout = "20s" }

const ROUNDS: u32 = 10;

/// Answers each number with the next, and says at the end how many there were.
#[runtime::context]
async fn answer_in_a_loop(cx: Context<String, u32, u32>) -> runtime::Result<u32> {
    let mut stream = cx.started("ready".to_owned()).await?.open_stream()?;
    let mut answered = 0;
    while let Some(number) = stream.recv().await? {
        stream.send(number + 1).await?;
        answered += 1;
    }
    Ok(answered)
}

/// The same, with a half of the stream for each direction.
#[runtime::context]
async fn answer_with_halves(cx: Context<String, u32, u32>) -> runtime::Result<u32> {
    let (sender, mut receiver) = cx.started("ready".to_owned()).await?.open_stream()?.split();
    let mut answered = 0;
    loop {
        match receiver.recv().await? {
            Some(number) => sender.send(number + 1).await?,
            None => return Ok(answered),
        }
        answered += 1;
    }
}

/// Asks with what came last; the first question is the caller's.
macro_rules! ask_in_a_loop {
    ($server:ty) => {
        async |n: &runtime::Nursery| {
            let server = n.actor("server").expose::<$server>().await?;
            let opening = server.context::<$server>(());
            let seen = opening.open(async |cx| {
                assert_eq!(cx.first(), "ready");
                let mut stream = cx.open_stream()?;
                let mut number = 0;
                for _ in 0..ROUNDS {
                    stream.send(number).await?;
                    number = stream.recv().await?.ok_or(Error::message("no answer"))?;
                }
                stream.close();
                Ok((number, cx.result().await?))
            });
            let seen = seen.await?;
            server.cancel().await?;
            Ok::<_, Error>(seen)
        }
    };
}

/// Asks everything at once, and reads the answers meanwhile.
macro_rules! ask_with_halves {
    ($server:ty) => {
        async |n: &runtime::Nursery| {
            let server = n.actor("server").expose::<$server>().await?;
            let opening = server.context::<$server>(());
            let seen = opening.open(async |cx| {
                assert_eq!(cx.first(), "ready");
                let (sender, mut receiver) = cx.open_stream()?.split();
                let ask = async {
                    for number in 0..ROUNDS {
                        sender.send(number).await?;
                    }
                    Ok::<_, Error>(())
                };
                let read = async {
                    let mut last = None;
                    for _ in 0..ROUNDS {
                        last = receiver.recv().await?;
                    }
                    Ok::<_, Error>(last)
                };
                let (asked, last) = tokio::try_join!(ask, read).map(|((), last)| ((), last))?;
                let () = asked;
                drop((sender, receiver));
                Ok((last.unwrap_or_default(), cx.result().await?))
            });
            let seen = seen.await?;
            server.cancel().await?;
            Ok::<_, Error>(seen)
        }
    };
}

#[runner::test]
async fn a_loop_asks_a_loop() -> TestResult {
    let seen = runtime::nursery(ask_in_a_loop!(answer_in_a_loop)).await?;
    assert_eq!(seen, (ROUNDS, ROUNDS));
    Ok(())
}

#[runner::test]
async fn a_loop_asks_two_halves() -> TestResult {
    let seen = runtime::nursery(ask_in_a_loop!(answer_with_halves)).await?;
    assert_eq!(seen, (ROUNDS, ROUNDS));
    Ok(())
}

#[runner::test]
async fn two_halves_ask_a_loop() -> TestResult {
    let seen = runtime::nursery(ask_with_halves!(answer_in_a_loop)).await?;
    assert_eq!(seen, (ROUNDS, ROUNDS));
    Ok(())
}

#[runner::test]
async fn two_halves_ask_two_halves() -> TestResult {
    let seen = runtime::nursery(ask_with_halves!(answer_with_halves)).await?;
    assert_eq!(seen, (ROUNDS, ROUNDS));
    Ok(())
}

/// One channel, many dialogues, none of which hears another's answers.
#[runner::test]
async fn dialogues_on_one_channel_keep_apart() -> TestResult {
    const DIALOGUES: u32 = 50;
    runtime::nursery(async |n| {
        let server = n.actor("server").expose::<answer_in_a_loop>().await?;
        let mut dialogues = tokio::task::JoinSet::new();
        for own in 0..DIALOGUES {
            let server = server.clone();
            dialogues.spawn_local(async move {
                let opening = server.context::<answer_in_a_loop>(());
                let heard = opening.open(async |cx| {
                    let mut stream = cx.open_stream()?;
                    let mut heard = Vec::new();
                    for round in 0..ROUNDS {
                        stream.send(own * 1000 + round).await?;
                        heard.extend(stream.recv().await?);
                    }
                    Ok(heard)
                });
                heard.await.map(|heard| (own, heard))
            });
        }
        while let Some(dialogue) = dialogues.join_next().await {
            let (own, heard) = dialogue.map_err(Error::user)??;
            let expected: Vec<u32> = (1..=ROUNDS).map(|round| own * 1000 + round).collect();
            assert_eq!(heard, expected);
        }
        server.cancel().await
    })
    .await?;
    Ok(())
}
