//! Processes as the kernel shows them: what a test reads of them in `/proc`, and does to them.
//!
//! Nothing here asks the runtime. A process that a test waits for or signals travels with its
//! pidfd; what only describes goes by pid.
#![expect(unsafe_code, reason = "pidfds and signal dispositions have no safe form here")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process and the handle that its pid's reuse does not lead astray.
pub(crate) struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    /// A handle on a process that lives, or has not been reaped.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let pid = pid.cast_signed();
        // SAFETY: takes integers.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        // SAFETY: the kernel made this descriptor just now, and nobody else owns it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        Ok(Self { pid, pidfd })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn send(&self, signal: Signal) -> io::Result<()> {
        let (fd, info) = (self.pidfd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: a null siginfo stands for what kill(2) would send.
        let sent =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal as i32, info, 0) };
        Errno::result(sent)?;
        Ok(())
    }

    /// Stops it, and returns when none of its threads runs any more: the signal alone only says
    /// that they will not for long.
    pub(crate) fn stop(&self) -> io::Result<()> {
        self.send(Signal::SIGSTOP)?;
        let is_stopped = |tid: &i32| state(self.pid, *tid).is_ok_and(|state| state == 'T');
        let are_all = || threads(self.pid).is_ok_and(|threads| threads.iter().all(is_stopped));
        if comes_true(are_all) { Ok(()) } else { Err(io::Error::other("it does not stop")) }
    }

    /// Whether it has ended within `patience`; reaped or not.
    pub(crate) async fn ends_within(&self, patience: Duration) -> io::Result<bool> {
        // SAFETY: the descriptor is this value's own and stays open for as long as it is borrowed.
        let pidfd =
            unsafe { AsyncFd::register_with_interest(self.pidfd.as_fd(), Interest::READABLE) }?;
        match tokio::time::timeout(patience, pidfd.readable()).await {
            Ok(ended) => ended.map(|_| true),
            Err(_) => Ok(false),
        }
    }

    /// Whether it is there at all, be it as a zombie.
    pub(crate) fn is_listed(&self) -> bool {
        // SAFETY: signal 0 only asks.
        let asked = unsafe {
            let info = std::ptr::null::<libc::siginfo_t>();
            libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), 0, info, 0)
        };
        asked == 0
    }
}

/// Whether something that nothing announces comes true in a few seconds.
pub(crate) fn comes_true(is_so: impl Fn() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(5);
    while !is_so() {
        if Instant::now() > until {
            return false;
        }
        thread::yield_now();
    }
    true
}

/// Makes this process ignore SIGTERM: of what the ladder has, only SIGKILL is left.
pub(crate) fn ignore_sigterm() -> io::Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: installs no code.
    unsafe { sigaction(Signal::SIGTERM, &ignore) }?;
    Ok(())
}

/// Ends this process at once, by `signal`, whatever handles it: the standard library looks into a
/// segmentation fault first.
pub(crate) fn end_by(signal: Signal) -> io::Result<()> {
    if signal != Signal::SIGKILL {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: installs no code.
        unsafe { sigaction(signal, &default) }?;
    }
    // To this thread: another might take its time.
    Ok(nix::sys::signal::raise(signal)?)
}

/// Sets a variable of this process and of those it starts.
///
/// # Panics
/// If the process has threads that might be reading the environment.
pub(crate) fn set_variable(name: &str, value: &str) {
    assert_eq!(threads(own_pid()).map_or(0, |threads| threads.len()), 1, "before the threads");
    // SAFETY: this is the only thread.
    unsafe { std::env::set_var(name, value) };
}

/// This process.
pub(crate) fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// What one line of `/proc/PID/stat` tells.
#[derive(Clone, Debug)]
pub(crate) struct Stat {
    pub(crate) command: String,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) threads: usize,
}

pub(crate) fn stat(pid: i32) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::other(format!("a stat line of {pid}: {text}")))
}

