//! What this layer keeps once per process: its threads, its queues, its side-car.
//!
//! One value behind one pointer, so that a forked child can leave its parent's (whose locks other threads may have
//! held at the fork) untouched and begin anew.
#![expect(unsafe_code, reason = "a static that is replaced after a fork")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::family::Family;
use super::forkserver::Sidecars;
use super::main_loop::ForkRequests;
use super::reaper::Reaper;
use super::spawner::Spawner;
use super::thread::Quarantine;

#[derive(Default)]
pub(super) struct Globals {
    pub(super) family: Family,
    pub(super) spawner: Spawner,
    pub(super) reaper: Reaper,
    pub(super) fork_requests: ForkRequests,
    pub(super) sidecars: Sidecars,
    pub(super) quarantine: Quarantine,
}

static CURRENT: AtomicPtr<Globals> = AtomicPtr::new(ptr::null_mut());

/// This process's.
pub(super) fn globals() -> &'static Globals {
    let current = CURRENT.load(Ordering::Acquire);
    if current.is_null() { first() } else { by_pointer(current) }
}

/// Begins anew, in a forked child that has one thread. The parent's are leaked: dropping them would touch locks
/// that are held for ever.
pub(super) fn renew() {
    CURRENT.store(Box::into_raw(Box::default()), Ordering::Release);
}

#[cold]
fn first() -> &'static Globals {
    let mine = Box::into_raw(Box::<Globals>::default());
    match CURRENT.compare_exchange(ptr::null_mut(), mine, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => by_pointer(mine),
        Err(theirs) => {
            // SAFETY: made above from a box and given to nobody.
            drop(unsafe { Box::from_raw(mine) });
            by_pointer(theirs)
        }
    }
}

fn by_pointer(current: *mut Globals) -> &'static Globals {
    // SAFETY: `CURRENT` only ever holds null or a leaked box, and the callers have excluded null.
    unsafe { &*current }
}
