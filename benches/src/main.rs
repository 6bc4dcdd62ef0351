//! The project's figures: ours, floor and peer, measured in one run.
//!
//! ```text
//! catalogue ──► rounds ──► table
//!   what is       │ probe: one side of a figure, once
//!   measured      ├─ suite   the runner, cargo-nextest and a suite binary, by wall clock
//!                 └─ job     this program again, in a fresh process ──► ours, floor
//! ```
//! Everything is measured in a process made for it, so that what one side leaves behind (a heap,
//! threads, warm pages) is not in the other's figure. A figure is a ratio to a floor or a peer of
//! the same run; nothing here is a test.

mod catalogue;
mod cli;
mod containment;
mod error;
mod expansion;
mod figure;
mod floor;
mod job;
mod load;
mod ours;
mod products;
mod rounds;
mod suite;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    // An exec'd actor of `ours` is this program again, and so is every job.
    runtime::divert();
    match job::from_arguments() {
        Some(job) => job::run(job),
        None => cli::run(),
    }
}
