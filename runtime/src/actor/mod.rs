//! This actor: who it is, the tasks it owns, and what it was told of its end.
//!
//! An actor's state hangs on its thread, not on the process: on the `thread` backend several actors share a process, and none
//! sees another's. All of an actor's tasks run on its one thread, so what runs there finds its actor here; a thread of
//! tokio's blocking pool belongs to no actor.
//!
//! Used by `rpc` and `supervise`; filled by `boot`. No children and no channels here.

mod tasks;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

pub(crate) use tasks::Tasks;

use crate::error::{ActorId, Error, Result};
use crate::ipc::Sender;
use crate::msg::{Message, Timings, Vars};
use crate::spawn::Backend;
use crate::trace;

/// The actor around the caller.
///
/// # Errors
/// [`Error::NoRuntime`] if this thread runs none.
pub fn current() -> Result<ActorInfo> {
    this().map(|this| ActorInfo { this })
}

/// What an actor knows of itself.
#[derive(Clone)]
pub struct ActorInfo {
    this: Arc<ThisActor>,
}

impl ActorInfo {
    /// Name and uuid.
    pub fn id(&self) -> &ActorId {
        &self.this.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.this.id.name
    }

    /// Its identity.
    pub fn uuid(&self) -> Uuid {
        self.this.id.uuid
    }

    /// The process it runs in, which on `thread` is its parent's.
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// How it came to be; `None` for a root.
    pub fn backend(&self) -> Option<Backend> {
        match &self.this.origin {
            Origin::Root => None,
            Origin::Child { backend, .. } => Some(*backend),
        }
    }

    /// The backend of a child for which none is named.
    pub fn default_backend(&self) -> Backend {
        self.this.vars.backend
    }

    /// Who started it; `None` for a root.
    pub fn parent(&self) -> Option<&ActorId> {
        match &self.this.origin {
            Origin::Root => None,
            Origin::Child { parent, .. } => Some(parent),
        }
    }

    /// Whether it is the root of its tree.
    pub fn is_root(&self) -> bool {
        self.parent().is_none()
    }

    /// How long this tree's starts and teardowns may take.
    pub fn timings(&self) -> Timings {
        self.this.vars.timings
    }
}

/// The state of one actor.
pub(crate) struct ThisActor {
    pub(crate) id: ActorId,
    pub(crate) vars: Vars,
    pub(crate) origin: Origin,
    /// All that must be finished before the actor ends.
    pub(crate) tasks: Tasks,
    ending: Mutex<Option<Ending>>,
    unclaimed: Mutex<Vec<Error>>,
}

/// Where an actor comes from.
pub(crate) enum Origin {
    Root,
    Child { backend: Backend, parent: ActorId, upward: Sender },
}

/// What an actor was told of its end.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) by: ActorId,
    pub(crate) deadline: Instant,
}

impl ThisActor {
    pub(crate) fn new(id: ActorId, vars: Vars, origin: Origin) -> Arc<ThisActor> {
        Arc::new(ThisActor {
            id,
            vars,
            origin,
            tasks: Tasks::default(),
            ending: Mutex::default(),
            unclaimed: Mutex::default(),
        })
    }

    /// The actor ends, by that time. Told twice, the earlier time holds.
    pub(crate) fn begin_ending(&self, ending: Ending) {
        trace::emit(&self.id, trace::Step::Ending { by: &ending.by });
        let mut slot = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        let sooner = slot.as_ref().is_none_or(|earlier| ending.deadline < earlier.deadline);
        if sooner {
            *slot = Some(ending);
        }
    }

    /// What is left to this actor for tearing down its own children. `None`: nobody set a bound.
    pub(crate) fn remaining(&self, now: Instant) -> Option<Duration> {
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        ending.as_ref().map(|ending| ending.deadline.saturating_duration_since(now))
    }

    /// A step of a teardown below was made; whoever waits for this actor's end may want to know. Says nothing while the
    /// actor is not ending.
    pub(crate) fn report_progress(&self) {
        let is_ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        match &self.origin {
            Origin::Root => {}
            // A parent that is gone needs no report.
            Origin::Child { upward, .. } if is_ending => drop(upward.push(Message::Progress)),
            Origin::Child { .. } => {}
        }
    }

    /// Takes failures that no scope is left to return. They go to the parent with the actor's last message.
    pub(crate) fn claim_none(&self, failures: impl IntoIterator<Item = Error>) {
        self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).extend(failures);
    }

    /// The failures that no scope was left to return.
    pub(crate) fn take_unclaimed(&self) -> Vec<Error> {
        std::mem::take(&mut *self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<ThisActor>>> = const { RefCell::new(None) };
}

/// The actor of this thread.
pub(crate) fn this() -> Result<Arc<ThisActor>> {
    CURRENT.with_borrow(Clone::clone).ok_or(Error::NoRuntime)
}

/// Makes `actor` this thread's, until the guard is dropped.
#[must_use]
pub(crate) fn enter(actor: Arc<ThisActor>) -> Entered {
    CURRENT.set(Some(actor));
    Entered
}

/// While it lives, the thread runs an actor.
pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}
