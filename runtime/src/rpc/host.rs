//! What this actor serves to whoever reaches it: its doors.
//!
//! ```text
//! Shut ── ready ──► Open ── told to end ──► Ending
//! ```
//!
//! One for an actor, on its thread; the servers of all its channels come here to begin a call. `boot` opens and ends it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::Notify;

use super::function::{AnyState, Entry, Exposure};
use super::peers::Peers;
use super::portal::Portal;
use crate::actor::{ActorInfo, Origin, ThisActor};
use crate::error::{ActorId, Error, Result};
use crate::line::{Answer, Cut, Strand};
use crate::msg::{Failure, shown};
use crate::trace::{self, Step};

/// What one actor serves.
pub(crate) struct Host {
    pub(super) this: Arc<ThisActor>,
    doors: RefCell<Doors>,
    /// The calls that run, by channel. A channel that is gone leaves a dead entry, cleared when the next channel comes.
    tables: RefCell<Vec<Weak<Table>>>,
    pub(super) peers: Peers,
    asked: RefCell<Option<ActorId>>,
    was_asked: Notify,
}

/// The tasks that one channel's peer has begun, by its numbers.
pub(super) type Table = RefCell<BTreeMap<u64, Served>>;

/// A task that a peer has begun.
pub(super) enum Served {
    Call(Cut),
    Context(Arc<Strand>),
}

impl Served {
    /// It is to end, as `by` wants.
    pub(super) fn cancel(&self, by: &ActorId) {
        match self {
            Served::Call(cut) => cut.cut(),
            Served::Context(strand) => strand.on_cancel(by),
        }
    }
}

enum Doors {
    /// Its state is being made.
    Shut,
    Open {
        exposure: Exposure,
        state: Option<AnyState>,
    },
    Ending {
        by: ActorId,
    },
}

thread_local! {
    static HOST: RefCell<Option<Rc<Host>>> = const { RefCell::new(None) };
}

/// Gives the actor of this thread its doors, shut, until the guard is dropped.
#[must_use]
pub(crate) fn enter(this: Arc<ThisActor>) -> Entered {
    let peers = Peers::new(this.tasks.span());
    let host = Rc::new(Host {
        this,
        doors: RefCell::new(Doors::Shut),
        tables: RefCell::default(),
        peers,
        asked: RefCell::default(),
        was_asked: Notify::new(),
    });
    reenter(host)
}

/// Gives this thread the doors of an actor that left it meanwhile.
#[must_use]
pub(crate) fn reenter(host: Rc<Host>) -> Entered {
    HOST.set(Some(Rc::clone(&host)));
    Entered { host }
}

/// While it lives, the actor of this thread can be reached.
pub(crate) struct Entered {
    host: Rc<Host>,
}

impl Entered {
    pub(crate) fn host(&self) -> &Rc<Host> {
        &self.host
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        HOST.set(None);
    }
}

impl Host {
    /// Of the actor of this thread.
    pub(crate) fn here() -> Result<Rc<Host>> {
        // Also where the thread ends: an end of a channel may be kept so long.
        let host = HOST.try_with(|host| host.borrow().clone());
        host.ok().flatten().ok_or(Error::NoRuntime)
    }

    pub(crate) fn id(&self) -> &ActorId {
        &self.this.id
    }

    /// Which of the actor's lives this is.
    pub(crate) fn incarnation(&self) -> u64 {
        self.this.incarnation()
    }

    /// Who made this actor end, if it is ending.
    pub(crate) fn ended_by(&self) -> Option<ActorId> {
        match &*self.doors.borrow() {
            Doors::Shut | Doors::Open { .. } => None,
            Doors::Ending { by } => Some(by.clone()),
        }
    }

    /// From now on calls are served.
    pub(crate) fn open(&self, exposure: Exposure, state: Option<AnyState>) {
        self.doors.replace(Doors::Open { exposure, state });
    }

    /// Ends all calls and refuses those that come later, then lets go of the state. That they were cancelled is told by the
    /// actor's end.
    ///
    /// The calls' tasks are gone once the actor's tasks are idle, and so is the state: it is dropped by a task, because its
    /// destructor is the user's, and may hold nurseries whose children are then cancelled and waited for.
    pub(crate) fn end(&self, by: &ActorId) {
        let doors = self.doors.replace(Doors::Ending { by: by.clone() });
        for table in self.tables.borrow().iter().filter_map(Weak::upgrade) {
            cancel_all(&table, by);
        }
        self.say_ending(by);
        if let Doors::Open { state: Some(state), .. } = doors {
            self.this.tasks.spawn(async move { drop(state) });
        }
    }

    /// A peer wants this actor to end.
    pub(super) fn ask_end(&self, by: &ActorId) -> Answer {
        match self.this.origin {
            Origin::Root => Answer::Refused,
            Origin::Child { .. } => {
                self.asked.borrow_mut().get_or_insert_with(|| by.clone());
                self.was_asked.notify_one();
                Answer::Heard
            }
        }
    }

    /// Returns when a peer has asked for this actor's end, and who it was. Cancel safe.
    pub(crate) async fn wait_asked(&self) -> ActorId {
        loop {
            if let Some(by) = self.asked.borrow().clone() {
                return by;
            }
            self.was_asked.notified().await;
        }
    }

    /// The place for what a new channel's peer will begin.
    pub(super) fn admit(&self) -> Rc<Table> {
        let table = Rc::default();
        let mut tables = self.tables.borrow_mut();
        tables.retain(|table| table.strong_count() > 0);
        tables.push(Rc::downgrade(&table));
        table
    }

    /// What is exposed under that name to all, or was `offered` to this caller; and the state, if there is one.
    pub(super) fn find(
        &self,
        offered: &Exposure,
        function: &str,
        fingerprint: u64,
    ) -> Result<Found, Failure> {
        let doors = self.doors.borrow();
        let (exposed, state) = match &*doors {
            Doors::Shut => (None, None),
            Doors::Open { exposure, state } => (exposure.get(function), state.clone()),
            Doors::Ending { by } => return Err(Failure::Cancelled { by: by.clone() }),
        };
        let entry = exposed.or_else(|| offered.get(function)).ok_or(Failure::NotExposed)?;
        if !entry.is_meant(fingerprint) {
            return Err(Failure::OtherTypes);
        }
        trace::emit(&self.this.id, Step::Begun { function: shown(function) });
        Ok(Found { entry, state })
    }
}

/// What a caller asked for.
pub(super) struct Found {
    pub(super) entry: &'static Entry,
    pub(super) state: Option<AnyState>,
}

/// Ends what a channel's peer has begun, as `by` wants.
pub(super) fn cancel_all(table: &Table, by: &ActorId) {
    // Woken, no task runs before this function has returned.
    table.borrow().values().for_each(|served| served.cancel(by));
}

impl ActorInfo {
    /// The parent, as seen from here: it can be called, and serves what was exposed of it when it was started, and what it
    /// offers to this child. `None` at a root.
    pub fn parent_portal(&self) -> Option<Portal> {
        self.upward().cloned().map(Portal::new)
    }
}
