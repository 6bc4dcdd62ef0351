//! Cancelling: by a deadline, by hand, and what is done in spite of it.
//!
//! `cargo run -p runtime --example deadlines -- --backend forkserver`

mod backend;

use std::time::Duration;

use runtime::{Backend, CancelScope, Error, Portal, fail_after, move_on_after, shield};

#[runtime::remote]
async fn answer_after(millis: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    42
}

#[runtime::remote]
async fn write_down(line: String) -> usize {
    line.len()
}

// guide: deadlines
async fn ask(oracle: &Portal) -> runtime::Result<()> {
    // In time, or not: the call's task in the other actor is cancelled with it.
    let soon = move_on_after(Duration::from_secs(60), oracle.call::<answer_after>((1,))).await?;
    println!("in time: {}", soon.is_some());
    let never = move_on_after(Duration::from_millis(50), oracle.call::<answer_after>((60_000,)));
    println!("in time: {}", never.await?.is_some());

    // Where being late is an error.
    let late = fail_after(Duration::from_millis(50), oracle.call::<answer_after>((60_000,))).await;
    println!("late: {}", matches!(late, Err(Error::DeadlinePassed { .. })));
    Ok(())
}
// guide: end

// guide: scope
/// A scope is cancelled from anywhere; what it cuts short has ended, with all it had started, when it returns.
async fn cut_short(backend: Backend, oracle: &Portal) -> runtime::Result<()> {
    let scope = CancelScope::new();
    let last = oracle.clone();
    let body = runtime::nursery(async |n| -> runtime::Result<()> {
        n.actor("idle").backend(backend).await?;
        scope.cancel();
        // Not cut: the scope waits for it, for a second at most.
        let noted = async move { last.call::<write_down>(("so far".to_owned(),)).await };
        let written = shield(Duration::from_secs(1), noted).await??;
        println!("never said: {written}");
        Ok(())
    });
    let outcome = scope.run(body).await?;
    println!("cut short: {}", outcome.is_none());
    Ok(())
}
// guide: end

#[runtime::main]
async fn main() -> runtime::Result<()> {
    let backend = backend::from_args()?;
    runtime::nursery(async |n| {
        let oracle = n.actor("oracle").backend(backend).expose::<answer_after>();
        let oracle = oracle.expose::<write_down>().await?;
        ask(&oracle).await?;
        cut_short(backend, &oracle).await?;
        oracle.cancel().await
    })
    .await
}
