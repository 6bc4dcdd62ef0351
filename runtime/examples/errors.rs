//! Errors of other actors: values, with who and which way; panics with their place; deaths with their status.
//!
//! `cargo run -p runtime --example errors -- --backend thread`

mod backend;

use runtime::{Backend, CallError, Error};
use serde::{Deserialize, Serialize};

// guide: relayed
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("no route to {to}")]
struct NoRoute {
    to: String,
}

#[runtime::remote]
async fn route(to: String) -> Result<u32, NoRoute> {
    Err(NoRoute { to })
}

/// Passes on what fails below it: `?` keeps the value.
#[runtime::remote]
async fn ask_below(to: String) -> runtime::Result<u32> {
    runtime::nursery(async |n| {
        let router = n.run_in_actor::<route>("router", (to,)).await?;
        Ok(router.await?)
    })
    .await
}

async fn two_levels(backend: Backend) {
    let outcome: runtime::Result<u32> = runtime::nursery(async |n| {
        Ok(n.run_in_actor::<ask_below>("office", ("Rome".to_owned(),))
            .backend(backend)
            .await?
            .await?)
    })
    .await;
    if let Err(Error::Remote(remote)) = outcome {
        let way: Vec<&str> = remote.relay_path().iter().map(|actor| actor.name.as_str()).collect();
        println!("{} said: {} (by way of {way:?})", remote.source_actor().name, remote.message());
        println!("as a value: {:?}", remote.downcast::<NoRoute>());
    }
}
// guide: end

// guide: others
#[runtime::remote]
async fn fall_over() {
    panic!("the floor is wet");
}

#[runtime::remote]
async fn leave() {
    std::process::exit(3);
}

async fn a_panic(backend: Backend) -> runtime::Result<()> {
    runtime::nursery(async |n| {
        let actor = n.actor("clumsy").backend(backend).expose::<fall_over>().await?;
        if let Err(CallError::Failed(Error::Remote(remote))) = actor.call::<fall_over>(()).await {
            println!("{} panicked: {}", remote.source_actor().name, remote.message());
        }
        actor.cancel().await // one call failed; the actor goes on
    })
    .await
}

async fn a_death() {
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        // A process, whatever the others are: a thread cannot die alone.
        n.run_in_actor::<leave>("mortal", ()).backend(Backend::Exec).await?;
        Ok(())
    })
    .await;
    if let Err(Error::ActorDied { actor, exit, .. }) = outcome {
        println!("{} died: {exit}", actor.name);
    }
}
// guide: end

#[runtime::main]
async fn main() -> runtime::Result<()> {
    let backend = backend::from_args()?;
    two_levels(backend).await;
    a_panic(backend).await?;
    a_death().await;
    Ok(())
}
