//! Errors on their way up: who, by which way, what they were; also when they are several.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use runner::{Case, TestResult};
use runtime::{CallError, Error, Exit, RemoteError};

use crate::actors::{Refused, kill_self, refuse};
use crate::attempt::root_config;
use crate::gate::{self, Gate};
use crate::shape;

runner::marks! { timeout = "20s" }

/// What fails at the bottom.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Fault {
    Declared,
    Opaque,
    Sentence,
    Panic,
    Two,
    Death,
}

/// Passes on what fails so many levels down.
#[runtime::remote]
async fn relay(levels: u32, fault: Fault) -> runtime::Result<()> {
    runtime::nursery(async |n| {
        if levels > 0 {
            let name = format!("level-{levels}");
            n.run_in_actor::<relay>(name, (levels - 1, fault)).await?.await?;
            return Ok(());
        }
        match fault {
            Fault::Declared => n.run_in_actor::<refuse>("leaf", (7,)).await?.await?,
            Fault::Opaque => n.run_in_actor::<fail_opaquely>("leaf", ()).await?.await?,
            Fault::Sentence => n.run_in_actor::<fail_with_a_sentence>("leaf", ()).await?.await?,
            Fault::Panic => n.run_in_actor::<panic_here>("leaf", ()).await?.await?,
            Fault::Two => two_failures().await?,
            Fault::Death => n.run_in_actor::<kill_self>("leaf", ()).await?.await?,
        }
        Ok(())
    })
    .await
}

/// What a root gets to see of `fault`, two relaying actors above it.
async fn relayed(fault: Fault) -> TestResult<RemoteError> {
    let outcome = relay(2, fault).await;
    match outcome {
        Err(Error::Remote(remote)) => Ok(remote),
        other => Err(format!("no error of another actor: {other:?}").into()),
    }
}

fn path(remote: &RemoteError) -> Vec<&str> {
    remote.relay_path().iter().map(|actor| actor.name.as_str()).collect()
}

#[runner::test]
async fn a_declared_error_is_the_same_value_three_levels_up() -> TestResult {
    let remote = relayed(Fault::Declared).await?;
    assert_eq!(remote.source_actor().name, "leaf");
    assert_eq!(path(&remote), ["level-1", "level-2"]);
    assert_eq!(remote.downcast::<Refused>(), Some(Refused(7)));
    assert!(remote.downcast::<String>().is_none());
    assert_eq!(remote.message(), "refused-7");
    assert!(remote.type_name().ends_with("::Refused"), "{}", remote.type_name());
    Ok(())
}

/// An error of a type that cannot cross.
#[derive(Debug)]
struct Opaque {
    source: Refused,
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seen through a glass, darkly")
    }
}

