//! Messages on their way out.
//!
//! Bounded by weight: a sender waits while the queue is full. Control messages are exempt, and overtake. Their number is
//! bounded by what they are about: a cancel for each call in flight, one cancel and one acknowledgement for a context or an
//! actor, a credit for several items received, a progress report for each step of a teardown.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use crate::error::ActorId;
use crate::msg::{Dialogue, Form, Message};

/// A queue that holds this much makes its senders wait. One message is always taken.
const FULL_BYTES: usize = 256 << 10;

/// The end that messages are pushed into. Clones push into the same queue.
#[derive(Clone)]
pub(crate) struct Sender {
    queue: Arc<Queue>,
    form: Form,
}

/// Nobody will take messages any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

impl Sender {
    /// In which form payloads go into it.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Pushes `message`, waiting for room first.
    ///
    /// Cancel safety: a dropped future has either pushed the message or not, never in part.
    pub(crate) async fn send(&self, message: impl Into<Message>) -> Result<(), Gone> {
        let mut message = message.into();
        loop {
            // Registered before the look at the queue: room made in between is not missed.
            let room = self.queue.room.notified();
            match self.queue.try_push(message) {
                Pushed::Yes => return Ok(()),
                Pushed::Gone => return Err(Gone),
                Pushed::Full(again) => message = again,
            }
            room.await;
        }
    }

