//! Which case is run where and when, as data: takes facts and the time, returns actions.
//!
//! Pure: no process, socket, file or clock is touched here. Called by `execute`, which carries
//! out every [`Action`] in the order given and comes back with the next [`Fact`].
//!
//! A slot goes
//!
//! ```text
//!          Open                 Opened             Ended, another of this suite
//!   Vacant ────► Opening ──────► Ready ──► Running ◄───┐
//!     ▲  ▲         │ Unopened     │ ▲        │ │ └─────┘
//!     │  └─────────┘              │ └────────┘ │ Lost
//!     │  Close: nothing for it    │    Ended   ▼
//!     ├───────────────────────────┘         Clearing
//!     └─────────────────────────────────────────┘ Cleared
//! ```
//!
//! and a case, in each round of stress,
//!
//! ```text
//!            Start          Ended well, or badly for the last time
//!   queued ─────────► runs ────────────────────────────────────────► done, or queued again
//!      ▲               │                                              for the next round
//!      └── waiting ◄───┘ Ended badly: it waits for its retry and holds no slot
//!          (time)
//! ```
//!
//! A slot stays on its suite unless a case of another one is longer by `SWITCH_WORTH` than all
//! that its own has left: changing costs a new supervisor, but a long case that begins last
//! decides how long the run is. Cases that nobody has timed start in the order they were given.

mod queue;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use runner_core::event::{Cut, CutRunning, Stress};
use runner_core::manifest::{FailFast, Retries, Terminate};

use queue::{Candidate, Lane, Queue, Urgency};

/// How long a supervisor may take after the second interrupt.
pub const KILL_LIMIT: Duration = Duration::from_secs(2);

/// So many supervisors of one suite in a row may fail to start before its cases are abandoned.
pub const START_LIMIT: u32 = 3;

/// Wait after the first failed start of a suite's supervisor; grows fivefold.
const START_BACKOFF: Duration = Duration::from_millis(100);

/// A slot turns to another suite for a case that is longer by this: many times what a new
/// supervisor costs, and little against a case for which order matters.
const SWITCH_WORTH: Duration = Duration::from_millis(100);

/// What the plan must know of a case. Its number is its place in the list given to [`Plan::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The suite it belongs to, numbered from 0.
    pub suite: usize,
    /// The group whose limit applies: a place in [`Bounds::groups`].
    pub group: Option<usize>,
    /// How many slots' worth of the machine it takes; more than there is, is all there is.
    pub width: usize,
    /// The higher is started first.
    pub priority: i8,
    /// How long it took before, if that is known.
    pub expected: Option<Duration>,
    /// How often it is tried again.
    pub retries: Retries,
    /// From start to report if its supervisor keeps to its own clocks: deadline, grace, leak
    /// check.
    pub limit: Duration,
    /// From a request to end to the report, likewise.
    pub grace: Duration,
}

/// Which execution of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Round of stress, from 1.
    pub round: u32,
    /// Try within the round, from 1.
    pub attempt: u32,
}

impl Turn {
    /// The first of all.
    pub const FIRST: Self = Self { round: 1, attempt: 1 };

    /// What the execution's random choices are derived from, in a run with that seed. The first
    /// has the run's own: so a run of one case with an execution's seed repeats that execution.
    pub fn seed(self, of_run: u64) -> u64 {
        if self == Self::FIRST {
            return of_run;
        }
        mixed(of_run ^ (u64::from(self.round) << 32 | u64::from(self.attempt)))
    }
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
    /// Somebody debugs the slot's attempt: its clocks stand still.
    Debugged {
        /// Which.
        slot: usize,
    },
    /// The slot's attempt is over, and nothing of it is left.
    Ended {
        /// Which.
        slot: usize,
        /// What its outcome means.
        ending: Ending,
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

/// What the end of an attempt means for its case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It need not be tried again.
    Good,
    /// It failed, and may be tried again.
    Bad,
    /// It failed whatever another try would say: it passed, but not at once, and that counts.
    Doomed,
    /// It was ended because the run is.
    Cut,
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
        /// Which time.
        turn: Turn,
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
        /// Which time.
        turn: Turn,
    },
    /// This case was to be tried again and will not be.
    Forgo {
        /// Which.
        case: usize,
        /// The time it is not tried.
        turn: Turn,
    },
    /// Say why nothing more is started.
    Announce(Cut),
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many cases may run at once; 0 is taken as 1.
    pub slots: usize,
    /// How many slots' worth of cases of each group may run at once; 0 is taken as 1.
    pub groups: Vec<usize>,
    /// When failures end the run.
    pub fail_fast: Option<FailFast>,
    /// How long the run may last, from the first step on.
    pub global_timeout: Option<Duration>,
    /// How often each case is run, if more than once.
    pub stress: Option<Stress>,
    /// How long a supervisor may be silent when something is due from it: its greeting, or, all
    /// its clocks having run out, the end of its attempt.
    pub silence: Duration,
    /// What jitter is derived from.
    pub seed: u64,
}

