//! Two actors joined by a channel: its ends go to them, and its items past the one that made it.
//!
//! `cargo run -p runtime --example relay -- --backend thread`

mod backend;

// guide: channel
use runtime::{CallError, ChannelReceiver, ChannelSender, Error, channel};

#[runtime::remote]
async fn readings(mut out: ChannelSender<u64>, count: u64) -> runtime::Result<()> {
    for n in 0..count {
        out.send(n * n).await?; // waits while 64 wait to be received
    }
    Ok(()) // dropping the sender ends the channel
}

#[runtime::remote]
async fn largest(mut readings: ChannelReceiver<u64>) -> runtime::Result<Option<u64>> {
    let mut largest = None;
    while let Some(reading) = readings.recv().await? {
        largest = largest.max(Some(reading));
    }
    Ok(largest)
}

#[runtime::main]
async fn main() -> runtime::Result<()> {
    let backend = backend::from_args()?;
    runtime::nursery(async |n| {
        let meter = n.actor("meter").backend(backend).expose::<readings>().await?;
        let judge = n.actor("judge").backend(backend).expose::<largest>().await?;

        let (sender, receiver) = channel(64);
        let (read, found) = tokio::join!(
            meter.call::<readings>((sender, 1000)),
            judge.call::<largest>((receiver,)),
        );
        read?;
        println!("the largest is {:?}", found?);

        // A receiver that is dropped fails the sender, wherever the two are.
        let (sender, receiver) = channel(64);
        drop(receiver);
        match meter.call::<readings>((sender, 1000)).await {
            Err(CallError::Returned(Error::StreamEnded { .. }, _)) => println!("nobody receives"),
            other => other?,
        }
        n.cancel().await;
        Ok(())
    })
    .await
}
// guide: end