    /// Whether a message can be sent without waiting.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.has_room()
    }

    /// Returns when a message can be sent without waiting, as far as anybody can say. Cancel safe.
    pub(crate) async fn wait_room(&self) {
        loop {
            let room = self.queue.room.notified();
            if self.queue.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Pushes `message` without regard to room: for control messages, and for the few that are sent once.
    pub(crate) fn push(&self, message: impl Into<Message>) -> Result<(), Gone> {
        self.queue.push(message.into())
    }

    /// Pushes `message` ahead of another that follows soon, or is to be found where the channel ends: whoever takes them is
    /// woken once.
    pub(crate) fn push_ahead(&self, message: Message) -> Result<(), Gone> {
        self.queue.push_ahead(message)
    }

    /// Cancels a call: takes it back if it was not yet sent, else says so to the peer. A cancel overtakes, and must not
    /// overtake its own call.
    pub(crate) fn cancel_call(&self, id: u64) {
        if !self.queue.take_back(id) {
            // A peer that is gone has no call to cancel.
            let _pushed = self.queue.push(Dialogue::CancelCall { id }.into());
        }
    }

    /// Cancels a context that was opened: `false` if it was taken back, so that the peer will never know of it.
    pub(crate) fn cancel_context(&self, id: u64, by: ActorId) -> bool {
        if self.queue.take_back(id) {
            return false;
        }
        let _pushed = self.queue.push(Dialogue::CancelContext { id, by }.into());
        true
    }

    /// Ends the queue, which nobody pops any more; see [`Queue::discard`].
    pub(super) fn discard(&self) {
        self.queue.discard();
    }
}

/// The queue itself, shared by those who push and the one that pops.
pub(crate) struct Queue {
    state: Mutex<State>,
    room: Notify,
}

#[derive(Default)]
struct State {
    control: VecDeque<Message>,
    ordinary: VecDeque<Message>,
    /// Of `ordinary`.
    weight_bytes: usize,
    popper: Option<Waker>,
    closed: bool,
}

enum Pushed {
    Yes,
    Full(Message),
    Gone,
}

impl Queue {
    pub(crate) fn new() -> Arc<Queue> {
        Arc::new(Queue { state: Mutex::default(), room: Notify::new() })
    }

    pub(crate) fn sender(self: &Arc<Queue>, form: Form) -> Sender {
        Sender { queue: Arc::clone(self), form }
    }

    /// The next message; `None` when the queue was closed and is empty. One popper only: the last that polled is woken.
    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut state = self.lock();
        if let Some(message) = state.control.pop_front() {
            return Poll::Ready(Some(message));
        }
        if let Some(message) = state.ordinary.pop_front() {
            let was_full = state.is_full();
            state.weight_bytes -= message.weight_bytes();
            let has_room = was_full && !state.is_full();
            drop(state);
            if has_room {
                self.room.notify_waiters();
            }
            return Poll::Ready(Some(message));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        if !state.popper.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.popper = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Ends the queue: what is in it can still be taken, nothing more is.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let popper = state.popper.take();
        drop(state);
        self.room.notify_waiters();
        popper.into_iter().for_each(Waker::wake);
    }

    /// Ends the queue, and drops what is in it: nobody will take it, and whoever holds a portal keeps the queue. The end of a
    /// channel that were kept in it would keep the other end of that channel waiting.
    pub(super) fn discard(&self) {
        self.close();
        let mut state = self.lock();
        state.weight_bytes = 0;
        let left = (std::mem::take(&mut state.control), std::mem::take(&mut state.ordinary));
        drop(state);
        drop(left);
    }

    /// Removes the beginning of a call or context that is still here.
    fn take_back(&self, call: u64) -> bool {
        let mut state = self.lock();
        let place = state
            .ordinary
            .iter()
            .position(|message| matches!(message, Message::Dialogue(Dialogue::Call { id, .. } | Dialogue::Open { id, .. }) if *id == call));
        let Some(taken) = place.and_then(|place| state.ordinary.remove(place)) else {
            return false;
        };
        state.weight_bytes -= taken.weight_bytes();
        drop(state);
        self.room.notify_waiters();
        true
    }

    fn try_push(&self, message: Message) -> Pushed {
        let state = self.lock();
        if state.closed {
            return Pushed::Gone;
        }
        if state.is_full() {
            return Pushed::Full(message);
        }
        Queue::put(state, message);
        Pushed::Yes
    }

    /// Whether a sender need not wait. A closed queue keeps nobody waiting.
    fn has_room(&self) -> bool {
        let state = self.lock();
        state.closed || !state.is_full()
    }

    fn push(&self, message: Message) -> Result<(), Gone> {
        let state = self.lock();
        if state.closed {
            return Err(Gone);
        }
        Queue::put(state, message);
        Ok(())
    }

    fn push_ahead(&self, message: Message) -> Result<(), Gone> {
        let mut state = self.lock();
        if state.closed {
            return Err(Gone);
        }
        state.put(message);
        Ok(())
    }

    fn put(mut state: MutexGuard<'_, State>, message: Message) {
        state.put(message);
        let popper = state.popper.take();
        drop(state);
        popper.into_iter().for_each(Waker::wake);
    }

    /// A panic while the lock is held leaves a queue that is whole: each change to it is one step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, message: Message) {
        if message.is_control() {
            self.control.push_back(message);
        } else {
            self.weight_bytes += message.weight_bytes();
            self.ordinary.push_back(message);
        }
    }

    fn is_full(&self) -> bool {
        self.weight_bytes >= FULL_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::Payload;

    fn pop(queue: &Queue) -> Poll<Option<Message>> {
        queue.poll_pop(&mut Context::from_waker(Waker::noop()))
    }

    fn value(id: u64, bytes: usize) -> Message {
        Dialogue::Return { id, value: Payload::Bytes(vec![0; bytes]) }.into()
    }

    #[test]
    fn control_overtakes_and_the_rest_keeps_its_order() {
        let queue = Queue::new();
        let sender = queue.sender(Form::Bytes);
        for message in [value(1, 0), value(2, 0), Message::CancelAck, value(3, 0)] {
            sender.push(message).unwrap();
        }
        assert!(matches!(pop(&queue), Poll::Ready(Some(Message::CancelAck))));
        for expected in 1..=3 {
            assert!(
                matches!(pop(&queue), Poll::Ready(Some(Message::Dialogue(Dialogue::Return { id, .. }))) if id == expected)
            );
        }
        assert!(pop(&queue).is_pending());
    }

    #[test]
    fn a_cancelled_call_that_was_not_sent_is_taken_back() {
        let queue = Queue::new();
        let sender = queue.sender(Form::Bytes);
        let call = |id| Dialogue::Call {
            id,
            function: "f".into(),
            fingerprint: 1,
            args: Payload::Bytes(Vec::new()),
        };
        sender.push(call(1)).unwrap();
        sender.push(call(2)).unwrap();
        sender.cancel_call(1);
        assert!(matches!(
            pop(&queue),
            Poll::Ready(Some(Message::Dialogue(Dialogue::Call { id: 2, .. })))
        ));
        assert!(pop(&queue).is_pending());
        sender.cancel_call(2);
        assert!(matches!(
            pop(&queue),
            Poll::Ready(Some(Message::Dialogue(Dialogue::CancelCall { id: 2 })))
        ));
    }

    #[test]
    fn a_full_queue_makes_senders_wait_but_not_control() {
        let queue = Queue::new();
        let sender = queue.sender(Form::Bytes);
        sender.push(value(1, FULL_BYTES)).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut second = Box::pin(sender.send(value(2, 0)));
        assert!(second.as_mut().poll(&mut cx).is_pending());
        sender.push(Message::CancelAck).unwrap();
        assert!(matches!(pop(&queue), Poll::Ready(Some(Message::CancelAck))));
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert!(matches!(
            pop(&queue),
            Poll::Ready(Some(Message::Dialogue(Dialogue::Return { id: 1, .. })))
        ));
        assert_eq!(second.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_no_more() {
        let queue = Queue::new();
        let sender = queue.sender(Form::Bytes);
        sender.push(value(1, 0)).unwrap();
        queue.close();
        assert_eq!(sender.push(value(2, 0)), Err(Gone));
        assert!(matches!(
            pop(&queue),
            Poll::Ready(Some(Message::Dialogue(Dialogue::Return { id: 1, .. })))
        ));
        assert!(matches!(pop(&queue), Poll::Ready(None)));
    }
}
