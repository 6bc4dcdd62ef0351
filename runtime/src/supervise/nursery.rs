//! The scope that owns children.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::{Notify, mpsc, oneshot};

use super::crew::{Crew, Membership};
use super::start::{Start, target};
use super::supervisor::{Roster, Supervised, Supervisor};
use crate::actor::{self, Remnant, Scope, ScopeEnd, ThisActor, collect, in_place, leave};
use crate::boot::{self, RootConfig};
use crate::error::{ActorId, Error, Result};
use crate::line::{Bond, Line, Manner, Order};
use crate::log;
use crate::rpc::{Actor, Function};
use crate::trace::{self, Wait};

/// Runs `body` as a scope that owns the actors started in it. Ends when `body` and every child have ended and been reaped.
///
/// The body counts as one more child. When it or a child fails, the others are cancelled (the body by dropping its future,
/// after what was ready in it has run), waited for, and the failure is returned; several failures come back as one
/// [`Group`](crate::Group), the body's first, then the children's in the order of their starts. A child fails when it dies
/// unasked, when its one-shot function fails, or when it has to be forced to end. An error that a call to a daemon returns is
/// the caller's.
///
/// When the body ends well, one-shots are waited for, and daemons too, for as long as they live: somebody must cancel them.
///
/// # Without an actor
/// Where no actor runs, this runs a root for as long as the scope lives, as [`block_on_root`](crate::block_on_root) does with
/// [`RootConfig::from_env`](crate::RootConfig::from_env); [`RootConfig::nursery`](crate::RootConfig::nursery) takes other options. In a
/// tokio runtime (with I/O and time) the root is a guest on the thread that awaits this; without one the thread is blocked.
///
/// # Errors
/// The failures; without an actor also what [`block_on_root`](crate::block_on_root) fails with.
///
/// # Panics
/// Without an actor, as [`RootConfig::nursery`].
///
/// # Cancel safety
/// Dropping the future cancels the scope: every child is told, torn down and reaped by the actor, which does not end before. A root that
/// this runs ends there and then: its tree is killed.
pub async fn nursery<T, B>(body: B) -> Result<T>
where
    B: AsyncFnOnce(&Nursery) -> Result<T>,
{
    match actor::this() {
        Ok(_) => run(body).await,
        Err(_) => {
            let config = RootConfig::from_env().map_err(Error::user)?;
            config.nursery(body).await
        }
    }
}

impl RootConfig {
    /// Runs a root with these options for as long as a scope lives: [`nursery`] with options, where no actor runs.
    ///
    /// # Errors
    /// The scope's failures, and what [`block_on_root`](crate::block_on_root) fails with: [`Error::SecondRoot`] in an actor.
    ///
    /// # Panics
    /// If `body` does; and in a tokio runtime without I/O or time.
    ///
    /// # Cancel safety
    /// Dropping the future kills the tree.
    pub async fn nursery<T, B>(self, body: B) -> Result<T>
    where
        B: AsyncFnOnce(&Nursery) -> Result<T>,
    {
        Box::pin(boot::implicit(self, run(body))).await?
    }
}

async fn run<T, B>(body: B) -> Result<T>
where
    B: AsyncFnOnce(&Nursery) -> Result<T>,
{
    let nursery = Nursery::open()?;
    let mut running = pin!(Some(body(&nursery)));
    let outcome = tokio::select! {
        // The body first: what a death answered in it is seen by it before the death cancels it.
        biased;
        outcome = in_place(running.as_mut()) => Some(outcome),
        () = nursery.core.wait_failed() => None,
    };
    // What a body that was cut short leaves is waited for like the body itself.
    let left = collect(|| running.set(None));
    let value = match outcome {
        Some(Ok(value)) => Some(value),
        Some(Err(failure)) => {
            nursery.core.on_body_failed(failure);
            None
        }
        None => None,
    };
    nursery.core.on_body_left(left.wait().await);
    let failures = nursery.wait_children().await;
    if let Some(failure) = Error::from_failures(failures) {
        return Err(failure);
    }
    value.ok_or_else(|| Error::Bug("a nursery's body was cancelled for no failure".to_owned()))
}

