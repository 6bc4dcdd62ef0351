//! The life of one attempt as data: facts and `now` go in, actions come out.
//!
//! ```text
//! Running ──deadline──► Reporting ──report or patience──► Asked ──grace──► Killing ──► Over
//!    │ └────interrupt───────────────────────────────────────┘                ▲  │
//!    ├─first process ended──► Settling ──nobody left──► Over                 │  └─ 5 s ─► Over
//!    │                          └──leak_after──► (leaks listed) ─────────────┤   (unkillable)
//!    └─too many processes────────────────────────────────────────────────────┘
//! ```
//! "Nobody left" ends every stage at once. All its times are on the attempt's own `clock`, which is
//! held while whoever plays the runner has the attempt stopped, and while somebody debugs it: then
//! nothing is due. Before a deadline counts, and now and then in a long attempt, it is looked
//! whether somebody does.

use std::time::{Duration, Instant};

use runner_core::memory::ReportProgress;
use runner_core::protocol::{Clocks, End, Stopped};

use crate::clock::{Clock, Hold};

/// The watchdog may take so long for its report, from the deadline on.
const REPORT_PATIENCE: Duration = Duration::from_secs(2);
/// A watchdog that has not even begun by then cannot run: its process is stopped, or worse.
const WATCHDOG_PATIENCE: Duration = Duration::from_millis(250);
/// How often to look for the watchdog's progress.
const REPORT_LOOK: Duration = Duration::from_millis(2);
/// What survives SIGKILL for so long is named and left.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// New children of dying processes are looked for this often.
const KILL_LOOK: Duration = Duration::from_millis(1);
/// How often to look for somebody who debugs, and whether he has gone. The time until he is seen
/// counts; and attempts that are shorter never pay for a look.
const DEBUGGER_LOOK: Duration = Duration::from_millis(500);

/// Where an attempt is. Times are the attempt's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Reporting { since: Duration },
    Asked { until: Duration },
    Settling { until: Duration },
    Killing { until: Duration },
    Over,
}

/// What the supervisor has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Tell whoever plays the runner that it is slow.
    TellSlow,
    /// Tell whoever plays the runner that somebody debugs it, and that no deadline comes.
    TellDebugged,
    /// Find out who traces the attempt's processes, and answer with [`Input::Traced`].
    LookForDebugger,
    /// Take the facts of all processes and claim the deadline.
    Expire,
    /// Take what the watchdog left, and from outside what it did not.
    TakeReport,
    /// SIGINT to the first process, and SIGCONT in case it stopped itself.
    Ask,
    /// List what is still alive as leaks.
    ListLeaks,
    /// SIGKILL to every child.
    Kill,
    /// Name what survived.
    GiveUp,
    /// SIGSTOP to every process of the attempt.
    StopAll,
    /// SIGCONT to those that were stopped by us.
    ContinueAll,
    /// Stop the clock in the attempt's memory.
    StopClock,
    /// Let it go on.
    ContinueClock,
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
    /// Who traces the attempt's processes.
    Traced(Tracer),
    /// There are more processes than it may have.
    TooMany,
    /// Whoever plays the runner asks for an end.
    Interrupt,
    /// An outer clock ran out.
    Expire,
    /// Whoever plays the runner wants it gone, or is gone itself.
    Kill,
    /// Whoever plays the runner is about to be stopped.
    Pause,
    /// It goes on.
    Resume,
}

/// Who traces the attempt's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracer {
    /// Nobody but the attempt itself.
    None,
    /// Somebody from outside.
    Foreign,
}

/// One attempt.
#[derive(Debug)]
pub(crate) struct Life {
    clocks: Clocks,
    stage: Stage,
    clock: Clock,
    slow_told: u32,
    debugger_look: Duration,
    end: Option<(End, Duration)>,
    stopped: Option<Stopped>,
}

