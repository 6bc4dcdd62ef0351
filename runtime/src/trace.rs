//! The trace point: every transition of an actor's state passes here, on its way to whoever listens.
//!
//! Called by `actor`, `rpc`, `supervise`, `boot` and what stands on them, at the place where the transition happens. A listener is
//! one function of the program's, [`install`]ed before there are actors, so that forked ones inherit it. While there is none, a
//! trace point is one relaxed load, and another for the `log`. With one, it is a call with borrowed values: nothing is allocated and no lock is taken, so it
//! works at any time of a forked child's life. Nothing is kept here; a recorder that wants the last events keeps them itself.
#![expect(
    unsafe_code,
    reason = "the listener is kept in an atomic, which holds functions as addresses only"
)]

use std::fmt;
use std::mem::transmute;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use crate::error::{ActorId, Rung, StartStep};
use crate::spawn::Exit;
use crate::{actor, log};

/// What takes the transitions.
///
/// Runs on the actor's thread, in the midst of what it is told of: it must not block, must not panic, must not call into this
/// crate. In a forked actor it runs also before that actor's own code, when locks that other threads of the parent held at the
/// fork are still closed: it is safest if it takes none and does not allocate.
pub type Listener = fn(&Transition<'_>);

static LISTENER: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// Has `listener` told of every transition in this process, and in all that are forked from it. An actor with a fresh image installs
/// its own: to be called before [`divert`](crate::divert), like [`on_actor_start`](crate::on_actor_start). A second call replaces
/// the first.
pub fn install(listener: Listener) {
    LISTENER.store(listener as *mut (), Ordering::Release);
}

/// A change of an actor's state.
///
/// [`Display`](fmt::Display) writes it as one line, without allocating.
#[derive(Clone, Copy, Debug)]
pub struct Transition<'a> {
    /// The actor that saw it. `None` on a thread that runs none, as when a portal is used there.
    pub here: Option<&'a ActorId>,
    /// The actor it is about: itself, a child, or whoever is at the other end.
    pub about: &'a ActorId,
    /// What happened.
    pub step: Step<'a>,
}

/// What happened to an actor, or between two.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// Its parent has begun this step of its start.
    Start(StartStep),
    /// Its parent was told that it serves.
    Ready,
    /// It serves; told by itself.
    Serving,
    /// It begins to serve a call; told by itself.
    Begun {
        /// The function, as its path.
        function: &'a str,
    },
    /// Its parent asked it to end.
    CancelSent {
        /// Who wanted it.
        by: &'a ActorId,
        /// How long it was told it has.
        within: Duration,
    },
    /// It told its parent that it ends.
    CancelAcked,
    /// It begins to end; told by itself.
    Ending {
        /// Who wanted it; itself if its parent is gone.
        by: &'a ActorId,
    },
    /// Its parent took this rung of the ladder.
    Rung(Rung),
    /// It has ended; told by its parent.
    Exit(&'a Exit),
    /// A task of `here` waits for it.
    Blocked(Wait<'a>),
    /// A task of `here` no longer waits for it.
    Unblocked(Wait<'a>),
    /// The context `id` between the two is now in this state, as seen by `here`.
    Context {
        /// Its number on the channel.
        id: u64,
        /// Its state.
        state: ContextState,
    },
}

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait<'a> {
    /// The value of a call.
    Call {
        /// The function, as its path.
        function: &'a str,
    },
    /// The peer's `started`, or the end of a context.
    Context {
        /// Its number on the channel.
        id: u64,
    },
    /// The next item of a stream.
    Item {
        /// The number of its context.
        id: u64,
    },
    /// Room to send the next item of a stream.
    Credit {
        /// The number of its context.
        id: u64,
    },
    /// The end of the children of a nursery of `here`.
    Nursery,
    /// The end of the actor.
    End,
}

/// The state of one end of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContextState {
    /// The task that is to serve it has not been begun.
    PreStarted,
    /// It runs, and has not said `started`.
    Syncing,
    /// `started` was said.
    Started,
    /// A stream is open.
    Streaming,
    /// The stream has ended, the task has not.
    StreamFinished,
    /// The task has returned its value.
    Returned,
    /// It was cancelled by this end.
    SelfCancelled,
    /// It was cancelled by the other end.
    PeerCancelled,
    /// The actor at one end of it was cancelled.
    ActorCancelled,
    /// The task failed.
    Errored,
}

/// Tells of a transition, if anybody listens.
#[inline]
pub(crate) fn emit(about: &ActorId, step: Step<'_>) {
    if !LISTENER.load(Ordering::Relaxed).is_null() {
        tell(about, step);
    }
    log::transition(about, step);
}

/// Tells that a task waits for `about`, and when the guard is dropped, that it no longer does.
#[must_use]
pub(crate) fn blocked<'a>(about: &'a ActorId, wait: Wait<'a>) -> Blocked<'a> {
    emit(about, Step::Blocked(wait));
    Blocked { about, wait }
}

/// While it lives, a task waits.
pub(crate) struct Blocked<'a> {
    about: &'a ActorId,
    wait: Wait<'a>,
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        emit(self.about, Step::Unblocked(self.wait));
    }
}

#[cold]
fn tell(about: &ActorId, step: Step<'_>) {
    if let Some(listener) = listener() {
        let here = actor::this().ok();
        listener(&Transition { here: here.as_deref().map(|this| &this.id), about, step });
    }
}

fn listener() -> Option<Listener> {
    let address = LISTENER.load(Ordering::Acquire);
    // SAFETY: only `install` stores here, and only the addresses of such functions; null is `None`.
    unsafe { transmute::<*mut (), Option<Listener>>(address) }
}

impl fmt::Display for Transition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.here != Some(self.about) {
            write!(f, "{}: ", self.about)?;
        }
        self.step.fmt(f)
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Start(step) => write!(f, "start: {step}"),
            Step::Ready => f.write_str("ready"),
            Step::Serving => f.write_str("serving"),
            Step::Begun { function } => write!(f, "begins {function}"),
            Step::CancelSent { by, within } => {
                write!(f, "cancel sent for {by}, {} ms to end", within.as_millis())
            }
            Step::CancelAcked => f.write_str("cancel acknowledged"),
            Step::Ending { by } => write!(f, "ending, cancelled by {by}"),
            Step::Rung(rung) => write!(f, "rung: {rung}"),
            Step::Exit(exit) => write!(f, "ended: {exit}"),
            Step::Blocked(wait) => write!(f, "waiting for {wait}"),
            Step::Unblocked(wait) => write!(f, "waited for {wait}"),
            Step::Context { id, state } => write!(f, "context {id} {state}"),
        }
    }
}

impl fmt::Display for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Call { function } => write!(f, "a call of {function}"),
            Wait::Context { id } => write!(f, "context {id}"),
            Wait::Item { id } => write!(f, "an item of context {id}"),
            Wait::Credit { id } => write!(f, "room in context {id}"),
            Wait::Nursery => f.write_str("its nursery's children"),
            Wait::End => f.write_str("its end"),
        }
    }
}

impl fmt::Display for ContextState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ContextState::PreStarted => "pre-started",
            ContextState::Syncing => "syncing",
            ContextState::Started => "started",
            ContextState::Streaming => "streaming",
            ContextState::StreamFinished => "stream finished",
            ContextState::Returned => "returned",
            ContextState::SelfCancelled => "self-cancelled",
            ContextState::PeerCancelled => "peer-cancelled",
            ContextState::ActorCancelled => "actor-cancelled",
            ContextState::Errored => "errored",
        })
    }
}