/// Owns actors. Given to the body of [`nursery`]; or opened with [`Nursery::open`], to be kept in a struct.
///
/// Dropping an open one cancels its children. Their teardown, and what fails in it, is then the business of the scope that cut its
/// holder short, or else the actor's: it does not end before they have, and its parent is told the failures. One that is kept
/// beyond the end of its actor (returned from the root's body, or leaked) counts as dropped at that end.
pub struct Nursery {
    core: Arc<Core>,
}

impl Nursery {
    /// An open nursery, to be ended by [`shutdown`](Nursery::shutdown), [`join`](Nursery::join), or a drop.
    ///
    /// # Errors
    /// [`Error::NoRuntime`] outside an actor.
    pub fn open() -> Result<Nursery> {
        let this = actor::this()?;
        let core = Arc::new(Core { this, state: Mutex::default(), changed: Notify::new() });
        let weak: Weak<Core> = Arc::downgrade(&core);
        core.this.scopes.enter(weak);
        Ok(Nursery { core })
    }

    /// Starts an actor of type `A`, whose methods its handle has. Await it, after choosing options; if its constructor takes
    /// arguments, give them with [`Start::with`].
    pub fn start<A: Actor>(&self, name: impl Into<String>) -> Start<'_, target::Typed<A>> {
        Start::typed(self, name.into())
    }

    /// Starts an actor that serves the free functions it is told to [`expose`](Start::expose).
    pub fn actor(&self, name: impl Into<String>) -> Start<'_, target::Daemon> {
        Start::daemon(self, name.into())
    }

    /// Starts an actor for one call: it runs `F`, and is reaped after its result. Its failure is the nursery's.
    pub fn run_in_actor<F: Function>(
        &self,
        name: impl Into<String>,
        args: F::Args,
    ) -> Start<'_, target::Once<F>> {
        Start::once(self, name.into(), args)
    }

    /// Starts the children of a supervisor, in order, and returns when all are ready. From then on it starts them again when
    /// they end, as it says; in this nursery it is like one child.
    ///
    /// # Errors
    /// What the first child that could not be started failed with, when those before it have been stopped.
    /// [`Error::Supervision`] if two have one name, or a permanent one is significant; [`Error::Cancelled`] if the nursery was
    /// cancelled; [`Error::NoRuntime`] outside the nursery's actor.
    ///
    /// # Cancel safety
    /// Dropping the future stops the children.
    pub async fn supervise(&self, supervisor: Supervisor) -> Result<Supervised> {
        supervisor.check()?;
        let this = self.this()?;
        let bond = Arc::new(Bond::default());
        let place = self.core.admit(Member::Crew(Arc::clone(&bond)))?;
        let membership =
            Membership { core: Arc::clone(&self.core), place, bond: Arc::clone(&bond) };
        let (requests_tx, requests_rx) = mpsc::channel(REQUESTS);
        let (begun_tx, begun_rx) = oneshot::channel();
        let roster = Arc::new(Roster::default());
        let crew = Crew::new(supervisor, membership, Arc::clone(&roster), requests_rx, begun_tx);
        this.tasks.spawn(crew.run());
        let awaited = Awaited { bond: Some(Arc::clone(&bond)), this: Arc::clone(&this) };
        let begun = begun_rx.await;
        awaited.end();
        begun.unwrap_or_else(|_| Err(Error::Bug("a supervisor said nothing".to_owned())))?;
        Ok(Supervised { this, roster, bond, requests_tx })
    }

    /// Cancels all children, and returns when they have ended and been reaped. No more can be started. What failed is
    /// returned where the nursery ends.
    ///
    /// # Cancel safety
    /// The order is given at once; dropping the future does not take it back.
    pub async fn cancel(&self) {
        self.core.cancel_children(&self.core.this.id);
        self.core.wait_empty().await;
    }

    /// Kills all children and all below them without asking, and returns when they have been reaped; see [`Portal::kill`](crate::Portal::kill). No
    /// more can be started.
    ///
    /// # Cancel safety
    /// The order is given at once; dropping the future does not take it back.
    pub async fn kill(&self) {
        self.core.end_children(&self.core.this.id, Manner::Kill);
        self.core.wait_empty().await;
    }

    /// Cancels all children, waits for them, and ends.
    ///
    /// # Errors
    /// What failed: before, and while they were torn down.
    ///
    /// # Cancel safety
    /// The order is given at once. Dropping the future drops the nursery.
    pub async fn shutdown(self) -> Result<()> {
        self.core.cancel_children(&self.core.this.id);
        self.join().await
    }

    /// Waits for all children to end by themselves, and ends. The first failure cancels the others.
    ///
    /// # Errors
    /// What failed.
    ///
    /// # Cancel safety
    /// Dropping the future drops the nursery: a cancel.
    pub async fn join(self) -> Result<()> {
        let failures = self.wait_children().await;
        Error::from_failures(failures).map_or(Ok(()), Err)
    }

    /// This actor, if it is the nursery's: keepers run on the thread of the actor that owns them.
    pub(super) fn this(&self) -> Result<Arc<ThisActor>> {
        let this = actor::this()?;
        if Arc::ptr_eq(&this, &self.core.this) { Ok(this) } else { Err(Error::NoRuntime) }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    async fn wait_children(&self) -> Vec<Error> {
        let _blocked = trace::blocked(&self.core.this.id, Wait::Nursery);
        self.core.wait_empty().await;
        self.core.take_failures()
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        self.core.disown();
    }
}

