//! A child process: a pid that travels with its pidfd, and the exit status, taken once.
//!
//! Called by `child` for its owner and by `reaper` for what nobody owns any more.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};

use nix::unistd::Pid;
use tokio::io::Interest;

use super::globals::globals;
use super::kernel::{self, Waited};
use super::lock::lock;
use super::{Exit, Signalled};
use crate::watch::watch;

pub(super) struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    /// Who may reap it. A forked actor inherits a copy of its parent's heap, and with it values that are not its own.
    parent: Pid,
    /// Set by whoever reaps, under the lock, so that one reaps and all see what it found.
    exit: Mutex<Option<Exit>>,
}

impl Process {
    pub(super) fn new(pid: Pid, pidfd: OwnedFd) -> Process {
        globals().family.enter(pid);
        Process { pid, pidfd, parent: Pid::this(), exit: Mutex::new(None) }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it is a child of the process that asks.
    pub(super) fn is_ours(&self) -> bool {
        self.parent == Pid::this()
    }

    /// Reaps it if it has ended.
    pub(super) fn try_exit(&self) -> Option<Exit> {
        let mut exit = lock(&self.exit);
        if exit.is_none() {
            *exit = match kernel::wait_exit(&self.pidfd) {
                Ok(Waited::Ended(exit)) => Some(exit),
                Ok(Waited::Running) => None,
                Ok(Waited::NotOurs) | Err(_) => self.exit_seen_by_others(),
            };
            if exit.is_some() && self.is_ours() {
                globals().family.forget(self.pid);
            }
        }
        exit.clone()
    }

    /// Somebody else reaped it, if it has ended at all: what it ended with is not known, and not guessed.
    fn exit_seen_by_others(&self) -> Option<Exit> {
        match kernel::poll_end(self.pidfd.as_fd(), Some(std::time::Duration::ZERO)) {
            Ok(true) => Some(Exit::Unknown),
            Ok(false) | Err(_) => None,
        }
    }

    /// Waits for the end and reaps. Cancel safe, for any number of callers.
    pub(super) async fn wait(self: &Arc<Self>) -> Exit {
        loop {
            if let Some(exit) = self.try_exit() {
                return exit;
            }
            // A failed wait is one the kernel could not register (it ran out of memory or watches).
            if self.ended().await.is_err() {
                return self.wait_on_a_thread().await;
            }
        }
    }

    /// The end as an event of the caller's runtime. Each waiter registers a duplicate, because an epoll instance
    /// takes a descriptor once and waiters may be on different runtimes.
    async fn ended(&self) -> io::Result<()> {
        let watched = watch(self.pidfd.try_clone()?, Interest::READABLE)?;
        watched.readable().await?.retain_ready();
        Ok(())
    }

    async fn wait_on_a_thread(self: &Arc<Self>) -> Exit {
        let process = Arc::clone(self);
        let waiting = tokio::task::spawn_blocking(move || process.wait_blocking());
        // A runtime that has shut down starts no thread; nothing else runs on it that could be held up.
        waiting.await.unwrap_or_else(|_| self.wait_blocking())
    }

    /// Blocks until it has ended, and reaps.
    pub(super) fn wait_blocking(&self) -> Exit {
        loop {
            if let Some(exit) = self.try_exit() {
                return exit;
            }
            if kernel::poll_end(self.pidfd.as_fd(), None).is_err() {
                return Exit::Unknown;
            }
        }
    }

    pub(super) fn signal(&self, signal: i32) -> Signalled {
        match kernel::send_signal(&self.pidfd, signal) {
            Ok(()) => Signalled::Sent,
            Err(_) => Signalled::Gone,
        }
    }
}

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
