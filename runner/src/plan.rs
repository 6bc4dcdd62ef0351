//! Which case is run where and when, as data: takes facts and the time, returns actions.
//!
//! Pure: no process, socket, file or clock is touched here. Called by `execute`, which carries
//! out every [`Action`] in the order given and comes back with the next [`Fact`].
//!
//! A slot goes
//!
//! ```text
//!          Open                 Opened             Ended, more of this suite
//!   Vacant ────► Opening ───────────────► Running ◄───┐
//!     ▲  ▲         │ Unopened               │ │ └─────┘
//!     │  └─────────┘                   Lost │ │ Ended, nothing left for it (Close)
//!     │  Cleared                            ▼ │
//!     ├───────────────────────────── Clearing │
//!     └───────────────────────────────────────┘
//! ```
//!
//! A slot stays on its suite as long as that has cases: changing costs a new supervisor. Cases of
//! one suite start in the order they were given in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use runner_core::outcome::Standing;

/// How long a supervisor may take after the second interrupt.
pub const KILL_LIMIT: Duration = Duration::from_secs(2);

/// So many supervisors of one suite in a row may fail to start before its cases are abandoned.
pub const START_LIMIT: u32 = 3;

/// Wait after the first failed start of a suite's supervisor; grows fivefold.
const START_BACKOFF: Duration = Duration::from_millis(100);

/// What the plan must know of a case. Its number is its place in the list given to [`Plan::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The suite it belongs to, numbered from 0.
    pub suite: usize,
    /// From start to report if its supervisor keeps to its own clocks: deadline, grace, leak
    /// check.
    pub limit: Duration,
    /// From a request to end to the report, likewise.
    pub grace: Duration,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The slot's new supervisor greeted.
    Opened {
        /// Which.
        slot: usize,
    },
    /// There is no supervisor, and nothing of one is left.
    Unopened {
        /// Which.
        slot: usize,
        /// Whether another try may help.
        fault: StartFault,
    },
    /// The slot's attempt is over, and nothing of it is left.
    Ended {
        /// Which.
        slot: usize,
        /// What its outcome means.
        standing: Standing,
        /// What became of its supervisor.
        supervisor: Afterwards,
    },
    /// The slot's supervisor is lost, with or without an attempt; what is left of it is being
    /// ended from outside.
    Lost {
        /// Which.
        slot: usize,
    },
    /// Nothing of the lost supervisor is left.
    Cleared {
        /// Which.
        slot: usize,
    },
    /// Somebody wants the run to end.
    Interrupted,
    /// Only time passed.
    Clock,
}

/// Why there is no supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFault {
    /// The machine was short of something, or the process died: may go better next time.
    Passing,
    /// Every supervisor of this suite will fail in the same way.
    Lasting,
}

/// What became of a supervisor after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It is ready for the next one.
    Ready,
    /// It is gone or was retired; nothing of the attempt is its to end.
    Gone,
}

/// Something to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a supervisor; answered by [`Fact::Opened`] or [`Fact::Unopened`].
    Open {
        /// For this slot.
        slot: usize,
        /// Of this suite.
        suite: usize,
    },
    /// The slot's supervisor has nothing more to do: let it go, or, if it has not greeted, end it.
    Close {
        /// Which.
        slot: usize,
    },
    /// Hand a case to the slot's supervisor; answered by [`Fact::Ended`] or [`Fact::Lost`].
    Start {
        /// Where.
        slot: usize,
        /// What.
        case: usize,
    },
    /// Ask the slot's attempt to end.
    Ask {
        /// Which.
        slot: usize,
    },
    /// Have the slot's attempt killed by its supervisor.
    Kill {
        /// Which.
        slot: usize,
    },
    /// The slot's supervisor did not greet in time: end it. The slot is vacant.
    Reject {
        /// Which.
        slot: usize,
    },
    /// The slot's supervisor is silent: end it and its attempt from outside; answered by
    /// [`Fact::Cleared`].
    GiveUp {
        /// Which.
        slot: usize,
    },
    /// This case cannot be started: no supervisor of its suite can be.
    Abandon {
        /// Which.
        case: usize,
    },
}

