//! `runner reap`: removes what runs left that could not clear up after themselves, because the
//! runner *and* a supervisor were SIGKILLed.
//!
//! Conservative to the point of proof. A process is ended only if it carries the mark of a runner
//! that is gone; a run folder is removed only if nobody holds its lock; a shared memory segment or
//! a socket only if the kernel says that nobody has it open, and it is older than every run that
//! lives. Whatever cannot be proved is left alone, and said. Called by `session`.
//!
//! `census` finds processes and says whose they are, `ending` ends them, `remains` looks after
//! files; none of them prints.

mod census;
mod ending;
mod remains;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use census::Census;

/// What to look for, and whether to do anything about it.
#[derive(Clone, Debug)]
pub struct Reap {
    /// Shared memory segments, too.
    pub segments: Look,
    /// Unix sockets outside of run folders, too.
    pub sockets: Look,
    /// Only tell, or act.
    pub mode: Mode,
    /// From the first request to SIGKILL.
    pub grace: Duration,
    /// Only processes below this one, if one is named.
    pub below: Option<i32>,
}

/// Whether something is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It is.
    For,
    /// It is not.
    Away,
}

/// Whether anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Ends and removes.
    Act,
    /// Says what it would do.
    Tell,
}

/// What became of one thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet: somebody only wants to know.
    WouldEnd,
    /// It ended when asked.
    Ended,
    /// SIGKILL was needed.
    Killed,
    /// It lives, or lies there, in spite of us; why.
    Failed(String),
    /// As [`Fate::WouldEnd`], of a file.
    WouldRemove,
    /// It is removed.
    Removed,
    /// It is, or may be, somebody's; why.
    LeftAlone(String),
}

/// Something that was found, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, for a person.
    pub subject: String,
    /// What became of it.
    pub fate: Fate,
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order in which it was dealt with.
    pub findings: Vec<Finding>,
}

/// Of so many things that were left alone for one reason the first are named.
const NAMED: usize = 5;

impl Reap {
    /// Looks, and acts if it is to.
    pub fn reap(&self) -> Report {
        let mut findings = ending::processes(self, &Census::take());
        findings.extend(remains::folders(self.mode));
        let age = remains::Age::of_live_runs(&Census::take());
        if self.segments == Look::For {
            findings.extend(remains::segments(self.mode, age));
        }
        if self.sockets == Look::For {
            findings.extend(remains::sockets(self.mode, age));
        }
        Report { findings }
    }
}

impl Report {
    /// Whether everything ended by itself when asked, and could be removed.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| match finding.fate {
            Fate::Killed | Fate::Failed(_) => false,
            Fate::WouldEnd
            | Fate::Ended
            | Fate::WouldRemove
            | Fate::Removed
            | Fate::LeftAlone(_) => true,
        })
    }

    fn count(&self, wanted: impl Fn(&Fate) -> bool) -> usize {
        self.findings.iter().filter(|finding| wanted(&finding.fate)).count()
    }

    fn left_alone(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for Finding { subject, fate } in &self.findings {
            if let Fate::LeftAlone(reason) = fate {
                by_reason.entry(reason).or_default().push(subject);
            }
        }
        by_reason
    }
}

impl Fate {
    /// The word of a line, and what follows the subject; `None` for what is told together.
    fn words(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::WouldEnd => Some(("would end", "")),
            Self::Ended => Some(("ended", "")),
            Self::Killed => Some(("killed", "")),
            Self::Failed(why) => Some(("failed", why)),
            Self::WouldRemove => Some(("would remove", "")),
            Self::Removed => Some(("removed", "")),
            Self::LeftAlone(_) => None,
        }
    }
}

/// A line a thing, then what was left alone by reason, then the sum.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { subject, fate } in &self.findings {
            if let Some((word, rest)) = fate.words() {
                let colon = if rest.is_empty() { "" } else { ": " };
                writeln!(f, "{word:>12} {subject}{colon}{rest}")?;
            }
        }
        for (reason, subjects) in self.left_alone() {
            writeln!(f, "{:>12} {}: {reason}", "left alone", named(&subjects))?;
        }
        self.fmt_sum(f)
    }
}

impl Report {
    fn fmt_sum(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let killed = self.count(|fate| *fate == Fate::Killed);
        let ended = killed + self.count(|fate| *fate == Fate::Ended);
        let removed = self.count(|fate| *fate == Fate::Removed);
        let would = self.count(|fate| matches!(fate, Fate::WouldEnd | Fate::WouldRemove));
        let left = self.count(|fate| matches!(fate, Fate::LeftAlone(_)));
        let failed = self.count(|fate| matches!(fate, Fate::Failed(_)));
        if self.findings.len() == left {
            return match left {
                0 => writeln!(f, "nothing was left behind"),
                _ => writeln!(f, "nothing was left behind; {left} left alone"),
            };
        }
        let mut parts = Vec::new();
        let mut add = |count: usize, words: &str| {
            if count > 0 {
                parts.push(format!("{count} {words}"));
            }
        };
        add(ended - killed, "ended when asked");
        add(killed, "killed");
        add(removed, "removed");
        add(would, "would be ended or removed");
        add(failed, "could not be ended or removed");
        add(left, "left alone");
        writeln!(f, "{}", parts.join(", "))
    }
}

fn named(subjects: &[&str]) -> String {
    let first = subjects.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match subjects.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// A file that was found.
fn file(path: &std::path::Path, fate: Fate) -> Finding {
    Finding { subject: PathBuf::from(path).display().to_string(), fate }
}
