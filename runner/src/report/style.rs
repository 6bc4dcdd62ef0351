//! Colours, by meaning.

use anstyle::{AnsiColor, Style};
use runner_core::event::Finished;
use runner_core::outcome::{Outcome, Standing};

pub(super) const PLAIN: Style = Style::new();
pub(super) const STRONG: Style = Style::new().bold();
pub(super) const FAINT: Style = Style::new().dimmed();
pub(super) const GOOD: Style = Style::new().bold().fg_color(Some(ansi(AnsiColor::Green)));
pub(super) const BAD: Style = Style::new().bold().fg_color(Some(ansi(AnsiColor::Red)));
pub(super) const ODD: Style = Style::new().bold().fg_color(Some(ansi(AnsiColor::Yellow)));

/// The colour of an attempt's word.
pub(super) fn of(finished: &Finished) -> Style {
    match (finished.standing(), &finished.outcome) {
        (Standing::Bad, _) if finished.is_last() => BAD,
        (Standing::Good, Outcome::Pass) if !finished.is_flaky() => GOOD,
        (Standing::Good | Standing::Neutral | Standing::Cut | Standing::Bad, _) => ODD,
    }
}

const fn ansi(color: AnsiColor) -> anstyle::Color {
    anstyle::Color::Ansi(color)
}
