//! Measures figures in interleaved rounds: ours, floor, peers, and again.

use crate::error::{BenchError, Result};
use crate::figure::{Figure, Measured, Probe, Row, Side};
use crate::products::Products;

/// What was measured, and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rounds: u32,
    pub(crate) rows: Vec<Row>,
    /// Names of figures, and why there are no rows of them.
    pub(crate) failures: Vec<(String, String)>,
}

/// Goes through all figures, so many times. A side that fails takes its figure out.
pub(crate) fn run(figures: Vec<Figure>, rounds: u32, products: Option<&Products>) -> Outcome {
    let mut outcome = Outcome { rounds, ..Outcome::default() };
    outcome.rows = figures.into_iter().map(Row::empty).collect();
    for round in 1..=rounds {
        let rows = std::mem::take(&mut outcome.rows);
        for mut row in rows {
            eprintln!(
                "round {round} of {rounds}: {}, {}",
                row.figure.name,
                row.figure.place.word()
            );
            match row.measure(products) {
                Ok(()) => outcome.rows.push(row),
                Err(error) => {
                    eprintln!("error: {}: {error}", row.figure.name);
                    outcome.failures.push((row.figure.name, error.to_string()));
                }
            }
        }
    }
    outcome
}

impl Row {
    fn empty(figure: Figure) -> Self {
        let floor = figure.floor.as_ref().map(|_| Measured::default());
        let peers = figure.peers.iter().map(|_| Measured::default()).collect();
        Self { figure, ours: Measured::default(), floor, peers }
    }

    /// One round.
    fn measure(&mut self, products: Option<&Products>) -> Result<()> {
        self.ours.add(&take(&self.figure.ours, products)?);
        for (floor, side) in self.floor.iter_mut().zip(&self.figure.floor) {
            floor.add(&take(side, products)?);
        }
        for (peer, side) in self.peers.iter_mut().zip(&self.figure.peers) {
            peer.add(&take(side, products)?);
        }
        Ok(())
    }
}

/// Samples of one side.
fn take(side: &Side, products: Option<&Products>) -> Result<Vec<f64>> {
    match &side.probe {
        Probe::Job(job) => job.samples(),
        Probe::Program(job) => (0..PROGRAMS).map(|_| job.wall()).collect(),
        Probe::Suite(run) => match products {
            Some(products) => run.samples(products),
            None => Err(BenchError::new("a run of a suite", "none was built")),
        },
    }
}

/// Runs of a whole program in a round.
const PROGRAMS: usize = 5;
