//! Which error of a context wins, at its opener. Pure.

use crate::error::{Error, Result};

/// How the other end's task ended, when not with its value.
#[derive(Debug)]
pub(super) struct Setback {
    pub(super) error: Error,
    pub(super) kind: SetbackKind,
}

/// Why the other end's task has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetbackKind {
    /// It was cancelled, as the opener asked of this very context.
    Wished,
    /// It was cancelled otherwise: by another actor, or by the opener's, but as an actor.
    Cancelled,
    /// It failed, or died.
    Failed,
}

/// How the opener's body ended.
#[derive(Debug)]
pub(super) enum Body<T> {
    Ended(Result<T>),
    /// It was cut short by the other end's setback.
    Cut,
}

/// What a context comes to, or several under one body, with the setback of each that had one.
///
/// A cancel never hides an error: neither the body's, which is new, nor another task's. A body's error that says no more than that
/// it met the cancel or the failure of another task does not count beside that.
pub(super) fn outcome<T>(body: Body<T>, setbacks: Vec<Setback>) -> Result<T> {
    let (failed, others): (Vec<_>, Vec<_>) =
        setbacks.into_iter().partition(|setback| setback.kind == SetbackKind::Failed);
    if !failed.is_empty() {
        return Err(all_of(body, failed));
    }
    let cancelled = others.into_iter().find(|setback| setback.kind == SetbackKind::Cancelled);
    match (body, cancelled) {
        (Body::Ended(Ok(_)) | Body::Cut, Some(setback)) => Err(setback.error),
        (Body::Ended(ended), _) => ended,
        (Body::Cut, None) => {
            Err(Error::Bug("the body of a context was cut short for no reason".to_owned()))
        }
    }
}

fn all_of<T>(body: Body<T>, failed: Vec<Setback>) -> Error {
    let own = match body {
        Body::Ended(Err(own)) if !is_echo(&own, &failed) => Some(own),
        Body::Ended(_) | Body::Cut => None,
    };
    Error::from_failures(own.into_iter().chain(failed.into_iter().map(|setback| setback.error)))
        .unwrap_or_else(|| Error::Bug("some failures came to none".to_owned()))
}

/// Whether a body's error is only what it met of the failures. Those that know which occurrence they are of are told apart by
/// whoever collects them; the others by what they say.
fn is_echo(own: &Error, failed: &[Setback]) -> bool {
    matches!(own, Error::Cancelled { .. })
        || own.occurrence().is_none()
            && failed.iter().any(|setback| setback.error.to_string() == own.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ActorId, RemoteError};
    use uuid::Uuid;

    fn actor(number: u128) -> ActorId {
        ActorId { name: format!("a{number}"), uuid: Uuid::from_u128(number) }
    }

    fn cancelled(by: u128) -> Error {
        Error::Cancelled { subject: actor(2), canceller: actor(by) }
    }

    fn setback(kind: SetbackKind) -> Setback {
        let error = match kind {
            SetbackKind::Wished => cancelled(1),
            SetbackKind::Cancelled => cancelled(3),
            SetbackKind::Failed => Error::message("theirs"),
        };
        Setback { error, kind }
    }

    fn told(body: Body<u32>, setback: Option<Setback>) -> String {
        match outcome(body, setback.into_iter().collect()) {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        }
    }

    fn own() -> Body<u32> {
        Body::Ended(Err(Error::message("own")))
    }

    #[test]
    fn every_pair_of_ends_has_its_outcome() {
        use SetbackKind::{Cancelled, Failed, Wished};
        let by_third = cancelled(3).to_string();
        assert_eq!(told(Body::Ended(Ok(7)), None), "7");
        assert_eq!(told(own(), None), "own");
        assert_eq!(told(Body::Ended(Ok(7)), Some(setback(Wished))), "7");
        assert_eq!(told(Body::Ended(Ok(7)), Some(setback(Cancelled))), by_third);
        assert_eq!(told(Body::Ended(Ok(7)), Some(setback(Failed))), "theirs");
        assert_eq!(told(Body::Cut, Some(setback(Cancelled))), by_third);
        assert_eq!(told(Body::Cut, Some(setback(Failed))), "theirs");
        assert_eq!(told(own(), Some(setback(Wished))), "own");
        assert_eq!(told(own(), Some(setback(Cancelled))), "own");
        assert_eq!(told(Body::Ended(Err(cancelled(3))), Some(setback(Failed))), "theirs");
        let group = told(own(), Some(setback(Failed)));
        assert!(group.contains("own") && group.contains("theirs"), "{group}");
    }

    #[test]
    fn what_a_body_passes_on_is_not_told_twice() {
        let theirs = RemoteError::returned(&actor(2), Error::message("theirs"));
        let setback = Setback { error: Error::Remote(theirs.clone()), kind: SetbackKind::Failed };
        let body: Body<u32> = Body::Ended(Err(Error::Remote(theirs)));
        assert!(matches!(outcome(body, vec![setback]), Err(Error::Remote(_))));
    }

    #[test]
    fn what_a_body_passes_on_is_not_told_twice_though_it_has_no_number() {
        let theirs = || Error::Unsendable { what: "it".to_owned(), reason: "no".to_owned() };
        let setback = Setback { error: theirs(), kind: SetbackKind::Failed };
        let body: Body<u32> = Body::Ended(Err(theirs()));
        assert!(matches!(outcome(body, vec![setback]), Err(Error::Unsendable { .. })));
    }

    #[test]
    fn of_several_the_failures_count_and_no_wish_does() {
        use SetbackKind::{Cancelled, Failed, Wished};
        let all = |kinds: &[SetbackKind]| kinds.iter().map(|kind| setback(*kind)).collect();
        let told = |body: Body<u32>, setbacks: Vec<Setback>| match outcome(body, setbacks) {
            Ok(value) => value.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(told(Body::Ended(Ok(7)), all(&[Wished, Wished])), "7");
        assert_eq!(told(Body::Cut, all(&[Wished, Failed, Wished])), "theirs");
        assert_eq!(told(Body::Cut, all(&[Wished, Cancelled])), cancelled(3).to_string());
        assert_eq!(told(own(), all(&[Wished, Cancelled])), "own");
    }
}
