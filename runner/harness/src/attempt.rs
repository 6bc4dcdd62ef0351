//! One attempt, seen from inside its first process: from the fork to *done*.
//!
//! Called by the supervisor in the forked child, which has one thread. The order matters: facts
//! and capture, the suite's hook while there is still one thread, the watchdog, then the body on
//! a thread of its own while the main thread is the suite's, then the guard, then *done*.

use std::any::Any;
use std::os::fd::RawFd;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::thread;

use runner_core::memory::Memory;
use runner_core::protocol::{Attempt, Capture, Done, Resources, Work, variable};
use runner_core::report::BODY_THREAD;

use crate::capture::Passing;
use crate::case::{Case, SkipRequest, chain_of};
use crate::registry::{self, Body, RegisteredTest};
use crate::{Hooks, capture, panics, watchdog};

/// Takes a variable out of this process's environment, before any thread.
pub(crate) use environment::forget as forget_variable;

/// Runs the attempt in this process and ends the process.
pub(crate) fn run(
    test: &str,
    attempt: Attempt,
    memory: &'static Memory,
    owner: Option<&capture::Owner>,
    hooks: &Hooks,
) -> ! {
    let done = done(test, attempt, memory, owner, hooks);
    let code = exit_code(&done);
    memory.finish(&done);
    process::exit(code)
}

/// Runs a case where nobody but a person waits for its *done*, and ends the process.
pub(crate) fn run_alone(attempt: Attempt, memory: &'static Memory, hooks: &Hooks) -> ! {
    let done = match &attempt.work {
        Work::Test { name } => done(&name.clone(), attempt, memory, None, hooks),
        Work::Program(_) => {
            Done::NotSetUp { message: "a program is no case of this binary".into() }
        }
    };
    match &done {
        Done::Passed => {}
        // Most have told themselves, but not one that was resumed.
        Done::Panicked { message, .. } => eprintln!("error: panicked: {message}"),
        Done::Failed { message } | Done::NotSetUp { message } => eprintln!("error: {message}"),
        Done::Skipped { reason } => eprintln!("skipped: {reason}"),
    }
    process::exit(exit_code(&done))
}

fn done(
    test: &str,
    attempt: Attempt,
    memory: &'static Memory,
    owner: Option<&capture::Owner>,
    hooks: &Hooks,
) -> Done {
    enter(&attempt, memory, owner);
    let resources = attempt.resources;
    let watch = watchdog::Watch { memory, deadline: attempt.clocks.deadline, hook: hooks.describe };
    match registry::find(test) {
        None => Done::NotSetUp { message: format!("no test {test} in this binary") },
        Some(test) => {
            let watchdogs = u32::from(watch.is_needed());
            if let Some((threads, fds)) = count(resources) {
                memory.count_resources_before(threads + watchdogs, fds);
            }
            let case = Case::new(attempt, memory);
            let done = guarded(test, &case, hooks, || watchdog::start(watch));
            if let Some((threads, fds)) = count(resources) {
                memory.count_resources_after(threads, fds);
            }
            done
        }
    }
}

/// The working directory, the environment and the capture of an attempt.
fn enter(attempt: &Attempt, memory: &'static Memory, owner: Option<&capture::Owner>) {
    if let Err(error) = std::env::set_current_dir(&attempt.cwd) {
        refuse(memory, format!("cannot enter {}: {error}", attempt.cwd.display()));
    }
    for (name, value) in &attempt.env {
        environment::set(name, value);
    }
    match attempt.capture {
        // Trace points and labels have their place all the same.
        Capture::No | Capture::Fd => capture::attach(memory),
        Capture::Sys => capture::start(memory, Passing::Held),
        Capture::TeeSys => capture::start(memory, Passing::PassedOn),
    }
    if let Some(owner) = owner {
        environment::set(variable::CAPTURE, &capture::address(owner));
        if let Some(kept) = owner.kept() {
            environment::set(variable::KEEP_FDS, &with_kept(kept));
        }
    }
}

/// The list of fds to be left open, with one more.
fn with_kept(fd: RawFd) -> String {
    match std::env::var(variable::KEEP_FDS) {
        Ok(list) if !list.is_empty() => format!("{list},{fd}"),
        Ok(_) | Err(_) => fd.to_string(),
    }
}

/// Ends this process, which cannot begin the attempt.
fn refuse(memory: &Memory, message: String) -> ! {
    memory.finish(&Done::NotSetUp { message });
    process::exit(SETUP_FAILED)
}

