//! The watchdog of an attempt: a thread with its own clock, started before the body.
//!
//! Not a signal, which the hang it should end may starve, and not a timer of an async runtime.
//! When the deadline passes it records the raw stacks of all threads in the attempt's memory;
//! what then happens to the process is the supervisor's business. The supervisor has the same
//! clock: a watchdog that cannot run is found missing from outside, and one whose deadline is moved
//! up by an outer clock is woken.
//!
//! It is a bare pthread, not one of std's: those allocate while they start, which gives each an
//! arena of malloc (a quarter of a trivial case's time) and makes the watchdog wait for a lock
//! that the body may hold for ever.
#![expect(unsafe_code, reason = "a thread that never allocates has to be made by hand")]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use runner_core::memory::Memory;

use crate::stacks;

/// Enough for the folder buffer and the paths of `stacks`; its frames are small.
const STACK_BYTES: usize = 64 << 10;

struct Watch {
    memory: &'static Memory,
    deadline: Duration,
}

/// Starts the clock. If no thread can be started the supervisor's clock is all there is.
///
/// The process ends without joining it: nothing has to wake it up when the body is done.
pub(crate) fn start(memory: &'static Memory, deadline: Duration) {
    let watch: *mut Watch = Box::leak(Box::new(Watch { memory, deadline }));
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: the attributes are initialised before they are used and destroyed after; `watch` is
    // leaked, so it outlives the thread, and is only read from now on.
    unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK_BYTES);
        let attributes = attributes.as_mut_ptr();
        libc::pthread_create(thread.as_mut_ptr(), attributes, run, watch.cast());
        libc::pthread_attr_destroy(attributes);
    }
}

extern "C" fn run(watch: *mut c_void) -> *mut c_void {
    // SAFETY: `start` passes a leaked Watch that nobody writes.
    let Watch { memory, deadline } = unsafe { &*watch.cast::<Watch>() };
    // SAFETY: the name is terminated and shorter than 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"watchdog".as_ptr()) };
    memory.wait_for_deadline(*deadline);
    if memory.expire() && memory.begin_stacks() {
        stacks::take_all(memory);
        memory.end_stacks();
    }
    ptr::null_mut()
}
