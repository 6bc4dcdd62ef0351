//! The supervisor's side: one clone and one exec for each attempt.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use runner_core::memory::Memory;
use runner_core::protocol::{Attempt, Done, Program, Work, role, variable};
use runner_supervisor::{FirstProcess, Launch, inherited, serve};

use super::attempt::fd_of;
use super::images::{Image, Known};

/// What a first process exits with that has no program; its *done* says why.
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
}

impl FirstProcess for PlainTest {
    fn launch(&self, attempt: &Attempt) -> Option<Launch<'_>> {
        let Work::Program(program) = &attempt.work else {
            return None;
        };
        let (file, image) = self.find(program)?;
        Some(Launch {
            // By the file, not by a path that a build may have taken away or replaced since.
            image: file,
            arguments: program.arguments.iter().map(|it| c_string(it)).collect::<Option<_>>()?,
            environment: environment(image, attempt),
            folder: c_string(attempt.cwd.as_os_str())?,
        })
    }

    /// For what cannot be launched.
    fn run(&self, attempt: Attempt, memory: &'static Memory) -> ! {
        let message = match &attempt.work {
            Work::Program(program) if self.find(program).is_some() => {
                "an argument or the folder holds a zero byte".to_owned()
            }
            Work::Program(program) => {
                format!("{} is no binary that was listed", program.image.display())
            }
            Work::Test { name } => format!("there is no test {name} in a supervisor of others"),
        };
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