impl Life {
    pub(crate) fn new(clocks: Clocks, now: Instant) -> Self {
        Self {
            clocks,
            stage: Stage::Running,
            clock: Clock::start(now),
            slow_told: 0,
            debugger_look: DEBUGGER_LOOK,
            end: None,
            stopped: None,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// How and after which time the first process ended.
    pub(crate) fn end(&self) -> Option<(End, Duration)> {
        self.end
    }

    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        self.clock.time(now)
    }

    /// When `Look` is due even if nothing happens.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        if self.clock.is_held_by(Hold::Debugger) {
            return Some(now + DEBUGGER_LOOK);
        }
        let at = |time| self.clock.instant_of(time);
        match self.stage {
            Stage::Running => {
                let times = self.clocks.deadline.into_iter().chain([self.next_slow()]);
                at(times.fold(self.debugger_look, Duration::min))
            }
            Stage::Reporting { .. } => at(self.clock.time(now) + REPORT_LOOK),
            Stage::Asked { until } | Stage::Settling { until } => at(until),
            Stage::Killing { .. } => Some(now + KILL_LOOK),
            Stage::Over => None,
        }
    }

    /// One step.
    pub(crate) fn step(&mut self, input: Input, now: Instant) -> Vec<Action> {
        match input {
            Input::FirstEnded(end) => self.first_ended(end, now),
            Input::Clear => self.clear(),
            Input::Look(report) => self.look(report, now),
            Input::Traced(tracer) => self.traced(tracer, now),
            Input::TooMany => self.too_many(now),
            Input::Interrupt => self.interrupt(now),
            Input::Expire => self.expire(now),
            Input::Kill => self.kill_for(Stopped::Interrupted, now),
            Input::Pause => self.pause(now),
            Input::Resume => self.resume(now),
        }
    }

    fn first_ended(&mut self, end: End, now: Instant) -> Vec<Action> {
        let time = self.clock.time(now);
        self.end = Some((end, time));
        match self.stage {
            Stage::Running => {
                self.stage = Stage::Settling { until: time + self.clocks.leak_after };
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

    fn look(&mut self, report: ReportProgress, now: Instant) -> Vec<Action> {
        if self.clock.is_held_by(Hold::Debugger) {
            return vec![Action::LookForDebugger];
        }
        if self.clock.is_held() {
            return Vec::new();
        }
        let time = self.clock.time(now);
        match self.stage {
            Stage::Running if self.deadline_passed(time) || time >= self.debugger_look => {
                vec![Action::LookForDebugger]
            }
            Stage::Running if time >= self.next_slow() => {
                self.slow_told += 1;
                vec![Action::TellSlow]
            }
            Stage::Reporting { since } if time >= since + patience(report) => {
                self.stage = Stage::Asked { until: time + self.clocks.grace };
                vec![Action::TakeReport, Action::Ask]
            }
            Stage::Asked { until } if time >= until => self.kill(now),
            Stage::Settling { until } if time >= until => {
                let mut actions = vec![Action::ListLeaks];
                actions.extend(self.kill(now));
                actions
            }
            Stage::Killing { until } if time >= until => {
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

    fn traced(&mut self, tracer: Tracer, now: Instant) -> Vec<Action> {
        match (self.stage, tracer) {
            (Stage::Running, Tracer::Foreign) => {
                let mut actions = self.hold(Hold::Debugger, now);
                actions.push(Action::TellDebugged);
                actions
            }
            (_, Tracer::None) | (_, Tracer::Foreign) => {
                let mut actions = self.release(Hold::Debugger, now);
                let time = self.clock.time(now);
                self.debugger_look = time + DEBUGGER_LOOK;
                if self.stage == Stage::Running && self.deadline_passed(time) {
                    actions.extend(self.expire(now));
                }
                actions
            }
        }
    }

    fn too_many(&mut self, now: Instant) -> Vec<Action> {
        match self.stage {
            Stage::Running
            | Stage::Reporting { .. }
            | Stage::Asked { .. }
            | Stage::Settling { .. } => self.kill(now),
            Stage::Killing { .. } | Stage::Over => Vec::new(),
        }
    }

    fn interrupt(&mut self, now: Instant) -> Vec<Action> {
        match self.stage {
            Stage::Running => {
                self.stopped = Some(Stopped::Interrupted);
                let mut actions = self.let_go(now);
                self.stage = Stage::Asked { until: self.clock.time(now) + self.clocks.grace };
                actions.push(Action::Ask);
                actions
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
                let mut actions = self.let_go(now);
                self.stage = Stage::Reporting { since: self.clock.time(now) };
                actions.push(Action::Expire);
                actions
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

    /// SIGKILL ends what is stopped too: nobody has to go on for it, but the clock has.
    fn kill(&mut self, now: Instant) -> Vec<Action> {
        self.clock.release(Hold::Pause, now);
        self.clock.release(Hold::Debugger, now);
        self.stage = Stage::Killing { until: self.clock.time(now) + KILL_PATIENCE };
        vec![Action::Kill]
    }

    fn pause(&mut self, now: Instant) -> Vec<Action> {
        match self.stage {
            Stage::Killing { .. } | Stage::Over => Vec::new(),
            Stage::Running
            | Stage::Reporting { .. }
            | Stage::Asked { .. }
            | Stage::Settling { .. } => {
                let mut actions = vec![Action::StopAll];
                actions.extend(self.hold(Hold::Pause, now));
                actions
            }
        }
    }

    fn resume(&mut self, now: Instant) -> Vec<Action> {
        if !self.clock.is_held_by(Hold::Pause) {
            return Vec::new();
        }
        let mut actions = self.release(Hold::Pause, now);
        actions.push(Action::ContinueAll);
        actions
    }

    /// What was asked for now is not held up by anything.
    fn let_go(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = self.resume(now);
        actions.extend(self.release(Hold::Debugger, now));
        actions
    }

    fn hold(&mut self, hold: Hold, now: Instant) -> Vec<Action> {
        let went_on = !self.clock.is_held();
        self.clock.hold(hold, now);
        if went_on { vec![Action::StopClock] } else { Vec::new() }
    }

    fn release(&mut self, hold: Hold, now: Instant) -> Vec<Action> {
        let was_held = self.clock.is_held();
        self.clock.release(hold, now);
        if was_held && !self.clock.is_held() { vec![Action::ContinueClock] } else { Vec::new() }
    }

    fn deadline_passed(&self, time: Duration) -> bool {
        self.clocks.deadline.is_some_and(|deadline| time >= deadline)
    }

    fn next_slow(&self) -> Duration {
        self.clocks.slow_after.max(Duration::from_millis(1)).saturating_mul(self.slow_told + 1)
    }
}

/// How long to wait for a watchdog that is so far.
fn patience(report: ReportProgress) -> Duration {
    match report {
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

    const UNTRACED: Input = Input::Traced(Tracer::None);
    const DEBUGGED: Input = Input::Traced(Tracer::Foreign);

    /// Comes to the deadline, where nobody debugs.
    fn expired(life: &mut Life, at: Instant) {
        assert_eq!(life.step(LOOK, at), [Action::LookForDebugger]);
        assert_eq!(life.step(UNTRACED, at), [Action::Expire]);
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
        life.debugger_look = Duration::MAX;
        assert_eq!(life.step(LOOK, now + 2 * SECOND), []);
        assert_eq!(life.step(LOOK, now + 3 * SECOND), [Action::TellSlow]);
        assert_eq!(life.step(LOOK, now + 4 * SECOND), []);
        assert_eq!(life.step(LOOK, now + 6 * SECOND), [Action::TellSlow]);
    }

    #[test]
    fn the_deadline_reports_then_asks_then_kills() {
        let (mut life, now) = life();
        let at = now + 10 * SECOND;
        expired(&mut life, at);
        assert_eq!(life.step(LOOK, at), [], "the watchdog is at work");
        let taken = Input::Look(ReportProgress::Over);
        assert_eq!(life.step(taken, at), [Action::TakeReport, Action::Ask]);
        assert_eq!(life.step(LOOK, at + SECOND), []);
        assert_eq!(life.step(LOOK, at + 2 * SECOND), [Action::Kill]);
        assert_eq!(life.stopped(), Some(Stopped::Deadline));
    }

    #[test]
    fn a_watchdog_that_cannot_run_is_waited_for_in_bounds() {
        let (mut life, now) = life();
        let at = now + 10 * SECOND;
        expired(&mut life, at);
        let asked = [Action::TakeReport, Action::Ask];
        assert_eq!(life.step(LOOK, at + WATCHDOG_PATIENCE), asked);
    }

    #[test]
    fn a_watchdog_at_work_has_more_time() {
        let (mut life, now) = life();
        let at = now + 10 * SECOND;
        let begun = Input::Look(ReportProgress::Begun);
        expired(&mut life, at);
        assert_eq!(life.step(begun, at + WATCHDOG_PATIENCE), []);
        assert_eq!(life.step(begun, at + REPORT_PATIENCE), [Action::TakeReport, Action::Ask]);
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

    #[test]
    fn a_pause_holds_every_clock_and_a_resume_gives_the_rest() {
        let (mut life, now) = life();
        let stopped = [Action::StopAll, Action::StopClock];
        assert_eq!(life.step(Input::Pause, now + 9 * SECOND), stopped);
        assert_eq!(life.next_look(now + 9 * SECOND), None);
        assert_eq!(life.step(LOOK, now + 100 * SECOND), []);
        let goes_on = [Action::ContinueClock, Action::ContinueAll];
        assert_eq!(life.step(Input::Resume, now + 100 * SECOND), goes_on);
        life.step(UNTRACED, now + 100 * SECOND);
        assert_eq!(life.elapsed(now + 100 * SECOND), 9 * SECOND);
        expired(&mut life, now + 101 * SECOND);
    }

    #[test]
    fn the_grace_is_held_by_a_pause_too() {
        let (mut life, now) = life();
        life.step(Input::Interrupt, now);
        life.step(Input::Pause, now + SECOND);
        assert_eq!(life.step(LOOK, now + 50 * SECOND), []);
        life.step(Input::Resume, now + 50 * SECOND);
        assert_eq!(life.next_look(now + 50 * SECOND), Some(now + 51 * SECOND));
        assert_eq!(life.step(LOOK, now + 51 * SECOND), [Action::Kill]);
    }

    #[test]
    fn who_is_paused_and_asked_goes_on_first_and_who_is_killed_need_not() {
        let (mut paused, now) = life();
        paused.step(Input::Pause, now);
        let asked = [Action::ContinueClock, Action::ContinueAll, Action::Ask];
        assert_eq!(paused.step(Input::Interrupt, now), asked);
        let (mut paused, now) = life();
        paused.step(Input::Pause, now);
        assert_eq!(paused.step(Input::Kill, now), [Action::Kill]);
        assert_eq!(paused.step(LOOK, now + 6 * SECOND), [Action::GiveUp], "its clock goes on");
    }

    #[test]
    fn a_debugger_holds_the_clock_until_it_has_gone() {
        let (mut life, now) = life();
        let at = now + SECOND;
        assert_eq!(life.step(LOOK, at), [Action::LookForDebugger]);
        assert_eq!(life.step(DEBUGGED, at), [Action::StopClock, Action::TellDebugged]);
        assert_eq!(life.next_look(at), Some(at + DEBUGGER_LOOK));
        let late = now + 100 * SECOND;
        assert_eq!(life.step(LOOK, late), [Action::LookForDebugger]);
        assert_eq!(life.step(DEBUGGED, late), [Action::TellDebugged]);
        assert_eq!(life.step(UNTRACED, late), [Action::ContinueClock]);
        assert_eq!(life.elapsed(late), SECOND);
        expired(&mut life, late + 9 * SECOND);
    }

    #[test]
    fn a_debugger_at_the_deadline_holds_it() {
        let (mut life, now) = life();
        let at = now + 10 * SECOND;
        assert_eq!(life.step(LOOK, at), [Action::LookForDebugger]);
        assert_eq!(life.step(DEBUGGED, at), [Action::StopClock, Action::TellDebugged]);
        let gone = at + 60 * SECOND;
        assert_eq!(life.step(UNTRACED, gone), [Action::ContinueClock, Action::Expire]);
    }

    #[test]
    fn a_debugger_keeps_nobody_from_asking_for_an_end() {
        let (mut life, now) = life();
        life.step(DEBUGGED, now);
        assert_eq!(life.step(Input::Expire, now), [Action::ContinueClock, Action::Expire]);
    }

    #[test]
    fn too_many_processes_are_killed_at_once() {
        let (mut life, now) = life();
        assert_eq!(life.step(Input::TooMany, now), [Action::Kill]);
        assert_eq!(life.stopped(), None, "it is its own fault");
    }
}
