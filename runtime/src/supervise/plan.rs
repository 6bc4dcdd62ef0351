//! What a supervisor does next. Pure: what happened comes in, with the time; actions come out.
//!
//! ```text
//!              start             started             its end, to be restarted
//!  Waiting ─────────► Starting ─────────► Up ────────────────────────────────► Waiting
//!     ▲                  │ sibling's end, │
//!     │                  ▼ order to end   ▼      stop               its end
//!     │                 Doomed ◄──────────┘  ─────────► Stopping ─────────────► Waiting, Over, or forgotten
//!     └── for the sake of a sibling ── Over ◄── its end, for good
//! ```
//!
//! Children are stopped one at a time, the last started first, and all that are to be stopped before any is started; they are
//! started one at a time, in order. A child is `Waiting` again only after its end: no two lives of it overlap.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::strategy::{AutoShutdown, Restart, Restarts, Strategy};

/// A child of a supervisor. They are ordered as they are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub(super) u64);

/// The next thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Action {
    /// Answered by [`Plan::on_started`] or [`Plan::on_start_failed`].
    Start { key: Key, incarnation: u64 },
    /// Answered by [`Plan::on_ended`] or, if it was starting, [`Plan::on_start_failed`].
    Stop(Key),
    /// No child is left.
    End(Verdict),
}

/// Why a supervisor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was told to.
    Ordered,
    /// Its significant children have ended.
    Auto,
    /// This child could not be started in the first place.
    NotStarted(Key),
    /// The end of this child was one too many.
    GaveUp(Key),
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As it should.
    Well,
    Failed,
}

/// A child as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) restart: Restart,
    pub(super) weight: Weight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Ordinary,
    Significant,
}

pub(super) struct Plan {
    strategy: Strategy,
    limit: Restarts,
    auto_shutdown: AutoShutdown,
    children: BTreeMap<Key, Child>,
    last_key: u64,
    /// When the latest restarts were due, no more of them than the limit counts.
    restarts: VecDeque<Instant>,
    phase: Phase,
}

#[derive(Debug)]
struct Child {
    terms: Terms,
    /// Also which incarnation is started next.
    starts: u64,
    life: Life,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Does not run, and is to be started.
    Waiting,
    Starting,
    Up,
    /// Starts or runs, and is to be stopped.
    Doomed(After),
    Stopping(After),
    /// Does not run, and will not unless it is asked for.
    Over,
}

/// What becomes of a child that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Restart,
    Rest,
    Forget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The children it began with are being started.
    Beginning,
    Running,
    Ending(Verdict),
    Ended,
}

impl Plan {
    pub(super) fn new(strategy: Strategy, limit: Restarts, auto_shutdown: AutoShutdown) -> Plan {
        Plan {
            strategy,
            limit,
            auto_shutdown,
            children: BTreeMap::new(),
            last_key: 0,
            restarts: VecDeque::new(),
            phase: Phase::Beginning,
        }
    }

    /// One more child, the last in order, to be started. `None`: the supervisor ends.
    pub(super) fn add(&mut self, terms: Terms) -> Option<Key> {
        match self.phase {
            Phase::Beginning | Phase::Running => {}
            Phase::Ending(_) | Phase::Ended => return None,
        }
        self.last_key += 1;
        let key = Key(self.last_key);
        self.children.insert(key, Child { terms, starts: 0, life: Life::Waiting });
        Some(key)
    }

    /// The next thing to do now. `None`: something has to happen first. To be called until it is.
    pub(super) fn next(&mut self) -> Option<Action> {
        self.note_begun();
        if self.any(|life| matches!(life, Life::Stopping(_))) {
            return None;
        }
        self.next_stop().or_else(|| match self.phase {
            Phase::Beginning | Phase::Running => self.next_start(),
            Phase::Ending(verdict) => {
                self.phase = Phase::Ended;
                Some(Action::End(verdict))
            }
            Phase::Ended => None,
        })
    }

