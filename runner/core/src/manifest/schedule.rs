//! What profiles say about when cases run: retries, failures that end a run, wide cases.
//!
//! Data and its arithmetic; `parse` reads it, the runner's plan obeys it.

use std::time::Duration;

/// How often a case that failed is tried again, and after how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Tries after the first.
    pub count: u32,
    /// The wait before each.
    pub backoff: Backoff,
    /// Whether that varies.
    pub jitter: Jitter,
}

/// How waits before retries grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// They do not.
    Fixed(Duration),
    /// Each is twice the one before.
    Exponential {
        /// The first.
        first: Duration,
        /// None is longer.
        longest: Option<Duration>,
    },
}

/// Whether waits vary, so that cases that failed together are not tried again together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// They do not.
    None,
    /// Each is between half of it and all of it.
    Half,
}

/// When failures end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailFast {
    /// After so many cases have failed; above 0.
    pub max_fail: usize,
    /// What becomes of what runs then.
    pub terminate: Terminate,
}

/// What becomes of running attempts when nothing more is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminate {
    /// They end by themselves.
    Wait,
    /// They are asked to end, with their grace, and then killed.
    Immediate,
}

/// How much of the slots a case takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadsRequired {
    /// So many slots; above 0.
    Count(usize),
    /// As many as there are CPUs.
    Cpus,
    /// All of them.
    TestThreads,
}

impl Retries {
    /// A case is tried once.
    pub const NONE: Self = Self::immediate(0);

    /// So many times more, without a wait.
    pub const fn immediate(count: u32) -> Self {
        Self { count, backoff: Backoff::Fixed(Duration::ZERO), jitter: Jitter::None }
    }

    /// The wait after failed try number `attempt`, from 1; nothing if that was the last. `dice`
    /// decides about jitter: the same dice, the same wait.
    pub fn wait_after(&self, attempt: u32, dice: u64) -> Option<Duration> {
        if attempt > self.count {
            return None;
        }
        let whole = self.backoff.after(attempt);
        Some(match self.jitter {
            Jitter::None => whole,
            Jitter::Half => whole / 2 + (whole / 2).mul_f64(fraction(dice)),
        })
    }
}

impl Backoff {
    fn after(self, attempt: u32) -> Duration {
        match self {
            Self::Fixed(wait) => wait,
            Self::Exponential { first, longest } => {
                let growth = 2_u32.saturating_pow(attempt.saturating_sub(1));
                first.saturating_mul(growth).min(longest.unwrap_or(Duration::MAX))
            }
        }
    }
}

impl ThreadsRequired {
    /// The number, of `slots` on a machine with so many CPUs: at least 1, at most all of them, as
    /// a case that asks for more than there is must run all the same.
    pub fn resolve(self, slots: usize, cpus: usize) -> usize {
        let wanted = match self {
            Self::Count(count) => count,
            Self::Cpus => cpus,
            Self::TestThreads => slots,
        };
        wanted.clamp(1, slots.max(1))
    }
}

/// The upper 53 bits as a number from 0 to 1.
fn fraction(dice: u64) -> f64 {
    const STEPS: f64 = (1_u64 << 53) as f64;
    (dice >> 11) as f64 / STEPS
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_follow_their_backoff() {
        let exponential = |longest| Retries {
            count: 4,
            backoff: Backoff::Exponential { first: SECOND, longest },
            jitter: Jitter::None,
        };
        let fixed = Retries { count: 2, backoff: Backoff::Fixed(3 * SECOND), jitter: Jitter::None };
        let waits = |retries: Retries| -> Vec<u64> {
            (1..)
                .map_while(|attempt| retries.wait_after(attempt, 7))
                .map(|it| it.as_secs())
                .collect()
        };
        assert_eq!(waits(Retries::NONE), [0; 0]);
        assert_eq!(waits(Retries::immediate(2)), [0, 0]);
        assert_eq!(waits(fixed), [3, 3]);
        assert_eq!(waits(exponential(None)), [1, 2, 4, 8]);
        assert_eq!(waits(exponential(Some(3 * SECOND))), [1, 2, 3, 3]);
    }

    #[test]
    fn a_wait_never_overflows() {
        let backoff = Backoff::Exponential { first: Duration::MAX / 3, longest: None };
        let retries = Retries { count: u32::MAX, backoff, jitter: Jitter::Half };
        assert!(retries.wait_after(u32::MAX, u64::MAX).is_some());
        assert!(retries.wait_after(u32::MAX, 0).is_some());
    }

    #[test]
    fn jitter_is_decided_by_the_dice_alone() {
        let retries = Retries { count: 1, backoff: Backoff::Fixed(SECOND), jitter: Jitter::Half };
        assert_eq!(retries.wait_after(1, 0), Some(SECOND / 2));
        let most = retries.wait_after(1, u64::MAX).expect("one more");
        assert!(SECOND * 9 / 10 < most && most <= SECOND, "{most:?}");
        assert_eq!(retries.wait_after(1, 99), retries.wait_after(1, 99));
    }

    #[test]
    fn a_wide_case_takes_what_there_is() {
        for (wanted, slots, cpus, expected) in [
            (ThreadsRequired::Count(1), 4, 2, 1),
            (ThreadsRequired::Count(9), 4, 2, 4),
            (ThreadsRequired::Cpus, 4, 2, 2),
            (ThreadsRequired::Cpus, 4, 64, 4),
            (ThreadsRequired::TestThreads, 4, 2, 4),
            (ThreadsRequired::Count(1), 0, 2, 1),
        ] {
            assert_eq!(wanted.resolve(slots, cpus), expected, "{wanted:?} of {slots}");
        }
    }
}