/// How far the run has been asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not at all.
    Full,
    /// Too many failures: what runs ends by itself, nothing is started.
    Draining,
    /// What runs was asked to end.
    Asked,
    /// What runs is being killed.
    Killed,
    /// Supervisors are no longer waited for either.
    GivenUp,
}

/// The bounds of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many cases may run at once; 0 is taken as 1.
    pub slots: usize,
    /// After so many failures nothing more is started.
    pub max_fail: Option<usize>,
    /// How long a supervisor may be silent when something is due from it: its greeting, or, all
    /// its clocks having run out, the end of its attempt.
    pub silence: Duration,
}

/// The state of a run's schedule.
#[derive(Debug)]
pub struct Plan {
    jobs: Vec<Job>,
    /// Cases not started yet, by suite. Invariant: a case is in its suite's queue, in an
    /// `Opening` or `Running` slot, or done with; never in two of these.
    suites: Vec<Suite>,
    slots: Vec<Slot>,
    stage: Stage,
    failures: usize,
    bounds: Bounds,
}

#[derive(Debug, Default)]
struct Suite {
    queue: VecDeque<usize>,
    /// In a row; any greeting clears it.
    failed_starts: u32,
    not_before: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// No supervisor.
    Vacant,
    /// Its supervisor has not greeted yet; the case is the one it will get.
    Opening { case: usize, until: Instant },
    /// Its supervisor waits. Never outlives a step.
    Ready { suite: usize },
    /// Silence beyond `until` is the supervisor's fault.
    Running { case: usize, until: Instant },
    /// What a lost supervisor left is being ended.
    Clearing,
}

impl Plan {
    /// A plan for these cases, in this order.
    pub fn new(jobs: Vec<Job>, bounds: Bounds) -> Self {
        let suite_count = jobs.iter().map(|job| job.suite + 1).max().unwrap_or(0);
        let mut suites: Vec<Suite> = Vec::new();
        suites.resize_with(suite_count, Suite::default);
        for (case, job) in jobs.iter().enumerate() {
            suites[job.suite].queue.push_back(case);
        }
        let slot_count = bounds.slots.max(1).min(jobs.len());
        Self {
            jobs,
            suites,
            slots: vec![Slot::Vacant; slot_count],
            stage: Stage::Full,
            failures: 0,
            bounds,
        }
    }

    /// Takes in a fact and says what to do about it, in this order.
    pub fn step(&mut self, fact: Fact, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match fact {
            Fact::Opened { slot } => self.on_opened(slot),
            Fact::Unopened { slot, fault } => self.on_unopened(slot, fault, now, &mut actions),
            Fact::Ended { slot, standing, supervisor } => self.on_ended(slot, standing, supervisor),
            Fact::Lost { slot } => self.on_lost(slot),
            Fact::Cleared { slot } => self.slots[slot] = Slot::Vacant,
            Fact::Interrupted => self.on_interrupted(now, &mut actions),
            Fact::Clock => self.on_clock(now, &mut actions),
        }
        self.fill(now, &mut actions);
        actions
    }

    /// When [`Fact::Clock`] has something to do at the latest.
    pub fn next_clock(&self) -> Option<Instant> {
        let of_slot = |slot: &Slot| match slot {
            Slot::Opening { until, .. } | Slot::Running { until, .. } => Some(*until),
            Slot::Vacant | Slot::Ready { .. } | Slot::Clearing => None,
        };
        // Without a free slot a suite that may be tried again has to wait for a fact anyway.
        let free = self.stage == Stage::Full && self.slots.contains(&Slot::Vacant);
        let waiting = |suite: &&Suite| free && !suite.queue.is_empty();
        let of_suites = self.suites.iter().filter(waiting);
        let slots = self.slots.iter().filter_map(of_slot);
        slots.chain(of_suites.filter_map(|s| s.not_before)).min()
    }

