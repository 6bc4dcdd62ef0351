//! What an attempt leaves beside leaks: daemons that tests share on purpose, and things that are not
//! processes.
//!
//! A shared daemon stays a child of the supervisor, attempt after attempt, and ends with it. It is
//! known by its pid and the time it started, so that nobody can take its place.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use runner_core::process;
use runner_core::protocol::{LeakAllowance, Process};

/// Daemons that may outlive the attempt that started them.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Pid and start.
    daemons: BTreeSet<(i32, u64)>,
}

impl Shared {
    pub(crate) fn is_empty(&self) -> bool {
        self.daemons.is_empty()
    }

    pub(crate) fn contains(&self, pid: i32) -> bool {
        !self.is_empty()
            && process::start_ticks(pid).is_some_and(|start| self.daemons.contains(&(pid, start)))
    }

    /// Keeps those of the leaks that are allowed, and gives the others and them back.
    pub(crate) fn keep(
        &mut self,
        leaks: Vec<Process>,
        allowances: &[LeakAllowance],
    ) -> (Vec<Process>, Vec<Process>) {
        let is_allowed =
            |process: &Process| allowances.iter().any(|allowance| allows(allowance, process));
        let (allowed, leaks): (Vec<_>, Vec<_>) = leaks.into_iter().partition(is_allowed);
        for process in &allowed {
            let start = process::start_ticks(process.pid);
            self.daemons.extend(start.map(|start| (process.pid, start)));
        }
        (leaks, allowed)
    }

    /// Forgets those that have ended.
    pub(crate) fn forget(&mut self, pid: i32) {
        self.daemons.retain(|(daemon, _)| *daemon != pid);
    }
}

fn allows(LeakAllowance { pattern }: &LeakAllowance, process: &Process) -> bool {
    matches(pattern, &process.name) || matches(pattern, &process.command)
}

/// Whether a text is of that form, `*` standing for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, between)) = pieces.split_last() else {
        return rest.is_empty();
    };
    for piece in between {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// What is in `/dev/shm`, by name.
pub(crate) fn shm() -> BTreeSet<String> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Sockets below a folder, relative to it.
pub(crate) fn sockets_below(folder: &Path) -> Vec<String> {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().filter_map(Result::ok) {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else {
                continue;
            };
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_socket() {
                let relative = path.strip_prefix(folder).unwrap_or(&path);
                found.push(relative.display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("sleep", "sleep", true),
            ("sleep", "sleep 5", false),
            ("sleep*", "sleep 5", true),
            ("*sleep*", "/bin/sleep 5", true),
            ("*5", "sleep 5", true),
            ("s*p*5", "sleep 5", true),
            ("s*x*5", "sleep 5", false),
            ("ab*b", "ab", false),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
