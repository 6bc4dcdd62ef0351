//! What holders of a portal and the keeper of its actor tell each other: the order to end one way, the end the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::{ActorId, Teardown};
use crate::spawn::Exit;

/// Shared by an actor's keeper and everybody who holds its portal.
#[derive(Default)]
pub(crate) struct Bond {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    order: Option<Order>,
    /// The keeper has not read it.
    is_unread: bool,
    keeper: Option<Waker>,
    end: Option<Arc<End>>,
}

/// The order to end an actor.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) by: ActorId,
    /// What is left to whoever gives the order; `None`: no bound but the timings'.
    pub(crate) within: Option<Duration>,
    pub(crate) manner: Manner,
}

/// How an actor is made to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Manner {
    /// Asked, and given the time that the timings say.
    Ask,
    /// Asked, and given this time.
    AskFor(Duration),
    /// Killed at once.
    Kill,
}

/// How an actor ended.
#[derive(Debug)]
pub(crate) struct End {
    /// `None` if it never existed.
    pub(crate) exit: Option<Exit>,
    pub(crate) teardown: Teardown,
}

impl Bond {
    /// Gives the order to end. While one is carried out, another changes nothing, unless it is to kill what so far was asked;
    /// and the canceller is who gave the first.
    pub(crate) fn order(&self, order: Order) {
        let mut state = self.lock();
        match &mut state.order {
            None => state.order = Some(order),
            Some(first) if first.manner < Manner::Kill && order.manner == Manner::Kill => {
                first.manner = Manner::Kill;
            }
            Some(_) => return,
        }
        state.is_unread = true;
        let keeper = state.keeper.take();
        drop(state);
        keeper.into_iter().for_each(Waker::wake);
    }

    /// For the keeper, and one task only: an order it has not read.
    pub(crate) fn poll_order(&self, cx: &mut Context<'_>) -> Poll<Order> {
        let mut state = self.lock();
        if std::mem::take(&mut state.is_unread)
            && let Some(order) = &state.order
        {
            return Poll::Ready(order.clone());
        }
        if !state.keeper.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.keeper = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// For the keeper, once.
    pub(crate) fn set_end(&self, end: End) {
        self.lock().end = Some(Arc::new(end));
        self.ended.notify_waiters();
    }

    pub(crate) fn end(&self) -> Option<Arc<End>> {
        self.lock().end.clone()
    }

    /// Cancel safe.
    pub(crate) async fn wait_end(&self) -> Arc<End> {
        loop {
            let ended = self.ended.notified();
            if let Some(end) = self.end() {
                return end;
            }
            ended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
