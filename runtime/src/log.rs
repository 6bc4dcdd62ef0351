//! Log records: all of an actor's carry who it is, those of a served task also which, and each transition makes one.
//!
//! Through `tracing`: a program that installs no subscriber pays a load for each. One that does must bear in mind that forked actors
//! have it too, and that a lock of it that another thread holds at the fork stays closed in them; a subscriber that writes to
//! standard error or output alone is safe, for their locks are seen to.
//!
//! Called by `trace`, with every transition, and by who begins tasks. Levels: what was forced and who gave up are warnings and
//! errors, what happened is `DEBUG`, who waits for whom is `TRACE`.

use std::pin::Pin;

use tracing::{Instrument, Span};

use crate::error::{ActorId, Death, GaveUp};
use crate::trace::Step;

/// Around all that an actor does. At the highest level, so that it is there whatever is left out.
pub(crate) fn actor(id: &ActorId) -> Span {
    tracing::error_span!("actor", actor = %id)
}

/// The work of a call, in the span of its task.
pub(crate) fn in_call<T: 'static>(function: &str, call: u64, work: Boxed<T>) -> Boxed<T> {
    boxed_within(tracing::error_span!("call", task = function, call), work)
}

/// The work of a context, in the span of its task.
pub(crate) fn in_context<T: 'static>(function: &str, context: u64, work: Boxed<T>) -> Boxed<T> {
    boxed_within(tracing::error_span!("context", task = function, context), work)
}

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// Without a subscriber the work is the same as before.
pub(crate) fn boxed_within<T: 'static>(span: Span, work: Boxed<T>) -> Boxed<T> {
    if span.is_disabled() { work } else { Box::pin(work.instrument(span)) }
}

/// Runs `work` in a span, if there is one: without a subscriber the future is the same as before.
pub(crate) async fn within<F: Future>(span: Span, work: F) -> F::Output {
    if span.is_disabled() { work.await } else { work.instrument(span).await }
}

/// An actor has changed its state.
#[inline]
pub(crate) fn transition(about: &ActorId, step: Step<'_>) {
    match step {
        Step::Rung(_) => tracing::warn!(about = %about, "{step}"),
        Step::Blocked(_) | Step::Unblocked(_) => tracing::trace!(about = %about, "{step}"),
        Step::Begun { .. }
        | Step::Start(_)
        | Step::Ready
        | Step::Serving
        | Step::CancelSent { .. }
        | Step::CancelAcked
        | Step::Ending { .. }
        | Step::Exit(_)
        | Step::Context { .. } => tracing::debug!(about = %about, "{step}"),
    }
}

/// A supervised child has ended, unasked.
pub(crate) fn death(death: &Death) {
    match &death.cause {
        Some(_) => tracing::warn!(about = %death.child, incarnation = death.incarnation, "{death}"),
        None => tracing::info!(about = %death.child, incarnation = death.incarnation, "{death}"),
    }
}

/// A supervisor has.
pub(crate) fn gave_up(gave_up: &GaveUp) {
    tracing::error!(about = %gave_up.child, "{gave_up}");
}

/// A nursery with children that live was found open when its actor ended.
pub(crate) fn kept(count: usize) {
    tracing::warn!(children = count, "a nursery was kept beyond its actor's end, and is cancelled");
}
