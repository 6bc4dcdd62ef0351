//! The suites: every test written once, run on every spawn backend.
//!
//! One module per area. A test asserts what a program could see: values, typed errors, exit
//! statuses, what processes are left; never log text. What a backend cannot do is exempt by a
//! named capability (`needs`), never by the backend's name.
//!
//! Beside the areas: [`attempt`] joins the harness to the runtime, [`delays`] is what the suites do
//! at the runtime's trace point, [`actors`] are the few actors that several areas start, [`gate`] is
//! where a test and its actors wait for each other, [`points`] cuts a program off wherever it waits,
//! [`process`] is what `/proc` and signals say and do, [`shape`] writes an error's structure down.

mod actors;
mod attempt;
mod delays;
mod gate;
mod points;
mod process;
mod shape;

mod broadcast;
mod cancellation;
mod cluster;
mod context_streams;
mod error_types;
mod every_point;
mod faults;
mod hygiene;
mod inter_peer;
mod interrupts;
mod local;
mod mechanisms;
mod one_way;
mod out_of_band_cancel;
mod output;
mod parent_death;
mod payload_types;
mod pubsub;
mod remote_errors;
mod resource_cache;
mod root;
mod rpc;
mod runtime;
mod schedules;
mod scopes;
mod service_nursery;
mod spawning;
mod streaming;
mod supervision;
mod task_start;
mod tree_output;
mod two_way;

use std::process::ExitCode;

fn main() -> ExitCode {
    delays::install();
    ::runtime::on_actor_start(attempt::label_output);
    runner::harness!()
        .divert(::runtime::divert)
        .on_attempt_start(attempt::prepare)
        .executor(attempt::run_as_root)
        .main()
}