    /// The whole program was kept from running (stopped, suspended): no silence counts meanwhile.
    pub fn postpone(&mut self, by: Duration) {
        for slot in &mut self.slots {
            match slot {
                Slot::Opening { until, .. } | Slot::Running { until, .. } => *until += by,
                Slot::Vacant | Slot::Ready { .. } | Slot::Clearing => {}
            }
        }
    }

    /// Nothing runs, and nothing will be started.
    pub fn is_over(&self) -> bool {
        let idle = self.slots.iter().all(|slot| *slot == Slot::Vacant);
        idle && (self.stage != Stage::Full || self.not_started() == 0)
    }

    /// Cases that are still to be started, or never will be.
    pub fn not_started(&self) -> usize {
        self.suites.iter().map(|suite| suite.queue.len()).sum()
    }

    /// How many slots there are: no more than there are cases.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// How far the run has been asked to end.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    fn on_opened(&mut self, slot: usize) {
        if let Slot::Opening { case, .. } = self.slots[slot] {
            let suite = self.put_back(case);
            self.suites[suite].failed_starts = 0;
            self.suites[suite].not_before = None;
            self.slots[slot] = Slot::Ready { suite };
        }
    }

    fn on_unopened(
        &mut self,
        slot: usize,
        fault: StartFault,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Slot::Opening { case, .. } = self.slots[slot] else {
            return;
        };
        self.slots[slot] = Slot::Vacant;
        let number = self.put_back(case);
        let suite = &mut self.suites[number];
        suite.failed_starts += 1;
        if fault == StartFault::Lasting || suite.failed_starts >= START_LIMIT {
            self.failures += suite.queue.len();
            actions.extend(suite.queue.drain(..).map(|case| Action::Abandon { case }));
            self.heed_failures();
        } else {
            suite.not_before = Some(now + START_BACKOFF * 5_u32.pow(suite.failed_starts - 1));
        }
    }

    fn on_ended(&mut self, slot: usize, standing: Standing, supervisor: Afterwards) {
        let Slot::Running { case, .. } = self.slots[slot] else {
            return;
        };
        let suite = self.jobs[case].suite;
        self.slots[slot] = match supervisor {
            Afterwards::Ready => Slot::Ready { suite },
            Afterwards::Gone => Slot::Vacant,
        };
        match standing {
            Standing::Bad => self.failures += 1,
            Standing::Good | Standing::Neutral | Standing::Cut => {}
        }
        self.heed_failures();
    }

    fn on_lost(&mut self, slot: usize) {
        if let Slot::Running { .. } = self.slots[slot] {
            self.failures += 1;
            self.heed_failures();
        }
        self.slots[slot] = Slot::Clearing;
    }

    fn on_interrupted(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.stage = match self.stage {
            Stage::Full | Stage::Draining => Stage::Asked,
            Stage::Asked => Stage::Killed,
            Stage::Killed | Stage::GivenUp => Stage::GivenUp,
        };
        for slot in 0..self.slots.len() {
            match self.slots[slot] {
                Slot::Vacant | Slot::Ready { .. } | Slot::Clearing => {}
                Slot::Opening { case, .. } => {
                    self.put_back(case);
                    self.slots[slot] = Slot::Vacant;
                    actions.push(Action::Close { slot });
                }
                Slot::Running { case, until } => self.press(slot, case, until, now, actions),
            }
        }
    }

    /// Tells a running slot how far the run has been asked to end.
    fn press(
        &mut self,
        slot: usize,
        case: usize,
        until: Instant,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let (action, patience) = match self.stage {
            Stage::Full | Stage::Draining => return,
            Stage::Asked => {
                (Action::Ask { slot }, self.jobs[case].grace.saturating_add(self.bounds.silence))
            }
            Stage::Killed => (Action::Kill { slot }, KILL_LIMIT),
            Stage::GivenUp => (Action::GiveUp { slot }, Duration::ZERO),
        };
        actions.push(action);
        self.slots[slot] = match self.stage {
            Stage::Full | Stage::Draining | Stage::Asked | Stage::Killed => {
                Slot::Running { case, until: until.min(after(now, patience)) }
            }
            Stage::GivenUp => Slot::Clearing,
        };
    }

    fn on_clock(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for slot in 0..self.slots.len() {
            match self.slots[slot] {
                Slot::Opening { until, .. } if until <= now => {
                    actions.push(Action::Reject { slot });
                    self.on_unopened(slot, StartFault::Passing, now, actions);
                }
                Slot::Running { until, .. } if until <= now => {
                    actions.push(Action::GiveUp { slot });
                    self.on_lost(slot);
                }
                Slot::Opening { .. }
                | Slot::Running { .. }
                | Slot::Vacant
                | Slot::Ready { .. }
                | Slot::Clearing => {}
            }
        }
    }

    /// Gives every slot that has nothing to do its next case, or lets its supervisor go.
    fn fill(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for slot in 0..self.slots.len() {
            match self.slots[slot] {
                Slot::Vacant => self.open(slot, now, actions),
                Slot::Ready { suite } => match self.take(suite) {
                    Some(case) => self.start(slot, case, now, actions),
                    None => {
                        actions.push(Action::Close { slot });
                        self.open(slot, now, actions);
                    }
                },
                Slot::Opening { .. } | Slot::Running { .. } | Slot::Clearing => {}
            }
        }
    }

    fn start(&mut self, slot: usize, case: usize, now: Instant, actions: &mut Vec<Action>) {
        let limit = self.jobs[case].limit.saturating_add(self.bounds.silence);
        let until = after(now, limit);
        self.slots[slot] = Slot::Running { case, until };
        actions.push(Action::Start { slot, case });
    }

    fn open(&mut self, slot: usize, now: Instant, actions: &mut Vec<Action>) {
        self.slots[slot] = Slot::Vacant;
        let Some((suite, case)) =
            self.neediest(now).and_then(|suite| Some((suite, self.take(suite)?)))
        else {
            return;
        };
        let until = after(now, self.bounds.silence);
        self.slots[slot] = Slot::Opening { case, until };
        actions.push(Action::Open { slot, suite });
    }

    /// The suite a free slot should go to: the one the fewest slots work on, the earliest of
    /// these, so that as few supervisors as possible are started.
    fn neediest(&self, now: Instant) -> Option<usize> {
        let startable =
            |s: &Suite| !s.queue.is_empty() && s.not_before.is_none_or(|time| time <= now);
        (0..self.suites.len())
            .filter(|&suite| self.stage == Stage::Full && startable(&self.suites[suite]))
            .min_by_key(|&suite| self.slots_on(suite))
    }

    fn slots_on(&self, wanted: usize) -> usize {
        let on = |slot: &&Slot| match slot {
            Slot::Opening { case, .. } | Slot::Running { case, .. } => {
                self.jobs[*case].suite == wanted
            }
            Slot::Ready { suite } => *suite == wanted,
            Slot::Vacant | Slot::Clearing => false,
        };
        self.slots.iter().filter(on).count()
    }

    fn take(&mut self, suite: usize) -> Option<usize> {
        match self.stage {
            Stage::Full => self.suites[suite].queue.pop_front(),
            Stage::Draining | Stage::Asked | Stage::Killed | Stage::GivenUp => None,
        }
    }

    fn put_back(&mut self, case: usize) -> usize {
        let suite = self.jobs[case].suite;
        self.suites[suite].queue.push_front(case);
        suite
    }

    fn heed_failures(&mut self) {
        let too_many = self.bounds.max_fail.is_some_and(|limit| self.failures >= limit);
        if too_many && self.stage == Stage::Full {
            self.stage = Stage::Draining;
        }
    }
}

