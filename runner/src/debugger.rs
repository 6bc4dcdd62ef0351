//! One case under a debugger: with the terminal, without clocks and capture, and with nothing left of
//! it or of the debugger afterwards.
//!
//! A case is forked by its supervisor, where no debugger could start it. So the suite binary is
//! told to run just this case, in the process that the debugger starts (`role::CASE`); a plain
//! binary is given libtest's arguments as always. What runs it is `contain`. Called by `session`;
//! nothing is recorded.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use runner_core::expand::{AttemptPlace, Case};
use runner_core::outcome::LeakPolicy;
use runner_core::protocol::{Attempt, Capture, Clocks, Work, role, variable};

use crate::contain::{Contain, TakeTerminal};
use crate::execute::SuiteBinary;
use crate::plain;

/// Between the request to end and SIGKILL, should somebody send a signal to the runner.
const GRACE: Duration = Duration::from_secs(5);

/// What the debugger itself leaves is no leak of the case's.
const LEAK_AFTER: Duration = Duration::from_secs(1);

/// Where a debugged attempt takes place.
#[derive(Clone, Debug)]
pub struct Place {
    /// A folder not yet made.
    pub temp_dir: PathBuf,
    /// What random choices of the body are derived from.
    pub seed: u64,
}

/// The command that debugs a case. `debugger` is words of a shell, to which the program and its
/// arguments are added.
pub fn contained(debugger: &str, case: &Case, binary: &SuiteBinary, place: Place) -> Contain {
    let attempt = attempt(case, binary, place);
    let mut env = binary.env.clone();
    let arguments = match &attempt.work {
        Work::Program(program) => program.arguments.clone(),
        Work::Test { .. } => {
            env.push((variable::ROLE.into(), role::CASE.into()));
            // A value of our own types, which JSON can hold.
            let told = serde_json::to_string(&attempt).unwrap_or_default();
            env.push((variable::CASE.into(), told.into()));
            vec![binary.path.clone().into_os_string()]
        }
    };
    env.extend(attempt.env.into_iter().map(|(name, value)| (name.into(), value.into())));
    Contain {
        command: command(debugger, arguments),
        env,
        cwd: Some(binary.package_root.clone()),
        timeout: None,
        grace: GRACE,
        leak_after: LEAK_AFTER,
        leak: LeakPolicy::Warn,
        max_processes: 0,
        report: None,
        terminal: TakeTerminal::IfForeground,
    }
}

fn attempt(case: &Case, binary: &SuiteBinary, Place { temp_dir, seed }: Place) -> Attempt {
    let (attempt, slot, cwd) = (1, 0, binary.package_root.clone());
    let attempt = case.attempt(AttemptPlace { attempt, slot, seed, cwd, temp_dir });
    let circumstances = plain::Circumstances {
        test: &case.test,
        total_attempts: 1,
        group: case.group.as_deref(),
        slots: 1,
        stress: None,
        extra_args: &case.extra_args,
    };
    let attempt = plain::attempt(attempt, binary, circumstances);
    let clocks = Clocks { deadline: None, ..attempt.clocks };
    Attempt { capture: Capture::No, clocks, ..attempt }
}

/// The shell splits the debugger's words, and is replaced by it.
fn command(debugger: &str, arguments: Vec<OsString>) -> Vec<OsString> {
    let script = format!("exec {debugger} \"$@\"");
    let shell = ["sh".into(), "-c".into(), script.into(), "sh".into()];
    shell.into_iter().chain(arguments).collect()
}
