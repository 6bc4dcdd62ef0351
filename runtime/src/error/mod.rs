//! What can go wrong, as values.
//!
//! Every operation of this crate fails with an [`Error`]; a call, whose function may have an error type of its own, with a
//! [`CallError`]. Errors of other actors arrive as [`RemoteError`], several at once as a [`Group`] whose members are
//! errors again. All of them can be sent: an actor that passes an error on passes the value, not its text.
//!
//! Not here: deciding which error wins. That is the nursery's business (`supervise`).

mod backtrace;
mod group;
mod ladder;
mod remote;
mod supervision;
mod user;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use backtrace::capture as capture_backtrace;
pub use group::Group;
pub use ladder::{Rung, RungTaken, Teardown};
pub(crate) use remote::{Occurrence, PanicPlace, same_type};
pub use remote::{PanicLocation, RemoteError};
pub use supervision::{Death, GaveUp};
pub use user::UserError;

use crate::spawn::{Backend, Exit};

/// The result of most operations here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who an actor is. Names are not unique; the pair is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActorId {
    /// The name its nursery gave it.
    pub name: String,
    /// Drawn anew for each actor ever started.
    pub uuid: Uuid,
}

impl fmt::Display for ActorId {
    /// `name@` and the first eight digits of the uuid.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, ..) = self.uuid.as_fields();
        write!(f, "{}@{first:08x}", self.name)
    }
}

/// What an actor was doing when its start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StartStep {
    /// The process or thread could not be made.
    Spawn,
    /// It existed, and had not yet agreed with its parent on who and what it is.
    Handshake,
    /// It was making its state: its constructor (`new`) ran.
    Construct,
}

impl fmt::Display for StartStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StartStep::Spawn => "being spawned",
            StartStep::Handshake => "shaking hands",
            StartStep::Construct => "constructing its state",
        })
    }
}

