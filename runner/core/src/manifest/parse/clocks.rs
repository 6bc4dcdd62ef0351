//! `slow-timeout` and `leak-timeout`, and what they inherit.

use std::time::Duration;

use crate::manifest::read::Value;
use crate::manifest::{LeakTimeout, SlowTimeout};
use crate::outcome::{LeakPolicy, TimeoutPolicy};

/// What one `slow-timeout` says itself.
#[derive(Clone, Copy, Default)]
pub(super) struct SaidSlow {
    period: Option<Duration>,
    terminate_after: Option<u32>,
    grace: Option<Duration>,
    policy: Option<TimeoutPolicy>,
}

/// What one `leak-timeout` says itself.
#[derive(Clone, Copy, Default)]
pub(super) struct SaidLeak {
    period: Option<Duration>,
    policy: Option<LeakPolicy>,
}

impl SaidSlow {
    /// nextest ends nothing that has no `terminate-after`. Here everything has a deadline: where
    /// none is said the inherited one stays, made as long as the period if it is shorter.
    pub(super) fn over(self, parent: SlowTimeout) -> SlowTimeout {
        let period = self.period.unwrap_or(parent.period);
        let deadline = match self.terminate_after {
            Some(periods) => period.saturating_mul(periods),
            None => parent.deadline.max(period),
        };
        SlowTimeout {
            period,
            deadline,
            grace: self.grace.unwrap_or(parent.grace),
            policy: self.policy.unwrap_or(parent.policy),
        }
    }
}

impl SaidLeak {
    pub(super) fn over(self, parent: LeakTimeout) -> LeakTimeout {
        LeakTimeout {
            period: self.period.unwrap_or(parent.period),
            policy: self.policy.unwrap_or(parent.policy),
        }
    }
}

/// `"60s"` or
/// `{ period = "60s", terminate-after = 2, grace-period = "5s", on-timeout = "pass" }`.
pub(super) fn slow_timeout(value: &Value<'_>) -> Option<SaidSlow> {
    if value.is_string() {
        return Some(SaidSlow { period: value.period(), ..SaidSlow::default() });
    }
    let table = value.table("`slow-timeout`")?;
    let terminate_after = table.get("terminate-after").and_then(|value| value.count());
    let policies = [("fail", TimeoutPolicy::Fail), ("pass", TimeoutPolicy::Warn)];
    let said = SaidSlow {
        period: table.demand("period").and_then(|value| value.period()),
        terminate_after: terminate_after.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        grace: table.get("grace-period").and_then(|value| value.duration()),
        policy: table.get("on-timeout").and_then(|value| value.choice(&policies)),
    };
    table.close();
    Some(said)
}

/// `"100ms"` or `{ period = "100ms", result = "fail" }`.
pub(super) fn leak_timeout(value: &Value<'_>) -> Option<SaidLeak> {
    if value.is_string() {
        return Some(SaidLeak { period: value.duration(), policy: None });
    }
    let table = value.table("`leak-timeout`")?;
    let choices = [("fail", LeakPolicy::Fail), ("pass", LeakPolicy::Warn)];
    let said = SaidLeak {
        period: table.demand("period").and_then(|value| value.duration()),
        policy: table.get("result").and_then(|value| value.choice(&choices)),
    };
    table.close();
    Some(said)
}
