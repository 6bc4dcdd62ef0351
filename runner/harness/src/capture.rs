//! Capture at the sys level: output is taken where the program writes.
//!
//! This file defines `write`, `writev`, `dup2`, `dup3` and `close` for the whole binary. Rust's
//! std calls libc through these symbols, so its stdout and stderr, panics and every log writer
//! pass here; children started with `Command` get the real fds, which are left alone. What calls
//! the kernel directly (C stdio, raw system calls) does not pass.
//!
//! Output is taken only while fd 1 or 2 still *is* what the attempt began with: the same device
//! and inode. A program that gave its child a pipe must be able to read what that child wrote.
//! The switch is private memory, so a forked child that redirects its fds decides for itself.
//!
//! What libc promises of the five is kept, returned values and `errno`, but for one: these are no
//! cancellation points (`pthread_cancel(3)`), and memory that cannot be read ends the writer instead
//! of being an error.
//!
//! Every function here may run between `fork` and `exec`, in a signal handler or while the
//! allocator is locked: no allocation, no lock, no panic.
#![expect(unsafe_code, reason = "defines libc's symbols and reads memory they are given")]

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_void};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};

use nix::errno::Errno;
use runner_core::memory::{Memory, Stream, Writer};
use runner_core::process;
use runner_core::protocol::variable;

/// Where captured output goes; null while nothing is captured. Never freed.
static MEMORY: AtomicPtr<Memory> = AtomicPtr::new(ptr::null_mut());

/// What fds 1 and 2 were when the attempt began, and whether they are that now.
static STREAMS: [Switch; 2] = [Switch::new(), Switch::new()];

/// The page that holds this process's id: the kernel zeroes it in a forked child.
static OWN_PID: AtomicPtr<AtomicI32> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// Who this thread is; of another process if that thread forked since.
    static WRITER: Cell<Writer> = const { Cell::new(Writer { pid: 0, tid: 0, name: [0; 16] }) };
}

struct Switch {
    device: AtomicU64,
    inode: AtomicU64,
    on: AtomicBool,
}

impl Switch {
    const fn new() -> Self {
        Self { device: AtomicU64::new(0), inode: AtomicU64::new(0), on: AtomicBool::new(false) }
    }

    fn expect(&self, identity: (u64, u64)) {
        self.device.store(identity.0, Ordering::Relaxed);
        self.inode.store(identity.1, Ordering::Relaxed);
    }

    fn expected(&self) -> (u64, u64) {
        (self.device.load(Ordering::Relaxed), self.inode.load(Ordering::Relaxed))
    }

    fn set_by(&self, fd: c_int) {
        self.on.store(identity(fd) == Some(self.expected()), Ordering::Relaxed);
    }
}

/// What becomes of output beside being taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passing {
    /// Nothing.
    Held,
    /// It goes to the real fd as well. That this fails or falls short is not the program's concern.
    PassedOn,
}

/// Whether output is [`Passing::PassedOn`].
static PASS_ON: AtomicBool = AtomicBool::new(false);

/// Starts to capture in this process and in what it forks from now on. Called in an attempt's
/// first process, while it has one thread.
pub(crate) fn start(memory: &'static Memory, passing: Passing) {
    PASS_ON.store(passing == Passing::PassedOn, Ordering::Relaxed);
    for (fd, switch) in (1..).zip(&STREAMS) {
        if let Some(identity) = identity(fd) {
            switch.expect(identity);
        }
        switch.set_by(fd);
    }
    attach(memory);
}

/// What [`resume`] needs in a fresh image of this binary, as a value for
/// [`variable::CAPTURE`]: whose memory it is, what fds 1 and 2 were, whether output is passed on,
/// and the fd that is kept.
pub(crate) fn address(owner: &Owner) -> String {
    let [(d1, i1), (d2, i2)] = [STREAMS[0].expected(), STREAMS[1].expected()];
    let Owner { pid, start_ticks, fd, inode, kept } = owner;
    let (kept, pass_on) = (kept.unwrap_or(NOT_KEPT), u8::from(PASS_ON.load(Ordering::Relaxed)));
    format!("{pid},{start_ticks},{fd},{inode},{d1},{i1},{d2},{i2},{pass_on},{kept}")
}

