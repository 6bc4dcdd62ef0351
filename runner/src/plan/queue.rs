//! Cases that could be started if there were room for them, the most urgent first.
//!
//! Owned by `plan`, which knows what there is room for. Cases of one suite and one group lie in
//! one *lane*: whatever holds its first one back holds back the others too, so that a group with
//! thousands of cases waiting costs one look.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the cases of a lane have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane {
    pub(super) suite: usize,
    pub(super) group: Option<usize>,
}

/// How soon a case should be started; the smaller, the sooner.
///
/// An earlier round of stress before a later one, or the last round would never come. Then what
/// the manifest says. Then what was tried before: there may be more tries to come, one after the
/// other. Then the longest first, so that no long case is left for the end; what nobody has timed
/// may be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Urgency {
    round: u32,
    priority: Reverse<i8>,
    retry: Reverse<bool>,
    expected: Reverse<Duration>,
}

/// A case that could be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) urgency: Urgency,
    pub(super) case: usize,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: BTreeMap<Lane, BTreeSet<Candidate>>,
}

impl Urgency {
    pub(super) fn new(round: u32, priority: i8, attempt: u32, expected: Option<Duration>) -> Self {
        Self {
            round,
            priority: Reverse(priority),
            retry: Reverse(attempt > 1),
            expected: Reverse(expected.unwrap_or(Duration::MAX)),
        }
    }

    /// Whether it is worth as much as `gain` of waiting to start this one before the other.
    pub(super) fn outranks(&self, other: &Self, gain: Duration) -> bool {
        let said = |it: &Self| (it.round, it.priority);
        match said(self).cmp(&said(other)) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => self.expected.0 > other.expected.0.saturating_add(gain),
        }
    }
}

impl Queue {
    pub(super) fn insert(&mut self, lane: Lane, candidate: Candidate) {
        self.lanes.entry(lane).or_default().insert(candidate);
    }

    pub(super) fn remove(&mut self, lane: Lane, candidate: Candidate) {
        if let Some(of_lane) = self.lanes.get_mut(&lane) {
            of_lane.remove(&candidate);
        }
    }

    /// The first of each lane that has any.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (Lane, Candidate)> {
        self.lanes.iter().filter_map(|(lane, of_lane)| Some((*lane, *of_lane.first()?)))
    }

    pub(super) fn has_any_of(&self, suite: usize) -> bool {
        self.of_suite(suite).any(|(_, of_lane)| !of_lane.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.values().all(BTreeSet::is_empty)
    }

    /// Every case there is.
    pub(super) fn cases(&self) -> impl Iterator<Item = usize> {
        self.lanes.values().flatten().map(|candidate| candidate.case)
    }

    /// Takes out all cases of a suite, in their own order.
    pub(super) fn drain_suite(&mut self, suite: usize) -> Vec<usize> {
        let lanes: Vec<Lane> = self.of_suite(suite).map(|(lane, _)| *lane).collect();
        let taken = lanes.iter().filter_map(|lane| self.lanes.remove(lane));
        let mut cases: Vec<usize> = taken.flatten().map(|candidate| candidate.case).collect();
        cases.sort_unstable();
        cases
    }

    fn of_suite(&self, suite: usize) -> impl Iterator<Item = (&Lane, &BTreeSet<Candidate>)> {
        self.lanes.iter().filter(move |(lane, _)| lane.suite == suite)
    }
}
