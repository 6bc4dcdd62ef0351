//! What holders of a portal and the supervisor of its actor tell each other: the order to end one way, the end the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::{ActorId, Teardown};
use crate::spawn::Exit;

/// Shared by an actor's supervisor and everybody who holds its portal.
#[derive(Default)]
pub(crate) struct Bond {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    order: Option<Order>,
    supervisor: Option<Waker>,
    end: Option<Arc<End>>,
}

/// The order to end an actor.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) by: ActorId,
    /// What is left to whoever gives the order; `None`: no bound but the timings'.
    pub(crate) within: Option<Duration>,
}

/// How an actor ended.
#[derive(Debug)]
pub(crate) struct End {
    /// `None` if it never existed.
    pub(crate) exit: Option<Exit>,
    pub(crate) teardown: Teardown,
}

impl Bond {
    /// Gives the order to end. A second one changes nothing: the first is being carried out.
    pub(crate) fn order(&self, order: Order) {
        let mut state = self.lock();
        if state.order.is_none() {
            state.order = Some(order);
            let supervisor = state.supervisor.take();
            drop(state);
            supervisor.into_iter().for_each(Waker::wake);
        }
    }

    /// For the supervisor, and one task only: the order, once there is one.
    pub(crate) fn poll_order(&self, cx: &mut Context<'_>) -> Poll<Order> {
        let mut state = self.lock();
        if let Some(order) = &state.order {
            return Poll::Ready(order.clone());
        }
        if !state.supervisor.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.supervisor = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// For the supervisor, once.
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
