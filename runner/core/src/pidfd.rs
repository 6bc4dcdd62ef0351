//! Processes by what cannot mean another one later.
//!
//! Used by supervisors, which stop what lies below them, by the runner and by `reap`.
#![expect(unsafe_code, reason = "kernel calls that have no safe wrapper")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// A pidfd of whoever has this id now (`pidfd_open(2)`), close-on-exec. Only of a child that has not
/// been waited for is it sure who that is.
///
/// # Errors
/// `ESRCH` if nobody has it; else what the kernel says.
pub fn open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: takes two integers; the kernel makes a new fd or fails.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the fd is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal to the process that a pidfd means, and to no other (`pidfd_send_signal(2)`).
///
/// # Errors
/// `ESRCH` if it has ended and was waited for; else what the kernel says.
pub fn signal(process: BorrowedFd<'_>, signal: Signal) -> nix::Result<()> {
    let (process, signal) = (process.as_raw_fd(), signal as i32);
    let information = std::ptr::null::<libc::siginfo_t>();
    let call = libc::SYS_pidfd_send_signal;
    // SAFETY: no information is given, so no memory is read; the fd is open.
    let sent = unsafe { libc::syscall(call, process, signal, information, 0) };
    Errno::result(sent).map(drop)
}
