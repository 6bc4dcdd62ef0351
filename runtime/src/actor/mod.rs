//! This actor: who it is, the tasks it owns, and what it was told of its end.
//!
//! An actor's state hangs on its thread, not on the process: on the `thread` backend several actors share a process, and none
//! sees another's. All of an actor's tasks run on its one thread, so what runs there finds its actor here; a thread of
//! tokio's blocking pool belongs to no actor.
//!
//! Used by `rpc` and `supervise`; filled by `boot`. No children and no channels here.

mod lifetime;
mod remains;
mod scopes;
mod tasks;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use uuid::Uuid;

use lifetime::Lifetime;
pub(crate) use remains::{Remains, Remnant, collect, in_place, leave};
pub(crate) use scopes::{Scope, ScopeEnd, Scopes};
pub(crate) use tasks::Tasks;

use crate::error::{ActorId, Error, Result};
use crate::line::Line;
use crate::msg::{Message, Timings, Vars};
use crate::spawn::Backend;
use crate::{log, trace};

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

    /// Which of the lives of its actor this is, from 0: a [supervised](crate::Supervisor) actor may have several.
    pub fn incarnation(&self) -> u64 {
        self.this.incarnation()
    }

    /// Whether it is the root of its tree.
    pub fn is_root(&self) -> bool {
        self.parent().is_none()
    }

    /// Where its parent is reached; `None` at a root.
    pub(crate) fn upward(&self) -> Option<&Arc<Line>> {
        match &self.this.origin {
            Origin::Root => None,
            Origin::Child { upward, .. } => Some(upward),
        }
    }

    /// How long this tree's starts and teardowns may take.
    pub fn timings(&self) -> Timings {
        self.this.vars.timings
    }

    /// The runtime variable of type `T`: as this actor was given it ([`Start::var`](crate::Start::var)), or else the nearest
    /// above it, up to the root ([`RootConfig::var`](crate::RootConfig::var)). `None` if none of them was.
    ///
    /// # Errors
    /// [`Error::Unsendable`] if an actor above runs another program, whose `T` is another.
    pub fn var<T: DeserializeOwned + 'static>(&self) -> Result<Option<T>> {
        self.this.vars.variables.get()
    }

    /// Has `release` run at the end of the actor: after its last task, its children and its state, in reverse order of these
    /// calls, on the actor's thread. One that panics is a failure of the actor, and keeps none of the others from running.
    ///
    /// They run whatever ends the actor: its own end, a cancel, a failure, a panic, the loss of its parent. An entry that comes when
    /// the actor has ended is run at once, by the caller.
    ///
    /// Not, where the actor's code could not be ended first: after the ladder's SIGTERM, which comes when the actor's thread does
    /// not react, after any other signal, an abort, and [`exit`](std::process::exit). Another thread could only release what that
    /// code still uses, under its feet, and wait for the locks it holds; an entry may rely on being the last. On a thread that was
    /// abandoned they run when it ends after all. What has to go even then is for an actor above to release.
    pub fn on_end(&self, release: impl FnOnce() + Send + 'static) {
        self.this.lifetime.push(Box::new(release));
    }
}

/// The state of one actor.
pub(crate) struct ThisActor {
    pub(crate) id: ActorId,
    pub(crate) vars: Vars,
    pub(crate) origin: Origin,
    /// All that must be finished before the actor ends.
    pub(crate) tasks: Tasks,
    pub(crate) scopes: Scopes,
    pub(crate) lifetime: Lifetime,
    ending: Mutex<Option<Told>>,
    ending_changed: Notify,
    unclaimed: Mutex<Vec<Error>>,
}

/// What an actor keeps of its time for saying farewell, when its tasks would take all of it: a tenth, for a machine that is busy is
/// slow at everything, and not less than this.
const LAST_MOMENT: Duration = Duration::from_millis(50);

/// Where an actor comes from.
pub(crate) enum Origin {
    Root,
    Child { backend: Backend, parent: ActorId, incarnation: u64, upward: Arc<Line> },
}

/// What an actor was told of its end.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) by: ActorId,
    pub(crate) deadline: Instant,
}

/// What an actor was told of its end, just now, and what it makes of that.
struct Told {
    ending: Ending,
    /// When its tasks are given up.
    give_up_at: Instant,
}

impl Told {
    fn new(ending: Ending) -> Told {
        let now = Instant::now();
        let left = ending.deadline.saturating_duration_since(now);
        let kept = LAST_MOMENT.max(left / 10);
        Told { ending, give_up_at: now + left.saturating_sub(kept) }
    }
}

impl Ending {
    /// Told just now.
    pub(crate) fn new(by: ActorId, within: Duration) -> Ending {
        let now = Instant::now();
        Ending { by, deadline: now.checked_add(within).unwrap_or(now) }
    }
}

impl ThisActor {
    pub(crate) fn new(id: ActorId, vars: Vars, origin: Origin) -> Arc<ThisActor> {
        Arc::new(ThisActor {
            vars,
            origin,
            tasks: Tasks::new(log::actor(&id)),
            id,
            scopes: Scopes::default(),
            lifetime: Lifetime::default(),
            ending: Mutex::default(),
            ending_changed: Notify::new(),
            unclaimed: Mutex::default(),
        })
    }

    /// Which of the actor's lives this is.
    pub(crate) fn incarnation(&self) -> u64 {
        match &self.origin {
            Origin::Root => 0,
            Origin::Child { incarnation, .. } => *incarnation,
        }
    }

    /// The actor ends, by that time. Told twice, the earlier time holds.
    pub(crate) fn begin_ending(&self, ending: Ending) {
        trace::emit(&self.id, trace::Step::Ending { by: &ending.by });
        let mut slot = self.lock_ending();
        let sooner = slot.as_ref().is_none_or(|told| ending.deadline < told.ending.deadline);
        if sooner {
            *slot = Some(Told::new(ending));
            drop(slot);
            self.ending_changed.notify_waiters();
        }
    }

    /// Returns after `limit`, or when the actor, told to end, has so little time left that what still runs must be given up.
    /// Cancel safe.
    pub(crate) async fn wait_over(&self, limit: Duration) {
        let limit = Instant::now().checked_add(limit);
        loop {
            let changed = self.ending_changed.notified();
            let own = self.lock_ending().as_ref().map(|told| told.give_up_at);
            match own.into_iter().chain(limit).min() {
                None => changed.await,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => return,
                    () = changed => {}
                },
            }
        }
    }

    /// What is left to this actor for tearing down its own children. `None`: nobody set a bound.
    pub(crate) fn remaining(&self, now: Instant) -> Option<Duration> {
        let told = self.lock_ending();
        told.as_ref().map(|told| told.ending.deadline.saturating_duration_since(now))
    }

    /// A step of a teardown below was made; whoever waits for this actor's end may want to know. Says nothing while the
    /// actor is not ending.
    pub(crate) fn report_progress(&self) {
        let is_ending = self.lock_ending().is_some();
        match &self.origin {
            Origin::Root => {}
            // A parent that is gone needs no report.
            Origin::Child { upward, .. } if is_ending => drop(upward.out.push(Message::Progress)),
            Origin::Child { .. } => {}
        }
    }

    /// Takes failures that no scope is left to return. They go to the parent with the actor's last message.
    pub(crate) fn claim_none(&self, failures: impl IntoIterator<Item = Error>) {
        self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).extend(failures);
    }

    fn lock_ending(&self) -> MutexGuard<'_, Option<Told>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
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
