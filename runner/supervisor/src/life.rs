//! The life of one attempt as data: facts and `now` go in, actions come out.
//!
//! ```text
//! Running ──deadline──► Reporting ──stacks or patience──► Asked ──grace──► Killing ──► Over
//!    │ └────interrupt───────────────────────────────────────┘                ▲  │
//!    └─first process ended──► Settling ──nobody left──► Over                 │  └─ 5 s ─► Over
//!                                └──leak_after──► (leaks listed) ────────────┘   (unkillable)
//! ```
//! "Nobody left" ends every stage at once.

use std::time::{Duration, Instant};

use runner_core::memory::ReportProgress;
use runner_core::protocol::{Clocks, End, Stopped};

/// The watchdog may take so long for its stacks, from the deadline on.
const REPORT_PATIENCE: Duration = Duration::from_secs(2);
/// A watchdog that has not even begun by then cannot run: its process is stopped, or worse.
const WATCHDOG_PATIENCE: Duration = Duration::from_millis(250);
/// How often to look for the watchdog's progress.
const REPORT_LOOK: Duration = Duration::from_millis(2);
/// What survives SIGKILL for so long is named and left.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// New children of dying processes are looked for this often.
const KILL_LOOK: Duration = Duration::from_millis(1);

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Reporting { since: Instant },
    Asked { until: Instant },
    Settling { until: Instant },
    Killing { until: Instant },
    Over,
}

/// What the supervisor has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell whoever plays the runner that it is slow.
    TellSlow,
    /// Claim the deadline and take the facts of all processes.
    Expire,
    /// Take what the watchdog left.
    TakeStacks,
    /// SIGINT to the first process, and SIGCONT in case it stopped itself.
    Ask,
    /// List what is still alive as leaks.
    ListLeaks,
    /// SIGKILL to every child.
    Kill,
    /// Name what survived.
    GiveUp,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The first process ended.
    FirstEnded(End),
    /// No process of the attempt is left.
    Clear,
    /// Time passed, or the watchdog may have got on.
    Look(ReportProgress),
    /// Whoever plays the runner asks for an end.
    Interrupt,
    /// An outer clock ran out.
    Expire,
    /// Whoever plays the runner wants it gone, or is gone itself.
    Kill,
}

/// One attempt.
#[derive(Debug)]
pub(crate) struct Life {
    clocks: Clocks,
    stage: Stage,
    started: Instant,
    slow_told: u32,
    end: Option<(End, Instant)>,
    stopped: Option<Stopped>,
}

impl Life {
    pub(crate) fn new(clocks: Clocks, now: Instant) -> Self {
        let stage = Stage::Running;
        Self { clocks, stage, started: now, slow_told: 0, end: None, stopped: None }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// How and after which time the first process ended.
    pub(crate) fn end(&self) -> Option<(End, Duration)> {
        self.end.map(|(end, at)| (end, at - self.started))
    }

    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now - self.started
    }