/// What is asked of a supervisor and not yet answered; more have to wait.
const REQUESTS: usize = 16;

/// A supervisor whose start is awaited. Dropped before that is over, it is stopped.
struct Awaited {
    bond: Option<Arc<Bond>>,
    this: Arc<ThisActor>,
}

impl Awaited {
    fn end(mut self) {
        self.bond = None;
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(bond) = self.bond.take() {
            let within = self.this.remaining(Instant::now());
            bond.order(Order { by: self.this.id.clone(), within, manner: Manner::Ask });
        }
    }
}

/// What the nursery shares with the keepers of its children.
pub(super) struct Core {
    pub(super) this: Arc<ThisActor>,
    state: Mutex<State>,
    /// A child ended, or the first failure came.
    changed: Notify,
}

#[derive(Default)]
struct State {
    phase: Phase,
    next_place: u64,
    /// Those that have not ended, by the order of their starts.
    living: BTreeMap<u64, Member>,
    failures: BTreeMap<Place, Vec<Error>>,
}

/// What a nursery waits for.
pub(super) enum Member {
    Actor(Arc<Line>),
    /// The children of a supervisor.
    Crew(Arc<Bond>),
}

impl Member {
    fn bond(&self) -> &Bond {
        match self {
            Member::Actor(line) => &line.bond,
            Member::Crew(bond) => bond,
        }
    }
}

/// Whose failure: its order among the others'.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Body,
    /// By the order of their starts.
    Child(u64),
}

#[derive(Default)]
enum Phase {
    #[default]
    Open,
    /// No child is started any more; those that live are ending.
    Cancelled { by: ActorId },
    /// As before, and nobody waits: failures are the actor's.
    Disowned { by: ActorId, heir: Heir },
}

/// Who answers for a scope that nobody waits for.
enum Heir {
    Actor,
    Scope(Arc<Remnant>),
}

impl Core {
    /// Takes a child in. Its place orders its failures among the others'.
    pub(super) fn admit(&self, member: Member) -> Result<u64> {
        let mut state = self.lock();
        match &state.phase {
            Phase::Open => {}
            Phase::Cancelled { by } | Phase::Disowned { by, .. } => {
                return Err(Error::Cancelled {
                    subject: self.this.id.clone(),
                    canceller: by.clone(),
                });
            }
        }
        let place = state.next_place;
        state.next_place += 1;
        state.living.insert(place, member);
        Ok(place)
    }

