//! An error of another actor.

use std::any::{Any, TypeId};
use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::user::chain_of;
use super::{ActorId, Error, Group};

/// What a function of another actor failed with: who, by which way it came, what it was, and (if its type is serialisable)
/// the value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoteError {
    facts: Box<Facts>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Facts {
    occurrence: Occurrence,
    source_actor: ActorId,
    relay_path: Vec<ActorId>,
    kind: Kind,
    type_name: String,
    message: String,
    chain: Vec<String>,
    backtrace: Option<String>,
    /// The value in wire format, so that errors nest without the decoder recursing.
    value: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Kind {
    Returned,
    Panicked(Option<PanicLocation>),
}

/// What is known of where a panic started.
#[derive(Debug, Default)]
pub(crate) struct PanicPlace {
    pub(crate) location: Option<PanicLocation>,
    pub(crate) backtrace: Option<String>,
}

/// Where in the source a panic started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicLocation {
    /// As the compiler was given it.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl fmt::Display for PanicLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl RemoteError {
    /// The actor in which it arose.
    pub fn source_actor(&self) -> &ActorId {
        &self.facts.source_actor
    }

    /// The actors that passed it on as an error of their own, nearest to the source first; empty if it came straight from
    /// its source.
    pub fn relay_path(&self) -> &[ActorId] {
        &self.facts.relay_path
    }

    /// The name of the error's type as the compiler spells it, or `panic`.
    pub fn type_name(&self) -> &str {
        &self.facts.type_name
    }

    /// The error's own message, or the panic's.
    pub fn message(&self) -> &str {
        &self.facts.message
    }

    /// The messages of the error's sources, nearest first.
    pub fn chain(&self) -> &[String] {
        &self.facts.chain
    }

    /// Whether it is a panic.
    pub fn is_panic(&self) -> bool {
        match self.facts.kind {
            Kind::Returned => false,
            Kind::Panicked(_) => true,
        }
    }

    /// Where it panicked. `None` for errors, and for panics when the program replaced the panic hook after
    /// [`init`](crate::init) without calling the one it found.
    pub fn location(&self) -> Option<&PanicLocation> {
        match &self.facts.kind {
            Kind::Returned => None,
            Kind::Panicked(location) => location.as_ref(),
        }
    }

    /// The way to where it began, if the environment of its actor asked for backtraces as std is asked (`RUST_BACKTRACE`): of a panic,
    /// and of an error wrapped by [`Error::user`] or made by [`Error::message`], from there. An error type of the function's own
    /// has none, unless it keeps one itself.
    ///
    /// From a process with an image of its own (a root's, one on `exec`, and threads there) it has names and lines. From a forked one
    /// it has addresses, as a file and a place in it, for `addr2line -f -e FILE PLACE`: finding the names takes a lock of std's, and
    /// a forked process may find it closed for ever. At most 32 KiB.
    pub fn backtrace(&self) -> Option<&str> {
        self.facts.backtrace.as_deref()
    }

    /// The value, if it is an `E` and crossed as one: the error type a function declares does, one wrapped by
    /// [`Error::user`] does not.
    pub fn downcast<E: DeserializeOwned + 'static>(&self) -> Option<E> {
        let value = self.facts.value.as_deref()?;
        (self.facts.type_name == std::any::type_name::<E>())
            .then(|| postcard::from_bytes(value).ok())?
    }

    /// The group, if the actor failed with several errors at once. Its members from further away tell in their relay paths
    /// that they came by way of that actor, and of those after it.
    pub fn group(&self) -> Option<Group> {
        let Some(Error::Group(group)) = self.downcast::<Error>() else { return None };
        let way: Vec<&ActorId> =
            std::iter::once(self.source_actor()).chain(self.relay_path()).collect();
        Some(group.map_members(|member| match member {
            Error::Remote(remote) => {
                Error::Remote(way.iter().fold(remote, |remote, hop| remote.relayed_by(hop)))
            }
            other => other,
        }))
    }

    pub(crate) fn occurrence(&self) -> Occurrence {
        self.facts.occurrence
    }

    /// What `error`, returned by a function of the actor `here`, is to its caller. An error that came to `here` from
    /// further away stays what it is, with `here` on its path.
    pub(crate) fn returned<E>(here: &ActorId, error: E) -> RemoteError
    where
        E: StdError + Serialize + 'static,
    {
        match same_type::<E, Error>(error) {
            Ok(Error::Remote(remote)) => remote.relayed_by(here),
            Ok(Error::User(user)) => RemoteError::from(Facts {
                type_name: user.type_name().to_owned(),
                message: user.to_string(),
                chain: user.chain(),
                backtrace: user.backtrace().map(str::to_owned),
                ..Facts::blank(here, Kind::Returned)
            }),
            Ok(error) => RemoteError::from_value(here, &error),
            Err(error) => RemoteError::from_value(here, &error),
        }
    }

    /// What others in the actor `here` are told of an error that is one value, and has gone to somebody: all that would have crossed
    /// to another actor.
    pub(crate) fn copy_of(here: &ActorId, error: &Error) -> RemoteError {
        let bytes = postcard::to_stdvec(error).ok();
        let copy: Option<Error> = bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok());
        RemoteError::returned(here, copy.unwrap_or_else(|| Error::message(error.to_string())))
    }

    /// A panic in a function of the actor `here`.
    pub(crate) fn panicked(here: &ActorId, message: String, place: PanicPlace) -> RemoteError {
        let PanicPlace { location, backtrace } = place;
        let facts = Facts {
            backtrace,
            type_name: "panic".to_owned(),
            message,
            ..Facts::blank(here, Kind::Panicked(location))
        };
        RemoteError::from(facts)
    }

    /// The function's own error again. `None` if its bytes are not an `E`: the two ends were built from different sources.
    pub(crate) fn restore<E: DeserializeOwned + 'static>(&self) -> Option<E> {
        if let Some(error) = self.downcast::<E>() {
            return Some(error);
        }
        same_type::<Error, E>(Error::Remote(self.clone())).ok()
    }

    fn from_value<E: StdError + Serialize + 'static>(here: &ActorId, error: &E) -> RemoteError {
        let facts = Facts {
            type_name: std::any::type_name::<E>().to_owned(),
            message: error.to_string(),
            chain: chain_of(error),
            value: postcard::to_stdvec(error).ok(),
            ..Facts::blank(here, Kind::Returned)
        };
        RemoteError::from(facts)
    }

    fn relayed_by(mut self, here: &ActorId) -> RemoteError {
        self.facts.relay_path.push(here.clone());
        self
    }
}