/// The state of a run's schedule.
#[derive(Debug)]
pub struct Plan {
    jobs: Vec<Job>,
    /// Of each case, the execution that comes next or runs.
    turns: Vec<Turn>,
    /// Invariant: a case is in the queue, waiting, in an `Opening` or `Running` slot, or done
    /// with; never in two of these.
    queue: Queue,
    /// Cases that wait for their retry, and until when.
    waiting: BTreeSet<(Instant, usize)>,
    suites: Vec<Suite>,
    slots: Vec<Slot>,
    stage: Stage,
    failures: usize,
    /// The first step, moved on by what must not count.
    started: Option<Instant>,
    bounds: Bounds,
}

#[derive(Clone, Debug, Default)]
struct Suite {
    /// In a row; any greeting clears it.
    failed_starts: u32,
    not_before: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// No supervisor.
    Vacant,
    /// Its supervisor has not greeted yet; the case is the one it will probably get.
    Opening { case: usize, until: Instant },
    /// Its supervisor waits; beyond a step only for a case of its suite that is held back.
    Ready { suite: usize },
    /// Silence beyond `until` is the supervisor's fault.
    Running { case: usize, until: Instant },
    /// What a lost supervisor left is being ended, this case's attempt included.
    Clearing { case: Option<usize> },
}

/// What a supervisor that waits should do.
enum Next {
    Start(usize),
    MoveTo(usize),
    Stay,
    Leave,
}

impl Plan {
    /// A plan for these cases. What there is no other order for starts in this one.
    pub fn new(mut jobs: Vec<Job>, mut bounds: Bounds) -> Self {
        bounds.slots = bounds.slots.max(1);
        bounds.groups.iter_mut().for_each(|limit| *limit = (*limit).max(1));
        for job in &mut jobs {
            job.width = job.width.clamp(1, bounds.slots);
        }
        let suite_count = jobs.iter().map(|job| job.suite + 1).max().unwrap_or(0);
        let mut plan = Self {
            turns: vec![Turn::FIRST; jobs.len()],
            queue: Queue::default(),
            waiting: BTreeSet::new(),
            suites: vec![Suite::default(); suite_count],
            slots: vec![Slot::Vacant; bounds.slots.min(jobs.len())],
            stage: Stage::Full,
            failures: 0,
            started: None,
            jobs,
            bounds,
        };
        (0..plan.jobs.len()).for_each(|case| plan.enqueue(case));
        plan
    }

    /// Takes in a fact and says what to do about it, in this order.
    pub fn step(&mut self, fact: Fact, now: Instant) -> Vec<Action> {
        self.started.get_or_insert(now);
        let mut actions = Vec::new();
        match fact {
            Fact::Opened { slot } => self.on_opened(slot, &mut actions),
            Fact::Unopened { slot, fault } => self.on_unopened(slot, fault, now, &mut actions),
            Fact::Debugged { slot } => self.on_debugged(slot, now),
            Fact::Ended { slot, ending, supervisor } => {
                self.on_ended(slot, ending, supervisor, now, &mut actions);
            }
            Fact::Lost { slot } => self.on_lost(slot),
            Fact::Cleared { slot } => self.on_cleared(slot, now, &mut actions),
            Fact::Interrupted => self.on_interrupted(now, &mut actions),
            Fact::Clock => self.on_clock(now, &mut actions),
        }
        self.end_in_time(now, &mut actions);
        self.wake(now);
        self.fill(now, &mut actions);
        actions
    }

