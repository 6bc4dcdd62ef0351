//! The main thread of a process as the fork server of its own `thread_forkserver` children.
//!
//! In an actor's process the main thread has no other business. The root's is given to it by the program: it takes
//! the [`MainLoop`] from the init guard, and runs its own code elsewhere.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::error::Failed;
use super::globals::globals;
use super::lock::lock;
use super::request::Order;
use super::spawner::Job;
use super::{Child, Unavailable, thread_forkserver};

/// The loop that serves fork requests. To be run on the main thread.
#[must_use = "requests wait until the loop runs"]
#[derive(Debug)]
pub struct MainLoop(());

impl MainLoop {
    pub(super) fn open() -> MainLoop {
        globals().fork_requests.open();
        MainLoop(())
    }

    /// Serves fork requests until the loop is stopped. In a forked child it never returns.
    pub fn run(self) {
        globals().fork_requests.serve();
    }

    /// The way to end [`run`](MainLoop::run), from any thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(())
    }
}

impl Drop for MainLoop {
    /// A loop that will not run any more refuses what it would never serve.
    fn drop(&mut self) {
        globals().fork_requests.close();
    }
}

/// Ends the [`MainLoop`] it came from.
#[derive(Clone, Debug)]
pub struct Stopper(());

impl Stopper {
    /// Refuses what is queued and what comes; the loop returns as soon as it is done with the fork in hand.
    pub fn stop(&self) {
        globals().fork_requests.close();
    }
}

/// Whether somebody serves, or is about to.
pub(super) fn check() -> Result<(), Unavailable> {
    match *lock(&globals().fork_requests.state) {
        State::Closed => Err(Unavailable::NoMainLoop),
        State::Open(_) => Ok(()),
    }
}

pub(super) async fn spawn(order: Order) -> Result<Child, Failed> {
    let (reply, answer) = oneshot::channel();
    globals().fork_requests.submit(Job { order, reply })?;
    answer.await.unwrap_or_else(|_| Err(Unavailable::NoMainLoop.into()))
}

/// The queue between whoever spawns and the main thread.
#[derive(Default)]
pub(super) struct ForkRequests {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Closed,
    /// One job for each `spawn` that is being awaited, or was dropped since the main thread last looked.
    Open(VecDeque<Job>),
}

impl ForkRequests {
    pub(super) fn open(&self) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Closed) {
            *state = State::Open(VecDeque::new());
        }
    }

    fn close(&self) {
        // Refused by being dropped, and that outside the lock: it wakes their futures.
        let refused = std::mem::take(&mut *lock(&self.state));
        self.changed.notify_all();
        drop(refused);
    }

    fn submit(&self, job: Job) -> Result<(), Failed> {
        match &mut *lock(&self.state) {
            State::Closed => return Err(Unavailable::NoMainLoop.into()),
            State::Open(jobs) => jobs.push_back(job),
        }
        self.changed.notify_one();
        Ok(())
    }

    fn serve(&self) {
        while let Some(job) = self.next(None) {
            job.serve(thread_forkserver::spawn);
        }
    }

    /// Serves until none has come for this long.
    pub(super) fn serve_for(&self, patience: Duration) {
        while let Some(job) = self.next(Some(patience)) {
            job.serve(thread_forkserver::spawn);
        }
    }

    /// For a main thread that has no other business: the process ends from elsewhere.
    pub(super) fn serve_for_ever(&self) -> ! {
        self.serve();
        loop {
            std::thread::park();
        }
    }

    /// `None` when no more come, or none has come in time.
    fn next(&self, patience: Option<Duration>) -> Option<Job> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut state = lock(&self.state);
        loop {
            match &mut *state {
                State::Closed => return None,
                State::Open(jobs) => {
                    if let Some(job) = jobs.pop_front() {
                        return Some(job);
                    }
                }
            }
            state = match deadline {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.checked_duration_since(Instant::now())?;
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl fmt::Debug for ForkRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForkRequests").finish_non_exhaustive()
    }
}
