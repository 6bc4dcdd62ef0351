//! The start of a program.

use std::path::PathBuf;
use std::process::{ExitCode, Termination};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::child::entry;
use super::root::{RootConfig, block_on_root};
use crate::error::{ActorId, Error};
use crate::rpc::install_hook;
use crate::spawn::{self, InitError, InitOptions, MainLoop};

/// What a program wants from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Starts the fork server's side-car at once, while the program is small and has one thread. Without it the first actor
    /// on `forkserver` starts one, by exec. Default: yes.
    pub forkserver: bool,
    /// The program that actors are started from instead of this one; see [`Config::worker`]. Default: none.
    pub worker: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Config {
        Config { forkserver: true, worker: None }
    }
}

impl Config {
    /// For a program whose `main` is not its own (a plug-in, a module of an interpreter, a program around a GUI's loop): its actors
    /// are started from the executable `path`, an absolute path or one from the working directory. That program links the crate
    /// that defines what is called (`use that_crate as _;` if nothing else does), and begins with [`divert`].
    ///
    /// [`init`] may then be called at any time, with any number of threads running. `fork` and `thread_forkserver`, which copy the
    /// process, are [`Error::Unsupported`](crate::Error::Unsupported) in it; in actors of the worker binary all backends work.
    /// The process adopts the orphans of its actors, and reaps no others.
    pub fn worker(path: impl Into<PathBuf>) -> Config {
        Config { worker: Some(path.into()), ..Config::default() }
    }
}

/// To be called first in `main`. In a process that was started to be an actor it becomes that actor, and does not return; in
/// any other it returns at once. [`on_actor_start`] belongs before it.
pub fn divert() {
    spawn::set_entry(entry);
    spawn::divert();
}

/// Makes this program able to have actors. To be called once, after [`divert`], before anything starts a thread, unless
/// there is a [worker](Config::worker).
///
/// # Errors
/// [`InitError`] names what came before it, or what the operating system refused.
pub fn init(config: Config) -> Result<Guard, InitError> {
    spawn::set_entry(entry);
    let Config { forkserver, worker } = config;
    let guard = spawn::init(InitOptions { forkserver, worker })?;
    install_hook();
    INITIALISED.store(true, Ordering::Release);
    Ok(Guard { guard })
}

/// Holds what [`init`] started. Dropping it stops and reaps the fork server.
#[must_use = "dropping the guard stops the fork server"]
#[derive(Debug)]
pub struct Guard {
    guard: spawn::Guard,
}

impl Guard {
    /// What the main thread has to run, while the root actor runs on another, for `thread_forkserver` to work.
    pub fn main_loop(&self) -> MainLoop {
        self.guard.main_loop()
    }
}

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// Whether this process may have actors.
pub(super) fn is_initialised() -> bool {
    INITIALISED.load(Ordering::Acquire)
}

/// An actor's process is one by birth.
pub(super) fn mark_initialised() {
    INITIALISED.store(true, Ordering::Release);
}

/// What [`on_actor_start`] takes.
type StartHook = fn(&str, &Uuid);

/// Set once and only read: a lock here could be held by another thread while this one forks.
static START_HOOK: OnceLock<StartHook> = OnceLock::new();

/// Has `hook` called with name and uuid in each new actor, on the actor's thread, before any code of the user runs there. To
/// be registered before [`divert`], so that it is also known in actors with a fresh image.
///
/// # Panics
/// If another was registered before.
pub fn on_actor_start(hook: StartHook) {
    assert!(START_HOOK.set(hook).is_ok(), "on_actor_start takes one hook");
}

pub(super) fn call_start_hook(actor: &ActorId) {
    if let Some(hook) = START_HOOK.get() {
        hook(&actor.name, &actor.uuid);
    }
}

/// What `#[runtime::main]` makes of `main`: the root actor on a thread of its own, the main thread kept as fork server.
#[doc(hidden)]
pub fn run_main<F>(body: fn() -> F) -> ExitCode
where
    F: Future + 'static,
    F::Output: Termination,
{
    divert();
    match try_main(body) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

fn try_main<F>(body: fn() -> F) -> Result<ExitCode, Box<dyn std::error::Error>>
where
    F: Future + 'static,
    F::Output: Termination,
{
    let config = RootConfig::from_env()?;
    // Reported there: what `main` returns need not be able to leave its thread.
    let root = move || block_on_root(config, body()).map(Termination::report);
    match on_root_thread("root", root)? {
        // Whoever did it knows: no word, and the status that shells give to it.
        Ok(Err(Error::Interrupted)) => Ok(ExitCode::from(INTERRUPTED)),
        Ok(code) => Ok(code?),
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// Runs `root` on a thread of that name, and the main loop meanwhile on this one: a whole program, from `init` on.
pub(super) fn on_root_thread<T: Send + 'static>(
    name: &str,
    root: impl FnOnce() -> T + Send + 'static,
) -> Result<std::thread::Result<T>, Box<dyn std::error::Error>> {
    let guard = init(Config::default())?;
    let main_loop = guard.main_loop();
    let stopper = main_loop.stopper();
    let root = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _stop = StopAtEnd(stopper);
        root()
    })?;
    main_loop.run();
    Ok(root.join())
}

/// Ends the main thread's loop when the root has ended, also by a panic.
struct StopAtEnd(spawn::Stopper);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.stop();
    }
}
