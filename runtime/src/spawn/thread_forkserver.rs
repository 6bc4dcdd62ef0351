//! `thread_forkserver`: this process forks, without exec, on its main thread, which does nothing else.

use super::error::Failed;
use super::fork;
use super::process::Process;
use super::request::Order;

/// To be called on the main thread.
pub(super) fn spawn(order: Order) -> Result<Process, Failed> {
    fork::fork_actor(order)
}
