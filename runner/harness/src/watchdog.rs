//! The watchdog of an attempt: a thread with its own clock, started before the body.
//!
//! Not a signal, which the hang it should end may starve, and not a timer of an async runtime.
//! When the deadline passes it records the raw stacks of all threads in the attempt's memory;
//! what then happens to the process is the supervisor's business. The supervisor has the same
//! clock: a watchdog that cannot run is found missing from outside.

use std::thread;
use std::time::Duration;

use runner_core::memory::Memory;

use crate::stacks;

/// Starts the clock. If no thread can be started the supervisor's clock is all there is.
pub(crate) fn start(memory: &'static Memory, deadline: Duration) {
    let watch = move || {
        wait_until(memory, deadline);
        if memory.expire() && memory.begin_stacks() {
            stacks::take_all(memory);
            memory.end_stacks();
        }
    };
    // The process ends without joining it: nothing has to wake it up when the body is done.
    let _ = thread::Builder::new().name("watchdog".into()).stack_size(64 << 10).spawn(watch);
}

/// Sleeps against the attempt's own start, so that time before the thread ran counts too.
fn wait_until(memory: &Memory, deadline: Duration) {
    while let Some(left) = deadline.checked_sub(memory.elapsed()).filter(|left| !left.is_zero()) {
        thread::sleep(left);
    }
}
