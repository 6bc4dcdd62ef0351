//! The result of an actor that runs one function.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{ActorId, CallError, Teardown};
use crate::line::{Ended, Line, NoValue, Reply};
use crate::msg::shown;
use crate::rpc::{Function, Portal, value_of};
use crate::trace::{self, Wait};

/// An actor that runs one function. Its result can be read inside the nursery, or after it; left unread, a failure is still
/// the nursery's. Dropping this cancels nothing: the nursery owns the actor.
pub struct OneShot<F: Function> {
    line: Arc<Line>,
    reply_rx: oneshot::Receiver<Reply>,
    function: PhantomData<fn() -> F>,
}

impl<F: Function> OneShot<F> {
    pub(super) fn new(line: Arc<Line>, reply_rx: oneshot::Receiver<Reply>) -> OneShot<F> {
        OneShot { line, reply_rx, function: PhantomData }
    }

    /// Which actor.
    pub fn id(&self) -> &ActorId {
        &self.line.actor
    }

    /// Waits for the function's value.
    ///
    /// # Errors
    /// As [`Portal::call`]. A failure is the nursery's as well: it cancels the siblings, and this body.
    pub async fn result(self) -> Result<F::Output, CallError<F::Error>> {
        let wait = Wait::Call { function: shown(F::NAME) };
        let _blocked = trace::blocked(&self.line.actor, wait);
        let reply = self.reply_rx.await.unwrap_or_else(|_| {
            Err(NoValue::Ended(Ended::Lost { reason: "the runtime ended".to_owned() }))
        });
        value_of::<F>(&self.line.actor, reply)
    }

    /// Cancels the actor, and waits until it has ended and been reaped.
    ///
    /// # Errors
    /// As [`Portal::cancel`].
    pub async fn cancel(&self) -> crate::Result<()> {
        Portal::new(Arc::clone(&self.line)).cancel().await
    }

    /// Cancels the actor, which has this long to end.
    ///
    /// # Errors
    /// As [`Portal::cancel_within`].
    pub async fn cancel_within(&self, limit: Duration) -> crate::Result<()> {
        Portal::new(Arc::clone(&self.line)).cancel_within(limit).await
    }

    /// Kills the actor and all below it.
    ///
    /// # Errors
    /// As [`Portal::kill`].
    pub async fn kill(&self) -> crate::Result<()> {
        Portal::new(Arc::clone(&self.line)).kill().await
    }

    /// How the actor was torn down, once it has ended: empty if it ended by itself.
    pub fn teardown(&self) -> Option<Teardown> {
        Portal::new(Arc::clone(&self.line)).teardown()
    }
}

impl<F: Function> IntoFuture for OneShot<F> {
    type Output = Result<F::Output, CallError<F::Error>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.result())
    }
}
