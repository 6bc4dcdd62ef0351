//! One question to one binary: a process that prints its answer and ends.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use runner_core::outcome::signal_name;
use runner_core::protocol::{role, variable};
use runner_core::wait;

use super::{ListError, OUTPUT_LIMIT_BYTES};
use crate::cargo::Built;
use crate::execute::{pidfd_of, spawn_bound};
use crate::nextest;
use crate::printable;

/// How much of what it printed is quoted in an error, in bytes.
const QUOTE_BYTES: usize = 400;

/// How often the size of what was printed is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// What a binary is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// All tests.
    Tests,
    /// Those that only run when they are asked for.
    Ignored,
}

/// A binary that is being asked. It prints into memory files, not pipes: it never waits for us,
/// and what it may leave running holds nothing open that we wait for.
pub(super) struct Conversation {
    child: Child,
    exited: OwnedFd,
    stdout: File,
    stderr: File,
}

/// What a binary printed, in good order.
pub(super) struct Printed {
    /// Its stdout.
    pub(super) bytes: Vec<u8>,
}

impl Conversation {
    pub(super) fn start(binary: &Built, question: Question) -> io::Result<Self> {
        let stdout = memory_file()?;
        let stderr = memory_file()?;
        let mut command = Command::new(&binary.executable);
        // A binary that knows nothing of the role understands these and runs no test.
        command.args(["--list", "--format", "terse"]);
        match question {
            Question::Tests => {}
            Question::Ignored => drop(command.arg("--ignored")),
        }
        command
            .env_clear()
            .envs(binary.env.iter().map(|(name, value)| (name, value)))
            .env(variable::ROLE, role::LIST)
            .env(nextest::PHASE, nextest::PHASE_LIST)
            .current_dir(&binary.package_root)
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?);
        let child = spawn_bound(&mut command)?;
        let exited = pidfd_of(&child)?;
        Ok(Self { child, exited, stdout, stderr })
    }

    /// Waits for the answer, and ends the process if there is none by then.
    pub(super) fn finish(mut self, deadline: Instant) -> Result<Printed, ListError> {
        let waited = self.wait(deadline);
        let status = self.end();
        waited?;
        let status = status?;
        if !status.success() {
            let quote = quote(&beginning(&self.stderr), "stderr");
            return Err(ListError::Crash { how: how_it_ended(status), quote });
        }
        let length = self.stdout.metadata()?.len();
        if length > OUTPUT_LIMIT_BYTES {
            return Err(ListError::Flood);
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.stdout.read_exact_at(&mut bytes, 0)?;
        Ok(Printed { bytes })
    }

    /// Until it has ended; it is not reaped.
    fn wait(&self, deadline: Instant) -> Result<(), ListError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = wait::timeout(Some(deadline.min(Instant::now() + GLANCE)));
            let mut fds = [PollFd::new(self.exited.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            if fds[0].any().unwrap_or(false) {
                return Ok(());
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
    ///
    /// As long as it is not reaped, the group cannot be another's.
    fn end(&mut self) -> io::Result<ExitStatus> {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // Nobody left in the group is the usual answer.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.child.wait()
    }
}

impl Printed {
    /// That this is no answer, and why.
    pub(super) fn garbage(&self, why: String) -> ListError {
        let beginning = &self.bytes[..self.bytes.len().min(QUOTE_BYTES)];
        ListError::Garbage { why, quote: quote(beginning, "stdout") }
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

fn beginning(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; QUOTE_BYTES];
    let count = file.read_at(&mut bytes, 0).unwrap_or(0);
    bytes.truncate(count);
    bytes
}

/// The beginning of what was printed, to follow a sentence; nothing for nothing.
fn quote(beginning: &[u8], stream: &str) -> String {
    let lines = beginning.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(|line| format!("\n  {}", printable::line(line))).collect();
    if lines.is_empty() { String::new() } else { format!("; its {stream}:{}", lines.concat()) }
}