impl Facts {
    fn blank(here: &ActorId, kind: Kind) -> Facts {
        Facts {
            occurrence: Occurrence::next(here),
            source_actor: here.clone(),
            relay_path: Vec::new(),
            kind,
            type_name: String::new(),
            message: String::new(),
            chain: Vec::new(),
            backtrace: None,
            value: None,
        }
    }
}

impl From<Facts> for RemoteError {
    fn from(facts: Facts) -> RemoteError {
        RemoteError { facts: Box::new(facts) }
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.facts;
        match &facts.kind {
            Kind::Returned => write!(f, "actor {}: {}", facts.source_actor, facts.message)?,
            Kind::Panicked(None) => {
                write!(f, "actor {} panicked: {}", facts.source_actor, facts.message)?;
            }
            Kind::Panicked(Some(at)) => {
                write!(f, "actor {} panicked at {at}: {}", facts.source_actor, facts.message)?;
            }
        }
        for hop in &facts.relay_path {
            write!(f, " (by way of {hop})")?;
        }
        Ok(())
    }
}

impl StdError for RemoteError {}

/// `value` as a `B`, if that is what an `A` is.
pub(crate) fn same_type<A: 'static, B: 'static>(value: A) -> Result<B, A> {
    let mut slot = Some(value);
    let found = (TypeId::of::<A>() == TypeId::of::<B>())
        .then(|| (&mut slot as &mut dyn Any).downcast_mut::<Option<B>>().and_then(Option::take))
        .flatten();
    match (found, slot) {
        (Some(same), _) => Ok(same),
        (None, Some(other)) => Err(other),
        (None, None) => unreachable!("the slot is emptied only into `found`"),
    }
}

