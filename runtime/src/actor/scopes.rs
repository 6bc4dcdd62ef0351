//! The scopes an actor has open, so that none outlives it: one that was leaked, or kept beyond its actor's end, is cancelled then.
//!
//! Filled by `supervise`; emptied by `boot`.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

/// A scope that owns something of the actor's.
pub(crate) trait Scope: Send + Sync {
    /// The actor ends: what the scope owns is made to, and the scope counts as dropped.
    fn end_with_actor(&self, how: ScopeEnd);
}

/// What becomes of what a scope owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScopeEnd {
    Cancelled,
    /// Also if it was cancelled before.
    Killed,
}

#[derive(Default)]
pub(crate) struct Scopes {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    scopes: Vec<Weak<dyn Scope>>,
    /// At this length the list is rid of scopes that are gone: twice what was left the last time.
    sweep_at: usize,
}

/// A list shorter than this is not swept.
const SHORT: usize = 16;

impl Scopes {
    pub(crate) fn enter(&self, scope: Weak<dyn Scope>) {
        let mut list = self.lock();
        if list.scopes.len() >= list.sweep_at.max(SHORT) {
            list.scopes.retain(|scope| scope.strong_count() > 0);
            list.sweep_at = list.scopes.len() * 2;
        }
        list.scopes.push(scope);
    }

    /// Whether none is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().scopes.iter().all(|scope| scope.strong_count() == 0)
    }

    /// Ends all that are open or still ending, the latest first.
    pub(crate) fn end_all(&self, how: ScopeEnd) {
        let scopes: Vec<_> = self.lock().scopes.iter().filter_map(Weak::upgrade).collect();
        scopes.iter().rev().for_each(|scope| scope.end_with_actor(how));
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
