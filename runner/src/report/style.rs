//! Colours, by meaning.

use anstyle::{AnsiColor, Style};
use runner_core::outcome::{LeakPolicy, Outcome, Standing};

pub(super) const PLAIN: Style = Style::new();
pub(super) const STRONG: Style = Style::new().bold();
pub(super) const FAINT: Style = Style::new().dimmed();
pub(super) const GOOD: Style = Style::new().bold().fg_color(Some(ansi(AnsiColor::Green)));
pub(super) const BAD: Style = Style::new().bold().fg_color(Some(ansi(AnsiColor::Red)));
pub(super) const ODD: Style = Style::new().bold().fg_color(Some(ansi(AnsiColor::Yellow)));

/// The colour of an outcome's word.
pub(super) fn of(outcome: &Outcome, leaks: LeakPolicy) -> Style {
    match (outcome.standing(leaks), outcome) {
        (Standing::Bad, _) => BAD,
        (Standing::Good, Outcome::Pass) => GOOD,
        (Standing::Good | Standing::Neutral, _) => ODD,
    }
}

const fn ansi(color: AnsiColor) -> anstyle::Color {
    anstyle::Color::Ansi(color)
}
