//! The ladder by which a child is made to end. Pure: time comes in, duties come out.
//!
//! ```text
//!                    ack                                 deadline
//!           ┌───────────────────► Soft ────────┬────────────────────┐
//! Request ──┤                      ▲ progress ─┘                    ▼
//!           └── no ack in time ─────────────────────────────► Terminate ──► Kill      (a process)
//! Request ──── ack ───► Soft ─── deadline ──► Abandon                                 (a thread)
//! ```
//!
//! The child is told how long it has, and fits the ladders of its own children into that: a tree takes the time of its
//! slowest branch, not the sum of its levels.

use std::time::{Duration, Instant};

use crate::error::{Rung, RungTaken, Teardown};
use crate::msg::{LONGEST, Timings};

/// What can be done to the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// Signals.
    Process,
    /// Nothing but asking.
    Thread,
}

/// What the keeper has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Duty {
    Terminate,
    KillSubtree,
    Abandon,
}

impl Duty {
    /// The rung on which it is due.
    pub(super) fn rung(self) -> Rung {
        match self {
            Duty::Terminate => Rung::Terminate,
            Duty::KillSubtree => Rung::Kill,
            Duty::Abandon => Rung::Abandon,
        }
    }
}

/// What bounds a child's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) timings: &'a Timings,
    pub(super) means: Means,
    /// How long it has to end once it has acknowledged, in place of what the timings say.
    pub(super) patience: Option<Duration>,
    /// What is left to the one who asks.
    pub(super) remaining: Option<Duration>,
}

/// How long each rung may take, after what is left to the parent has been taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waits {
    ack: Duration,
    soft: Duration,
    terminate: Duration,
}

/// What a parent keeps of its own time for telling its own parent: a tenth of it, for a machine that is busy is slow at
/// everything, and not less than this.
const MARGIN: Duration = Duration::from_millis(50);

/// No child is given less than this to end, however little is left.
const LEAST: Duration = Duration::from_millis(100);

/// A child that is being made to end.
#[derive(Debug)]
pub(super) struct Ladder {
    means: Means,
    waits: Waits,
    taken: Vec<RungTaken>,
    rung: Rung,
    since: Instant,
    started: Instant,
    deadline: Option<Instant>,
}

impl Waits {
    fn new(terms: &Terms<'_>) -> Waits {
        let Terms { timings, means, patience, remaining } = *terms;
        let terminate = timings.terminate;
        let (usual, last_rung) = match means {
            Means::Process => (timings.soft, terminate),
            Means::Thread => (timings.abandon, Duration::ZERO),
        };
        let patience = patience.unwrap_or(usual).min(LONGEST);
        let soft = remaining.map_or(patience, |left| {
            let reserve = last_rung + MARGIN.max(left / 10);
            patience.min(left.saturating_sub(reserve).max(LEAST))
        });
        Waits { ack: timings.ack.min(soft), soft, terminate }
    }
}

impl Ladder {
    /// The child has been asked just now.
    pub(super) fn begin(terms: &Terms<'_>, now: Instant) -> Ladder {
        let (means, waits) = (terms.means, Waits::new(terms));
        let first = match means {
            Means::Process => waits.ack,
            Means::Thread => waits.soft,
        };
        Ladder {
            means,
            waits,
            taken: Vec::new(),
            rung: Rung::Request,
            since: now,
            started: now,
            deadline: Some(now + first),
        }
    }

    /// The child has said that it ends: it only has to do it.
    pub(super) fn begin_parting(terms: &Terms<'_>, now: Instant) -> Ladder {
        let mut ladder = Ladder::begin(terms, now);
        (ladder.rung, ladder.deadline) = (Rung::Soft, Some(now + ladder.waits.soft));
        ladder
    }

    /// The child's channel is gone, and with it the means of asking: most often because it is dead, which is known in a
    /// moment. What waits for it is not to wait long if not.
    pub(super) fn begin_unheard(terms: &Terms<'_>, now: Instant) -> Ladder {
        let mut ladder = Ladder::begin_parting(terms, now);
        ladder.deadline = match terms.means {
            Means::Process => Some(now + ladder.waits.terminate.min(ladder.waits.soft)),
            Means::Thread => ladder.deadline,
        };
        ladder
    }

    /// The child is to be killed, and was not asked. A process is, now; a thread has the least time there is.
    pub(super) fn begin_killing(terms: &Terms<'_>, now: Instant) -> (Ladder, Option<Duty>) {
        let mut ladder = Ladder::begin(&Terms { patience: Some(LEAST), ..*terms }, now);
        let duty = match terms.means {
            Means::Process => {
                (ladder.rung, ladder.deadline) = (Rung::Kill, None);
                Some(Duty::KillSubtree)
            }
            Means::Thread => None,
        };
        (ladder, duty)
    }

    /// How long the child is told it has.
    pub(super) fn within(&self) -> Duration {
        self.waits.soft
    }

