//! A function that does nothing but send, and its reader.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ends::{Receiver, Sender, Stream, open};
use crate::context::{Hold, Opening};
use crate::error::{ActorId, CallError, Error, Never};
use crate::line::Strand;
use crate::msg::{Dialogue, Overrun, Payload};
use crate::rpc::{ContextFunction, Portal, Seed};

/// A function that sends a stream of values. Written by [`#[stream]`](macro@crate::stream).
pub trait StreamFunction: ContextFunction<Started = (), Receives = Never> {}

impl Portal {
    /// Runs a function in the actor that sends a stream of values: await this for its reader.
    pub fn stream<F: StreamFunction>(&self, args: F::Args) -> Listening<F> {
        Listening { opening: self.context::<F>(args).into_owned() }
    }
}

/// A [`StreamFunction`] that is about to be begun: choose options, then await it.
#[must_use = "a stream is begun by awaiting this"]
pub struct Listening<F: StreamFunction> {
    opening: Opening<'static, F>,
}

impl<F: StreamFunction> Listening<F> {
    /// As [`Opening::capacity`].
    ///
    /// # Panics
    /// If it is 0.
    pub fn capacity(mut self, items: u32) -> Self {
        self.opening = self.opening.capacity(items);
        self
    }

    /// As [`Opening::overrun`].
    pub fn overrun(mut self, overrun: Overrun) -> Self {
        self.opening = self.opening.overrun(overrun);
        self
    }
}

impl<F: StreamFunction> IntoFuture for Listening<F> {
    type Output = Result<Incoming<F>, CallError<F::Error>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (hold, ()) = self.opening.begin().await?;
            let stream: Stream<F::Sends, Never> = open(&hold.strand)?;
            let (_, receiver) = stream.split();
            Ok(Incoming { hold, receiver, function: PhantomData })
        })
    }
}

/// Reads what a [`StreamFunction`] sends. Dropping it cancels the function.
pub struct Incoming<F: StreamFunction> {
    // Dropped in this order: a function that is cancelled sees that, and no end of its stream before.
    hold: Hold,
    receiver: Receiver<F::Sends>,
    function: PhantomData<fn() -> F>,
}

impl<F: StreamFunction> Incoming<F> {
    /// The next value; `None` once the function has returned well, again each time.
    ///
    /// # Errors
    /// [`CallError::Returned`] with the function's own error; else as [`Opening::open`].
    ///
    /// # Cancel safety
    /// A dropped future loses no value.
    pub async fn recv(&mut self) -> Result<Option<F::Sends>, CallError<F::Error>> {
        match self.receiver.recv().await {
            Ok(Some(value)) => Ok(Some(value)),
            Ok(None) => self.hold.ended_well::<F>().await.map(|()| None),
            Err(error) => Err(self.hold.retyped::<F>(error)),
        }
    }

    /// Ends the function, and returns when it has ended.
    ///
    /// # Errors
    /// What it failed with, if it failed before or beside that.
    ///
    /// # Cancel safety
    /// Dropping the future drops the reader.
    pub async fn cancel(self) -> Result<(), CallError<F::Error>> {
        let Incoming { hold, .. } = self;
        hold.strand.cancel();
        hold.finish::<F, ()>(Some(Ok(()))).await
    }

    /// The actor of the function.
    pub fn peer(&self) -> &ActorId {
        &self.hold.strand.peer
    }
}

impl<F: StreamFunction> fmt::Debug for Incoming<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incoming({:?})", self.receiver)
    }
}

/// The item type of a [`Sender`], whatever it is called where the macros meet it.
#[doc(hidden)]
pub trait OutItem {
    type Item: Serialize + DeserializeOwned + Send + 'static;
}

impl<T: Serialize + DeserializeOwned + Send + 'static> OutItem for Sender<T> {
    type Item = T;
}

/// Lets the reader go on, and gives the function what it sends into.
#[doc(hidden)]
pub async fn one_way<T: Serialize + Send + 'static>(seed: Seed) -> Sender<T> {
    match begin(&seed.0) {
        Ok(stream) => stream.split().0,
        // It was cancelled before it began: it is cut short here.
        Err(_) => std::future::pending().await,
    }
}

fn begin<T>(strand: &Arc<Strand>) -> Result<Stream<Never, T>, Error> {
    strand.started();
    let value = Payload::pack((), strand.form())
        .map_err(|error| Error::Bug(format!("nothing cannot be sent: {error}")))?;
    let _pushed = strand.out.push(Dialogue::Started { id: strand.id, value });
    open(strand)
}
