//! What of an error crosses: the value, where its type was declared; its name and words, always.

use std::num::ParseIntError;

use runner::TestResult;
use runtime::{ActorId, Backend, CallError, Error, Never, RemoteError};
use serde::{Deserialize, Serialize};

use crate::actors::{Refused, pid, refuse};

runner::marks! { timeout = "20s" }

/// Another error of the suites' own, with more in it.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{what} is {reason:?}")]
struct Unfit {
    what: String,
    reason: Unfitness,
    history: Vec<Refused>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Unfitness {
    TooLong { by: u64 },
    Forbidden,
}

impl Unfit {
    fn example() -> Self {
        let reason = Unfitness::TooLong { by: u64::MAX };
        Self { what: "the wörd".to_owned(), reason, history: vec![Refused(1), Refused(2)] }
    }
}

#[runtime::remote]
async fn be_unfit() -> Result<(), Unfit> {
    Err(Unfit::example())
}

/// The error of a call, as whoever knows only the runtime's types sees it.
fn remote<T, E: std::error::Error>(outcome: Result<T, CallError<E>>) -> TestResult<RemoteError> {
    match outcome {
        Err(CallError::Returned(_, remote) | CallError::Failed(Error::Remote(remote))) => {
            Ok(remote)
        }
        Err(CallError::Failed(other)) => Err(format!("not a remote error: {other:?}").into()),
        Ok(_) => Err("it did not fail".into()),
    }
}

#[runner::test]
async fn each_declared_type_is_its_own_value() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<refuse>().expose::<be_unfit>().await?;
        let (refused, unfit) = tokio::join!(actor.call::<refuse>((3,)), actor.call::<be_unfit>(()));
        let values = (
            refused.err().and_then(CallError::returned),
            unfit.err().and_then(CallError::returned),
        );
        assert_eq!(values, (Some(Refused(3)), Some(Unfit::example())));
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_declared_error_has_its_name_its_words_and_its_value() -> TestResult {
    let remote = one_call_of_unfit().await?;
    assert!(remote.type_name().ends_with("error_types::Unfit"), "{}", remote.type_name());
    assert_eq!(remote.message(), "the wörd is TooLong { by: 18446744073709551615 }");
    assert_eq!(remote.downcast::<Unfit>(), Some(Unfit::example()));
    Ok(())
}

/// Asked for as something else it is not that, also where the bytes would do for it.
#[runner::test]
async fn a_value_is_of_its_own_type_only() -> TestResult {
    #[derive(Debug, PartialEq, Deserialize)]
    struct LooksAlike {
        _what: String,
        _reason: Unfitness,
        _history: Vec<Refused>,
    }
    let remote = one_call_of_unfit().await?;
    assert_eq!(remote.downcast::<LooksAlike>(), None);
    assert_eq!(remote.downcast::<Refused>(), None);
    assert_eq!(remote.downcast::<String>(), None);
    assert!(remote.downcast::<Error>().is_none());
    Ok(())
}

async fn one_call_of_unfit() -> TestResult<RemoteError> {
    let mut seen = None;
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<be_unfit>().await?;
        seen = Some(actor.call::<be_unfit>(()).await);
        actor.cancel().await
    })
    .await?;
    remote(seen.ok_or("nothing was called")?)
}

#[runtime::remote]
async fn parse(text: String) -> runtime::Result<u32> {
    text.parse().map_err(Error::user)
}

/// Nobody declared it, and it cannot be serialised.
#[runner::test]
async fn an_error_of_the_standard_library_crosses_as_name_and_words() -> TestResult {
    let expected = "x".parse::<u32>().expect_err("it is no number").to_string();
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<parse>().await?;
        let Ok(remote) = remote(actor.call::<parse>(("x".to_owned(),)).await) else {
            panic!("it is a remote error");
        };
        assert_eq!(remote.type_name(), std::any::type_name::<ParseIntError>());
        assert_eq!(remote.message(), expected);
        assert!(remote.downcast::<Refused>().is_none());
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// The runtime's own errors, each as it is met by an actor.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Met {
    NotExposed,
    Unsupported,
    Cancelled,
    NoRuntime,
    Sentence,
}

#[runtime::remote]
async fn meet(what: Met) -> runtime::Result<()> {
    runtime::nursery(async |n| {
        match what {
            Met::NotExposed => {
                let closed = n.actor("closed").await?;
                closed.call::<pid>(()).await?;
            }
            Met::Unsupported => {
                n.actor("odd").backend(Backend::Thread).env("NAME", "value").await?;
            }
            Met::Cancelled => {
                n.cancel().await;
                n.actor("late").await?;
            }
            Met::NoRuntime => {
                let elsewhere = tokio::task::spawn_blocking(|| runtime::current().map(drop));
                elsewhere.await.map_err(Error::user)??;
            }
            Met::Sentence => return Err(Error::message("nothing to add")),
        }
        Ok(())
    })
    .await
}

#[runner::test]
async fn an_error_of_the_runtimes_crosses_as_its_value() -> TestResult {
    for what in [Met::NotExposed, Met::Unsupported, Met::Cancelled, Met::NoRuntime] {
        let outcome = meet_in_an_actor(what).await?;
        let (actor, error) = match outcome {
            (actor, Err(CallError::Returned(error, _))) => (actor, error),
            (_, other) => panic!("{what:?}: {other:?}"),
        };
        let is_expected = match (&what, &error) {
            (Met::NotExposed, Error::NotExposed { actor, function }) => {
                actor.name == "closed" && function.ends_with("pid")
            }
            (Met::Unsupported, Error::Unsupported { backend, actor, .. }) => {
                (*backend, actor.name.as_str()) == (Backend::Thread, "odd")
            }
            (Met::Cancelled, Error::Cancelled { canceller, .. }) => *canceller == actor,
            (Met::NoRuntime, Error::NoRuntime) => true,
            _ => false,
        };
        assert!(is_expected, "{what:?}: {error:?}");
    }
    Ok(())
}

type Outcome = Result<(), CallError<Error>>;

async fn meet_in_an_actor(what: Met) -> TestResult<(ActorId, Outcome)> {
    let mut seen = None;
    let outcome = runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<meet>().await?;
        seen = Some((actor.id().clone(), actor.call::<meet>((what,)).await));
        actor.cancel().await
    })
    .await;
    outcome?;
    Ok(seen.ok_or("nothing was called")?)
}

/// The placeholder for a type is there, and it is nobody's type.
#[runner::test]
async fn a_sentence_has_words_and_no_value() -> TestResult {
    let (_, outcome) = meet_in_an_actor(Met::Sentence).await?;
    let remote = remote(outcome)?;
    assert_eq!(remote.message(), "nothing to add");
    assert!(!remote.type_name().is_empty());
    assert!(remote.downcast::<String>().is_none());
    Ok(())
}

/// What cannot fail says so in its type.
#[runner::test]
async fn a_function_that_cannot_fail_has_no_error_to_return() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<pid>().await?;
        let outcome: Result<u32, CallError<Never>> = actor.call::<pid>(()).await;
        match outcome {
            Ok(_) => {}
            Err(CallError::Returned(never, _)) => match never {},
            Err(CallError::Failed(error)) => return Err(error),
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}

/// What an error prints names the actor it happened in: that is what a reader looks for first.
#[runner::test]
async fn an_error_prints_who_and_what() -> TestResult {
    let remote = one_call_of_unfit().await?;
    let printed = remote.to_string();
    assert!(printed.contains("actor@"), "{printed}");
    assert!(printed.contains(remote.message()), "{printed}");
    Ok(())
}