/// Goes on capturing in a fresh image of this binary, if the environment names an attempt's
/// memory and its owner still lives. Called first thing in `main`; silent where it cannot: the
/// output then goes to the real fds, unattributed.
pub(crate) fn resume() {
    let Some(value) = std::env::var(variable::CAPTURE).ok() else {
        return;
    };
    let numbers: Vec<u64> = value.split(',').filter_map(|word| word.parse().ok()).collect();
    let &[pid, start_ticks, fd, inode, d1, i1, d2, i2, pass_on, kept] = numbers.as_slice() else {
        return;
    };
    let owners = Owner::open(pid, start_ticks, fd, inode);
    let Some(memory) = owners.or_else(|| open_kept(kept, inode)) else {
        return;
    };
    PASS_ON.store(pass_on != 0, Ordering::Relaxed);
    for ((fd, switch), expected) in (1..).zip(&STREAMS).zip([(d1, i1), (d2, i2)]) {
        switch.expect(expected);
        switch.set_by(fd);
    }
    attach(Box::leak(Box::new(memory)));
}

/// The living process whose fd keeps an attempt's memory open: its supervisor.
///
/// A fresh image opens that fd by `/proc`, so that none has to be inherited. It may not be allowed
/// to: in another user or pid namespace, or with fewer capabilities than the supervisor has. For
/// those the same memory is also kept open under a number that all processes of the attempt
/// inherit, and that [`variable::KEEP_FDS`] asks everybody else to leave alone.
pub(crate) struct Owner {
    pid: i32,
    start_ticks: u64,
    fd: i32,
    inode: u64,
    kept: Option<RawFd>,
}

/// The fd that is kept has no lower number: programs expect the next ones to be theirs.
const LOWEST_KEPT: c_int = 512;

/// In the place of its number where none could be kept.
const NOT_KEPT: RawFd = 0;

impl Owner {
    /// This process, which must outlive the attempt.
    pub(crate) fn this(memory: &Memory) -> Option<Self> {
        let pid = std::process::id().cast_signed();
        let start_ticks = process::start_ticks(pid)?;
        let (fd, inode) = (memory.fd().as_raw_fd(), memory.inode().ok()?);
        // SAFETY: takes no pointer; the new fd lives as long as this process.
        let kept = unsafe { libc::fcntl(fd, libc::F_DUPFD, LOWEST_KEPT) };
        Some(Self { pid, start_ticks, fd, inode, kept: (kept > 2).then_some(kept) })
    }

    /// The fd that every process of the attempt inherits, if there is one.
    pub(crate) fn kept(&self) -> Option<RawFd> {
        self.kept
    }

    fn open(pid: u64, start_ticks: u64, fd: u64, inode: u64) -> Option<Memory> {
        let alive = process::start_ticks(i32::try_from(pid).ok()?)?;
        let file = File::options().read(true).write(true).open(format!("/proc/{pid}/fd/{fd}"));
        let memory = Memory::open(file.ok()?.into()).ok()?;
        (alive == start_ticks && memory.inode().ok()? == inode).then_some(memory)
    }
}

/// By the fd that was inherited, if it still is what it was. It stays open for further images.
fn open_kept(number: u64, inode: u64) -> Option<Memory> {
    let number = c_int::try_from(number).ok().filter(|number| *number > 2)?;
    // SAFETY: takes no pointer; a number that is not open is an error.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    // SAFETY: the copy is new and nobody else's.
    let copy = (copy > 2).then(|| unsafe { OwnedFd::from_raw_fd(copy) })?;
    let memory = Memory::open(copy).ok()?;
    (memory.inode().ok()? == inode).then_some(memory)
}