    /// When to call [`Ladder::on_deadline`]. `None`: there is no further rung.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The child is to be killed, and has been asked before. A process is, now; a thread has the least time there is.
    pub(super) fn hurry(&mut self, now: Instant) -> Option<Duty> {
        match (self.means, self.rung) {
            (Means::Process, Rung::Request | Rung::Soft | Rung::Terminate) => Some(self.kill(now)),
            (Means::Thread, Rung::Request | Rung::Soft) => {
                self.waits.soft = LEAST;
                self.deadline = self.deadline.min(Some(now + LEAST));
                None
            }
            (Means::Process, Rung::Kill | Rung::Abandon)
            | (Means::Thread, Rung::Terminate | Rung::Kill | Rung::Abandon) => None,
        }
    }

    /// Whether the child is being forced.
    pub(super) fn is_force(&self) -> bool {
        self.rung.is_force()
    }

    /// The child has read the request.
    pub(super) fn on_ack(&mut self, now: Instant) {
        if self.rung == Rung::Request {
            self.step(Rung::Soft, Some(self.started + self.waits.soft), now);
        }
    }

    /// The child tears down, and is not stuck: it is given its patience anew.
    pub(super) fn on_progress(&mut self, now: Instant) {
        match self.rung {
            Rung::Request | Rung::Soft => {
                self.deadline = self.deadline.max(Some(now + self.waits.soft));
            }
            Rung::Terminate | Rung::Kill | Rung::Abandon => {}
        }
    }

    /// The rung's time is over.
    pub(super) fn on_deadline(&mut self, now: Instant) -> Duty {
        match (self.means, self.rung) {
            (Means::Process, Rung::Request | Rung::Soft) => {
                self.step(Rung::Terminate, Some(now + self.waits.terminate), now);
                Duty::Terminate
            }
            (Means::Process, Rung::Terminate | Rung::Kill | Rung::Abandon) => self.kill(now),
            (
                Means::Thread,
                Rung::Request | Rung::Soft | Rung::Terminate | Rung::Kill | Rung::Abandon,
            ) => {
                self.step(Rung::Abandon, None, now);
                Duty::Abandon
            }
        }
    }

    /// The last rung at once.
    pub(super) fn kill(&mut self, now: Instant) -> Duty {
        match self.means {
            Means::Process => {
                self.step(Rung::Kill, None, now);
                Duty::KillSubtree
            }
            Means::Thread => {
                self.step(Rung::Abandon, None, now);
                Duty::Abandon
            }
        }
    }

    /// The child has ended.
    pub(super) fn into_teardown(mut self, now: Instant) -> Teardown {
        self.note(now);
        Teardown { rungs: self.taken }
    }

    fn step(&mut self, rung: Rung, deadline: Option<Instant>, now: Instant) {
        self.note(now);
        (self.rung, self.since, self.deadline) = (rung, now, deadline);
    }

