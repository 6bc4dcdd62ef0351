//! The two ways to fork that floors need, and what goes with them.
#![expect(unsafe_code, reason = "fork, clone, received fds and an exit without destructors")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};

/// libc's `fork`. In the child, end with [`exit`].
pub(super) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: floors fork from processes with one thread, so that no lock is held by a thread that
    // the child lacks.
    unsafe { nix::unistd::fork() }
}

/// Forks a sibling: a child of this process's parent. In the child, end with [`exit`].
pub(super) fn fork_sibling() -> nix::Result<ForkResult> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: no stack is given, so that the child goes on on a copy of this one, as after fork;
    // the process has one thread, as above. What glibc remembers of thread ids is stale in the
    // child, which uses none.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match Errno::result(pid)? {
        0 => Ok(ForkResult::Child),
        pid => Ok(ForkResult::Parent { child: Pid::from_raw(pid as i32) }),
    }
}

/// Takes an fd that was just received.
pub(super) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made it for the message it came with, which nobody else reads.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Ends this process at once: what it inherited is not its own to flush or to drop.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(code) }
}
