//! How an attempt ended, and the one function that judges it.
//!
//! Every face of a suite calls [`judge`] on the supervisor's facts, so that a case has the same
//! outcome under `runner`, `cargo nextest run` and `cargo test`.

use serde::{Deserialize, Serialize};

use crate::protocol::{DetachedPanic, Done, End, Facts, Process, Stopped};

/// How an attempt ended. Closed: a new outcome breaks every reader until it is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The body succeeded and left nothing.
    Pass,
    /// The body panicked, returned an error or its process exited with a code after *done*.
    Fail {
        /// What it said.
        message: String,
        /// Where it panicked, `file:line:column`, if it did.
        location: Option<String>,
    },
    /// The first process ended by itself without *done*.
    ExitedEarly {
        /// Its exit code.
        code: i32,
    },
    /// The first process was ended by a signal nobody of ours sent.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// The deadline passed.
    Timeout,
    /// Passed, but left processes.
    Leak {
        /// What was left.
        processes: Vec<Process>,
    },
    /// Not run, or stopped by its own word.
    Skipped {
        /// Why.
        reason: String,
    },
    /// Failed as expected.
    Xfail {
        /// Why that is expected.
        reason: String,
    },
    /// Passed although a failure was expected.
    Xpass {
        /// Whether that counts as a failure.
        strict: bool,
    },
    /// Its backend cannot run here.
    Unavailable {
        /// Why.
        reason: String,
    },
    /// What the case needs could not be set up.
    SetupError {
        /// What went wrong.
        message: String,
    },
    /// Ended because the run was interrupted.
    Interrupted,
    /// A fault of ours, never the test's.
    RunnerFault {
        /// What went wrong.
        message: String,
    },
}

/// What an outcome means for the run's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// As it should be.
    Good,
    /// Not run, and rightly so.
    Neutral,
    /// The run fails.
    Bad,
    /// Ended with the run: nobody knows what it would have become.
    Cut,
}

/// What is held against a case, where that is a matter of choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Processes that it left.
    pub leak: LeakPolicy,
    /// That its deadline passed.
    pub timeout: TimeoutPolicy,
    /// That it passed only when it was tried again.
    pub flaky: FlakyPolicy,
}

/// What a leak means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeakPolicy {
    /// A leak fails the run.
    Fail,
    /// A leak is shown.
    Warn,
}

/// What it means that a deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeoutPolicy {
    /// The run fails.
    Fail,
    /// It is shown: the case is one that looks for something as long as it may.
    Warn,
}

/// What it means that a case passed only when it was tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlakyPolicy {
    /// The run fails.
    Fail,
    /// It is shown.
    Pass,
}

/// What a case is expected to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expectation {
    /// Pass.
    Pass,
    /// Fail, by an `xfail_on_backend` mark.
    Fail {
        /// The mark's reason, or the mark itself.
        reason: String,
        /// A pass is a failure.
        strict: bool,
    },
}

impl Outcome {
    /// The one word of it, as every line prints it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail { .. } => "FAIL",
            Self::ExitedEarly { .. } => "EXITED EARLY",
            Self::Signalled { .. } => "SIGNALLED",
            Self::Timeout => "TIMEOUT",
            Self::Leak { .. } => "LEAK",
            Self::Skipped { .. } => "SKIP",
            Self::Xfail { .. } => "XFAIL",
            Self::Xpass { .. } => "XPASS",
            Self::Unavailable { .. } => "UNAVAILABLE",
            Self::SetupError { .. } => "SETUP ERROR",
            Self::Interrupted => "INTERRUPTED",
            Self::RunnerFault { .. } => "RUNNER FAULT",
        }
    }

    /// What it means for the run's exit code, other tries of the case left aside.
    pub fn standing(&self, policy: Policy) -> Standing {
        match self {
            Self::Pass | Self::Xfail { .. } | Self::Xpass { strict: false } => Standing::Good,
            Self::Leak { .. } => match policy.leak {
                LeakPolicy::Fail => Standing::Bad,
                LeakPolicy::Warn => Standing::Good,
            },
            Self::Timeout => match policy.timeout {
                TimeoutPolicy::Fail => Standing::Bad,
                TimeoutPolicy::Warn => Standing::Good,
            },
            Self::Interrupted => Standing::Cut,
            Self::Skipped { .. } | Self::Unavailable { .. } => Standing::Neutral,
            Self::Fail { .. }
            | Self::ExitedEarly { .. }
            | Self::Signalled { .. }
            | Self::Xpass { strict: true }
            | Self::SetupError { .. }
            | Self::RunnerFault { .. } => Standing::Bad,
        }
    }

    /// One line for a person: what is known beyond the word.
    pub fn detail(&self) -> String {
        match self {
            Self::Pass | Self::Timeout | Self::Interrupted => String::new(),
            Self::Fail { message, location } => match location {
                Some(location) => format!("panicked at {location}: {message}"),
                None => message.clone(),
            },
            Self::ExitedEarly { code } => {
                format!("the process exited with {code} before its body had ended")
            }
            Self::Signalled { signal } => signal_name(*signal),
            Self::Leak { processes } => processes
                .iter()
                .map(|p| {
                    let age = p.age.as_secs_f64();
                    format!("left {} `{}` (pid {}, {age:.1} s old)", p.name, p.command, p.pid)
                })
                .collect::<Vec<_>>()
                .join("; "),
            Self::Skipped { reason } | Self::Xfail { reason } | Self::Unavailable { reason } => {
                reason.clone()
            }
            Self::Xpass { .. } => "passed although a failure is expected".into(),
            Self::SetupError { message } | Self::RunnerFault { message } => message.clone(),
        }
    }
}

