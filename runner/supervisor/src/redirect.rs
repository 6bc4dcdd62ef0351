//! Capture by fds: 1 and 2 of an attempt are a memory file, not a pipe.
//!
//! No writer ever waits for a reader, and no process that outlives its parent keeps anything open
//! that is waited for. Both fds are one open file that appends: what was written stands in the
//! order of the writes, of all processes and both streams. Which stream it was is not kept: with a
//! file for each there would be no order between them, and the order tells more.
//!
//! The file is bounded from outside. While the attempt runs the supervisor looks how long it is,
//! and gives back the pages between its beginning and its end; both are wanted after a flood. A
//! seal would bound it too, but by failing the program's writes. What a writer copies between two
//! looks comes on top of the bound, and the looks come the closer the faster it writes.
//!
//! Called by `serve`. When the attempt is over the text goes where every other capture goes, into
//! the attempt's memory: nobody else need know how it was taken.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout, ftruncate};
use runner_core::memory::{Memory, Stream, Writer};
use runner_core::report::BODY_THREAD;

/// Between two looks at a file that does not grow fast.
const CALM: Duration = Duration::from_millis(20);
/// Between two looks at one that does.
const FLOOD: Duration = Duration::from_millis(2);
/// Read at once while the text is moved.
const CHUNK_BYTES: usize = 64 << 10;
/// Holes are made of whole pages.
const PAGE_BYTES: u64 = 4096;

/// The file behind fds 1 and 2, used by attempt after attempt.
#[derive(Debug)]
pub(crate) struct Redirect {
    file: File,
    /// So much is kept of the beginning, and as much of the end.
    kept_bytes: u64,
    /// Up to here the middle was given back.
    freed_until: u64,
    seen_bytes: u64,
    next_look: Instant,
}

impl Redirect {
    /// For attempts whose output goes to `memory`.
    pub(crate) fn new(memory: &Memory) -> io::Result<Self> {
        let file = memfd_create(c"runner-output", MFdFlags::MFD_CLOEXEC)?.into();
        // Each chunk becomes a record, with a header: there is room for that too.
        let kept_bytes = (memory.room_bytes() * 15 / 32) / PAGE_BYTES * PAGE_BYTES;
        let next_look = Instant::now();
        Ok(Self { file, kept_bytes, freed_until: kept_bytes, seen_bytes: 0, next_look })
    }

    /// Forgets the last attempt.
    pub(crate) fn begin(&mut self, now: Instant) -> io::Result<()> {
        ftruncate(&self.file, 0)?;
        // A program may have changed the flags: they are the open file's, not its own.
        fcntl(&self.file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        self.freed_until = self.kept_bytes;
        self.seen_bytes = 0;
        self.next_look = now + CALM;
        Ok(())
    }

    /// What is to become fds 1 and 2.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Makes it this process's fds 1 and 2: in the attempt's first process.
    pub(crate) fn install(&self) -> io::Result<()> {
        dup2_stdout(&self.file)?;
        dup2_stderr(&self.file)?;
        Ok(())
    }

    /// When [`Redirect::look`] is due.
    pub(crate) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Gives back what nobody will read, if it is time.
    pub(crate) fn look(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        let size_bytes = self.size_bytes();
        let grown_bytes = size_bytes.saturating_sub(self.seen_bytes);
        self.seen_bytes = size_bytes;
        self.next_look = now + if grown_bytes > self.kept_bytes / 8 { FLOOD } else { CALM };
        self.free_middle(size_bytes);
    }

    fn free_middle(&mut self, size_bytes: u64) {
        let until = size_bytes.saturating_sub(self.kept_bytes) / PAGE_BYTES * PAGE_BYTES;
        if until <= self.freed_until {
            return;
        }
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (from, length) = (self.freed_until, until - self.freed_until);
        // Only memory is at stake: a kernel that cannot keeps the pages.
        let _ = fallocate(&self.file, flags, from.cast_signed(), length.cast_signed());
        self.freed_until = until;
    }

    /// Moves the text into the attempt's memory, as written by its first process, and gives the
    /// pages back. No process of the attempt is left, or what is left is named.
    pub(crate) fn collect(&mut self, memory: &Memory, first: Pid) {
        let size_bytes = self.size_bytes();
        let writer = writer(first);
        let tail_from = size_bytes.saturating_sub(self.kept_bytes).max(self.kept_bytes);
        self.copy(0, self.kept_bytes.min(size_bytes), memory, &writer);
        if tail_from > self.kept_bytes {
            memory.note_lost(&writer, tail_from - self.kept_bytes);
        }
        self.copy(tail_from, size_bytes, memory, &writer);
    }

    fn copy(&self, from: u64, until: u64, memory: &Memory, writer: &Writer) {
        let mut chunk = [0; CHUNK_BYTES];
        let mut at = from;
        while at < until {
            let wanted =
                usize::try_from(until - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            match self.file.read_at(&mut chunk[..wanted], at) {
                // Somebody who survived may have cut it meanwhile.
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    memory.write(writer, Stream::Stdout, &chunk[..count]);
                    at += count as u64;
                }
            }
        }
    }

    /// 0 for a file that cannot be asked: there is no such memory file.
    fn size_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }
}

