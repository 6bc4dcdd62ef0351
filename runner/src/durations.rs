//! How long cases took in earlier runs.
//!
//! Read from recorded runs by `store`; the plan starts the longest first.

use std::collections::HashMap;
use std::time::Duration;

/// Durations by suite and case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    suites: HashMap<String, HashMap<String, Duration>>,
}

impl Durations {
    /// How long the case took when it was last run to its end, if that is known.
    pub fn of(&self, suite: &str, id: &str) -> Option<Duration> {
        self.suites.get(suite)?.get(id).copied()
    }

    /// How many cases are known.
    pub fn len(&self) -> usize {
        self.suites.values().map(HashMap::len).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.suites.values().all(HashMap::is_empty)
    }

    /// Takes in what a run says; what is known from a later run stays.
    pub fn add_older(&mut self, run: Self) {
        for (suite, cases) in run.suites {
            let known = self.suites.entry(suite).or_default();
            for (id, duration) in cases {
                known.entry(id).or_insert(duration);
            }
        }
    }

    /// An attempt of a run that is being read: the longest of a case counts.
    pub fn note(&mut self, suite: &str, id: &str, duration: Duration) {
        let cases = self.suites.entry(suite.to_owned()).or_default();
        let known = cases.entry(id.to_owned()).or_default();
        *known = duration.max(*known);
    }
}
