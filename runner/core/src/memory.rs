//! The memory of one slot's attempts: captured output, the attempt's own *done* channel, and the
//! raw stacks of a hang.
//!
//! A memory file that the runner makes once per slot, the supervisor and every process of an
//! attempt map, and the runner reads. Writers need no system call, never block and may be
//! SIGKILLed at any instruction; what they had committed is still there.
//!
//! # Records
//! A writer reserves room by one atomic add on the cursor, fills it, and *commits* by storing a
//! tag made of the record's position and the attempt's nonce. A reader trusts nothing but tags:
//! where none is found it looks on, 16 bytes at a time, and counts what it passed as torn. The
//! program under test cannot forge a tag by printing, because it would have to know the nonce.
//!
//! The first half of the room keeps the beginning of the output, the second half is a ring that
//! keeps its end: both are wanted after a flood. Between them is what was lost, counted. A writer
//! that sleeps between reserving and filling while others write a whole ring can damage one
//! newer record; its own is torn then.
//!
//! Any process of the attempt may write anything anywhere in it, by a wild pointer or on purpose.
//! Where a range lies is therefore this process's own knowledge (`head`, `ring`, `length`, sizes of
//! arrays); what is read from the memory is at most a number within that, a text, or nonsense that
//! is told as such. The file cannot be cut either: it is sealed.
//!
//! ```text
//! position   0 ........ head | head .................. cursor
//! room       [ beginning     | ring: position modulo its size ]
//! ```
#![expect(unsafe_code, reason = "maps memory that other processes write")]

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::ffi::c_int;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use nix::sys::stat::fstat;

use clock::Clock;
use description::Description;
pub use description::DescriptionWriter;
use panics::Panics;
pub use panics::{Joinable, ThreadKey};
pub use trace::TRACE_EVENT_BYTES;

use crate::owner::Owner;
use crate::protocol::{DetachedPanic, Done, Stack, Trace, TraceEvent};

mod clock;
mod description;
mod panics;
mod trace;

/// Threads of which a hang keeps the stack.
pub const HANG_THREADS: usize = 256;
/// Frames kept of each of them, innermost first.
pub const HANG_FRAMES: usize = 128;

const MAGIC: u64 = 0x7275_6e6e_6572_0002;
const DONE_BYTES: usize = 64 << 10;
const MAPS_BYTES: usize = 512 << 10;
const RECORD_HEADER_BYTES: u64 = 48;
const RECORD_ALIGN: u64 = 16;
/// A longer write becomes several records, so that no single one can lap the ring.
const RECORD_LIMIT_BYTES: usize = 32 << 10;
const SMALLEST_ROOM_BYTES: usize = 256 << 10;
/// A cursor that was written over must neither be misaligned nor come to its end: no attempt writes
/// so much.
const CURSOR_MASK: u64 = (1 << 56) - RECORD_ALIGN;
/// Room whose pages are kept from attempt to attempt: a first touch of a page costs a captured line
/// more than all its code.
const KEPT_BYTES: u64 = 4 << 20;
/// A reader lets go of the pages it has read whenever they are so many bytes: what it makes of them
/// takes as much room again.
const WINDOW_BYTES: u64 = 1 << 20;
/// No page of any machine we run on is larger.
const PAGE_BYTES: usize = 64 << 10;

/// Room for the captured output of one attempt, in every face.
pub const CAPTURE_LIMIT_BYTES: usize = 16 << 20;

/// Which of the two streams a record was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// fd 1.
    Stdout,
    /// fd 2.
    Stderr,
}

/// One committed write of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Since the attempt started, to the kernel's tick (a few milliseconds).
    pub time: Duration,
    /// The process that wrote.
    pub pid: i32,
    /// The thread that wrote.
    pub tid: i32,
    /// The label of the thread, else of the process, else the thread's name.
    pub name: Arc<str>,
    /// Where to.
    pub stream: Stream,
    /// What.
    pub bytes: Vec<u8>,
}

/// What an attempt wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// In the order in which room was reserved.
    pub records: Vec<Record>,
    /// Room that was written over, headers included, in bytes.
    pub lost_bytes: u64,
    /// Gaps left by writers that died while writing.
    pub torn: u64,
    /// The last words of trace points, where a reader wants to see them beside the output.
    pub last_events: Vec<TraceEvent>,
}

/// How far an attempt is. Every change is one compare-and-swap, so *done* and the deadline
/// cannot both win.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// No attempt.
    Idle = 0,
    /// Between `begin` and one of the two below.
    Running = 1,
    /// *Done* was written.
    Done = 2,
    /// The deadline passed first.
    Expired = 3,
}

/// How far the watchdog of an attempt is with its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportProgress {
    /// It has not run since the deadline.
    NotBegun,
    /// It takes stacks.
    Begun,
    /// It has taken what stacks it could; now the suite's hook tells of actors and tasks.
    StacksTaken,
    /// That is told too.
    Over,
}

/// What there is to do for a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchdogDuty {
    /// The deadline has come; [`Memory::expire`] tells whether *done* came first.
    Deadline,
    /// Somebody wants to know what the attempt is doing.
    Describe,
    /// The attempt is done.
    Over,
}

/// The stacks of an attempt's first process, taken by its own watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnStacks {
    /// `/proc/self/maps` at that time.
    pub maps: String,
    /// Every thread but the watchdog's.
    pub threads: Vec<Stack>,
}

/// Who writes: known once per thread, so that a record needs no system call.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// The process.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// The thread's name, padded with zeros.
    pub name: [u8; 16],
}

/// A mapping of a slot's memory file.
#[derive(Debug)]
pub struct Memory {
    file: OwnedFd,
    base: NonNull<u8>,
    length: usize,
    head: u64,
    ring: u64,
}

// SAFETY: the mapping belongs to the value until drop; everything in it is reached through
// atomics or through ranges that the record protocol above gives to one writer.
unsafe impl Send for Memory {}
// SAFETY: as above; no method needs exclusive access to be sound.
unsafe impl Sync for Memory {}

#[repr(C)]
struct Header {
    magic: AtomicU64,
    room: AtomicU64,
    nonce: AtomicU64,
    clock: Clock,
    cursor: AtomicU64,
    phase: AtomicU32,
    /// Counts what a watchdog may have to hear of; it waits for the next.
    bell: AtomicU32,
    done_length: AtomicU32,
    /// The supervisor has seen what every process was doing: a handler changes that.
    facts_taken: AtomicU32,
    stacks: AtomicU32,
    stack_count: AtomicU32,
    maps_length: AtomicU32,
    done: UnsafeCell<[u8; DONE_BYTES]>,
    trace: trace::Ring,
    description: Description,
    panics: Panics,
    /// Threads and fds of the first process, before and after; each one more, 0 for not counted.
    resources: [AtomicU32; 4],
    threads: [ThreadStack; HANG_THREADS],
    maps: UnsafeCell<[u8; MAPS_BYTES]>,
}

