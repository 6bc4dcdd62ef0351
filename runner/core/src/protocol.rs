//! The private protocol between whoever plays the runner and a supervisor: greeting, one attempt
//! at a time, its facts.
//!
//! Frames are a little-endian `u32` length and a JSON body. Both ends greet first; a version that
//! differs ends the conversation with [`ProtocolError::Version`]. The runner binary speaks it from
//! its event loop, the other faces from one thread per supervisor; the supervisor answers from its
//! poll loop. What the program under test writes never passes here: it lies in `memory`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::test::{ModuleMarks, Test};

/// Version of everything in this module; both ends must have the same.
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest frame either end accepts, in bytes. Hang facts are the largest thing that is sent.
pub const FRAME_LIMIT_BYTES: u32 = 64 << 20;

/// How the name of the folder begins that all [`Attempt::temp_dir`]s of a run lie in. Short: socket
/// paths begin with it.
pub const RUN_FOLDER_PREFIX: &str = "runner-";

/// Names of the environment variables that make a suite binary anything but a libtest look-alike.
pub mod variable {
    /// Set to `list`: print a [`super::Listing`] as one JSON line and exit.
    pub const ROLE: &str = "RUNNER_ROLE";
    /// Number of the inherited control socket of a supervisor.
    pub const CONTROL: &str = "RUNNER_CONTROL_FD";
    /// Number of the inherited memory file that holds the slot's attempt memory.
    pub const MEMORY: &str = "RUNNER_MEMORY_FD";
    /// Where an exec'd process of the same binary finds the attempt's memory.
    pub const CAPTURE: &str = "RUNNER_CAPTURE";
    /// The manifest to use instead of the one found upwards from the package.
    pub const MANIFEST: &str = "RUNNER_MANIFEST";
    /// The backend of the case, under the name plain binaries know.
    pub const BACKEND: &str = "SPAWN_BACKEND";
}

/// Values of [`variable::ROLE`].
pub mod role {
    /// Print the listing.
    pub const LIST: &str = "list";
    /// Serve attempts over the control socket.
    pub const SUPERVISOR: &str = "supervisor";
}

/// What a suite binary prints about itself when asked to list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// [`PROTOCOL_VERSION`] of the harness that was linked.
    pub protocol: u32,
    /// Every registered test, sorted by name.
    pub tests: Vec<Test>,
    /// Marks on modules.
    pub modules: Vec<ModuleMarks>,
    /// Whose harness it is; only ours says so itself.
    #[serde(default)]
    pub harness: HarnessKind,
    /// What a panic does to a process of this binary.
    #[serde(default)]
    pub panics: Panics,
}

/// Whose harness a binary was linked with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HarnessKind {
    /// Ours: it is its own supervisor, and says *done*.
    #[default]
    Own,
    /// Any other that understands libtest's arguments: its exit code is the verdict.
    Plain,
}

/// What a panic does to a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Panics {
    /// It unwinds the thread that panicked.
    #[default]
    Unwind,
    /// It ends the process (`panic = "abort"`).
    Abort,
}

/// From whoever plays the runner to a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// First frame on the socket.
    Hello {
        /// [`PROTOCOL_VERSION`] of the sender.
        protocol: u32,
    },
    /// Run this attempt; legal only while none runs.
    Start(Box<Attempt>),
    /// Ask the running attempt to end: SIGINT, `grace`, then the kill of its subtree.
    Interrupt,
    /// Treat the running attempt as if its deadline passed now: an outer clock ran out.
    Expire,
    /// Kill the running attempt's subtree now.
    Kill,
}

/// From a supervisor to whoever plays the runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromSupervisor {
    /// First frame on the socket.
    Hello {
        /// [`PROTOCOL_VERSION`] of the harness that was linked.
        protocol: u32,
    },
    /// The slow period passed (again).
    Slow {
        /// Since the attempt started.
        elapsed: Duration,
    },
    /// No process of the attempt is left, or what is left is named in the facts.
    Finished(Box<Facts>),
    /// The supervisor itself cannot go on; it exits after this frame.
    Fault {
        /// What happened, for a person.
        message: String,
    },
}