    /// After what time the case in this slot will be tried again if it ends so now.
    pub fn retry_after(&self, slot: usize, ending: Ending) -> Option<Duration> {
        let case = match self.slots[slot] {
            Slot::Running { case, .. } | Slot::Clearing { case: Some(case) } => case,
            Slot::Clearing { case: None }
            | Slot::Vacant
            | Slot::Opening { .. }
            | Slot::Ready { .. } => return None,
        };
        if ending != Ending::Bad || self.stage != Stage::Full {
            return None;
        }
        let Turn { round, attempt } = self.turns[case];
        let dice = [case as u64, round.into(), attempt.into()];
        let dice = dice.into_iter().fold(self.bounds.seed, |seed, it| mixed(seed ^ it));
        self.jobs[case].retries.wait_after(attempt, dice)
    }

    /// When [`Fact::Clock`] has something to do at the latest.
    pub fn next_clock(&self) -> Option<Instant> {
        let of_slot = |slot: &Slot| match slot {
            Slot::Opening { until, .. } | Slot::Running { until, .. } => Some(*until),
            Slot::Vacant | Slot::Ready { .. } | Slot::Clearing { .. } => None,
        };
        // Without a free slot a suite that may be tried again has to wait for a fact anyway.
        let is_free = |slot: &Slot| matches!(slot, Slot::Vacant | Slot::Ready { .. });
        let free = self.stage == Stage::Full && self.slots.iter().any(is_free);
        let held_back = (0..self.suites.len())
            .filter(|suite| free && self.queue.has_any_of(*suite))
            .filter_map(|suite| self.suites[suite].not_before);
        let retry = self.waiting.first().map(|(time, _)| *time);
        let end = self.end().filter(|_| self.stage < Stage::Asked && !self.is_over());
        let slots = self.slots.iter().filter_map(of_slot);
        slots.chain(held_back).chain(retry).chain(end).min()
    }

