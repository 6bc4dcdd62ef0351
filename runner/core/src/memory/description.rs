//! What the suite's hook says of its actors and tasks: asked for by the supervisor, written by the
//! watchdog as it comes, so that a hook that hangs or dies has still said something.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

const BYTES: usize = 64 << 10;

#[repr(C)]
pub(super) struct Description {
    state: AtomicU32,
    length: AtomicU32,
    text: [AtomicU8; BYTES],
}

const NONE: u32 = 0;
const ASKED: u32 = 1;
const WRITING: u32 = 2;
const WRITTEN: u32 = 3;

impl Description {
    pub(super) fn reset(&self) {
        self.length.store(0, Ordering::Relaxed);
        self.state.store(NONE, Ordering::Release);
    }

    /// Asks for a fresh one; false while one is being written.
    pub(super) fn ask(&self) -> bool {
        let (asked, order) = (|state| (state != WRITING).then_some(ASKED), Ordering::AcqRel);
        self.state.fetch_update(order, Ordering::Acquire, asked).is_ok()
    }

    pub(super) fn is_asked(&self) -> bool {
        self.state.load(Ordering::Acquire) == ASKED
    }

    pub(super) fn begin(&self) {
        self.length.store(0, Ordering::Relaxed);
        self.state.store(WRITING, Ordering::Release);
    }

    pub(super) fn end(&self) {
        self.state.store(WRITTEN, Ordering::Release);
    }

    pub(super) fn is_written(&self) -> bool {
        self.state.load(Ordering::Acquire) == WRITTEN
    }

    /// What does not fit is dropped.
    fn append(&self, bytes: &[u8]) {
        let length = self.length.load(Ordering::Relaxed) as usize;
        let room = self.text.get(length..).unwrap_or_default();
        for (place, byte) in room.iter().zip(bytes) {
            place.store(*byte, Ordering::Relaxed);
        }
        let length = length + bytes.len().min(room.len());
        self.length.store(length as u32, Ordering::Release);
    }

    /// What was said so far, and whether that is all; `None` for nothing.
    pub(super) fn read(&self) -> Option<String> {
        let state = self.state.load(Ordering::Acquire);
        let length = self.length.load(Ordering::Acquire) as usize;
        let bytes = self.text.iter().take(length).map(|byte| byte.load(Ordering::Relaxed));
        let bytes: Vec<u8> = bytes.collect();
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if state == WRITING {
            text.push_str("\n(the hook that tells this did not come to an end)\n");
        }
        (!text.is_empty()).then_some(text)
    }
}

/// Where a hook writes.
pub struct DescriptionWriter<'a> {
    pub(super) description: &'a Description,
}

impl io::Write for DescriptionWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.description.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
