//! The system calls on pidfds that nix does not offer, and the question whether this kernel has them.
//!
//! References: pidfd_open(2), pidfd_send_signal(2), waitid(2), close_range(2).
#![expect(unsafe_code, reason = "raw system calls")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::unistd::Pid;

use super::{Exit, Unavailable};

/// Whether the kernel has what every process backend needs.
pub(super) fn check() -> Result<(), Unavailable> {
    let missing = |call, since| Unavailable::Kernel { call, since };
    let own = open_pidfd(Pid::this()).map_err(|_| missing("pidfd_open", "5.3"))?;
    // A process is never its own child: a kernel that knows the id type says so, an older one says "invalid".
    match wait_exit(&own) {
        Ok(Waited::NotOurs) => (),
        Ok(Waited::Running | Waited::Ended(_)) | Err(_) => {
            return Err(missing("waitid(P_PIDFD)", "5.4"));
        }
    }
    close_range(u32::MAX, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
        .map_err(|_| missing("close_range(CLOSE_RANGE_CLOEXEC)", "5.11"))
}

/// Whether the kernel has what [`fork_raw`] needs besides.
pub(super) fn check_fork_raw() -> Result<(), Unavailable> {
    thread_id_address().map(drop).map_err(|_| Unavailable::Kernel {
        call: "prctl(PR_GET_TID_ADDRESS)",
        since: "3.5 with CONFIG_CHECKPOINT_RESTORE",
    })
}

/// A handle on a process. Safe against reuse of the number only while the process cannot have been reaped.
pub(super) fn open_pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers; on success the new descriptor is owned by nobody else.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0))?;
        #[expect(clippy::cast_possible_truncation, reason = "a descriptor is an int")]
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Sends `signal`. An error is always that the process is gone, or not ours to signal.
pub(super) fn send_signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: no siginfo is passed, the other arguments are integers.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(sent)?;
    Ok(())
}

/// What a look at a child showed.
#[must_use]
pub(super) enum Waited {
    Running,
    /// It has ended and, with this, is reaped.
    Ended(Exit),
    /// Not a child of this process, or reaped before by somebody else.
    NotOurs,
}

/// Reaps the child if it has ended. Never blocks.
///
/// `__WALL`: children of the fork server have no exit signal, and a plain wait does not see those.
pub(super) fn wait_exit(pidfd: &OwnedFd) -> io::Result<Waited> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    #[expect(clippy::cast_sign_loss, reason = "a descriptor that is open is not negative")]
    // SAFETY: `info` is writable and as large as the kernel expects.
    let waited = Errno::result(unsafe {
        libc::waitid(
            libc::P_PIDFD,
            pidfd.as_raw_fd() as libc::id_t,
            info.as_mut_ptr(),
            libc::WEXITED | libc::WNOHANG | libc::__WALL,
        )
    });
    match waited {
        Err(Errno::ECHILD) => Ok(Waited::NotOurs),
        Err(error) => Err(error.into()),
        // SAFETY: zeroed at first, which is a valid siginfo_t, then perhaps filled by the kernel.
        Ok(_) => Ok(ended(unsafe { info.assume_init_ref() })),
    }
}

fn ended(info: &libc::siginfo_t) -> Waited {
    // SAFETY: the fields of a SIGCHLD siginfo, which waitid fills in or leaves zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    match (pid, info.si_code) {
        (0, _) => Waited::Running,
        (_, libc::CLD_EXITED) => Waited::Ended(Exit::Code(status)),
        (_, _killed_or_dumped) => Waited::Ended(Exit::Signal(status)),
    }
}

/// Waits until the process has ended, without reaping it. `false` when `limit` passed first.
pub(super) fn poll_end(pidfd: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<bool> {
    let timeout = limit.map_or(PollTimeout::NONE, |limit| {
        PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)
    });
    loop {
        match nix::poll::poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => (),
            answer => return Ok(answer? > 0),
        }
    }
}

/// Closes, or marks close-on-exec, all descriptors from `first` to `last`, both included.
///
/// The caller answers for nobody in this process using them any more: a new process before its first runtime.
pub(super) fn close_range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: memory is not touched; that no owner of these descriptors is left is the caller's part.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })?;
    Ok(())
}

/// Whose child a fork makes.
#[derive(Clone, Copy)]
pub(super) enum Parentage {
    /// The caller's.
    Child,
    /// The caller's parent's.
    Sibling,
}

/// Which of the two a caller of [`fork_raw`] is.
#[must_use]
pub(super) enum RawFork {
    Parent { child: Pid, pidfd: OwnedFd },
    Child,
}

/// Forks by the bare system call, with a pidfd and without an exit signal: no `SIGCHLD`, and only waits that ask for
/// such children (`__WALL`) see the child.
///
/// The caller answers for being the only thread: nothing of libc's is made ready for the child, except that it learns
/// its thread id, which libc's recursive locks compare.
pub(super) fn fork_raw(parentage: Parentage) -> io::Result<RawFork> {
    let mut pidfd: i32 = -1;
    // SAFETY: all of its fields are integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.pidfd = (&raw mut pidfd).expose_provenance() as u64;
    args.child_tid = thread_id_address()?;
    args.flags = (libc::CLONE_PIDFD | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64
        | match parentage {
            Parentage::Child => 0,
            Parentage::Sibling => libc::CLONE_PARENT as u64,
        };
    // SAFETY: without CLONE_VM the child runs on a copy of this memory, with one thread as the caller promises. The
    // kernel writes a descriptor into `pidfd`, and into the child's copy of the thread id what belongs there.
    let answer = Errno::result(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>())
    })?;
    if answer == 0 {
        return Ok(RawFork::Child);
    }
    // SAFETY: the kernel made this descriptor, close-on-exec, and nobody else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    #[expect(clippy::cast_possible_truncation, reason = "a pid is an int")]
    Ok(RawFork::Parent { child: Pid::from_raw(answer as i32), pidfd })
}

/// Where libc keeps the calling thread's id, as it told the kernel when the thread began.
fn thread_id_address() -> io::Result<u64> {
    let mut address: u64 = 0;
    // SAFETY: the kernel writes a pointer into `address`.
    Errno::result(unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut address) })?;
    Ok(address)
}

/// Ends a child of this process that has no handle yet.
pub(super) fn kill_and_reap(child: Pid) {
    // Both fail only if somebody else reaped it.
    let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
    while nix::sys::wait::waitpid(child, Some(nix::sys::wait::WaitPidFlag::__WALL))
        == Err(Errno::EINTR)
    {}
}

/// Ends this process without running exit handlers.
pub(super) fn leave(code: i32) -> ! {
    // SAFETY: does not return, and runs nothing of this process.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_what_the_process_backends_need() {
        assert_eq!(check(), Ok(()));
    }
}
