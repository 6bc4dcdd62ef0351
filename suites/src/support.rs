//! Where the harness meets the runtime: what an attempt prepares before it has threads, how an
//! async test becomes a root actor's body, and whose name captured output carries.

use runner::{BodyFuture, Case, Done, MainLoop, Prepared, TestResult};
use runtime::{Backend, Config, RootConfig};
use uuid::Uuid;

/// Starts the runtime while the attempt's first process has one thread; its main thread then
/// serves the forks of `thread_forkserver`.
pub(crate) fn prepare(_: &Case) -> TestResult<Prepared> {
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
    let backend: Backend = match case.backend().parse() {
        Ok(backend) => backend,
        Err(error) => return not_set_up(format!("{error}")),
    };
    let config = RootConfig { backend, ..RootConfig::default() };
    runtime::block_on_root(config, body).unwrap_or_else(|error| not_set_up(error.to_string()))
}
