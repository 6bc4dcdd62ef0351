//! A stream, and its two halves.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fan::{Fan, Reader, Subscription};
use crate::error::{Error, Never, Result};
use crate::line::{OnOpen, Room, Strand};
use crate::msg::Payload;
use crate::trace::{self, Wait};

/// Messages both ways between the two tasks of a context: receives `R`, sends `T`.
///
/// Bounded: so many items as the context's [capacity](crate::Opening::capacity) may be sent and not yet received. A task that sends
/// more waits ([by default](crate::Overrun)) until the other one receives; nobody else on the channel does. If the other task never
/// opens its stream, they wait there until it ends.
///
/// Dropping it closes it: the other task receives what was sent, and then the end. What that one still sends is let go of, until it
/// has been told the end: then it is an error. A task that is cancelled or fails does not close its stream by that: the other end sees the cancel or
/// failure, and no end of the stream.
pub struct Stream<R = Never, T = Never> {
    receiver: Receiver<R>,
    sender: Sender<T>,
}

/// The half of a [`Stream`] that receives.
pub struct Receiver<R> {
    ends: Arc<Ends>,
    source: Source<R>,
}

/// The half of a [`Stream`] that sends. Clones send into the same stream.
pub struct Sender<T> {
    ends: Arc<Ends>,
    types: PhantomData<fn(T)>,
}

/// What went through a stream so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Items sent.
    pub sent: u64,
    /// Items received.
    pub received: u64,
    /// Items dropped instead of sent, under [`Overrun::Drop`](crate::Overrun::Drop).
    pub dropped: u64,
    /// Items that have come and were not received yet.
    pub waiting: usize,
    /// How many items may be sent now.
    pub credit: u32,
    /// How many may be sent and not received, in each direction.
    pub capacity: u32,
}

/// Where items come from.
enum Source<R> {
    Alone,
    Shared(Reader<R>),
}

/// The open stream: closed when the last that holds it is dropped.
pub(super) struct Ends {
    pub(super) strand: Arc<Strand>,
}

/// The stream of a context, for its first and only time.
pub(crate) fn open<R, T>(strand: &Arc<Strand>) -> Result<Stream<R, T>> {
    match strand.open_stream() {
        OnOpen::Opened => {}
        OnOpen::Again => {
            let what = format!("the stream of {} is opened once", strand.shown());
            return Err(Error::Misuse(what));
        }
        OnOpen::Refused => return Err(strand.refusal()),
    }
    let ends = Arc::new(Ends { strand: Arc::clone(strand) });
    let sender = Sender { ends: Arc::clone(&ends), types: PhantomData };
    Ok(Stream { receiver: Receiver { ends, source: Source::Alone }, sender })
}

impl<R, T> Stream<R, T>
where
    R: DeserializeOwned + Send + 'static,
    T: Serialize + Send + 'static,
{
    /// As [`Receiver::recv`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv(&mut self) -> Result<Option<R>> {
        self.receiver.recv().await
    }

    /// As [`Sender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, item: T) -> Result<()> {
        self.sender.send(item).await
    }

    /// As [`Receiver::subscribe`].
    ///
    /// # Errors
    /// As there.
    pub fn subscribe(&mut self) -> Result<Subscription<R>>
    where
        R: Clone,
    {
        self.receiver.subscribe()
    }
}

impl<R, T> Stream<R, T> {
    /// Ends the stream: the other task receives what was sent, and then its end. What it sends from then on is let go of.
    pub fn close(self) {
        self.sender.ends.strand.close();
    }

    /// For two tasks. The stream is closed when both halves, and all clones, are dropped.
    pub fn split(self) -> (Sender<T>, Receiver<R>) {
        (self.sender, self.receiver)
    }

    /// What went through it so far.
    pub fn statistics(&self) -> Statistics {
        self.receiver.statistics()
    }
}

