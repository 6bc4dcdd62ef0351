//! Asks suite binaries what tests they have: all at once, each within limits.
//!
//! A binary that answers badly is that binary's error; the others are listed all the same.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use runner_core::outcome::signal_name;
use runner_core::protocol::{Listing, PROTOCOL_VERSION, role, variable};

use crate::cargo::Built;
use crate::execute::{pidfd_of, spawn_bound};
use crate::printable;

/// How long a binary may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much a binary may print, in bytes, on each of stdout and stderr.
const OUTPUT_LIMIT_BYTES: u64 = 64 << 20;

/// How much of what it printed is quoted in an error, in bytes.
const QUOTE_BYTES: usize = 400;

/// How often the size of what was printed is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// A binary that was listed.
#[derive(Debug)]
pub struct Listed {
    /// The binary as it was: a rebuild does not change it.
    pub file: File,
    /// What it said.
    pub listing: Listing,
}

/// Why a binary could not be listed; the subject is its path.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It cannot be opened or started.
    #[error("cannot be started: {0}")]
    Start(#[from] io::Error),
    /// It took too long.
    #[error("did not list its tests within {} s", PATIENCE.as_secs())]
    Hang,
    /// It printed too much.
    #[error("printed more than {} MiB while listing", OUTPUT_LIMIT_BYTES >> 20)]
    Flood,
    /// It did not exit with 0.
    #[error("{how} while listing{quote}")]
    Crash {
        /// How it ended.
        how: String,
        /// What it said on stderr.
        quote: String,
    },
    /// It was linked with another version of the harness.
    #[error("speaks protocol {theirs}, this runner {PROTOCOL_VERSION}: rebuild")]
    Version {
        /// What it said.
        theirs: u64,
    },
    /// What it printed is no listing.
    #[error("printed something that is no listing: {why}{quote}")]
    Garbage {
        /// Where reading failed.
        why: String,
        /// What it printed.
        quote: String,
    },
}

/// Lists them, in their order. Blocks until all have answered or are out of time.
pub fn list(binaries: &[Built]) -> Vec<Result<Listed, ListError>> {
    list_within(binaries, PATIENCE)
}

fn list_within(binaries: &[Built], patience: Duration) -> Vec<Result<Listed, ListError>> {
    let deadline = Instant::now() + patience;
    let started: Vec<_> = binaries.iter().map(Conversation::start).collect();
    started.into_iter().map(|conversation| conversation?.finish(deadline)).collect()
}

/// A binary that is being listed. It prints into memory files, not pipes: it never waits for us,
/// and what it may leave running holds nothing open that we wait for.
struct Conversation {
    file: File,
    child: Child,
    exited: OwnedFd,
    stdout: File,
    stderr: File,
}

impl Conversation {
    fn start(binary: &Built) -> Result<Self, ListError> {
        let file = File::open(&binary.executable)?;
        let stdout = memory_file()?;
        let stderr = memory_file()?;
        // A foreign binary that knows nothing of the role understands these and runs no test.
        let mut command = Command::new(&binary.executable);
        command
            .args(["--list", "--format", "terse"])
            .env_clear()
            .envs(binary.env.iter().map(|(name, value)| (name, value)))
            .env(variable::ROLE, role::LIST)
            .current_dir(&binary.package_root)
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?);
        let child = spawn_bound(&mut command)?;
        let exited = pidfd_of(&child)?;
        Ok(Self { file, child, exited, stdout, stderr })
    }

    fn finish(mut self, deadline: Instant) -> Result<Listed, ListError> {
        let waited = self.wait(deadline);
        self.end();
        let status = waited?;
        let stderr = quote(&self.stderr, "stderr");
        if !status.success() {
            return Err(ListError::Crash { how: how_it_ended(status), quote: stderr });
        }
        let listing = self.listing()?;
        Ok(Listed { file: self.file, listing })
    }

    fn wait(&mut self, deadline: Instant) -> Result<ExitStatus, ListError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.min(GLANCE)).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(self.exited.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if left.is_zero() {
                return Err(ListError::Hang);
            }
            for file in [&self.stdout, &self.stderr] {
                if file.metadata()?.len() > OUTPUT_LIMIT_BYTES {
                    return Err(ListError::Flood);
                }
            }
        }
    }

    /// Ends the binary and what it left in its group. Listing is no place to leave something.
    fn end(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // Nobody left in the group is the usual answer.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // Reaped already, or just killed: neither can fail or block.
        let _ = self.child.wait();
    }

    fn listing(&self) -> Result<Listing, ListError> {
        let garbage =
            |why: String| ListError::Garbage { why, quote: quote(&self.stdout, "stdout") };
        let length = self.stdout.metadata()?.len();
        if length > OUTPUT_LIMIT_BYTES {
            return Err(ListError::Flood);
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.stdout.read_exact_at(&mut bytes, 0)?;
        // Two steps: another version's listing need not have our shape.
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| garbage(error.to_string()))?;
        match value.get("protocol").and_then(serde_json::Value::as_u64) {
            Some(theirs) if theirs == u64::from(PROTOCOL_VERSION) => {}
            Some(theirs) => return Err(ListError::Version { theirs }),
            None => return Err(garbage("it names no protocol".into())),
        }
        serde_json::from_value(value).map_err(|error| garbage(error.to_string()))
    }
}

fn memory_file() -> io::Result<File> {
    Ok(memfd_create("runner-list", MFdFlags::MFD_CLOEXEC)?.into())
}

fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by {}", signal_name(signal)),
        (None, None) => status.to_string(),
    }
}