    /// A child has ended and been reaped.
    pub(super) fn on_end(&self, place: u64, failures: Vec<Error>) {
        let failed = !failures.is_empty();
        let mut state = self.lock();
        state.living.remove(&place);
        if failed {
            state.failures.insert(Place::Child(place), failures);
        }
        drop(state);
        self.on_changed(failed);
        self.this.report_progress();
    }

    /// The body has ended, and not well. Kept here, so that it is not lost if the scope is dropped now.
    fn on_body_failed(&self, failure: Error) {
        let mut state = self.lock();
        // A call that ended because this scope is already failing says nothing new, and is not to hide beside the cause.
        if state.failures.is_empty() || !self.is_own_cancel(&failure) {
            state.failures.insert(Place::Body, vec![failure]);
        }
        drop(state);
        self.on_changed(true);
    }

    /// What a body that was cut short had left has ended, and not well.
    fn on_body_left(&self, failures: Vec<Error>) {
        if !failures.is_empty() {
            self.lock().failures.entry(Place::Body).or_default().extend(failures);
            self.on_changed(true);
        }
    }

    /// Whether a failure is but the echo of a cancel by this actor.
    fn is_own_cancel(&self, failure: &Error) -> bool {
        matches!(failure, Error::Cancelled { canceller, .. } if *canceller == self.this.id)
    }

    fn on_changed(&self, has_failed: bool) {
        if has_failed {
            self.cancel_children(&self.this.id);
        }
        self.changed.notify_waiters();
        self.hand_over();
    }

    /// When nobody waits for the scope any more, and it is over, its failures are its heir's.
    fn hand_over(&self) {
        let mut state = self.lock();
        let State { phase: Phase::Disowned { heir, .. }, living, failures, .. } = &mut *state
        else {
            return;
        };
        if living.is_empty() {
            let failures = std::mem::take(failures).into_values().flatten();
            match heir {
                Heir::Actor => self.this.claim_none(Error::from_failures(failures)),
                Heir::Scope(remnant) => remnant.end(failures.collect()),
            }
        }
    }

    /// Gives every living child the order to end. The first canceller is the one on record.
    fn cancel_children(&self, by: &ActorId) {
        self.end_children(by, Manner::Ask);
    }

    fn end_children(&self, by: &ActorId, manner: Manner) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::Cancelled { by: by.clone() };
        }
        let within = self.this.remaining(Instant::now());
        for member in state.living.values() {
            member.bond().order(Order { by: by.clone(), within, manner });
        }
    }

    /// The scope is gone, perhaps before its children.
    fn disown(&self) {
        let by = self.this.id.clone();
        self.cancel_children(&by);
        let mut state = self.lock();
        if matches!(state.phase, Phase::Disowned { .. }) {
            return;
        }
        let heir = if state.living.is_empty() && state.failures.is_empty() {
            Heir::Actor
        } else {
            Heir::Scope(leave(&self.this))
        };
        state.phase = Phase::Disowned { by, heir };
        drop(state);
        self.hand_over();
    }

    async fn wait_empty(&self) {
        self.wait_until(|state| state.living.is_empty()).await;
    }

    async fn wait_failed(&self) {
        self.wait_until(|state| !state.failures.is_empty()).await;
    }

    async fn wait_until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn take_failures(&self) -> Vec<Error> {
        std::mem::take(&mut self.lock().failures).into_values().flatten().collect()
    }

    /// That it is open, with children that live, at the end of its actor.
    fn tell_kept(&self) {
        let state = self.lock();
        if matches!(state.phase, Phase::Open) && !state.living.is_empty() {
            log::kept(state.living.len());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scope for Core {
    fn end_with_actor(&self, how: ScopeEnd) {
        match how {
            ScopeEnd::Cancelled => self.tell_kept(),
            ScopeEnd::Killed => self.end_children(&self.this.id, Manner::Kill),
        }
        self.disown();
    }
}
