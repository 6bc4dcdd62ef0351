//! What it takes at the end of an attempt that nothing may be left of it: from the end of its one
//! process until its verdict is there, against a parent that only waits.
//!
//! Both parents are forked from this process, and both children do nothing but say when they end.
//! Ours then finds that there is nobody else, makes the facts and sends them.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use runner_core::memory::{Memory, now_ns};
use runner_core::protocol::{
    self, Attempt, Capture, Clocks, Done, FromSupervisor, Resources, ToSupervisor, Work,
};
use runner_supervisor::{FirstProcess, fork_supervisor};

use crate::error::{BenchError, Result, Trying};
use crate::figure::median;
use crate::floor::end::{Waiter, end_now};

/// How many seconds more ours takes, once, by the medians of so many ends of each.
pub(crate) fn samples(count: usize) -> Result<Vec<f64>> {
    let mut waiter = Waiter::start()?;
    let mut supervisor = Supervisor::start()?;
    let (mut ours, mut floor) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        ours.push(since_end(supervisor.one()?)?);
        floor.push(since_end(waiter.one()?)?);
    }
    Ok(vec![median(&ours) - median(&floor)])
}

/// Seconds since a child said that it ends.
fn since_end(memory: &Memory) -> Result<f64> {
    let now = now_ns();
    match memory.done() {
        Some(Done::Failed { message }) => {
            let end: u64 = message.parse().trying("the time of an end")?;
            Ok(Duration::from_nanos(now.saturating_sub(end)).as_secs_f64())
        }
        other => Err(BenchError::new("the time of an end", format!("{other:?}"))),
    }
}

struct Supervisor {
    control: UnixStream,
    memory: Memory,
}

impl Supervisor {
    /// Called while there is one thread.
    fn start() -> Result<Self> {
        let memory = Memory::create(0).trying("making memory")?;
        let (control, _) = fork_supervisor(&memory, Ending).trying("forking a supervisor")?;
        protocol::greet(&control).trying("greeting a supervisor")?;
        Ok(Self { control, memory })
    }

    /// Has an attempt end, and waits for its verdict. The memory says when it was.
    fn one(&mut self) -> Result<&Memory> {
        self.memory.reset();
        let start = ToSupervisor::Start(Box::new(attempt()));
        protocol::send(&mut self.control, &start).trying("starting an attempt")?;
        match protocol::receive(&mut self.control).trying("the end of an attempt")? {
            FromSupervisor::Finished(_) => Ok(&self.memory),
            other => Err(BenchError::new("the end of an attempt", format!("{other:?}"))),
        }
    }
}

/// A first process that does nothing.
struct Ending;

impl FirstProcess for Ending {
    fn run(&self, _: Attempt, memory: &'static Memory) -> ! {
        end_now(memory)
    }
}

fn attempt() -> Attempt {
    Attempt {
        case_id: "ends::none".into(),
        work: Work::Test { name: "ends".into() },
        backend: "none".into(),
        axes: BTreeMap::new(),
        attempt: 1,
        slot: 0,
        seed: 0,
        env: Vec::new(),
        cwd: PathBuf::from("/"),
        temp_dir: std::env::temp_dir().join("benches/never-made"),
        capture: Capture::Sys,
        clocks: Clocks {
            slow_after: Duration::from_secs(60),
            deadline: Some(Duration::from_secs(60)),
            grace: Duration::from_secs(1),
            leak_after: Duration::from_millis(100),
        },
        max_processes: 512,
        leak_allow: Vec::new(),
        resources: Resources::Ignore,
    }
}
