//! The private protocol between whoever plays the runner and a supervisor: greeting, one attempt
//! at a time, its facts.
//!
//! Frames are a little-endian `u32` length and a JSON body. Both ends greet first; a version that
//! differs ends the conversation with [`ProtocolError::Version`]. The runner binary speaks it from
//! its event loop, the other faces from one thread per supervisor; the supervisor answers from its
//! poll loop. What the program under test writes never passes here: it lies in `memory`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use stack::{Bytes, Registers, Stack, StackCopy, Trace};

use crate::test::{ModuleMarks, Test};

mod stack;

/// Version of everything in this module; both ends must have the same.
pub const PROTOCOL_VERSION: u32 = 3;

/// Longest frame either end accepts, in bytes. Hang facts are the largest thing that is sent.
pub const FRAME_LIMIT_BYTES: u32 = 64 << 20;

/// [`Attempt::max_processes`] where nothing else was said.
pub const MAX_PROCESSES: u32 = 512;

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
    /// An [`super::Attempt`] as JSON, for [`super::role::CASE`].
    pub const CASE: &str = "RUNNER_CASE";
    /// Where an exec'd process of the same binary finds the attempt's memory.
    pub const CAPTURE: &str = "RUNNER_CAPTURE";
    /// fds above 2, separated by commas, that whoever closes fds on behalf of a program should leave
    /// open in every process it starts. Not ours alone: it may name some before we add to it.
    pub const KEEP_FDS: &str = "SPAWN_KEEP_FDS";
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
    /// Run one case in this very process, for a debugger.
    pub const CASE: &str = "case";
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
    /// Stop every process of the running attempt, and its clocks; answered by
    /// [`FromSupervisor::Paused`], also where none runs.
    Pause,
    /// Let them go on, but for those that were stopped before.
    Resume,
    /// Say what the running attempt is doing without disturbing it; answered by
    /// [`FromSupervisor::Inspected`], or not at all where none runs.
    Inspect,
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
    /// Somebody debugs the attempt: its clocks stand still, and this comes every half second. Whoever
    /// plays the runner takes it for a sign of life.
    Debugged,
    /// Every process of the attempt is stopped.
    Paused,
    /// What the running attempt was doing when [`ToSupervisor::Inspect`] came.
    Inspected(Box<Hang>),
}

/// Everything a supervisor must know to run one attempt of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The case, `area::test::backend[::axis…]`.
    pub case_id: String,
    /// What its first process does.
    pub work: Work,
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
    /// More processes than this at one time, and the attempt is ended; 0 is no limit.
    pub max_processes: u32,
    /// What may outlive it: those processes are told of but neither leaks nor ended with the
    /// attempt. They end with the supervisor.
    pub leak_allow: Vec<LeakAllowance>,
    /// Whether to find out what it left beside processes.
    pub resources: Resources,
}

/// What the first process of an attempt does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Runs the test of that name, in a supervisor that is its binary.
    Test {
        /// The test's name in this binary.
        name: String,
    },
    /// Executes a program, whose exit code is the verdict.
    Program(Program),
}

/// A program to be executed by an attempt's first process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its file: a path, or one below `/proc/self/fd` that is open in the supervisor.
    pub image: PathBuf,
    /// All its arguments, the zeroth too.
    pub arguments: Vec<OsString>,
    /// What it may read.
    pub stdin: Stdin,
}

/// What a program may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdin {
    /// Nothing.
    Null,
    /// What was the supervisor's when it was started.
    Inherit,
}

/// Processes that tests share on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakAllowance {
    /// Of the name or of the whole command line; `*` stands for any text.
    pub pattern: String,
}

/// Whether to find out what an attempt left beside processes. It costs some system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resources {
    /// Not asked for.
    Ignore,
    /// Count them into [`Facts::resources`].
    Count,
}

/// Where an attempt's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capture {
    /// Taken where the program writes; fds 1 and 2 are left alone.
    Sys,
    /// As `Sys`, and passed on to fds 1 and 2 too.
    TeeSys,
    /// fds 1 and 2 are a memory file.
    Fd,
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
    /// Threads of the attempt that died of a panic which nobody joined.
    pub detached_panics: Vec<DetachedPanic>,
    /// How many processes there were when it was ended for having too many.
    pub too_many_processes: Option<u32>,
    /// What it left beside processes, if that was asked for.
    pub resources: Option<ResourceDelta>,
    /// Alive like leaks, but allowed by [`Attempt::leak_allow`]; they go on.
    pub allowed_leaks: Vec<Process>,
    /// The last words of its trace points, unless it plainly passed.
    pub last_events: Vec<TraceEvent>,
}