    /// Whether all that it began with run.
    pub(super) fn has_begun(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether the child is being stopped, or is to be.
    pub(super) fn is_stopping(&self, key: Key) -> bool {
        self.children.get(&key).is_some_and(|child| match child.life {
            Life::Doomed(_) | Life::Stopping(_) => true,
            Life::Waiting | Life::Starting | Life::Up | Life::Over => false,
        })
    }

    /// Whether all are being stopped for good.
    pub(super) fn is_ending(&self) -> bool {
        match self.phase {
            Phase::Beginning | Phase::Running => false,
            Phase::Ending(_) | Phase::Ended => true,
        }
    }

    /// Whether it knows the child; it forgets temporary ones that have ended, and new ones that could not be started.
    pub(super) fn knows(&self, key: Key) -> bool {
        self.children.contains_key(&key)
    }

    /// Whether the child does not run, and will not unless it is asked for.
    pub(super) fn is_over(&self, key: Key) -> bool {
        self.children.get(&key).is_none_or(|child| child.life == Life::Over)
    }

    /// It is ready. Whether it is to go on: it may have been told to end meanwhile.
    pub(super) fn on_started(&mut self, key: Key) -> bool {
        let Some(child) = self.children.get_mut(&key) else { return false };
        match child.life {
            Life::Starting => {
                child.life = Life::Up;
                true
            }
            Life::Up => true,
            Life::Waiting | Life::Doomed(_) | Life::Stopping(_) | Life::Over => false,
        }
    }

    /// It could not be started, and nothing is left of it.
    pub(super) fn on_start_failed(&mut self, key: Key, now: Instant) {
        let Some(child) = self.children.get_mut(&key) else { return };
        match (child.life, self.phase, child.starts) {
            (Life::Starting, Phase::Beginning, _) => {
                child.life = Life::Over;
                self.end(Verdict::NotStarted(key));
            }
            // Asked for later: whoever asked is told.
            (Life::Starting, _, 1) => drop(self.children.remove(&key)),
            (Life::Starting, ..) => self.on_fall(key, How::Failed, now),
            (Life::Waiting | Life::Up | Life::Doomed(_) | Life::Stopping(_) | Life::Over, ..) => {
                self.on_ended(key, How::Failed, now);
            }
        }
    }

    /// It has ended, and been reaped.
    pub(super) fn on_ended(&mut self, key: Key, how: How, now: Instant) {
        let Some(child) = self.children.get_mut(&key) else { return };
        match child.life {
            // Whether it was stopped or ended by itself before: it was not to go on.
            Life::Doomed(after) | Life::Stopping(after) => self.settle(key, after),
            Life::Starting | Life::Up => self.on_fall(key, how, now),
            Life::Waiting | Life::Over => {}
        }
    }

    /// Ends all children, then itself.
    pub(super) fn shut_down(&mut self) {
        self.end(Verdict::Ordered);
    }

    /// Stops a child. It stays known, to be [restarted](Plan::restart), if it is not temporary.
    pub(super) fn terminate(&mut self, key: Key) {
        let Some(child) = self.children.get_mut(&key) else { return };
        let after = child.after(After::Rest);
        child.doom(after);
        if child.life == Life::Over && after == After::Forget {
            self.children.remove(&key);
        }
    }

    /// Starts a child that is over. `false`: it is not.
    pub(super) fn restart(&mut self, key: Key) -> bool {
        match (self.is_ending(), self.children.get_mut(&key)) {
            (false, Some(child)) if child.life == Life::Over => {
                child.life = Life::Waiting;
                true
            }
            (false | true, Some(_) | None) => false,
        }
    }

    /// Forgets a child that is over. `false`: it is not.
    pub(super) fn forget(&mut self, key: Key) -> bool {
        let is_over = self.children.get(&key).is_some_and(|child| child.life == Life::Over);
        if is_over {
            self.children.remove(&key);
        }
        is_over
    }

    fn next_stop(&mut self) -> Option<Action> {
        self.children.iter_mut().rev().find_map(|(key, child)| match child.life {
            Life::Doomed(after) => {
                child.life = Life::Stopping(after);
                Some(Action::Stop(*key))
            }
            Life::Waiting | Life::Starting | Life::Up | Life::Stopping(_) | Life::Over => None,
        })
    }

    fn next_start(&mut self) -> Option<Action> {
        if self.any(|life| life == Life::Starting) {
            return None;
        }
        let (key, child) =
            self.children.iter_mut().find(|(_, child)| child.life == Life::Waiting)?;
        child.life = Life::Starting;
        let incarnation = child.starts;
        child.starts += 1;
        Some(Action::Start { key: *key, incarnation })
    }

    /// A child that was to go on has not.
    fn on_fall(&mut self, key: Key, how: How, now: Instant) {
        let Some(child) = self.children.get_mut(&key) else { return };
        let Terms { restart, weight } = child.terms;
        match (restart, how) {
            (Restart::Permanent, _) | (Restart::Transient, How::Failed) => {
                child.life = Life::Waiting;
                self.restart_after(key, now);
            }
            (Restart::Transient, How::Well) => {
                child.life = Life::Over;
                self.on_rest(weight);
            }
            (Restart::Temporary, _) => {
                self.children.remove(&key);
                self.on_rest(weight);
            }
        }
    }

    /// Counts a restart, and has those stopped that go down with the child.
    fn restart_after(&mut self, fallen: Key, now: Instant) {
        self.restarts.push_back(now);
        while let Some(first) = self.restarts.front()
            && now.saturating_duration_since(*first) > self.limit.within
        {
            self.restarts.pop_front();
        }
        if self.restarts.len() > self.limit.at_most as usize {
            return self.end(Verdict::GaveUp(fallen));
        }
        for (key, child) in &mut self.children {
            let goes_down = match self.strategy {
                Strategy::OneForOne => false,
                Strategy::RestForOne => *key > fallen,
                Strategy::OneForAll => *key != fallen,
            };
            if goes_down {
                child.fall_with_sibling();
            }
        }
    }

    /// A child has ended for good, by itself.
    fn on_rest(&mut self, weight: Weight) {
        let ends = match (weight, self.auto_shutdown) {
            (Weight::Ordinary, _) | (Weight::Significant, AutoShutdown::Never) => false,
            (Weight::Significant, AutoShutdown::AnySignificant) => true,
            (Weight::Significant, AutoShutdown::AllSignificant) => {
                !self.children.values().any(Child::is_significant_and_goes_on)
            }
        };
        if ends {
            self.end(Verdict::Auto);
        }
    }

    fn settle(&mut self, key: Key, after: After) {
        let Some(child) = self.children.get_mut(&key) else { return };
        match after {
            After::Restart => child.life = Life::Waiting,
            After::Rest => child.life = Life::Over,
            After::Forget => drop(self.children.remove(&key)),
        }
    }

    /// The first reason stands.
    fn end(&mut self, verdict: Verdict) {
        match self.phase {
            Phase::Beginning | Phase::Running => self.phase = Phase::Ending(verdict),
            Phase::Ending(_) | Phase::Ended => return,
        }
        self.children.values_mut().for_each(|child| child.doom(After::Rest));
    }

    fn note_begun(&mut self) {
        let is_under_way = |life| matches!(life, Life::Waiting | Life::Starting);
        if self.phase == Phase::Beginning && !self.any(is_under_way) {
            self.phase = Phase::Running;
        }
    }

    fn any(&self, is_so: impl Fn(Life) -> bool) -> bool {
        self.children.values().any(|child| is_so(child.life))
    }
}

impl Child {
    fn doom(&mut self, after: After) {
        self.life = match self.life {
            Life::Waiting | Life::Over => Life::Over,
            Life::Starting | Life::Up | Life::Doomed(_) => Life::Doomed(after),
            Life::Stopping(_) => Life::Stopping(after),
        };
    }

