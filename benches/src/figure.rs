//! What a figure is, and what rounds make of it. Pure data.

use crate::job::Job;
use crate::suite::Run;

/// One row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// How `--only` names it.
    pub(crate) name: String,
    /// Where both ends run.
    pub(crate) place: Place,
    /// Ours, and in words what is timed.
    pub(crate) ours: Side,
    /// The least that the machine allows.
    pub(crate) floor: Option<Side>,
    /// Others at the same work. The bar is about the first.
    pub(crate) peers: Vec<Side>,
    /// What the specification asks for.
    pub(crate) bar: Bar,
}

/// One of those that are compared.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// In words.
    pub(crate) what: String,
    /// How it is measured.
    pub(crate) probe: Probe,
}

/// How one side is measured.
#[derive(Clone, Debug)]
pub(crate) enum Probe {
    /// This program in another process, which measures itself.
    Job(Job),
    /// The wall clock of this program in another process, from start to exit.
    Program(Job),
    /// A run of a suite.
    Suite(Run),
}

/// What samples are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
}

/// Where the processes of a figure may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Place {
    /// Wherever the kernel puts them: what users feel.
    Free,
    /// All on one core: code against code, without wake-ups across cores.
    OneCore,
}

impl Place {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::OneCore => "one core",
        }
    }
}

/// What the specification asks for: ratios, never times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bar {
    /// Ours may be so many floors.
    pub(crate) floors: Option<Limit>,
    /// The first peer has to be so many of ours.
    pub(crate) peer: Option<Limit>,
}

/// A bar, and what would be better still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) bar: f64,
    pub(crate) stretch: Option<f64>,
}

/// What the rounds found out about a figure.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) figure: Figure,
    pub(crate) ours: Measured,
    pub(crate) floor: Option<Measured>,
    pub(crate) peers: Vec<Measured>,
}

/// What one side took: in each round the median of its samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) rounds: Vec<f64>,
    pub(crate) samples: usize,
}

impl Measured {
    /// Takes the samples of a round.
    pub(crate) fn add(&mut self, samples: &[f64]) {
        self.samples += samples.len();
        self.rounds.push(median(samples));
    }

    /// Over the rounds.
    pub(crate) fn median(&self) -> f64 {
        median(&self.rounds)
    }

    /// `self` by `other`, each round by itself: what the machine did to a round it did to both.
    pub(crate) fn ratio_to(&self, other: &Self) -> Ratio {
        let ratios: Vec<f64> = self.rounds.iter().zip(&other.rounds).map(|(a, b)| a / b).collect();
        Ratio {
            median: median(&ratios),
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// Over the rounds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// How a row stands to its bar, by the median of its rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    Missed,
    Met,
    Stretch,
}

/// Whether the rounds of a row would all say the same of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounds {
    Agree,
    Differ,
}

/// What is to be said of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) standing: Standing,
    pub(crate) rounds: Rounds,
}

impl Verdict {
    pub(crate) fn words(self) -> String {
        let standing = match self.standing {
            Standing::Missed => "missed",
            Standing::Met => "met",
            Standing::Stretch => "met, stretch too",
        };
        match self.rounds {
            Rounds::Agree => standing.to_owned(),
            Rounds::Differ => format!("{standing} (rounds differ)"),
        }
    }
}

impl Figure {
    /// Whether it needs what `products` builds.
    pub(crate) fn runs_suites(&self) -> bool {
        let mut sides = [&self.ours].into_iter().chain(&self.floor).chain(&self.peers);
        sides.any(|side| matches!(side.probe, Probe::Suite(_)))
    }

    /// What all of its sides are counted in.
    pub(crate) fn unit(&self) -> Unit {
        match self.ours.probe {
            Probe::Suite(run) => run.unit(),
            Probe::Job(_) | Probe::Program(_) => Unit::Seconds,
        }
    }

    /// Leaves out the peers that are not to be had here.
    pub(crate) fn without_peers(mut self, missing: impl Fn(Run) -> bool) -> Self {
        self.peers.retain(|peer| !matches!(peer.probe, Probe::Suite(run) if missing(run)));
        self
    }
}

