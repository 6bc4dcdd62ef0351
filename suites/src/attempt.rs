//! Where the harness meets the runtime: what an attempt prepares before it has threads, how an
//! async test becomes a root actor's body, and whose name captured output carries.

use std::cell::RefCell;

use runner::{BodyFuture, Case, Done, MainLoop, Prepared, TestResult, capture};
use runtime::trace::Transition;
use runtime::{Backend, Config, RootConfig};
use uuid::Uuid;

use crate::{delays, mechanisms};

/// Starts the runtime while the attempt's first process has one thread; its main thread then
/// serves the forks of `thread_forkserver`.
pub(crate) fn prepare(case: &Case) -> TestResult<Prepared> {
    delays::choose(case);
    mechanisms::mark_heap_before_init();
    let guard = runtime::init(Config::default())?;
    let main_loop = guard.main_loop();
    let stopper = main_loop.stopper();
    Ok(Prepared {
        guard: Some(Box::new(guard)),
        main_loop: Some(MainLoop {
            run: Box::new(move || main_loop.run()),
            stop: Box::new(move || stopper.stop()),
        }),
    })
}

/// Runs an async test as the body of a root actor whose children are on the case's backend.
pub(crate) fn run_as_root(case: &Case, body: BodyFuture) -> Done {
    let not_set_up = |message: String| Done::NotSetUp { message };
    let config = match root_config(case) {
        Ok(config) => config,
        Err(error) => return not_set_up(error.to_string()),
    };
    runtime::block_on_root(config, body).unwrap_or_else(|error| not_set_up(error.to_string()))
}

/// A root whose children are on the case's backend; for tests that run the root themselves.
pub(crate) fn root_config(case: &Case) -> TestResult<RootConfig> {
    Ok(RootConfig { backend: backend(case)?, ..RootConfig::default() })
}

/// The backend under test.
pub(crate) fn backend(case: &Case) -> TestResult<Backend> {
    Ok(case.backend().parse()?)
}

/// Called in every new actor: its output carries its name. An actor that has a process of its own
/// has all of that process's output; one on a thread, as a root is, has its thread's.
pub(crate) fn label_output(name: &str, _: &Uuid) {
    LABELLED.set(Some(name.to_owned()));
    let backend = runtime::current().ok().and_then(|this| this.backend());
    match backend {
        Some(backend) if backend.is_process() => capture::label_process(name),
        Some(_) | None => capture::label_thread(name),
    }
}

thread_local! {
    static LABELLED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// For whom this thread's hook was called.
pub(crate) fn labelled() -> Option<String> {
    LABELLED.with_borrow(Clone::clone)
}

/// Called at each change of an actor's state: kept in the attempt's memory, so that a hung or
/// killed case still tells what its actors did last.
pub(crate) fn keep_transition(transition: &Transition<'_>) {
    match transition.here {
        Some(here) => runner::trace_line(format_args!("{here}: {transition}")),
        None => runner::trace_line(format_args!("{transition}")),
    }
}
