//! What `/proc` says of processes: who descends from whom, and the facts of one.
//!
//! Read-only. Used by supervisors (leaks, hang facts, the kill loop) and by the runner's backstop.
//! A process may end at any time: what is gone is left out, never an error.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use crate::protocol::{Process, Thread};

mod net;

/// At most so many fds of a process are told.
const FDS_TOLD: usize = 64;

/// The children of a process, whichever of its threads forked or adopted them.
pub fn children(pid: i32) -> Vec<i32> {
    let mut children = Vec::new();
    for tid in numbers_in(&format!("/proc/{pid}/task")) {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/children"));
        let text = text.unwrap_or_default();
        children.extend(text.split_ascii_whitespace().filter_map(|word| word.parse::<i32>().ok()));
    }
    children
}

/// Everything below a process, parents before children.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut found = children(pid);
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(children(parent));
        next += 1;
    }
    found
}

/// The facts of a process; `None` if it is gone.
pub fn read(pid: i32) -> Option<Process> {
    let stat = Stat::read(&format!("/proc/{pid}"))?;
    Some(Process {
        pid,
        parent: stat.parent,
        command: command(pid).unwrap_or_else(|| stat.name.clone()),
        name: stat.name,
        state: stat.state,
        age: age(stat.start_ticks),
        threads: threads(pid),
        fds: fds(pid),
    })
}

/// Every process that is to be seen from here.
pub fn all() -> Vec<i32> {
    numbers_in("/proc")
}

/// What tells a process from others, in short; `None` if it is gone.
pub fn brief(pid: i32) -> Option<Brief> {
    let stat = Stat::read(&format!("/proc/{pid}"))?;
    let Stat { name, state, parent, start_ticks } = stat;
    Some(Brief { state, parent, start_ticks, command: command(pid).unwrap_or(name) })
}

/// Since a process started; `None` if it is gone.
pub fn age_of(pid: i32) -> Option<Duration> {
    start_ticks(pid).map(age)
}

/// A process in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// `R`, `S`, `D`, `T`, `Z`, …
    pub state: char,
    /// Its parent's id.
    pub parent: i32,
    /// As [`start_ticks`] has it.
    pub start_ticks: u64,
    /// Its command line, or its name where it has none.
    pub command: String,
}

/// Who traces a process's first thread; `None` if nobody does, or it is gone.
pub fn tracer(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:\t"))?;
    tracer.parse().ok().filter(|pid| *pid != 0)
}

/// When a process started, in clock ticks since boot: with its id, what tells it from a later one.
pub fn start_ticks(pid: i32) -> Option<u64> {
    Stat::read(&format!("/proc/{pid}")).map(|stat| stat.start_ticks)
}

/// Those of these signals that this process was not started to ignore (`nohup`, a shell's `&`). The
/// others must not be listened for: what is blocked is queued, ignored or not.
pub fn heard(signals: &[Signal]) -> SigSet {
    let ignored = ignored();
    let is_heard = |signal: &&Signal| ignored & (1 << (**signal as i32 - 1)) == 0;
    signals.iter().filter(is_heard).copied().collect()
}

/// The mask of what is ignored, by `/proc` (proc_pid_status(5)); nothing where there is none.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

struct Stat {
    name: String,
    state: char,
    parent: i32,
    start_ticks: u64,
}

impl Stat {
    fn read(folder: &str) -> Option<Self> {
        let text = fs::read(format!("{folder}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// `pid (name) state parent …`: the name may hold anything, also `)`.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        Some(Self {
            name: name.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

fn command(pid: i32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn age(start_ticks: u64) -> Duration {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime = uptime.split_ascii_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    let per_second = match nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK) {
        Ok(Some(ticks)) => ticks as f64,
        Ok(None) | Err(_) => 100.0,
    };
    let age = uptime.unwrap_or(0.0) - start_ticks as f64 / per_second;
    Duration::try_from_secs_f64(age).unwrap_or_default()
}

fn threads(pid: i32) -> Vec<Thread> {
    let thread = |tid: i32| {
        let folder = format!("/proc/{pid}/task/{tid}");
        let stat = Stat::read(&folder)?;
        let wait_channel = fs::read_to_string(format!("{folder}/wchan")).unwrap_or_default();
        let wait_channel = if wait_channel == "0" { String::new() } else { wait_channel };
        let syscall = syscall(pid, tid);
        Some(Thread { tid, name: stat.name, state: stat.state, wait_channel, syscall })
    };
    numbers_in(&format!("/proc/{pid}/task")).into_iter().filter_map(thread).collect()
}

/// The system call that a thread waits in, by number; `None` if it runs, waits elsewhere, is gone or
/// the kernel does not say.
pub fn syscall(pid: i32, tid: i32) -> Option<i64> {
    where_it_waits(pid, tid).map(|(number, _)| number).filter(|number| *number >= 0)
}

/// Where a thread that does not run is: `number, six arguments, stack pointer, program counter`
/// in a system call, `-1, stack pointer, program counter` elsewhere. No number for `-1`.
fn where_it_waits(pid: i32, tid: i32) -> Option<(i64, Place)> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let number = words.first()?.parse().ok()?;
    let address = |word: &&str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    let [.., stack, program] = words.as_slice() else {
        return None;
    };
    Some((number, Place { stack: address(stack)?, program: address(program)? }))
}

/// Where a thread that does not run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its stack pointer.
    pub stack: u64,
    /// Its program counter.
    pub program: u64,
}

/// Where a thread is that does not run now, without a touch to it; `None` if it runs, is gone, or
/// the kernel does not say.
pub fn place(pid: i32, tid: i32) -> Option<Place> {
    where_it_waits(pid, tid).map(|(_, place)| place)
}

/// `/proc/PID/maps`; empty if the process is gone or may not be looked into.
pub fn maps(pid: i32) -> String {
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    String::from_utf8_lossy(&maps).into_owned()
}

/// What the sockets among a process's fds are, `3 unix /path (listening)`.
pub fn sockets(process: &Process) -> Vec<String> {
    let inode = |fd: &String| -> Option<(String, u64)> {
        let (number, target) = fd.split_once(' ')?;
        let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        Some((number.to_owned(), inode))
    };
    let wanted: Vec<(String, u64)> = process.fds.iter().filter_map(inode).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let known = net::sockets(process.pid);
    let described = |(number, inode): (String, u64)| {
        let what = known.get(&inode)?;
        Some(format!("{number} {what}"))
    };
    wanted.into_iter().filter_map(described).collect()
}

fn fds(pid: i32) -> Vec<String> {
    let folder = format!("/proc/{pid}/fd");
    let mut numbers = numbers_in(&folder);
    numbers.sort_unstable();
    let told = numbers.into_iter().take(FDS_TOLD);
    told.filter_map(|fd| {
        let target = fs::read_link(Path::new(&folder).join(fd.to_string())).ok()?;
        Some(format!("{fd} {}", target.display()))
    })
    .collect()
}

fn numbers_in(folder: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_confuse() {
        let rest = "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 77 0";
        let stat = Stat::parse(&format!("12 (a) b (c) S 3 {rest}")).unwrap();
        assert_eq!((stat.name.as_str(), stat.state, stat.parent), ("a) b (c", 'S', 3));
        assert_eq!(stat.start_ticks, 77);
    }

    #[test]
    fn a_child_is_found_with_its_command_and_gone_when_reaped() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        let me = std::process::id().cast_signed();
        assert!(descendants(me).contains(&pid));
        let process = read(pid).unwrap();
        assert_eq!(process.parent, me);
        assert!(!process.threads.is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants(me).contains(&pid));
        assert!(read(pid).is_none());
    }
}