/// The command name may contain anything, parentheses too; the numbers come behind the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (head, tail) = text.rsplit_once(") ")?;
    let (_, command) = head.split_once(" (")?;
    // The third field of proc_pid_stat(5) comes first here.
    let fields: Vec<&str> = tail.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse().ok();
    Some(Stat {
        command: command.to_owned(),
        parent: number(4)?,
        group: number(5)?,
        threads: usize::try_from(number(20)?).ok()?,
    })
}

/// The letter that says what a thread does.
fn state(pid: i32, tid: i32) -> io::Result<char> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat"))?;
    let state = text.rsplit_once(") ").and_then(|(_, tail)| tail.chars().next());
    state.ok_or_else(|| io::Error::other(format!("a stat line of {tid}: {text}")))
}

/// A process in a few words, for who reads a failure.
pub(crate) fn describe(pid: i32) -> String {
    let state = state(pid, pid).unwrap_or('?');
    let title = command_line(pid).unwrap_or_default();
    match stat(pid) {
        Ok(stat) => format!("{pid} {} `{title}` ({state}), child of {}", stat.command, stat.parent),
        Err(_) => format!("{pid}, which is gone by now"),
    }
}

/// Which thread of a process made each of its children.
pub(crate) fn children_by_thread(pid: i32) -> io::Result<BTreeMap<i32, i32>> {
    let mut children = BTreeMap::new();
    for tid in threads(pid)? {
        // A thread may be gone by now; its children are another's then.
        let listed = fs::read_to_string(format!("/proc/{pid}/task/{tid}/children"));
        let listed = listed.unwrap_or_default();
        let of_thread = listed.split_whitespace().filter_map(|child| child.parse().ok());
        children.extend(of_thread.map(|child: i32| (child, tid)));
    }
    Ok(children)
}

/// Everything below a process, not itself.
pub(crate) fn descendants(pid: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut next = vec![pid];
    while let Some(parent) = next.pop() {
        // One that has ended meanwhile has no children any more.
        let children = children_by_thread(parent).unwrap_or_default();
        next.extend(children.into_keys().filter(|child| found.insert(*child)));
    }
    found
}

/// The actors below a process that have come as far as to be named. Each leads a group: what an
/// actor is about to execute has its command line until then, and is none.
pub(crate) fn actors_below(pid: i32) -> Vec<i32> {
    let is_actor = |pid: &i32| {
        command_line(*pid).is_ok_and(|line| line.starts_with("actor["))
            && stat(*pid).is_ok_and(|stat| stat.group == *pid)
    };
    descendants(pid).into_iter().filter(is_actor).collect()
}

pub(crate) fn threads(pid: i32) -> io::Result<BTreeSet<i32>> {
    numbers(&format!("/proc/{pid}/task"))
}

/// What each descriptor of a process refers to: a path, or `type:[inode]`.
pub(crate) fn descriptors(pid: i32) -> io::Result<BTreeMap<i32, String>> {
    let folder = format!("/proc/{pid}/fd");
    let target = |fd: i32| {
        // The descriptor that lists the folder is closed when its link is read.
        let target = fs::read_link(format!("{folder}/{fd}")).ok()?;
        Some((fd, target.to_string_lossy().into_owned()))
    };
    Ok(numbers(&folder)?.into_iter().filter_map(target).collect())
}

/// A line of `/proc/PID/task/TID/status` that is a set of signals.
pub(crate) fn signals(pid: i32, tid: i32, field: &str) -> io::Result<BTreeSet<i32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let mask = line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let mask = mask.ok_or_else(|| io::Error::other(format!("no {field} of {pid}")))?;
    Ok((1..=64).filter(|signal| mask >> (signal - 1) & 1 == 1).collect())
}

pub(crate) fn command_line(pid: i32) -> io::Result<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline"))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
}

fn numbers(folder: &str) -> io::Result<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(found)
}