    /// One that is over comes back with its siblings, as in Erlang; one that somebody is stopping does not.
    fn fall_with_sibling(&mut self) {
        self.life = match self.life {
            Life::Starting | Life::Up => Life::Doomed(self.after(After::Restart)),
            Life::Over => Life::Waiting,
            Life::Waiting | Life::Doomed(_) | Life::Stopping(_) => self.life,
        };
    }

    fn after(&self, else_after: After) -> After {
        match self.terms.restart {
            Restart::Temporary => After::Forget,
            Restart::Permanent | Restart::Transient => else_after,
        }
    }

    fn is_significant_and_goes_on(&self) -> bool {
        let goes_on = match self.life {
            Life::Waiting | Life::Starting | Life::Up => true,
            Life::Doomed(after) | Life::Stopping(after) => after == After::Restart,
            Life::Over => false,
        };
        goes_on && self.terms.weight == Weight::Significant
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MANY: Restarts = Restarts { at_most: 1000, within: Duration::from_secs(5) };

    fn ordinary(restart: Restart) -> Terms {
        Terms { restart, weight: Weight::Ordinary }
    }

    fn significant(restart: Restart) -> Terms {
        Terms { restart, weight: Weight::Significant }
    }

    /// A plan, and a supervisor in whose hands every start and stop succeeds at once.
    struct Driven {
        plan: Plan,
        now: Instant,
        /// What it did: `+1.0` for the start of child 1's life 0, `-1` for its stop.
        done: Vec<String>,
        verdict: Option<Verdict>,
    }

    impl Driven {
        fn new(plan: Plan, children: &[Terms]) -> Driven {
            let mut driven = Driven { plan, now: Instant::now(), done: Vec::new(), verdict: None };
            for terms in children {
                driven.plan.add(*terms).unwrap();
            }
            driven.settle();
            driven
        }

        fn settle(&mut self) {
            while let Some(action) = self.plan.next() {
                match action {
                    Action::Start { key, incarnation } => {
                        self.done.push(format!("+{}.{incarnation}", key.0));
                        assert!(self.plan.on_started(key));
                    }
                    Action::Stop(key) => {
                        self.done.push(format!("-{}", key.0));
                        self.plan.on_ended(key, How::Well, self.now);
                    }
                    Action::End(verdict) => self.verdict = Some(verdict),
                }
            }
        }

        /// What is done about the end of a child.
        fn after_end(&mut self, key: u64, how: How) -> String {
            self.done.clear();
            self.plan.on_ended(Key(key), how, self.now);
            self.settle();
            self.done.join(" ")
        }
    }

    fn three(strategy: Strategy, restarts: [Restart; 3]) -> Driven {
        let plan = Plan::new(strategy, MANY, AutoShutdown::Never);
        Driven::new(plan, &restarts.map(ordinary))
    }

    #[test]
    fn children_are_started_in_order_and_stopped_in_reverse() {
        let mut driven = three(Strategy::OneForOne, [Restart::Permanent; 3]);
        assert_eq!(driven.done.join(" "), "+1.0 +2.0 +3.0");
        assert!(driven.plan.has_begun());
        driven.done.clear();
        driven.plan.shut_down();
        driven.settle();
        assert_eq!(driven.done.join(" "), "-3 -2 -1");
        assert_eq!(driven.verdict, Some(Verdict::Ordered));
        assert_eq!(driven.plan.add(ordinary(Restart::Permanent)), None);
    }

    #[test]
    fn each_strategy_restarts_its_own() {
        use Restart::{Permanent, Temporary, Transient};
        use Strategy::{OneForAll, OneForOne, RestForOne};
        let table: &[(Strategy, [Restart; 3], u64, How, &str)] = &[
            (OneForOne, [Permanent; 3], 2, How::Failed, "+2.1"),
            (OneForOne, [Permanent; 3], 2, How::Well, "+2.1"),
            (OneForOne, [Transient; 3], 2, How::Failed, "+2.1"),
            (OneForOne, [Transient; 3], 2, How::Well, ""),
            (OneForOne, [Temporary; 3], 2, How::Failed, ""),
            (RestForOne, [Permanent; 3], 2, How::Failed, "-3 +2.1 +3.1"),
            (RestForOne, [Permanent; 3], 3, How::Failed, "+3.1"),
            (RestForOne, [Permanent, Transient, Permanent], 2, How::Well, ""),
            (RestForOne, [Permanent, Permanent, Temporary], 2, How::Failed, "-3 +2.1"),
            (OneForAll, [Permanent; 3], 2, How::Failed, "-3 -1 +1.1 +2.1 +3.1"),
            (OneForAll, [Temporary, Permanent, Transient], 2, How::Well, "-3 -1 +2.1 +3.1"),
            (OneForAll, [Permanent, Temporary, Permanent], 2, How::Failed, ""),
        ];
        for (strategy, restarts, key, how, expected) in table {
            let done = three(*strategy, *restarts).after_end(*key, *how);
            assert_eq!(done, *expected, "{strategy:?} {restarts:?}: the end of {key}, {how:?}");
        }
    }

    #[test]
    fn one_that_had_ended_well_comes_back_with_its_siblings() {
        let mut driven = three(
            Strategy::OneForAll,
            [Restart::Permanent, Restart::Transient, Restart::Permanent],
        );
        assert_eq!(driven.after_end(2, How::Well), "");
        assert_eq!(driven.after_end(1, How::Failed), "-3 +1.1 +2.1 +3.1");
    }

    #[test]
    fn one_too_many_within_the_time_ends_all_and_the_time_passes() {
        let limit = Restarts { at_most: 2, within: Duration::from_secs(5) };
        let plan = Plan::new(Strategy::OneForOne, limit, AutoShutdown::Never);
        let mut driven = Driven::new(plan, &[ordinary(Restart::Permanent); 2]);
        assert_eq!(driven.after_end(1, How::Failed), "+1.1");
        assert_eq!(driven.after_end(2, How::Failed), "+2.1");
        driven.now += Duration::from_secs(6);
        assert_eq!(driven.after_end(1, How::Failed), "+1.2");
        assert_eq!(driven.after_end(1, How::Failed), "+1.3");
        assert_eq!(driven.verdict, None);
        assert_eq!(driven.after_end(1, How::Failed), "-2");
        assert_eq!(driven.verdict, Some(Verdict::GaveUp(Key(1))));
    }

    #[test]
    fn a_restart_that_fails_counts_and_is_tried_again() {
        let limit = Restarts { at_most: 2, within: Duration::from_secs(5) };
        let mut plan = Plan::new(Strategy::OneForOne, limit, AutoShutdown::Never);
        let key = plan.add(ordinary(Restart::Permanent)).unwrap();
        let now = Instant::now();
        assert_eq!(plan.next(), Some(Action::Start { key, incarnation: 0 }));
        assert!(plan.on_started(key));
        assert_eq!(plan.next(), None);
        plan.on_ended(key, How::Failed, now);
        for incarnation in 1..=2 {
            assert_eq!(plan.next(), Some(Action::Start { key, incarnation }));
            assert_eq!(plan.next(), None);
            plan.on_start_failed(key, now);
        }
        assert_eq!(plan.next(), Some(Action::End(Verdict::GaveUp(key))));
    }

    #[test]
    fn a_first_start_that_fails_ends_what_was_started() {
        let mut plan = Plan::new(Strategy::OneForOne, MANY, AutoShutdown::Never);
        let [first, second] = [1, 2].map(|_| plan.add(ordinary(Restart::Permanent)).unwrap());
        assert_eq!(plan.next(), Some(Action::Start { key: first, incarnation: 0 }));
        assert!(plan.on_started(first));
        assert_eq!(plan.next(), Some(Action::Start { key: second, incarnation: 0 }));
        plan.on_start_failed(second, Instant::now());
        assert_eq!(plan.next(), Some(Action::Stop(first)));
        plan.on_ended(first, How::Well, Instant::now());
        assert_eq!(plan.next(), Some(Action::End(Verdict::NotStarted(second))));
        assert!(!plan.has_begun());
    }

    #[test]
    fn a_later_child_that_cannot_be_started_is_forgotten() {
        let mut driven = three(Strategy::OneForAll, [Restart::Permanent; 3]);
        let late = driven.plan.add(ordinary(Restart::Permanent)).unwrap();
        assert_eq!(driven.plan.next(), Some(Action::Start { key: late, incarnation: 0 }));
        driven.plan.on_start_failed(late, driven.now);
        assert!(!driven.plan.knows(late));
        assert_eq!(driven.plan.next(), None);
    }

    #[test]
    fn a_child_that_falls_while_another_starts_takes_that_one_down_with_it() {
        let mut plan = Plan::new(Strategy::OneForAll, MANY, AutoShutdown::Never);
        let [first, second] = [1, 2].map(|_| plan.add(ordinary(Restart::Permanent)).unwrap());
        let now = Instant::now();
        assert_eq!(plan.next(), Some(Action::Start { key: first, incarnation: 0 }));
        assert!(plan.on_started(first));
        assert_eq!(plan.next(), Some(Action::Start { key: second, incarnation: 0 }));
        plan.on_ended(first, How::Failed, now);
        assert_eq!(plan.next(), Some(Action::Stop(second)));
        // Stopped, its start has failed.
        plan.on_start_failed(second, now);
        assert_eq!(plan.next(), Some(Action::Start { key: first, incarnation: 1 }));
    }

    #[test]
    fn significant_children_end_their_supervisor() {
        use AutoShutdown::{AllSignificant, AnySignificant, Never};
        let terms = [
            significant(Restart::Transient),
            ordinary(Restart::Permanent),
            significant(Restart::Temporary),
        ];
        let driven = |auto| Driven::new(Plan::new(Strategy::OneForOne, MANY, auto), &terms);

        let mut any = driven(AnySignificant);
        assert_eq!(any.after_end(1, How::Failed), "+1.1");
        assert_eq!(any.after_end(1, How::Well), "-3 -2");
        assert_eq!(any.verdict, Some(Verdict::Auto));

        let mut all = driven(AllSignificant);
        assert_eq!(all.after_end(3, How::Failed), "");
        assert_eq!(all.after_end(1, How::Well), "-2");
        assert_eq!(all.verdict, Some(Verdict::Auto));

        let mut never = driven(Never);
        assert_eq!(never.after_end(1, How::Well), "");
        assert_eq!(never.after_end(3, How::Well), "");
        assert_eq!(never.verdict, None);

        // Stopped by hand, it does not count: whoever stops it knows.
        let mut by_hand = driven(AnySignificant);
        by_hand.plan.terminate(Key(3));
        by_hand.settle();
        assert_eq!(by_hand.verdict, None);
    }

    #[test]
    fn a_child_is_stopped_started_and_forgotten_by_hand() {
        let mut driven = three(Strategy::OneForOne, [Restart::Permanent; 3]);
        let key = Key(2);
        assert!(!driven.plan.restart(key) && !driven.plan.forget(key));
        driven.done.clear();
        driven.plan.terminate(key);
        driven.settle();
        assert!(driven.plan.is_over(key));
        assert!(driven.plan.restart(key));
        driven.settle();
        assert_eq!(driven.done.join(" "), "-2 +2.1");
        driven.plan.terminate(key);
        driven.settle();
        assert!(driven.plan.forget(key) && !driven.plan.knows(key));
    }

    /// Whatever happens in whatever order: what must hold of every step, and that it comes to its end.
    #[test]
    fn invariants_hold_for_any_course_of_events() {
        for seed in 0..400 {
            Course::new(seed).run();
        }
    }

    /// What the supervisor would know, kept beside the plan.
    struct Course {
        random: u64,
        plan: Plan,
        now: Instant,
        terms: BTreeMap<Key, Terms>,
        starting: Option<Key>,
        up: Vec<Key>,
        stopping: Option<Key>,
        incarnations: BTreeMap<Key, u64>,
    }

    impl Course {
        fn new(seed: u64) -> Course {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let strategies = [Strategy::OneForOne, Strategy::RestForOne, Strategy::OneForAll];
            let autos =
                [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant];
            let limit = Restarts {
                at_most: u32::try_from(draw(&mut random, 6)).unwrap(),
                within: Duration::from_millis(50),
            };
            let strategy = strategies[draw(&mut random, 3)];
            let auto = autos[draw(&mut random, 3)];
            let mut course = Course {
                plan: Plan::new(strategy, limit, auto),
                random,
                now: Instant::now(),
                terms: BTreeMap::new(),
                starting: None,
                up: Vec::new(),
                stopping: None,
                incarnations: BTreeMap::new(),
            };
            for _ in 0..course.draw(5) {
                course.add();
            }
            course
        }

        fn draw(&mut self, below: usize) -> usize {
            draw(&mut self.random, below)
        }

        fn add(&mut self) {
            let restarts = [Restart::Permanent, Restart::Transient, Restart::Temporary];
            let restart = restarts[self.draw(3)];
            let weights = [Weight::Ordinary, Weight::Significant];
            let terms = Terms { restart, weight: weights[self.draw(2)] };
            if let Some(key) = self.plan.add(terms) {
                self.terms.insert(key, terms);
            }
        }

        fn run(mut self) {
            for step in 0.. {
                assert!(step < 2000, "it does not come to its end");
                if self.act() {
                    assert!(self.starting.is_none() && self.up.is_empty());
                    return;
                }
                self.happen(step);
                let passes = self.draw(20) as u64;
                self.now += Duration::from_millis(passes);
            }
        }

        /// Takes the actions that are due. `true`: it has ended.
        fn act(&mut self) -> bool {
            while let Some(action) = self.plan.next() {
                assert_eq!(self.stopping, None, "nothing is done while one is being stopped");
                match action {
                    Action::Start { key, incarnation } => {
                        assert_eq!(self.starting, None, "one start at a time");
                        assert!(!self.up.contains(&key), "no two lives at once");
                        let before = self.incarnations.insert(key, incarnation);
                        assert_eq!(incarnation, before.map_or(0, |before| before + 1));
                        let is_temporary = self.terms[&key].restart == Restart::Temporary;
                        assert!(!is_temporary || incarnation == 0, "a temporary child came back");
                        self.starting = Some(key);
                    }
                    Action::Stop(key) => {
                        assert!(self.up.contains(&key) || self.starting == Some(key));
                        self.stopping = Some(key);
                    }
                    Action::End(_) => return true,
                }
            }
            false
        }

        /// Something that can happen now.
        fn happen(&mut self, step: usize) {
            let how = [How::Well, How::Failed][self.draw(2)];
            match self.draw(6) {
                0 => self.on_start(),
                1 | 2 => self.on_stop(how),
                3 if !self.up.is_empty() => {
                    let at = self.draw(self.up.len());
                    let key = self.up.remove(at);
                    self.stopping = self.stopping.filter(|stopping| *stopping != key);
                    self.plan.on_ended(key, how, self.now);
                }
                4 if step < 500 => self.by_hand(),
                5 if step > 500 || self.draw(50) == 0 => self.plan.shut_down(),
                _ => {}
            }
        }

        fn on_start(&mut self) {
            let Some(key) = self.starting.take() else { return };
            if self.draw(4) == 0 {
                self.stopping = self.stopping.filter(|stopping| *stopping != key);
                self.plan.on_start_failed(key, self.now);
            } else {
                self.up.push(key);
                // It may have been told to end meanwhile, or be about to be.
                let goes_on = self.plan.on_started(key);
                assert_eq!(goes_on, self.plan.children[&key].life == Life::Up);
            }
        }

        fn on_stop(&mut self, how: How) {
            let Some(key) = self.stopping.take() else { return };
            if self.starting == Some(key) {
                self.starting = None;
                self.plan.on_start_failed(key, self.now);
            } else {
                self.up.retain(|up| *up != key);
                self.plan.on_ended(key, how, self.now);
            }
        }

        fn by_hand(&mut self) {
            let some = self.terms.len().max(1);
            let key = Key(self.draw(some) as u64 + 1);
            match self.draw(4) {
                0 => self.plan.terminate(key),
                1 => drop(self.plan.restart(key)),
                2 => drop(self.plan.forget(key)),
                _ => self.add(),
            }
        }
    }

    fn draw(random: &mut u64, below: usize) -> usize {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        if below == 0 { 0 } else { usize::try_from(*random >> 33).unwrap() % below }
    }
}
