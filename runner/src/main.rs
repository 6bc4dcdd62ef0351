//! `runner`: every test of a suite, once for every backend.

use std::process::ExitCode;

use clap::Parser;
use runner::cli::Cli;
use runner::{plain, session};

fn main() -> ExitCode {
    if let Some(code) = plain::supervise_if_told() {
        return code;
    }
    session::execute(Cli::parse())
}