impl std::error::Error for Opaque {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[runtime::remote]
async fn fail_opaquely() -> runtime::Result<()> {
    Err(Error::user(Opaque { source: Refused(1) }))
}

#[runner::test]
async fn an_error_of_an_opaque_type_keeps_its_name_its_words_and_its_sources() -> TestResult {
    let remote = relayed(Fault::Opaque).await?;
    assert_eq!(remote.source_actor().name, "leaf");
    assert_eq!(path(&remote), ["level-1", "level-2"]);
    assert!(remote.type_name().ends_with("::Opaque"), "{}", remote.type_name());
    assert_eq!(remote.message(), "seen through a glass, darkly");
    assert_eq!(remote.chain(), ["refused-1"]);
    assert!(remote.downcast::<Refused>().is_none());
    assert!(!remote.is_panic());
    Ok(())
}

#[runtime::remote]
async fn fail_with_a_sentence() -> runtime::Result<()> {
    Err(Error::message("only words"))
}

#[runner::test]
async fn a_sentence_is_an_error() -> TestResult {
    let remote = relayed(Fault::Sentence).await?;
    assert_eq!(remote.source_actor().name, "leaf");
    assert_eq!(remote.message(), "only words");
    Ok(())
}

#[runtime::remote]
async fn panic_here() {
    panic!("out of {}", "order");
}

#[runner::test]
async fn a_panic_keeps_its_message_and_its_place() -> TestResult {
    let remote = relayed(Fault::Panic).await?;
    assert!(remote.is_panic());
    assert_eq!(remote.source_actor().name, "leaf");
    assert_eq!(path(&remote), ["level-1", "level-2"]);
    assert_eq!(remote.message(), "out of order");
    let place = remote.location().ok_or("the panic has no place")?;
    assert!(place.file.ends_with("remote_errors.rs"), "{place}");
    assert!(place.line > 1 && place.column > 0, "{place}");
    Ok(())
}

/// Fails with two errors of two actors, neither of which is anybody's child any more.
async fn two_failures() -> runtime::Result<()> {
    let one = runtime::nursery(async |n| {
        n.run_in_actor::<refuse>("one", (1,)).await?;
        Ok(())
    });
    let other = runtime::nursery(async |n| {
        n.run_in_actor::<panic_here>("other", ()).await?;
        Ok(())
    });
    let (one, other) = tokio::join!(one, other);
    Error::from_failures([one, other].into_iter().filter_map(Result::err)).map_or(Ok(()), Err)
}

#[runner::test]
async fn a_group_crosses_with_its_members_as_values() -> TestResult {
    let remote = relayed(Fault::Two).await?;
    assert_eq!(remote.source_actor().name, "level-1");
    assert_eq!(path(&remote), ["level-2"]);
    let members = remote.group().ok_or("it is no group any more")?.into_members();
    let [Error::Remote(one), Error::Remote(other)] = members.as_slice() else {
        panic!("{members:?}");
    };
    assert_eq!(one.source_actor().name, "one");
    assert_eq!(one.downcast::<Refused>(), Some(Refused(1)));
    assert_eq!(path(one), ["level-1", "level-2"]);
    assert_eq!(other.source_actor().name, "other");
    assert_eq!(path(other), ["level-1", "level-2"]);
    assert!(other.is_panic());
    assert!(other.location().is_some());
    Ok(())
}

#[runner::test]
#[needs("process")]
async fn a_death_below_crosses_as_a_value() -> TestResult {
    let remote = relayed(Fault::Death).await?;
    assert_eq!(remote.source_actor().name, "level-1");
    match remote.downcast::<Error>() {
        Some(Error::ActorDied { actor, exit: Exit::Signal(libc::SIGKILL), .. }) => {
            assert_eq!(actor.name, "leaf");
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// What a daemon's caller does with an error is its own affair.
#[runner::test]
async fn an_error_that_is_dealt_with_is_nobodys() -> TestResult {
    runtime::nursery(async |n| {
        let daemon = n.actor("daemon").expose::<refuse>().expose::<panic_here>().await?;
        let refused = daemon.call::<refuse>((1,)).await;
        assert_eq!(refused.err().and_then(CallError::returned), Some(Refused(1)));
        let panicked = daemon.call::<panic_here>(()).await;
        assert!(matches!(panicked, Err(CallError::Failed(Error::Remote(_)))));
        daemon.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn two_failures_that_look_alike_are_two() -> TestResult {
    runtime::nursery(async |n| {
        let daemon = n.actor("daemon").expose::<refuse>().await?;
        let (one, other) = tokio::join!(daemon.call::<refuse>((1,)), daemon.call::<refuse>((1,)));
        let failures = [one, other].into_iter().filter_map(Result::err);
        let group = Error::from_failures(failures.map(Error::from));
        let shape = group.as_ref().map(shape::of);
        assert_eq!(shape.as_deref(), Some("(daemon:refused-1 daemon:refused-1)"));
        daemon.cancel().await
    })
    .await?;
    Ok(())
}

/// What takes its time to clean up before its error is out.
struct SlowCleanUp(PathBuf);

impl Drop for SlowCleanUp {
    fn drop(&mut self) {
        drop(gate::pass_blocking(&self.0));
    }
}

/// Is cancelled, and cleans up until the gate opens.
#[runtime::remote]
async fn clean_up_slowly(arrival: PathBuf, clean_up: PathBuf) -> runtime::Result<()> {
    let _slow = SlowCleanUp(clean_up);
    gate::arrive(&arrival).map_err(Error::user)?;
    std::future::pending().await
}

/// Fails; what it started meanwhile is cleaned up slowly, and awaited.
#[runtime::remote]
async fn fail_and_wait(arrival: PathBuf, clean_up: PathBuf) -> runtime::Result<()> {
    runtime::nursery(async |n| {
        let arguments = (arrival.clone(), clean_up);
        n.run_in_actor::<clean_up_slowly>("slow", arguments).await?;
        gate::pass(&arrival).await.map_err(Error::user)?;
        Err(Error::user(Refused(7)))
    })
    .await
}

/// The error is on its way, and waits for a clean-up, when the cancel comes: it is what comes out.
#[runner::test]
fn an_error_that_waits_for_a_clean_up_is_not_turned_into_a_cancel(case: Case) -> TestResult {
    // Nobody is to be forced while the gate is closed.
    let patient = Duration::from_secs(10);
    let mut config = root_config(&case)?;
    config.timings.ack = patient;
    config.timings.soft = patient;
    config.timings.abandon = patient;
    let outcome = runtime::block_on_root(config, async {
        let mut arrival = Gate::closed(&case, "arrival").map_err(Error::user)?;
        let mut clean_up = Gate::closed(&case, "clean-up").map_err(Error::user)?;
        runtime::nursery(async |n| {
            let arguments = (arrival.path(), clean_up.path());
            let one = n.run_in_actor::<fail_and_wait>("one", arguments).await?;
            arrival.arrived(2).await.map_err(Error::user)?;
            arrival.open();
            // It has failed by then: its child is cleaning up.
            clean_up.arrived(1).await.map_err(Error::user)?;
            let (cancelled, ()) = tokio::join!(one.cancel(), async {
                tokio::task::yield_now().await;
                clean_up.open();
            });
            cancelled
        })
        .await
    })?;
    let error = outcome.expect_err("one has failed");
    assert_eq!(shape::of(&error), "one:refused-7");
    Ok(())
}