#[repr(C)]
struct ThreadStack {
    tid: AtomicI32,
    length: AtomicU32,
    name: [AtomicU64; 2],
    frames: [AtomicU64; HANG_FRAMES],
}

/// How often a watchdog looks whether a stopped clock goes on.
const STOPPED_CLOCK_LOOK: Duration = Duration::from_millis(50);

const STACKS_NONE: u32 = 0;
const STACKS_TAKING: u32 = 1;
const STACKS_TAKEN: u32 = 2;

impl Memory {
    /// Makes a memory file with room for `capture_limit_bytes` of output, and maps it. Its name is
    /// the mark of this process ([`Owner::memory_name`]).
    ///
    /// # Errors
    /// What the kernel says to `memfd_create`, `ftruncate` or `mmap`.
    pub fn create(capture_limit_bytes: usize) -> io::Result<Self> {
        let room = capture_limit_bytes.max(SMALLEST_ROOM_BYTES).next_multiple_of(1 << 16);
        let name = Owner::this().map_or_else(|| "runner-attempt".into(), |this| this.memory_name());
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = memfd_create(name.as_str(), flags)?;
        let length = size_of::<Header>().next_multiple_of(1 << 16) + room;
        nix::unistd::ftruncate(&file, length as i64)?;
        // A mapping of what was cut off ends whoever touches it.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let memory = Self::map(file, length, room)?;
        let header = memory.header();
        header.room.store(room as u64, Ordering::Relaxed);
        header.nonce.store(fresh_nonce(), Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        Ok(memory)
    }

    /// Maps a memory file that another process made.
    ///
    /// # Errors
    /// `InvalidData` if the file is not one of ours, else what the kernel says.
    pub fn open(file: OwnedFd) -> io::Result<Self> {
        let length = usize::try_from(fstat(&file)?.st_size).unwrap_or(0);
        let fixed = size_of::<Header>().next_multiple_of(1 << 16);
        if length < fixed + SMALLEST_ROOM_BYTES {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let memory = Self::map(file, length, length - fixed)?;
        let header = memory.header();
        let ours = header.magic.load(Ordering::Acquire) == MAGIC
            && header.room.load(Ordering::Relaxed) == (length - fixed) as u64;
        if ours { Ok(memory) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
    }

    fn map(file: OwnedFd, length: usize, room: usize) -> io::Result<Self> {
        let size = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new shared mapping at an address the kernel chooses, of a file whose size
        // was just set or checked; nothing else in this process refers to it.
        let base = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, &file, 0)? };
        let half = (room / 2) as u64;
        Ok(Self { file, base: base.cast(), length, head: half, ring: room as u64 - half })
    }

    /// Keeps this mapping from every process that this one forks from now on: who is to have the
    /// memory is handed the file. What is forked for one slot must not reach another's.
    ///
    /// # Errors
    /// What the kernel says to `madvise`.
    pub fn keep_from_forks(&self) -> io::Result<()> {
        // SAFETY: the range is this value's own mapping; nothing in it changes for this process.
        let advised = unsafe { madvise(self.base.cast(), self.length, MmapAdvise::MADV_DONTFORK) };
        Ok(advised?)
    }

    /// The file, to hand on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Its inode number: what makes this memory file known among others.
    ///
    /// # Errors
    /// What the kernel says to `fstat`.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(fstat(&self.file)?.st_ino)
    }

