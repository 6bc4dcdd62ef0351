//! A channel whose ends are in one process: items are moved.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::far::{FarReceiver, FarSender, Place};
use super::over::{Holder, Over, Parting};
use crate::ipc::packet_pair;

/// Shared by the two ends.
pub(super) struct Near<T> {
    state: Mutex<State<T>>,
    capacity: u32,
}

struct State<T> {
    items: VecDeque<T>,
    /// The end that left has left this to the one that stays.
    left_behind: Option<LeftBehind>,
    sender: Presence,
    receiver: Presence,
}

/// An end, as the other one sees it.
enum Presence {
    Here { waiting: Option<Waker> },
    Parted(Parting),
}

/// The socket of the end that stays.
struct LeftBehind {
    fd: OwnedFd,
    /// By whom the other end was sent away.
    by: Holder,
    /// How many items may be sent, if it is the sender that stays.
    credit: u32,
}

/// What became of an item.
pub(super) enum Sent<T> {
    Yes,
    Over(Over),
    /// The other end is elsewhere; the item is still to be sent.
    Moved(Box<FarSender>, T),
}

/// What there is to receive.
pub(super) enum Received<T> {
    Item(T),
    Over(Over),
    /// The other end is elsewhere.
    Moved(Box<FarReceiver<T>>),
}

impl<T> Near<T> {
    pub(super) fn new(capacity: u32) -> Near<T> {
        let state = State {
            items: VecDeque::new(),
            left_behind: None,
            sender: Presence::Here { waiting: None },
            receiver: Presence::Here { waiting: None },
        };
        Near { state: Mutex::new(state), capacity }
    }

    /// For the one sender. Ready, the item was taken, or is in the answer.
    pub(super) fn poll_send(&self, item: &mut Option<T>, cx: &Context<'_>) -> Poll<Sent<T>> {
        let mut state = self.lock();
        if let Some(left) = state.left_behind.take() {
            let far = Box::new(left.into_sender(self.capacity));
            return Poll::Ready(item.take().map_or(Sent::Yes, |item| Sent::Moved(far, item)));
        }
        if let Presence::Parted(parting) = &state.receiver {
            return Poll::Ready(Sent::Over(Over::Parted(parting.clone())));
        }
        if state.credit(self.capacity) == 0 {
            state.sender = Presence::Here { waiting: Some(cx.waker().clone()) };
            return Poll::Pending;
        }
        state.items.extend(item.take());
        let waiting = state.receiver.take_waiting();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Poll::Ready(Sent::Yes)
    }

    /// For the one receiver.
    pub(super) fn poll_recv(&self, cx: &Context<'_>) -> Poll<Received<T>> {
        let mut state = self.lock();
        if let Some(left) = state.left_behind.take() {
            let items = std::mem::take(&mut state.items);
            let far = Box::new(left.into_receiver(self.capacity, items));
            return Poll::Ready(Received::Moved(far));
        }
        if let Some(item) = state.items.pop_front() {
            let waiting = state.sender.take_waiting();
            drop(state);
            waiting.into_iter().for_each(Waker::wake);
            return Poll::Ready(Received::Item(item));
        }
        if let Presence::Parted(parting) = &state.sender {
            return Poll::Ready(Received::Over(Over::Parted(parting.clone())));
        }
        state.receiver = Presence::Here { waiting: Some(cx.waker().clone()) };
        Poll::Pending
    }

    /// The sender is dropped. `Some`: it is to be dropped as that.
    pub(super) fn part_sender(&self, parting: Parting) -> Option<FarSender> {
        let mut state = self.lock();
        if let Some(left) = state.left_behind.take() {
            return Some(left.into_sender(self.capacity));
        }
        state.sender = Presence::Parted(parting);
        let waiting = state.receiver.take_waiting();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        None
    }

    /// The receiver is dropped. `Some`: it is to be dropped as that.
    pub(super) fn part_receiver(&self, parting: Parting) -> Option<FarReceiver<T>> {
        let mut state = self.lock();
        let items = std::mem::take(&mut state.items);
        if let Some(left) = state.left_behind.take() {
            return Some(left.into_receiver(self.capacity, items));
        }
        state.receiver = Presence::Parted(parting);
        let waiting = state.sender.take_waiting();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        None
    }

    /// The sender leaves this process.
    pub(super) fn send_away_sender(&self) -> io::Result<FarSender> {
        let mut state = self.lock();
        if let Some(left) = state.left_behind.take() {
            return Ok(left.into_sender(self.capacity));
        }
        let (own, theirs) = packet_pair()?;
        let credit = state.credit(self.capacity);
        let mut far = FarSender::new(own, self.capacity, credit, Place::At(Holder::here()));
        if let Presence::Parted(parting) = &state.receiver {
            far.set_over(Over::Parted(parting.clone()));
        }
        state.left_behind = Some(LeftBehind { fd: theirs, by: Holder::here(), credit });
        let waiting = state.receiver.take_waiting();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Ok(far)
    }

    /// The receiver leaves this process, with what waits.
    pub(super) fn send_away_receiver(&self) -> io::Result<FarReceiver<T>> {
        let mut state = self.lock();
        if let Some(left) = state.left_behind.take() {
            let items = std::mem::take(&mut state.items);
            return Ok(left.into_receiver(self.capacity, items));
        }
        let (own, theirs) = packet_pair()?;
        let credit = state.credit(self.capacity);
        let items = std::mem::take(&mut state.items);
        let mut far = FarReceiver::new(own, self.capacity, items, Place::At(Holder::here()));
        if let Presence::Parted(parting) = &state.sender {
            far.set_over(Over::Parted(parting.clone()));
        }
        state.left_behind = Some(LeftBehind { fd: theirs, by: Holder::here(), credit });
        let waiting = state.sender.take_waiting();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Ok(far)
    }

    /// No user code runs while the lock is held.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn credit(&self, capacity: u32) -> u32 {
        let waiting = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        capacity.saturating_sub(waiting)
    }
}

impl Presence {
    fn take_waiting(&mut self) -> Option<Waker> {
        match self {
            Presence::Here { waiting } => waiting.take(),
            Presence::Parted(_) => None,
        }
    }
}

impl LeftBehind {
    fn into_sender(self, capacity: u32) -> FarSender {
        FarSender::new(self.fd, capacity, self.credit, Place::Between { last: self.by.actor })
    }

    fn into_receiver<T>(self, capacity: u32, items: VecDeque<T>) -> FarReceiver<T> {
        FarReceiver::new(self.fd, capacity, items, Place::Between { last: self.by.actor })
    }
}