/// One thing that went wrong, so that it is counted once however many ways it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Occurrence {
    actor: Uuid,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum What {
    /// An error of a function; numbered in its process.
    Error(u64),
    Death,
    Forced,
}

impl Occurrence {
    pub(crate) fn death(actor: &ActorId) -> Occurrence {
        Occurrence { actor: actor.uuid, what: What::Death }
    }

    pub(crate) fn forced(actor: &ActorId) -> Occurrence {
        Occurrence { actor: actor.uuid, what: What::Forced }
    }

    fn next(here: &ActorId) -> Occurrence {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        Occurrence { actor: here.uuid, what: What::Error(SERIAL.fetch_add(1, Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
    #[error("{0} is too many")]
    struct TooMany(u32);

    fn actor(name: &str) -> ActorId {
        ActorId { name: name.to_owned(), uuid: Uuid::new_v4() }
    }

    fn over_the_wire(error: &RemoteError) -> RemoteError {
        postcard::from_bytes(&postcard::to_stdvec(error).unwrap()).unwrap()
    }

    #[test]
    fn a_declared_error_keeps_its_value() {
        let leaf = actor("leaf");
        let error = over_the_wire(&RemoteError::returned(&leaf, TooMany(7)));
        assert_eq!(error.downcast::<TooMany>(), Some(TooMany(7)));
        assert_eq!(error.restore::<TooMany>(), Some(TooMany(7)));
        assert_eq!(error.downcast::<u32>(), None);
        assert_eq!(error.source_actor(), &leaf);
        assert!(error.relay_path().is_empty());
    }

    #[test]
    fn a_relayed_error_keeps_source_and_value_and_tells_its_way() {
        let (leaf, middle, top) = (actor("leaf"), actor("middle"), actor("top"));
        let at_middle = over_the_wire(&RemoteError::returned(&leaf, TooMany(7)));
        let at_top =
            over_the_wire(&RemoteError::returned(&middle, Error::Remote(at_middle.clone())));
        let at_root = over_the_wire(&RemoteError::returned(&top, Error::Remote(at_top)));
        assert_eq!(at_root.source_actor(), &leaf);
        assert_eq!(at_root.relay_path(), [middle, top]);
        assert_eq!(at_root.downcast::<TooMany>(), Some(TooMany(7)));
        assert_eq!(at_root.occurrence(), at_middle.occurrence());
    }

    #[test]
    fn an_opaque_error_keeps_its_name_its_words_and_its_sources() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] TooMany);
        let error =
            over_the_wire(&RemoteError::returned(&actor("leaf"), Error::user(Outer(TooMany(7)))));
        assert!(error.type_name().ends_with("Outer"));
        assert_eq!(error.message(), "outer");
        assert_eq!(error.chain(), ["7 is too many"]);
        assert!(error.downcast::<TooMany>().is_none());
    }

    #[test]
    fn an_error_of_this_crate_is_restored_as_itself() {
        let error = over_the_wire(&RemoteError::returned(&actor("leaf"), Error::NoRuntime));
        assert!(matches!(error.restore::<Error>(), Some(Error::NoRuntime)));
    }

    #[test]
    fn a_group_from_elsewhere_has_its_members() {
        let (leaf, middle, top) = (actor("leaf"), actor("middle"), actor("top"));
        let below = Error::Remote(RemoteError::returned(&leaf, TooMany(7)));
        let group = Error::from_failures([Error::NoRuntime, below]).unwrap();
        let at_top = over_the_wire(&RemoteError::returned(&middle, group));
        let at_root = over_the_wire(&RemoteError::returned(&top, Error::Remote(at_top)));
        let members = at_root.group().unwrap().into_members();
        let [Error::NoRuntime, Error::Remote(told)] = members.as_slice() else {
            panic!("{members:?}")
        };
        assert_eq!((told.source_actor(), told.relay_path()), (&leaf, [middle, top].as_slice()));
    }
}
