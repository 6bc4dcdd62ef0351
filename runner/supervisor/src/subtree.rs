//! Ending what an attempt left: SIGKILL to our own children until there is none.
//!
//! Only children of this process are ever signalled. As long as they are not reaped their pids
//! cannot mean anybody else, and this process is a subreaper: whatever a dying child had started
//! becomes a child in turn and is found by the next look. No list that could be stale is needed,
//! and nothing that is not below this process can be hit.

use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use runner_core::process;
use runner_core::protocol::{End, Process};
use std::time::Duration;

/// What one look at our children found.
pub(crate) enum Reaped {
    /// A child ended.
    Child(Pid, End),
    /// Children are alive, none has ended.
    NoneYet,
    /// There is no child.
    NoChild,
}

/// Reaps one child that ended, if there is one.
pub(crate) fn reap() -> Reaped {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(pid, code)) => return Reaped::Child(pid, End::Exited(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Reaped::Child(pid, End::Signalled(signal as i32));
            }
            Ok(WaitStatus::StillAlive) => return Reaped::NoneYet,
            // Stops are only reported to who asks for them, tracers apart.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return Reaped::NoChild,
        }
    }
}

/// SIGKILL to every child of this process.
pub(crate) fn kill_children() {
    for pid in process::children(Pid::this().as_raw()) {
        // It may have ended meanwhile: it is still ours to reap.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Everything below this process that is not already dead.
pub(crate) fn alive() -> Vec<Process> {
    let below = process::descendants(Pid::this().as_raw());
    below.into_iter().filter_map(process::read).filter(|p| !matches!(p.state, 'Z' | 'X')).collect()
}

/// User and system time of all children reaped so far.
pub(crate) fn reaped_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Duration::ZERO;
    };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
            Duration::from_secs(seconds) + Duration::from_micros(micros)
        })
        .sum()
}