/// Everything a supervisor must know to run one attempt of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The case, `area::test::backend[::axis…]`.
    pub case_id: String,
    /// The test's name in this binary.
    pub test: String,
    /// The backend's canonical name.
    pub backend: String,
    /// Values of the axes the test opted in to.
    pub axes: BTreeMap<String, String>,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// Place among the slots, from 0.
    pub slot: u32,
    /// For whatever the body wants to randomise; part of the rerun line.
    pub seed: u64,
    /// Added to the supervisor's environment, in the attempt's first process.
    pub env: Vec<(String, String)>,
    /// Working directory: the package's root.
    pub cwd: PathBuf,
    /// A folder of the attempt's own, not yet made; removed by the supervisor at the end. Lies in a
    /// folder of the run's own, see [`RUN_FOLDER_PREFIX`].
    pub temp_dir: PathBuf,
    /// Where its output goes.
    pub capture: Capture,
    /// Clocks.
    pub clocks: Clocks,
}

/// Where an attempt's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capture {
    /// Taken where the program writes; fds 1 and 2 are left alone.
    Sys,
    /// Not taken.
    No,
}

/// The clocks of an attempt; all count from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// A [`FromSupervisor::Slow`] each time this has passed.
    pub slow_after: Duration,
    /// The wall-clock deadline; `None` runs without one.
    pub deadline: Option<Duration>,
    /// Between SIGINT and the kill of the subtree.
    pub grace: Duration,
    /// What is alive this long after the first process ended is a leak.
    pub leak_after: Duration,
}

/// What a supervisor saw of one attempt. Judged by [`crate::outcome::judge`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// How the first process ended.
    pub end: End,
    /// What the attempt wrote on its own channel, if it came that far.
    pub done: Option<Done>,
    /// From the fork to the end of the first process.
    pub duration: Duration,
    /// Why the supervisor ended it, if it did.
    pub stopped: Option<Stopped>,
    /// Alive `leak_after` after the first process ended (and then killed).
    pub leaks: Vec<Process>,
    /// Still there 5 s after SIGKILL: the supervisor must be retired.
    pub unkillable: Vec<Process>,
    /// Taken at the deadline, before any signal.
    pub hang: Option<Hang>,
    /// User and system time of the first process and of what it waited for.
    pub cpu_time: Duration,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal number.
    Signalled(i32),
}

/// What an attempt says of itself, after its body's value is dropped and the guard is down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// The body returned success.
    Passed,
    /// The body returned an error.
    Failed {
        /// As the error prints itself, with its sources.
        message: String,
    },
    /// The body panicked.
    Panicked {
        /// The payload, as text.
        message: String,
        /// `file:line:column`.
        location: String,
    },
    /// What the body needs could not be set up; it did not run.
    NotSetUp {
        /// What went wrong.
        message: String,
    },
    /// The body asked to be skipped.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// Why a supervisor ended an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stopped {
    /// The deadline passed.
    Deadline,
    /// Whoever plays the runner asked.
    Interrupted,
}

/// What could be learnt of an attempt that passed its deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hang {
    /// Every process of the attempt, the first one first.
    pub processes: Vec<Process>,
    /// Stacks of the first process's threads, if its watchdog could run.
    pub stacks: Stacks,
}

/// Stacks of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stacks {
    /// By the watchdog, unsymbolised.
    Taken {
        /// `/proc/PID/maps` at that time.
        maps: String,
        /// A stack for each thread that answered.
        threads: Vec<Stack>,
    },
    /// The watchdog did not run or did not end; why, for a person.
    Missing(String),
}

/// The raw stack of one thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The thread.
    pub tid: i32,
    /// Its name at that time.
    pub name: String,
    /// Return addresses, innermost first; empty if the thread did not answer.
    pub frames: Vec<u64>,
}

