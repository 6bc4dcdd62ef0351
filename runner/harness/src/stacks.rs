//! Raw stacks of all threads of this process, taken from inside without any lock.
//!
//! A signal handler on each thread records return addresses into the attempt's memory; nobody
//! symbolises here. The case may hold the allocator's or the loader's lock or spin with all
//! signals blocked: no function of this file allocates, and the signal is number 32, which glibc
//! keeps for itself and never lets a program block. glibc uses it for `pthread_cancel` alone, so
//! at the end of a hung case it is free to take.
//!
//! The unwinder is libgcc's; since glibc 2.35 it finds unwind tables without the loader's lock.
#![expect(unsafe_code, reason = "a signal handler, raw system calls and the C unwinder")]

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

use runner_core::memory::{Memory, StackPlace, now_ns};

/// glibc's SIGCANCEL.
const SIGNAL: c_int = 32;
/// How long a thread may take to answer, in nanoseconds. One takes 4 to 17 ms where symbols are
/// cold; a thread in an uninterruptible system call never answers.
const PATIENCE_NS: u64 = 200_000_000;

/// How often to look whether a thread has answered.
const ANSWER_LOOK: Duration = Duration::from_micros(100);

/// The place that the next handler fills; null when no thread is being asked.
static ASKED: AtomicPtr<StackPlace<'static>> = AtomicPtr::new(ptr::null_mut());
/// Counts the handlers that came to their end.
static ANSWERS: AtomicU32 = AtomicU32::new(0);

/// Records `/proc/self/maps` and the stack of every other thread of this process.
pub(crate) fn take_all(memory: &'static Memory) {
    record_maps(memory);
    if !install_handler() {
        return;
    }
    let own = gettid();
    for_each_thread(|tid| {
        if tid != own {
            take_one(memory, tid);
        }
    });
}

fn take_one(memory: &'static Memory, tid: c_int) {
    let Some(mut place) = memory.stack_place(tid, thread_name(tid)) else {
        return;
    };
    let before = ANSWERS.load(Ordering::Acquire);
    ASKED.store(&raw mut place, Ordering::Release);
    // SAFETY: tgkill takes no pointer; the thread is of this process or gone.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, SIGNAL) };
    let asked = now_ns();
    while ANSWERS.load(Ordering::Acquire) == before {
        let is_given_up = sent != 0 || now_ns() - asked > PATIENCE_NS;
        // A handler that took the place is still at work on it (or about to put it back), and
        // `place` is on this stack: only if nobody has it may we go on at once.
        if is_given_up && !ASKED.swap(ptr::null_mut(), Ordering::AcqRel).is_null() {
            return;
        }
        pause(ANSWER_LOOK);
    }
}

