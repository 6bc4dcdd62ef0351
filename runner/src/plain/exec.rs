//! The supervisor's side: one fork and one exec for each attempt.
//!
//! # A stop between fork and exec
//! nextest executes itself between the two, because a SIGTSTP from the terminal can stop a child
//! that has not come to its exec, and then its parent, which waits for that, for good. Here that
//! cannot happen, and nothing has to be executed twice:
//! - The terminal signals its foreground process group. A supervisor left that with `setsid`, with
//!   every signal of a run still blocked as it inherited them from the runner, so before its own
//!   exec it could not be stopped either; what it forks was never in that group.
//! - Its process group, and every one below it, is orphaned (no member has a parent in another
//!   group of the same session), and what SIGTSTP, SIGTTIN and SIGTTOU do by default is not done
//!   to orphaned groups (setpgid(2), POSIX.1 2.4.3). A SIGTSTP that somebody sends on purpose stops
//!   no first process before its exec.
//! - SIGSTOP comes from somebody who means this process. The supervisor itself, which does so when
//!   the runner pauses, does not wait for the exec: it is in its loop, sees the stop as part of the
//!   attempt, and the attempt's clocks end what stays stopped.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::execveat;
use runner_core::memory::Memory;
use runner_core::protocol::{Attempt, Done, Program, Work, role, variable};
use runner_supervisor::{FirstProcess, inherited, serve};

use super::attempt::fd_of;
use super::images::{Image, Known};

/// What a first process exits with that never came to its program; its *done* says why.
const NOT_SET_UP: i32 = 96;
/// What a supervisor exits with that cannot serve.
const FAILED: u8 = 101;

/// Plays the supervisor of plain binaries, if that is what the environment asks for. Called first
/// thing in `main`: nothing that a supervisor does not need should be in its memory.
pub fn supervise_if_told() -> Option<ExitCode> {
    let role = std::env::var_os(variable::ROLE)?;
    (role == role::SUPERVISOR).then(|| match supervise() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: supervisor: {message}");
            ExitCode::from(FAILED)
        }
    })
}

fn supervise() -> Result<(), String> {
    let [control, memory, images] = [variable::CONTROL, variable::MEMORY, super::IMAGES].map(take);
    let memory = Memory::open(memory?)
        .map_err(|error| format!("the attempt memory cannot be mapped: {error}"))?;
    let known = Known::read(File::from(images?))
        .map_err(|error| format!("the list of binaries cannot be read: {error}"))?;
    let executor = PlainTest::new(known)?;
    serve(control?.into(), memory, executor).map_err(|error| format!("the runner {error}"))
}

fn take(name: &str) -> Result<OwnedFd, String> {
    let number = std::env::var(name).ok().and_then(|text| text.parse().ok());
    let taken = number.map(inherited).and_then(Result::ok);
    taken.ok_or_else(|| format!("it is started by the runner only: no {name}"))
}

/// The first process of a plain test.
struct PlainTest {
    known: Known,
    files: Vec<(RawFd, OwnedFd)>,
}

impl PlainTest {
    fn new(known: Known) -> Result<Self, String> {
        let file = |fd: RawFd| match inherited(fd) {
            Ok(file) => Ok((fd, file)),
            Err(error) => Err(format!("a binary's file cannot be used: {error}")),
        };
        let files = known.fds().map(file).collect::<Result<_, _>>()?;
        Ok(Self { known, files })
    }

    fn find(&self, program: &Program) -> Option<(BorrowedFd<'_>, &Image)> {
        let number = fd_of(&program.image)?;
        let (_, file) = self.files.iter().find(|(fd, _)| *fd == number)?;
        Some((file.as_fd(), self.known.find(number)?))
    }

    /// Returns if it cannot be done, with why.
    fn execute(&self, attempt: &Attempt) -> String {
        let Work::Program(program) = &attempt.work else {
            return "this supervisor has no tests of its own".into();
        };
        let Some((file, image)) = self.find(program) else {
            return format!("{} is no binary that was listed", program.image.display());
        };
        if let Err(error) = std::env::set_current_dir(&attempt.cwd) {
            return format!("cannot enter {}: {error}", attempt.cwd.display());
        }
        let arguments: Option<Vec<_>> = program.arguments.iter().map(|it| c_string(it)).collect();
        let Some(arguments) = arguments else {
            return "an argument holds a zero byte".into();
        };
        // By the file, not by a path that a build may have taken away or replaced since.
        let Err(error) =
            execveat(file, c"", &arguments, &environment(image, attempt), AtFlags::AT_EMPTY_PATH);
        let name = program.arguments.first().map(|name| name.display().to_string());
        let name = name.unwrap_or_default();
        match error {
            Errno::ENOENT => format!("cannot execute {name}: its interpreter is not there"),
            error => format!("cannot execute {name}: {}", error.desc()),
        }
    }
}

impl FirstProcess for PlainTest {
    fn kept_fds(&self, attempt: &Attempt) -> Vec<RawFd> {
        match &attempt.work {
            Work::Program(program) => fd_of(&program.image).into_iter().collect(),
            Work::Test { .. } => Vec::new(),
        }
    }

    fn run(&self, attempt: Attempt, memory: &'static Memory) -> ! {
        let message = self.execute(&attempt);
        memory.finish(&Done::NotSetUp { message });
        std::process::exit(NOT_SET_UP)
    }
}

/// The binary's, with what the attempt says instead of it.
fn environment(image: &Image, attempt: &Attempt) -> Vec<CString> {
    let is_own = |variable: &&CString| {
        let name = variable.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        !attempt.env.iter().any(|(other, _)| other.as_bytes() == name)
    };
    let said = attempt
        .env
        .iter()
        .filter_map(|(name, value)| c_string(OsStr::new(&format!("{name}={value}"))));
    image.env.iter().filter(is_own).cloned().chain(said).collect()
}

fn c_string(text: &OsStr) -> Option<CString> {
    CString::new(text.as_bytes()).ok()
}
