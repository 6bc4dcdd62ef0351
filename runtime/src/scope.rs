//! Cancel scopes: work with a deadline, work that somebody else may cancel, and work that no cancel reaches.
//!
//! A scope cancels its body by dropping it. A dropped future runs no code of its own, so what it leaves behind (nurseries whose
//! children must end, shielded work) goes on in the actor's care, and the scope ends when that has ended: nothing of a body is
//! left when its scope returns. Used by the user; nothing here knows actors.

use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::actor::{self, Remains, Remnant, ThisActor, collect, in_place, leave};
use crate::error::{Error, Result};
use crate::line::note_shielded;
use crate::rpc::{Panic, catch};

/// Runs `body` for at most `limit`, from now on; `None` if that was not enough.
///
/// # Errors
/// As [`CancelScope::run`].
///
/// # Cancel safety
/// Dropping the future drops the body.
pub async fn move_on_after<F: Future>(limit: Duration, body: F) -> Result<Option<F::Output>> {
    CancelScope::within(limit).run(body).await
}

/// Runs `body` for at most `limit`, from now on.
///
/// # Errors
/// [`Error::DeadlinePassed`] if that was not enough; and as [`CancelScope::run`].
///
/// # Cancel safety
/// Dropping the future drops the body.
pub async fn fail_after<F: Future>(limit: Duration, body: F) -> Result<F::Output> {
    let value = CancelScope::within(limit).run(body).await?;
    value.ok_or(Error::DeadlinePassed { after: limit })
}

/// What can end a body before it ends by itself: a deadline, or a call of [`cancel`](CancelScope::cancel) from anywhere.
///
/// Clones are the same scope. It works in any task with tokio's time, also outside actors.
#[derive(Clone, Debug, Default)]
pub struct CancelScope {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    deadline: Option<Instant>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// It was cancelled, by a call or its deadline; no body was cut short yet.
    Cancelled,
    /// A body was.
    Caught,
}

impl CancelScope {
    /// One without a deadline.
    pub fn new() -> CancelScope {
        CancelScope::default()
    }

    /// One whose deadline is `limit` from now.
    pub fn within(limit: Duration) -> CancelScope {
        let scope = CancelScope::new();
        scope.set_deadline(Instant::now().checked_add(limit));
        scope
    }

    /// Runs `body` until it ends, or the scope is cancelled; `None` if it was cut short.
    ///
    /// The body is asked first: one that ends in the moment of the cancel has ended by itself, and one that is begun in a
    /// cancelled scope runs to where it first waits. Returns when all that the body left has ended too; each nursery's teardown
    /// and each shield bounds its own part of that. A body that never waits cannot be cancelled, as anywhere in an async program:
    /// it runs on, and blocks its actor, whose parent then takes the means of its [backend](crate::Backend).
    ///
    /// # Errors
    /// What failed while the cut body's children were torn down, or in its shielded work. It is not hidden by the cancel.
    ///
    /// # Cancel safety
    /// Dropping the future drops the body; what it leaves goes to the next scope outside, or the actor.
    pub async fn run<F: Future>(&self, body: F) -> Result<Option<F::Output>> {
        let mut body = pin!(Some(body));
        let value = tokio::select! {
            biased;
            value = in_place(body.as_mut()) => Some(value),
            () = self.wait_cancelled() => None,
        };
        let left = collect(|| body.set(None));
        if value.is_none() {
            self.shared.lock().phase = Phase::Caught;
        }
        let failures = left.wait().await;
        Error::from_failures(failures).map_or(Ok(value), Err)
    }

    /// Cuts every body short that runs in it, and all that will.
    pub fn cancel(&self) {
        self.shared.lock().cancel();
        self.shared.changed.notify_waiters();
    }

    /// When it is cancelled, if nobody does so earlier.
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.lock().deadline
    }

    /// Moves the deadline, or takes it away. A scope that has been cancelled stays so.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.shared.lock().deadline = deadline;
        self.shared.changed.notify_waiters();
    }

    /// Whether it was cancelled, by a call or its deadline.
    pub fn is_cancelled(&self) -> bool {
        self.shared.lock().is_cancelled(Instant::now())
    }

    /// Whether that has cut a body short: false for a cancel that came when all had ended.
    pub fn cancelled_caught(&self) -> bool {
        self.shared.lock().phase == Phase::Caught
    }

    async fn wait_cancelled(&self) {
        loop {
            let changed = self.shared.changed.notified();
            let deadline = {
                let state = self.shared.lock();
                if state.is_cancelled(Instant::now()) {
                    return;
                }
                state.deadline
            };
            match deadline {
                None => changed.await,
                Some(deadline) => tokio::select! {
                    () = tokio::time::sleep_until(deadline.into()) => self.on_deadline(),
                    () = changed => {}
                },
            }
        }
    }

    fn on_deadline(&self) {
        let mut state = self.shared.lock();
        if state.is_cancelled(Instant::now()) {
            state.cancel();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_cancelled(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Open => self.deadline.is_some_and(|deadline| deadline <= now),
            Phase::Cancelled | Phase::Caught => true,
        }
    }

    fn cancel(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Cancelled;
        }
    }
}

