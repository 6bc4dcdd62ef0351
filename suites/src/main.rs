//! The suites: every test written once, run on every spawn backend.
//!
//! One module per area. A test asserts what a program could see: values, typed errors, exit
//! statuses, what processes are left; never log text. What a backend cannot do is exempt by a
//! named capability (`needs`), never by the backend's name.

mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::on_actor_start(support::label_output);
    runner::harness!()
        .divert(runtime::divert)
        .on_attempt_start(support::prepare)
        .executor(support::run_as_root)
        .main()
}
