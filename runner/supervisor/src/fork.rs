//! Forking, and fds by number.
#![expect(unsafe_code, reason = "fork, raw system calls and inherited fds")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{ForkResult, Pid};
use runner_core::protocol::End;

/// Forks this process, which has one thread.
pub(crate) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the supervisor has one thread (those of `FirstProcess::prepare` have ended before the
    // first fork), so no lock can be held by one that does not exist in the child: the child may
    // do anything.
    unsafe { nix::unistd::fork() }
}

/// A test begins with what these do by default, however the run was started: `nohup` and a shell's
/// `&` have whom they start ignore them, and a test of Ctrl-C would wait for ever.
pub(crate) fn hear_interrupts() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: installs no code. It does not fail for these signals.
        let _ = unsafe { sigaction(signal, &default) };
    }
}

/// Closes all fds above 2 but those, in a child whose owners of fds are never used or dropped: it
/// executes another program or ends by `exit`.
pub(crate) fn close_all_but(kept: &[RawFd]) {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.cast_unsigned()).collect();
    kept.sort_unstable();
    let mut from = 3;
    for fd in kept.into_iter().filter(|fd| *fd > 2) {
        if from < fd {
            close_range(from, fd - 1);
        }
        from = fd + 1;
    }
    close_range(from, u32::MAX);
}

fn close_range(first: u32, last: u32) {
    // SAFETY: takes no pointer; see `close_all_but` for the owners.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// What became of a child, or of a thread that is traced.
pub(crate) enum Change {
    /// It ended.
    Ended(End),
    /// It stopped because it is traced; with the signal it was about to get, or 0.
    Stopped {
        /// Its number.
        signal: i32,
    },
}

/// Waits for any change that there is. nix's `waitpid` loses the pid where a signal has no name.
pub(crate) fn wait_any() -> nix::Result<Option<(Pid, Change)>> {
    let mut status = 0;
    let flags = libc::WNOHANG | libc::__WALL;
    // SAFETY: writes the status to an integer of ours.
    let pid = Errno::result(unsafe { libc::waitpid(-1, &raw mut status, flags) })?;
    if pid == 0 {
        return Ok(None);
    }
    let change = if libc::WIFEXITED(status) {
        Change::Ended(End::Exited(libc::WEXITSTATUS(status)))
    } else if libc::WIFSIGNALED(status) {
        Change::Ended(End::Signalled(libc::WTERMSIG(status)))
    } else {
        // Without an event the signal is one that was on its way.
        let signal = if status >> 16 == 0 { libc::WSTOPSIG(status) } else { 0 };
        Change::Stopped { signal }
    };
    Ok(Some((Pid::from_raw(pid), change)))
}

/// An fd that this process inherited by number, close-on-exec from now on. To be taken once.
///
/// # Errors
/// It is one of the first three, or not open.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: takes no pointer; an fd that is not open is an error.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and the runner made it for this process, which takes it once, at
    // its start.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    debug_assert_eq!(fd.as_raw_fd(), number);
    Ok(fd)
}