impl<R: DeserializeOwned + Send + 'static> Receiver<R> {
    /// The next item; `None` at the end of the stream, again each time: the other task closed it, or has returned, or it was closed
    /// here.
    ///
    /// # Errors
    /// The error of the context, after what came before it: [`Error::Cancelled`] if the other task was cancelled,
    /// [`Error::ActorDied`] or [`Error::ChannelLost`] if the way to it is lost, [`Error::Remote`] if it failed. [`Error::WrongType`]
    /// for an item of another type; the next ones can be received. [`Error::Lagged`] for one that has been subscribed to.
    ///
    /// # Cancel safety
    /// A dropped future loses no item.
    pub async fn recv(&mut self) -> Result<Option<R>> {
        let strand = &self.ends.strand;
        match &mut self.source {
            Source::Alone => match next(strand).await? {
                Some(item) => unpack(strand, item).map(Some),
                None => Ok(None),
            },
            Source::Shared(reader) => reader.recv(strand).await,
        }
    }

    /// Another reader, in this actor, of what comes from now on. The receiver itself becomes one of them, for good.
    ///
    /// Each sees every item, in order. As many as the stream's capacity are kept: the slowest is told [`Error::Lagged`] and goes on
    /// at the oldest that is kept. Items are fetched by whoever comes first; if nobody does, the sender waits.
    ///
    /// # Errors
    /// [`Error::StreamEnded`] if it has.
    pub fn subscribe(&mut self) -> Result<Subscription<R>>
    where
        R: Clone,
    {
        if self.ends.strand.is_drained() {
            return Err(Error::StreamEnded { actor: self.ends.strand.peer.clone() });
        }
        let reader = match &self.source {
            Source::Shared(reader) => reader.another(),
            Source::Alone => {
                let reader = Fan::open(self.ends.strand.capacity());
                let another = reader.another();
                self.source = Source::Shared(reader);
                another
            }
        };
        Ok(Subscription::new(Arc::clone(&self.ends), reader))
    }
}

impl<R> Receiver<R> {
    /// What went through the stream so far.
    pub fn statistics(&self) -> Statistics {
        let strand = &self.ends.strand;
        let (counts, waiting, credit) = strand.counts();
        Statistics {
            sent: counts.sent,
            received: counts.received,
            dropped: counts.dropped,
            waiting,
            credit,
            capacity: strand.capacity(),
        }
    }
}

impl<T: Serialize + Send + 'static> Sender<T> {
    /// Sends an item; waits while as many as may be wait at the receiver, unless the context was opened with another
    /// [`Overrun`](crate::Overrun).
    ///
    /// # Errors
    /// [`Error::StreamEnded`] after the end of the stream was received here, and when the other task has returned; [`Error::StreamOverrun`] if the context was opened so;
    /// [`Error::Unsendable`]; and the error of the context, as [`Receiver::recv`].
    ///
    /// # Cancel safety
    /// A dropped future has sent nothing.
    pub async fn send(&self, item: T) -> Result<()> {
        let strand = &self.ends.strand;
        let item = Payload::pack(item, strand.form()).map_err(|error| Error::Unsendable {
            what: format!("an item of the stream of {}", strand.shown()),
            reason: error.to_string(),
        })?;
        if !strand.out.has_room() {
            strand.out.wait_room().await;
        }
        if let Room::One = room(strand).await? {
            strand.push_item(item);
        }
        Ok(())
    }
}

async fn room(strand: &Strand) -> Result<Room> {
    let mut blocked = None;
    std::future::poll_fn(|cx| {
        let room = strand.poll_room(cx);
        if room.is_pending() && blocked.is_none() {
            blocked = Some(trace::blocked(&strand.peer, Wait::Credit { id: strand.id }));
        }
        room
    })
    .await
}

pub(super) async fn next(strand: &Strand) -> Result<Option<Payload>> {
    let mut blocked = None;
    std::future::poll_fn(|cx| {
        let item = strand.poll_item(cx);
        if item.is_pending() && blocked.is_none() {
            blocked = Some(trace::blocked(&strand.peer, Wait::Item { id: strand.id }));
        }
        item
    })
    .await
}

pub(super) fn unpack<R: DeserializeOwned + 'static>(strand: &Strand, item: Payload) -> Result<R> {
    item.unpack().map_err(|error| Error::WrongType {
        what: format!("an item of the stream of {}", strand.shown()),
        reason: error.to_string(),
    })
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender { ends: Arc::clone(&self.ends), types: PhantomData }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.strand.on_stream_dropped();
    }
}

impl<R, T> fmt::Debug for Stream<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.sender.ends)
    }
}

impl<R> fmt::Debug for Receiver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({})", self.ends)
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({})", self.ends)
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.strand.shown(), self.strand.peer)
    }
}