/// The beginning of what was printed, to follow a sentence; nothing for nothing.
fn quote(file: &File, stream: &str) -> String {
    let mut bytes = vec![0; QUOTE_BYTES];
    let count = file.read_at(&mut bytes, 0).unwrap_or(0);
    let lines = bytes[..count].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(|line| format!("\n  {}", printable::line(line))).collect();
    if lines.is_empty() { String::new() } else { format!("; its {stream}:{}", lines.concat()) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    const GOOD: &str = r#"echo '{"protocol":PROTOCOL,"tests":[],"modules":[]}'"#;

    /// Scripts that are listed as suite binaries are.
    struct Scripts {
        folder: tempfile::TempDir,
    }

    impl Scripts {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("a temporary folder") }
        }

        fn script(&self, name: &str, body: &str) -> Built {
            let executable = self.folder.path().join(name);
            let body = body.replace("PROTOCOL", &PROTOCOL_VERSION.to_string());
            fs::write(&executable, format!("#!/bin/sh\n{body}\n")).expect("written");
            fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).expect("set");
            Built {
                suite: name.into(),
                executable,
                package_root: self.folder.path().to_owned(),
                env: vec![("PATH".into(), std::env::var_os("PATH").unwrap_or_default())],
            }
        }

        fn error(&self, name: &str, body: &str) -> String {
            let mut listed = list(&[self.script(name, body)]);
            listed.remove(0).expect_err(name).to_string()
        }
    }

    #[test]
    fn a_binary_says_what_it_has() {
        let scripts = Scripts::new();
        let listed = list(&[scripts.script("good", &format!("echo chatter >&2; {GOOD}"))]);
        assert_eq!(listed[0].as_ref().expect("a listing").listing.tests, []);
    }

    #[test]
    fn a_binary_is_told_its_role_and_folder_and_nothing_of_ours() {
        let scripts = Scripts::new();
        let check = "[ \"$RUNNER_ROLE\" = list ] && [ -z \"$CARGO_MANIFEST_DIR\" ] && [ \"$1\" = --list ] && [ -x ./aware ] || exit 9";
        let listed = list(&[scripts.script("aware", &format!("{check}; {GOOD}"))]);
        assert!(listed[0].is_ok(), "{:?}", listed[0]);
    }

    #[test]
    fn bad_answers_are_errors_of_their_binary_alone() {
        let scripts = Scripts::new();
        let binaries = [
            scripts.script("garbage", "echo 'a::test: test'"),
            scripts.script("good", GOOD),
            scripts.script("crash", "echo why >&2; exit 3"),
        ];
        let [garbage, good, crash] = list(&binaries).try_into().expect("three");
        let garbage = garbage.expect_err("garbage").to_string();
        assert!(garbage.starts_with("printed something that is no listing: "), "{garbage}");
        assert!(garbage.ends_with("; its stdout:\n  a::test: test"), "{garbage}");
        assert!(good.is_ok());
        let crash = crash.expect_err("crash").to_string();
        assert_eq!(crash, "exited with 3 while listing; its stderr:\n  why");
    }

    #[test]
    fn every_way_of_answering_badly_has_its_own_words() {
        let scripts = Scripts::new();
        for (name, body, expected) in [
            ("killed", "kill -SEGV $$", "was ended by SIGSEGV while listing"),
            ("newer", r#"echo '{"protocol":4711,"new":{}}'"#, "speaks protocol 4711, this runner"),
            ("silent", "true", "printed something that is no listing: EOF"),
            ("binary", r"printf '\377\376'", "printed something that is no listing: "),
            (
                "shape",
                r#"echo '{"protocol":PROTOCOL}'"#,
                "printed something that is no listing: missing field",
            ),
            ("twice", &format!("{GOOD}; {GOOD}"), "printed something that is no listing: trailing"),
            ("flood", "exec yes", "printed more than 64 MiB while listing"),
        ] {
            let error = scripts.error(name, body);
            assert!(error.starts_with(expected), "{name}: {error}");
        }
        let missing =
            Built { executable: PathBuf::from("/no/such/binary"), ..scripts.script("x", "") };
        let error = list(&[missing]).remove(0).expect_err("missing").to_string();
        assert!(error.starts_with("cannot be started: "), "{error}");
    }

    #[test]
    fn a_binary_that_hangs_is_ended_with_all_it_started() {
        let scripts = Scripts::new();
        let body = "sleep 1000 & echo $! > pid; wait";
        let binaries = [scripts.script("hang", body), scripts.script("good", GOOD)];
        let [hang, good] =
            list_within(&binaries, Duration::from_millis(300)).try_into().expect("two");
        assert!(matches!(hang, Err(ListError::Hang)), "{hang:?}");
        assert!(good.is_ok());
        let pid = fs::read_to_string(scripts.folder.path().join("pid")).expect("written");
        assert!(is_dead(pid.trim()), "the child of {pid} is still there");
    }

    #[test]
    fn what_a_listing_leaves_running_holds_nobody_up() {
        let scripts = Scripts::new();
        let body = format!("{GOOD}; sleep 1000 & echo $! > pid");
        let started = Instant::now();
        assert!(list(&[scripts.script("leaver", &body)])[0].is_ok());
        assert!(started.elapsed() < Duration::from_secs(20));
        let pid = fs::read_to_string(scripts.folder.path().join("pid")).expect("written");
        assert!(is_dead(pid.trim()), "what it left, {pid}, is still there");
    }

    /// SIGKILL was sent; whether init has reaped it is not our business.
    fn is_dead(pid: &str) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().unwrap_or_default().trim().chars().next();
            match state {
                None | Some('Z' | 'X') => return true,
                Some(_) if Instant::now() > deadline => return false,
                Some(_) => std::thread::yield_now(),
            }
        }
    }
}
