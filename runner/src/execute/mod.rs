//! Runs cases: one single-threaded loop over supervisors, signals and clocks.
//!
//! `plan` says what to do, this does it and tells everybody by events. Called by the binary's
//! `main` flow once cases are known; knows nothing of manifests, filters or cargo, of terminals only that keys may come from one, and
//! never writes to fd 1 or 2.
//!
//! A supervisor is a process of the suite binary that answers for one slot's attempts
//! (`runner_core::protocol`). As long as it does, the loop only waits. When it dies, stops, falls
//! silent or talks nonsense, the loop is the backstop: this process is a child subreaper, so what
//! a supervisor leaves becomes its child and is killed and reaped here.

mod crew;
mod executor;
mod image;
mod kernel;
mod ledger;
mod orphans;
mod run;
mod scribe;
mod supervisor;
mod wakeup;

pub use run::{
    ExecuteError, Harness, KeepOutput, Limits, RawOutput, RunEnd, SILENCE_LIMIT, SuiteBinary,
    Summary, run,
};

pub(crate) use kernel::{die_of, give_back_freed_memory, lease_for_writing, pidfd_of, spawn_bound};
pub(crate) use orphans::Orphans;
