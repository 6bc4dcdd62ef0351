//! Runs cases that must be alone in their process: `init` comes before threads, and a fork takes everything along.
//!
//! Started without a case, this lists, filters and reports as any test binary does, and starts itself once for each
//! case, as `cargo nextest run` would. Started for one (`--exact NAME --nocapture`), it runs that case: the main
//! thread is the fork server, the case has another.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::wait::{WaitPidFlag, waitpid};
use runtime::spawn::{InitOptions, Stopper, init};

/// One test: a name, and what to run.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) body: Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>,
}

impl Case {
    pub(crate) fn new<F: Future<Output = ()> + 'static>(
        name: impl Into<String>,
        body: impl FnOnce() -> F + Send + 'static,
    ) -> Case {
        Case { name: name.into(), body: Box::new(move || Box::pin(body())) }
    }
}

/// The `main` of a test binary, after `divert`.
pub(crate) fn main(cases: Vec<Case>) -> ExitCode {
    let arguments = Arguments::from_args();
    match (&arguments.filter, arguments.exact && arguments.nocapture) {
        (Some(name), true) => match cases.into_iter().find(|case| case.name == *name) {
            Some(case) => run_here(case),
            None => ExitCode::SUCCESS,
        },
        (Some(_) | None, _) => {
            let trials = cases
                .into_iter()
                .map(|case| Trial::test(case.name.clone(), move || run_apart(&case.name)));
            libtest_mimic::run(&arguments, trials.collect()).exit_code()
        }
    }
}

/// What it writes goes to memory, not to a pipe: a process that a failing case leaves would hold a pipe open.
fn run_apart(name: &str) -> Result<(), Failed> {
    let mut written = File::from(memfd_create(c"output", MFdFlags::MFD_CLOEXEC)?);
    let status = Command::new(std::env::current_exe()?)
        .args(["--exact", name, "--nocapture"])
        .stdout(written.try_clone()?)
        .stderr(written.try_clone()?)
        .status()?;
    if status.success() {
        return Ok(());
    }
    let mut output = Vec::new();
    written.rewind()?;
    written.read_to_end(&mut output)?;
    Err(format!("{status}\n{}", String::from_utf8_lossy(&output)).into())
}

/// Ends the main thread's service of forks while a case runs.
pub(crate) fn stop_main_loop() {
    STOPPER.get().expect("a case is running").stop();
}

static STOPPER: OnceLock<Stopper> = OnceLock::new();

fn run_here(case: Case) -> ExitCode {
    let guard = init(InitOptions { forkserver: true, ..InitOptions::default() }).expect("init");
    let main_loop = guard.main_loop();
    let stopper = STOPPER.get_or_init(|| main_loop.stopper());
    let body = std::thread::Builder::new()
        .name("case".into())
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| block_on((case.body)())));
            stopper.stop();
            outcome
        })
        .expect("a thread for the case");
    main_loop.run();
    let outcome = body.join().expect("the case's panic is caught");
    drop(guard);
    let left = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL));
    match (outcome, left) {
        (Ok(()), Err(Errno::ECHILD)) => ExitCode::SUCCESS,
        (Ok(()), left) => {
            eprintln!("the case left a child behind: {left:?}");
            ExitCode::FAILURE
        }
        (Err(_), _) => ExitCode::FAILURE,
    }
}

/// For what has no event to wait for: looks until it is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "not so after half a minute: {what}");
        std::thread::yield_now();
    }
}

fn block_on(body: Pin<Box<dyn Future<Output = ()>>>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(body);
}
