//! The root of a tree.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Handle, LocalRuntime};
use tokio::task::LocalSet;
use uuid::Uuid;

use super::home::Home;
use super::interrupt::Interrupts;
use super::program::{call_start_hook, is_initialised};
use crate::actor::{self, Ending, Origin, ScopeEnd, ThisActor, collect, in_place};
use crate::error::{ActorId, Error, Result};
use crate::log;
use crate::msg::{Timings, Vars};
use crate::rpc::{self, Exposes, Host, Panic, catch, catch_call};
use crate::spawn::{Backend, UnknownBackend};
use crate::variables::Variables;

/// The variable that names the backend of a program's actors, for [`RootConfig::from_env`].
const BACKEND_VARIABLE: &str = "RUNTIME_BACKEND";

/// What a root actor hands down to its tree.
#[derive(Clone, Debug, PartialEq)]
pub struct RootConfig {
    /// The root's name. Default: `root`.
    pub name: String,
    /// The backend of children for which none is named. Default: `exec`.
    pub backend: Backend,
    /// How long starts and teardowns may take.
    pub timings: Timings,
    /// Its runtime variables, which the tree inherits. Default: none.
    pub variables: Variables,
    /// What its children may call in it. Default: nothing; a child can be [offered](crate::Start::offer) more.
    pub exposes: Exposes,
}

impl Default for RootConfig {
    fn default() -> RootConfig {
        RootConfig {
            name: "root".to_owned(),
            backend: Backend::Exec,
            timings: Timings::default(),
            variables: Variables::new(),
            exposes: Exposes::default(),
        }
    }
}

impl RootConfig {
    /// The default, with the backend that the variable `RUNTIME_BACKEND` names, if it is set.
    ///
    /// # Errors
    /// If it names none.
    pub fn from_env() -> Result<RootConfig, UnknownBackend> {
        let default = RootConfig::default();
        match std::env::var(BACKEND_VARIABLE) {
            Ok(name) => Ok(RootConfig { backend: name.parse()?, ..default }),
            Err(_) => Ok(default),
        }
    }

    /// Sets a runtime variable of the root and all of its tree; see [`ActorInfo::var`](crate::ActorInfo::var).
    pub fn var<T: Serialize + DeserializeOwned + 'static>(mut self, value: &T) -> RootConfig {
        self.variables = self.variables.with(value);
        self
    }
}

/// Runs a root actor on this thread: `body`, then the teardown of whatever is left of its tree. Returns when all of it has
/// ended and been reaped.
///
/// While it runs, SIGINT (Ctrl-C) is its: the first cancels the tree, `body` with it; the second kills what is left of it without
/// asking; the third does what it does without a root. A program that handles or ignores SIGINT keeps doing so, and can call
/// [`interrupt`](crate::interrupt).
///
/// # Errors
/// [`Error::NotInitialised`] before [`init`](crate::init), [`Error::SecondRoot`] in an actor, in its process, and while this process
/// runs another root, [`Error::Unsendable`] for a runtime variable that cannot be handed down, [`Error::Interrupted`],
/// [`Error::System`] if no scheduler could be made.
///
/// # Panics
/// If `body` does, after the teardown; and inside a tokio runtime.
pub fn block_on_root<F: Future>(config: RootConfig, body: F) -> Result<F::Output> {
    let root = Root::new(config)?;
    let scheduler = scheduler()?;
    let _entered = root.enter();
    call_start_hook(&root.this.id);
    let outcome = scheduler.block_on(root.run(body));
    root.end();
    scheduler.shutdown_background();
    outcome?.map_err(|panic| resume_unwind(panic.payload))
}

/// Runs a root actor within a future, for a `body` that is found to need one. In a tokio runtime with I/O and time it is a guest
/// there, on the thread that polls; without a tokio runtime it blocks the thread until it has ended.
///
/// Dropped before its end, it leaves no time: its tree is killed.
pub(crate) async fn implicit<F: Future>(config: RootConfig, body: F) -> Result<F::Output> {
    if Handle::try_current().is_err() {
        return block_on_root(config, body);
    }
    let root = Root::new(config)?;
    let tasks = LocalSet::new();
    let outcome = {
        let mut running = pin!(tasks.run_until(root.run(body)));
        let mut is_new = true;
        poll_fn(|cx| {
            let _entered = root.enter();
            if std::mem::take(&mut is_new) {
                call_start_hook(&root.this.id);
            }
            running.as_mut().poll(cx)
        })
        .await
    };
    let _entered = root.enter();
    root.end();
    outcome?.map_err(|panic| resume_unwind(panic.payload))
}

