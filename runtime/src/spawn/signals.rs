//! Signal handlers and masks of a new process: none of its parent's.
//!
//! Used between fork and exec too, so everything here is async-signal-safe and touches no lock.
#![expect(unsafe_code, reason = "sigaction and sigprocmask")]

use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// Handlers std installs before `main`, as they were when `main` began.
static STD_HANDLERS: OnceLock<[(i32, libc::sigaction); 2]> = OnceLock::new();

/// Remembers std's handlers (they print "has overflowed its stack"), so that a forked child is what a fresh process
/// of this program is. To be called before the program can have installed its own.
pub(super) fn remember_std_handlers() {
    STD_HANDLERS
        .get_or_init(|| [libc::SIGSEGV, libc::SIGBUS].map(|signal| (signal, current(signal))));
}

/// Handles every signal as a fresh process of a Rust program does: in a forked child, where all are still blocked.
pub(super) fn reset_in_fork() {
    all_to_default();
    disposition(libc::SIGPIPE, libc::SIG_IGN);
    for (signal, handler) in STD_HANDLERS.get().into_iter().flatten() {
        // SAFETY: a handler of this very image, valid when it was read; nothing is written back.
        unsafe { libc::sigaction(*signal, handler, std::ptr::null_mut()) };
    }
}

/// As std does before `main`: a write to a pipe that nobody reads is an error and not a signal.
pub(crate) fn ignore_broken_pipes() {
    disposition(libc::SIGPIPE, libc::SIG_IGN);
}

/// Every signal at its default: in a child about to replace its image.
///
/// A pending stop signal would be taken when the mask is cleared and would stop the child before the exec, and with
/// it the thread that waits in vfork. Ignoring a signal discards it.
pub(super) fn reset_before_exec() {
    for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        disposition(signal, libc::SIG_IGN);
    }
    all_to_default();
    unblock();
}

/// Lets every signal through to this thread, and to those it will start.
pub(super) fn unblock() {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// All signals of this thread blocked, until dropped.
#[must_use]
pub(super) struct Blocked(libc::sigset_t);

impl Blocked {
    pub(super) fn all() -> Blocked {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initialises `all`; pthread_sigmask cannot fail with SIG_SETMASK and fills `before`.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Blocked(before.assume_init())
        }
    }

    /// Leaves them blocked: in a child, which resets them once it has settled.
    pub(super) fn keep(self) {
        let _ = std::mem::ManuallyDrop::new(self);
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the mask was filled in by the kernel.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}

/// The kernel's last, on all that this is written for. libc's own answer would cost each forked child a page of its text.
const LAST_SIGNAL: i32 = 64;

fn all_to_default() {
    for signal in 1..=LAST_SIGNAL {
        // The two that cannot be changed and libc's two internal ones are refused, and are right as they are.
        disposition(signal, libc::SIG_DFL);
    }
}

fn disposition(signal: i32, handler: libc::sighandler_t) {
    // SAFETY: a zeroed sigaction is valid, and SIG_DFL and SIG_IGN run no code of ours.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

fn current(signal: i32) -> libc::sigaction {
    // SAFETY: a zeroed sigaction is valid; the kernel overwrites it.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigaction(signal, std::ptr::null(), &raw mut action);
        action
    }
}
