//! What became of cases in the recorded runs: how flaky one is, and since when it fails.
//!
//! Read from recordings by `store`, told by `triage`.

use std::collections::{BTreeMap, BTreeSet};

use runner_core::event::{CaseName, Finished};
use runner_core::outcome::Standing;

/// What became of a case in one run; the worst of its rounds, under stress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Passed,
    Flaky,
    Failed,
}

/// What became of cases, run by run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// By case, then by run; the ids of runs sort by time.
    cases: BTreeMap<CaseName, BTreeMap<String, Verdict>>,
}

/// What is known of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Runs in which it passed or failed.
    pub runs: usize,
    /// … in which it failed.
    pub failed: usize,
    /// … in which it passed only when it was tried again.
    pub flaky: usize,
    /// The first run of those in which it has failed ever since, if it failed in the last one.
    pub failing_since: Option<&'a str>,
}

impl History {
    /// Takes in the attempts of a run.
    pub fn add<'a>(&mut self, run: &str, attempts: impl IntoIterator<Item = &'a Finished>) {
        let mut known: BTreeSet<(&CaseName, u32)> = BTreeSet::new();
        // From the last try backwards: that one decides its round, whether it was to be the last
        // or the run ended before.
        let attempts: Vec<&Finished> = attempts.into_iter().collect();
        for finished in attempts.into_iter().rev() {
            if !known.insert((&finished.case, finished.round)) {
                continue;
            }
            if let Some(verdict) = Verdict::of(finished) {
                let runs = self.cases.entry(finished.case.clone()).or_default();
                let worst = runs.entry(run.to_owned()).or_insert(verdict);
                *worst = verdict.max(*worst);
            }
        }
    }

    /// What is known of a case; nothing if it was in no run.
    pub fn of(&self, case: &CaseName) -> Option<Record<'_>> {
        let runs = self.cases.get(case)?;
        let count = |wanted| runs.values().filter(|verdict| **verdict == wanted).count();
        let failing = runs.iter().rev().take_while(|(_, verdict)| **verdict == Verdict::Failed);
        Some(Record {
            runs: runs.len(),
            failed: count(Verdict::Failed),
            flaky: count(Verdict::Flaky),
            failing_since: failing.last().map(|(run, _)| run.as_str()),
        })
    }
}

impl Verdict {
    /// Nothing where nobody knows what it would have become.
    fn of(finished: &Finished) -> Option<Self> {
        match finished.standing() {
            _ if finished.is_flaky() => Some(Self::Flaky),
            Standing::Good => Some(Self::Passed),
            Standing::Bad => Some(Self::Failed),
            Standing::Neutral | Standing::Cut => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use runner_core::outcome::Outcome;

    use super::*;
    use crate::samples;

    fn attempt(attempt: u32, round: u32, outcome: Outcome) -> Finished {
        Finished { attempt, attempts: 3, round, ..samples::finished(case("a::b::fork"), outcome) }
    }

    fn case(id: &str) -> CaseName {
        CaseName { suite: "s".into(), id: id.into(), test: "a::b".into(), backend: "fork".into() }
    }

    #[test]
    fn a_record_counts_runs_and_knows_since_when() {
        let mut history = History::default();
        let (pass, hang) = (Outcome::Pass, Outcome::Timeout);
        let runs = [
            ("2026-01", vec![attempt(1, 1, hang.clone())]),
            ("2026-02", vec![attempt(1, 1, hang.clone()), attempt(2, 1, pass.clone())]),
            ("2026-03", vec![attempt(1, 1, pass.clone())]),
            ("2026-04", vec![attempt(1, 1, hang.clone()), attempt(2, 1, hang.clone())]),
            ("2026-05", vec![attempt(1, 1, Outcome::Interrupted)]),
            ("2026-06", vec![attempt(1, 1, hang), attempt(1, 2, pass)]),
        ];
        // In any order.
        for (run, attempts) in runs.iter().rev() {
            history.add(run, attempts);
        }
        let record = history.of(&case("a::b::fork")).expect("known");
        let expected = Record { runs: 5, failed: 3, flaky: 1, failing_since: Some("2026-04") };
        assert_eq!(record, expected);
        assert_eq!(history.of(&case("other")), None);
    }
}
