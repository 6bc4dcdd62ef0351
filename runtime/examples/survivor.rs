//! An actor dies in the middle of a call; the caller is told how, and starts another in a nursery of its own.
//!
//! `cargo run -p runtime --example survivor -- --backend forkserver`. On `thread` an actor cannot die without its process, so there
//! it panics, and lives.

mod backend;

use runtime::{Backend, CallError, Error};

#[runtime::remote]
async fn work(attempt: u32) -> u32 {
    match (attempt, runtime::current().ok().and_then(|me| me.backend())) {
        (0, Some(Backend::Thread)) => panic!("the first attempt fails"),
        (0, _) => std::process::exit(3),
        (_, _) => attempt,
    }
}

/// One attempt, in a scope of its own: a death inside ends this scope, and no other.
async fn attempt(backend: Backend, number: u32) -> runtime::Result<u32> {
    runtime::nursery(async |n| {
        let worker = n.actor("worker").backend(backend).expose::<work>().await?;
        let result = worker.call::<work>((number,)).await;
        if let Err(CallError::Failed(Error::ActorDied { exit, .. })) = &result {
            println!("the call ended with its actor: {exit}");
        }
        let done = result?;
        worker.cancel().await?;
        Ok(done)
    })
    .await
}

#[runtime::main]
async fn main() -> runtime::Result<()> {
    let backend = backend::from_args()?;
    match attempt(backend, 0).await {
        Err(Error::ActorDied { exit, .. }) => println!("attempt 0 died: {exit}"),
        Err(Error::Remote(panic)) => println!("attempt 0 panicked: {}", panic.message()),
        other => println!("attempt 0: {other:?}"),
    }
    println!("attempt 1 worked: {}", attempt(backend, 1).await?);
    Ok(())
}