/// A root actor that can be run.
struct Root {
    this: Arc<ThisActor>,
    host: Rc<Host>,
    _home: Home,
}

impl Root {
    fn new(config: RootConfig) -> Result<Root> {
        if !is_initialised() {
            return Err(Error::NotInitialised);
        }
        let id = ActorId { name: config.name, uuid: Uuid::new_v4() };
        let home = Home::claim(&id)?;
        let variables = config.variables.checked()?;
        let exposure = config.exposes.resolve()?;
        let timings = config.timings.bounded();
        let vars = Vars { backend: config.backend, timings, variables };
        let this = ThisActor::new(id, vars, Origin::Root);
        let host = Rc::clone(rpc::enter(Arc::clone(&this)).host());
        host.open(exposure, None);
        Ok(Root { this, host, _home: home })
    }

    /// Makes it this thread's actor.
    fn enter(&self) -> (actor::Entered, rpc::Entered) {
        (actor::enter(Arc::clone(&self.this)), rpc::reenter(Rc::clone(&self.host)))
    }

    async fn run<F: Future>(&self, body: F) -> Result<Result<F::Output, Panic>> {
        let whole = async {
            let outcome = live(&self.this, &self.host, body).await;
            self.host.close_peers().await;
            outcome
        };
        log::within(self.this.tasks.span(), whole).await
    }

    fn end(&self) {
        release(&self.this);
        for failure in self.this.take_unclaimed() {
            // Above a root there is nobody else to tell.
            eprintln!("runtime: a failure that no scope was left to return: {failure}");
        }
    }
}

/// The body, and then the end of all that it left.
async fn live<F: Future>(
    this: &Arc<ThisActor>,
    host: &Host,
    body: F,
) -> Result<Result<F::Output, Panic>> {
    let interrupts = Interrupts::listen().map_err(|error| Error::System {
        what: "listening for interrupts".to_owned(),
        reason: error.to_string(),
    })?;
    let mut body = pin!(Some(body));
    let outcome = tokio::select! {
        biased;
        outcome = catch_in_place(body.as_mut()) => Ok(outcome),
        () = interrupts.next() => Err(Error::Interrupted),
    };
    let left = collect(|| body.set(None));
    host.end(&this.id);
    // A nursery that was kept, in what the body returned or elsewhere, is not waited for: nobody is left to end it.
    this.scopes.end_all(ScopeEnd::Cancelled);
    let ended = async {
        this.claim_none(left.wait().await);
        this.tasks.wait_idle().await;
    };
    let mut ended = pin!(ended);
    let mut so_far = u32::from(outcome.is_err());
    loop {
        tokio::select! {
            () = &mut ended => return outcome,
            () = interrupts.next() => so_far += 1,
        }
        if so_far > 1 {
            // Nor is anything given time.
            this.begin_ending(Ending { by: this.id.clone(), deadline: Instant::now() });
            this.scopes.end_all(ScopeEnd::Killed);
        }
    }
}

async fn catch_in_place<F: Future>(body: Pin<&mut Option<F>>) -> Result<F::Output, Panic> {
    catch(pin!(in_place(body))).await
}

/// Releases what the actor has to release, the latest first. Whatever panics, the rest is released too.
pub(super) fn release(this: &ThisActor) {
    while let Some(release) = this.lifetime.pop() {
        if let Err(panic) = catch_call(release) {
            this.claim_none([panic.into_error(&this.id)]);
        }
    }
}

/// Taken from the kernel at a time. Few actors have more descriptors than this; room for tokio's thousand would be memory that
/// each actor has to be given.
const IO_EVENTS: usize = 64;

/// The scheduler of one actor: everything on the calling thread.
pub(super) fn scheduler() -> Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_io_events_per_tick(IO_EVENTS)
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(|error| Error::System {
            what: "making an actor's scheduler".to_owned(),
            reason: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In this program nobody has called `init`.
    #[test]
    fn there_is_no_root_before_init() {
        let refused = block_on_root(RootConfig::default(), async {});
        assert!(matches!(refused, Err(Error::NotInitialised)), "{refused:?}");
    }
}
