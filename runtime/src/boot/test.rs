//! Tests of the user's own, under the harness that `cargo test` brings.
//!
//! That harness has threads before the first test begins, and a program with actors must start before there are any. So a test runs
//! as the root of a process of its own: the test binary again, diverted before its `main`, by an initialiser that the attribute puts
//! into test binaries only. The same initialiser diverts the actors that are started from a fresh image of it.
//!
//! ```text
//! harness's thread: run_test ──exec──► before_main ─┬─ RUNTIME_TEST ──► init, root actor, test body ─► verdict
//!        ▲   output, verdict  ◄─────────────────────┘
//!        └─ passes, or panics with the test's own words    (RUNTIME_CHILD ──► an actor)
//! ```
//!
//! The process that runs the test ends with the thread that waits for it, and its tree with it.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::{Child, Command, ExitCode, Termination};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::program::{divert, on_root_thread};
use super::root::{RootConfig, block_on_root};
use crate::rpc::message_of;
use crate::spawn::{self, Backend};

/// Names the test that a process is to run.
const VARIABLE: &str = "RUNTIME_TEST";

/// Every test of this program. A slice's section goes by its name alone, and a harness beside this crate may well have `TESTS`.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static ACTOR_TESTS: [Test];

/// A test, as the macro registers it.
#[doc(hidden)]
pub struct Test {
    /// Unique in the program.
    pub name: &'static str,
    /// Of the actors for which none is named; else the variable `RUNTIME_BACKEND` says.
    pub backend: Option<Backend>,
    /// Runs it as a root actor's body.
    pub root: fn(RootConfig) -> Verdict,
}

/// How a test ended.
#[doc(hidden)]
#[derive(Debug, Serialize, Deserialize)]
pub enum Verdict {
    Passed,
    /// It returned an error, which is printed.
    Failed,
    Panicked {
        message: String,
    },
    /// It never began.
    NotSetUp {
        message: String,
    },
}

/// What the macro makes of a test: runs it in a process of its own, shows its output as this thread's, and passes or panics as it
/// did.
///
/// # Panics
/// If the test failed, with its words; if its process could not be made, or died.
#[doc(hidden)]
#[track_caller]
pub fn run_test(name: &str) {
    let mut process = Process::start(name)
        .unwrap_or_else(|error| panic!("the process of test {name} cannot be started: {error}"));
    let verdict = process.relay();
    if verdict.is_err() {
        // Nobody reads its output any more: it might wait for that for ever.
        let _gone_already = process.child.kill();
    }
    let status = process.child.wait();
    match (verdict, status) {
        (Ok(Some(Verdict::Passed)), _) => {}
        // Where and why was printed by the test itself; the harness compares the words.
        (Ok(Some(Verdict::Panicked { message })), _) => resume_unwind(Box::new(message)),
        (Ok(Some(Verdict::Failed)), _) => resume_unwind(Box::new("it returned an error")),
        (Ok(Some(Verdict::NotSetUp { message })), _) => {
            panic!("test {name} could not begin: {message}")
        }
        (Ok(None), Ok(status)) => panic!("the process of test {name} died: {status}"),
        (Err(error), _) | (_, Err(error)) => panic!("the process of test {name} is lost: {error}"),
    }
}

/// A process that runs a test, as seen by the harness's thread.
struct Process {
    child: Child,
    verdict: UnixStream,
    output: [Relay; 2],
}

impl Process {
    fn start(name: &str) -> io::Result<Process> {
        let (verdict, theirs) = UnixStream::pair()?;
        let (stdout, stdout_tx) = io::pipe()?;
        let (stderr, stderr_tx) = io::pipe()?;
        let child = Command::new("/proc/self/exe")
            .arg0(std::env::current_exe()?)
            .arg(name)
            .env(VARIABLE, name)
            // Of all descriptors only a standard stream cannot be inherited by what other threads start meanwhile.
            .stdin(OwnedFd::from(theirs))
            .stdout(stdout_tx)
            .stderr(stderr_tx)
            .spawn()?;
        let output = [Relay::new(stdout, Stream::Out), Relay::new(stderr, Stream::Error)];
        Ok(Process { child, verdict, output })
    }

