//! Threads that died of a panic, of every process of an attempt: noted by the panicking thread
//! itself, before it unwinds, and claimed by whoever joins it. What is left unclaimed nobody heard.

use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::protocol::DetachedPanic;

/// Of so many in an attempt the words are kept.
const PANICS: usize = 32;

#[repr(C)]
pub(super) struct Panics {
    next: AtomicU32,
    places: [Place; PANICS],
}

#[repr(C)]
struct Place {
    state: AtomicU32,
    pid: AtomicI32,
    /// What its process calls the thread.
    thread: AtomicU64,
    name: Text<64>,
    location: Text<192>,
    message: Text<512>,
}

#[repr(C)]
struct Text<const BYTES: usize> {
    length: AtomicU32,
    bytes: [AtomicU8; BYTES],
}

const EMPTY: u32 = 0;
/// It can still be joined.
const JOINABLE: u32 = 1;
/// Nobody can join it any more.
const DETACHED: u32 = 2;
const CLAIMED: u32 = 3;

/// Whether somebody can still join a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joinable {
    /// Somebody has its handle.
    Yes,
    /// Its handle was dropped.
    No,
}

/// A thread, as its own process knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadKey {
    /// Its process.
    pub pid: i32,
    /// What its process calls it: a `pthread_t`.
    pub thread: u64,
}

impl Panics {
    pub(super) fn reset(&self) {
        let used = self.next.swap(0, Ordering::Relaxed) as usize;
        for place in self.places.iter().take(used) {
            place.state.store(EMPTY, Ordering::Relaxed);
        }
    }

    pub(super) fn note(&self, key: ThreadKey, joinable: Joinable, words: &DetachedPanic) {
        let index = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        let Some(place) = self.places.get(index) else {
            return;
        };
        place.pid.store(key.pid, Ordering::Relaxed);
        place.thread.store(key.thread, Ordering::Relaxed);
        place.name.set(&words.thread);
        place.location.set(&words.location);
        place.message.set(&words.message);
        let state = match joinable {
            Joinable::Yes => JOINABLE,
            Joinable::No => DETACHED,
        };
        place.state.store(state, Ordering::Release);
    }

    pub(super) fn joined(&self, key: ThreadKey) {
        self.of(key).for_each(|place| place.leave(JOINABLE, CLAIMED));
    }

    pub(super) fn detached(&self, key: ThreadKey) {
        self.of(key).for_each(|place| place.leave(JOINABLE, DETACHED));
    }

    pub(super) fn claim_all(&self, pid: i32) {
        for place in self.places.iter().filter(|place| place.pid.load(Ordering::Relaxed) == pid) {
            place.leave(JOINABLE, CLAIMED);
            place.leave(DETACHED, CLAIMED);
        }
    }

    pub(super) fn unclaimed(&self) -> Vec<DetachedPanic> {
        let used = self.next.load(Ordering::Acquire) as usize;
        let unclaimed =
            |place: &&Place| matches!(place.state.load(Ordering::Acquire), JOINABLE | DETACHED);
        self.places.iter().take(used).filter(unclaimed).map(Place::read).collect()
    }

    fn of(&self, key: ThreadKey) -> impl Iterator<Item = &Place> {
        let used = self.next.load(Ordering::Acquire) as usize;
        self.places.iter().take(used).filter(move |place| place.key() == key)
    }
}

impl Place {
    fn key(&self) -> ThreadKey {
        let thread = self.thread.load(Ordering::Relaxed);
        ThreadKey { pid: self.pid.load(Ordering::Relaxed), thread }
    }

    /// Another state already: somebody was first, which is as well.
    fn leave(&self, from: u32, to: u32) {
        let (won, lost) = (Ordering::AcqRel, Ordering::Relaxed);
        let _ = self.state.compare_exchange(from, to, won, lost);
    }

    fn read(&self) -> DetachedPanic {
        DetachedPanic {
            pid: self.pid.load(Ordering::Relaxed),
            thread: self.name.get(),
            message: self.message.get(),
            location: self.location.get(),
        }
    }
}

impl<const BYTES: usize> Text<BYTES> {
    /// Its beginning, if it is too long.
    fn set(&self, text: &str) {
        for (place, byte) in self.bytes.iter().zip(text.as_bytes()) {
            place.store(*byte, Ordering::Relaxed);
        }
        self.length.store(text.len().min(BYTES) as u32, Ordering::Relaxed);
    }

    fn get(&self) -> String {
        let length = self.length.load(Ordering::Relaxed) as usize;
        let bytes: Vec<u8> =
            self.bytes.iter().take(length).map(|byte| byte.load(Ordering::Relaxed)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
