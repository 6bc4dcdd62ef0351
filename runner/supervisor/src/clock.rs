//! The time of an attempt, as data: it stops while the attempt is stopped or debugged.
//!
//! Every duration of `life` is on it. The attempt's memory has the same clock for those inside.

use std::time::{Duration, Instant};

/// Why a clock does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Every process of the attempt is stopped.
    Pause,
    /// Somebody else traces a process of the attempt.
    Debugger,
}

/// Goes on while nothing holds it.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    holds: Vec<Hold>,
    /// Since when it is held, if it is.
    held_since: Option<Instant>,
    /// For how long it was, up to the last time that it went on.
    held_for: Duration,
}

impl Clock {
    pub(crate) fn start(now: Instant) -> Self {
        Self { started: now, holds: Vec::new(), held_since: None, held_for: Duration::ZERO }
    }

    /// What is passed at `now`.
    pub(crate) fn time(&self, now: Instant) -> Duration {
        let now = self.held_since.unwrap_or(now);
        now.saturating_duration_since(self.started).saturating_sub(self.held_for)
    }

    /// When that time comes; `None` while the clock is held.
    pub(crate) fn instant_of(&self, time: Duration) -> Option<Instant> {
        match self.held_since {
            None => self.started.checked_add(self.held_for)?.checked_add(time),
            Some(_) => None,
        }
    }

    pub(crate) fn is_held_by(&self, hold: Hold) -> bool {
        self.holds.contains(&hold)
    }

    pub(crate) fn is_held(&self) -> bool {
        !self.holds.is_empty()
    }

    pub(crate) fn hold(&mut self, hold: Hold, now: Instant) {
        if !self.is_held_by(hold) {
            self.holds.push(hold);
            self.held_since.get_or_insert(now);
        }
    }

    pub(crate) fn release(&mut self, hold: Hold, now: Instant) {
        self.holds.retain(|held| *held != hold);
        if self.holds.is_empty()
            && let Some(since) = self.held_since.take()
        {
            self.held_for += now.saturating_duration_since(since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_passes_only_while_nothing_holds_it() {
        let now = Instant::now();
        let mut clock = Clock::start(now);
        assert_eq!(clock.instant_of(5 * SECOND), Some(now + 5 * SECOND));
        clock.hold(Hold::Pause, now + SECOND);
        clock.hold(Hold::Pause, now + 2 * SECOND);
        clock.hold(Hold::Debugger, now + 2 * SECOND);
        assert_eq!(clock.instant_of(5 * SECOND), None);
        clock.release(Hold::Pause, now + 10 * SECOND);
        assert_eq!(clock.time(now + 20 * SECOND), SECOND, "the debugger is still there");
        clock.release(Hold::Debugger, now + 20 * SECOND);
        assert_eq!(clock.time(now + 21 * SECOND), 2 * SECOND);
        assert_eq!(clock.instant_of(5 * SECOND), Some(now + 24 * SECOND));
        clock.release(Hold::Debugger, now + 30 * SECOND);
        assert_eq!(clock.time(now + 31 * SECOND), 12 * SECOND);
    }
}
