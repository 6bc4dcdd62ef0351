//! A case's floor: fork, two threads, wait; in as many processes at once as there are slots.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

use super::fork;
use crate::error::{BenchError, Result, Trying};

/// Seconds per case, once.
pub(crate) fn per_case(slots: usize, cases: usize) -> Result<Vec<f64>> {
    let started = Instant::now();
    let loops = (0..slots).map(|_| start_loop(cases / slots)).collect::<Result<Vec<Pid>>>()?;
    for slot in loops {
        wait(slot)?;
    }
    let cases = cases / slots * slots;
    Ok(vec![started.elapsed().as_secs_f64() / cases as f64])
}

fn start_loop(cases: usize) -> Result<Pid> {
    match fork::fork().trying("forking a slot")? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => fork::exit(i32::from((0..cases).any(|_| case().is_err()))),
    }
}

fn case() -> Result<()> {
    match fork::fork().trying("forking a case")? {
        ForkResult::Parent { child } => wait(child),
        ForkResult::Child => fork::exit(i32::from(two_threads().is_err())),
    }
}

/// A watchdog that only sleeps, and a body that does nothing.
fn two_threads() -> std::io::Result<()> {
    let watchdog = || thread::sleep(Duration::from_secs(60));
    thread::Builder::new().name("watchdog".to_owned()).spawn(watchdog)?;
    let body = thread::Builder::new().name("body".to_owned()).spawn(|| {})?;
    body.join().map_err(|_| std::io::ErrorKind::Other.into())
}

fn wait(pid: Pid) -> Result<()> {
    match waitpid(pid, None).trying("waiting")? {
        WaitStatus::Exited(_, 0) => Ok(()),
        other => Err(BenchError::new("a floor's process", format!("{other:?}"))),
    }
}
