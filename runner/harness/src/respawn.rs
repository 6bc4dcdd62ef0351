//! A supervisor in the place of one that was lost.
//!
//! The first ones are forked before this process has a second thread. Now it has many, and what
//! another of them holds locked would be locked for ever in a forked child. So this one is executed:
//! this very binary, as the runner starts it. Called by `player`.
#![expect(unsafe_code, reason = "a child is prepared between fork and exec")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::{Pid, setsid};
use runner_core::memory::Memory;
use runner_core::protocol::{role, variable};

/// What this process was started from, also if that was replaced since.
const THIS_IMAGE: &str = "/proc/self/exe";

/// Starts a supervisor in a session of its own. The caller waits for it by its id.
///
/// # Errors
/// What the kernel says to `socketpair`, `fork` or `execve`.
pub(crate) fn supervisor(memory: &Memory) -> io::Result<(UnixStream, Pid)> {
    let (ours, theirs) = UnixStream::pair()?;
    let kept = [theirs.as_raw_fd(), memory.fd().as_raw_fd()];
    let mut command = Command::new(THIS_IMAGE);
    command
        .env(variable::ROLE, role::SUPERVISOR)
        .env(variable::CONTROL, theirs.as_fd().as_raw_fd().to_string())
        .env(variable::MEMORY, memory.fd().as_raw_fd().to_string())
        .stdin(Stdio::null());
    let prepare = move || {
        setsid()?;
        for number in kept {
            // SAFETY: both are open until `spawn` below returns, and the child has a copy of this
            // process's fds.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: the closure only calls `setsid` and `fcntl`, which are async-signal-safe, and reads
    // two numbers.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn()?;
    Ok((ours, Pid::from_raw(child.id().cast_signed())))
}