impl Row {
    pub(crate) fn to_floor(&self) -> Option<Ratio> {
        self.floor.as_ref().map(|floor| self.ours.ratio_to(floor))
    }

    /// How many times ours each peer takes.
    pub(crate) fn to_peers(&self) -> Vec<Ratio> {
        self.peers.iter().map(|peer| peer.ratio_to(&self.ours)).collect()
    }

    /// The worst of what is asked for; `None` if nothing is, or nothing could be compared.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let standings = [
            self.standing(|ratio| ratio.median)?,
            self.standing(|ratio| ratio.least)?,
            self.standing(|ratio| ratio.most)?,
        ];
        let [standing, ..] = standings;
        let agree = standings.iter().all(|other| *other == standing);
        let rounds = if agree { Rounds::Agree } else { Rounds::Differ };
        Some(Verdict { standing, rounds })
    }

    /// With one of the numbers of each ratio.
    fn standing(&self, of: impl Fn(Ratio) -> f64) -> Option<Standing> {
        let Bar { floors, peer } = self.figure.bar;
        let to_floor = floors.zip(self.to_floor());
        let to_peer = peer.zip(self.to_peers().first().copied());
        let floor = to_floor.map(|(limit, ratio)| limit.judge(|limit| of(ratio) <= limit));
        let peer = to_peer.map(|(limit, ratio)| limit.judge(|limit| of(ratio) >= limit));
        floor.into_iter().chain(peer).min()
    }
}

impl Limit {
    fn judge(self, holds: impl Fn(f64) -> bool) -> Standing {
        match self.stretch {
            Some(stretch) if holds(stretch) => Standing::Stretch,
            Some(_) | None if holds(self.bar) => Standing::Met,
            Some(_) | None => Standing::Missed,
        }
    }
}

/// The middle one, or the mean of the middle two; of nothing, not a number.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (length, middle) if length % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(rounds: &[f64]) -> Measured {
        Measured { rounds: rounds.to_vec(), samples: rounds.len() }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        // The machine was twice as slow in the second round: the ratio does not show it.
        let ratio = measured(&[2.0, 4.0, 2.0]).ratio_to(&measured(&[1.0, 2.0, 1.0]));
        assert_eq!((ratio.least, ratio.median, ratio.most), (2.0, 2.0, 2.0));
    }

    #[test]
    fn a_row_stands_as_its_worst_ratio() {
        let mut row = row(&[1.4], &[1.0], &[15.0]);
        assert_eq!(words(&row), "met");
        row.peers = vec![measured(&[13.0])];
        assert_eq!(words(&row), "missed");
        row.peers.clear();
        assert_eq!(words(&row), "met, stretch too");
        row.floor = None;
        assert_eq!(row.verdict(), None);
    }

    #[test]
    fn rounds_on_both_sides_of_a_bar_are_told() {
        assert_eq!(words(&row(&[1.8, 1.9, 1.7], &[1.0; 3], &[20.0; 3])), "met");
        assert_eq!(words(&row(&[1.8, 2.1, 1.7], &[1.0; 3], &[30.0; 3])), "met (rounds differ)");
    }

    fn words(row: &Row) -> String {
        row.verdict().map_or_else(String::new, Verdict::words)
    }

    fn row(ours: &[f64], floor: &[f64], peer: &[f64]) -> Row {
        let limit = |bar, stretch| Some(Limit { bar, stretch: Some(stretch) });
        let side = Side { what: String::new(), probe: Probe::Suite(Run::RunnerOnce) };
        Row {
            figure: Figure {
                name: "x".to_owned(),
                place: Place::Free,
                ours: side,
                floor: None,
                peers: Vec::new(),
                bar: Bar { floors: limit(2.0, 1.5), peer: limit(10.0, 20.0) },
            },
            ours: measured(ours),
            floor: Some(measured(floor)),
            peers: vec![measured(peer)],
        }
    }
}