extern "C" fn handler(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: errno is this thread's own; it is put back for the code that was interrupted.
    let errno = unsafe { *libc::__errno_location() };
    let asked = ASKED.swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: `take_one` keeps the place alive until this handler has counted its answer, or put
    // the place back.
    let place = unsafe { asked.as_ref() };
    if place.is_some_and(|place| place.tid() != gettid()) {
        // This thread was given up on, and comes now that another is asked.
        ASKED.store(asked, Ordering::Release);
    } else if let Some(place) = place {
        let interrupted = interrupted_at(context);
        place.push(interrupted);
        let mut walk = Walk { place, interrupted, reached: false };
        // SAFETY: the callback matches the unwinder's type and `walk` outlives the call.
        unsafe { _Unwind_Backtrace(step, (&raw mut walk).cast()) };
        ANSWERS.fetch_add(1, Ordering::AcqRel);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

struct Walk<'a> {
    place: &'a StackPlace<'static>,
    interrupted: u64,
    /// The frames before are the handler's own.
    reached: bool,
}

const GO_ON: c_int = 0;
const END_OF_STACK: c_int = 5;

extern "C" fn step(context: *mut c_void, walk: *mut c_void) -> c_int {
    // SAFETY: `handler` passes a Walk that lives until the unwinder returns.
    let walk = unsafe { &mut *walk.cast::<Walk<'_>>() };
    // SAFETY: the context is the unwinder's own.
    let address = unsafe { _Unwind_GetIP(context) } as u64;
    if !walk.reached {
        walk.reached = address == walk.interrupted;
        return GO_ON;
    }
    // A return address is behind the call; the call is what a person wants to see.
    if walk.place.push(address.saturating_sub(1)) { GO_ON } else { END_OF_STACK }
}

unsafe extern "C" {
    fn _Unwind_Backtrace(
        step: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

#[cfg(target_arch = "x86_64")]
fn interrupted_at(context: *mut c_void) -> u64 {
    // SAFETY: the kernel gives an SA_SIGINFO handler a ucontext.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    context.uc_mcontext.gregs[libc::REG_RIP as usize].cast_unsigned()
}

#[cfg(target_arch = "aarch64")]
fn interrupted_at(context: *mut c_void) -> u64 {
    // SAFETY: the kernel gives an SA_SIGINFO handler a ucontext.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    context.uc_mcontext.pc
}

/// The kernel's own layout, which glibc's `sigaction` does not let signal 32 through. Both
/// architectures have room for a restorer; only x86-64 needs one.
#[repr(C)]
struct KernelAction {
    handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void),
    flags: u64,
    restorer: Option<unsafe extern "C" fn()>,
    mask: u64,
}

#[cfg(target_arch = "x86_64")]
mod restorer {
    // The very bytes by which libgcc's unwinder knows a signal frame: it has no unwind table.
    std::arch::global_asm!(
        ".pushsection .text.runner_signal_return,\"ax\",@progbits",
        ".globl runner_signal_return",
        ".type runner_signal_return,@function",
        // The unwinder looks one byte before a return address for its function.
        "nop",
        "runner_signal_return:",
        ".byte 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00", // mov rax, 15
        ".byte 0x0f, 0x05",                               // syscall
        ".size runner_signal_return, . - runner_signal_return",
        ".popsection",
    );

    pub(super) const SA_RESTORER: u64 = 0x0400_0000;

    unsafe extern "C" {
        pub(super) fn runner_signal_return();
    }
}

fn install_handler() -> bool {
    let flags = (libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK) as u64;
    #[cfg(target_arch = "x86_64")]
    let (flags, restorer) = (
        flags | restorer::SA_RESTORER,
        Some(restorer::runner_signal_return as unsafe extern "C" fn()),
    );
    #[cfg(not(target_arch = "x86_64"))]
    let restorer = None;
    let action = KernelAction { handler, flags, restorer, mask: 0 };
    let none = ptr::null_mut::<KernelAction>();
    // SAFETY: the structure is the kernel's, the mask's size is the kernel's eight bytes.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, SIGNAL, &raw const action, none, 8_usize) == 0 }
}

fn record_maps(memory: &Memory) {
    let Some(fd) = open(c"/proc/self/maps") else {
        return;
    };
    memory.fill_maps(|buffer| read(fd, buffer));
    close(fd);
}

fn thread_name(tid: c_int) -> [u8; 16] {
    let mut path = [0; 40];
    let mut name = [0; 16];
    if let Some(fd) = path_of_comm(tid, &mut path).and_then(open) {
        read(fd, &mut name);
        close(fd);
    }
    for byte in name.iter_mut().filter(|byte| **byte == b'\n') {
        *byte = 0;
    }
    name
}

/// `/proc/self/task/TID/comm`, written without an allocation.
fn path_of_comm(tid: c_int, path: &mut [u8; 40]) -> Option<&CStr> {
    use std::io::Write;
    let mut rest = path.as_mut_slice();
    write!(rest, "/proc/self/task/{tid}/comm\0").ok()?;
    CStr::from_bytes_until_nul(path).ok()
}

/// Calls `visit` for every thread of this process, reading the folder without `opendir`, which
/// allocates.
fn for_each_thread(mut visit: impl FnMut(c_int)) {
    let Some(fd) = open(c"/proc/self/task") else {
        return;
    };
    let mut buffer = [0_u8; 4096];
    loop {
        let size = buffer.len();
        // SAFETY: the kernel writes at most `size` bytes to the buffer.
        let got = unsafe { libc::syscall(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), size) };
        let Some(entries) = usize::try_from(got).ok().filter(|got| *got > 0) else {
            break;
        };
        each_number(&buffer[..entries], &mut visit);
    }
    close(fd);
}

/// Entries are `inode 8, offset 8, length 2, type 1, name…\0`.
fn each_number(mut entries: &[u8], visit: &mut impl FnMut(c_int)) {
    while let Some(&[low, high]) = entries.get(16..18) {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some(name) = entries.get(19..length) else {
            return;
        };
        let digits = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if let Some(tid) = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()) {
            visit(tid);
        }
        entries = &entries[length..];
    }
}

fn open(path: &CStr) -> Option<c_int> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the path is terminated.
    let fd = unsafe { libc::open(path.as_ptr(), flags) };
    (fd >= 0).then_some(fd)
}

fn read(fd: c_int, buffer: &mut [u8]) -> usize {
    // SAFETY: the kernel writes at most the buffer's length.
    let got = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(got).unwrap_or(0)
}

fn close(fd: c_int) {
    // SAFETY: an fd that this file opened.
    unsafe { libc::close(fd) };
}

fn gettid() -> c_int {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// Sleeps without a lock or an allocation.
pub(crate) fn pause(time: Duration) {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let time = libc::timespec { tv_sec: seconds, tv_nsec: i64::from(time.subsec_nanos()) };
    // SAFETY: reads a timespec of ours.
    unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) };
}

/// Whether somebody other than the supervisor traces this process.
pub(crate) fn is_debugged() -> bool {
    let Some(fd) = open(c"/proc/self/status") else {
        return false;
    };
    let mut text = [0; 4096];
    let length = read(fd, &mut text);
    close(fd);
    // SAFETY: takes nothing. The supervisor is the parent of an attempt's first process.
    let supervisor = unsafe { libc::getppid() };
    tracer(&text[..length]).is_some_and(|tracer| tracer != supervisor)
}

/// `TracerPid:\tPID` among the lines of a status.
fn tracer(status: &[u8]) -> Option<c_int> {
    let line =
        status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"TracerPid:\t"))?;
    std::str::from_utf8(line).ok()?.parse().ok().filter(|pid| *pid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracer_is_found_in_a_status() {
        assert_eq!(tracer(b"Name:\tx\nTracerPid:\t12\nUid:\t0"), Some(12));
        assert_eq!(tracer(b"Name:\tx\nTracerPid:\t0\nUid:\t0"), None);
        assert_eq!(tracer(b""), None);
    }
}
