//! All supervisors of a run and what dead ones left: who lives, until when, who is to be killed.
//!
//! Called by `executor`, which knows what a supervisor's life or death means for a slot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use runner_core::memory::Memory;
use runner_core::process;
use runner_core::protocol::{Process, ProtocolError, ToSupervisor};

use super::image::Image;
use super::orphans::Orphans;
use super::run::Limits;
use super::supervisor::{Duty, Progress, Supervisor, SupervisorId, Term};
use super::wakeup::{Interest, Source, Wakeups};

/// A supervisor that has nothing to do any more should be gone after this long.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);

/// What is alive this long after SIGKILL is named and no longer waited for.
const SIGKILL_LIMIT: Duration = Duration::from_secs(5);

/// So many processes are told of a supervisor that went wrong.
const EVIDENCE_LIMIT: usize = 64;

/// Between two sweeps, where no SIGCHLD comes before.
const SWEEP_PERIOD: Duration = Duration::from_millis(5);

/// The supervisors of a run.
pub(super) struct Crew {
    members: BTreeMap<SupervisorId, Supervisor>,
    hired: u32,
    orphans: Orphans,
    /// Set while orphans may be left.
    sweep: Option<Sweep>,
}

#[derive(Clone, Copy, Debug)]
struct Sweep {
    next: Instant,
    /// Orphans still there then are given up.
    until: Instant,
}

impl Crew {
    /// Nobody; makes this process the reaper of what dead supervisors leave.
    pub(super) fn new() -> io::Result<Self> {
        let orphans = Orphans::adopt_all()?;
        Ok(Self { members: BTreeMap::new(), hired: 0, orphans, sweep: None })
    }

    /// Starts a supervisor for a slot, and greets it.
    pub(super) fn hire(
        &mut self,
        (slot, suite): (usize, usize),
        image: &Image<'_>,
        memory: &Memory,
        limits: &Limits,
        wakeups: &Wakeups,
    ) -> io::Result<SupervisorId> {
        let member = Supervisor::start(slot, suite, image, memory, &limits.raw_output)?;
        let id = SupervisorId(self.hired);
        self.hired += 1;
        let watched = watch(&member, id, wakeups);
        self.members.insert(id, member);
        if let Err(error) = watched {
            self.dismiss_now(id, Instant::now());
            return Err(error);
        }
        Ok(id)
    }

    /// A supervisor that is not done with.
    pub(super) fn get(&mut self, id: SupervisorId) -> Option<&mut Supervisor> {
        self.members.get_mut(&id)
    }

    /// Those that have greeted and serve a slot.
    pub(super) fn serving(&self) -> Vec<SupervisorId> {
        let serves = |member: &Supervisor| match member.duty {
            Duty::Serving { .. } => true,
            Duty::Greeting { .. } | Duty::Leaving => false,
        };
        self.members.iter().filter(|(_, member)| serves(member)).map(|(id, _)| *id).collect()
    }

    /// The whole program stood still: nobody was slow meanwhile.
    pub(super) fn postpone(&mut self, by: Duration) {
        for member in self.members.values_mut() {
            match &mut member.term {
                Term::Open => {}
                Term::KillAt(time) | Term::GiveUpAt(time) => *time += by,
            }
        }
        if let Some(sweep) = &mut self.sweep {
            sweep.until += by;
        }
    }

    /// Says something to a supervisor, now or as soon as its socket has room.
    pub(super) fn send(
        &mut self,
        id: SupervisorId,
        message: &ToSupervisor,
        wakeups: &Wakeups,
    ) -> Result<(), ProtocolError> {
        let member = self.members.get_mut(&id).ok_or(ProtocolError::Closed)?;
        match member.send(message)? {
            Progress::All => Ok(()),
            Progress::Part => listen(member, id, Interest::ReadAndWrite, wakeups),
        }
    }

    /// Says what there was no room for.
    pub(super) fn flush(
        &mut self,
        id: SupervisorId,
        wakeups: &Wakeups,
    ) -> Result<(), ProtocolError> {
        let Some(member) = self.members.get_mut(&id).filter(|member| member.has_unsent()) else {
            return Ok(());
        };
        match member.flush()? {
            Progress::All => listen(member, id, Interest::Read, wakeups),
            Progress::Part => Ok(()),
        }
    }

    /// Lets a supervisor go that has no attempt.
    pub(super) fn dismiss(&mut self, id: SupervisorId, now: Instant) {
        if let Some(member) = self.members.get_mut(&id) {
            member.duty = Duty::Leaving;
            member.close();
            member.term = Term::KillAt(now + LEAVE_LIMIT);
        }
    }

    /// Ends a supervisor that has no duty any more.
    pub(super) fn dismiss_now(&mut self, id: SupervisorId, now: Instant) {
        self.dismiss(id, now);
        self.kill(id, now);
    }

