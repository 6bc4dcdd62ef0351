//! Tests × backends, for every test that is not a plain pass everywhere.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::Style;
use runner_core::outcome::Standing;

use super::lines::rule;
use super::style::{BAD, FAINT, ODD, PLAIN, STRONG};
use super::tally::{Cell, Row, Tally};

/// A plain pass, in a row that is shown for another cell's sake.
const PASSED: &str = "ok";

/// No such case in this run.
const ABSENT: &str = "-";

/// Writes it, if it has a row.
pub(super) fn write(tally: &Tally, suites: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let rows: Vec<(&Row, &Vec<Cell>)> =
        tally.rows().iter().filter(|(_, cells)| !cells.iter().all(is_plain_pass)).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let backends: Vec<&str> = tally.backends().iter().map(|it| it.backend.as_str()).collect();
    let mut notes = Notes::default();
    let table: Vec<(String, Vec<(Style, String)>)> = rows
        .into_iter()
        .map(|(row, cells)| {
            let columns = backends.iter().map(|backend| notes.cell(cells, backend));
            (title(row, suites), columns.collect())
        })
        .collect();
    writeln!(out, "{}", rule())?;
    write_table(&backends, &table, out)?;
    notes.write(out)
}

fn write_table(
    backends: &[&str],
    table: &[(String, Vec<(Style, String)>)],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let first = table.iter().map(|(title, _)| title.len()).max().unwrap_or(0);
    let widths: Vec<usize> = backends
        .iter()
        .enumerate()
        .map(|(column, backend)| {
            let cells = table.iter().map(|(_, cells)| cells[column].1.len());
            cells.max().unwrap_or(0).max(backend.len())
        })
        .collect();
    let header = backends.iter().map(|backend| (STRONG, *backend));
    write_row("", first, header.zip(&widths), out)?;
    for (title, cells) in table {
        let cells = cells.iter().map(|(style, text)| (*style, text.as_str()));
        write_row(title, first, cells.zip(&widths), out)?;
    }
    Ok(())
}

/// Nothing is padded after the last word of a row.
fn write_row<'a>(
    title: &str,
    width: usize,
    cells: impl Iterator<Item = ((Style, &'a str), &'a usize)>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    write!(out, "{title}")?;
    let mut gap = width - title.len();
    for ((style, text), width) in cells {
        write!(out, "{:gap$}  {style}{text}{style:#}", "")?;
        gap = width - text.len();
    }
    writeln!(out)
}

fn title(row: &Row, suites: usize) -> String {
    if suites > 1 { format!("{} {}", row.suite, row.name) } else { row.name.clone() }
}

fn is_plain_pass(cell: &Cell) -> bool {
    cell.word == "PASS"
}

/// Reasons, each written once and referred to by a number.
#[derive(Default)]
struct Notes {
    numbers: BTreeMap<String, usize>,
    reasons: Vec<(String, usize)>,
}

impl Notes {
    fn cell(&mut self, cells: &[Cell], backend: &str) -> (Style, String) {
        let Some(cell) = cells.iter().rev().find(|cell| cell.backend == backend) else {
            return (FAINT, ABSENT.to_owned());
        };
        if is_plain_pass(cell) {
            return (FAINT, PASSED.to_owned());
        }
        let style = match cell.standing {
            Standing::Bad => BAD,
            Standing::Good | Standing::Cut => ODD,
            Standing::Neutral => PLAIN,
        };
        let mut text = cell.word.to_owned();
        if cell.rounds > 1 && cell.failed > 0 {
            text.push_str(&format!(" {}/{}", cell.failed, cell.rounds));
        }
        if let Some(reason) = &cell.reason {
            text.push_str(&format!(" {}", self.number(reason)));
        }
        (style, text)
    }

    fn number(&mut self, reason: &str) -> usize {
        let next = self.reasons.len() + 1;
        let number = *self.numbers.entry(reason.to_owned()).or_insert(next);
        if number == next {
            self.reasons.push((reason.to_owned(), 0));
        }
        self.reasons[number - 1].1 += 1;
        number
    }

    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        for (index, (reason, count)) in self.reasons.iter().enumerate() {
            writeln!(out, "{:>4}  {reason}  {FAINT}×{count}{FAINT:#}", index + 1)?;
        }
        Ok(())
    }
}
