//! The post of an actor that is started again and again: what its portal holds, while its lives come and go.
//!
//! ```text
//!         hold               vacate               close
//! Vacant ──────► Held(line) ────────► Vacant ──────────────► Closed ── vacate, hold ──► …
//! ```
//!
//! Filled by `supervise`, as the plan of a supervisor goes; asked by `rpc`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Ended, Line};
use crate::error::ActorId;

pub(crate) struct Post {
    /// All lives of an actor are the same actor.
    pub(crate) actor: ActorId,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    holder: Holder,
    /// The latest that held it.
    latest: Option<Arc<Line>>,
}

enum Holder {
    Vacant,
    Held(Arc<Line>),
    /// Nobody holds it, nor is to.
    Closed(Ended),
}

/// Whether an actor that may be restarted runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// It does.
    Up,
    /// It is starting, or being stopped to be started again.
    Between,
    /// It does not, and will not unless somebody starts it.
    Over,
}

impl Post {
    pub(crate) fn new(actor: ActorId) -> Arc<Post> {
        let state = State { holder: Holder::Vacant, latest: None };
        Arc::new(Post { actor, state: Mutex::new(state), changed: Notify::new() })
    }

    pub(crate) fn hold(&self, line: &Arc<Line>) {
        let mut state = self.lock();
        state.holder = Holder::Held(Arc::clone(line));
        state.latest = Some(Arc::clone(line));
        drop(state);
        self.changed.notify_waiters();
    }

    pub(crate) fn vacate(&self) {
        self.lock().holder = Holder::Vacant;
        self.changed.notify_waiters();
    }

    pub(crate) fn close(&self, ended: Ended) {
        self.lock().holder = Holder::Closed(ended);
        self.changed.notify_waiters();
    }

    pub(crate) fn presence(&self) -> Presence {
        match self.lock().holder {
            Holder::Vacant => Presence::Between,
            Holder::Held(_) => Presence::Up,
            Holder::Closed(_) => Presence::Over,
        }
    }

    /// The latest that held it, who may have ended.
    pub(crate) fn latest(&self) -> Option<Arc<Line>> {
        self.lock().latest.clone()
    }

    /// Who holds it, in a life after `over`: while nobody does, the next. A holder whose end was told does not count any more.
    /// Cancel safe.
    pub(crate) async fn wait_held(&self, over: Option<u64>) -> Result<Arc<Line>, Ended> {
        loop {
            let changed = self.changed.notified();
            match &self.lock().holder {
                Holder::Held(line) if line.is_after(over) && line.calls.ended().is_none() => {
                    return Ok(Arc::clone(line));
                }
                Holder::Held(_) | Holder::Vacant => {}
                Holder::Closed(ended) => return Err(ended.clone()),
            }
            changed.await;
        }
    }

    /// Returns when nobody holds it, nor is to. Cancel safe.
    pub(crate) async fn wait_closed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.presence() == Presence::Over {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
