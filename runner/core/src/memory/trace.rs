//! The last words of trace points: a ring of short texts that every process of an attempt writes
//! without a lock, a system call (but the clock's, where there is no vDSO) or an allocation.
//!
//! A writer takes the next number, empties that place's tag, fills it and stores the tag that only
//! this number of this attempt has. Whoever dies in between leaves a place without a tag, which is
//! skipped; a reader looks at the tag before and after.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::protocol::TraceEvent;

/// Bytes kept of one event; the rest is cut.
pub const TRACE_EVENT_BYTES: usize = 168;

/// Places in the ring.
const EVENTS: usize = 2048;
/// So many are told whoever they are of …
const TOLD: usize = 128;
/// … and of each thread so many, if the ring still has them.
const TOLD_OF_THREAD: usize = 8;

const WORDS: usize = TRACE_EVENT_BYTES / 8;

#[repr(C)]
pub(super) struct Ring {
    next: AtomicU64,
    events: [Event; EVENTS],
}

#[repr(C)]
struct Event {
    tag: AtomicU64,
    time_ns: AtomicU64,
    /// Process and thread.
    writer: AtomicU64,
    length: AtomicU64,
    text: [AtomicU64; WORDS],
}

impl Ring {
    /// Old events need not be wiped: their tags are of another nonce.
    pub(super) fn reset(&self) {
        self.next.store(0, Ordering::Relaxed);
    }

    pub(super) fn push(&self, nonce: u64, time_ns: u64, (pid, tid): (i32, i32), text: &[u8]) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let event = self.place(number);
        event.tag.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        let text = &text[..text.len().min(TRACE_EVENT_BYTES)];
        let writer = u64::from(pid.cast_unsigned()) << 32 | u64::from(tid.cast_unsigned());
        event.time_ns.store(time_ns, Ordering::Relaxed);
        event.writer.store(writer, Ordering::Relaxed);
        event.length.store(text.len() as u64, Ordering::Relaxed);
        for (word, bytes) in event.text.iter().zip(text.chunks(8)) {
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
        event.tag.store(tag(nonce, number), Ordering::Release);
    }

    /// Oldest first.
    pub(super) fn last(&self, nonce: u64) -> Vec<TraceEvent> {
        let next = self.next.load(Ordering::Acquire);
        let numbers = next.saturating_sub(EVENTS as u64)..next;
        let mut of_thread: HashMap<(i32, i32), usize> = HashMap::new();
        let mut told = Vec::new();
        for event in numbers.rev().filter_map(|number| self.place(number).read(nonce, number)) {
            let of_thread = of_thread.entry((event.pid, event.tid)).or_default();
            *of_thread += 1;
            if told.len() < TOLD || *of_thread <= TOLD_OF_THREAD {
                told.push(event);
            }
        }
        told.reverse();
        told
    }

    fn place(&self, number: u64) -> &Event {
        &self.events[(number % EVENTS as u64) as usize]
    }
}

impl Event {
    fn read(&self, nonce: u64, number: u64) -> Option<TraceEvent> {
        let is_whole = || self.tag.load(Ordering::Acquire) == tag(nonce, number);
        if !is_whole() {
            return None;
        }
        let writer = self.writer.load(Ordering::Relaxed);
        let length = self.length.load(Ordering::Relaxed) as usize;
        let words = self.text.iter().map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let bytes: Vec<u8> = words.flatten().take(length).collect();
        let event = TraceEvent {
            time: Duration::from_nanos(self.time_ns.load(Ordering::Relaxed)),
            pid: ((writer >> 32) as u32).cast_signed(),
            tid: (writer as u32).cast_signed(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        };
        fence(Ordering::Acquire);
        is_whole().then_some(event)
    }
}

/// Wraps: the next number may have been written over, and no trace point panics.
fn tag(nonce: u64, number: u64) -> u64 {
    nonce ^ number.wrapping_add(1)
}