    /// Passes output on until the process has ended, and then what is left of it. `None`: it ended without a verdict.
    fn relay(&mut self) -> io::Result<Option<Verdict>> {
        let mut verdict = Vec::new();
        loop {
            wait_readable(&self.verdict, &self.output)?;
            for relay in &mut self.output {
                relay.pass_ready()?;
            }
            // Last: what was written before its end is there by now.
            if is_readable(&self.verdict)? && read_some(&mut self.verdict, &mut verdict)? == 0 {
                break;
            }
        }
        for relay in &mut self.output {
            relay.pass_ready()?;
            relay.pass_remainder();
        }
        Ok(postcard::from_bytes(&verdict).ok())
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Error,
}

/// One output of the process. Passed on by `print`, because that is what the harness captures.
struct Relay {
    /// `None` once it has ended.
    pipe: Option<PipeReader>,
    /// Part of a line: characters are not passed on in halves.
    begun: Vec<u8>,
    stream: Stream,
}

impl Relay {
    fn new(pipe: PipeReader, stream: Stream) -> Relay {
        Relay { pipe: Some(pipe), begun: Vec::new(), stream }
    }

    /// Passes on the lines that are there.
    fn pass_ready(&mut self) -> io::Result<()> {
        while let Some(pipe) = &mut self.pipe
            && is_readable(pipe)?
        {
            if read_some(pipe, &mut self.begun)? == 0 {
                self.pipe = None;
            }
            if let Some(last) = self.begun.iter().rposition(|byte| *byte == b'\n') {
                let rest = self.begun.split_off(last + 1);
                let lines = std::mem::replace(&mut self.begun, rest);
                self.print(&lines);
            }
        }
        Ok(())
    }

    fn pass_remainder(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        self.print(&begun);
    }

    fn print(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        match self.stream {
            Stream::Out => print!("{text}"),
            Stream::Error => eprint!("{text}"),
        }
    }
}

/// Returns when one of them can be read, or has ended.
fn wait_readable(verdict: &UnixStream, output: &[Relay]) -> io::Result<()> {
    let pipes = output.iter().filter_map(|relay| relay.pipe.as_ref()).map(AsFd::as_fd);
    let mut watched: Vec<PollFd<'_>> =
        pipes.chain([verdict.as_fd()]).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut watched, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn is_readable(fd: &impl AsFd) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)? > 0)
}

/// Appends what there is. Zero bytes are the end.
fn read_some(from: &mut impl Read, to: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 8192];
    let count = from.read(&mut buffer)?;
    to.extend_from_slice(&buffer[..count]);
    Ok(count)
}

/// Runs before `main` in a test binary: diverts a process that is to be an actor or to run a test, and does nothing in any other.
///
/// What std does before `main` has not been done here. Of that, ignoring SIGPIPE is made up for; what is not is the message of a
/// thread that overflows its stack, which ends its process by SIGSEGV all the same.
#[doc(hidden)]
pub extern "C" fn before_main() {
    let test = std::env::var(VARIABLE).ok();
    if test.is_none() && !spawn::is_summoned() {
        return;
    }
    spawn::ignore_broken_pipes();
    divert();
    if let Some(name) = test {
        spawn::forget_variable(VARIABLE);
        run_as_process(&name);
    }
}

/// The process of one test.
fn run_as_process(name: &str) -> ! {
    let told = match take_verdict_socket() {
        Ok(mut socket) => {
            let verdict = run(name);
            postcard::to_stdvec(&verdict)
                .map_err(io::Error::other)
                .and_then(|bytes| socket.write_all(&bytes))
        }
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        eprintln!("runtime: test {name} cannot tell how it ended: {error}");
    }
    std::process::exit(0);
}

/// Standard input, as far as the user sees, is empty.
fn take_verdict_socket() -> io::Result<UnixStream> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let nothing = File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&nothing)?;
    Ok(socket)
}

fn run(name: &str) -> Verdict {
    let not_set_up = |message: String| Verdict::NotSetUp { message };
    let Some(test) = ACTOR_TESTS.iter().find(|test| test.name == name) else {
        return not_set_up("this program has no test of that name".to_owned());
    };
    let config = match RootConfig::from_env() {
        Ok(config) => config,
        Err(error) => return not_set_up(error.to_string()),
    };
    let backend = test.backend.unwrap_or(config.backend);
    let (root, config) = (test.root, RootConfig { backend, ..config });
    match on_root_thread(name, move || root(config)) {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(payload)) => Verdict::Panicked { message: message_of(&*payload) },
        Err(error) => not_set_up(error.to_string()),
    }
}

/// The body of a test as that of a root actor.
#[doc(hidden)]
pub fn run_test_root<F>(config: RootConfig, body: fn() -> F) -> Verdict
where
    F: Future,
    F::Output: Termination,
{
    match block_on_root(config, body()) {
        Ok(output) => match output.report() {
            ExitCode::SUCCESS => Verdict::Passed,
            _ => Verdict::Failed,
        },
        Err(error) => Verdict::NotSetUp { message: error.to_string() },
    }
}
