//! The root of a tree.

use std::panic::resume_unwind;
use std::pin::pin;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, LocalRuntime};
use uuid::Uuid;

use super::program::{call_start_hook, is_initialised};
use crate::actor::{self, Origin, ThisActor};
use crate::error::{ActorId, Error, Result};
use crate::msg::{Timings, Vars};
use crate::rpc::{self, Exposes, catch, catch_call};
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
/// # Errors
/// [`Error::NotInitialised`] before [`init`](crate::init), [`Error::SecondRoot`] inside an actor, [`Error::Unsendable`] for a
/// runtime variable that cannot be handed down, [`Error::System`] if no scheduler could be made.
///
/// # Panics
/// If `body` does, after the teardown; and inside a tokio runtime.
pub fn block_on_root<F: Future>(config: RootConfig, body: F) -> Result<F::Output> {
    if !is_initialised() {
        return Err(Error::NotInitialised);
    }
    if let Ok(this) = actor::this() {
        return Err(Error::SecondRoot(this.id.clone()));
    }
    let variables = config.variables.checked()?;
    let exposure = config.exposes.resolve()?;
    let scheduler = scheduler()?;
    let id = ActorId { name: config.name, uuid: Uuid::new_v4() };
    let vars = Vars { backend: config.backend, timings: config.timings, variables };
    let this = ThisActor::new(id, vars, Origin::Root);
    let _entered = actor::enter(std::sync::Arc::clone(&this));
    let reachable = rpc::enter(std::sync::Arc::clone(&this));
    reachable.host().open(exposure, None);
    call_start_hook(&this.id);
    let outcome = scheduler.block_on(async {
        let outcome = catch(pin!(body)).await;
        reachable.host().end(&this.id);
        // A nursery that was kept, in what the body returned or elsewhere, is not waited for: nobody is left to end it.
        this.scopes.end_all();
        this.tasks.wait_idle().await;
        outcome
    });
    release(&this);
    scheduler.shutdown_background();
    for failure in this.take_unclaimed() {
        // Above a root there is nobody else to tell.
        eprintln!("runtime: a failure that no scope was left to return: {failure}");
    }
    outcome.map_err(|panic| resume_unwind(panic.payload))
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