impl Facts {
    /// How it ended, and that nothing else was seen.
    pub fn bare(end: End, done: Option<Done>, duration: Duration) -> Self {
        Self {
            end,
            done,
            duration,
            stopped: None,
            leaks: Vec::new(),
            unkillable: Vec::new(),
            hang: None,
            cpu_time: Duration::ZERO,
            detached_panics: Vec::new(),
            too_many_processes: None,
            resources: None,
            allowed_leaks: Vec::new(),
            last_events: Vec::new(),
        }
    }
}

/// A thread that died of a panic which nobody joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachedPanic {
    /// Its process.
    pub pid: i32,
    /// Its name.
    pub thread: String,
    /// The payload, as text; its beginning.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
}

/// What an attempt had more of at its end than at its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceDelta {
    /// Threads of the first process, between the suite's hook and the end of its guard;
    /// `None` where there was no *done*, or the first process is a program.
    pub threads: Option<i32>,
    /// Open fds of the first process, likewise.
    pub fds: Option<i32>,
    /// Processes that were alive when the first one had ended.
    pub children: u32,
    /// Names in `/dev/shm` that were not there before. With several slots they may be a
    /// neighbour's.
    pub shm: Vec<String>,
    /// Sockets left in its folder, relative to that.
    pub sockets: Vec<String>,
}

/// One word of a trace point of the program under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEvent {
    /// Since the attempt started, to the kernel's tick.
    pub time: Duration,
    /// The process.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// What it said; its beginning.
    pub text: String,
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

/// What an attempt was doing: at its deadline, or when somebody asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hang {
    /// Every process of the attempt, the first one first.
    pub processes: Vec<ProcessHang>,
    /// What to know about the facts themselves, for a person: what could not be learnt, and why.
    pub notes: Vec<String>,
    /// Actors and tasks, by the suite's own hook, if it has one that answered.
    pub task_tree: Option<String>,
    /// The last words of its trace points, oldest first.
    pub last_events: Vec<TraceEvent>,
}

/// What one process of an attempt was doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessHang {
    /// From `/proc`, before anything touched it.
    pub process: Process,
    /// What its sockets are, `3 unix /path (listening)`.
    pub sockets: Vec<String>,
    /// `/proc/PID/maps`: what addresses mean. Empty where no stack is known.
    pub maps: String,
    /// What is known of its threads' stacks.
    pub stacks: Vec<Stack>,
}

impl ProcessHang {
    /// A process of which no stack is known.
    pub fn bare(process: Process) -> Self {
        Self { process, sockets: Vec::new(), maps: String::new(), stacks: Vec::new() }
    }
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

impl Process {
    /// One that is known to be there, and was gone from every listing: another was in its place.
    pub fn unseen() -> Self {
        Self {
            pid: 0,
            parent: 0,
            name: "somebody".into(),
            command: "processes that start each other and end faster than they can be listed"
                .into(),
            state: '?',
            age: Duration::ZERO,
            threads: Vec::new(),
            fds: Vec::new(),
        }
    }
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
    /// The system call it is in, by number; `None` if it is in none or the kernel does not say.
    #[serde(default)]
    pub syscall: Option<i64>,
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

/// Greets a new supervisor over a blocking socket, and waits for it to greet back.
///
/// # Errors
/// [`ProtocolError::Version`] if it speaks another protocol or says something else first, else those
/// of [`send`] and [`receive`].
pub fn greet(mut supervisor: impl Read + Write) -> Result<(), ProtocolError> {
    send(&mut supervisor, &ToSupervisor::Hello { protocol: PROTOCOL_VERSION })?;
    match receive(&mut supervisor)? {
        FromSupervisor::Hello { protocol: PROTOCOL_VERSION } => Ok(()),
        FromSupervisor::Hello { protocol } => Err(ProtocolError::Version { theirs: protocol }),
        FromSupervisor::Slow { .. }
        | FromSupervisor::Finished(_)
        | FromSupervisor::Fault { .. }
        | FromSupervisor::Debugged
        | FromSupervisor::Paused
        | FromSupervisor::Inspected(_) => Err(ProtocolError::Version { theirs: 0 }),
    }
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
