//! `runner`: every test of a suite, once for every backend.

use std::process::ExitCode;

use clap::Parser;
use runner::cli::Cli;
use runner::session;

fn main() -> ExitCode {
    session::execute(Cli::parse())
}
