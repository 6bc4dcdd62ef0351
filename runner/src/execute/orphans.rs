//! The backstop: what a dead supervisor left, found, killed and reaped.
//!
//! This process is a child subreaper, and so is every supervisor: a process comes here only when
//! the supervisor above it has died. So every child of ours that is neither a supervisor nor was
//! there before the run is such an orphan, and when there is none, nothing of any dead supervisor
//! is left at any depth: everything alive below us hangs on a child of ours.

use std::collections::BTreeSet;
use std::io;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use runner_core::process;

use super::kernel;

/// Rounds of one sweep: a process that forks and exits is caught by being quicker than it, which
/// takes a few tries.
const ROUNDS: usize = 8;

/// Who among our children is not ours to kill.
pub(crate) struct Orphans {
    /// Children from before the run (a shell may have left some before its `exec`).
    strangers: BTreeSet<i32>,
    /// Orphans that did not die of SIGKILL in time. Not waited for, but still killed when seen.
    survivors: BTreeSet<i32>,
}

impl Orphans {
    /// Makes this process the reaper of whatever is orphaned below it.
    pub(crate) fn adopt_all() -> io::Result<Self> {
        kernel::keep_zombies()?;
        nix::sys::prctl::set_child_subreaper(true)?;
        let strangers = process::children(own_pid()).into_iter().collect();
        Ok(Self { strangers, survivors: BTreeSet::new() })
    }

    /// Kills and reaps orphans. Returns those it saw last: if there are none, there are none.
    /// Otherwise some may just have died and left others; sweep again.
    pub(crate) fn sweep(&mut self, supervisors: &BTreeSet<i32>) -> Vec<i32> {
        let mut seen = Vec::new();
        for _ in 0..ROUNDS {
            seen = self.sweep_once(supervisors);
            if seen.is_empty() {
                break;
            }
        }
        seen
    }

    /// Stops waiting for these.
    pub(crate) fn give_up(&mut self, orphans: &[i32]) {
        self.survivors.extend(orphans);
    }

    fn sweep_once(&mut self, supervisors: &BTreeSet<i32>) -> Vec<i32> {
        let mut orphans = process::children(own_pid());
        orphans.retain(|pid| !self.strangers.contains(pid) && !supervisors.contains(pid));
        for &pid in &orphans {
            // One that cannot be killed (EPERM, it changed its user) is simply seen again.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            self.reap(pid);
        }
        orphans.retain(|pid| !self.survivors.contains(pid));
        orphans
    }

    fn reap(&mut self, pid: i32) {
        let status = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
        if status.is_ok_and(|status| status.pid().is_some()) {
            self.survivors.remove(&pid);
        }
    }
}

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}