/// A process, from `/proc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// Thread name of its first thread.
    pub name: String,
    /// Its command line, or its title where it set one.
    pub command: String,
    /// `R`, `S`, `D`, `T`, `Z`, …
    pub state: char,
    /// Since it started.
    pub age: Duration,
    /// Its threads.
    pub threads: Vec<Thread>,
    /// What its fds are, `3 socket:[1234]`, at most the first 64.
    pub fds: Vec<String>,
}

/// A thread, from `/proc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Its id.
    pub tid: i32,
    /// Its name.
    pub name: String,
    /// `R`, `S`, `D`, `T`, `Z`, …
    pub state: char,
    /// Where it waits in the kernel; empty if it runs or the kernel does not say.
    pub wait_channel: String,
}

/// The conversation with a peer is over.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The other end is of another version.
    #[error("speaks protocol {theirs}, this is {PROTOCOL_VERSION}: rebuild")]
    Version {
        /// What the peer said.
        theirs: u32,
    },
    /// A frame is longer than [`FRAME_LIMIT_BYTES`].
    #[error("frame of {0} bytes exceeds the limit of {FRAME_LIMIT_BYTES}")]
    TooLong(u32),
    /// A frame that is not what the protocol says.
    #[error("unreadable frame: {0}")]
    Garbage(#[from] serde_json::Error),
    /// The other end is gone.
    #[error("ended the conversation")]
    Closed,
    /// The socket failed.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
}

/// Writes one frame, whole, in a single `write` where the socket takes it.
///
/// # Errors
/// [`ProtocolError::Io`] from the socket, [`ProtocolError::TooLong`] for an outsized message.
pub fn send<T: Serialize>(socket: &mut impl Write, message: &T) -> Result<(), ProtocolError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    if length > FRAME_LIMIT_BYTES {
        return Err(ProtocolError::TooLong(length));
    }
    frame[..4].copy_from_slice(&length.to_le_bytes());
    socket.write_all(&frame)?;
    Ok(())
}

/// Reads one frame from a blocking socket.
///
/// # Errors
/// [`ProtocolError::Closed`] at end-of-file between frames, else what went wrong.
pub fn receive<T: DeserializeOwned>(socket: &mut impl Read) -> Result<T, ProtocolError> {
    let mut decoder = Decoder::default();
    let mut chunk = [0; 4096];
    loop {
        let wanted = decoder.missing_bytes().min(chunk.len());
        match socket.read(&mut chunk[..wanted]) {
            Ok(0) => return Err(ProtocolError::Closed),
            Ok(count) => decoder.push(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        if let Some(message) = decoder.next()? {
            return Ok(message);
        }
    }
}

/// Collects bytes of a stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// [`ProtocolError::TooLong`] and [`ProtocolError::Garbage`]; the stream is then unusable.
    #[expect(clippy::should_implement_trait, reason = "typed by the caller, and fallible")]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ProtocolError> {
        let Some(length) = self.length()? else {
            return Ok(None);
        };
        if self.bytes.len() < 4 + length {
            return Ok(None);
        }
        let message = serde_json::from_slice(&self.bytes[4..4 + length])?;
        self.bytes.drain(..4 + length);
        Ok(Some(message))
    }

    /// How many bytes the frame under way still wants: reading just so many never takes bytes
    /// of the next frame.
    pub fn missing_bytes(&self) -> usize {
        let whole = match self.length() {
            Ok(Some(length)) => 4 + length,
            Ok(None) | Err(_) => 4,
        };
        whole.saturating_sub(self.bytes.len()).max(1)
    }

    fn length(&self) -> Result<Option<usize>, ProtocolError> {
        let Some(prefix) = self.bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix);
        if length > FRAME_LIMIT_BYTES {
            return Err(ProtocolError::TooLong(length));
        }
        Ok(Some(length as usize))
    }
}
