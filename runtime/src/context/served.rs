//! A context as the function sees it that runs in one.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ActorId, Error, Never, Result};
use crate::line::Strand;
use crate::msg::{Dialogue, Payload};
use crate::rpc::Seed;
use crate::stream::{self, Stream};
use crate::trace::ContextState;

/// The first argument of a [`#[context]`](macro@crate::context) function: its link with the task that opened it.
///
/// `S` is the type of the value it starts with, `R` what it receives from the stream, `T` what it sends. The opener goes on only
/// after [`started`](Context::started). A function that returns well without it fails the context ([`Error::NotStarted`]); one that
/// returns an error fails it with that.
///
/// When the opener fails, is dropped, or [cancels](crate::Opened::cancel), and when this actor is told to end, the function is cut
/// short: it is polled once more, and then dropped where it waits. Errors that it returns nevertheless win over the cancel.
#[must_use = "a context that ends without `started` is an error at its opener"]
pub struct Context<S = (), R = Never, T = Never> {
    strand: Arc<Strand>,
    types: PhantomData<fn(R) -> (S, T)>,
}

impl<S, R, T> Context<S, R, T>
where
    S: Serialize + Send + 'static,
{
    /// Lets the opener go on, with `value`.
    ///
    /// # Errors
    /// [`Error::Unsendable`] if the value cannot be sent.
    ///
    /// # Cancel safety
    /// Dropping the future drops the context: nothing was said.
    pub async fn started(self, value: S) -> Result<Started<R, T>> {
        let Context { strand, .. } = self;
        let value = Payload::pack(value, strand.form()).map_err(|error| Error::Unsendable {
            what: format!("what {} starts with", strand.shown()),
            reason: error.to_string(),
        })?;
        strand.out.wait_room().await;
        strand.started();
        // An opener that is gone is told of by the cut.
        let _pushed = strand.out.push(Dialogue::Started { id: strand.id, value });
        Ok(Started { strand, types: PhantomData })
    }
}

impl<S, R, T> Context<S, R, T> {
    /// Ends this context as cancelled by this actor, before it has started. The function is cut short where it next waits.
    pub fn cancel(&self) {
        self.strand.cancel_self();
    }

    /// The actor of the opener.
    pub fn peer(&self) -> &ActorId {
        &self.strand.peer
    }

    /// How far it is.
    pub fn state(&self) -> ContextState {
        self.strand.state()
    }
}

/// A [`Context`] whose opener goes on.
pub struct Started<R = Never, T = Never> {
    strand: Arc<Strand>,
    types: PhantomData<fn(R) -> T>,
}

impl<R, T> Started<R, T>
where
    R: DeserializeOwned + Send + 'static,
    T: Serialize + Send + 'static,
{
    /// The stream between the two tasks; there is one.
    ///
    /// # Errors
    /// [`Error::Misuse`] the second time; [`Error::Cancelled`] after the context was cancelled.
    pub fn open_stream(&self) -> Result<Stream<R, T>> {
        stream::open(&self.strand)
    }
}

impl<R, T> Started<R, T> {
    /// Ends this context as cancelled by this actor: the opener is told so. The function is cut short where it next waits.
    pub fn cancel(&self) {
        self.strand.cancel_self();
    }

    /// The actor of the opener.
    pub fn peer(&self) -> &ActorId {
        &self.strand.peer
    }

    /// Who asked for the end of this context, if anybody has.
    pub fn canceller(&self) -> Option<ActorId> {
        self.strand.canceller()
    }

    /// How far it is.
    pub fn state(&self) -> ContextState {
        self.strand.state()
    }
}

impl<S, R, T> fmt::Debug for Context<S, R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({} with {}, {})", self.strand.shown(), self.peer(), self.state())
    }
}

impl<R, T> fmt::Debug for Started<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Started({} with {}, {})", self.strand.shown(), self.peer(), self.state())
    }
}

/// [`Context`], whatever it is called where the macros meet it.
#[doc(hidden)]
pub trait Served {
    type Started;
    type Receives;
    type Sends;
    fn new(seed: Seed) -> Self;
}

impl<S, R, T> Served for Context<S, R, T> {
    type Started = S;
    type Receives = R;
    type Sends = T;
    fn new(seed: Seed) -> Self {
        Context { strand: seed.0, types: PhantomData }
    }
}