/// The part between the suite's hook and the end of its guard.
fn guarded(
    test: &RegisteredTest,
    case: &Case,
    hooks: &Hooks,
    start_watchdog: impl FnOnce(),
) -> Done {
    panics::note();
    let prepared = match hooks.on_attempt_start {
        None => Prepared::default(),
        Some(hook) => match panic::catch_unwind(AssertUnwindSafe(|| hook(case))) {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(error)) => return Done::NotSetUp { message: chain_of(&*error) },
            Err(payload) => return Done::NotSetUp { message: panics::text(&*payload) },
        },
    };
    start_watchdog();
    let Prepared { guard, main_loop } = prepared;
    let done = beside(main_loop, || body(test, case.clone(), hooks));
    drop(guard);
    done
}

/// How many threads and fds this process has, if anybody wants to know.
fn count(resources: Resources) -> Option<(u32, u32)> {
    let entries = |folder| std::fs::read_dir(folder).map_or(0, Iterator::count);
    let count = |folder| u32::try_from(entries(folder)).unwrap_or(u32::MAX);
    match resources {
        Resources::Ignore => None,
        Resources::Count => Some((count("/proc/self/task"), count("/proc/self/fd"))),
    }
}

/// Runs `body` on a thread of its own while this, the main thread, runs the suite's loop.
fn beside(main_loop: Option<MainLoop>, body: impl FnOnce() -> Done + Send) -> Done {
    let (run, stop) = match main_loop {
        Some(MainLoop { run, stop }) => (Some(run), Some(stop)),
        None => (None, None),
    };
    thread::scope(|scope| {
        let builder = thread::Builder::new().name(BODY_THREAD.into());
        let started = builder.spawn_scoped(scope, move || {
            let done = body();
            if let Some(stop) = stop {
                stop();
            }
            done
        });
        let handle = match started {
            Ok(handle) => handle,
            Err(error) => {
                return Done::NotSetUp { message: format!("cannot start a thread: {error}") };
            }
        };
        if let Some(run) = run {
            run();
        }
        let lost = |payload: Box<dyn Any + Send>| Done::Panicked {
            message: panics::text(&*payload),
            location: String::new(),
        };
        handle.join().unwrap_or_else(lost)
    })
}

fn body(test: &RegisteredTest, case: Case, hooks: &Hooks) -> Done {
    let run = || match test.body {
        Body::Sync(body) => body(case),
        Body::Async(body) => {
            let future = body(case.clone());
            (hooks.executor)(&case, future)
        }
    };
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        match payload.downcast::<SkipRequest>() {
            Ok(request) => Done::Skipped { reason: request.0 },
            Err(payload) => Done::Panicked {
                message: panics::text(&*payload),
                location: panics::last_place().unwrap_or_default(),
            },
        }
    })
}

/// What a suite's `on_attempt_start` hook leaves in place while the body runs.
#[derive(Default)]
pub struct Prepared {
    /// Dropped after the body's value, before *done*: side-cars end here.
    pub guard: Option<Box<dyn Any>>,
    /// What the main thread does while the body runs.
    pub main_loop: Option<MainLoop>,
}

/// A loop for the main thread.
pub struct MainLoop {
    /// Runs it; returns after `stop`.
    pub run: Box<dyn FnOnce()>,
    /// Ends it, from the body's thread.
    pub stop: Box<dyn FnOnce() + Send>,
}

/// Exit code of a first process that could not begin.
pub(crate) const SETUP_FAILED: i32 = 96;
const FAILED: i32 = 101;

fn exit_code(done: &Done) -> i32 {
    match done {
        Done::Passed | Done::Skipped { .. } => 0,
        Done::Failed { .. } | Done::Panicked { .. } => FAILED,
        Done::NotSetUp { .. } => SETUP_FAILED,
    }
}

mod environment {
    //! The one place that changes the environment.
    #![expect(unsafe_code, reason = "changing the environment is unsafe beside other threads")]

    /// Sets a variable of this process, which has one thread.
    pub(super) fn set(name: &str, value: &str) {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return;
        }
        // SAFETY: called by `enter` only, in a process that was just forked from a
        // single-threaded supervisor and has started no thread.
        unsafe { std::env::set_var(name, value) };
    }

    /// Takes a variable away, in a process that has one thread.
    pub(crate) fn forget(name: &str) {
        // SAFETY: called at the start of a supervisor, before it has started any thread.
        unsafe { std::env::remove_var(name) };
    }
}
