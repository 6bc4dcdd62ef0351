//! How long a case may take: the deadline's arithmetic, as data.
//!
//! Test mark over override over profile, times the backend's multiplier, times the scale of the
//! run. Only what is asked of the case itself is multiplied: the grace and the leak check are
//! times that the supervisor gives it, and stay.

use std::time::Duration;

use crate::manifest::{LONGEST, SlowTimeout};

/// Everything a deadline is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Deadlines {
    /// The nearest `timeout` mark on the test or its modules.
    pub(super) mark: Option<Duration>,
    /// Of the first override that has one, else of the profile.
    pub(super) slow: SlowTimeout,
    /// The backend's `timeout-multiplier`.
    pub(super) multiplier: f64,
    /// `--timeout-scale`.
    pub(super) scale: f64,
}

impl Deadlines {
    /// When the case is over, whatever it does.
    pub(super) fn deadline(&self) -> Duration {
        self.scaled(self.mark.unwrap_or(self.slow.deadline))
    }

    /// After what time, and each such time again, it is said to be slow.
    pub(super) fn slow_after(&self) -> Duration {
        self.scaled(self.slow.period)
    }

    fn scaled(&self, duration: Duration) -> Duration {
        let seconds = duration.as_secs_f64() * self.multiplier * self.scale;
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::TimeoutPolicy;

    #[test]
    fn a_deadline_is_mark_over_rule_times_multiplier_times_scale() {
        let second = Duration::from_secs;
        let slow = SlowTimeout {
            period: second(10),
            deadline: second(30),
            grace: second(2),
            policy: TimeoutPolicy::Fail,
        };
        for (mark, multiplier, scale, deadline, slow_after) in [
            (None, 1.0, 1.0, second(30), second(10)),
            (None, 2.0, 1.0, second(60), second(20)),
            (None, 1.0, 3.0, second(90), second(30)),
            (None, 2.0, 0.5, second(30), second(10)),
            (Some(second(5)), 1.0, 1.0, second(5), second(10)),
            (Some(second(5)), 2.0, 3.0, second(30), second(60)),
            (Some(Duration::MAX), 1.0, 1.0, LONGEST, second(10)),
            (None, 1e300, 1e300, LONGEST, LONGEST),
        ] {
            let it = Deadlines { mark, slow, multiplier, scale };
            assert_eq!((it.deadline(), it.slow_after()), (deadline, slow_after), "{it:?}");
        }
    }
}
