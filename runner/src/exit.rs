//! How the runner ends: nextest's exit codes, and the errors that lead to them.

use std::process::ExitCode;

use runner_core::diagnostic::{Diagnostic, Diagnostics, Style};

/// Exit codes, as nextest numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything is as it should be.
    Success,
    /// `reap` had to use force, or could not.
    Force,
    /// Nothing was selected, or nothing of it could be run.
    NoTests,
    /// The command line cannot be understood.
    Usage,
    /// A filterset cannot be understood.
    Filterset,
    /// Manifest, backends or machine are not as they must be.
    Setup,
    /// A case failed, or the run ended before it was over: by a limit of its own, or because
    /// somebody asked for that.
    TestFailure,
    /// cargo could not build the suites.
    Build,
    /// cargo could not describe the workspace.
    Metadata,
    /// A suite binary could not be listed.
    List,
}

/// Why the runner ends early, all of it that a person should see.
#[derive(Debug)]
pub struct Failure {
    /// What to exit with.
    pub exit: Exit,
    /// What to print.
    pub diagnostics: Diagnostics,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Force => 1,
            Self::Usage => 2,
            Self::NoTests => 4,
            Self::Filterset => 94,
            Self::Setup => 96,
            Self::TestFailure => 100,
            Self::Build => 101,
            Self::Metadata => 102,
            Self::List => 104,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Failure {
    /// With what was collected.
    pub fn new(exit: Exit, diagnostics: impl Into<Diagnostics>) -> Self {
        Self { exit, diagnostics: diagnostics.into() }
    }

    /// With one sentence.
    pub fn because(exit: Exit, message: impl Into<String>) -> Self {
        Self::new(exit, Diagnostic::new(message))
    }

    /// Prints what is wrong to stderr and returns the exit code.
    pub fn report(&self) -> ExitCode {
        anstream::eprintln!("{}", self.diagnostics.render(Style::Coloured));
        self.exit.into()
    }
}

/// Prints a warning to stderr.
pub fn warn(message: impl std::fmt::Display) {
    let style = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Yellow.into()));
    anstream::eprintln!("{style}warning{style:#}: {message}");
}
