//! Starts that fail, and what the starter is told.

use std::time::{Duration, Instant};

use runtime::{Error, Exit, StartFailure, StartStep, nursery};
use serde::{Deserialize, Serialize};

use crate::{Need, PATIENT};

crate::cases![
    Some(Need::Exec) => [a_program_that_is_no_actor_fails_at_once, a_program_that_does_not_exist_is_refused],
    Some(Need::Process) => [a_child_can_have_its_own_environment, a_child_that_dies_in_its_constructor_is_told],
    Some(Need::Thread) => [a_thread_has_no_environment_of_its_own],
    None => [
        a_constructor_takes_arguments_and_may_fail,
        a_constructor_that_panics_fails_the_start,
        a_child_that_is_never_ready_hits_the_deadline,
        a_dropped_start_leaves_nothing,
    ],
];

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{0} is not even")]
struct Odd(u64);

struct Picky;

#[runtime::actor]
impl Picky {
    async fn new(number: u64) -> Result<Self, Odd> {
        match number {
            13 => panic!("thirteen"),
            99 => std::process::exit(9),
            1000 => std::future::pending().await,
            even if even % 2 == 0 => Ok(Picky),
            odd => Err(Odd(odd)),
        }
    }

    async fn is_there(&self) -> bool {
        true
    }
}

#[runtime::remote]
async fn variable(name: String) -> Option<String> {
    std::env::var(name).ok()
}

fn failure(error: Error) -> StartFailure {
    match error {
        Error::SpawnFailed(failure) => *failure,
        other => panic!("{other:?}"),
    }
}

async fn start(number: u64) -> Error {
    let started =
        nursery(async |n| n.start::<Picky>("picky").with((number,)).await.map(|_| ())).await;
    started.expect_err("it fails")
}

async fn a_constructor_takes_arguments_and_may_fail() -> runtime::Result<()> {
    nursery(async |n| {
        let picky = n.start::<Picky>("picky").with((2,)).await?;
        assert!(picky.is_there().await?);
        picky.cancel().await
    })
    .await?;
    let failed = failure(start(3).await);
    assert_eq!(failed.step, StartStep::Construct);
    assert_eq!(failed.cause.expect("its error").downcast::<Odd>(), Some(Odd(3)));
    Ok(())
}

async fn a_constructor_that_panics_fails_the_start() -> runtime::Result<()> {
    let failed = failure(start(13).await);
    let cause = failed.cause.expect("its panic");
    assert!(cause.is_panic());
    assert_eq!(cause.message(), "thirteen");
    Ok(())
}

async fn a_child_that_dies_in_its_constructor_is_told() -> runtime::Result<()> {
    let failed = failure(start(99).await);
    assert_eq!((failed.step, failed.exit), (StartStep::Construct, Some(Exit::Code(9))));
    Ok(())
}

async fn a_child_that_is_never_ready_hits_the_deadline() -> runtime::Result<()> {
    nursery(async |n| {
        let deadline = Duration::from_millis(300);
        let started = n.start::<Picky>("picky").with((1000,)).boot_deadline(deadline).await;
        match started.map(|_| ()) {
            Err(Error::BootDeadline { after, .. }) => assert_eq!(after, deadline),
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await
}

async fn a_dropped_start_leaves_nothing() -> runtime::Result<()> {
    nursery(async |n| {
        let start = n.start::<Picky>("picky").with((1000,));
        let _elapsed = tokio::time::timeout(Duration::from_millis(200), start.into_future())
            .await
            .expect_err("it fails");
        Ok(())
    })
    .await
}

async fn a_program_that_is_no_actor_fails_at_once() -> runtime::Result<()> {
    let begun = Instant::now();
    nursery(async |n| {
        let started = n.actor("false").program("/bin/false").await;
        let failed = failure(started.expect_err("it fails"));
        assert_eq!((failed.step, failed.exit), (StartStep::Handshake, Some(Exit::Code(1))));
        Ok(())
    })
    .await?;
    // Nobody sat through a wait: the end was noticed.
    assert!(begun.elapsed() < PATIENT.terminate.min(PATIENT.boot));
    Ok(())
}

async fn a_program_that_does_not_exist_is_refused() -> runtime::Result<()> {
    nursery(async |n| {
        let started = n.actor("nobody").program("/no/such/program").await;
        let failed = failure(started.expect_err("it fails"));
        assert_eq!(failed.step, StartStep::Spawn);
        assert!(failed.last_words.expect("a reason").contains("No such file"));
        Ok(())
    })
    .await
}

async fn a_child_can_have_its_own_environment() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("a").env("COLOUR", "blue").expose::<variable>().await?;
        assert_eq!(actor.call::<variable>(("COLOUR".to_owned(),)).await?.as_deref(), Some("blue"));
        assert!(std::env::var("COLOUR").is_err());
        actor.cancel().await
    })
    .await
}

async fn a_thread_has_no_environment_of_its_own() -> runtime::Result<()> {
    nursery(async |n| {
        let started = n.actor("a").env("COLOUR", "blue").await;
        assert!(matches!(started, Err(Error::Unsupported { .. })));
        Ok(())
    })
    .await
}
