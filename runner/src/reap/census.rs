//! Which processes there are, and whose they are.
//!
//! Reads `/proc` and decides; ends nothing. The decision is a pure function of what was read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use runner_core::owner::{Owner, Presence};
use runner_core::process::{self, Brief};

/// An exec is over by then, on a busy machine too; what still has no arguments was given none.
const EXEC_PATIENCE: Duration = Duration::from_millis(250);

/// All processes that can be looked into from here, at one time.
#[derive(Debug, Default)]
pub(super) struct Census {
    seen: BTreeMap<i32, Seen>,
    presence: BTreeMap<Owner, Presence>,
    own_pid: i32,
}

/// What is known of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pid: i32,
    pub(super) start_ticks: u64,
    pub(super) parent: i32,
    pub(super) command: String,
    /// Whose it says it is: from its environment, from what it maps.
    pub(super) marks: BTreeSet<Owner>,
}

/// Whose a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Belonging {
    /// Of no run.
    Nobodys,
    /// Its runner is gone.
    Escaped(Owner),
    /// It must not be touched; why.
    Protected(String),
}

impl Census {
    /// Reads what there is. What ends meanwhile is left out.
    pub(super) fn take() -> Self {
        let seen: BTreeMap<i32, Seen> = process::all()
            .into_iter()
            .filter_map(Seen::read)
            .map(|seen| (seen.pid, seen))
            .collect();
        let owners: BTreeSet<Owner> = seen.values().flat_map(|seen| &seen.marks).copied().collect();
        let presence = owners.into_iter().map(|owner| (owner, owner.presence())).collect();
        Self { seen, presence, own_pid: nix::unistd::getpid().as_raw() }
    }

    /// Everybody, by process id.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Seen> {
        self.seen.values()
    }

    /// Whether a process is below another, at any depth.
    pub(super) fn is_below(&self, pid: i32, above: i32) -> bool {
        self.above(pid).any(|parent| parent == above)
    }

    /// Whose a process is.
    pub(super) fn belonging(&self, seen: &Seen) -> Belonging {
        let Some(&gone) = seen.marks.iter().find(|mark| self.presence(mark) == Presence::Gone)
        else {
            return match seen.marks.first() {
                None => Belonging::Nobodys,
                Some(owner) => Belonging::Protected(self.why_not(owner)),
            };
        };
        let other = seen.marks.iter().find(|mark| self.presence(mark) != Presence::Gone);
        if let Some(owner) = other {
            return Belonging::Protected(self.why_not(owner));
        }
        if seen.pid == self.own_pid || self.is_below(self.own_pid, seen.pid) {
            return Belonging::Protected("this very command is, or was started by, it".into());
        }
        match self.live_owner_at_or_above(seen) {
            Some(owner) => Belonging::Protected(self.why_not(owner)),
            None => Belonging::Escaped(gone),
        }
    }

    /// How long the oldest run that lives, or may live, has been there; [`Duration::MAX`] where
    /// that cannot be known.
    pub(super) fn oldest_live_run(&self) -> Option<Duration> {
        let age = |(owner, presence): (&Owner, &Presence)| match presence {
            Presence::Gone => None,
            Presence::Elsewhere => Some(Duration::MAX),
            Presence::Alive => Some(process::age_of(owner.pid()).unwrap_or(Duration::MAX)),
        };
        self.presence.iter().filter_map(age).max()
    }

    fn presence(&self, owner: &Owner) -> Presence {
        self.presence.get(owner).copied().unwrap_or(Presence::Elsewhere)
    }

    fn why_not(&self, owner: &Owner) -> String {
        match self.presence(owner) {
            Presence::Alive => format!("the runner with pid {} is alive", owner.pid()),
            Presence::Gone | Presence::Elsewhere => {
                "the runner was started in another container".into()
            }
        }
    }

    /// A runner that lives and has marked something: it, or what is below it, is a run's, even if
    /// that run was itself started by something that was left.
    fn live_owner_at_or_above(&self, seen: &Seen) -> Option<&Owner> {
        let line = std::iter::once(seen.pid).chain(self.above(seen.pid));
        let mut line = line.filter_map(|pid| self.seen.get(&pid));
        line.find_map(|seen| self.presence.keys().find(|o| o.is(seen.pid, seen.start_ticks)))
    }

    fn above(&self, pid: i32) -> impl Iterator<Item = i32> {
        let parent = |pid: &i32| self.seen.get(pid).map(|seen| seen.parent);
        // A table that was not read at one instant could show a circle.
        std::iter::successors(parent(&pid), parent).take(self.seen.len())
    }
}

