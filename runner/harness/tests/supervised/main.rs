//! Cases of a real suite binary, this one, under real supervisors: it is both the suite and, started
//! without a role, the tests that play the runner.

use std::process::ExitCode;

use runner_core::protocol::variable;
extern crate runner_harness as runner;

mod bench;
mod bodies;
mod hangs;

fn main() -> ExitCode {
    if std::env::var_os(variable::ROLE).is_some() {
        return runner::harness!().describe(bodies::describe).main();
    }
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, hangs::tests()).exit_code()
}
