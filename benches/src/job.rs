//! A measurement that this program makes of itself in a fresh process: how it is asked for, and the
//! answer.
//!
//! Asked for by `rounds`, run by `main`; the answer is a JSON array of seconds on stdout.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use runtime::Backend;
use serde::{Deserialize, Serialize};

use crate::error::{BenchError, Result, Trying};
use crate::figure::Place;
use crate::{containment, expansion, floor, ours};

/// What this program is started again for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    /// To measure.
    Measure { work: Work, place: Place, samples: usize },
    /// To be a floor's child.
    Child(floor::Child),
}

/// What is measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Seconds per case of so many in so many slots.
    FloorCase { slots: usize },
    /// Start to first message.
    FloorStart(floor::Birth),
    /// Start to ready and a first reply.
    Start(Backend),
    /// A whole program, of which the parent measures the time.
    FloorBurst,
    /// As [`Work::FloorBurst`].
    Burst(Backend),
    /// A round trip.
    FloorCallSocket,
    /// A round trip between threads.
    FloorCallThreads,
    /// A call.
    Call(Backend),
    /// The time of an item, of those of so many bytes that are sent one way.
    FloorStream { bytes: usize },
    /// As [`Work::FloorStream`].
    Stream { backend: Backend, bytes: usize },
    /// The end of a tree.
    FloorTree(floor::Birth),
    /// The cancel of a tree.
    Tree(Backend),
    /// From a listing to many cases, filtered and listed.
    Expansion,
    /// What it takes at the end of an attempt that nothing may be left of it.
    Containment,
    /// What the specification gives, where there is neither floor nor peer.
    Given(f64),
}

/// Children of a burst.
pub(crate) const BURST: usize = 25;

/// What makes this process a job and not the command line.
const WORD: &str = "__job";

/// The job this process was started for.
pub(crate) fn from_arguments() -> Option<Result<Job>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(WORD) {
        return None;
    }
    let text = arguments.next().unwrap_or_default();
    Some(serde_json::from_str(&text).trying("reading a job"))
}

/// Does it, and says what it found.
pub(crate) fn run(job: Result<Job>) -> ExitCode {
    let done = job.and_then(|job| match job {
        Job::Child(child) => floor::run_child(child),
        Job::Measure { work, place, samples } => measure(work, place, samples),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // What fails on purpose has nothing to say.
        Err(_) if matches!(from_arguments(), Some(Ok(Job::Child(floor::Child::Failing)))) => {
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(work: Work, place: Place, samples: usize) -> Result<()> {
    settle(place)?;
    let samples = match work {
        Work::FloorCase { slots } => floor::case::per_case(slots, samples)?,
        Work::FloorStart(birth) => floor::start::samples(birth, samples)?,
        Work::Start(backend) => ours::start(backend, samples)?,
        Work::FloorBurst => floor::burst::run(BURST).map(|()| Vec::new())?,
        Work::Burst(backend) => ours::burst(backend, BURST).map(|()| Vec::new())?,
        Work::FloorCallSocket => floor::call::over_socket(samples)?,
        Work::FloorCallThreads => floor::call::across_threads(samples)?,
        Work::Call(backend) => ours::call(backend, samples)?,
        Work::FloorStream { bytes } => floor::stream::over_socket(bytes, samples)?,
        Work::Stream { backend, bytes } => ours::stream(backend, bytes, samples)?,
        Work::FloorTree(birth) => floor::tree::samples(birth, samples)?,
        Work::Tree(backend) => ours::tree(backend, samples)?,
        Work::Expansion => expansion::samples(samples)?,
        Work::Containment => containment::samples(samples)?,
        Work::Given(value) => vec![value; samples],
    };
    println!("{}", serde_json::to_string(&samples).trying("writing samples")?);
    Ok(())
}

/// Before any thread, so that all threads and children inherit it.
fn settle(place: Place) -> Result<()> {
    match place {
        Place::Free => Ok(()),
        Place::OneCore => {
            let this = Pid::from_raw(0);
            let all = sched_getaffinity(this).trying("asking for the cores")?;
            let first =
                (0..CpuSet::count()).find(|core| all.is_set(*core) == Ok(true)).unwrap_or(0);
            let mut one = CpuSet::new();
            one.set(first).trying("choosing a core")?;
            sched_setaffinity(this, &one).trying("staying on one core")
        }
    }
}

impl Job {
    /// The arguments that start this program as this job.
    pub(crate) fn arguments(&self) -> Result<[String; 2]> {
        Ok([WORD.to_owned(), serde_json::to_string(self).trying("writing a job")?])
    }

    /// Runs it in a process of its own. Its samples, in seconds.
    pub(crate) fn samples(&self) -> Result<Vec<f64>> {
        let output = self.output()?.0;
        serde_json::from_slice(&output).trying("reading the samples of a job")
    }

    /// Runs it in a process of its own. Seconds from its start to its exit.
    pub(crate) fn wall(&self) -> Result<f64> {
        Ok(self.output()?.1)
    }

    fn output(&self) -> Result<(Vec<u8>, f64)> {
        let what = format!("job {self:?}");
        // Not by its path: cargo may have put a new one there meanwhile.
        let program = "/proc/self/exe";
        let mut command = Command::new(program);
        command.args(self.arguments()?).stdin(Stdio::null()).stderr(Stdio::inherit());
        let started = Instant::now();
        let output = command.output().trying(&what)?;
        let wall = started.elapsed().as_secs_f64();
        if !output.status.success() {
            return Err(BenchError::new(what, output.status));
        }
        Ok((output.stdout, wall))
    }
}