/// The first process: whose output needs no name of its own.
fn writer(first: Pid) -> Writer {
    let mut name = [0; 16];
    let length = BODY_THREAD.len().min(name.len());
    name[..length].copy_from_slice(&BODY_THREAD.as_bytes()[..length]);
    Writer { pid: first.as_raw(), tid: first.as_raw(), name }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    const ROOM_BYTES: usize = 1 << 20;

    struct Attempt {
        memory: Memory,
        redirect: Redirect,
        now: Instant,
    }

    impl Attempt {
        fn new() -> Self {
            let memory = Memory::create(ROOM_BYTES).expect("memory");
            let mut redirect = Redirect::new(&memory).expect("a file");
            let now = Instant::now();
            redirect.begin(now).expect("empty");
            memory.begin();
            Self { memory, redirect, now }
        }

        fn write(&mut self, bytes: &[u8]) {
            self.redirect.file.write_all(bytes).expect("written");
        }

        fn look(&mut self) {
            self.now += CALM;
            self.redirect.look(self.now);
        }

        /// The text, and how much of it was lost.
        fn output(&mut self) -> (Vec<u8>, u64) {
            self.redirect.collect(&self.memory, Pid::this());
            let output = self.memory.output();
            assert_eq!(output.torn, 0);
            let text = output.records.into_iter().flat_map(|record| record.bytes).collect();
            (text, output.lost_bytes)
        }
    }

    #[test]
    fn what_was_written_is_there_and_gone_with_the_next_attempt() {
        let mut attempt = Attempt::new();
        attempt.write(b"partial, \xff\xfe no newline");
        attempt.look();
        assert_eq!(attempt.output(), (b"partial, \xff\xfe no newline".to_vec(), 0));
        attempt.memory.reset();
        attempt.redirect.begin(attempt.now).expect("empty");
        attempt.write(b"next");
        assert_eq!(attempt.output(), (b"next".to_vec(), 0));
    }

    #[test]
    fn of_a_flood_both_ends_are_kept_at_bounded_memory() {
        let mut attempt = Attempt::new();
        let line = |number: u32| format!("{number:>63}\n").into_bytes();
        let lines = 1 << 20;
        for number in 0..lines {
            attempt.write(&line(number));
            if number % 4096 == 0 {
                attempt.look();
            }
        }
        attempt.look();
        let used_bytes = attempt.redirect.file.metadata().expect("there").blocks() * 512;
        assert!(used_bytes <= ROOM_BYTES as u64, "{used_bytes} bytes are in use");
        let (text, lost_bytes) = attempt.output();
        assert!(text.starts_with(&line(0)) && text.ends_with(&line(lines - 1)));
        assert_eq!(text.len() as u64 + lost_bytes, u64::from(lines) * 64);
        assert!(text.len() > ROOM_BYTES * 7 / 8, "{} bytes are kept", text.len());
    }

    #[test]
    fn looks_come_closer_in_a_flood() {
        let mut attempt = Attempt::new();
        attempt.look();
        assert_eq!(attempt.redirect.next_look(), attempt.now + CALM);
        attempt.write(&vec![0; ROOM_BYTES / 4]);
        attempt.look();
        assert_eq!(attempt.redirect.next_look(), attempt.now + FLOOD);
    }
}
