//! Whose a process is: the mark that everything carries which whoever plays the runner started.
//!
//! A mark names the process that plays the runner so that nobody else can be meant by it: its id,
//! when it started, and the namespaces in which these two say something. What is exec'd carries
//! it in its environment ([`Owner::VARIABLE`]), what is only forked in the name of the attempt
//! memory that it maps ([`Owner::memory_name`]). `runner reap` reads both: nothing here ends
//! anything.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

use crate::process;

/// A process that plays the runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    pid: i32,
    start_ticks: u64,
    /// Inode numbers of its pid and its time namespace.
    namespaces: [u64; 2],
}

/// What can be said of an owner from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It lives.
    Alive,
    /// It has ended, and everything that it started should have, too.
    Gone,
    /// Its ids mean nothing here: it lives, or lived, in another container.
    Elsewhere,
}

const MEMORY_PREFIX: &str = "runner-attempt-";

impl Owner {
    /// The environment variable that holds a mark.
    pub const VARIABLE: &str = "RUNNER_OWNER";

    /// This process; `None` where there is no `/proc`.
    pub fn this() -> Option<Self> {
        let pid = nix::unistd::getpid().as_raw();
        Some(Self { pid, start_ticks: process::start_ticks(pid)?, namespaces: own_namespaces()? })
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it is this process that has this id here.
    pub fn is(&self, pid: i32, start_ticks: u64) -> bool {
        self.pid == pid && self.start_ticks == start_ticks
    }

    /// What can be said of it from here, now.
    pub fn presence(&self) -> Presence {
        if own_namespaces() != Some(self.namespaces) {
            return Presence::Elsewhere;
        }
        match process::start_ticks(self.pid) {
            Some(start_ticks) if start_ticks == self.start_ticks => Presence::Alive,
            Some(_) | None => Presence::Gone,
        }
    }

    /// The name of its attempts' memory files, as `memfd_create(2)` takes it.
    pub fn memory_name(&self) -> String {
        format!("{MEMORY_PREFIX}{self}")
    }

    /// The mark in a line of `/proc/PID/maps`, if that is a mapping of attempt memory.
    pub fn in_mapping(line: &str) -> Option<Self> {
        let (_, name) = line.split_once("/memfd:")?;
        name.strip_prefix(MEMORY_PREFIX)?.split(' ').next()?.parse().ok()
    }
}

/// `PID-TICKS-NAMESPACE-NAMESPACE`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, start_ticks, namespaces: [pids, time] } = self;
        write!(f, "{pid}-{start_ticks}-{pids}-{time}")
    }
}

/// What is not a mark; it may be anything that somebody put into an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the mark of a runner")]
pub struct NoMark;

impl FromStr for Owner {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        let fields: Vec<u64> =
            text.split('-').map(str::parse).collect::<Result<_, _>>().map_err(|_| NoMark)?;
        let [pid, start_ticks, pids, time] = fields[..] else {
            return Err(NoMark);
        };
        let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or(NoMark)?;
        Ok(Self { pid, start_ticks, namespaces: [pids, time] })
    }
}

/// A kernel without time namespaces has one time for all.
fn own_namespaces() -> Option<[u64; 2]> {
    let inode = |name: &str| fs::metadata(format!("/proc/self/ns/{name}")).map(|file| file.ino());
    Some([inode("pid").ok()?, inode("time").unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_being_written() {
        let owner = Owner::this().expect("there is /proc");
        assert_eq!(owner.to_string().parse(), Ok(owner));
        let line = format!("7f00-7f01 rw-s 0 00:01 5 /memfd:{} (deleted)", owner.memory_name());
        assert_eq!(Owner::in_mapping(&line), Some(owner));
        assert_eq!(owner.presence(), Presence::Alive);
    }

    #[test]
    fn another_process_with_the_same_id_is_not_meant() {
        let owner = Owner::this().expect("there is /proc");
        let later = Owner { start_ticks: owner.start_ticks + 1, ..owner };
        assert_eq!(later.presence(), Presence::Gone);
    }

    #[test]
    fn of_another_container_nothing_is_said() {
        let owner = Owner::this().expect("there is /proc");
        let [pids, time] = owner.namespaces;
        let elsewhere = Owner { namespaces: [pids + 1, time], ..owner };
        assert_eq!(elsewhere.presence(), Presence::Elsewhere);
    }

    #[test]
    fn anything_else_is_no_mark() {
        for text in ["", "1", "1-2-3", "1-2-3-4-5", "0-2-3-4", "-1-2-3-4", "x-2-3-4"] {
            assert_eq!(text.parse::<Owner>(), Err(NoMark), "{text:?}");
        }
        for line in ["", "7f00 /memfd:actors (deleted)", "7f00 /memfd:runner-attempt (deleted)"] {
            assert_eq!(Owner::in_mapping(line), None, "{line:?}");
        }
    }
}
