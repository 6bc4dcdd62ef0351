//! Whose process this is: that of a root, while it runs, or of an actor. Either way no root can begin in it.
//!
//! Read without waiting: in a fork, a lock that another thread held stays closed.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::actor;
use crate::error::{ActorId, Error, Result};

static OCCUPIED: AtomicBool = AtomicBool::new(false);

/// By whom, as far as that could be noted.
static OCCUPANT: RwLock<Option<ActorId>> = RwLock::new(None);

/// While it lives, this process is that of a root.
pub(super) struct Home(());

impl Home {
    /// For a root.
    ///
    /// # Errors
    /// [`Error::SecondRoot`] with the actor whose thread or process this is.
    pub(super) fn claim(root: &ActorId) -> Result<Home> {
        if let Ok(this) = actor::this() {
            return Err(Error::SecondRoot(this.id.clone()));
        }
        if OCCUPIED.swap(true, Ordering::AcqRel) {
            return Err(Error::SecondRoot(occupant()));
        }
        note(Some(root.clone()));
        Ok(Home(()))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        note(None);
        OCCUPIED.store(false, Ordering::Release);
    }
}

/// For the one actor whose process this is, to its end. A thread's process belongs to another.
pub(super) fn settle(actor: &ActorId) {
    OCCUPIED.store(true, Ordering::Release);
    note(Some(actor.clone()));
}

fn note(occupant: Option<ActorId>) {
    if let Ok(mut slot) = OCCUPANT.try_write() {
        *slot = occupant;
    }
}

fn occupant() -> ActorId {
    let known = OCCUPANT.try_read().ok().and_then(|slot| slot.clone());
    known.unwrap_or_else(|| ActorId { name: "(unknown)".to_owned(), uuid: uuid::Uuid::nil() })
}
