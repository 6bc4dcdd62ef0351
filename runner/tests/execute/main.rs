//! The executor against supervisors that misbehave, all in real processes.
//!
//! This binary plays three parts: it holds the tests; started by one of them, it is a *driver*
//! that calls `runner::execute::run` and prints what it is told (`driver`); started by that, it is
//! a *supervisor* whose faults are chosen by the names of its cases (`fake`).
#![expect(clippy::unwrap_used, reason = "all of this is test code, without `#[test]`")]

mod driver;
mod fake;
mod faults;
mod intermissions;
mod interrupts;
mod probe;
mod work;

use libtest_mimic::Arguments;
use runner_core::protocol::{role, variable};

fn main() {
    if std::env::var_os(driver::SCENARIO).is_some() {
        return driver::main();
    }
    if std::env::var_os(variable::ROLE).is_some_and(|value| value == role::SUPERVISOR) {
        return fake::main();
    }
    let mut trials = work::trials();
    trials.extend(faults::trials());
    trials.extend(interrupts::trials());
    trials.extend(intermissions::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A test under its function's name: it fails by panicking.
macro_rules! trials {
    ($($name:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(libtest_mimic::Trial::test(
                concat!(module_path!(), "::", stringify!($name)),
                || { $name(); Ok(()) },
            )),*]
        }
    };
}
pub(crate) use trials;
