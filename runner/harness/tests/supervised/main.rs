//! Cases of a real suite binary, this one, under real supervisors: it is both the suite and, started
//! without a role, the tests that play the runner.

use std::process::ExitCode;

use runner_core::protocol::variable;
extern crate runner_harness as runner;

mod bench;
mod bodies;
mod captures;
mod clocks;
mod hangs;
mod limits;

fn main() -> ExitCode {
    if bodies::writers::is_one() {
        return runner::harness!().divert(bodies::writers::write_as_an_image).main();
    }
    let is_child = std::env::var_os("CHILD").is_some();
    if is_child || std::env::var_os(variable::ROLE).is_some() {
        let divert = || {
            if std::env::var_os("CHILD").is_some() {
                bodies::live_as_a_child();
            }
        };
        return runner::harness!().divert(divert).describe(bodies::describe).main();
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let tests = [captures::TESTS, clocks::TESTS, hangs::TESTS, limits::TESTS]
        .concat()
        .into_iter()
        .map(trial)
        .collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// A test and its name.
type Test = (&'static str, fn());

fn trial((name, body): Test) -> libtest_mimic::Trial {
    libtest_mimic::Trial::test(name, move || {
        body();
        Ok(())
    })
}
