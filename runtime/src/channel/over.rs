//! How an end of a channel came to be gone, and who it is at that holds one.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{ActorId, Error};
use crate::rpc::Host;
use crate::spawn::Exit;

/// Why there is no other end any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Over {
    Parted(Parting),
    /// It was closed without a word.
    Died(Holder),
    /// It can be of no more use, or never arrived.
    Lost {
        actor: ActorId,
        reason: String,
    },
}

/// What an end that is let go of says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Parting {
    Closed {
        actor: ActorId,
    },
    /// Its actor was made to end.
    Cancelled {
        actor: ActorId,
        by: ActorId,
    },
    /// What held it panicked.
    Panicked {
        actor: ActorId,
    },
}

/// The actor that has an end, in one of its lives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) actor: ActorId,
    pub(super) incarnation: u64,
}

impl Holder {
    /// Who runs here.
    pub(super) fn here() -> Holder {
        match Host::here() {
            Ok(host) => Holder { actor: host.id().clone(), incarnation: host.incarnation() },
            Err(_) => Holder {
                actor: ActorId { name: "no actor".to_owned(), uuid: Uuid::nil() },
                incarnation: 0,
            },
        }
    }
}

impl Parting {
    /// Of an end that is dropped here and now.
    pub(super) fn here() -> Parting {
        let actor = Holder::here().actor;
        if std::thread::panicking() {
            return Parting::Panicked { actor };
        }
        match Host::here().ok().and_then(|host| host.ended_by()) {
            Some(by) if by != actor => Parting::Cancelled { actor, by },
            Some(_) | None => Parting::Closed { actor },
        }
    }
}

impl Over {
    /// As the sender is told.
    pub(super) fn to_error(&self) -> Error {
        match self.clone() {
            Over::Parted(Parting::Closed { actor }) => Error::StreamEnded { actor },
            Over::Parted(Parting::Cancelled { actor, by }) => {
                Error::Cancelled { subject: actor, canceller: by }
            }
            Over::Parted(Parting::Panicked { actor }) => Error::ChannelLost {
                actor,
                reason: "what held the other end of the channel panicked".to_owned(),
            },
            Over::Died(Holder { actor, incarnation }) => {
                Error::ActorDied { actor, exit: Exit::Unknown, incarnation }
            }
            Over::Lost { actor, reason } => Error::ChannelLost { actor, reason },
        }
    }

    /// As the receiver is told.
    pub(super) fn to_end<T>(&self) -> Result<Option<T>, Error> {
        match self {
            Over::Parted(Parting::Closed { .. }) => Ok(None),
            Over::Parted(Parting::Cancelled { .. } | Parting::Panicked { .. })
            | Over::Died(_)
            | Over::Lost { .. } => Err(self.to_error()),
        }
    }
}
