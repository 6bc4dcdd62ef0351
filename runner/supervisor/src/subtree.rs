//! The processes of an attempt: who they are, stopping them all, and ending what is left.
//!
//! Killing: only children of this process are ever killed. As long as they are not reaped their pids
//! cannot mean anybody else, and this process is a subreaper: whatever a dying child had started
//! becomes a child in turn and is found by the next look. No list that could be stale is needed,
//! and nothing that is not below this process can be hit.
//!
//! Stopping has to reach deeper, and no process may be reparented for it. A descendant is signalled
//! by its pidfd, after it was seen that the process which the pidfd stands for is a child of this
//! process or of one that was reached the same way: had its pid been taken over by another process,
//! it would have another parent.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runner_core::protocol::{End, Process};
use runner_core::{pidfd, process};

use crate::leftovers::Shared;
use crate::life::Tracer;
use crate::{fork, outside};

/// What SIGKILL does not end by then is left to whoever adopts it.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// Processes that do not stop within this time are in a system call that cannot be interrupted.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

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
        match fork::wait_any() {
            Ok(Some((pid, fork::Change::Ended(end)))) => return Reaped::Child(pid, end),
            // A thread that did not stop while somebody waited for it.
            Ok(Some((thread, fork::Change::Stopped { signal }))) => {
                outside::let_go(thread, signal);
            }
            Ok(None) => return Reaped::NoneYet,
            Err(Errno::EINTR) => {}
            Err(_) => return Reaped::NoChild,
        }
    }
}

/// SIGKILL to every child of this process that is not shared.
pub(crate) fn kill_children(shared: &Shared) {
    for pid in process::children(Pid::this().as_raw()) {
        if !shared.contains(pid) {
            // It may have ended meanwhile: it is still ours to reap.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Whether nothing is left but what is shared.
pub(crate) fn is_clear(shared: &Shared) -> bool {
    process::children(Pid::this().as_raw()).into_iter().all(|pid| shared.contains(pid))
}

/// Everything below this process that is not already dead, and neither shared nor of what is.
pub(crate) fn alive(shared: &Shared) -> Vec<Process> {
    let own = |pid: &i32| !shared.contains(*pid);
    let mut below: Vec<i32> =
        process::children(Pid::this().as_raw()).into_iter().filter(own).collect();
    let mut next = 0;
    while let Some(&parent) = below.get(next) {
        below.extend(process::children(parent).into_iter().filter(own));
        next += 1;
    }
    below.into_iter().filter_map(process::read).filter(|p| !matches!(p.state, 'Z' | 'X')).collect()
}

/// Ends what attempts shared: the supervisor is about to go.
pub(crate) fn end_all() {
    let until = Instant::now() + END_PATIENCE;
    while Instant::now() < until {
        match reap() {
            Reaped::NoChild => return,
            Reaped::Child(..) => {}
            Reaped::NoneYet => {
                kill_children(&Shared::default());
                std::thread::yield_now();
            }
        }
    }
}

/// Whether somebody who is no part of the attempt traces one of its processes.
pub(crate) fn tracer() -> Tracer {
    let me = Pid::this().as_raw();
    let below = process::descendants(me);
    let foreign = |tracer: &i32| *tracer != me && !below.contains(tracer);
    match below.iter().filter_map(|pid| process::tracer(*pid)).any(|tracer| foreign(&tracer)) {
        true => Tracer::Foreign,
        false => Tracer::None,
    }
}

/// Everything below this process, stopped. What was stopped before stays out of it.
#[derive(Default)]
pub(crate) struct StoppedTree {
    /// By pid; without a pidfd where it was not us who stopped it.
    members: BTreeMap<i32, Option<OwnedFd>>,
}

impl StoppedTree {
    /// SIGSTOP to everything below this process, again until a look finds nothing that runs: a
    /// process that is stopped cannot have started another.
    ///
    /// A signal may come between a fork and an exec without harm: there is one thread here, so a
    /// pause is heard only when a fork is over and its child is below us.
    pub(crate) fn stop() -> Self {
        let mut tree = Self::default();
        let until = Instant::now() + STOP_PATIENCE;
        while tree.stop_more() == Found::Running && Instant::now() < until {
            std::thread::yield_now();
        }
        tree
    }

    /// SIGCONT to those that we stopped.
    pub(crate) fn go_on(self) {
        for process in self.members.into_values().flatten() {
            // One that was killed meanwhile needs nothing.
            let _ = pidfd::signal(process.as_fd(), Signal::SIGCONT);
        }
    }

    fn stop_more(&mut self) -> Found {
        let mut found = Found::NothingRunning;
        for pid in process::descendants(Pid::this().as_raw()) {
            found = found.max(self.stop_one(pid));
        }
        found
    }

    fn stop_one(&mut self, pid: i32) -> Found {
        let Ok(pidfd) = pidfd::open(Pid::from_raw(pid)) else {
            return Found::NothingRunning;
        };
        let Some(process) = process::brief(pid).filter(|process| self.is_ours(process.parent))
        else {
            return Found::NothingRunning;
        };
        let is_known = self.members.contains_key(&pid);
        match process.state {
            'Z' | 'X' => Found::NothingRunning,
            'T' | 't' => {
                self.members.entry(pid).or_insert(None);
                Found::NothingRunning
            }
            _ if is_known => Found::Running,
            _ => {
                let sent = pidfd::signal(pidfd.as_fd(), Signal::SIGSTOP);
                self.members.insert(pid, sent.is_ok().then_some(pidfd));
                Found::Running
            }
        }
    }

    fn is_ours(&self, parent: i32) -> bool {
        parent == Pid::this().as_raw() || self.members.contains_key(&parent)
    }
}

/// What a look for processes found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    NothingRunning,
    /// Something runs, or did until just now.
    Running,
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
