//! The command line.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::error::{BenchError, Result, Trying};
use crate::figure::Figure;
use crate::load::Load;
use crate::products::Products;
use crate::suite::{self, Run};
use crate::{catalogue, rounds, table};

/// Measures the project against what the machine allows and what others need, and prints one table.
///
/// Builds the runner and the suites it runs (release), then goes through the figures in rounds:
/// ours, floor, peers. Ratios are medians over the rounds, each taken within its round.
#[derive(Debug, Parser)]
#[command(name = "benches", version, after_help = EXAMPLES)]
struct Cli {
    /// Only figures with this in their name; can be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How often each side of a figure is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one())]
    rounds: u32,
    /// Print a JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Print the names of the figures and what is timed, and measure nothing
    #[arg(long)]
    list: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo run --release -p benches                              everything: some minutes
  cargo run --release -p benches -- --only start              start to ready of each backend
  cargo run --release -p benches -- --only case --rounds 9    a trivial case, more rounds
  cargo run --release -p benches -- --json > figures.json

Leave the machine alone meanwhile: its load is printed above the table. A figure that misses its
bar is not an error; the exit code is 1 if one could not be measured.";

fn at_least_one() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

/// Does what the command line asks for.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    match figures(&cli).and_then(|figures| measure(&cli, figures)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn figures(cli: &Cli) -> Result<Vec<Figure>> {
    let wanted = |figure: &Figure| {
        cli.only.is_empty() || cli.only.iter().any(|part| figure.name.contains(part.as_str()))
    };
    let (figures, others): (Vec<Figure>, Vec<Figure>) =
        catalogue::all().into_iter().partition(wanted);
    if figures.is_empty() {
        let mut names: Vec<String> = others.into_iter().map(|figure| figure.name).collect();
        names.sort();
        names.dedup();
        let why = format!("no figure has that in its name; there are {}", names.join(", "));
        return Err(BenchError::new(format!("--only {}", cli.only.join(" --only ")), why));
    }
    Ok(figures)
}

fn measure(cli: &Cli, figures: Vec<Figure>) -> Result<ExitCode> {
    if cli.list {
        say(&table::legend(&figures))?;
        return Ok(ExitCode::SUCCESS);
    }
    let figures = with_peers_to_be_had(figures);
    let suites = figures.iter().any(Figure::runs_suites);
    let products = suites.then(Products::build).transpose()?;
    let before = Load::now();
    let outcome = rounds::run(figures, cli.rounds, products.as_ref());
    let load = (before, Load::now());
    say(&if cli.json {
        format!("{}\n", table::json(&outcome, load))
    } else {
        table::text(&outcome, load)
    })?;
    Ok(if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A peer that is not installed is no reason not to measure the rest.
fn with_peers_to_be_had(figures: Vec<Figure>) -> Vec<Figure> {
    if !figures.iter().any(Figure::runs_suites) || suite::has_nextest() {
        return figures;
    }
    eprintln!("cargo-nextest is not installed: figures are without it as a peer");
    figures.into_iter().map(|figure| figure.without_peers(Run::is_of_nextest)).collect()
}

/// To stdout. A reader that has seen enough is no error.
fn say(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        said => said.trying("writing to stdout"),
    }
}