    /// When `Look` is due even if nothing happens.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        match self.stage {
            Stage::Running => {
                let deadline = self.clocks.deadline.map(|deadline| self.started + deadline);
                deadline.into_iter().chain([self.next_slow()]).min()
            }
            Stage::Reporting { .. } => Some(now + REPORT_LOOK),
            Stage::Asked { until } | Stage::Settling { until } => Some(until),
            Stage::Killing { .. } => Some(now + KILL_LOOK),
            Stage::Over => None,
        }
    }

    /// One step.
    pub(crate) fn step(&mut self, input: Input, now: Instant) -> Vec<Action> {
        match input {
            Input::FirstEnded(end) => self.first_ended(end, now),
            Input::Clear => self.clear(),
            Input::Look(stacks) => self.look(stacks, now),
            Input::Interrupt => self.interrupt(now),
            Input::Expire => self.expire(now),
            Input::Kill => self.kill_for(Stopped::Interrupted, now),
        }
    }

    fn first_ended(&mut self, end: End, now: Instant) -> Vec<Action> {
        self.end = Some((end, now));
        match self.stage {
            Stage::Running => {
                self.stage = Stage::Settling { until: now + self.clocks.leak_after };
                Vec::new()
            }
            Stage::Reporting { .. } | Stage::Asked { .. } => self.kill(now),
            Stage::Settling { .. } | Stage::Killing { .. } | Stage::Over => Vec::new(),
        }
    }

    fn clear(&mut self) -> Vec<Action> {
        self.stage = Stage::Over;
        Vec::new()
    }

    fn look(&mut self, stacks: ReportProgress, now: Instant) -> Vec<Action> {
        match self.stage {
            Stage::Running if self.deadline_passed(now) => self.expire(now),
            Stage::Running if now >= self.next_slow() => {
                self.slow_told += 1;
                vec![Action::TellSlow]
            }
            Stage::Reporting { since } if now >= since + patience(stacks) => {
                self.stage = Stage::Asked { until: now + self.clocks.grace };
                vec![Action::TakeStacks, Action::Ask]
            }
            Stage::Asked { until } if now >= until => self.kill(now),
            Stage::Settling { until } if now >= until => {
                let mut actions = vec![Action::ListLeaks];
                actions.extend(self.kill(now));
                actions
            }
            Stage::Killing { until } if now >= until => {
                self.stage = Stage::Over;
                vec![Action::GiveUp]
            }
            Stage::Killing { .. } => vec![Action::Kill],
            Stage::Running
            | Stage::Reporting { .. }
            | Stage::Asked { .. }
            | Stage::Settling { .. }
            | Stage::Over => Vec::new(),
        }
    }

    fn interrupt(&mut self, now: Instant) -> Vec<Action> {
        match self.stage {
            Stage::Running => {
                self.stopped = Some(Stopped::Interrupted);
                self.stage = Stage::Asked { until: now + self.clocks.grace };
                vec![Action::Ask]
            }
            Stage::Reporting { .. }
            | Stage::Asked { .. }
            | Stage::Settling { .. }
            | Stage::Killing { .. }
            | Stage::Over => Vec::new(),
        }
    }

    fn expire(&mut self, now: Instant) -> Vec<Action> {
        match self.stage {
            Stage::Running => {
                self.stopped = Some(Stopped::Deadline);
                self.stage = Stage::Reporting { since: now };
                vec![Action::Expire]
            }
            Stage::Reporting { .. }
            | Stage::Asked { .. }
            | Stage::Settling { .. }
            | Stage::Killing { .. }
            | Stage::Over => Vec::new(),
        }
    }

    /// An attempt that ended by itself keeps its word also when its remains are killed at once.
    fn kill_for(&mut self, why: Stopped, now: Instant) -> Vec<Action> {
        match self.stage {
            Stage::Running | Stage::Reporting { .. } | Stage::Asked { .. } => {
                self.stopped.get_or_insert(why);
                self.kill(now)
            }
            Stage::Settling { .. } => self.kill(now),
            Stage::Killing { .. } | Stage::Over => Vec::new(),
        }
    }

    fn kill(&mut self, now: Instant) -> Vec<Action> {
        self.stage = Stage::Killing { until: now + KILL_PATIENCE };
        vec![Action::Kill]
    }

    fn deadline_passed(&self, now: Instant) -> bool {
        self.clocks.deadline.is_some_and(|deadline| now >= self.started + deadline)
    }

    fn next_slow(&self) -> Instant {
        self.started + self.clocks.slow_after.max(Duration::from_millis(1)) * (self.slow_told + 1)
    }
}

