//! The calls and contexts that wait for an answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::strand::{Last, Strand};
use crate::error::{ActorId, Error};
use crate::ipc::Closed;
use crate::msg::{Failure, Payload};
use crate::spawn::Exit;

/// What became of a call.
pub(crate) type Reply = Result<Payload, NoValue>;

/// Why a call has no value.
#[derive(Debug)]
pub(crate) enum NoValue {
    /// The actor says why.
    Failed(Failure),
    /// The actor has ended.
    Ended(Ended),
}

/// How an actor ended, as seen by what waits for it.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    Died {
        exit: Exit,
        incarnation: u64,
    },
    Cancelled {
        by: ActorId,
    },
    Lost {
        reason: String,
    },
    /// It never was ready. Whoever started it knows why.
    NeverReady,
}

impl Ended {
    /// Of an actor whose channel was closed and whose exit is for somebody else to see.
    pub(crate) fn of_closed(closed: &Closed) -> Ended {
        match closed {
            Closed::Ended => Ended::Died { exit: Exit::Unknown, incarnation: 0 },
            Closed::Torn | Closed::Garbage(_) | Closed::Refused(_) => {
                Ended::Lost { reason: closed.to_string() }
            }
        }
    }

    pub(crate) fn to_error(&self, actor: &ActorId) -> Error {
        let actor = actor.clone();
        match self {
            Ended::Died { exit, incarnation } => {
                Error::ActorDied { actor, exit: exit.clone(), incarnation: *incarnation }
            }
            Ended::Cancelled { by } => Error::Cancelled { subject: actor, canceller: by.clone() },
            Ended::Lost { reason } => Error::ChannelLost { actor, reason: reason.clone() },
            Ended::NeverReady => {
                Error::ChannelLost { actor, reason: "it never was ready".to_owned() }
            }
        }
    }
}

/// What waits for an answer.
enum Waiting {
    Call(oneshot::Sender<Reply>),
    Context(Arc<Strand>),
}

/// The table of one channel: what was opened from this end.
#[derive(Default)]
pub(crate) struct Calls {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last_id: u64,
    /// Few, most often: a search among them is less than a hash.
    waiting: BTreeMap<u64, Waiting>,
    ended: Option<Ended>,
}

impl Calls {
    /// A new call's id, and where its answer will come. After the end of the actor the answer is there at once.
    pub(crate) fn open(&self) -> (u64, oneshot::Receiver<Reply>) {
        let (reply_tx, reply_rx) = oneshot::channel();
        let mut table = self.lock();
        table.last_id += 1;
        let id = table.last_id;
        match &table.ended {
            // The receiver is in our hand.
            Some(ended) => drop(reply_tx.send(Err(NoValue::Ended(ended.clone())))),
            None => drop(table.waiting.insert(id, Waiting::Call(reply_tx))),
        }
        (id, reply_rx)
    }

    /// A new context, made with its id. After the end of the actor it has ended at once.
    pub(crate) fn open_context(&self, make: impl FnOnce(u64) -> Arc<Strand>) -> Arc<Strand> {
        let mut table = self.lock();
        table.last_id += 1;
        let id = table.last_id;
        let strand = make(id);
        match table.ended.clone() {
            None => drop(table.waiting.insert(id, Waiting::Context(Arc::clone(&strand)))),
            Some(ended) => {
                drop(table);
                strand.on_last(Last::Gone(ended));
            }
        }
        strand
    }

    /// A context that was opened from this end and has not ended.
    pub(crate) fn context(&self, id: u64) -> Option<Arc<Strand>> {
        match self.lock().waiting.get(&id) {
            Some(Waiting::Context(strand)) => Some(Arc::clone(strand)),
            Some(Waiting::Call(_)) | None => None,
        }
    }

    /// Answers a call or context. One that nobody waits for any more was cancelled, and its answer crossed the cancel.
    pub(crate) fn answer(&self, id: u64, reply: Reply) {
        let waiting = self.lock().waiting.remove(&id);
        if let Some(waiting) = waiting {
            waiting.end(reply);
        }
    }

    /// Forgets a call. `false`: it was answered.
    pub(crate) fn forget(&self, id: u64) -> bool {
        // Dropped when the lock is not held: what a context still has are the user's values.
        let forgotten = self.lock().waiting.remove(&id);
        forgotten.is_some()
    }

    /// Answers all that wait, and all that will be opened.
    pub(crate) fn close(&self, ended: &Ended) {
        let mut table = self.lock();
        table.ended.get_or_insert_with(|| ended.clone());
        let waiting = std::mem::take(&mut table.waiting);
        drop(table);
        for waiting in waiting.into_values() {
            waiting.end(Err(NoValue::Ended(ended.clone())));
        }
    }

    /// How the other end ended, once that was told.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.lock().ended.clone()
    }

    /// Whether the actor at the other end has ended, and that was told.
    pub(crate) fn is_over(&self) -> bool {
        match self.lock().ended {
            Some(Ended::Died { .. } | Ended::Cancelled { .. } | Ended::NeverReady) => true,
            Some(Ended::Lost { .. }) | None => false,
        }
    }

    /// Whether the channel broke, and the actor at its other end may live.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.lock().ended, Some(Ended::Lost { .. }))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn end(self, reply: Reply) {
        match self {
            // A receiver that is gone no longer wants it.
            Waiting::Call(reply_tx) => drop(reply_tx.send(reply)),
            Waiting::Context(strand) => strand.on_last(match reply {
                Ok(value) => Last::Returned(Some(value)),
                Err(NoValue::Failed(failure)) => Last::Failed(failure),
                Err(NoValue::Ended(ended)) => Last::Gone(ended),
            }),
        }
    }
}