    /// The whole program was kept from running (stopped, suspended): no time counts meanwhile.
    pub fn postpone(&mut self, by: Duration) {
        for slot in &mut self.slots {
            match slot {
                Slot::Opening { until, .. } | Slot::Running { until, .. } => *until += by,
                Slot::Vacant | Slot::Ready { .. } | Slot::Clearing { .. } => {}
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = waiting.into_iter().map(|(time, case)| (time + by, case)).collect();
        self.started = self.started.map(|started| started + by);
    }

    /// Nothing runs, and nothing will be started.
    pub fn is_over(&self) -> bool {
        let idle = self.slots.iter().all(|slot| *slot == Slot::Vacant);
        let nothing_left = self.queue.is_empty() && self.waiting.is_empty();
        idle && (self.stage != Stage::Full || nothing_left)
    }

    /// Cases that are still to be started for the first time, or never will be; of those that
    /// were to be run a certain number of times, also the ones that were not so often.
    pub fn not_started(&self) -> usize {
        let counted = matches!(self.bounds.stress, Some(Stress::Count(_)));
        let is_new = |case: &usize| {
            let Turn { round, attempt } = self.turns[*case];
            attempt == 1 && (round == 1 || counted)
        };
        self.queue.cases().filter(is_new).count()
    }

    /// How many slots there are: no more than there are cases.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// How far the run has been asked to end.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    fn on_opened(&mut self, slot: usize, actions: &mut Vec<Action>) {
        if let Slot::Opening { case, .. } = self.slots[slot] {
            let suite = self.put_back(case, actions);
            self.suites[suite] = Suite::default();
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
        let number = self.put_back(case, actions);
        let suite = &mut self.suites[number];
        suite.failed_starts += 1;
        if fault == StartFault::Lasting || suite.failed_starts >= START_LIMIT {
            self.abandon(number, now, actions);
        } else {
            suite.not_before = Some(now + START_BACKOFF * 5_u32.pow(suite.failed_starts - 1));
        }
    }

    /// What has been tried before keeps the verdict it has; the rest gets one.
    fn abandon(&mut self, suite: usize, now: Instant, actions: &mut Vec<Action>) {
        let (jobs, turns) = (&self.jobs, &self.turns);
        self.waiting.retain(|(_, case)| {
            let is_its = jobs[*case].suite == suite;
            if is_its {
                actions.push(Action::Forgo { case: *case, turn: turns[*case] });
                self.failures += 1;
            }
            !is_its
        });
        for case in self.queue.drain_suite(suite) {
            let turn = self.turns[case];
            actions.push(match turn.attempt {
                1 => Action::Abandon { case, turn },
                _ => Action::Forgo { case, turn },
            });
            self.failures += 1;
        }
        self.heed_failures(now, actions);
    }

    fn on_ended(
        &mut self,
        slot: usize,
        ending: Ending,
        supervisor: Afterwards,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Slot::Running { case, .. } = self.slots[slot] else {
            return;
        };
        let retry = self.retry_after(slot, ending);
        self.slots[slot] = match supervisor {
            Afterwards::Ready => Slot::Ready { suite: self.jobs[case].suite },
            Afterwards::Gone => Slot::Vacant,
        };
        self.conclude(case, ending, retry, now, actions);
    }

    /// A supervisor that says so is not silent: it has all its time again from here on, unless its
    /// attempt was asked to end, which no debugger holds up.
    fn on_debugged(&mut self, slot: usize, now: Instant) {
        match (self.stage, self.slots[slot]) {
            (Stage::Full | Stage::Draining, Slot::Running { case, .. }) => {
                self.slots[slot] = self.running(case, now);
            }
            (Stage::Asked | Stage::Killed | Stage::GivenUp, _)
            | (
                Stage::Full | Stage::Draining,
                Slot::Vacant | Slot::Opening { .. } | Slot::Ready { .. } | Slot::Clearing { .. },
            ) => {}
        }
    }

    /// The case is not done with before nothing of its attempt is left: it must not meet itself.
    fn on_lost(&mut self, slot: usize) {
        let case = match self.slots[slot] {
            Slot::Running { case, .. } => Some(case),
            Slot::Clearing { case } => case,
            Slot::Vacant | Slot::Opening { .. } | Slot::Ready { .. } => None,
        };
        self.slots[slot] = Slot::Clearing { case };
    }

    fn on_cleared(&mut self, slot: usize, now: Instant, actions: &mut Vec<Action>) {
        let retry = self.retry_after(slot, Ending::Bad);
        let before = std::mem::replace(&mut self.slots[slot], Slot::Vacant);
        if let Slot::Clearing { case: Some(case) } = before {
            self.conclude(case, Ending::Bad, retry, now, actions);
        }
    }

    /// An attempt of the case is over: it is tried again, run again, or done with.
    fn conclude(
        &mut self,
        case: usize,
        ending: Ending,
        retry: Option<Duration>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if let Some(wait) = retry {
            self.turns[case].attempt += 1;
            self.waiting.insert((after(now, wait), case));
            return;
        }
        match ending {
            Ending::Bad | Ending::Doomed => {
                self.failures += 1;
                self.heed_failures(now, actions);
            }
            Ending::Good | Ending::Cut => {}
        }
        if self.has_another_round(case, now) {
            let round = self.turns[case].round + 1;
            self.turns[case] = Turn { round, attempt: 1 };
            self.enqueue(case);
        }
    }

    fn has_another_round(&self, case: usize, now: Instant) -> bool {
        match self.bounds.stress {
            None => false,
            // What is left of them is said to be not started, whatever the stage.
            Some(Stress::Count(count)) => self.turns[case].round < count,
            Some(Stress::Endless) => self.stage == Stage::Full,
            Some(Stress::For(time)) => {
                let since = self.started.map(|started| now.saturating_duration_since(started));
                self.stage == Stage::Full && since.is_some_and(|since| since < time)
            }
        }
    }

    fn on_interrupted(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let stage = match self.stage {
            Stage::Full | Stage::Draining => Stage::Asked,
            Stage::Asked => Stage::Killed,
            Stage::Killed | Stage::GivenUp => Stage::GivenUp,
        };
        self.enter(stage, now, actions);
    }

    /// The one way out of [`Stage::Full`] and on.
    fn enter(&mut self, stage: Stage, now: Instant, actions: &mut Vec<Action>) {
        self.stage = stage;
        for slot in 0..self.slots.len() {
            match self.slots[slot] {
                Slot::Opening { case, .. } if stage >= Stage::Asked => {
                    self.put_back(case, actions);
                    self.slots[slot] = Slot::Vacant;
                    actions.push(Action::Close { slot });
                }
                Slot::Running { case, until } => self.press(slot, case, until, now, actions),
                Slot::Opening { .. }
                | Slot::Vacant
                | Slot::Ready { .. }
                | Slot::Clearing { .. } => {}
            }
        }
        self.forgo_retries(actions);
    }

    fn forgo_retries(&mut self, actions: &mut Vec<Action>) {
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|(_, case)| case);
        let queued: Vec<usize> =
            self.queue.cases().filter(|case| self.turns[*case].attempt > 1).collect();
        for case in &queued {
            self.queue.remove(self.lane(*case), self.candidate(*case));
        }
        let forgo = |case: usize| Action::Forgo { case, turn: self.turns[case] };
        actions.extend(waiting.chain(queued).map(forgo));
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
            Stage::GivenUp => Slot::Clearing { case: Some(case) },
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
                | Slot::Clearing { .. } => {}
            }
        }
    }

    /// When the run has lasted as long as it may.
    fn end(&self) -> Option<Instant> {
        Some(after(self.started?, self.bounds.global_timeout?))
    }

    fn end_in_time(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let (Some(end), Some(limit)) = (self.end(), self.bounds.global_timeout) else {
            return;
        };
        if self.stage < Stage::Asked && end <= now && !self.is_over() {
            actions.push(Action::Announce(Cut::GlobalTimeout { after: limit }));
            self.enter(Stage::Asked, now, actions);
        }
    }

    fn heed_failures(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(FailFast { max_fail, terminate }) = self.bounds.fail_fast else {
            return;
        };
        if self.failures < max_fail || self.stage != Stage::Full {
            return;
        }
        let (running, stage) = match terminate {
            Terminate::Wait => (CutRunning::Awaited, Stage::Draining),
            Terminate::Immediate => (CutRunning::Asked, Stage::Asked),
        };
        actions.push(Action::Announce(Cut::MaxFail { failures: self.failures, running }));
        self.enter(stage, now, actions);
    }

    /// Cases whose wait for a retry is over can be started, suites whose wait is over opened.
    fn wake(&mut self, now: Instant) {
        while let Some((time, case)) = self.waiting.first().copied()
            && time <= now
        {
            self.waiting.remove(&(time, case));
            self.enqueue(case);
        }
        for suite in &mut self.suites {
            suite.not_before = suite.not_before.filter(|time| *time > now);
        }
    }

    /// Gives every slot that has nothing to do its next case, or lets its supervisor go. First
    /// those that go on with their suite, then those that must turn to another one, then those
    /// without any: so that no supervisor is started for a case that another one waits for.
    fn fill(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for slot in 0..self.slots.len() {
            if let Slot::Ready { suite } = self.slots[slot]
                && let Next::Start(case) = self.next(suite)
            {
                self.start(slot, case, now, actions);
            }
        }
        for slot in 0..self.slots.len() {
            match self.slots[slot] {
                Slot::Vacant => {
                    if let Some(case) = self.neediest() {
                        self.open(slot, case, now, actions);
                    }
                }
                Slot::Ready { suite } => self.turn(slot, suite, now, actions),
                Slot::Opening { .. } | Slot::Running { .. } | Slot::Clearing { .. } => {}
            }
        }
    }

    fn turn(&mut self, slot: usize, suite: usize, now: Instant, actions: &mut Vec<Action>) {
        match self.next(suite) {
            Next::Start(case) => self.start(slot, case, now, actions),
            Next::MoveTo(case) => {
                actions.push(Action::Close { slot });
                self.open(slot, case, now, actions);
            }
            Next::Stay => {}
            Next::Leave => {
                actions.push(Action::Close { slot });
                self.slots[slot] = Slot::Vacant;
            }
        }
    }

    fn next(&self, suite: usize) -> Next {
        let own = self.startable().filter(|(lane, _)| lane.suite == suite).map(|(_, it)| it).min();
        let other = self.neediest_but(Some(suite));
        match (own, other) {
            (Some(own), Some(other)) if !other.urgency.outranks(&own.urgency, SWITCH_WORTH) => {
                Next::Start(own.case)
            }
            (Some(own), None) => Next::Start(own.case),
            (Some(_) | None, Some(other)) => Next::MoveTo(other.case),
            (None, None) if self.is_awaited(suite) => Next::Stay,
            (None, None) => Next::Leave,
        }
    }

    /// Whether a case of the suite is only held back for now.
    fn is_awaited(&self, suite: usize) -> bool {
        let of_suite = |(_, case): &(Instant, usize)| self.jobs[*case].suite == suite;
        self.stage == Stage::Full
            && (self.queue.has_any_of(suite) || self.waiting.iter().any(of_suite))
    }

    fn start(&mut self, slot: usize, case: usize, now: Instant, actions: &mut Vec<Action>) {
        self.queue.remove(self.lane(case), self.candidate(case));
        self.slots[slot] = self.running(case, now);
        actions.push(Action::Start { slot, case, turn: self.turns[case] });
    }

    /// An attempt that has all its time before it.
    fn running(&self, case: usize, now: Instant) -> Slot {
        let limit = self.jobs[case].limit.saturating_add(self.bounds.silence);
        Slot::Running { case, until: after(now, limit) }
    }

    fn open(&mut self, slot: usize, case: usize, now: Instant, actions: &mut Vec<Action>) {
        self.queue.remove(self.lane(case), self.candidate(case));
        let until = after(now, self.bounds.silence);
        self.slots[slot] = Slot::Opening { case, until };
        actions.push(Action::Open { slot, suite: self.jobs[case].suite });
    }

    fn neediest(&self) -> Option<usize> {
        self.neediest_but(None).map(|candidate| candidate.case)
    }

    /// The case a slot without a suite should go to. Of equally urgent ones that of the suite the
    /// fewest slots work on, so that as few supervisors as possible are started.
    fn neediest_but(&self, not: Option<usize>) -> Option<Candidate> {
        let can_open = |suite: usize| self.suites[suite].not_before.is_none();
        self.startable()
            .filter(|(lane, _)| Some(lane.suite) != not && can_open(lane.suite))
            .min_by_key(|(lane, it)| (it.urgency, self.slots_on(lane.suite), lane.suite, it.case))
            .map(|(_, candidate)| candidate)
    }

    /// The first case of each suite and group that its group has room for. None where the most
    /// urgent of them is wider than what is free: what is narrower has to wait with it, or its
    /// turn would never come.
    fn startable(&self) -> impl Iterator<Item = (Lane, Candidate)> {
        let fits = |(lane, candidate): &(Lane, Candidate)| self.group_has_room(*lane, *candidate);
        let firsts = || self.queue.firsts().filter(fits);
        let free = self.bounds.slots - self.used(|_| true);
        let first = firsts().map(|(_, candidate)| candidate).min();
        let is_wide = first.is_none_or(|first| self.jobs[first.case].width > free);
        let can = self.stage == Stage::Full && !is_wide;
        let found: Vec<_> = if can { firsts().collect() } else { Vec::new() };
        found.into_iter().filter(move |(_, it)| self.jobs[it.case].width <= free)
    }

    fn group_has_room(&self, lane: Lane, candidate: Candidate) -> bool {
        let Some(group) = lane.group else {
            return true;
        };
        let limit = self.bounds.groups[group];
        let width = self.jobs[candidate.case].width.min(limit);
        self.used(|job| job.group == Some(group)) + width <= limit
    }

    /// How many slots' worth of such cases runs, or is about to.
    fn used(&self, such: impl Fn(&Job) -> bool) -> usize {
        let jobs = self.slots.iter().filter_map(|slot| match slot {
            Slot::Opening { case, .. }
            | Slot::Running { case, .. }
            | Slot::Clearing { case: Some(case) } => Some(&self.jobs[*case]),
            Slot::Vacant | Slot::Ready { .. } | Slot::Clearing { case: None } => None,
        });
        jobs.filter(|job| such(job)).map(|job| job.width).sum()
    }

    fn slots_on(&self, wanted: usize) -> usize {
        let on = |slot: &&Slot| match slot {
            Slot::Opening { case, .. } | Slot::Running { case, .. } => {
                self.jobs[*case].suite == wanted
            }
            Slot::Ready { suite } => *suite == wanted,
            Slot::Vacant | Slot::Clearing { .. } => false,
        };
        self.slots.iter().filter(on).count()
    }

    /// The case of an `Opening` slot is free again. Returns its suite.
    fn put_back(&mut self, case: usize, actions: &mut Vec<Action>) -> usize {
        if self.stage != Stage::Full && self.turns[case].attempt > 1 {
            actions.push(Action::Forgo { case, turn: self.turns[case] });
        } else {
            self.enqueue(case);
        }
        self.jobs[case].suite
    }

    fn enqueue(&mut self, case: usize) {
        self.queue.insert(self.lane(case), self.candidate(case));
    }

    fn lane(&self, case: usize) -> Lane {
        let Job { suite, group, .. } = self.jobs[case];
        Lane { suite, group }
    }

    fn candidate(&self, case: usize) -> Candidate {
        let Job { priority, expected, .. } = self.jobs[case];
        let Turn { round, attempt } = self.turns[case];
        Candidate { urgency: Urgency::new(round, priority, attempt, expected), case }
    }
}

/// Far enough away where a manifest's duration is beyond what a clock can say.
fn after(now: Instant, patience: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    now + patience.min(YEAR)
}

/// One step of the SplitMix64 generator: near inputs, far results.
fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
