//! `runner contain -- CMD`: gives any command what a case gets. No process of it outlives it, its
//! life has a bound, when that is over there is a hang report, and what it left is listed.
//!
//! Built like the other faces. The process that was started (`thin`) plays the runner: it forks
//! one supervisor before anything else and then only waits and passes signals on; the supervisor
//! forks the first process, which executes the command (`command`). So whoever SIGKILLs the
//! started process, or its whole group as nextest does, ends the command's subtree too. What to
//! end with is a pure function of the supervisor's facts (`verdict`).
//!
//! Called by `session`, for a command of a person's and for a case under a debugger.

mod command;
mod terminal;
mod thin;
mod verdict;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use runner_core::outcome::LeakPolicy;

pub use thin::contain;
pub use verdict::{Ending, code};

/// A command and its bounds.
#[derive(Clone, Debug)]
pub struct Contain {
    /// The program, looked for in `PATH` if it is a bare name, and its arguments. Not empty.
    pub command: Vec<OsString>,
    /// Added to this process's environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where to run it, if not here.
    pub cwd: Option<PathBuf>,
    /// How long it may take; `None` is for ever.
    pub timeout: Option<Duration>,
    /// Between the request to end and SIGKILL.
    pub grace: Duration,
    /// What is alive this long after its first process ended is left behind.
    pub leak_after: Duration,
    /// What it means that it left something.
    pub leak: LeakPolicy,
    /// More processes than this at one time end it; 0 is no limit.
    pub max_processes: u32,
    /// Where hang reports are written; `None` is stderr.
    pub report: Option<PathBuf>,
    /// When it gets the terminal.
    pub terminal: TakeTerminal,
}

/// When a command becomes the terminal's foreground job, as if nothing were around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeTerminal {
    /// If this process is a job of its own and reads from and writes to the terminal. Otherwise
    /// somebody else needs Ctrl-C too: the rest of a pipeline, cargo, a script.
    IfAlone,
    /// Whenever this process has it.
    IfForeground,
}
