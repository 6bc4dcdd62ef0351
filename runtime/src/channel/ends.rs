//! The two ends, as users have them.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::far::{FarReceiver, FarSender, ReceiverTicket, SenderTicket};
use super::near::{Near, Received, Sent};
use super::over::Parting;
use crate::error::{Error, Result};
use crate::parcel::{self, NoParcel};

/// A channel between any two tasks, of one actor or of two. Each end can be given to another actor: as an argument, a result, what
/// a context starts with, an item of a stream or of a channel, alone or within a larger value; and from there to the next. No actor
/// it came through need live on.
///
/// Bounded: so many items as `capacity` may be sent and not yet received; a sender of more waits, and nobody else does. 64 is a
/// good number if there is no better. Between threads of a process items are moved; otherwise they are serialised.
///
/// ```
/// use runtime::{ChannelReceiver, ChannelSender, Portal, channel};
///
/// #[runtime::remote]
/// async fn count(mut numbers: ChannelSender<u64>, to: u64) -> runtime::Result<()> {
///     for n in 0..to {
///         numbers.send(n).await?;
///     }
///     Ok(())
/// }
///
/// #[runtime::remote]
/// async fn sum(mut numbers: ChannelReceiver<u64>) -> runtime::Result<u64> {
///     let mut sum = 0;
///     while let Some(n) = numbers.recv().await? {
///         sum += n;
///     }
///     Ok(sum)
/// }
///
/// /// The items go from the one actor to the other, and not through this one.
/// async fn join(source: Portal, sink: Portal) -> runtime::Result<u64> {
///     let (sender, receiver) = channel::<u64>(64);
///     let (counted, sum) =
///         tokio::join!(source.call::<count>((sender, 10)), sink.call::<sum>((receiver,)));
///     counted?;
///     Ok(sum?)
/// }
/// # fn main() {}
/// ```
///
/// # Panics
/// If `capacity` is 0.
pub fn channel<T>(capacity: u32) -> (ChannelSender<T>, ChannelReceiver<T>) {
    assert!(capacity > 0, "a channel holds at least one item");
    let near = Arc::new(Near::new(capacity));
    let sender = SenderEnd::Near(Arc::clone(&near));
    (ChannelSender::of(sender), ChannelReceiver::of(ReceiverEnd::Near(near)))
}

/// The end of a [`channel`] that sends.
///
/// Dropping it ends the channel: what was sent is received, and then the end. Not so if that comes of a panic, or of its actor being
/// cancelled or dying: the receiver is told that then. A call that is cancelled while its actor goes on drops what it holds like a
/// call that returns.
pub struct ChannelSender<T> {
    /// None when it was given away.
    end: Mutex<Option<SenderEnd<T>>>,
}

/// The end of a [`channel`] that receives.
///
/// Dropping it makes the sender's next send fail; what is on its way is let go of.
pub struct ChannelReceiver<T> {
    /// None when it was given away.
    end: Mutex<Option<ReceiverEnd<T>>>,
}

enum SenderEnd<T> {
    Near(Arc<Near<T>>),
    Far(Box<FarSender>),
}

enum ReceiverEnd<T> {
    Near(Arc<Near<T>>),
    Far(Box<FarReceiver<T>>),
}

impl<T: Serialize + Send + 'static> ChannelSender<T> {
    /// Sends an item; waits while as many as may be have not been received.
    ///
    /// # Errors
    /// [`Error::StreamEnded`] when the receiver was dropped; [`Error::Cancelled`] when its actor was cancelled;
    /// [`Error::ActorDied`] when that died; [`Error::ChannelLost`] when the receiver was lost on its way to another actor, or in a
    /// panic. All of them again each time. [`Error::Unsendable`] for an item that is none; others can be sent.
    ///
    /// That an item was sent does not mean that it will be received: it is lost with the receiver.
    ///
    /// # Cancel safety
    /// A dropped future has not sent the item.
    pub async fn send(&mut self, item: T) -> Result<()> {
        let end = self.end.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (far, item) = match end {
            None => return Err(given_away()),
            Some(SenderEnd::Far(far)) => (far, item),
            Some(SenderEnd::Near(near)) => {
                let mut item = Some(item);
                match poll_fn(|cx| near.poll_send(&mut item, cx)).await {
                    Sent::Yes => return Ok(()),
                    Sent::Over(over) => return Err(over.to_error()),
                    Sent::Moved(far, item) => match end.insert(SenderEnd::Far(far)) {
                        SenderEnd::Far(far) => (far, item),
                        SenderEnd::Near(_) => return Err(given_away()),
                    },
                }
            }
        };
        far.send(item).await
    }
}

