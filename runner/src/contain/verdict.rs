//! What to end with and what to say, from what the supervisor saw. Pure.

use runner_core::outcome::LeakPolicy;
use runner_core::protocol::{Done, End, Facts, Process, Stopped};

/// Exit codes that are not the command's own; the first three as `timeout(1)` and `env(1)` have
/// them.
pub mod code {
    /// It took too long.
    pub const TIMED_OUT: u8 = 124;
    /// There is such a program, but it cannot be executed.
    pub const NOT_EXECUTABLE: i32 = 126;
    /// There is no such program.
    pub const NOT_FOUND: i32 = 127;
    /// `contain` itself failed.
    pub const FAULT: u8 = 125;
    /// The command succeeded, but left processes, and that is a failure.
    pub const LEAKED: u8 = 123;
    /// It had more processes than it may.
    pub const TOO_MANY: u8 = 122;
}

/// How this process is to end, for whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By exiting.
    Code(u8),
    /// Of this signal, by its number.
    Signal(i32),
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) ending: Ending,
    /// Lines for a person, without the name of the program in front.
    pub(super) words: Vec<String>,
}

/// Judges. `signal` is the first by which somebody asked for the end.
pub(super) fn judge(facts: &Facts, signal: Option<i32>, leak: LeakPolicy) -> Verdict {
    let mut words: Vec<String> = facts.leaks.iter().map(left).collect();
    words.extend(facts.unkillable.iter().map(unkillable));
    let ending = if facts.unkillable.is_empty() {
        let (ending, why) = end(facts, signal, leak);
        words.extend(why);
        ending
    } else {
        Ending::Code(code::FAULT)
    };
    Verdict { ending, words }
}

fn end(facts: &Facts, signal: Option<i32>, leak: LeakPolicy) -> (Ending, Option<String>) {
    if let Some(Done::NotSetUp { message }) = &facts.done {
        return (by_itself(facts.end), Some(message.clone()));
    }
    if let Some(count) = facts.too_many_processes {
        let why = format!("ended with {count} processes, which are more than it may have");
        return (Ending::Code(code::TOO_MANY), Some(why));
    }
    match (facts.stopped, signal, facts.end) {
        (Some(Stopped::Deadline), None, _) => {
            (Ending::Code(code::TIMED_OUT), Some("timed out".into()))
        }
        // It was asked and did not end by itself: so do we not.
        (Some(_), Some(signal), End::Signalled(_)) => (Ending::Signal(signal), None),
        (_, _, End::Exited(0)) if !facts.leaks.is_empty() && leak == LeakPolicy::Fail => {
            (Ending::Code(code::LEAKED), None)
        }
        (_, _, end) => (by_itself(end), None),
    }
}

fn by_itself(end: End) -> Ending {
    match end {
        // The kernel keeps eight bits of it.
        End::Exited(code) => Ending::Code((code & 0xff) as u8),
        End::Signalled(signal) => Ending::Signal(signal),
    }
}

fn left(Process { pid, name, command, age, .. }: &Process) -> String {
    format!("left {name} `{command}` (pid {pid}, {:.1} s old)", age.as_secs_f64())
}

fn unkillable(Process { pid, command, .. }: &Process) -> String {
    format!("pid {pid} `{command}` survived SIGKILL for 5 s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::process;
    use std::time::Duration;

    const INT: i32 = 2;
    const TERM: i32 = 15;

    fn facts(end: End) -> Facts {
        Facts::bare(end, None, Duration::from_secs(1))
    }

    fn ending(facts: &Facts, signal: Option<i32>) -> Ending {
        judge(facts, signal, LeakPolicy::Warn).ending
    }

    #[test]
    fn how_it_ended_by_itself_is_passed_on() {
        for code in [0, 1, 77, 255] {
            assert_eq!(ending(&facts(End::Exited(code.into())), None), Ending::Code(code));
        }
        assert_eq!(ending(&facts(End::Signalled(11)), None), Ending::Signal(11));
    }

    #[test]
    fn too_late_is_said_and_has_a_code_of_its_own() {
        let late = Facts { stopped: Some(Stopped::Deadline), ..facts(End::Signalled(9)) };
        assert_eq!(ending(&late, None), Ending::Code(code::TIMED_OUT));
        assert_eq!(judge(&late, None, LeakPolicy::Warn).words, ["timed out"]);
    }

    #[test]
    fn whoever_asked_by_a_signal_sees_that_signal_unless_the_command_exits_by_itself() {
        let asked = |stopped, end| Facts { stopped: Some(stopped), ..facts(end) };
        let killed = asked(Stopped::Interrupted, End::Signalled(9));
        assert_eq!(ending(&killed, Some(INT)), Ending::Signal(INT));
        let outer_clock = asked(Stopped::Deadline, End::Signalled(2));
        assert_eq!(ending(&outer_clock, Some(TERM)), Ending::Signal(TERM));
        let polite = asked(Stopped::Interrupted, End::Exited(3));
        assert_eq!(ending(&polite, Some(INT)), Ending::Code(3));
    }

    #[test]
    fn a_leak_is_listed_and_fails_only_what_would_have_succeeded() {
        let leaky = |end| Facts { leaks: vec![process()], ..facts(end) };
        let warned = judge(&leaky(End::Exited(0)), None, LeakPolicy::Warn);
        assert_eq!(warned.ending, Ending::Code(0));
        assert_eq!(warned.words, ["left sleep `sleep 1000` (pid 4711, 1.5 s old)"]);
        let failed = |end| judge(&leaky(end), None, LeakPolicy::Fail).ending;
        assert_eq!(failed(End::Exited(0)), Ending::Code(code::LEAKED));
        assert_eq!(failed(End::Exited(4)), Ending::Code(4));
        assert_eq!(failed(End::Signalled(6)), Ending::Signal(6));
    }

    #[test]
    fn what_cannot_be_ended_or_executed_is_said() {
        let stuck = Facts { unkillable: vec![process()], ..facts(End::Exited(0)) };
        assert_eq!(ending(&stuck, None), Ending::Code(code::FAULT));
        let message = "cannot execute x".to_owned();
        let done = Some(Done::NotSetUp { message: message.clone() });
        let missing = Facts { done, ..facts(End::Exited(127)) };
        let verdict = judge(&missing, None, LeakPolicy::Fail);
        assert_eq!((verdict.ending, verdict.words), (Ending::Code(127), vec![message]));
    }
}