/// An actor that never became ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartFailure {
    /// The actor that was to be.
    pub actor: ActorId,
    /// How it was to be made.
    pub backend: Backend,
    /// How far it got.
    pub step: StartStep,
    /// How it ended, when it existed at all.
    pub exit: Option<Exit>,
    /// The last it said of the reason: the operating system's refusal, or its own words.
    pub last_words: Option<String>,
    /// The constructor's error, when that is what failed.
    pub cause: Option<RemoteError>,
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StartFailure { actor, backend, step, exit, last_words, cause } = self;
        write!(f, "actor {actor} ({backend}) ended while {step}")?;
        if let Some(exit) = exit {
            write!(f, ": {exit}")?;
        }
        if let Some(words) = last_words {
            write!(f, ": {words}")?;
        }
        if let Some(cause) = cause {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

/// Whatever an operation of this crate can end with instead of its value.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// A function of another actor failed or panicked.
    #[error("{0}")]
    Remote(RemoteError),
    /// An actor ended without having been asked to, or with work of ours in hand.
    #[error("actor {actor} died: {exit}")]
    ActorDied {
        /// Who died.
        actor: ActorId,
        /// How; never invented.
        exit: Exit,
        /// Which of its lives this was, from 0.
        incarnation: u64,
    },
    /// An actor ended before it was ready.
    #[error("{0}")]
    SpawnFailed(Box<StartFailure>),
    /// An actor was not ready in time, and was killed.
    #[error("actor {actor} was not ready after {after:?}, and was killed while {step}")]
    BootDeadline {
        /// Who was starting.
        actor: ActorId,
        /// How far it got.
        step: StartStep,
        /// The deadline it was given.
        after: Duration,
    },
    /// The actor, or the nursery, was cancelled before the operation was done.
    #[error("{subject} was cancelled by {canceller}")]
    Cancelled {
        /// The actor that was cancelled, or whose nursery was.
        subject: ActorId,
        /// Who asked for it.
        canceller: ActorId,
    },
    /// An actor did not end when asked to and had to be made to.
    #[error("actor {actor} did not end when asked to: {teardown}")]
    Forced {
        /// Who.
        actor: ActorId,
        /// Each rung of the ladder it took, and for how long.
        teardown: Teardown,
    },
    /// The channel to an actor broke while the actor lived; if it was a child, it was made to end. Also of a
    /// [`channel`](crate::channel()) whose other end was lost on its way to another actor, or in a panic.
    #[error("the channel to actor {actor} broke: {reason}")]
    ChannelLost {
        /// Who was at the other end.
        actor: ActorId,
        /// What was wrong with it.
        reason: String,
    },
    /// A supervisor gave up, and stopped its other children.
    #[error("{0}")]
    GaveUp(Box<GaveUp>),
    /// Something asked of a supervisor that cannot be.
    #[error("supervised child {child}: {reason}")]
    Supervision {
        /// The child's name.
        child: String,
        /// Why not.
        reason: String,
    },
    /// The root was interrupted, by SIGINT or [`interrupt`](crate::interrupt), and its tree cancelled.
    #[error("interrupted")]
    Interrupted,
    /// A scope's time was over before its work was done.
    #[error("not done within {after:?}")]
    DeadlinePassed {
        /// The time it had.
        after: Duration,
    },
    /// Several failures of one nursery.
    #[error("{0}")]
    Group(Group),
    /// The function was not exposed to its callers when the actor was started.
    #[error("actor {actor} does not expose {function}")]
    NotExposed {
        /// Who was asked.
        actor: ActorId,
        /// For what.
        function: String,
    },
    /// The task of a context ended well, and had never said `started`.
    #[error("{function} in actor {actor} ended without having said that it started")]
    NotStarted {
        /// Whose task.
        actor: ActorId,
        /// The context's function.
        function: String,
    },
    /// An item was sent while as many as may be were waiting at the receiver, of a stream that was opened with
    /// [`Overrun::Error`](crate::Overrun::Error).
    #[error("a stream to actor {actor} has overrun: {capacity} items wait there already")]
    StreamOverrun {
        /// Who is slow.
        actor: ActorId,
        /// How many items may wait.
        capacity: u32,
    },
    /// An item was sent into a stream that has ended: this end closed it, or the other end did, or its task has returned. Or into a
    /// [`channel`](crate::channel()) whose receiver was dropped.
    #[error("the stream to actor {actor} has ended")]
    StreamEnded {
        /// Who is at the other end.
        actor: ActorId,
    },
    /// A subscription fell behind: so many items were dropped before it read them. It goes on at the oldest that is kept.
    #[error("{missed} items were missed: the subscription fell behind")]
    Lagged {
        /// How many.
        missed: u64,
    },
    /// What came is not of the type that this end knows: the other end was built from other sources.
    #[error("{what} is of another type: {reason}")]
    WrongType {
        /// Which value.
        what: String,
        /// Why.
        reason: String,
    },
    /// Something was asked for that can be had once, or not there.
    #[error("{0}")]
    Misuse(String),
    /// An actor was asked to end a context, or itself, and has not done so in time. It may be stuck, and what was to end may run. To
    /// end an actor that does not answer is for its parent.
    #[error("actor {actor} {} within {after:?}", not_done(*rung))]
    Unresponsive {
        /// Who.
        actor: ActorId,
        /// How far it came: [`Rung::Request`], it has not acknowledged; [`Rung::Soft`], it has, and its clean-up did not end.
        rung: Rung,
        /// How long it was waited for.
        after: Duration,
    },
    /// The operation needs an actor around it, and this thread runs none.
    #[error("no actor runs on this thread: use #[runtime::main], or runtime::block_on_root")]
    NoRuntime,
    /// A root actor before [`init`](crate::init).
    #[error(
        "runtime::init was not called: it must be, before the first thread and the first actor"
    )]
    NotInitialised,
    /// A root actor inside another actor, in the process of one, or beside another root of this process.
    #[error("this process already runs the actor {0}: a tree has one root")]
    SecondRoot(ActorId),
    /// Something asked of a backend that it cannot do.
    #[error("actor {actor} cannot be started on {backend}: {reason}")]
    Unsupported {
        /// Which backend.
        backend: Backend,
        /// Who was to be started on it.
        actor: ActorId,
        /// What it cannot do.
        reason: String,
    },
    /// A value could not be sent: too large, or its type cannot be serialised.
    #[error("{what} cannot be sent: {reason}")]
    Unsendable {
        /// Which value.
        what: String,
        /// Why.
        reason: String,
    },
    /// The operating system refused something an actor needs.
    #[error("{what}: {reason}")]
    System {
        /// What was asked of it.
        what: String,
        /// Its answer.
        reason: String,
    },
    /// An error of the user's own.
    #[error("{0}")]
    User(#[source] UserError),
    /// A fault of this crate. Please report it.
    #[error("a bug in runtime, please report it: {0}")]
    Bug(String),
}

