//! Who is whose child, from `/proc`, and which children this layer made.
//!
//! Used by `subtree` to find what to kill, and to tell what it made from what it adopted.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Mutex;

use nix::unistd::Pid;

use super::lock::lock;

/// The children of this process that this layer made and that are not reaped. Ordered, because a table by hashes would ask
/// the kernel for a random key in each forked child.
#[derive(Default)]
pub(super) struct Family {
    made: Mutex<BTreeSet<Pid>>,
}

impl Family {
    pub(super) fn enter(&self, child: Pid) {
        lock(&self.made).insert(child);
    }

    pub(super) fn forget(&self, child: Pid) {
        lock(&self.made).remove(&child);
    }

    /// The children of this process that this layer did not make: the program's own, and adopted orphans. One that
    /// is being made at this moment can be among them.
    pub(super) fn others(&self) -> BTreeSet<Pid> {
        let mut children = own_children();
        let made = lock(&self.made);
        children.retain(|child| !made.contains(child));
        children
    }
}

/// So often the list of own children is read when it changes from one look to the next.
const OWN_LOOKS: u32 = 16;

/// The children of this process. The kernel walks its list child by child: one that is reparented or reaped in between can
/// make it skip another, so a list counts when it is read twice the same.
fn own_children() -> BTreeSet<Pid> {
    let look = || children_of(Pid::this()).into_iter().collect::<BTreeSet<_>>();
    let mut children = look();
    for _ in 0..OWN_LOOKS {
        let again = look();
        if again == children {
            break;
        }
        children = again;
    }
    children
}

/// The children of all threads of `parent`, dead ones included. Complete only while neither `parent` nor they begin or end; a
/// parent that is gone has none.
pub(super) fn children_of(parent: Pid) -> Vec<Pid> {
    listed_children(parent).unwrap_or_else(|_| scanned_children(parent))
}

/// As the kernel lists them, where it was built with `CONFIG_PROC_CHILDREN`.
fn listed_children(parent: Pid) -> io::Result<Vec<Pid>> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { return Ok(Vec::new()) };
    let mut children = Vec::new();
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => children.extend(list.split_whitespace().filter_map(parse_pid)),
            // The thread has ended, and with it its part of the list has moved to another's; the caller looks again.
            Err(error) if !thread.path().exists() => drop(error),
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

fn scanned_children(parent: Pid) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids =
        processes.flatten().filter_map(|entry| entry.file_name().to_str().and_then(parse_pid));
    pids.filter(|pid| Stat::of(*pid).is_some_and(|stat| stat.parent == parent)).collect()
}

/// Whether all threads of this process but the main one wait for something to wake them.
pub(super) fn others_sleep() -> bool {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return false };
    let others = threads.flatten().filter(|thread| *thread.file_name() != *Pid::this().to_string());
    others.map(|thread| fs::read_to_string(thread.path().join("stat"))).all(|stat| {
        stat.is_ok_and(|line| {
            line.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S'))
        })
    })
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().map(Pid::from_raw)
}

/// What `/proc/PID/stat` says of a process. See proc_pid_stat(5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stat {
    pub(super) name: String,
    pub(super) parent: Pid,
    pub(super) group: Pid,
    /// In clock ticks since the boot.
    pub(super) started: u64,
}

/// Fields between the process group (the fifth of all) and the start time (the twenty-second).
const STARTED_AFTER_GROUP: usize = 22 - 5 - 1;

impl Stat {
    /// `None` once the process is reaped.
    pub(super) fn of(pid: Pid) -> Option<Stat> {
        Stat::parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
    }

    /// The name is in parentheses and may contain any character, parentheses included.
    fn parse(line: &str) -> Option<Stat> {
        let (before, after) = line.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let mut fields = after.split_whitespace().skip(1);
        Some(Stat {
            name: name.to_owned(),
            parent: fields.next().and_then(parse_pid)?,
            group: fields.next().and_then(parse_pid)?,
            started: fields.nth(STARTED_AFTER_GROUP)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read_to_its_end() {
        let stat = Stat::parse(
            "12 (a) (b c) S 7 12 3 0 -1 4194560 8 9 10 11 12 13 14 15 16 17 18 19 2200 23",
        );
        let [parent, group] = [7, 12].map(Pid::from_raw);
        assert_eq!(stat, Some(Stat { name: "a) (b c".into(), parent, group, started: 2200 }));
    }

    #[test]
    fn a_line_cut_short_is_no_line() {
        assert_eq!(Stat::parse("12 (a) S 7"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn a_child_is_found_by_list_and_by_scan_until_it_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        assert!(listed_children(Pid::this()).expect("a list").contains(&pid));
        assert!(scanned_children(Pid::this()).contains(&pid));
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(!children_of(Pid::this()).contains(&pid));
    }
}
