//! Keys about when cases run and what they may take: nextest's forms, and two of our own.

use std::sync::Arc;
use std::time::Duration;

use crate::manifest::read::{Table, Value};
use crate::manifest::{Backoff, FailFast, Jitter, Retries, Terminate, ThreadsRequired};
use crate::outcome::FlakyPolicy;

/// `fail-fast`, which must be able to say "no limit" over an inherited one.
#[derive(Clone, Copy)]
pub(super) enum SaidFailFast {
    After(FailFast),
    Never,
}

impl SaidFailFast {
    pub(super) fn limit(self) -> Option<FailFast> {
        match self {
            Self::After(limit) => Some(limit),
            Self::Never => None,
        }
    }
}

/// `true`, `false`, `{ max-fail = 3, terminate = "immediate" }`, `{ max-fail = "all" }`.
pub(super) fn fail_fast(value: &Value<'_>) -> Option<SaidFailFast> {
    if value.is_boolean() {
        let first = FailFast { max_fail: 1, terminate: Terminate::Wait };
        return Some(if value.boolean()? {
            SaidFailFast::After(first)
        } else {
            SaidFailFast::Never
        });
    }
    let table = value.table("`fail-fast`")?;
    let words = [("wait", Terminate::Wait), ("immediate", Terminate::Immediate)];
    let terminate = table.get("terminate").and_then(|value| value.choice(&words));
    let terminate = terminate.unwrap_or(Terminate::Wait);
    let limit = table.demand("max-fail").and_then(|value| {
        if value.is_string() {
            value.choice(&[("all", SaidFailFast::Never)])
        } else {
            value.count().map(|max_fail| SaidFailFast::After(FailFast { max_fail, terminate }))
        }
    });
    table.close();
    limit
}

/// `2` or `{ backoff = "fixed", count = 2, delay = "1s", jitter = true }` or
/// `{ backoff = "exponential", count = 4, delay = "1s", max-delay = "10s", jitter = true }`.
pub(super) fn retries(value: &Value<'_>) -> Option<Retries> {
    if !value.is_table() {
        return Some(Retries::immediate(number(value, 0, u32::MAX)?));
    }
    let table = value.table("`retries`")?;
    let is_growing = table
        .demand("backoff")
        .and_then(|value| value.choice(&[("fixed", false), ("exponential", true)]));
    let count = table.demand("count").and_then(|value| number(&value, 0, u32::MAX));
    let jitter = table.get("jitter").and_then(|value| value.boolean()).unwrap_or(false);
    let backoff = match is_growing {
        Some(true) => exponential(&table),
        Some(false) => fixed(&table),
        None => {
            // What belongs to either is no typo.
            let _ = (table.get("delay"), table.get("max-delay"));
            None
        }
    };
    if jitter && backoff == Some(Backoff::Fixed(Duration::ZERO)) {
        table.wrong("`jitter` of no delay is no delay: say a `delay`");
    }
    table.close();
    let jitter = if jitter { Jitter::Half } else { Jitter::None };
    Some(Retries { count: count?, backoff: backoff?, jitter })
}

fn fixed(table: &Table<'_>) -> Option<Backoff> {
    let delay = match table.get("delay") {
        Some(value) => value.duration()?,
        None => Duration::ZERO,
    };
    Some(Backoff::Fixed(delay))
}

fn exponential(table: &Table<'_>) -> Option<Backoff> {
    let first = table.demand("delay").and_then(|value| value.period());
    let longest = table.get("max-delay").and_then(|value| value.period());
    if let (Some(first), Some(longest)) = (first, longest)
        && longest < first
    {
        table.wrong("`max-delay` is shorter than `delay`");
    }
    Some(Backoff::Exponential { first: first?, longest })
}

/// `"pass"` or `"fail"`.
pub(super) fn flaky_result(value: &Value<'_>) -> Option<FlakyPolicy> {
    value.choice(&[("pass", FlakyPolicy::Pass), ("fail", FlakyPolicy::Fail)])
}

/// `2`, `"num-cpus"` or `"num-test-threads"`.
pub(super) fn threads_required(value: &Value<'_>) -> Option<ThreadsRequired> {
    if value.is_string() {
        let words = [
            ("num-cpus", ThreadsRequired::Cpus),
            ("num-test-threads", ThreadsRequired::TestThreads),
        ];
        return value.choice(&words);
    }
    value.count().map(ThreadsRequired::Count)
}

/// From -100 to 100, as nextest's.
pub(super) fn priority(value: &Value<'_>) -> Option<i8> {
    let number = value.integer()?;
    match i8::try_from(number) {
        Ok(priority) if (-100..=100).contains(&priority) => Some(priority),
        Ok(_) | Err(_) => {
            value.wrong("must be between -100 and 100");
            None
        }
    }
}

/// Above 0.
pub(super) fn max_processes(value: &Value<'_>) -> Option<u32> {
    number(value, 1, u32::MAX)
}

/// `leak = { allow = ["pattern", …] }`, or `leak.allow = […]`.
pub(super) fn leak_allow(value: &Value<'_>) -> Option<Arc<[String]>> {
    let table = value.table("`leak`")?;
    let patterns = table.demand("allow").and_then(|value| value.words());
    table.close();
    Some(patterns?.into_iter().map(|pattern| pattern.value).collect())
}

/// `["--color", "never"]`.
pub(super) fn arguments(value: &Value<'_>) -> Option<Arc<[String]>> {
    value.strings().map(Arc::from)
}

fn number(value: &Value<'_>, least: u32, most: u32) -> Option<u32> {
    let number = u32::try_from(value.integer()?).ok();
    let number = number.filter(|number| (least..=most).contains(number));
    if number.is_none() {
        value.wrong(&format!("must be a number from {least} on"));
    }
    number
}