impl Seen {
    /// `None` if it is gone or a zombie.
    pub(super) fn read(pid: i32) -> Option<Self> {
        let Brief { state, parent, start_ticks, command } = process::brief(pid)?;
        let is_dead = matches!(state, 'Z' | 'X');
        (!is_dead).then(|| Self { pid, start_ticks, parent, command, marks: marks(pid) })
    }
}

/// Of what it was exec'd with, and of what it, or what it was forked from, has mapped.
fn marks(pid: i32) -> BTreeSet<Owner> {
    let (environ, maps) = environ_and_maps(pid);
    let maps = String::from_utf8_lossy(&maps);
    let variables = environ.split(|byte| *byte == 0);
    variables.filter_map(in_variable).chain(maps.lines().filter_map(Owner::in_mapping)).collect()
}

/// In the midst of an exec a process has memory, and neither arguments nor an environment yet.
fn environ_and_maps(pid: i32) -> (Vec<u8>, Vec<u8>) {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let until = Instant::now() + EXEC_PATIENCE;
    loop {
        let (environ, maps) = (read("environ"), read("maps"));
        let is_between = environ.is_empty() && !maps.is_empty() && read("cmdline").is_empty();
        if !is_between || Instant::now() >= until {
            return (environ, maps);
        }
        std::thread::yield_now();
    }
}

fn in_variable(variable: &[u8]) -> Option<Owner> {
    let value = variable.strip_prefix(Owner::VARIABLE.as_bytes())?.strip_prefix(b"=")?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAPER: i32 = 1000;
    const ALIVE: &str = "50-500-1-1";
    const GONE: &str = "60-600-1-1";
    const ELSEWHERE: &str = "70-700-2-1";

    /// A process that started at ten times its id.
    fn seen(pid: i32, parent: i32, marks: &[&str]) -> Seen {
        let marks = marks.iter().map(|mark| mark.parse().unwrap()).collect();
        let start_ticks = u64::from(pid.unsigned_abs()) * 10;
        Seen { pid, start_ticks, parent, command: String::new(), marks }
    }

    fn belonging_of(wanted: i32, others: Vec<Seen>) -> Belonging {
        let presence = [
            (ALIVE.parse().unwrap(), Presence::Alive),
            (GONE.parse().unwrap(), Presence::Gone),
            (ELSEWHERE.parse().unwrap(), Presence::Elsewhere),
        ];
        let seen = others.into_iter().map(|seen| (seen.pid, seen)).collect();
        let census = Census { seen, presence: presence.into(), own_pid: REAPER };
        census.belonging(&census.seen[&wanted])
    }

    fn escaped() -> Belonging {
        Belonging::Escaped(GONE.parse().unwrap())
    }

    #[test]
    fn only_the_mark_of_a_runner_that_is_gone_is_a_reason_to_end_anything() {
        assert_eq!(belonging_of(2, vec![seen(2, 1, &[])]), Belonging::Nobodys);
        assert_eq!(belonging_of(2, vec![seen(2, 1, &[GONE])]), escaped());
        for marks in [&[ALIVE][..], &[ELSEWHERE], &[GONE, ALIVE], &[GONE, ELSEWHERE]] {
            let belonging = belonging_of(2, vec![seen(2, 1, marks)]);
            assert!(matches!(belonging, Belonging::Protected(_)), "{marks:?}: {belonging:?}");
        }
    }

    #[test]
    fn a_run_that_was_started_by_something_left_is_a_run() {
        let table = || vec![seen(50, 1, &[GONE]), seen(51, 50, &[GONE]), seen(52, 1, &[GONE])];
        for protected in [50, 51] {
            let belonging = belonging_of(protected, table());
            assert!(matches!(belonging, Belonging::Protected(_)), "{protected}: {belonging:?}");
        }
        assert_eq!(belonging_of(52, table()), escaped());
    }

    #[test]
    fn whoever_started_this_command_is_not_ended_by_it() {
        let table = || vec![seen(7, 1, &[GONE]), seen(8, 7, &[GONE]), seen(REAPER, 7, &[GONE])];
        for protected in [7, REAPER] {
            let belonging = belonging_of(protected, table());
            assert!(matches!(belonging, Belonging::Protected(_)), "{protected}: {belonging:?}");
        }
        assert_eq!(belonging_of(8, table()), escaped());
    }
}