    /// Its socket is closed: it is dying, or must be ended if it only pretends to.
    pub(super) fn on_closed(&mut self, id: SupervisorId, now: Instant) {
        if let Some(member) = self.members.get_mut(&id) {
            member.close();
            if member.term == Term::Open {
                member.term = Term::KillAt(now + LEAVE_LIMIT);
            }
        }
    }

    /// Ends a supervisor that did something wrong; its death tells the rest. What it did first
    /// counts.
    pub(super) fn condemn(&mut self, id: SupervisorId, fault: String, now: Instant) {
        if let Some(member) = self.members.get_mut(&id).filter(|member| member.fault.is_none()) {
            member.fault = Some(fault);
            member.evidence = subtree(member.pid());
            self.kill(id, now);
        }
    }

    /// Supervisors that were stopped since the last call.
    pub(super) fn try_stopped(&self) -> Vec<(SupervisorId, Signal)> {
        let stopped = |(id, member): (&SupervisorId, &Supervisor)| {
            member.try_stopped().map(|signal| (*id, signal))
        };
        self.members.iter().filter_map(stopped).collect()
    }

    /// A dead supervisor is done with. What it left is to be swept.
    pub(super) fn remove(&mut self, id: SupervisorId, now: Instant) -> Option<Supervisor> {
        let until = now + SIGKILL_LIMIT;
        self.sweep = Some(Sweep { next: now, until });
        self.members.remove(&id)
    }

    /// Kills whom it is time for. Returns those that SIGKILL did not end in time.
    pub(super) fn on_clock(&mut self, now: Instant) -> Vec<SupervisorId> {
        let mut immortal = Vec::new();
        let ids: Vec<SupervisorId> = self.members.keys().copied().collect();
        for id in ids {
            match self.members[&id].term {
                Term::KillAt(time) if time <= now => self.kill(id, now),
                Term::GiveUpAt(time) if time <= now => immortal.push(id),
                Term::Open | Term::KillAt(_) | Term::GiveUpAt(_) => {}
            }
        }
        for id in &immortal {
            self.orphans.give_up(&[self.members[id].pid()]);
        }
        immortal
    }

    /// Kills and reaps what dead supervisors left. Returns processes that are given up, described.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<String> {
        let members: BTreeSet<i32> = self.members.values().map(Supervisor::pid).collect();
        let seen = self.orphans.sweep(&members);
        if seen.is_empty() {
            self.sweep = None;
            return Vec::new();
        }
        let until = self.sweep.map_or(now + SIGKILL_LIMIT, |sweep| sweep.until);
        self.sweep = Some(Sweep { next: now + SWEEP_PERIOD, until });
        if now < until {
            return Vec::new();
        }
        self.sweep = None;
        self.orphans.give_up(&seen);
        seen.into_iter().filter_map(survivor_in_words).collect()
    }

    /// Whether nothing of any dead supervisor is left.
    pub(super) fn is_clean(&self) -> bool {
        self.sweep.is_none()
    }

    /// Whether nobody is left either.
    pub(super) fn is_gone(&self) -> bool {
        self.members.is_empty() && self.is_clean()
    }

    /// When [`Crew::on_clock`] or [`Crew::sweep`] has something to do at the latest.
    pub(super) fn next_clock(&self) -> Option<Instant> {
        let of_member = |member: &Supervisor| match member.term {
            Term::Open => None,
            Term::KillAt(time) | Term::GiveUpAt(time) => Some(time),
        };
        let of_members = self.members.values().filter_map(of_member);
        of_members.chain(self.sweep.map(|sweep| sweep.next)).min()
    }

    fn kill(&mut self, id: SupervisorId, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        // It is our child and not waited for: that fails only where it changed its user, and
        // then the term below ends the wait.
        let _ = member.kill();
        member.term = Term::GiveUpAt(now + SIGKILL_LIMIT);
    }
}

fn watch(member: &Supervisor, id: SupervisorId, wakeups: &Wakeups) -> io::Result<()> {
    wakeups.watch(member.pidfd(), Source::Exit(id))?;
    member.socket().map_or(Ok(()), |socket| wakeups.watch(socket, Source::Control(id)))
}

fn listen(
    member: &Supervisor,
    id: SupervisorId,
    interest: Interest,
    wakeups: &Wakeups,
) -> Result<(), ProtocolError> {
    let socket = member.socket().ok_or(ProtocolError::Closed)?;
    Ok(wakeups.change(socket, Source::Control(id), interest)?)
}

/// A process and what is below it.
fn subtree(pid: i32) -> Vec<Process> {
    let below = process::descendants(pid);
    let all = std::iter::once(pid).chain(below).take(EVIDENCE_LIMIT);
    all.filter_map(process::read).collect()
}

fn survivor_in_words(pid: i32) -> Option<String> {
    let Process { command, state, .. } = process::read(pid)?;
    Some(format!("pid {pid} `{command}` ({state}) survived SIGKILL for 5 s"))
}
