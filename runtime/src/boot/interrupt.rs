//! Ctrl-C and the actors of a tree: only the root listens. A process actor does nothing on SIGINT while its parent lives, for
//! its parent is who ends it; once orphaned, SIGINT ends it again.
//!
//! At the root the first interrupt cancels the tree, the second kills it, and from the third on the process is ended by the signal,
//! as one that never heard of it: for a root that never yields. Its actors see that it is gone.
//!
//! An actor's handler does nothing instead of ignoring: an ignored signal stays ignored in programs the actor executes, a
//! handled one does not. The root's handler only writes to an event descriptor, and only in the process that installed it: a
//! fork has it too, until it resets its signals.

#![expect(unsafe_code, reason = "sigaction has no safe form: a handler could do anything")]

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::getpid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::actor::{Origin, ThisActor};
use crate::spawn::Backend;
use crate::watch::watch;

/// For the process of an actor, once. A thread's process belongs to another actor.
pub(super) fn ignore_in_process(backend: Backend) {
    if backend.is_process() {
        handle(SigHandler::Handler(do_nothing));
    }
}

/// For an actor whose parent is gone.
pub(super) fn restore_in_process(this: &ThisActor) {
    match &this.origin {
        Origin::Child { backend, .. } if backend.is_process() => drop(handle(SigHandler::SigDfl)),
        Origin::Child { .. } | Origin::Root => {}
    }
}

/// Has the root of this process interrupted, as Ctrl-C does: the first call cancels its tree, the second kills it. From any thread;
/// for programs that take SIGINT themselves, or have no terminal. Does nothing in a process without a root, as that of an actor is.
pub fn interrupt() {
    ring();
}

/// Where the interrupts of a root arrive.
pub(super) struct Interrupts {
    bell: AsyncFd<OwnedFd>,
    signal: Handled,
}

/// Whether SIGINT is ours. A program that handles or ignores it keeps doing so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handled {
    Here,
    Elsewhere,
}

/// The event descriptor of the root that listens; -1: none.
static BELL: AtomicI32 = AtomicI32::new(-1);

/// The process it is in.
static LISTENER: AtomicI32 = AtomicI32::new(0);

/// So many signals have come since it listens.
static SIGNALS: AtomicU32 = AtomicU32::new(0);

/// A cancel, a kill; then the signal does what it would do without us.
const HEARD: u32 = 2;

impl Interrupts {
    /// For the one root of this process, in its scheduler.
    pub(super) fn listen() -> io::Result<Interrupts> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let bell = OwnedFd::from(bell);
        SIGNALS.store(0, Ordering::Relaxed);
        LISTENER.store(getpid().as_raw(), Ordering::Relaxed);
        BELL.store(bell.as_raw_fd(), Ordering::Release);
        let signal = match handle(SigHandler::Handler(on_signal)) {
            Some(before) if !matches!(before.handler(), SigHandler::SigDfl) => {
                // As it was: with its mask and flags.
                set(&before);
                Handled::Elsewhere
            }
            Some(_) | None => Handled::Here,
        };
        Ok(Interrupts { bell: watch(bell, Interest::READABLE)?, signal })
    }

    /// Returns at the next interrupt; several that came at once are one. Cancel safe.
    pub(super) async fn next(&self) {
        loop {
            let Ok(mut ready) = poll_fn(|cx| self.bell.poll_read_ready(cx)).await else {
                // The scheduler ends; nobody is left to interrupt.
                return std::future::pending().await;
            };
            let mut count = [0; 8];
            if let Ok(read) = ready.try_io(|bell| Ok(nix::unistd::read(bell, &mut count)?)) {
                return drop(read);
            }
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        if self.signal == Handled::Here {
            handle(SigHandler::SigDfl);
        }
        // The descriptor is closed after this; a handler that has read it just now rings nobody.
        BELL.store(-1, Ordering::Release);
    }
}

extern "C" fn do_nothing(_signal: i32) {}

extern "C" fn on_signal(_signal: i32) {
    if !is_listening_here() {
        return;
    }
    if SIGNALS.fetch_add(1, Ordering::Relaxed) < HEARD {
        ring();
    } else {
        handle(SigHandler::SigDfl);
        // Comes when this handler has returned.
        let _raised = nix::sys::signal::raise(Signal::SIGINT);
    }
}

/// Whether the root that listens is of this process: a fork has the number of its bell, and perhaps something else there.
/// Async-signal-safe.
fn is_listening_here() -> bool {
    LISTENER.load(Ordering::Relaxed) == getpid().as_raw()
}

/// Async-signal-safe.
fn ring() {
    if !is_listening_here() {
        return;
    }
    let errno = nix::errno::Errno::last_raw();
    let bell = BELL.load(Ordering::Acquire);
    if bell >= 0 {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes are read from `one`. The descriptor may have been closed just now; no other of this process would
        // take a write of eight bytes amiss but one that got the number in this very moment, when a root ends.
        let _rung = unsafe { libc::write(bell, one.as_ptr().cast(), one.len()) };
    }
    nix::errno::Errno::set_raw(errno);
}

fn handle(handler: SigHandler) -> Option<SigAction> {
    set(&SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty()))
}

/// What was set before; `None` if it could not be set.
fn set(action: &SigAction) -> Option<SigAction> {
    // SAFETY: the handlers of this file touch atomics and make calls that are async-signal-safe, so they may run at any
    // instruction of any thread; any other is one that was installed before.
    let before = unsafe { sigaction(Signal::SIGINT, action) };
    debug_assert!(before.is_ok(), "SIGINT can be handled");
    before.ok()
}
