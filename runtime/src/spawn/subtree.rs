//! The killing of a child and of all that came from it.
//!
//! ```text
//! begin: stop and enumerate, until a look finds nobody new ─► kill all
//! step:  all ended? ─► reap ─► any orphans of theirs come here? ─┬─► kill, step again
//!                                                             └─► done
//! ```
//! Stopped from the top down, because a parent that runs can make children while it is looked at. A process caught in
//! the middle of a fork when the stop reached it can still have one that no look saw; it comes to this process as an
//! orphan, as do the descendants of a child that died before it was killed. An actor among them is known by its birth
//! (see `lineage`), another process by its group, whose leader was an actor.
//!
//! Called by `reaper`, which waits; nothing here blocks.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::Pid;

use super::family::{Stat, children_of};
use super::globals::globals;
use super::kernel::{self, Waited};
use super::process::Process;
use super::{KillReport, Stranger, lineage};

/// A kill under way.
pub(super) struct Kill {
    root: Arc<Process>,
    /// Descendants that were sent `SIGKILL` and are not reaped yet.
    victims: Vec<Victim>,
    /// Every process of the subtree ever seen.
    lineage: Vec<Pid>,
    /// Children of this process that others made, when the kill began: those are no strangers.
    before: BTreeSet<Pid>,
}

/// A descendant, with a handle that its pid's reuse does not lead astray.
struct Victim(OwnedFd);

/// How far a kill is.
#[must_use]
pub(super) enum Progress {
    /// Some are not gone yet.
    Waiting,
    Done(KillReport),
}

impl Kill {
    /// Stops, enumerates and kills the subtree of `root`.
    pub(super) fn begin(root: Arc<Process>) -> Kill {
        let before = globals().family.others();
        let lineage = vec![root.pid()];
        let mut kill = Kill { root, victims: Vec::new(), lineage, before };
        // A child that has ended has no children any more, and its number may be somebody else's.
        if kill.root.try_exit().is_none() {
            let _ = kill.root.signal(libc::SIGSTOP);
            kill.stop_descendants();
            let _ = kill.root.signal(libc::SIGKILL);
            kill.victims.iter().for_each(Victim::kill);
        }
        kill
    }

    /// Reaps whoever has ended. To be called again when one of [`pending`](Kill::pending) has.
    pub(super) fn step(&mut self) -> Progress {
        if self.pending().next().is_some() {
            return Progress::Waiting;
        }
        // All have ended, so all whose parents were among them are this process's by now. Those that are not have
        // another adopter, and it reaps them.
        self.victims.drain(..).for_each(Victim::reap);
        if self.adopts_more() {
            return Progress::Waiting;
        }
        Progress::Done(KillReport { killed: self.lineage.clone(), strangers: self.strangers() })
    }

    /// Whose ends the kill waits for.
    pub(super) fn pending(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let root = self.root.try_exit().is_none().then(|| self.root.as_fd());
        let victims = self.victims.iter().map(|victim| victim.0.as_fd());
        root.into_iter().chain(victims.filter(|pidfd| !has_ended(*pidfd)))
    }

    /// Looks at everybody again, until a look finds nobody new.
    fn stop_descendants(&mut self) {
        loop {
            let known = self.lineage.len();
            let mut next = 0;
            while let Some(parent) = self.lineage.get(next) {
                children_of(*parent).into_iter().for_each(|child| self.stop(child));
                next += 1;
            }
            if self.lineage.len() == known {
                return;
            }
        }
    }

    fn stop(&mut self, pid: Pid) {
        if !self.lineage.contains(&pid)
            && let Some(victim) = Victim::open(pid, &self.lineage)
        {
            victim.stop();
            self.lineage.push(pid);
            self.victims.push(victim);
        }
    }

    /// Kills orphans that have come to this process from the subtree, with what is below them. Whether there were any.
    fn adopts_more(&mut self) -> bool {
        let orphans: Vec<_> =
            globals().family.others().into_iter().filter(|pid| self.owns(*pid)).collect();
        for orphan in orphans {
            if let Ok(pidfd) = kernel::open_pidfd(orphan) {
                let victim = Victim(pidfd);
                victim.stop();
                self.lineage.push(orphan);
                self.victims.push(victim);
            }
        }
        if self.victims.is_empty() {
            return false;
        }
        self.stop_descendants();
        self.victims.iter().for_each(Victim::kill);
        true
    }

    /// By birth or, if it is no actor, by the process group of a dead one. A group whose leader lives is a new one that
    /// got the number again.
    fn owns(&self, pid: Pid) -> bool {
        let by_group = |stat: &Stat| {
            stat.group != pid
                && Stat::of(stat.group).is_none()
                && (self.lineage.contains(&stat.group)
                    || lineage::is_group_below(stat.group, stat.started, &self.lineage))
        };
        !self.lineage.contains(&pid)
            && Stat::of(pid).is_some_and(|stat| {
                lineage::is_below(pid, stat.started, &self.lineage) || by_group(&stat)
            })
    }

    fn strangers(&self) -> Vec<Stranger> {
        let now = globals().family.others();
        let strange =
            now.into_iter().filter(|pid| !self.before.contains(pid) && !self.lineage.contains(pid));
        strange
            .map(|pid| Stranger {
                pid,
                name: Stat::of(pid).map(|stat| stat.name).unwrap_or_default(),
            })
            .collect()
    }
}

impl Victim {
    /// A handle on `pid`, if it still is what it was listed as: a descendant of one of `lineage`. Its stopped parent
    /// cannot have reaped it, but one that ignores `SIGCHLD` need not, and the number may be another's by now.
    fn open(pid: Pid, lineage: &[Pid]) -> Option<Victim> {
        let pidfd = kernel::open_pidfd(pid).ok()?;
        Stat::of(pid).filter(|stat| lineage.contains(&stat.parent)).map(|_| Victim(pidfd))
    }

    fn stop(&self) {
        // It fails for one that has ended.
        let _ = kernel::send_signal(&self.0, libc::SIGSTOP);
    }

    fn kill(&self) {
        // As above.
        let _ = kernel::send_signal(&self.0, libc::SIGKILL);
    }

    fn reap(self) {
        let _: io::Result<Waited> = kernel::wait_exit(&self.0);
    }
}

fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    kernel::poll_end(pidfd, Some(Duration::ZERO)).unwrap_or(true)
}