impl Policy {
    /// Everything is held against it but a pass at a later try.
    pub const STRICT: Self =
        Self { leak: LeakPolicy::Fail, timeout: TimeoutPolicy::Fail, flaky: FlakyPolicy::Pass };
}

/// Judges one attempt. Pure: the same facts and expectation give the same outcome everywhere.
pub fn judge(facts: &Facts, expectation: &Expectation) -> Outcome {
    if let [stuck, ..] = facts.unkillable.as_slice() {
        let message = format!("pid {} `{}` survived SIGKILL for 5 s", stuck.pid, stuck.command);
        return Outcome::RunnerFault { message };
    }
    let outcome = verdict(facts);
    match expectation {
        Expectation::Pass => outcome,
        Expectation::Fail { reason, strict } => expected_failure(outcome, reason, *strict),
    }
}

fn verdict(facts: &Facts) -> Outcome {
    if let Some(count) = facts.too_many_processes {
        let message = format!("had {count} processes at once: more than `max-processes`");
        return Outcome::Fail { message, location: None };
    }
    match (first_process(facts), facts.detached_panics.as_slice()) {
        (Outcome::Pass | Outcome::Leak { .. }, [panic, ..]) => detached(panic),
        (outcome, _) => outcome,
    }
}

/// Nobody joined the thread, so nobody could know: the body's pass says nothing of it.
fn detached(DetachedPanic { pid, thread, message, location }: &DetachedPanic) -> Outcome {
    Outcome::Fail {
        message: format!("thread `{thread}` (pid {pid}), which nobody joined: {message}"),
        location: Some(location.clone()),
    }
}

fn first_process(facts: &Facts) -> Outcome {
    match facts.stopped {
        Some(Stopped::Deadline) => return Outcome::Timeout,
        Some(Stopped::Interrupted) => return Outcome::Interrupted,
        None => {}
    }
    match (facts.end, &facts.done) {
        (End::Signalled(signal), _) => Outcome::Signalled { signal },
        (End::Exited(code), None) => Outcome::ExitedEarly { code },
        (End::Exited(0), Some(Done::Passed)) if facts.leaks.is_empty() => Outcome::Pass,
        (End::Exited(0), Some(Done::Passed)) => Outcome::Leak { processes: facts.leaks.clone() },
        (End::Exited(_), Some(Done::Failed { message })) => {
            Outcome::Fail { message: message.clone(), location: None }
        }
        (End::Exited(_), Some(Done::Panicked { message, location })) => {
            Outcome::Fail { message: message.clone(), location: Some(location.clone()) }
        }
        (End::Exited(_), Some(Done::NotSetUp { message })) => {
            Outcome::SetupError { message: message.clone() }
        }
        (End::Exited(_), Some(Done::Skipped { reason })) => {
            Outcome::Skipped { reason: reason.clone() }
        }
        (End::Exited(code), Some(Done::Passed)) => Outcome::Fail {
            message: format!("the body passed, then the process exited with {code}"),
            location: None,
        },
    }
}

fn expected_failure(outcome: Outcome, reason: &str, strict: bool) -> Outcome {
    match outcome {
        Outcome::Pass | Outcome::Leak { .. } => Outcome::Xpass { strict },
        Outcome::Fail { .. }
        | Outcome::ExitedEarly { .. }
        | Outcome::Signalled { .. }
        | Outcome::Timeout => Outcome::Xfail { reason: reason.to_owned() },
        Outcome::Skipped { .. }
        | Outcome::Xfail { .. }
        | Outcome::Xpass { .. }
        | Outcome::Unavailable { .. }
        | Outcome::SetupError { .. }
        | Outcome::Interrupted
        | Outcome::RunnerFault { .. } => outcome,
    }
}