/// Far enough away where a manifest's duration is beyond what a clock can say.
fn after(now: Instant, patience: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    now + patience.min(YEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SILENCE: Duration = Duration::from_secs(15);

    /// A plan for cases of these suites, each with a limit of 10 s and a grace of 1 s, and the
    /// actions its first step gives.
    fn begin(
        suites: &[usize],
        slots: usize,
        max_fail: Option<usize>,
    ) -> (Plan, Vec<Action>, Instant) {
        let now = Instant::now();
        let job = |&suite: &usize| Job { suite, limit: 10 * SECOND, grace: SECOND };
        let mut plan = Plan::new(
            suites.iter().map(job).collect(),
            Bounds { slots, max_fail, silence: SILENCE },
        );
        let actions = plan.step(Fact::Clock, now);
        (plan, actions, now)
    }

    fn ended(slot: usize, standing: Standing) -> Fact {
        Fact::Ended { slot, standing, supervisor: Afterwards::Ready }
    }

    fn unopened(slot: usize, fault: StartFault) -> Fact {
        Fact::Unopened { slot, fault }
    }

    #[test]
    fn no_cases_is_over_at_once() {
        let (plan, actions, _) = begin(&[], 4, None);
        assert_eq!(actions, []);
        assert!(plan.is_over());
        assert_eq!(plan.slot_count(), 0);
    }

    #[test]
    fn one_supervisor_serves_all_cases_of_its_suite_in_order() {
        let (mut plan, actions, now) = begin(&[0, 0], 1, None);
        assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
        let actions = plan.step(Fact::Opened { slot: 0 }, now);
        assert_eq!(actions, [Action::Start { slot: 0, case: 0 }]);
        let actions = plan.step(ended(0, Standing::Good), now);
        assert_eq!(actions, [Action::Start { slot: 0, case: 1 }]);
        assert!(!plan.is_over());
        let actions = plan.step(ended(0, Standing::Good), now);
        assert_eq!(actions, [Action::Close { slot: 0 }]);
        assert!(plan.is_over());
    }

    #[test]
    fn a_slot_moves_on_when_its_suite_is_done() {
        let (mut plan, _, now) = begin(&[0, 1], 1, None);
        plan.step(Fact::Opened { slot: 0 }, now);
        let actions = plan.step(ended(0, Standing::Good), now);
        let moves = [Action::Close { slot: 0 }, Action::Open { slot: 0, suite: 1 }];
        assert_eq!(actions, moves);
        let actions = plan.step(Fact::Opened { slot: 0 }, now);
        assert_eq!(actions, [Action::Start { slot: 0, case: 1 }]);
    }

    #[test]
    fn slots_spread_over_suites_before_they_share_one() {
        let (_, actions, _) = begin(&[0, 0, 0, 1, 1], 3, None);
        let expected = [
            Action::Open { slot: 0, suite: 0 },
            Action::Open { slot: 1, suite: 1 },
            Action::Open { slot: 2, suite: 0 },
        ];
        assert_eq!(actions, expected);
    }

    #[test]
    fn no_more_slots_are_opened_than_there_are_cases() {
        let (plan, actions, _) = begin(&[0], 8, None);
        assert_eq!(plan.slot_count(), 1);
        assert_eq!(actions.len(), 1);
    }

    #[test]
    fn too_many_failures_stop_starting_and_nothing_else() {
        let (mut plan, _, now) = begin(&[0, 0, 0, 0], 2, Some(1));
        plan.step(Fact::Opened { slot: 0 }, now);
        plan.step(Fact::Opened { slot: 1 }, now);
        let actions = plan.step(ended(0, Standing::Bad), now);
        assert_eq!(actions, [Action::Close { slot: 0 }]);
        assert!(!plan.is_over(), "the other slot still runs");
        let actions = plan.step(ended(1, Standing::Neutral), now);
        assert_eq!(actions, [Action::Close { slot: 1 }]);
        assert!(plan.is_over());
        assert_eq!(plan.not_started(), 2);
    }

    #[test]
    fn good_and_neutral_outcomes_are_no_failures() {
        let (mut plan, _, now) = begin(&[0, 0, 0], 1, Some(1));
        plan.step(Fact::Opened { slot: 0 }, now);
        plan.step(ended(0, Standing::Good), now);
        let actions = plan.step(ended(0, Standing::Neutral), now);
        assert_eq!(actions, [Action::Start { slot: 0, case: 2 }]);
    }

    #[test]
    fn interrupts_escalate_from_asking_to_killing_to_giving_up() {
        let (mut plan, _, now) = begin(&[0, 0], 1, None);
        plan.step(Fact::Opened { slot: 0 }, now);
        assert_eq!(plan.step(Fact::Interrupted, now), [Action::Ask { slot: 0 }]);
        assert_eq!(plan.stage(), Stage::Asked);
        assert_eq!(plan.step(Fact::Interrupted, now), [Action::Kill { slot: 0 }]);
        assert_eq!(plan.next_clock(), Some(now + KILL_LIMIT));
        let actions = plan.step(Fact::Interrupted, now);
        assert_eq!(actions, [Action::GiveUp { slot: 0 }]);
        plan.step(Fact::Cleared { slot: 0 }, now);
        assert!(plan.is_over());
        assert_eq!(plan.not_started(), 1);
    }

    #[test]
    fn an_interrupt_shortens_what_a_supervisor_may_take_but_never_lengthens_it() {
        let (mut plan, _, now) = begin(&[0], 1, None);
        plan.step(Fact::Opened { slot: 0 }, now);
        assert_eq!(plan.next_clock(), Some(now + 10 * SECOND + SILENCE));
        plan.step(Fact::Interrupted, now);
        assert_eq!(plan.next_clock(), Some(now + SECOND + SILENCE));
        let later = now + 10 * SECOND;
        let (mut plan, _, now) = begin(&[0], 1, None);
        plan.step(Fact::Opened { slot: 0 }, now);
        plan.step(Fact::Interrupted, later);
        assert_eq!(plan.next_clock(), Some(now + 10 * SECOND + SILENCE));
    }

    #[test]
    fn an_interrupt_ends_what_has_not_greeted_and_its_case_counts_as_not_started() {
        let (mut plan, _, now) = begin(&[0], 1, None);
        let actions = plan.step(Fact::Interrupted, now);
        assert_eq!(actions, [Action::Close { slot: 0 }]);
        assert!(plan.is_over());
        assert_eq!(plan.not_started(), 1);
    }

    #[test]
    fn a_silent_supervisor_is_given_up_and_the_slot_goes_on_with_a_new_one() {
        let (mut plan, _, now) = begin(&[0, 0], 1, None);
        plan.step(Fact::Opened { slot: 0 }, now);
        let late = now + 10 * SECOND + SILENCE;
        assert_eq!(plan.step(Fact::Clock, late - SECOND), []);
        assert_eq!(plan.step(Fact::Clock, late), [Action::GiveUp { slot: 0 }]);
        assert_eq!(plan.next_clock(), None, "clearing has no clock here");
        let actions = plan.step(Fact::Cleared { slot: 0 }, late);
        assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
    }

    #[test]
    fn a_lost_supervisor_counts_as_one_failure() {
        let (mut plan, _, now) = begin(&[0, 0], 1, Some(1));
        plan.step(Fact::Opened { slot: 0 }, now);
        assert_eq!(plan.step(Fact::Lost { slot: 0 }, now), []);
        assert!(!plan.is_over());
        plan.step(Fact::Cleared { slot: 0 }, now);
        assert!(plan.is_over());
    }

    #[test]
    fn a_retired_supervisor_is_replaced() {
        let (mut plan, _, now) = begin(&[0, 0], 1, None);
        plan.step(Fact::Opened { slot: 0 }, now);
        let fact = Fact::Ended { slot: 0, standing: Standing::Bad, supervisor: Afterwards::Gone };
        let actions = plan.step(fact, now);
        assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
    }

    #[test]
    fn time_in_which_nothing_of_ours_ran_is_nobodys_silence() {
        let (mut plan, _, now) = begin(&[0], 1, None);
        plan.step(Fact::Opened { slot: 0 }, now);
        plan.postpone(100 * SECOND);
        assert_eq!(plan.step(Fact::Clock, now + 100 * SECOND), []);
    }

    #[test]
    fn a_supervisor_that_does_not_greet_is_rejected_and_tried_again_later() {
        let (mut plan, _, now) = begin(&[0], 1, None);
        let late = now + SILENCE;
        assert_eq!(plan.step(Fact::Clock, late), [Action::Reject { slot: 0 }]);
        assert_eq!(plan.next_clock(), Some(late + START_BACKOFF));
        let actions = plan.step(Fact::Clock, late + START_BACKOFF);
        assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
    }

    #[test]
    fn a_suite_that_cannot_be_started_is_abandoned_and_the_others_run() {
        let (mut plan, _, mut now) = begin(&[0, 0, 1], 1, None);
        for _ in 1..START_LIMIT {
            // Meanwhile the slot would turn to suite 1: let that fail to come back, too.
            let actions = plan.step(unopened(0, StartFault::Passing), now);
            assert_eq!(actions, [Action::Open { slot: 0, suite: 1 }]);
            plan.step(unopened(0, StartFault::Passing), now);
            now = plan.next_clock().unwrap();
            let actions = plan.step(Fact::Clock, now);
            assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
        }
        let actions = plan.step(unopened(0, StartFault::Passing), now);
        let abandoned = [Action::Abandon { case: 0 }, Action::Abandon { case: 1 }];
        assert_eq!(actions[..2], abandoned);
        now += SECOND;
        assert!(!plan.is_over());
        plan.step(Fact::Clock, now);
        let actions = plan.step(Fact::Opened { slot: 0 }, now);
        assert_eq!(actions, [Action::Start { slot: 0, case: 2 }]);
    }

    #[test]
    fn a_lasting_fault_abandons_a_suite_at_once() {
        let (mut plan, _, now) = begin(&[0, 0], 1, None);
        let actions = plan.step(unopened(0, StartFault::Lasting), now);
        let abandoned = [Action::Abandon { case: 0 }, Action::Abandon { case: 1 }];
        assert_eq!(actions, abandoned);
        assert!(plan.is_over());
        assert_eq!(plan.not_started(), 0);
    }

    #[test]
    fn a_greeting_clears_earlier_failed_starts() {
        let (mut plan, _, mut now) = begin(&[0; 10], 1, None);
        for _ in 0..5 {
            plan.step(unopened(0, StartFault::Passing), now);
            now = plan.next_clock().unwrap();
            plan.step(Fact::Clock, now);
            plan.step(Fact::Opened { slot: 0 }, now);
            plan.step(Fact::Lost { slot: 0 }, now);
            let actions = plan.step(Fact::Cleared { slot: 0 }, now);
            assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
        }
    }

    #[test]
    fn waiting_for_another_try_never_asks_for_a_clock_that_has_passed() {
        let (mut plan, _, now) = begin(&[0, 0, 1], 2, None);
        plan.step(Fact::Opened { slot: 1 }, now);
        plan.step(unopened(0, StartFault::Passing), now);
        let again = plan.next_clock().unwrap();
        plan.step(Fact::Clock, again);
        assert!(plan.next_clock().unwrap() > again);
    }
}