    /// Forgets the last attempt and gives most of its pages back. Only while no process of an
    /// attempt is left.
    pub fn reset(&self) {
        let header = self.header();
        // An attempt may have written over these, and the next supervisor asks for them.
        header.room.store(self.room_bytes(), Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        let used = header.cursor.swap(0, Ordering::Relaxed);
        self.give_back(KEPT_BYTES..used.min(self.room_bytes()));
        header.nonce.store(fresh_nonce(), Ordering::Relaxed);
        header.done_length.store(0, Ordering::Relaxed);
        header.facts_taken.store(0, Ordering::Relaxed);
        header.stacks.store(STACKS_NONE, Ordering::Relaxed);
        header.stack_count.store(0, Ordering::Relaxed);
        header.maps_length.store(0, Ordering::Relaxed);
        header.trace.reset();
        header.description.reset();
        header.panics.reset();
        header.resources.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        header.phase.store(Phase::Idle as u32, Ordering::Release);
    }

    /// Makes the pages that are kept from attempt to attempt, for whoever will run many: about a
    /// millisecond once, instead of a page fault for every 32 captured lines.
    pub fn make_pages(&self) {
        let offset = self.room_offset() as u64;
        let bytes = KEPT_BYTES.min(self.length as u64 - offset);
        let (offset, bytes) = (offset.cast_signed(), bytes.cast_signed());
        // Where the kernel has no memory to spare now, pages come when they are touched.
        let _ = fallocate(&self.file, FallocateFlags::empty(), offset, bytes);
    }

    /// The pages of a range of the room.
    fn give_back(&self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let offset = (self.room_offset() as u64 + range.start).cast_signed();
        let bytes = (range.end - range.start).cast_signed();
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        // Only memory is at stake: an old kernel that cannot punch holes keeps the pages.
        let _ = fallocate(&self.file, flags, offset, bytes);
    }

    /// Starts an attempt: its clock is zero now.
    pub fn begin(&self) {
        let header = self.header();
        header.clock.start(now_ns());
        header.phase.store(Phase::Running as u32, Ordering::Release);
    }

    /// Since `begin`, without the time that the clock was stopped.
    pub fn elapsed(&self) -> Duration {
        self.header().clock.elapsed(now_ns())
    }

    /// Stops the attempt's clock: its processes are stopped, or somebody debugs them.
    pub fn stop_clock(&self) {
        self.header().clock.stop(now_ns());
    }

    /// The clock goes on.
    pub fn continue_clock(&self) {
        self.header().clock.go_on(now_ns());
        self.ring();
    }

    /// How far the attempt is.
    pub fn phase(&self) -> Phase {
        match self.header().phase.load(Ordering::Acquire) {
            1 => Phase::Running,
            2 => Phase::Done,
            3 => Phase::Expired,
            _ => Phase::Idle,
        }
    }

    /// The attempt writes *done*; false if the deadline was first. What does not fit is cut.
    pub fn finish(&self, done: &Done) -> bool {
        let mut text = serde_json::to_vec(done).unwrap_or_default();
        if text.len() > DONE_BYTES {
            text = serde_json::to_vec(&shortened(done)).unwrap_or_default();
        }
        let header = self.header();
        let length = text.len().min(DONE_BYTES);
        // SAFETY: `done` is DONE_BYTES long and inside the mapping. Only the attempt's first
        // process writes it, once, and the supervisor reads it after the phase says so.
        unsafe {
            let target = self.base.as_ptr().add(std::mem::offset_of!(Header, done));
            std::ptr::copy_nonoverlapping(text.as_ptr(), target, length);
        }
        header.done_length.store(length as u32, Ordering::Relaxed);
        self.leave_running(Phase::Done)
    }

    /// The deadline passed; false if *done* was first, true also if it was said before. Ends
    /// [`wait_for_duty`](Self::wait_for_duty) in whichever process it waits.
    pub fn expire(&self) -> bool {
        if self.leave_running(Phase::Expired) {
            self.ring();
        }
        self.phase() == Phase::Expired
    }

    /// Blocks until `deadline` has passed on the attempt's clock or something else is to be done.
    /// Takes no lock and allocates nothing.
    pub fn wait_for_duty(&self, deadline: Option<Duration>) -> WatchdogDuty {
        loop {
            let rung = self.header().bell.load(Ordering::Acquire);
            match self.phase() {
                Phase::Running => {}
                Phase::Expired => return WatchdogDuty::Deadline,
                Phase::Idle | Phase::Done => return WatchdogDuty::Over,
            }
            if self.header().description.is_asked() {
                return WatchdogDuty::Describe;
            }
            let left = deadline.map(|deadline| deadline.saturating_sub(self.elapsed()));
            if left == Some(Duration::ZERO) {
                return WatchdogDuty::Deadline;
            }
            // What is left of a stopped clock passes again and again.
            let is_stopped = self.header().clock.is_stopped();
            let least = if is_stopped { STOPPED_CLOCK_LOOK } else { Duration::ZERO };
            self.wait_for_bell(rung, left.map(|left| left.max(least)));
        }
    }

    fn wait_for_bell(&self, rung: u32, limit: Option<Duration>) {
        let limit = limit.map(|limit| libc::timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let bell = self.header().bell.as_ptr();
        // SAFETY: the word is inside the mapping, which outlives the call; the limit is null or
        // read before the call returns. Not the private kind of futex: who rings is another process.
        unsafe { libc::syscall(libc::SYS_futex, bell, libc::FUTEX_WAIT, rung, limit) };
    }

    fn ring(&self) {
        self.header().bell.fetch_add(1, Ordering::AcqRel);
        let bell = self.header().bell.as_ptr();
        let nobody = std::ptr::null::<libc::timespec>();
        // SAFETY: as in `wait_for_bell`.
        unsafe { libc::syscall(libc::SYS_futex, bell, libc::FUTEX_WAKE, i32::MAX, nobody) };
    }

    /// Asks the watchdog to have actors and tasks described; false while it is at that.
    pub fn ask_for_description(&self) -> bool {
        let asked = self.header().description.ask();
        if asked {
            self.ring();
        }
        asked
    }

    /// Has `hook` describe actors and tasks, or nobody. What it wrote is kept whatever becomes of
    /// it.
    pub fn describe(&self, hook: impl FnOnce(&mut DescriptionWriter<'_>)) {
        let description = &self.header().description;
        description.begin();
        hook(&mut DescriptionWriter { description });
        description.end();
    }

    /// Whether the description that was asked for last is there.
    pub fn is_described(&self) -> bool {
        self.header().description.is_written()
    }

    /// What the suite's hook has said of actors and tasks, if anything.
    pub fn description(&self) -> Option<String> {
        self.header().description.read()
    }

    /// Threads and fds of the first process, before its body.
    pub fn count_resources_before(&self, threads: u32, fds: u32) {
        self.count_resources(0, [threads, fds]);
    }

    /// … and after its guard.
    pub fn count_resources_after(&self, threads: u32, fds: u32) {
        self.count_resources(2, [threads, fds]);
    }

    fn count_resources(&self, from: usize, counts: [u32; 2]) {
        for (place, count) in self.header().resources[from..].iter().zip(counts) {
            place.store(count.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// How many more threads and fds there were after than before, if both were counted.
    pub fn resource_deltas(&self) -> Option<(i32, i32)> {
        let count = |index: usize| {
            let count = self.header().resources[index].load(Ordering::Relaxed);
            i32::try_from(count).ok().filter(|count| *count > 0)
        };
        Some((count(2)? - count(0)?, count(3)? - count(1)?))
    }

    /// A thread is about to die of a panic. Takes no lock and allocates nothing.
    pub fn note_panic(&self, thread: ThreadKey, joinable: Joinable, words: &DetachedPanic) {
        self.header().panics.note(thread, joinable, words);
    }

    /// A thread was joined: who did that knows what became of it.
    pub fn panic_joined(&self, thread: ThreadKey) {
        self.header().panics.joined(thread);
    }

    /// A thread cannot be joined any more.
    pub fn panic_detached(&self, thread: ThreadKey) {
        self.header().panics.detached(thread);
    }

    /// Somebody was told of every thread of a process that has died until now.
    pub fn claim_panics(&self, pid: i32) {
        self.header().panics.claim_all(pid);
    }

    /// Threads that died of a panic which nobody was told of.
    pub fn detached_panics(&self) -> Vec<DetachedPanic> {
        self.header().panics.unclaimed()
    }

    /// Keeps a trace point's word, the last ones of many. As [`write`](Self::write): fit for any
    /// moment of a process, and there after its SIGKILL.
    pub fn trace(&self, writer: &Writer, text: &[u8]) {
        let header = self.header();
        let now = nanoseconds(libc::CLOCK_MONOTONIC_COARSE);
        let time = now.saturating_sub(header.clock.started_ns());
        let nonce = header.nonce.load(Ordering::Relaxed);
        header.trace.push(nonce, time, (writer.pid, writer.tid), text);
    }

    /// The last words of trace points, oldest first: the last ones of all, and of each thread some
    /// more.
    pub fn last_events(&self) -> Vec<TraceEvent> {
        let header = self.header();
        header.trace.last(header.nonce.load(Ordering::Relaxed))
    }

    fn leave_running(&self, to: Phase) -> bool {
        let phase = &self.header().phase;
        let from = Phase::Running as u32;
        phase.compare_exchange(from, to as u32, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// What the attempt said of itself, if it did before its deadline.
    pub fn done(&self) -> Option<Done> {
        if self.phase() != Phase::Done {
            return None;
        }
        let length = self.header().done_length.load(Ordering::Relaxed) as usize;
        let mut text = vec![0; length.min(DONE_BYTES)];
        // SAFETY: the range is inside the mapping, and `finish` is over: the phase says so.
        unsafe {
            let source = self.base.as_ptr().add(std::mem::offset_of!(Header, done));
            std::ptr::copy_nonoverlapping(source, text.as_mut_ptr(), text.len());
        }
        serde_json::from_slice(&text).ok()
    }

    /// Writes output as one record, or as several if it is long. No system call but the clock's
    /// (none where the kernel has a vDSO), no lock, no allocation: fit for a signal handler.
    pub fn write(&self, writer: &Writer, stream: Stream, bytes: &[u8]) {
        let kind = match stream {
            Stream::Stdout => Kind::Stdout,
            Stream::Stderr => Kind::Stderr,
        };
        for piece in bytes.chunks(RECORD_LIMIT_BYTES) {
            self.append(writer, kind, piece);
        }
    }

    /// Names the writing thread, for every record it writes, whatever its thread name says.
    pub fn label_thread(&self, writer: &Writer, label: &str) {
        self.append(writer, Kind::ThreadLabel, label_bytes(label));
    }

    /// Names the writing process, for every record of its threads without a label of their own.
    pub fn label_process(&self, writer: &Writer, label: &str) {
        self.append(writer, Kind::ProcessLabel, label_bytes(label));
    }

    /// So many bytes of output were lost on their way here.
    pub fn note_lost(&self, writer: &Writer, bytes: u64) {
        self.append(writer, Kind::Lost, &bytes.to_le_bytes());
    }

    /// How much output it has room for, headers of records included.
    pub fn room_bytes(&self) -> u64 {
        self.head + self.ring
    }

    fn append(&self, writer: &Writer, kind: Kind, bytes: &[u8]) {
        let header = self.header();
        let footprint = footprint(bytes.len());
        // To the tick: the order of records is their place, and a finer clock costs as much as the
        // rest of this.
        let now = nanoseconds(libc::CLOCK_MONOTONIC_COARSE);
        let time = now.saturating_sub(header.clock.started_ns());
        let position = header.cursor.fetch_add(footprint, Ordering::Relaxed) & CURSOR_MASK;
        let mut fields = [0; RECORD_HEADER_BYTES as usize - 8];
        fields[0..8].copy_from_slice(&time.to_le_bytes());
        fields[8..12].copy_from_slice(&writer.pid.to_le_bytes());
        fields[12..16].copy_from_slice(&writer.tid.to_le_bytes());
        fields[16..20].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        fields[20..24].copy_from_slice(&(kind as u32).to_le_bytes());
        fields[24..40].copy_from_slice(&writer.name);
        self.copy_in(position + 8, &fields);
        self.copy_in(position + RECORD_HEADER_BYTES, bytes);
        self.tag(position).store(self.tag_of(position), Ordering::Release);
    }

    /// Everything that is committed now.
    pub fn output(&self) -> Output {
        let written = self.header().cursor.load(Ordering::Acquire);
        let cursor = written & CURSOR_MASK;
        let oldest = cursor.saturating_sub(self.ring).max(self.head);
        let mut reader = Reader::new(self);
        reader.walk(0, self.head.min(cursor), if oldest > self.head { self.head } else { cursor });
        if cursor > self.head {
            let lapped = oldest > self.head;
            let from = if lapped { reader.first_from(oldest) } else { reader.resume_at(self.head) };
            // One that was written over says nothing of how much there was.
            let is_count = cursor == written;
            reader.lost(if is_count { oldest - self.head } else { 0 });
            reader.walk(from, cursor, cursor);
        }
        reader.finish()
    }

    /// The supervisor has taken its facts: the watchdog may begin.
    pub fn begin_report(&self) {
        self.header().facts_taken.store(1, Ordering::Release);
        self.ring();
    }

    /// Waits until the supervisor has taken its facts, or could have. Takes no lock and allocates
    /// nothing.
    pub fn wait_for_facts(&self, limit: Duration) {
        let until = now_ns() + u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let rung = self.header().bell.load(Ordering::Acquire);
            let left = until.saturating_sub(now_ns());
            if self.header().facts_taken.load(Ordering::Acquire) != 0 || left == 0 {
                return;
            }
            self.wait_for_bell(rung, Some(Duration::from_nanos(left)));
        }
    }

    /// The watchdog begins to take stacks; false if somebody did before.
    pub fn begin_stacks(&self) -> bool {
        let stacks = &self.header().stacks;
        let (won, lost) = (Ordering::AcqRel, Ordering::Acquire);
        stacks.compare_exchange(STACKS_NONE, STACKS_TAKING, won, lost).is_ok()
    }

    /// Gives a thread its place in the table; `None` if the table is full.
    pub fn stack_place(&self, tid: i32, name: [u8; 16]) -> Option<StackPlace<'_>> {
        let header = self.header();
        let index = header.stack_count.load(Ordering::Relaxed);
        let place = header.threads.get(index as usize)?;
        place.length.store(0, Ordering::Relaxed);
        place.tid.store(tid, Ordering::Relaxed);
        for (word, bytes) in place.name.iter().zip(name.chunks_exact(8)) {
            let mut value = [0; 8];
            value.copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        }
        header.stack_count.store(index + 1, Ordering::Release);
        Some(StackPlace { place })
    }

    /// Where the watchdog puts `/proc/self/maps`: fills the buffer by `read` until it says 0.
    pub fn fill_maps(&self, mut read: impl FnMut(&mut [u8]) -> usize) {
        // SAFETY: the range is inside the mapping; only the one watchdog that won `begin_stacks`
        // writes it, and the supervisor reads it after `end_stacks`.
        let buffer = unsafe {
            let start = self.base.as_ptr().add(std::mem::offset_of!(Header, maps));
            std::slice::from_raw_parts_mut(start, MAPS_BYTES)
        };
        let mut filled = 0;
        while filled < buffer.len() {
            match read(&mut buffer[filled..]) {
                0 => break,
                count => filled += count,
            }
        }
        self.header().maps_length.store(filled as u32, Ordering::Relaxed);
    }

    /// The watchdog has taken what it could.
    pub fn end_stacks(&self) {
        self.header().stacks.store(STACKS_TAKEN, Ordering::Release);
    }

    /// How far the watchdog is with its report.
    pub fn report_progress(&self) -> ReportProgress {
        match self.header().stacks.load(Ordering::Acquire) {
            STACKS_TAKING => ReportProgress::Begun,
            STACKS_TAKEN if self.is_described() => ReportProgress::Over,
            STACKS_TAKEN => ReportProgress::StacksTaken,
            // STACKS_NONE, or no word of a watchdog's: what is there is none either.
            _ => ReportProgress::NotBegun,
        }
    }

    /// What the watchdog left.
    ///
    /// # Errors
    /// Why it left nothing, for a person.
    pub fn stacks(&self) -> Result<OwnStacks, &'static str> {
        let header = self.header();
        match self.report_progress() {
            ReportProgress::NotBegun => Err("the watchdog of the case did not run"),
            ReportProgress::Begun => Err("the watchdog of the case did not come to an end"),
            ReportProgress::StacksTaken | ReportProgress::Over => {
                let count = header.stack_count.load(Ordering::Acquire) as usize;
                let threads = header.threads.iter().take(count).map(ThreadStack::read).collect();
                Ok(OwnStacks { maps: self.maps(), threads })
            }
        }
    }

    fn maps(&self) -> String {
        let length = self.header().maps_length.load(Ordering::Relaxed) as usize;
        let mut text = vec![0; length.min(MAPS_BYTES)];
        // SAFETY: the range is inside the mapping and its one writer has ended.
        unsafe {
            let source = self.base.as_ptr().add(std::mem::offset_of!(Header, maps));
            std::ptr::copy_nonoverlapping(source, text.as_mut_ptr(), text.len());
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping is page-aligned, longer than a Header and lives as long as `self`.
        // All its fields are integers, for which any bytes are valid; those that change while
        // shared are atomics or in an UnsafeCell.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    fn room_offset(&self) -> usize {
        self.length - (self.head + self.ring) as usize
    }

    fn tag_of(&self, position: u64) -> u64 {
        self.header().nonce.load(Ordering::Relaxed) ^ (position + 1)
    }

    fn offset(&self, position: u64) -> usize {
        let within = match position.checked_sub(self.head) {
            None => position,
            Some(beyond) => self.head + beyond % self.ring,
        };
        self.room_offset() + within as usize
    }

    fn tag(&self, position: u64) -> &AtomicU64 {
        // SAFETY: positions are multiples of 16 (CURSOR_MASK, footprints) and so are the room's offset and both halves'
        // sizes: eight bytes at `offset` are inside the mapping and aligned.
        unsafe { &*self.base.as_ptr().add(self.offset(position)).cast::<AtomicU64>() }
    }

    /// Takes the pages between two positions out of this mapping; what they hold stays in the file,
    /// and comes back when it is touched.
    fn let_go(&self, from: u64, until: u64) {
        let (start, end) = (self.offset(from), self.offset(until));
        // Around the ring's end: the few pages at its beginning wait for the next window.
        let end = if start < end { end } else { self.length };
        let (start, end) = (start.next_multiple_of(PAGE_BYTES), end / PAGE_BYTES * PAGE_BYTES);
        if start < end {
            // SAFETY: whole pages inside the mapping, which is shared and of a file: this changes
            // nothing of what anybody reads there.
            let _ = unsafe {
                madvise(self.base.byte_add(start).cast(), end - start, MmapAdvise::MADV_DONTNEED)
            };
        }
    }

    fn copy_in(&self, position: u64, bytes: &[u8]) {
        let start = self.offset(position);
        let first = bytes.len().min(self.length - start);
        let again = self.room_offset() + self.head as usize;
        // SAFETY: `start..start + first` ends at the mapping's end at the latest; the rest, less
        // than a ring (RECORD_LIMIT_BYTES), goes to the ring's beginning. The range was reserved
        // by this writer; a reader that comes too early finds no tag.
        unsafe {
            let base = self.base.as_ptr();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), base.add(start), first);
            let rest = bytes.len() - first;
            std::ptr::copy_nonoverlapping(bytes.as_ptr().add(first), base.add(again), rest);
        }
    }

    fn copy_out(&self, position: u64, bytes: &mut [u8]) {
        let start = self.offset(position);
        let first = bytes.len().min(self.length - start);
        let again = self.room_offset() + self.head as usize;
        // SAFETY: ranges as in `copy_in`; the bytes may change while they are read, which a
        // damaged record shows at worst: they are only ever taken as bytes.
        unsafe {
            let base = self.base.as_ptr();
            std::ptr::copy_nonoverlapping(base.add(start), bytes.as_mut_ptr(), first);
            let rest = bytes.len() - first;
            let target = bytes.as_mut_ptr().add(first);
            std::ptr::copy_nonoverlapping(base.add(again), target, rest);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map` and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.base.cast(), self.length) };
    }
}

/// A thread's place in the table of stacks, to be filled by that thread's signal handler.
#[derive(Clone, Copy)]
pub struct StackPlace<'a> {
    place: &'a ThreadStack,
}

impl StackPlace<'_> {
    /// The thread that this place is for.
    pub fn tid(&self) -> i32 {
        self.place.tid.load(Ordering::Relaxed)
    }

    /// Adds the next outer return address; false when the place is full. Async-signal-safe.
    pub fn push(&self, address: u64) -> bool {
        let index = self.place.length.load(Ordering::Relaxed);
        let Some(frame) = self.place.frames.get(index as usize) else {
            return false;
        };
        frame.store(address, Ordering::Relaxed);
        self.place.length.store(index + 1, Ordering::Release);
        true
    }
}

impl ThreadStack {
    fn read(&self) -> Stack {
        let length = self.length.load(Ordering::Acquire) as usize;
        let calls = self.frames.iter().take(length).map(|f| f.load(Ordering::Relaxed)).collect();
        let trace = match length {
            0 => Trace::Missing("did not answer".into()),
            _ => Trace::Calls(calls),
        };
        let name: Vec<u8> =
            self.name.iter().flat_map(|w| w.load(Ordering::Relaxed).to_ne_bytes()).collect();
        Stack { tid: self.tid.load(Ordering::Relaxed), name: text_of(&name), trace }
    }
}

#[derive(Clone, Copy)]
#[repr(u32)]
enum Kind {
    Stdout = 1,
    Stderr = 2,
    ThreadLabel = 3,
    ProcessLabel = 4,
    /// So many bytes were lost before they came here.
    Lost = 5,
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        [Self::Stdout, Self::Stderr, Self::ThreadLabel, Self::ProcessLabel, Self::Lost]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}

/// Who a label is for: a thread, or with no thread id the process.
type Labelled = (i32, Option<i32>);

struct Reader<'a> {
    memory: &'a Memory,
    output: Output,
    /// Of threads, as the kernel knows them: each once, however much it wrote.
    names: HashMap<[u8; 16], Arc<str>>,
    labels: HashMap<Labelled, Arc<str>>,
}

struct RecordHeader {
    time: Duration,
    writer: Writer,
    length: u64,
    kind: Kind,
}

impl<'a> Reader<'a> {
    fn new(memory: &'a Memory) -> Self {
        let (names, labels) = (HashMap::new(), HashMap::new());
        Self { memory, output: Output::default(), names, labels }
    }

    /// Reads the records that start in `from..until`; of one that goes beyond `whole` only the
    /// part before it is still its own.
    fn walk(&mut self, from: u64, until: u64, whole: u64) {
        let mut position = from;
        let mut kept = from;
        let mut gap = false;
        while position < until {
            if position - kept >= WINDOW_BYTES {
                self.memory.let_go(kept, position);
                kept = position;
            }
            match self.header_at(position) {
                Some(header) => {
                    self.output.torn += u64::from(std::mem::take(&mut gap));
                    self.take(&header, position, whole);
                    position += footprint(header.length as usize);
                }
                None => {
                    gap = true;
                    position += RECORD_ALIGN;
                }
            }
        }
        self.output.torn += u64::from(gap);
    }

    /// The first record that starts at or after `oldest`: a ring is entered in the middle of one,
    /// and that it is not whole is loss, not tearing.
    fn first_from(&self, oldest: u64) -> u64 {
        let from = oldest.next_multiple_of(RECORD_ALIGN);
        let reach = from + footprint(RECORD_LIMIT_BYTES);
        let mut positions = (from..reach).step_by(RECORD_ALIGN as usize);
        positions.find(|at| self.header_at(*at).is_some()).unwrap_or(from)
    }

    /// Where the record that crosses `boundary` ends, or `boundary` if none does.
    fn resume_at(&self, boundary: u64) -> u64 {
        let reach = footprint(RECORD_LIMIT_BYTES);
        let first = boundary.saturating_sub(reach).next_multiple_of(RECORD_ALIGN);
        (first..boundary)
            .step_by(RECORD_ALIGN as usize)
            .filter_map(|at| self.header_at(at).map(|h| at + footprint(h.length as usize)))
            .find(|end| *end > boundary)
            .unwrap_or(boundary)
    }

    fn header_at(&self, position: u64) -> Option<RecordHeader> {
        if self.memory.tag(position).load(Ordering::Acquire) != self.memory.tag_of(position) {
            return None;
        }
        let mut fields = [0; RECORD_HEADER_BYTES as usize - 8];
        self.memory.copy_out(position + 8, &mut fields);
        let word =
            |at: usize| fields[at..].first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
        let time = fields.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
        let mut name = [0; 16];
        name.copy_from_slice(&fields[24..40]);
        let length = u64::from(word(16));
        let pid = word(8).cast_signed();
        let tid = word(12).cast_signed();
        let kind = Kind::from_number(word(20))?;
        (length <= RECORD_LIMIT_BYTES as u64).then_some(RecordHeader {
            time: Duration::from_nanos(time),
            writer: Writer { pid, tid, name },
            length,
            kind,
        })
    }

    fn take(&mut self, header: &RecordHeader, position: u64, whole: u64) {
        let start = position + RECORD_HEADER_BYTES;
        let mut bytes = vec![0; header.length.min(whole.saturating_sub(start)) as usize];
        self.memory.copy_out(start, &mut bytes);
        let Writer { pid, tid, name } = header.writer;
        let stream = match header.kind {
            Kind::Stdout => Stream::Stdout,
            Kind::Stderr => Stream::Stderr,
            Kind::ThreadLabel => return self.label((pid, Some(tid)), &bytes),
            Kind::ProcessLabel => return self.label((pid, None), &bytes),
            Kind::Lost => {
                let lost = bytes.first_chunk::<8>().map_or(0, |count| u64::from_le_bytes(*count));
                return self.lost(lost);
            }
        };
        let known = self.names.entry(name).or_insert_with(|| text_of(&name).into());
        let name = Arc::clone(known);
        self.output.records.push(Record { time: header.time, pid, tid, name, stream, bytes });
    }

    fn lost(&mut self, bytes: u64) {
        self.output.lost_bytes = self.output.lost_bytes.saturating_add(bytes);
    }

    fn label(&mut self, who: Labelled, bytes: &[u8]) {
        self.labels.insert(who, String::from_utf8_lossy(bytes).into());
    }

    fn finish(self) -> Output {
        let Self { mut output, labels, .. } = self;
        for record in &mut output.records {
            let label = labels
                .get(&(record.pid, Some(record.tid)))
                .or_else(|| labels.get(&(record.pid, None)));
            if let Some(label) = label {
                record.name = Arc::clone(label);
            }
        }
        output
    }
}

/// The kernel's `CLOCK_MONOTONIC`, in nanoseconds: the same in every process of the machine.
pub fn now_ns() -> u64 {
    nanoseconds(libc::CLOCK_MONOTONIC)
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to a timespec of ours; the clocks always exist.
    let _: c_int = unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// A number that a program under test cannot guess: the address space layout and the clock,
/// mixed. Not a secret against an attacker, only against accidents.
fn fresh_nonce() -> u64 {
    let here = 0_u8;
    let mut x = now_ns() ^ (&raw const here as u64).rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn footprint(length: usize) -> u64 {
    RECORD_HEADER_BYTES + (length as u64).next_multiple_of(RECORD_ALIGN)
}

fn label_bytes(label: &str) -> &[u8] {
    &label.as_bytes()[..label.len().min(RECORD_LIMIT_BYTES)]
}

fn text_of(padded: &[u8]) -> String {
    let end = padded.iter().position(|b| *b == 0).unwrap_or(padded.len());
    String::from_utf8_lossy(&padded[..end]).into_owned()
}

/// The same word with a text that surely fits, also when every byte of it has to be escaped.
fn shortened(done: &Done) -> Done {
    let cut = |text: &String| -> String {
        let mut short: String = text.chars().take(DONE_BYTES / 16).collect();
        short.push_str(" … (cut)");
        short
    };
    match done {
        Done::Passed => Done::Passed,
        Done::Failed { message } => Done::Failed { message: cut(message) },
        Done::Panicked { message, location } => {
            Done::Panicked { message: cut(message), location: cut(location) }
        }
        Done::NotSetUp { message } => Done::NotSetUp { message: cut(message) },
        Done::Skipped { reason } => Done::Skipped { reason: cut(reason) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use nix::errno::Errno;

    const WRITER: Writer = Writer { pid: 7, tid: 8, name: *b"worker\0\0\0\0\0\0\0\0\0\0" };

    fn memory() -> Memory {
        let memory = Memory::create(0).unwrap();
        memory.begin();
        memory
    }

    fn text(output: &Output) -> Vec<u8> {
        output.records.iter().flat_map(|r| r.bytes.clone()).collect()
    }

    #[test]
    fn records_come_back_in_order_with_their_writer() {
        let memory = memory();
        memory.write(&WRITER, Stream::Stdout, b"one\n");
        memory.write(&WRITER, Stream::Stderr, b"two\n");
        let output = memory.output();
        assert_eq!(text(&output), b"one\ntwo\n");
        assert_eq!(output.records[1].stream, Stream::Stderr);
        assert_eq!((output.records[0].pid, output.records[0].tid), (7, 8));
        assert_eq!(&*output.records[0].name, "worker");
        assert_eq!((output.lost_bytes, output.torn), (0, 0));
    }

    #[test]
    fn a_flood_keeps_beginning_and_end_and_counts_the_rest() {
        let memory = memory();
        let line = |i: u32| format!("line {i:06}\n");
        for i in 0..20_000 {
            memory.write(&WRITER, Stream::Stdout, line(i).as_bytes());
        }
        let output = memory.output();
        let seen = String::from_utf8(text(&output)).unwrap();
        assert!(seen.starts_with(&line(0)));
        assert!(seen.ends_with(&line(19_999)));
        assert!(output.lost_bytes > 0);
        assert_eq!(output.torn, 0);
        let kept = output.records.len() as u64 * 64;
        let all = 20_000 * 64;
        assert_eq!(kept + output.lost_bytes, all, "every record is kept or counted");
    }

    #[test]
    fn a_flood_of_uneven_records_tears_none() {
        let memory = memory();
        for i in 0..20_000_usize {
            memory.write(&WRITER, Stream::Stdout, &vec![b'y'; 1 + i % 977]);
        }
        let output = memory.output();
        assert!(output.lost_bytes > 0);
        assert_eq!(output.torn, 0);
    }

    #[test]
    fn a_long_write_is_kept_whole_across_the_boundary() {
        let memory = memory();
        let long: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        memory.write(&WRITER, Stream::Stdout, &long);
        assert_eq!(text(&memory.output()), long);
    }

    #[test]
    fn a_writer_that_died_in_between_is_one_torn_record() {
        let memory = memory();
        memory.write(&WRITER, Stream::Stdout, b"before");
        memory.header().cursor.fetch_add(footprint(1000), Ordering::Relaxed);
        memory.write(&WRITER, Stream::Stdout, b"after");
        let output = memory.output();
        assert_eq!(text(&output), b"beforeafter");
        assert_eq!(output.torn, 1);
    }

    #[test]
    fn labels_name_threads_before_processes() {
        let memory = memory();
        memory.write(&WRITER, Stream::Stdout, b"a");
        memory.label_process(&WRITER, "actor");
        let other = Writer { tid: 9, ..WRITER };
        memory.label_thread(&other, "leaf");
        memory.write(&other, Stream::Stdout, b"b");
        let names: Vec<Arc<str>> = memory.output().records.into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["actor", "leaf"].map(Arc::from));
    }

    #[test]
    fn done_and_the_deadline_cannot_both_win() {
        let memory = memory();
        assert!(memory.finish(&Done::Passed));
        assert!(!memory.expire());
        assert_eq!(memory.done(), Some(Done::Passed));
        memory.reset();
        memory.begin();
        assert!(memory.expire());
        assert!(!memory.finish(&Done::Passed));
        assert_eq!(memory.done(), None);
    }

    #[test]
    fn whoever_waits_for_the_deadline_hears_that_it_came_early() {
        let memory = memory();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| memory.wait_for_duty(Some(Duration::from_secs(1000))));
            let other = Memory::open(memory.fd().try_clone_to_owned().unwrap()).unwrap();
            assert!(other.expire());
            assert_eq!(waiter.join().unwrap(), WatchdogDuty::Deadline);
        });
        assert_eq!(memory.phase(), Phase::Expired);
    }

    #[test]
    fn a_stopped_clock_never_comes_to_its_deadline() {
        let memory = memory();
        memory.stop_clock();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| memory.wait_for_duty(Some(Duration::from_millis(1))));
            let stopped = std::time::Instant::now();
            while stopped.elapsed() < 3 * STOPPED_CLOCK_LOOK {
                assert!(!waiter.is_finished());
                std::thread::yield_now();
            }
            memory.continue_clock();
            assert_eq!(waiter.join().unwrap(), WatchdogDuty::Deadline);
        });
        assert!(memory.elapsed() < 3 * STOPPED_CLOCK_LOOK);
    }

    #[test]
    fn a_description_is_asked_for_written_and_read_also_half() {
        use std::io::Write;
        let memory = memory();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| memory.wait_for_duty(None));
            assert!(memory.ask_for_description());
            assert_eq!(waiter.join().unwrap(), WatchdogDuty::Describe);
        });
        assert!(!memory.is_described());
        memory.describe(|out| {
            write!(out, "root").unwrap();
            assert!(!memory.ask_for_description());
            assert!(memory.description().unwrap().starts_with("root\n(the hook"));
            out.write_all(&vec![b'x'; 1 << 20]).unwrap();
        });
        assert!(memory.is_described());
        assert_eq!(memory.description().unwrap().len(), 64 << 10);
        memory.reset();
        assert_eq!(memory.description(), None);
    }

    #[test]
    fn trace_points_keep_the_last_words_of_all_and_some_of_each_thread() {
        let memory = memory();
        let quiet = Writer { tid: 9, ..WRITER };
        memory.trace(&quiet, &[b'q'; 1000]);
        for i in 0..1000 {
            memory.trace(&WRITER, format!("step {i}").as_bytes());
        }
        let events = memory.last_events();
        assert_eq!(events.len(), 129);
        assert_eq!((events[0].tid, events[0].text.len()), (9, TRACE_EVENT_BYTES));
        assert_eq!(events[1].text, "step 872");
        assert_eq!(events[128].text, "step 999");
        for i in 0..5000 {
            memory.trace(&WRITER, format!("more {i}").as_bytes());
        }
        assert_eq!(memory.last_events().last().map(|event| &*event.text), Some("more 4999"));
        memory.reset();
        assert_eq!(memory.last_events(), []);
    }

    #[test]
    fn a_panic_counts_until_its_thread_is_joined() {
        let memory = memory();
        let words = |thread: &str| DetachedPanic {
            pid: 7,
            thread: thread.into(),
            message: "m".repeat(1000),
            location: "a.rs:1:2".into(),
        };
        let key = |thread| ThreadKey { pid: 7, thread };
        memory.note_panic(key(1), Joinable::Yes, &words("joined"));
        memory.note_panic(key(2), Joinable::Yes, &words("dropped"));
        memory.note_panic(key(3), Joinable::No, &words("detached"));
        memory.panic_joined(key(1));
        memory.panic_detached(key(2));
        // Others that were given the same names afterwards.
        memory.panic_joined(key(2));
        memory.panic_joined(key(3));
        memory.panic_joined(ThreadKey { pid: 8, thread: 1 });
        let unclaimed = memory.detached_panics();
        let names: Vec<&str> = unclaimed.iter().map(|panic| panic.thread.as_str()).collect();
        assert_eq!(names, ["dropped", "detached"]);
        assert_eq!((unclaimed[0].message.len(), &*unclaimed[0].location), (512, "a.rs:1:2"));
        memory.claim_panics(7);
        assert_eq!(memory.detached_panics(), []);
        memory.reset();
        for i in 0..100 {
            memory.note_panic(key(i), Joinable::No, &words("many"));
        }
        assert_eq!(memory.detached_panics().len(), 32);
        memory.reset();
        assert_eq!(memory.detached_panics(), []);
    }

    #[test]
    fn an_outsized_message_is_cut_and_still_read() {
        let memory = memory();
        let message = "\u{1}".repeat(1 << 20);
        assert!(memory.finish(&Done::Failed { message }));
        assert!(matches!(memory.done(), Some(Done::Failed { .. })));
    }

    #[test]
    fn another_mapping_sees_the_same_and_a_reset_forgets() {
        let memory = memory();
        memory.write(&WRITER, Stream::Stdout, &vec![b'x'; 100_000]);
        let other = Memory::open(memory.fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(text(&other.output()).len(), 100_000);
        other.reset();
        assert_eq!(memory.output(), Output::default());
        assert_ne!(memory.fd().as_raw_fd(), other.fd().as_raw_fd());
    }

    #[test]
    fn a_flood_through_little_room_is_forgotten() {
        let memory = memory();
        let line = [b'x'; 1 << 10];
        (0..=KEPT_BYTES >> 10).for_each(|_| memory.write(&WRITER, Stream::Stdout, &line));
        memory.reset();
        assert_eq!(memory.output(), Output::default());
    }

    #[test]
    fn it_cannot_be_cut() {
        let memory = memory();
        assert_eq!(nix::unistd::ftruncate(&memory.file, 0), Err(Errno::EPERM));
    }

    /// Everything that somebody outside of the attempt does with its memory, and what its own
    /// processes may still do.
    fn use_all_of(memory: &Memory) {
        memory.write(&WRITER, Stream::Stderr, &[b'x'; 3 * RECORD_LIMIT_BYTES]);
        memory.note_lost(&WRITER, u64::MAX);
        memory.trace(&WRITER, b"trace");
        let thread = ThreadKey { pid: 7, thread: 8 };
        let words = memory.detached_panics().pop();
        words.iter().for_each(|words| memory.note_panic(thread, Joinable::Yes, words));
        memory.panic_joined(thread);
        memory.claim_panics(7);
        memory.stop_clock();
        memory.continue_clock();
        memory.elapsed();
        memory.ask_for_description();
        memory.describe(|out| out.write_all(b"a task").unwrap());
        if let Some(place) = memory.stack_place(8, WRITER.name) {
            while place.push(1) {}
        }
        memory.expire();
        memory.begin_report();
        memory.wait_for_facts(Duration::ZERO);
        let _ = memory.stacks();
        memory.begin_stacks();
        memory.end_stacks();
        let _ = (memory.phase(), memory.is_described(), memory.resource_deltas());
        let stacks = memory.stacks().unwrap();
        assert!(stacks.threads.len() <= HANG_THREADS && stacks.maps.len() <= 3 * MAPS_BYTES);
        assert!(memory.last_events().iter().all(|e| e.text.len() <= 3 * TRACE_EVENT_BYTES));
        assert!(memory.output().records.len() <= memory.length / RECORD_HEADER_BYTES as usize);
        memory.finish(&Done::Passed);
        memory.done();
        memory.description();
    }

    fn scribble(memory: &Memory, range: Range<usize>, mut byte: impl FnMut() -> u8) {
        assert!(range.end <= memory.length);
        for at in range {
            // SAFETY: inside the mapping, which only this test uses.
            unsafe { memory.base.as_ptr().add(at).write(byte()) };
        }
    }

    fn of_a_worn_attempt() -> Memory {
        let memory = memory();
        memory.write(&WRITER, Stream::Stdout, &[b'y'; 300 << 10]);
        memory.label_thread(&WRITER, "label");
        memory.trace(&WRITER, b"trace");
        memory
    }

    #[test]
    fn whatever_an_attempt_scribbles_over_it_is_read_and_used_and_the_next_one_is_as_ever() {
        for pattern in [0, 0xff, 0x01, 0x80] {
            let memory = of_a_worn_attempt();
            scribble(&memory, 0..memory.length, || pattern);
            assert_eq!(memory.output().lost_bytes, 0);
            assert_eq!(memory.report_progress(), ReportProgress::NotBegun);
            use_all_of(&memory);
            is_as_ever(&memory);
        }
    }

    #[test]
    fn random_bytes_in_random_places_are_read_and_used_and_the_next_attempt_is_as_ever() {
        let mut state = fresh_nonce() | 1;
        println!("the seed is {state:#x}");
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..200 {
            let memory = of_a_worn_attempt();
            // The first fields are those with the most to them.
            let most = if round % 2 == 0 { 128 } else { memory.length };
            let start = random() as usize % most;
            let end = start + random() as usize % (most - start + 1);
            scribble(&memory, start..end, || (random() >> 32) as u8);
            use_all_of(&memory);
            is_as_ever(&memory);
        }
    }

    fn is_as_ever(memory: &Memory) {
        memory.reset();
        memory.begin();
        memory.write(&WRITER, Stream::Stdout, b"next");
        assert_eq!(memory.output().records.len(), 1);
        assert_eq!(text(&memory.output()), b"next");
        assert_eq!(memory.detached_panics(), []);
        assert_eq!(memory.last_events(), []);
        assert_eq!(memory.description(), None);
        assert_eq!(memory.report_progress(), ReportProgress::NotBegun);
        assert!(memory.finish(&Done::Passed));
        assert_eq!(memory.done(), Some(Done::Passed));
    }
}
