//! What was measured, for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::figure::{Bar, Figure, Limit, Measured, Ratio, Row, Side, Unit, Verdict};
use crate::load::{Load, cpus};
use crate::rounds::Outcome;

/// The table, and below it what its names mean.
pub(crate) fn text(outcome: &Outcome, (before, after): (Load, Load)) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(outcome.rows.iter().flat_map(cells));
    let mut text = format!(
        "{} rounds of ours, floor, peers; {} CPUs; load {:.2} before, {:.2} after.\n\
         Medians over rounds; ratios are taken within each round, and shown with their range.\n\n",
        outcome.rounds,
        cpus(),
        before.last_minute,
        after.last_minute,
    );
    text.push_str(&aligned(&lines));
    text.push('\n');
    let figures: Vec<Figure> = outcome.rows.iter().map(|row| row.figure.clone()).collect();
    text.push_str(&legend(&figures));
    for (name, why) in &outcome.failures {
        let _ = writeln!(text, "not measured: {name}: {why}");
    }
    text
}

const COLUMNS: usize = 10;

const HEADINGS: [&str; COLUMNS] =
    ["figure", "where", "ours", "floor", "ours/floor", "peer", "peer/ours", "bar", "", "samples"];

/// A line for the row, and one more for each further peer.
fn cells(row: &Row) -> Vec<[String; COLUMNS]> {
    let unit = row.figure.unit();
    let mut peers = row.peers.iter().zip(row.to_peers()).zip('a'..);
    let mut peer = || match peers.next() {
        None => (String::new(), String::new()),
        Some(((peer, ratio), letter)) => {
            (format!("{} {letter}", amount(unit, peer.median())), times(ratio))
        }
    };
    let (first, first_ratio) = peer();
    let mut lines = vec![[
        row.figure.name.clone(),
        row.figure.place.word().to_owned(),
        amount(unit, row.ours.median()),
        row.floor.as_ref().map_or_else(String::new, |floor| amount(unit, floor.median())),
        row.to_floor().map_or_else(String::new, times),
        first,
        first_ratio,
        bar(row.figure.bar),
        row.verdict().map_or_else(String::new, Verdict::words),
        row.ours.samples.to_string(),
    ]];
    for _ in 1..row.peers.len() {
        let (peer, ratio) = peer();
        let mut line: [String; COLUMNS] = Default::default();
        line[5] = peer;
        line[6] = ratio;
        lines.push(line);
    }
    lines
}

/// What the names in the table mean.
pub(crate) fn legend(figures: &[Figure]) -> String {
    let mut text = String::new();
    let mut said: Option<&str> = None;
    for figure in figures {
        if said.replace(&figure.name) == Some(&figure.name) {
            continue;
        }
        let _ = writeln!(text, "{}", figure.name);
        let _ = writeln!(text, "  ours    {}", figure.ours.what);
        if let Some(floor) = &figure.floor {
            let _ = writeln!(text, "  floor   {}", floor.what);
        }
        for (peer, letter) in figure.peers.iter().zip('a'..) {
            let _ = writeln!(text, "  peer {letter}  {}", peer.what);
        }
    }
    text
}

/// One document.
pub(crate) fn json(outcome: &Outcome, (before, after): (Load, Load)) -> Value {
    let failure = |(name, why): &(String, String)| json!({ "name": name, "why": why });
    json!({
        "version": 2,
        "rounds": outcome.rounds,
        "cpus": cpus(),
        "load": { "before": before, "after": after },
        "rows": outcome.rows.iter().map(row_json).collect::<Vec<_>>(),
        "failures": outcome.failures.iter().map(failure).collect::<Vec<_>>(),
    })
}

fn row_json(row: &Row) -> Value {
    let Row { figure, ours, floor, peers } = row;
    let floor = figure.floor.as_ref().zip(floor.as_ref());
    let peers = figure.peers.iter().zip(peers);
    json!({
        "name": figure.name,
        "where": figure.place.word(),
        "unit": symbol(figure.unit()),
        "ours": side_json(&figure.ours, ours),
        "floor": floor.map(|(side, measured)| side_json(side, measured)),
        "ours_to_floor": row.to_floor(),
        "peers": peers.map(|(side, measured)| side_json(side, measured)).collect::<Vec<_>>(),
        "peers_to_ours": row.to_peers(),
        "bar": {
            "at_most_floors": figure.bar.floors.map(limit_json),
            "peer_at_least": figure.bar.peer.map(limit_json),
        },
        "standing": row.verdict().map(Verdict::words),
    })
}

fn side_json(side: &Side, measured: &Measured) -> Value {
    json!({
        "what": side.what,
        "median": measured.median(),
        "rounds": measured.rounds,
        "samples": measured.samples,
    })
}

fn limit_json(Limit { bar, stretch }: Limit) -> Value {
    json!({ "bar": bar, "stretch": stretch })
}

fn bar(bar: Bar) -> String {
    let floors = bar.floors.map(|limit| format!("≤ {} × floor", limit.bar));
    let peer = bar.peer.map(|limit| format!("peer ≥ {} ×", limit.bar));
    floors.into_iter().chain(peer).collect::<Vec<_>>().join(", ")
}

fn times(Ratio { median, least, most }: Ratio) -> String {
    format!("{} × ({}–{})", significant(median), significant(least), significant(most))
}

fn symbol(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "s",
        Unit::Bytes => "B",
    }
}

/// In the multiple of the unit that suits it.
fn amount(unit: Unit, value: f64) -> String {
    let (multiples, least) = match unit {
        Unit::Seconds => (&[(1.0, ""), (1e-3, "m"), (1e-6, "µ")][..], (1e-9, "n")),
        Unit::Bytes => (&[(1e9, "G"), (1e6, "M"), (1e3, "k")][..], (1.0, "")),
    };
    let fitting = multiples.iter().find(|(multiple, _)| value.abs() >= *multiple);
    let (multiple, prefix) = fitting.copied().unwrap_or(least);
    format!("{} {prefix}{}", significant(value / multiple), symbol(unit))
}

/// Three digits.
fn significant(value: f64) -> String {
    let decimals = match value.abs() {
        magnitude if magnitude >= 100.0 => 0,
        magnitude if magnitude >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// Cells in columns of equal width, counted in characters.
fn aligned(lines: &[[String; COLUMNS]]) -> String {
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit_that_suits() {
        assert_eq!(amount(Unit::Seconds, 0.000_000_012_34), "12.3 ns");
        assert_eq!(amount(Unit::Seconds, 0.000_231), "231 µs");
        assert_eq!(amount(Unit::Seconds, 0.0026), "2.60 ms");
        assert_eq!(amount(Unit::Seconds, 1.5), "1.50 s");
    }

    #[test]
    fn bytes_are_counted_in_thousands() {
        assert_eq!(amount(Unit::Bytes, 512.0), "512 B");
        assert_eq!(amount(Unit::Bytes, 60e6), "60.0 MB");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut short: [String; COLUMNS] = Default::default();
        short[0] = "µ".to_owned();
        short[1] = "x".to_owned();
        let mut long = short.clone();
        long[0] = "long".to_owned();
        assert_eq!(aligned(&[short, long]), "µ     x\nlong  x\n");
    }
}
