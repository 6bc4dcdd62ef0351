//! The actor's side of calls: each runs as a task of its own, so that no call and no clean-up stalls the channel.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::function::{AnyState, Entry, Exposure, Running};
use super::panic::catch;
use crate::actor::ThisActor;
use crate::error::{ActorId, RemoteError};
use crate::ipc::Sender;
use crate::msg::{Failure, Life, Message, Payload};

/// Serves the calls that come over one channel. The ids are the channel's, so only who started a call can cancel it.
pub(crate) struct Server {
    this: Arc<ThisActor>,
    out: Sender,
    exposure: Exposure,
    /// Gone once the actor ends.
    state: RefCell<Option<AnyState>>,
    life: Life,
    running: Rc<RefCell<HashMap<u64, AbortHandle>>>,
    /// A one-shot's only call was answered.
    answered: Rc<Notify>,
    cancelled: RefCell<Option<ActorId>>,
}

impl Server {
    pub(crate) fn new(
        this: Arc<ThisActor>,
        out: Sender,
        exposure: Exposure,
        state: Option<AnyState>,
        life: Life,
    ) -> Server {
        Server {
            this,
            out,
            exposure,
            state: RefCell::new(state),
            life,
            running: Rc::default(),
            answered: Rc::default(),
            cancelled: RefCell::default(),
        }
    }

    /// Begins a call; it is answered when it has run, or now if it cannot.
    pub(crate) fn on_call(&self, id: u64, function: &str, args: Payload) {
        if let Some(by) = &*self.cancelled.borrow() {
            return self.refuse(id, Failure::Cancelled { by: by.clone() });
        }
        let begun = self.exposure.get(function).and_then(|entry| self.begin(entry, args));
        match begun {
            Some(running) => self.run(id, running),
            None => self.refuse(id, Failure::NotExposed),
        }
    }

    /// Ends a call, if it still runs. No answer: nobody waits for one.
    pub(crate) fn on_cancel_call(&self, id: u64) {
        if let Some(task) = self.running.borrow_mut().remove(&id) {
            task.abort();
        }
    }

    /// Ends all calls and refuses those that come later, then lets go of the state. That they were cancelled is told by the
    /// actor's end.
    ///
    /// The calls' tasks are gone once the actor's tasks are idle, and so is the state: it is dropped by a task, because its
    /// destructor is the user's, and may hold nurseries whose children are then cancelled and waited for.
    pub(crate) fn abort_all(&self, by: &ActorId) {
        self.cancelled.replace(Some(by.clone()));
        for (_, task) in self.running.borrow_mut().drain() {
            task.abort();
        }
        if let Some(state) = self.state.take() {
            self.this.tasks.spawn(async move { drop(state) });
        }
    }

    /// Returns when the actor has answered all it was made for; never for a daemon. Cancel safe.
    pub(crate) async fn wait_done(&self) {
        match self.life {
            Life::Daemon => std::future::pending().await,
            Life::OneShot => self.answered.notified().await,
        }
    }

    fn begin(&self, entry: &'static Entry, args: Payload) -> Option<Running> {
        entry.begin(self.state.borrow().as_ref(), args, self.out.form())
    }

    fn refuse(&self, id: u64, failure: Failure) {
        // Small, and one for each call that came. A parent that is gone needs no answer.
        let _pushed = self.out.push(Message::Failed { id, failure });
        self.answered.notify_one();
    }

    fn run(&self, id: u64, mut running: Running) {
        let (this, out) = (Arc::clone(&self.this), self.out.clone());
        let (table, answered) = (Rc::clone(&self.running), Rc::clone(&self.answered));
        let task = self.this.tasks.spawn(async move {
            let answer = match catch(running.as_mut()).await {
                Ok(Ok(value)) => Message::Return { id, value },
                Ok(Err(failure)) => Message::Failed { id, failure },
                Err(panic) => Message::Failed {
                    id,
                    failure: Failure::Panicked(RemoteError::panicked(
                        &this.id,
                        panic.message,
                        panic.location,
                    )),
                },
            };
            table.borrow_mut().remove(&id);
            // From here on a cancel comes too late: the table no longer names the task.
            let _sent = out.send(answer).await;
            answered.notify_one();
        });
        self.running.borrow_mut().insert(id, task);
    }
}
