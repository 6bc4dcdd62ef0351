//! The first process of a contained command: it executes it.
//!
//! Used by the supervisor that `thin` forks.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

use runner_core::memory::Memory;
use runner_core::protocol::{Attempt, Done};
use runner_supervisor::{FirstProcess, Terminal};

use super::{Contain, code};

/// A command that is executed once.
pub(super) struct Executed {
    pub(super) contain: Contain,
    pub(super) terminal: Terminal,
}

impl Executed {
    fn command(&self, attempt: &Attempt) -> Command {
        let (program, arguments) = match self.contain.command.as_slice() {
            [program, arguments @ ..] => (program.clone(), arguments),
            [] => ("".into(), &[][..]),
        };
        let mut command = Command::new(program);
        command.args(arguments).envs(attempt.env.iter().map(|(name, value)| (name, value)));
        command.envs(self.contain.env.iter().map(|(name, value)| (name, value)));
        if let Some(cwd) = &self.contain.cwd {
            command.current_dir(cwd);
        }
        command
    }
}

impl FirstProcess for Executed {
    fn terminal(&self) -> Terminal {
        self.terminal
    }

    fn run(&self, attempt: Attempt, memory: &'static Memory) -> ! {
        let error = self.command(&attempt).exec();
        let name = self.contain.command.first().map(|name| name.display().to_string());
        let message = format!("cannot execute {}: {error}", name.unwrap_or_default());
        memory.finish(&Done::NotSetUp { message });
        process::exit(match error.kind() {
            io::ErrorKind::NotFound => code::NOT_FOUND,
            _ => code::NOT_EXECUTABLE,
        })
    }
}
