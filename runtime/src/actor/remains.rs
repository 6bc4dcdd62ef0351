//! What a future leaves behind when it is dropped: children that still end, shielded work that still runs.
//!
//! A dropped future cannot wait. Whoever drops one on purpose (a nursery its body, a cancel scope its own) [`collect`]s what it
//! left, waits for that, and answers for what fails in it. What nobody collects is the actor's: it does not end before, and its
//! parent is told.
//!
//! Used by `supervise` and `scope`.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::Notify;

use super::ThisActor;
use crate::error::Error;

thread_local! {
    /// Where things that are left go while somebody collects.
    static COLLECTED: RefCell<Option<Vec<Arc<Remnant>>>> = const { RefCell::new(None) };
}

/// Runs `drop_it`, and takes charge of what the dropped leaves behind.
pub(crate) fn collect(drop_it: impl FnOnce()) -> Remains {
    let collecting = Collecting { outer: COLLECTED.replace(Some(Vec::new())) };
    drop_it();
    let remnants = COLLECTED.take().unwrap_or_default();
    drop(collecting);
    Remains { remnants }
}

/// Puts the outer collection back, also when a destructor of the user's panics.
struct Collecting {
    outer: Option<Vec<Arc<Remnant>>>,
}

impl Drop for Collecting {
    fn drop(&mut self) {
        if let Some(lost) = COLLECTED.replace(self.outer.take()) {
            Remains { remnants: lost }.abandon();
        }
    }
}

/// Awaits a future that stays where it is, to be dropped there under [`collect`].
pub(crate) async fn in_place<F: Future>(mut slot: Pin<&mut Option<F>>) -> F::Output {
    std::future::poll_fn(|cx| match slot.as_mut().as_pin_mut() {
        Some(future) => future.poll(cx),
        None => Poll::Pending,
    })
    .await
}

/// Says that something of this actor ends only after whoever held it was dropped.
pub(crate) fn leave(this: &Arc<ThisActor>) -> Arc<Remnant> {
    let remnant = Arc::new(Remnant {
        this: Arc::clone(this),
        state: Mutex::new(State::Awaited),
        ended: Notify::new(),
    });
    Remains { remnants: vec![Arc::clone(&remnant)] }.abandon();
    remnant
}

/// One thing that was left.
pub(crate) struct Remnant {
    this: Arc<ThisActor>,
    state: Mutex<State>,
    ended: Notify,
}

enum State {
    /// It goes on, and somebody waits for it.
    Awaited,
    /// It goes on, and nobody does.
    Abandoned,
    Ended(Vec<Error>),
}

impl Remnant {
    /// It has ended, and this failed in it.
    pub(crate) fn end(&self, failures: Vec<Error>) {
        let mut state = self.lock();
        match &*state {
            State::Awaited => *state = State::Ended(failures),
            State::Abandoned => {
                self.this.claim_none(Error::from_failures(failures));
            }
            State::Ended(_) => {}
        }
        drop(state);
        self.ended.notify_waiters();
    }

    fn abandon(&self) {
        let mut state = self.lock();
        let failures = match std::mem::replace(&mut *state, State::Abandoned) {
            State::Ended(failures) => failures,
            State::Awaited | State::Abandoned => Vec::new(),
        };
        self.this.claim_none(Error::from_failures(failures));
    }

    async fn wait(&self) -> Vec<Error> {
        loop {
            let ended = self.ended.notified();
            if let State::Ended(failures) = &mut *self.lock() {
                return std::mem::take(failures);
            }
            ended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one drop left.
#[must_use = "what is left is waited for"]
pub(crate) struct Remains {
    remnants: Vec<Arc<Remnant>>,
}

impl Remains {
    /// Waits until all of it has ended; what failed in it. Each bounds its own end.
    ///
    /// Dropped, it passes what is left to whoever collects from the one who drops it, or else to the actor.
    pub(crate) async fn wait(mut self) -> Vec<Error> {
        let mut failures = Vec::new();
        while let Some(next) = self.remnants.first() {
            let next = Arc::clone(next);
            failures.extend(next.wait().await);
            self.remnants.remove(0);
        }
        failures
    }

    fn abandon(mut self) {
        let remnants = std::mem::take(&mut self.remnants);
        let uncollected = COLLECTED.with_borrow_mut(|collected| match collected {
            Some(collected) => {
                collected.extend(remnants);
                Vec::new()
            }
            None => remnants,
        });
        uncollected.iter().for_each(|remnant| remnant.abandon());
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        let remnants = std::mem::take(&mut self.remnants);
        if !remnants.is_empty() {
            Remains { remnants }.abandon();
        }
    }
}
