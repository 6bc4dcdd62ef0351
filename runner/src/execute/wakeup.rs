//! Everything the executor can be woken by, as one closed enum: signals, supervisors' sockets and
//! pidfds, finished reports, the clock.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use runner_core::{process, wait};

use super::supervisor::SupervisorId;

/// At most so many sources are told of at once; the others come with the next wait.
const BATCH: usize = 64;

/// Why the executor is awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wakeup {
    /// Somebody wants the run to end, by this signal.
    Interrupt(i32),
    /// Somebody wants the run to stand still (SIGTSTP).
    Stop,
    /// Somebody wants it to go on (SIGCONT).
    Continue,
    /// Somebody wants to know what everything does that runs (SIGUSR1).
    Inspect,
    /// A key was pressed.
    Keys,
    /// A child of this process died or stopped.
    Child,
    /// A supervisor's socket has something to read, room to write, or is closed.
    Control(SupervisorId),
    /// A supervisor is dead.
    Exit(SupervisorId),
    /// A report is written, or its writer is gone.
    Report,
    /// It is late enough.
    Clock,
}

/// What can be watched.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Control(SupervisorId),
    Exit(SupervisorId),
    Report,
    Keys,
}

/// What is waited for on a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Read,
    ReadAndWrite,
}

/// An epoll instance and the blocked signals.
pub(super) struct Wakeups {
    epoll: Epoll,
    signals: Signals,
}

impl Wakeups {
    /// Blocks the signals of a run in this thread until dropped.
    pub(super) fn new() -> io::Result<Self> {
        let signals = Signals::block()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&signals.fd, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        Ok(Self { epoll, signals })
    }

    /// Wakes for reading (and end-of-file) on `fd` until it is closed.
    pub(super) fn watch(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, source.number()))?)
    }

    /// Wakes for `fd` no more.
    pub(super) fn forget(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// Changes what a watched `fd` wakes for.
    pub(super) fn change(
        &self,
        fd: impl AsFd,
        source: Source,
        interest: Interest,
    ) -> io::Result<()> {
        let flags = match interest {
            Interest::Read => EpollFlags::EPOLLIN,
            Interest::ReadAndWrite => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        };
        Ok(self.epoll.modify(fd, &mut EpollEvent::new(flags, source.number()))?)
    }

    /// Waits until something happens or it is `until`. Deaths come first: what a dead supervisor
    /// still said must not get it more work. [`Wakeup::Clock`] comes last: who has spoken in time
    /// is heard before a clock speaks against him.
    pub(super) fn wait(&mut self, until: Instant) -> io::Result<Vec<Wakeup>> {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = match self.epoll.wait(&mut events, wait::timeout(Some(until))) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut wakeups = Vec::with_capacity(count + 1);
        for event in &events[..count] {
            match Source::from_number(event.data()) {
                Some(source) => wakeups.push(source.wakeup()),
                None => self.signals.take(&mut wakeups)?,
            }
        }
        wakeups.sort_by_key(|wakeup| !matches!(wakeup, Wakeup::Exit(_)));
        if Instant::now() >= until {
            wakeups.push(Wakeup::Clock);
        }
        Ok(wakeups)
    }
}

/// What epoll hands back: the low bits say what, the high ones whose.
const SIGNALS: u64 = 0;
const REPORT: u64 = 1;
const CONTROL: u64 = 2;
const EXIT: u64 = 3;
const KEYS: u64 = 4;
const WHAT_BITS: u32 = 3;

impl Source {
    fn number(self) -> u64 {
        match self {
            Self::Report => REPORT,
            Self::Keys => KEYS,
            Self::Control(SupervisorId(id)) => CONTROL | u64::from(id) << WHAT_BITS,
            Self::Exit(SupervisorId(id)) => EXIT | u64::from(id) << WHAT_BITS,
        }
    }

    /// `None` for the signals, which every [`Wakeups`] watches by itself.
    fn from_number(number: u64) -> Option<Self> {
        let id = SupervisorId((number >> WHAT_BITS) as u32);
        match number & ((1 << WHAT_BITS) - 1) {
            REPORT => Some(Self::Report),
            KEYS => Some(Self::Keys),
            CONTROL => Some(Self::Control(id)),
            EXIT => Some(Self::Exit(id)),
            _ => None,
        }
    }

    fn wakeup(self) -> Wakeup {
        match self {
            Self::Report => Wakeup::Report,
            Self::Keys => Wakeup::Keys,
            Self::Control(id) => Wakeup::Control(id),
            Self::Exit(id) => Wakeup::Exit(id),
        }
    }
}

/// The signals of a run, blocked and readable.
///
/// One that was ignored when the process began (`nohup`, a shell's `&`) stays ignored. It must not
/// be blocked for that: the kernel queues what is blocked, ignored or not.
struct Signals {
    fd: SignalFd,
    before: SigSet,
}

impl Signals {
    fn block() -> io::Result<Self> {
        let mut set = process::heard(&[
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGTSTP,
            Signal::SIGCONT,
            Signal::SIGUSR1,
        ]);
        set.add(Signal::SIGCHLD);
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { fd, before })
    }

    fn take(&self, into: &mut Vec<Wakeup>) -> io::Result<()> {
        while let Some(info) = self.fd.read_signal()? {
            let number = info.ssi_signo.cast_signed();
            into.push(match number {
                libc::SIGCHLD => Wakeup::Child,
                libc::SIGTSTP => Wakeup::Stop,
                libc::SIGCONT => Wakeup::Continue,
                libc::SIGUSR1 => Wakeup::Inspect,
                number => Wakeup::Interrupt(number),
            });
        }
        Ok(())
    }
}

impl Drop for Signals {
    /// What came too late to be answered must not kill the process that is about to say how the
    /// run ended.
    fn drop(&mut self) {
        let _ = self.take(&mut Vec::new());
        let _ = self.before.thread_set_mask();
    }
}
