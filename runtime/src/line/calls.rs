//! The calls that wait for an answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

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

/// The table of one channel.
#[derive(Default)]
pub(crate) struct Calls {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Reply>>,
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
            None => drop(table.waiting.insert(id, reply_tx)),
        }
        (id, reply_rx)
    }

    /// Answers a call. One that nobody waits for any more was cancelled, and its answer crossed the cancel.
    pub(crate) fn answer(&self, id: u64, reply: Reply) {
        let waiting = self.lock().waiting.remove(&id);
        if let Some(reply_tx) = waiting {
            // A receiver that is gone no longer wants it.
            let _heard = reply_tx.send(reply);
        }
    }

    /// Forgets a call. `false`: it was answered.
    pub(crate) fn forget(&self, id: u64) -> bool {
        self.lock().waiting.remove(&id).is_some()
    }

    /// Answers all that wait, and all that will be opened.
    pub(crate) fn close(&self, ended: &Ended) {
        let mut table = self.lock();
        table.ended.get_or_insert_with(|| ended.clone());
        let waiting = std::mem::take(&mut table.waiting);
        drop(table);
        for reply_tx in waiting.into_values() {
            drop(reply_tx.send(Err(NoValue::Ended(ended.clone()))));
        }
    }

    /// How the other end ended, once that was told.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.lock().ended.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
