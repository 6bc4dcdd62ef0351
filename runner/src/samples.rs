//! Values that tests of several modules need.

use std::time::Duration;

use runner_core::event::{CaseName, Finished};
use runner_core::outcome::{Outcome, Policy};
use runner_core::protocol::Process;

/// The only try of a case, of which there is nothing else to tell.
pub(crate) fn finished(case: CaseName, outcome: Outcome) -> Finished {
    Finished {
        case,
        attempt: 1,
        attempts: 1,
        round: 1,
        retry: None,
        slot: 0,
        outcome,
        policy: Policy::STRICT,
        duration: Duration::ZERO,
        output: None,
        hang_report: None,
        allowed_leaks: Vec::new(),
        resources: None,
        again: String::new(),
        seed: 0,
    }
}

/// One that sleeps.
pub(crate) fn process() -> Process {
    Process {
        pid: 4711,
        parent: 1,
        name: "sleep".into(),
        command: "sleep 1000".into(),
        state: 'S',
        age: Duration::from_millis(1500),
        threads: Vec::new(),
        fds: Vec::new(),
    }
}