/// `SIGSEGV`, or `signal 34` where it has no name.
pub fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn facts(end: End, done: Option<Done>) -> Facts {
        Facts::bare(end, done, Duration::ZERO)
    }

    fn process() -> Process {
        Process {
            pid: 7,
            parent: 1,
            name: "sleep".into(),
            command: "sleep 9".into(),
            state: 'S',
            age: Duration::from_millis(1500),
            threads: Vec::new(),
            fds: Vec::new(),
        }
    }

    fn panic() -> DetachedPanic {
        DetachedPanic {
            pid: 7,
            thread: "pump".into(),
            message: "no more".into(),
            location: "a.rs:1:2".into(),
        }
    }

    #[test]
    fn every_end_has_its_word() {
        let pass = || facts(End::Exited(0), Some(Done::Passed));
        let stopped = |stopped| Facts { stopped: Some(stopped), ..pass() };
        for (facts, expected) in [
            (pass(), "PASS"),
            (facts(End::Exited(3), Some(Done::Passed)), "FAIL"),
            (facts(End::Exited(0), None), "EXITED EARLY"),
            (facts(End::Signalled(11), Some(Done::Passed)), "SIGNALLED"),
            (stopped(Stopped::Deadline), "TIMEOUT"),
            (stopped(Stopped::Interrupted), "INTERRUPTED"),
            (Facts { leaks: vec![process()], ..pass() }, "LEAK"),
            (Facts { allowed_leaks: vec![process()], ..pass() }, "PASS"),
            (Facts { unkillable: vec![process()], ..pass() }, "RUNNER FAULT"),
            (Facts { detached_panics: vec![panic()], ..pass() }, "FAIL"),
            (Facts { detached_panics: vec![panic()], ..stopped(Stopped::Deadline) }, "TIMEOUT"),
            (Facts { too_many_processes: Some(600), ..facts(End::Signalled(9), None) }, "FAIL"),
        ] {
            assert_eq!(judge(&facts, &Expectation::Pass).word(), expected, "{facts:?}");
        }
    }

    #[test]
    fn what_is_told_names_who_did_it() {
        let pass = || facts(End::Exited(0), Some(Done::Passed));
        let told = |facts: Facts| judge(&facts, &Expectation::Pass).detail();
        let leak = told(Facts { leaks: vec![process()], ..pass() });
        assert_eq!(leak, "left sleep `sleep 9` (pid 7, 1.5 s old)");
        let detached = told(Facts { detached_panics: vec![panic()], ..pass() });
        let expected = "panicked at a.rs:1:2: thread `pump` (pid 7), which nobody joined: no more";
        assert_eq!(detached, expected);
    }

    #[test]
    fn an_expected_failure_is_one_and_an_unexpected_pass_is_said() {
        let pass = || facts(End::Exited(0), Some(Done::Passed));
        let expected = |strict| Expectation::Fail { reason: "issue 7".into(), strict };
        let interrupted = Facts { stopped: Some(Stopped::Interrupted), ..pass() };
        let failed = facts(End::Exited(0), Some(Done::Failed { message: "no".into() }));
        for (facts, strict, expected_word, standing) in [
            (failed.clone(), false, "XFAIL", Standing::Good),
            (failed, true, "XFAIL", Standing::Good),
            (pass(), false, "XPASS", Standing::Good),
            (pass(), true, "XPASS", Standing::Bad),
            (facts(End::Signalled(11), None), true, "XFAIL", Standing::Good),
            (interrupted, true, "INTERRUPTED", Standing::Cut),
        ] {
            let outcome = judge(&facts, &expected(strict));
            assert_eq!(
                (outcome.word(), outcome.standing(Policy::STRICT)),
                (expected_word, standing)
            );
        }
    }

    #[test]
    fn policies_decide_what_is_only_shown() {
        let lenient =
            Policy { leak: LeakPolicy::Warn, timeout: TimeoutPolicy::Warn, ..Policy::STRICT };
        for outcome in [Outcome::Leak { processes: vec![process()] }, Outcome::Timeout] {
            assert_eq!(outcome.standing(Policy::STRICT), Standing::Bad);
            assert_eq!(outcome.standing(lenient), Standing::Good);
        }
    }
}
