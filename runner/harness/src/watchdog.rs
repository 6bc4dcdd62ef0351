//! The watchdog of an attempt: a thread with its own clock, started before the body.
//!
//! Not a signal, which the hang it should end may starve, and not a timer of an async runtime.
//! When the deadline passes it records the raw stacks of all threads in the attempt's memory;
//! what then happens to the process is the supervisor's business. Then, and whenever somebody asks,
//! it has the suite's hook describe actors and tasks. The supervisor has the same
//! clock: a watchdog that cannot run is found missing from outside, and one whose deadline is moved
//! up by an outer clock is woken.
//!
//! It is a bare pthread, not one of std's: those allocate while they start, which gives each an
//! arena of malloc (a quarter of a trivial case's time) and makes the watchdog wait for a lock
//! that the body may hold for ever.
#![expect(unsafe_code, reason = "a thread that never allocates has to be made by hand")]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::time::Duration;

use runner_core::memory::{Memory, Phase, WatchdogDuty};

use crate::{Describe, stacks};

/// Enough for a hook of the suite that prints; `stacks` needs little. Only what is used is there.
const STACK_BYTES: usize = 256 << 10;

/// What a watchdog watches.
pub(crate) struct Watch {
    pub(crate) memory: &'static Memory,
    /// On the attempt's clock.
    pub(crate) deadline: Option<Duration>,
    /// The suite's, to describe actors and tasks.
    pub(crate) hook: Option<Describe>,
}

/// Starts the clock. If no thread can be started the supervisor's clock is all there is.
///
/// The process ends without joining it: nothing has to wake it up when the body is done.
pub(crate) fn start(watch: Watch) {
    if !watch.is_needed() {
        return;
    }
    let watch: *mut Watch = Box::leak(Box::new(watch));
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
    let watch = unsafe { &*watch.cast::<Watch>() };
    block_signals();
    // SAFETY: the name is terminated and shorter than 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"watchdog".as_ptr()) };
    loop {
        match watch.memory.wait_for_duty(watch.deadline) {
            WatchdogDuty::Over => break,
            WatchdogDuty::Describe => watch.describe(),
            WatchdogDuty::Deadline if watch.is_held() => stacks::pause(DEBUGGED_LOOK),
            WatchdogDuty::Deadline => {
                watch.report();
                break;
            }
        }
    }
    ptr::null_mut()
}

/// What is sent to the process is for its own threads: a handler of theirs may take locks.
fn block_signals() {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised before it is read; the old one is not asked for.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}

/// How often to look whether a debugger has gone that kept the deadline.
const DEBUGGED_LOOK: Duration = Duration::from_millis(100);

/// The supervisor has the same deadline, and takes a few milliseconds for its facts.
const FACTS_PATIENCE: Duration = Duration::from_millis(200);

impl Watch {
    /// Whether there is anything for a watchdog to do.
    pub(crate) fn is_needed(&self) -> bool {
        self.deadline.is_some() || self.hook.is_some()
    }

    /// Whether somebody debugs this process, and no outer clock has run out all the same.
    fn is_held(&self) -> bool {
        self.memory.phase() == Phase::Running && stacks::is_debugged()
    }

    fn report(&self) {
        if !self.memory.expire() {
            return;
        }
        self.memory.wait_for_facts(FACTS_PATIENCE);
        if self.memory.begin_stacks() {
            stacks::take_all(self.memory);
            self.memory.end_stacks();
            self.describe();
        }
    }

    /// The only part that may take locks or allocate: that is the hook's choice, and it comes last.
    fn describe(&self) {
        self.memory.describe(|out| {
            if let Some(hook) = self.hook {
                // Errors come from the hook itself: writing never fails.
                let described = panic::catch_unwind(AssertUnwindSafe(|| hook(out)));
                drop(described);
            }
        });
    }
}