impl<T: DeserializeOwned + Send + 'static> ChannelReceiver<T> {
    /// The next item; `None` when the sender was dropped and all was received, again each time.
    ///
    /// # Errors
    /// After all that was sent, and again each time: [`Error::Cancelled`] when the sender's actor was cancelled,
    /// [`Error::ActorDied`] when it died, [`Error::ChannelLost`] when the sender was lost on its way to another actor, or in a panic.
    /// [`Error::WrongType`] for an item that is none here; the next ones can be received.
    ///
    /// # Cancel safety
    /// A dropped future loses no item.
    pub async fn recv(&mut self) -> Result<Option<T>> {
        let end = self.end.get_mut().unwrap_or_else(PoisonError::into_inner);
        let far = match end {
            None => return Err(given_away()),
            Some(ReceiverEnd::Far(far)) => far,
            Some(ReceiverEnd::Near(near)) => match poll_fn(|cx| near.poll_recv(cx)).await {
                Received::Item(item) => return Ok(Some(item)),
                Received::Over(over) => return over.to_end(),
                Received::Moved(far) => match end.insert(ReceiverEnd::Far(far)) {
                    ReceiverEnd::Far(far) => far,
                    ReceiverEnd::Near(_) => return Err(given_away()),
                },
            },
        };
        far.recv().await
    }
}

/// By code that serialises a value and then goes on with it.
fn given_away() -> Error {
    Error::Misuse("this end of the channel was sent to another actor".to_owned())
}

impl<T> ChannelSender<T> {
    fn of(end: SenderEnd<T>) -> ChannelSender<T> {
        ChannelSender { end: Mutex::new(Some(end)) }
    }

    fn take(&self) -> Option<SenderEnd<T>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> ChannelReceiver<T> {
    fn of(end: ReceiverEnd<T>) -> ChannelReceiver<T> {
        ChannelReceiver { end: Mutex::new(Some(end)) }
    }

    fn take(&self) -> Option<ReceiverEnd<T>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> SenderEnd<T> {
    fn into_ticket(self) -> io::Result<SenderTicket> {
        match self {
            SenderEnd::Near(near) => near.send_away_sender()?.into_ticket(),
            SenderEnd::Far(far) => far.into_ticket(),
        }
    }
}

impl<T> ReceiverEnd<T> {
    fn into_ticket(self) -> io::Result<ReceiverTicket<T>> {
        match self {
            ReceiverEnd::Near(near) => near.send_away_receiver()?.into_ticket(),
            ReceiverEnd::Far(far) => far.into_ticket(),
        }
    }
}

impl<T> Drop for ChannelSender<T> {
    fn drop(&mut self) {
        let far = match self.take() {
            None => return,
            Some(SenderEnd::Near(near)) => near.part_sender(Parting::here()).map(Box::new),
            Some(SenderEnd::Far(far)) => Some(far),
        };
        if let Some(far) = far {
            far.part(Parting::here());
        }
    }
}

impl<T> Drop for ChannelReceiver<T> {
    fn drop(&mut self) {
        let far = match self.take() {
            None => return,
            Some(ReceiverEnd::Near(near)) => near.part_receiver(Parting::here()).map(Box::new),
            Some(ReceiverEnd::Far(far)) => Some(far),
        };
        if let Some(far) = far {
            far.part(Parting::here());
        }
    }
}

/// For channels between actors only: any other serialiser is told that it cannot be. The end is away then, and of no use here.
impl<T> Serialize for ChannelSender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        in_parcel()?;
        let end = self.take().ok_or_else(given_away).map_err(serde::ser::Error::custom)?;
        end.into_ticket().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for ChannelSender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ChannelSender<T>, D::Error> {
        let far = FarSender::of_ticket(SenderTicket::deserialize(deserializer)?);
        far.map(|far| ChannelSender::of(SenderEnd::Far(Box::new(far))))
            .map_err(serde::de::Error::custom)
    }
}

/// As of the sender.
impl<T: Serialize> Serialize for ChannelReceiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        in_parcel()?;
        let end = self.take().ok_or_else(given_away).map_err(serde::ser::Error::custom)?;
        end.into_ticket().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ChannelReceiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ChannelReceiver<T>, D::Error> {
        let far = FarReceiver::of_ticket(ReceiverTicket::deserialize(deserializer)?);
        far.map(|far| ChannelReceiver::of(ReceiverEnd::Far(Box::new(far))))
            .map_err(serde::de::Error::custom)
    }
}

fn in_parcel<E: serde::ser::Error>() -> Result<(), E> {
    if parcel::is_open() {
        Ok(())
    } else {
        Err(E::custom(format!("the end of a channel: {NoParcel}")))
    }
}

impl<T> fmt::Debug for ChannelSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelSender<{}>", std::any::type_name::<T>())
    }
}

impl<T> fmt::Debug for ChannelReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelReceiver<{}>", std::any::type_name::<T>())
    }
}
