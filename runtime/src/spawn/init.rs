//! The start of a program that will have actors: what must be learnt, installed or started before there are threads.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::AccessFlags;

use super::globals::globals;
use super::main_loop::MainLoop;
use super::summons::Tokio;
use super::{InitError, descriptors, forkserver, lineage, panics, signals, title};

/// What a program wants from the start.
#[derive(Clone, Debug, Default)]
pub struct InitOptions {
    /// Starts the fork server's side-car now, while it is cheap to fork and sure to be clean. Without it, and where there is a
    /// worker, the first spawn on `forkserver` starts one, by exec.
    pub forkserver: bool,
    /// The program that this process's actors are started from, where its own `main` belongs to somebody else.
    pub worker: Option<PathBuf>,
}

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// The program that actors get a fresh image of, in a process whose own image is not theirs.
static WORKER: OnceLock<PathBuf> = OnceLock::new();

/// Makes this process able to have children: to be called once, before any other thread.
///
/// Learns tokio's process-wide descriptors, puts a panic hook before the present one (it serves forked children
/// only), makes this process the adopter of its descendants' orphans, and starts the side-car if that is wanted.
///
/// With a worker, this process is never forked without an exec, and only the adopting is left to do: then it may come at any time.
///
/// # Errors
/// [`InitError`]: a second time, too late, no such worker, or refused by the system. Nothing has been started then.
pub fn init(options: InitOptions) -> Result<Guard, InitError> {
    if is_done() {
        return Err(InitError::Twice);
    }
    match options.worker {
        None => init_owner(options.forkserver)?,
        Some(worker) => init_guest(worker)?,
    }
    Ok(Guard(()))
}

fn init_owner(forkserver: bool) -> Result<(), InitError> {
    check_alone()?;
    signals::remember_std_handlers();
    found_tree()?;
    prepare(Tokio::Unknown).map_err(failed("learn what tokio keeps open"))?;
    if forkserver {
        forkserver::start_early().map_err(failed("start the fork server"))?;
    }
    Ok(())
}

fn init_guest(worker: PathBuf) -> Result<(), InitError> {
    if let Err(errno) = nix::unistd::access(&worker, AccessFlags::X_OK) {
        return Err(InitError::Worker { path: worker, source: errno.into() });
    }
    found_tree()?;
    WORKER.get_or_init(|| worker);
    INITIALISED.store(true, Ordering::Release);
    Ok(())
}

fn found_tree() -> Result<(), InitError> {
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|errno| failed("become a subreaper")(errno.into()))?;
    lineage::found().map_err(failed("make the table of actors"))
}

/// The program that is not this one and stands for it.
pub(super) fn worker() -> Option<&'static OsStr> {
    WORKER.get().map(|path| path.as_os_str())
}

/// The part of [`init`] that actors with a fresh image need too.
pub(super) fn prepare(tokio: Tokio) -> io::Result<()> {
    descriptors::learn_tokio(tokio)?;
    panics::install_hook();
    title::prepare();
    // std makes these at first use, and a child forked in the midst of that would wait for it for ever.
    drop((io::stdout().lock(), io::stderr().lock()));
    INITIALISED.store(true, Ordering::Release);
    Ok(())
}

pub(super) fn is_done() -> bool {
    INITIALISED.load(Ordering::Acquire)
}

/// Holds what [`init`] started. Dropping it stops and reaps the side-car.
#[must_use = "dropping the guard stops the fork server"]
#[derive(Debug)]
pub struct Guard(());

impl Guard {
    /// The loop for the main thread, without which `thread_forkserver` is unavailable. Requests queue from now on.
    pub fn main_loop(&self) -> MainLoop {
        MainLoop::open()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        globals().sidecars.stop();
    }
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> InitError {
    move |source| InitError::Os { step, source }
}

fn check_alone() -> Result<(), InitError> {
    let task = std::fs::metadata("/proc/self/task").map_err(failed("count the threads"))?;
    // A directory links to itself, its parent links to it, and so does each directory in it: one for each thread.
    match task.nlink().saturating_sub(2) {
        0 | 1 => Ok(()),
        threads => Err(InitError::Threads { threads }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_too_late_where_threads_run() {
        std::thread::scope(|scope| {
            let (finish, finished) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || finished.recv());
            match init(InitOptions::default()) {
                Err(InitError::Threads { threads }) => assert!(threads > 1),
                other => panic!("{other:?}"),
            }
            drop(finish);
        });
    }
}
