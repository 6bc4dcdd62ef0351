//! `fork`: this process forks, without exec, on the spawner: a thread that never ran the async runtime.

use nix::unistd::Pid;

use super::error::Failed;
use super::process::Process;
use super::quiesce::{self, Forked};
use super::request::Order;
use super::{Step, birth, kernel};

pub(super) fn spawn(order: Order) -> Result<Process, Failed> {
    fork_actor(order)
}

/// Forks on the calling thread; the child goes on as the actor and does not return.
pub(super) fn fork_actor(order: Order) -> Result<Process, Failed> {
    let parent = Pid::this();
    match quiesce::fork()? {
        Forked::Child => birth::after_fork(order, parent),
        // The number is safe until the child is reaped, which only a wait for any child could do before this.
        Forked::Parent { child } => {
            let pidfd = kernel::open_pidfd(child).map_err(Failed::at(Step::Handle));
            pidfd
                .map(|pidfd| Process::new(child, pidfd))
                .inspect_err(|_| kernel::kill_and_reap(child))
        }
    }
}
