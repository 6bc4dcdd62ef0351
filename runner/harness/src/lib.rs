//! What a suite binary links: registration of tests, the fork server that is its supervisor, the
//! watchdog, capture, and the faces it shows to `cargo nextest run` and `cargo test`.
//!
//! A suite depends on this crate under the name `runner` and has one test target without the
//! standard harness:
//!
//! ```no_run
//! use runner::{Case, TestResult};
//! # extern crate runner_harness as runner;
//!
//! fn main() -> std::process::ExitCode {
//!     runner::harness!().main()
//! }
//! # mod doc {
//! # use runner_harness::{self as runner, Case, TestResult};
//! #[runner::test]
//! #[timeout("10s")]
//! fn one_and_one(case: Case) -> TestResult {
//!     println!("on {}", case.backend());
//!     (1 + 1 == 2).then_some(()).ok_or("arithmetic is broken".into())
//! }
//! # }
//! ```
//!
//! In the order data flows: [`registry`] is filled at link time; `face` and the supervisor (of
//! `runner_supervisor`, which forks cases: `forked`) are the two roles of the binary; `attempt`, `watchdog`, `stacks` and [`capture`] live inside a case.

mod attempt;
pub mod capture;
mod case;
mod face;
mod forked;
mod landing;
mod panics;
mod player;
pub mod registry;
mod respawn;
mod stacks;
mod trace;
mod unserved;
mod watchdog;

use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use runner_core::memory::Memory;
use runner_core::protocol::{Attempt, role, variable};

use forked::ForkedCase;

pub use attempt::{MainLoop, Prepared};
pub use case::{Case, TestResult, Verdict};
pub use registry::BodyFuture;
pub use runner_core::protocol::{Done, Panics};
pub use runner_macros::{marks, test};
pub use trace::{trace, trace_line};

#[doc(hidden)]
pub mod private {
    pub use crate::case::skip;
    pub use linkme;
}

/// Ends the test as skipped, with a reason as in `format!`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => { $crate::private::skip(::std::format!($($reason)+)) };
}

/// The harness of the calling test target; configure it, then call [`Harness::main`].
#[macro_export]
macro_rules! harness {
    () => {
        $crate::Harness::new($crate::Target {
            package: ::std::env!("CARGO_PKG_NAME"),
            name: ::std::env!("CARGO_CRATE_NAME"),
            package_root: ::std::env!("CARGO_MANIFEST_DIR"),
            panics: if ::std::cfg!(panic = "abort") {
                $crate::Panics::Abort
            } else {
                $crate::Panics::Unwind
            },
        })
    };
}

/// A test target, as cargo knew it when it was compiled.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// `CARGO_PKG_NAME`.
    pub package: &'static str,
    /// `CARGO_CRATE_NAME`.
    pub name: &'static str,
    /// `CARGO_MANIFEST_DIR`; the manifest is looked for from here upwards.
    pub package_root: &'static str,
    /// What a panic does to its processes.
    pub panics: Panics,
}

/// Called in an attempt's first process while it has one thread.
pub type OnAttemptStart = fn(&Case) -> TestResult<Prepared>;

/// Tells of the actors and tasks of an attempt's first process, for a hang report.
pub type Describe = fn(&mut dyn io::Write) -> io::Result<()>;

/// Runs the future of an async test to its end, on the thread of the body.
pub type Executor = fn(&Case, BodyFuture) -> Done;

/// A suite binary, before it knows which role it plays.
#[derive(Debug)]
pub struct Harness {
    target: Target,
    hooks: Hooks,
}

/// What a suite adds to the harness.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hooks {
    divert: Option<fn()>,
    on_attempt_start: Option<OnAttemptStart>,
    executor: Executor,
    describe: Option<Describe>,
}

impl Harness {
    /// A harness without hooks; use [`harness!`].
    pub fn new(target: Target) -> Self {
        let hooks =
            Hooks { divert: None, on_attempt_start: None, executor: block_on, describe: None };
        Self { target, hooks }
    }

    /// Called before the arguments are read: for an image of this binary that is no test at all,
    /// such as an exec'd actor, it does not return. Its output is captured already.
    #[must_use]
    pub fn divert(mut self, divert: fn()) -> Self {
        self.hooks.divert = Some(divert);
        self
    }