/// Names the calling thread in captured output, from its next line on.
pub fn label_thread(label: &str) {
    if let Some(memory) = memory() {
        memory.label_thread(&writer(), label);
    }
}

/// Names the calling process in captured output, for threads without a label of their own.
pub fn label_process(label: &str) {
    if let Some(memory) = memory() {
        memory.label_process(&writer(), label);
    }
}

/// Makes this process's memory known to what writes into it; captures nothing by itself.
pub(crate) fn attach(memory: &'static Memory) {
    prepare_pid_page();
    MEMORY.store(ptr::from_ref(memory).cast_mut(), Ordering::Release);
}

/// The attempt's memory, in its processes.
pub(crate) fn memory() -> Option<&'static Memory> {
    // SAFETY: the pointer is null or came from a `&'static Memory` in `attach`.
    unsafe { MEMORY.load(Ordering::Acquire).as_ref() }
}

/// Takes what is written to an attempt's own stream; `None` if the kernel has to do it.
fn take(fd: c_int, pieces: &[libc::iovec]) -> Option<isize> {
    let stream = match fd {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        PROBE => return Some(PROBED),
        _ => return None,
    };
    if !STREAMS[(fd - 1) as usize].on.load(Ordering::Relaxed) {
        return None;
    }
    let memory = memory()?;
    let writer = writer();
    let mut taken = 0;
    for piece in pieces.iter().filter(|piece| piece.iov_len > 0) {
        // SAFETY: the caller of `write` or `writev` promises that the range is readable.
        let bytes = unsafe { std::slice::from_raw_parts(piece.iov_base.cast(), piece.iov_len) };
        memory.write(&writer, stream, bytes);
        if PASS_ON.load(Ordering::Relaxed) {
            pass_on(fd, bytes);
        }
        taken += piece.iov_len;
    }
    Some(taken.cast_signed())
}

/// To the real fd, as far as it takes it.
fn pass_on(fd: c_int, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the slice is readable.
        let written =
            unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) as isize };
        match usize::try_from(written) {
            Ok(count) => bytes = &bytes[count.min(bytes.len())..],
            Err(_) if Errno::last() == Errno::EINTR => {}
            Err(_) => return,
        }
    }
}

/// Who is writing, from memory of this thread's own; asked of the kernel once per thread and
/// process.
pub(crate) fn writer() -> Writer {
    let known = WRITER.get();
    let pid = own_pid();
    if known.pid == pid {
        return known;
    }
    let mut name = [0; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes to the buffer; gettid takes nothing.
    let tid = unsafe {
        libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr());
        libc::syscall(libc::SYS_gettid)
    };
    let writer = Writer { pid, tid: tid as i32, name };
    WRITER.set(writer);
    writer
}

/// This process's id without a system call. A child, however it was forked, finds a page of
/// zeros: no atfork handler is needed, which a raw `clone` would not run.
fn own_pid() -> i32 {
    // SAFETY: null, or the page that `prepare_pid_page` mapped and never unmaps.
    let page = unsafe { OWN_PID.load(Ordering::Relaxed).as_ref() };
    match page.map(|page| (page, page.load(Ordering::Relaxed))) {
        Some((_, pid)) if pid != 0 => pid,
        Some((page, _)) => {
            let pid = std::process::id().cast_signed();
            page.store(pid, Ordering::Relaxed);
            pid
        }
        None => std::process::id().cast_signed(),
    }
}

fn prepare_pid_page() {
    if !OWN_PID.load(Ordering::Relaxed).is_null() {
        return;
    }
    let (size, protection) = (4096, libc::PROT_READ | libc::PROT_WRITE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new private mapping at an address the kernel chooses.
    let page = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return;
    }
    // SAFETY: advises on the page that was just mapped.
    if unsafe { libc::madvise(page, size, libc::MADV_WIPEONFORK) } == 0 {
        OWN_PID.store(page.cast(), Ordering::Relaxed);
    }
}