/// Runs `work` where no cancel reaches it, for at most `limit`, from now on: as a task that the actor owns, and does not end
/// without.
///
/// Whoever awaits this may be cancelled; the work goes on, and the scopes it was in wait for it. When the actor itself is told to
/// end, the work has as long as the actor has, if that is less. So a shield delays an end, and cannot prevent one, whatever the
/// work waits for: not even another actor's answer.
///
/// # Errors
/// [`Error::DeadlinePassed`] if the time was not enough: the work is dropped. [`Error::NoRuntime`] outside an actor. If nobody
/// awaits it any more, that failure is the scope's, or the actor's.
///
/// # Panics
/// If the work does. If nobody awaits it any more, the panic is a failure like the above.
///
/// # Cancel safety
/// That is what it is for. The value of work that nobody awaits any more is dropped.
pub async fn shield<F>(limit: Duration, work: F) -> Result<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let this = actor::this()?;
    let (outcome_tx, outcome_rx) = oneshot::channel();
    let job = Arc::new(Job::default());
    let task = Shielded { this: Arc::clone(&this), limit, job: Arc::clone(&job) };
    this.tasks.spawn(async move { task.run(work, outcome_tx).await });
    let mut waiter = Waiter { this, job, outcome_rx };
    let outcome = std::future::poll_fn(|cx| {
        let outcome = Pin::new(&mut waiter.outcome_rx).poll(cx);
        if outcome.is_pending() {
            note_shielded();
        }
        outcome
    });
    match outcome.await {
        Ok(Outcome::Done(value)) => Ok(value),
        Ok(Outcome::Failed(error)) => Err(error),
        Ok(Outcome::Panicked(panic)) => resume_unwind(panic.payload),
        // Only the end of the scheduler drops the task.
        Err(_) => Err(Error::NoRuntime),
    }
}

enum Outcome<T> {
    Done(T),
    Failed(Error),
    Panicked(Panic),
}

async fn run_in_place<F: Future>(work: Pin<&mut Option<F>>) -> Outcome<F::Output> {
    match catch(pin!(in_place(work))).await {
        Ok(value) => Outcome::Done(value),
        Err(panic) => Outcome::Panicked(panic),
    }
}

/// What a shielded task and whoever awaits it share.
#[derive(Default)]
struct Job {
    state: Mutex<JobState>,
}

#[derive(Default)]
enum JobState {
    #[default]
    Awaited,
    /// Whoever awaited it was dropped.
    Left(Arc<Remnant>),
    Over,
}

struct Shielded {
    this: Arc<ThisActor>,
    limit: Duration,
    job: Arc<Job>,
}

impl Shielded {
    async fn run<F: Future>(self, work: F, outcome_tx: oneshot::Sender<Outcome<F::Output>>) {
        let begun = Instant::now();
        let mut work = pin!(Some(work));
        let outcome = tokio::select! {
            biased;
            outcome = run_in_place(work.as_mut()) => outcome,
            () = self.this.wait_over(self.limit) => {
                // Less than the limit, when the actor has to end.
                Outcome::Failed(Error::DeadlinePassed { after: begun.elapsed().min(self.limit) })
            }
        };
        let left: Remains = collect(|| work.set(None));
        let failures = left.wait().await;
        let outcome = match Error::from_failures(failures) {
            Some(failure) => Outcome::Failed(failure),
            None => outcome,
        };
        self.tell(outcome, outcome_tx);
    }

    fn tell<T>(&self, outcome: Outcome<T>, outcome_tx: oneshot::Sender<Outcome<T>>) {
        let was = std::mem::replace(&mut *self.job.lock(), JobState::Over);
        match was {
            JobState::Awaited => drop(outcome_tx.send(outcome)),
            JobState::Left(remnant) => remnant.end(match outcome {
                Outcome::Done(_) => Vec::new(),
                Outcome::Failed(error) => vec![error],
                Outcome::Panicked(panic) => vec![panic.into_error(&self.this.id)],
            }),
            JobState::Over => {}
        }
    }
}

impl Job {
    fn lock(&self) -> MutexGuard<'_, JobState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who awaits a shielded task. Dropped before its end, it leaves it.
struct Waiter<T> {
    this: Arc<ThisActor>,
    job: Arc<Job>,
    outcome_rx: oneshot::Receiver<Outcome<T>>,
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        let mut state = self.job.lock();
        if let JobState::Awaited = *state {
            *state = JobState::Left(leave(&self.this));
        }
    }
}