    /// Called in each attempt's first process while it has one thread; what it returns stays in
    /// place until the body's value is dropped.
    #[must_use]
    pub fn on_attempt_start(mut self, hook: OnAttemptStart) -> Self {
        self.hooks.on_attempt_start = Some(hook);
        self
    }

    /// Runs async tests, instead of a plain single-future executor.
    #[must_use]
    pub fn executor(mut self, executor: Executor) -> Self {
        self.hooks.executor = executor;
        self
    }

    /// Describes actors and tasks as text, for hang reports and for whoever asks while a case runs.
    ///
    /// Called on the watchdog's thread of an attempt's first process, after the stacks were taken,
    /// while everything else goes on or hangs. It has about two seconds and 256 KiB of stack. What
    /// it writes is kept as it comes, 64 KiB of it, whatever becomes of it: it may wait for a lock
    /// that nobody will give back, panic, or crash, and only its own text suffers. It should all
    /// the same try locks rather than wait for them.
    #[must_use]
    pub fn describe(mut self, describe: Describe) -> Self {
        self.hooks.describe = Some(describe);
        self
    }

    /// Plays the role that the environment asks for: listing, supervisor, or the look-alike of
    /// libtest that `cargo nextest run` and `cargo test` drive.
    pub fn main(self) -> ExitCode {
        capture::resume();
        if capture::memory().is_some() {
            panics::note();
        }
        if let Some(divert) = self.hooks.divert {
            divert();
        }
        let hooks: &'static Hooks = Box::leak(Box::new(self.hooks));
        if let Some(reason) = unserved::reason() {
            return failure(&format!("test target `{}`: {reason}", self.target.name));
        }
        match std::env::var(variable::ROLE) {
            Ok(value) if value == role::LIST => list(&self.target),
            Ok(value) if value == role::SUPERVISOR => supervise(hooks),
            Ok(value) if value == role::CASE => debug(hooks),
            Ok(value) => failure(&format!("{} is no role: {value}", variable::ROLE)),
            Err(_) => face::run(&self.target, hooks),
        }
    }
}

const FAILED: u8 = 101;

fn failure(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(FAILED)
}

fn list(target: &Target) -> ExitCode {
    match serde_json::to_string(&registry::listing(target.panics)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => failure(&format!("cannot list: {error}")),
    }
}

/// The role that the runner starts this binary for.
fn supervise(hooks: &'static Hooks) -> ExitCode {
    let inherited = |name: &str| {
        let number = std::env::var(name).ok().and_then(|text| text.parse().ok());
        number.map(runner_supervisor::inherited).and_then(Result::ok)
    };
    let (Some(control), Some(memory)) = (inherited(variable::CONTROL), inherited(variable::MEMORY))
    else {
        return failure("a supervisor is started by the runner only");
    };
    let memory = match Memory::open(memory) {
        Ok(memory) => memory,
        Err(error) => return failure(&format!("the attempt memory cannot be mapped: {error}")),
    };
    forget_role();
    match runner_supervisor::serve(control.into(), memory, ForkedCase::new(hooks)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&format!("supervisor: the runner {error}")),
    }
}

/// One case in this very process, which a debugger has started.
fn debug(hooks: &'static Hooks) -> ExitCode {
    let told = std::env::var(variable::CASE).unwrap_or_default();
    let attempt: Attempt = match serde_json::from_str(&told) {
        Ok(attempt) => attempt,
        Err(error) => return failure(&format!("{} is no attempt: {error}", variable::CASE)),
    };
    let memory = match Memory::create(0) {
        Ok(memory) => &*Box::leak(Box::new(memory)),
        Err(error) => return failure(&format!("no attempt memory can be made: {error}")),
    };
    forget_role();
    memory.begin();
    attempt::run_alone(attempt, memory, hooks)
}

/// A test that starts this binary again must not get a supervisor.
fn forget_role() {
    for name in [variable::ROLE, variable::CONTROL, variable::MEMORY, variable::CASE] {
        attempt::forget_variable(name);
    }
}

/// Polls one future on this thread, parked in between: all an async test needs that brings its
/// own reactor, and no dependency.
fn block_on(_: &Case, future: BodyFuture) -> Done {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}
