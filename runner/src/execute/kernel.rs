#![expect(unsafe_code, reason = "kernel calls that have no safe wrapper")]
//! The few kernel calls of this crate that nix does not wrap safely.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::Pid;
use runner_core::pidfd;

/// Spawns a command in a session of its own (`setsid(2)`), with no signal blocked (it would
/// inherit ours) and `kept` open under the numbers they have here.
pub(super) fn spawn_apart(command: &mut Command, kept: &[BorrowedFd<'_>]) -> io::Result<Child> {
    let numbers: Vec<i32> = kept.iter().map(AsRawFd::as_raw_fd).collect();
    let prepare = move || {
        nix::unistd::setsid()?;
        SigSet::empty().thread_set_mask()?;
        for &number in &numbers {
            // SAFETY: `kept` is borrowed until `spawn` below returns, and the child has a copy
            // of the parent's fd table: the number is open.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only calls `setsid`, `pthread_sigmask` and
    // `fcntl`, which are async-signal-safe, and reads a vector that was allocated before.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// Spawns a command in a process group of its own that is killed when the calling thread ends,
/// however that happens (`PR_SET_PDEATHSIG`, `prctl(2)`): a Ctrl-C does not reach that group.
pub(crate) fn spawn_bound(command: &mut Command) -> io::Result<Child> {
    command.process_group(0);
    // SAFETY: between fork and exec the closure only calls `prctl`, a bare system call.
    unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)) };
    command.spawn()
}

/// A pidfd of a child that has not been waited for.
pub(crate) fn pidfd_of(child: &Child) -> io::Result<OwnedFd> {
    Ok(pidfd::open(Pid::from_raw(child.id().cast_signed()))?)
}

/// Ends this process by a signal, without a core file: somebody else has died of it already.
/// Returns if that signal ends nobody.
pub(crate) fn die_of(signal: i32) {
    let _ = nix::sys::prctl::set_dumpable(false);
    let Ok(signal) = Signal::try_from(signal) else {
        return;
    };
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: installs no handler.
    let _ = unsafe { sigaction(signal, &default) };
    let mut set = SigSet::empty();
    set.add(signal);
    let _ = nix::sys::signal::raise(signal);
    let _ = set.thread_unblock();
}

/// Takes a write lease on a file (`fcntl(2)`), until it is closed: granted only if there is no
/// other open file description of it on this machine, mapped ones included.
///
/// # Errors
/// `EAGAIN` if there is; else what the file system says, not all know leases.
pub(crate) fn lease_for_writing(file: &File) -> io::Result<()> {
    // SAFETY: takes three integers.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives back to the kernel what was allocated and freed (`malloc_trim(3)`): what cargo and the
/// suites said takes more than what is kept of it, and a run may be long.
pub(crate) fn give_back_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes an integer.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Gives SIGCHLD its default meaning: a process may be started with it ignored, and then its
/// children vanish without being waited for (`wait(2)`, NOTES).
pub(super) fn keep_zombies() -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: installs no handler.
    unsafe { sigaction(Signal::SIGCHLD, &default)? };
    Ok(())
}