/// Device and inode of what an fd is now.
fn identity(fd: c_int) -> Option<(u64, u64)> {
    // SAFETY: a stat of zeros is valid, and fstat fills it; an fd that is not open is an error.
    let stat = unsafe {
        let mut stat = std::mem::zeroed::<libc::stat>();
        (libc::fstat(fd, &raw mut stat) == 0).then_some(stat)
    };
    stat.map(|stat| (stat.st_dev, stat.st_ino))
}

/// Leaves `errno` as the call has left it that changed the fd.
fn changed(fd: c_int) {
    if (fd == 1 || fd == 2) && !MEMORY.load(Ordering::Relaxed).is_null() {
        let errno = Errno::last_raw();
        STREAMS[(fd - 1) as usize].set_by(fd);
        Errno::set_raw(errno);
    }
}

/// Whether what calls libc's `write` and `writev` comes here: std does, and so does everybody else.
pub(crate) fn is_in_place() -> bool {
    let piece = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    // SAFETY: if it is not us who are called, nothing is written to an fd that cannot be open.
    let calls =
        unsafe { [libc::write(PROBE, ptr::null(), 0), libc::writev(PROBE, &raw const piece, 1)] };
    // SAFETY: never dropped, so nothing is closed; writing to it is as above.
    let mut by_std = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(PROBE) });
    calls == [PROBED; 2] && by_std.write(&[]).is_ok_and(|count| count == PROBED as usize)
}

/// No fd: what is written to it asks whether this is the one who is written by.
const PROBE: c_int = -0x5eed;
/// The answer, which no kernel gives to nothing written.
const PROBED: isize = 0x5eed;

/// libc's `write`.
///
/// # Safety
/// As write(2): `count` bytes at `buffer` are readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, count: usize) -> isize {
    let piece = libc::iovec { iov_base: buffer.cast_mut(), iov_len: count };
    match take(fd, &[piece]) {
        Some(taken) => taken,
        // SAFETY: the caller's arguments, unchanged.
        None => unsafe { libc::syscall(libc::SYS_write, fd, buffer, count) as isize },
    }
}

/// libc's `writev`.
///
/// # Safety
/// As writev(2): `count` pieces at `pieces`, each readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, pieces: *const libc::iovec, count: c_int) -> isize {
    // More pieces than that the kernel refuses.
    if (1..=libc::UIO_MAXIOV).contains(&count) && !pieces.is_null() {
        // SAFETY: the caller promises `count` pieces.
        let all = unsafe { std::slice::from_raw_parts(pieces, count as usize) };
        if let Some(taken) = take(fd, all) {
            return taken;
        }
    }
    // SAFETY: the caller's arguments, unchanged.
    unsafe { libc::syscall(libc::SYS_writev, fd, pieces, c_long::from(count)) as isize }
}

/// libc's `dup2`: may give fd 1 or 2 another meaning, or its old one back.
///
/// # Safety
/// As dup2(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(from: c_int, to: c_int) -> c_int {
    let result = if from == to {
        // dup3 refuses equal numbers, dup2 only asks whether the fd is open.
        // SAFETY: takes no pointer.
        let open = unsafe { libc::fcntl(from, libc::F_GETFD) };
        if open < 0 { open } else { to }
    } else {
        // SAFETY: takes no pointer. aarch64 has no dup2 system call.
        unsafe { libc::syscall(libc::SYS_dup3, from, to, 0) as c_int }
    };
    changed(to);
    result
}

/// libc's `dup3`: as [`dup2`].
///
/// # Safety
/// As dup3(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    // SAFETY: takes no pointer.
    let result = unsafe { libc::syscall(libc::SYS_dup3, from, to, flags) as c_int };
    changed(to);
    result
}

/// libc's `close`: a closed stream is not the attempt's own any more.
///
/// # Safety
/// As close(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    // SAFETY: takes no pointer.
    let result = unsafe { libc::syscall(libc::SYS_close, fd) as c_int };
    changed(fd);
    result
}