impl Error {
    /// Wraps an error of the user's own, of a type that need not be serialisable. It crosses to other actors as its type's
    /// name, its message and its sources; to have the value cross, make it a function's declared error type.
    pub fn user<E: std::error::Error + Send + Sync + 'static>(error: E) -> Error {
        Error::User(UserError::new(error))
    }

    /// An error of the user's own that is only a sentence.
    pub fn message(message: impl Into<String>) -> Error {
        Error::User(UserError::message(message.into()))
    }

    /// The failure this is, if it is one that two paths may report: whoever collects errors counts it once.
    pub(crate) fn occurrence(&self) -> Option<Occurrence> {
        match self {
            Error::Remote(remote) => Some(remote.occurrence()),
            Error::ActorDied { actor, .. } | Error::ChannelLost { actor, .. } => {
                Some(Occurrence::death(actor))
            }
            Error::Forced { actor, .. } => Some(Occurrence::forced(actor)),
            Error::SpawnFailed(failure) => Some(Occurrence::death(&failure.actor)),
            Error::BootDeadline { actor, .. } => Some(Occurrence::death(actor)),
            Error::Cancelled { .. }
            | Error::GaveUp(_)
            | Error::Supervision { .. }
            | Error::DeadlinePassed { .. }
            | Error::Interrupted
            | Error::Group(_)
            | Error::NotExposed { .. }
            | Error::NotStarted { .. }
            | Error::StreamOverrun { .. }
            | Error::StreamEnded { .. }
            | Error::Lagged { .. }
            | Error::WrongType { .. }
            | Error::Misuse(_)
            | Error::Unresponsive { .. }
            | Error::NoRuntime
            | Error::NotInitialised
            | Error::SecondRoot(_)
            | Error::Unsupported { .. }
            | Error::Unsendable { .. }
            | Error::System { .. }
            | Error::User(_)
            | Error::Bug(_) => None,
        }
    }
}

impl From<RemoteError> for Error {
    fn from(remote: RemoteError) -> Error {
        Error::Remote(remote)
    }
}

/// How a call can end instead of with its value.
#[derive(Debug, thiserror::Error)]
pub enum CallError<E> {
    /// The function returned its own error: the value, and where it came from.
    #[error("{1}")]
    Returned(E, RemoteError),
    /// The call failed before, beside or instead of the function: a panic, a death, a cancel, no such function.
    #[error("{0}")]
    Failed(#[source] Error),
}

impl<E> CallError<E> {
    /// The function's own error, if that is what this is.
    pub fn returned(self) -> Option<E> {
        match self {
            CallError::Returned(error, _) => Some(error),
            CallError::Failed(_) => None,
        }
    }
}

impl<E> From<Error> for CallError<E> {
    fn from(error: Error) -> CallError<E> {
        CallError::Failed(error)
    }
}

impl<E> From<CallError<E>> for Error {
    /// The typed value is dropped; the [`RemoteError`] keeps it for [`RemoteError::downcast`].
    fn from(error: CallError<E>) -> Error {
        match error {
            CallError::Returned(_, remote) => Error::Remote(remote),
            CallError::Failed(error) => error,
        }
    }
}

/// What an actor has not done that stands on that rung.
fn not_done(rung: Rung) -> &'static str {
    match rung {
        Rung::Request => "has not acknowledged a cancel",
        Rung::Soft | Rung::Terminate | Rung::Kill | Rung::Abandon => {
            "has acknowledged a cancel and not ended"
        }
    }
}

/// The error type of a function that returns no `Result`: there is no value of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

impl Serialize for Never {
    fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        match *self {}
    }
}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Never, D::Error> {
        Err(serde::de::Error::custom("a value of a type that has none"))
    }
}