    fn note(&mut self, now: Instant) {
        self.taken
            .push(RungTaken { rung: self.rung, took: now.saturating_duration_since(self.since) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    const TIMINGS: &Timings = &Timings {
        boot: ms(10_000),
        ack: ms(500),
        soft: ms(1600),
        terminate: ms(250),
        abandon: ms(3000),
        orphan: ms(1000),
    };

    fn terms(means: Means, remaining: Option<Duration>) -> Terms<'static> {
        Terms { timings: TIMINGS, means, patience: None, remaining }
    }

    fn begin(means: Means, remaining: Option<Duration>) -> (Ladder, Instant) {
        let now = Instant::now();
        (Ladder::begin(&terms(means, remaining), now), now)
    }

    fn rungs(ladder: Ladder, now: Instant) -> Vec<(Rung, Duration)> {
        ladder.into_teardown(now).rungs.iter().map(|taken| (taken.rung, taken.took)).collect()
    }

    #[test]
    fn a_healthy_child_needs_no_more_than_asking() {
        let (mut ladder, start) = begin(Means::Process, None);
        ladder.on_ack(start + ms(1));
        assert_eq!(ladder.deadline(), Some(start + ms(1600)));
        assert_eq!(rungs(ladder, start + ms(3)), [(Rung::Request, ms(1)), (Rung::Soft, ms(2))]);
    }

    #[test]
    fn a_child_that_does_not_acknowledge_is_terminated_then_killed() {
        let (mut ladder, start) = begin(Means::Process, None);
        assert_eq!(ladder.deadline(), Some(start + ms(500)));
        assert_eq!(ladder.on_deadline(start + ms(500)), Duty::Terminate);
        assert_eq!(ladder.deadline(), Some(start + ms(750)));
        assert_eq!(ladder.on_deadline(start + ms(750)), Duty::KillSubtree);
        assert_eq!(ladder.deadline(), None);
        let taken = rungs(ladder, start + ms(752));
        assert_eq!(
            taken,
            [(Rung::Request, ms(500)), (Rung::Terminate, ms(250)), (Rung::Kill, ms(2))]
        );
    }

    #[test]
    fn a_child_that_acknowledges_and_stays_has_the_soft_wait() {
        let (mut ladder, start) = begin(Means::Process, None);
        ladder.on_ack(start + ms(10));
        assert_eq!(ladder.on_deadline(start + ms(1600)), Duty::Terminate);
    }

    #[test]
    fn a_child_that_makes_progress_is_given_its_patience_anew() {
        let (mut ladder, start) = begin(Means::Process, None);
        ladder.on_ack(start);
        ladder.on_progress(start + ms(1500));
        assert_eq!(ladder.deadline(), Some(start + ms(3100)));
    }

    #[test]
    fn progress_after_force_changes_nothing() {
        let (mut ladder, start) = begin(Means::Process, None);
        assert_eq!(ladder.on_deadline(start + ms(500)), Duty::Terminate);
        ladder.on_progress(start + ms(600));
        ladder.on_ack(start + ms(600));
        assert_eq!(ladder.deadline(), Some(start + ms(750)));
    }

    #[test]
    fn each_level_down_fits_into_the_one_above() {
        let mut remaining = None;
        let mut above = Duration::MAX;
        for level in 0..4 {
            let (ladder, _) = begin(Means::Process, remaining);
            let forced_end = ladder.within() + Timings::default().terminate;
            assert!(
                forced_end < above,
                "level {level} ends {forced_end:?} after being asked, its parent has {above:?}"
            );
            above = ladder.within();
            remaining = Some(ladder.within());
        }
    }

    #[test]
    fn however_little_is_left_a_child_has_a_little() {
        let (ladder, start) = begin(Means::Process, Some(Duration::ZERO));
        assert_eq!(ladder.deadline(), Some(start + LEAST));
    }

    #[test]
    fn a_thread_is_asked_then_abandoned() {
        let (mut ladder, start) = begin(Means::Thread, None);
        assert_eq!(ladder.deadline(), Some(start + ms(3000)));
        assert_eq!(ladder.on_deadline(start + ms(3000)), Duty::Abandon);
        assert_eq!(
            rungs(ladder, start + ms(3000)),
            [(Rung::Request, ms(3000)), (Rung::Abandon, ms(0))]
        );
    }

    #[test]
    fn a_child_nothing_is_heard_of_is_not_asked() {
        let start = Instant::now();
        let mut ladder = Ladder::begin_unheard(&terms(Means::Process, None), start);
        assert_eq!(ladder.deadline(), Some(start + ms(250)));
        assert_eq!(ladder.on_deadline(start + ms(250)), Duty::Terminate);
        assert_eq!(
            rungs(ladder, start + ms(251)),
            [(Rung::Soft, ms(250)), (Rung::Terminate, ms(1))]
        );
    }

    #[test]
    fn a_child_that_said_farewell_has_the_soft_wait_to_go() {
        let start = Instant::now();
        let ladder = Ladder::begin_parting(&terms(Means::Process, None), start);
        assert_eq!(ladder.deadline(), Some(start + ms(1600)));
    }

    #[test]
    fn patience_that_was_named_takes_the_place_of_the_usual() {
        let start = Instant::now();
        for (patience, asked_for) in [(ms(5000), ms(500)), (ms(200), ms(200)), (LONGEST, ms(500))] {
            let terms = Terms { patience: Some(patience), ..terms(Means::Process, None) };
            let mut ladder = Ladder::begin(&terms, start);
            assert_eq!(ladder.deadline(), Some(start + asked_for));
            ladder.on_ack(start + ms(1));
            assert_eq!((ladder.deadline(), ladder.within()), (Some(start + patience), patience));
        }
    }

    #[test]
    fn patience_does_not_go_beyond_what_is_left() {
        let terms = Terms { patience: Some(LONGEST), ..terms(Means::Process, Some(ms(1000))) };
        assert!(Ladder::begin(&terms, Instant::now()).within() < ms(1000));
    }

    #[test]
    fn a_process_that_is_hurried_is_killed_and_a_thread_has_a_last_moment() {
        let start = Instant::now();
        let (ladder, duty) = Ladder::begin_killing(&terms(Means::Process, None), start);
        assert_eq!(duty, Some(Duty::KillSubtree));
        assert_eq!(rungs(ladder, start + ms(2)), [(Rung::Kill, ms(2))]);
        let (ladder, duty) = Ladder::begin_killing(&terms(Means::Thread, None), start);
        assert_eq!((ladder.deadline(), duty), (Some(start + LEAST), None));
        let (mut ladder, start) = begin(Means::Process, None);
        assert_eq!(ladder.hurry(start), Some(Duty::KillSubtree));
        assert_eq!(ladder.hurry(start), None);
        let (mut ladder, start) = begin(Means::Thread, None);
        assert_eq!(ladder.hurry(start), None);
        assert_eq!(ladder.deadline(), Some(start + LEAST));
        assert_eq!(ladder.on_deadline(start + LEAST), Duty::Abandon);
    }
}
