//! Ends processes that were left: asks, waits in bounds, kills, and looks again until there is
//! none.
//!
//! A process id may mean somebody else by the time a signal is sent. So a process is held by a
//! pidfd first, its mark is read again, and every signal goes to the pidfd.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use runner_core::{pidfd, wait};

use super::census::{Belonging, Census, Seen};
use super::{Fate, Finding, Mode, Reap};

/// What survives SIGKILL for so long is named and left.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// How a process is asked to end: as by Ctrl-C, and, because a shell has its background jobs ignore
/// that, once more.
const REQUESTS: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

/// A process that is held, so that no other can be meant.
struct Held {
    subject: String,
    pidfd: OwnedFd,
}

/// Ends what was left, or says what would be.
pub(super) fn processes(reap: &Reap, census: &Census) -> Vec<Finding> {
    let mut findings = protected(reap, census);
    let escaped = escaped(reap, census);
    match reap.mode {
        Mode::Tell => findings.extend(
            escaped.iter().map(|seen| Finding { subject: subject(seen), fate: Fate::WouldEnd }),
        ),
        Mode::Act => findings.extend(end_all(reap, &escaped)),
    }
    findings
}

fn protected(reap: &Reap, census: &Census) -> Vec<Finding> {
    let finding = |seen: &Seen| match census.belonging(seen) {
        Belonging::Nobodys | Belonging::Escaped(_) => None,
        Belonging::Protected(why) => {
            Some(Finding { subject: subject(seen), fate: Fate::LeftAlone(why) })
        }
    };
    in_question(reap, census).filter_map(finding).collect()
}

fn escaped(reap: &Reap, census: &Census) -> Vec<Seen> {
    let escaped = |seen: &&Seen| matches!(census.belonging(seen), Belonging::Escaped(_));
    in_question(reap, census).filter(escaped).cloned().collect()
}

fn in_question<'a>(reap: &'a Reap, census: &'a Census) -> impl Iterator<Item = &'a Seen> {
    let in_question =
        |seen: &&Seen| reap.below.is_none_or(|above| census.is_below(seen.pid, above));
    census.iter().filter(in_question)
}

fn subject(seen: &Seen) -> String {
    let Seen { pid, command, .. } = seen;
    format!("process {pid} `{command}`")
}

fn end_all(reap: &Reap, escaped: &[Seen]) -> Vec<Finding> {
    let (mut left, mut findings) = hold(escaped);
    for request in REQUESTS {
        for held in &left {
            // One that cannot be signalled is found out when it is to be killed.
            let _ = held.signal(request);
            let _ = held.signal(Signal::SIGCONT);
        }
        let until = Instant::now() + reap.grace / REQUESTS.len() as u32;
        let ended = wait_for_all(&mut left, until).into_iter();
        findings.extend(ended.map(|held| held.finding(Fate::Ended)));
    }
    findings.extend(kill_all(reap, left));
    findings
}

/// Until none is found any more: one that forks is caught by being quicker than it.
fn kill_all(reap: &Reap, mut left: Vec<Held>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let until = Instant::now() + KILL_PATIENCE;
    loop {
        let mut dying = Vec::new();
        for held in left {
            match held.signal(Signal::SIGKILL) {
                Ok(()) => dying.push(held),
                Err(error) => findings.push(held.finding(Fate::Failed(error.to_string()))),
            }
        }
        let dead = wait_for_all(&mut dying, until);
        findings.extend(dead.into_iter().map(|held| held.finding(Fate::Killed)));
        if Instant::now() >= until {
            let survived = |held: Held| held.finding(Fate::Failed("survived SIGKILL".into()));
            findings.extend(dying.into_iter().map(survived));
            return findings;
        }
        let failed = |seen: &Seen| findings.iter().any(|found| found.subject == subject(seen));
        let look = || -> Vec<Seen> {
            escaped(reap, &Census::take()).into_iter().filter(|seen| !failed(seen)).collect()
        };
        let mut next = look();
        if next.is_empty() {
            // One that forked and ended while the table was read showed neither itself nor its child.
            next = look();
        }
        if next.is_empty() {
            return findings;
        }
        (left, _) = hold(&next);
    }
}

/// Those that are still the same processes, with the same marks.
fn hold(escaped: &[Seen]) -> (Vec<Held>, Vec<Finding>) {
    let mut held = Vec::new();
    let mut failed = Vec::new();
    for seen in escaped {
        match pidfd::open(Pid::from_raw(seen.pid)) {
            Ok(pidfd) => {
                let now = Seen::read(seen.pid);
                let is_same = now.is_some_and(|now| {
                    (now.start_ticks, &now.marks) == (seen.start_ticks, &seen.marks)
                });
                if is_same {
                    held.push(Held { subject: subject(seen), pidfd });
                }
            }
            // It ended by itself.
            Err(Errno::ESRCH) => {}
            Err(error) => failed
                .push(Finding { subject: subject(seen), fate: Fate::Failed(error.to_string()) }),
        }
    }
    (held, failed)
}

/// Takes those out that end in time.
fn wait_for_all(left: &mut Vec<Held>, until: Instant) -> Vec<Held> {
    let mut ended = Vec::new();
    while !left.is_empty() {
        let dead = ended_by(left, until);
        if dead.is_empty() {
            break;
        }
        for index in dead.into_iter().rev() {
            ended.push(left.remove(index));
        }
    }
    ended
}

/// Which have ended, as soon as one has; none if time is over.
fn ended_by(held: &[Held], until: Instant) -> Vec<usize> {
    let mut fds: Vec<PollFd<'_>> =
        held.iter().map(|held| PollFd::new(held.pidfd.as_fd(), PollFlags::POLLIN)).collect();
    while poll(&mut fds, wait::timeout(Some(until))) == Err(Errno::EINTR) {}
    (0..fds.len()).filter(|index| fds[*index].any().unwrap_or(false)).collect()
}

impl Held {
    fn signal(&self, signal: Signal) -> nix::Result<()> {
        match pidfd::signal(self.pidfd.as_fd(), signal) {
            // Dead already: a pidfd means nobody else.
            Err(Errno::ESRCH) => Ok(()),
            result => result,
        }
    }

    fn finding(&self, fate: Fate) -> Finding {
        Finding { subject: self.subject.clone(), fate }
    }
}