/// How long to wait for a watchdog that is so far.
fn patience(stacks: ReportProgress) -> Duration {
    match stacks {
        ReportProgress::NotBegun => WATCHDOG_PATIENCE,
        ReportProgress::Begun | ReportProgress::StacksTaken => REPORT_PATIENCE,
        ReportProgress::Over => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn life() -> (Life, Instant) {
        let now = Instant::now();
        let clocks = Clocks {
            slow_after: 3 * SECOND,
            deadline: Some(10 * SECOND),
            grace: 2 * SECOND,
            leak_after: SECOND / 10,
        };
        (Life::new(clocks, now), now)
    }

    const LOOK: Input = Input::Look(ReportProgress::NotBegun);

    #[test]
    fn a_plain_end_needs_no_action() {
        let (mut life, now) = life();
        assert_eq!(life.step(Input::FirstEnded(End::Exited(0)), now + SECOND), []);
        assert!(!life.is_over(), "others may still be there");
        assert_eq!(life.step(Input::Clear, now + SECOND), []);
        assert!(life.is_over());
        assert_eq!(life.end(), Some((End::Exited(0), SECOND)));
        assert_eq!(life.stopped(), None);
    }

    #[test]
    fn what_is_left_is_listed_and_then_killed_until_it_is_gone() {
        let (mut life, now) = life();
        life.step(Input::FirstEnded(End::Exited(0)), now);
        assert_eq!(life.next_look(now), Some(now + SECOND / 10));
        assert_eq!(life.step(LOOK, now + SECOND / 10), [Action::ListLeaks, Action::Kill]);
        assert_eq!(life.step(LOOK, now + SECOND), [Action::Kill], "again, until none is left");
        assert_eq!(life.step(LOOK, now + 6 * SECOND), [Action::GiveUp]);
        assert!(life.is_over());
    }

    #[test]
    fn slow_is_told_once_a_period() {
        let (mut life, now) = life();
        assert_eq!(life.step(LOOK, now + 2 * SECOND), []);
        assert_eq!(life.step(LOOK, now + 3 * SECOND), [Action::TellSlow]);
        assert_eq!(life.step(LOOK, now + 4 * SECOND), []);
        assert_eq!(life.step(LOOK, now + 6 * SECOND), [Action::TellSlow]);
    }

    #[test]
    fn the_deadline_reports_then_asks_then_kills() {
        let (mut life, now) = life();
        let at = now + 10 * SECOND;
        assert_eq!(life.step(LOOK, at), [Action::Expire]);
        assert_eq!(life.step(LOOK, at), [], "the watchdog is at work");
        let taken = Input::Look(ReportProgress::Over);
        assert_eq!(life.step(taken, at), [Action::TakeStacks, Action::Ask]);
        assert_eq!(life.step(LOOK, at + SECOND), []);
        assert_eq!(life.step(LOOK, at + 2 * SECOND), [Action::Kill]);
        assert_eq!(life.stopped(), Some(Stopped::Deadline));
    }

    #[test]
    fn a_watchdog_that_cannot_run_is_waited_for_in_bounds() {
        let (mut life, now) = life();
        let at = now + 10 * SECOND;
        life.step(LOOK, at);
        let asked = [Action::TakeStacks, Action::Ask];
        assert_eq!(life.step(LOOK, at + WATCHDOG_PATIENCE), asked);
    }

    #[test]
    fn a_watchdog_at_work_has_more_time() {
        let (mut life, now) = life();
        let at = now + 10 * SECOND;
        let begun = Input::Look(ReportProgress::Begun);
        life.step(LOOK, at);
        assert_eq!(life.step(begun, at + WATCHDOG_PATIENCE), []);
        assert_eq!(life.step(begun, at + REPORT_PATIENCE), [Action::TakeStacks, Action::Ask]);
    }

    #[test]
    fn an_interrupt_asks_and_a_second_one_kills_at_once() {
        let (mut life, now) = life();
        assert_eq!(life.step(Input::Interrupt, now), [Action::Ask]);
        assert_eq!(life.step(Input::Interrupt, now), []);
        assert_eq!(life.step(Input::Kill, now), [Action::Kill]);
        assert_eq!(life.stopped(), Some(Stopped::Interrupted));
    }

    #[test]
    fn what_ended_by_itself_is_not_called_interrupted() {
        let (mut life, now) = life();
        life.step(Input::FirstEnded(End::Exited(0)), now);
        assert_eq!(life.step(Input::Kill, now), [Action::Kill]);
        assert_eq!(life.stopped(), None);
    }

    #[test]
    fn a_first_process_that_ends_when_asked_takes_its_subtree_along() {
        let (mut life, now) = life();
        life.step(Input::Interrupt, now);
        assert_eq!(life.step(Input::FirstEnded(End::Signalled(2)), now), [Action::Kill]);
    }
}
