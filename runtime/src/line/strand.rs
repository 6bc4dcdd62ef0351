//! One end of a context: what came from the other end, and what may be sent there.
//!
//! Whoever drives the channel puts in what comes (`on_…`); the tasks of the context take it out (`poll_…`). Nothing here waits, so
//! no context keeps the channel from the others. Used by `rpc` for both, and by `context` and `stream`, whose types are the
//! user's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use super::calls::Ended;
use super::course::{Course, OnCancel, OnOpen, Over, Taken, Wish};
use super::credit::{Admission, Ledger, Window};
use super::cut::Cut;
use super::wakers::Wakers;
use crate::error::{ActorId, Error, Result, Rung};
use crate::ipc::Sender;
use crate::msg::{Dialogue, Failure, Form, Payload, Side, Terms, shown};
use crate::trace::{self, ContextState, Step};

/// One end of one context.
pub(crate) struct Strand {
    pub(crate) id: u64,
    side: Side,
    pub(crate) here: ActorId,
    pub(crate) peer: ActorId,
    function: &'static str,
    terms: Terms,
    pub(crate) out: Sender,
    /// Ends what of the context runs here.
    pub(crate) cut: Cut,
    state: Mutex<State>,
}

struct State {
    course: Course,
    /// What came with `started`, until it is fetched.
    first: Option<Payload>,
    last: Option<Last>,
    /// At the server: who wants the task to end.
    cancelled: Option<ActorId>,
    inbox: Inbox,
    outbox: Outbox,
    /// Whether the context's own task or body is being polled.
    pace: Pace,
    waiting: Waiting,
    counts: Counts,
}

/// The last of a context.
pub(crate) enum Last {
    /// With the value, until it is fetched.
    Returned(Option<Payload>),
    Failed(Failure),
    Gone(Ended),
    /// At the opener: it was asked to end, and the time for that is over.
    GivenUp(GivenUp),
}

/// What a task has not done in its time that was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp {
    /// Where it was waited for.
    pub(crate) rung: Rung,
    pub(crate) after: Duration,
}

struct Inbox {
    items: VecDeque<Payload>,
    ledger: Ledger,
    keeps: Keeps,
    end: End,
}

/// Whether the other end has closed the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// It has. What is sent to it is let go of there: a task that only sends need not know.
    Closed,
    /// And this was told here: who sends now has not listened.
    Told,
}

/// What becomes of an item that comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Items,
    /// Nobody will fetch them.
    Nothing,
}

struct Outbox {
    window: Window,
    phase: Sending,
}

/// Whether this end sends items.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// Nothing more is sent. What comes can still be received.
    Done,
    /// It was dropped by its task, or with it. If the task fails or is cut short, the other end is to see this and no end of the
    /// stream.
    Closing,
    Closed,
}

/// Who runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// The context's own task or body is being polled.
    Inside,
    Outside,
    /// The task or body has ended, or was cut short, and is being dropped.
    Over,
}

#[derive(Default)]
struct Waiting {
    readers: Wakers,
    writers: Wakers,
    watchers: Wakers,
}

/// What went through a stream, in items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) dropped: u64,
}

/// What a sender may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    One,
    /// The item is to be dropped.
    None,
}

impl Strand {
    pub(crate) fn of_opener(
        id: u64,
        here: ActorId,
        peer: ActorId,
        function: &'static str,
        terms: Terms,
        out: Sender,
    ) -> Arc<Strand> {
        let course = Course::of_opener();
        Strand::new(Side::Opener, id, here, peer, function, terms, out, course)
    }

    pub(crate) fn of_server(
        id: u64,
        here: ActorId,
        peer: ActorId,
        function: &'static str,
        terms: Terms,
        out: Sender,
    ) -> Arc<Strand> {
        let strand =
            Strand::new(Side::Server, id, here, peer, function, terms, out, Course::of_server());
        strand.tell(ContextState::Syncing);
        strand
    }

    #[expect(clippy::too_many_arguments, reason = "what the two above have in common")]
    fn new(
        side: Side,
        id: u64,
        here: ActorId,
        peer: ActorId,
        function: &'static str,
        terms: Terms,
        out: Sender,
        course: Course,
    ) -> Arc<Strand> {
        let inbox = Inbox {
            items: VecDeque::new(),
            ledger: Ledger::new(terms),
            keeps: Keeps::Items,
            end: End::Open,
        };
        let outbox = Outbox { window: Window::new(terms), phase: Sending::Open };
        let state = State {
            course,
            first: None,
            last: None,
            cancelled: None,
            inbox,
            outbox,
            pace: Pace::Outside,
            waiting: Waiting::default(),
            counts: Counts::default(),
        };
        let (cut, state) = (Cut::default(), Mutex::new(state));
        Arc::new(Strand { id, side, here, peer, function, terms, out, cut, state })
    }

    pub(crate) fn form(&self) -> Form {
        self.out.form()
    }

    /// The function's path, as people read it.
    pub(crate) fn shown(&self) -> &'static str {
        shown(self.function)
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.terms.capacity.max(1)
    }

    /// At the opener: whether the task has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().last.is_some()
    }

    /// At the opener: whether the task has ended, and not well.
    pub(crate) fn is_set_back(&self) -> bool {
        matches!(self.lock().last, Some(Last::Failed(_) | Last::Gone(_) | Last::GivenUp(_)))
    }

    /// At the opener: whether the task was asked to end.
    pub(crate) fn is_wished(&self) -> bool {
        self.lock().course.wish() != Wish::None
    }

    /// Why the stream cannot be opened any more.
    pub(crate) fn refusal(&self) -> Error {
        let state = self.lock();
        match (&state.last, &state.cancelled) {
            (Some(Last::Failed(failure)), _) => {
                failure.clone().into_error(&self.peer, self.function)
            }
            (Some(Last::Gone(ended)), _) => ended.to_error(&self.peer),
            (Some(Last::GivenUp(given_up)), _) => given_up.to_error(&self.peer),
            (_, Some(by)) => Error::Cancelled { subject: self.here.clone(), canceller: by.clone() },
            (Some(Last::Returned(_)) | None, None) => {
                Error::StreamEnded { actor: self.peer.clone() }
            }
        }
    }

    /// Sends an item for which there was [`Room`].
    pub(crate) fn push_item(&self, item: Payload) {
        // A peer that is gone is told of by the context's end.
        let _pushed = self.out.push(Dialogue::Item { id: self.id, from: self.side, item });
    }

    /// Whether the stream has ended and been read to its end, or was closed here.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.lock();
        let has_ended = state.inbox.end != End::Open || state.last.is_some();
        state.outbox.is_closed() || has_ended && state.inbox.items.is_empty()
    }

    /// At the opener: the value is awaited. Nothing more is sent: a task that reads to the end would else never come to its value.
    /// Unless there is a stream to receive them from, nobody will fetch the items.
    pub(crate) fn on_result_awaited(&self) {
        let mut state = self.lock();
        let discarded = (!state.course.has_stream()).then(|| state.discard());
        let ends_now = state.outbox.phase == Sending::Open && state.last.is_none();
        if ends_now {
            state.outbox.phase = Sending::Done;
        }
        let writers = state.waiting.writers.take();
        drop(state);
        self.give(discarded.and_then(|discarded| discarded.credit));
        if ends_now {
            self.say_end_of_stream();
        }
        writers.wake();
    }

    pub(crate) fn state(&self) -> ContextState {
        self.lock().course.state(&self.here, &self.peer)
    }

    pub(crate) fn counts(&self) -> (Counts, usize, u32) {
        let state = self.lock();
        (state.counts, state.inbox.items.len(), state.outbox.window.left())
    }

    // What comes.

    pub(crate) fn on_started(&self, value: Payload) {
        let mut state = self.lock();
        if state.course.on_started() == Taken::No {
            return;
        }
        state.first = Some(value);
        let watchers = state.waiting.watchers.take();
        drop(state);
        self.tell(ContextState::Started);
        watchers.wake();
    }

    /// An item that comes when nobody will fetch it is accounted for at once. So is one beyond what was allowed, which no peer of
    /// ours sends.
    pub(crate) fn on_item(&self, item: Payload) {
        let mut state = self.lock();
        let inbox = &mut state.inbox;
        let has_room = inbox.items.len() < self.terms.capacity.max(1) as usize;
        match inbox.keeps {
            Keeps::Items if has_room => {
                inbox.items.push_back(item);
                let readers = state.waiting.readers.take();
                drop(state);
                readers.wake();
            }
            Keeps::Items => state.counts.dropped += 1,
            Keeps::Nothing => {
                let credit = inbox.ledger.on_taken();
                drop(state);
                self.give(credit);
            }
        }
    }

    pub(crate) fn on_credit(&self, count: u32) {
        let mut state = self.lock();
        state.outbox.window.on_credit(count);
        let writers = state.waiting.writers.take();
        drop(state);
        writers.wake();
    }

    pub(crate) fn on_end_of_stream(&self) {
        let mut state = self.lock();
        if state.inbox.end == End::Open {
            state.inbox.end = End::Closed;
        }
        let readers = state.waiting.readers.take();
        drop(state);
        readers.wake();
    }

    pub(crate) fn on_heard(&self) {
        let mut state = self.lock();
        state.course.on_heard();
        let watchers = state.waiting.watchers.take();
        drop(state);
        watchers.wake();
    }

    /// At the opener: the task has ended. Unless it has done so well, or at our wish, what runs here ends too.
    pub(crate) fn on_last(&self, last: Last) {
        let over = match &last {
            Last::Returned(_) => Over::Returned,
            Last::Failed(Failure::Cancelled { by }) | Last::Gone(Ended::Cancelled { by }) => {
                Over::Cancelled { by: by.clone() }
            }
            Last::Failed(_) => Over::Failed,
            Last::Gone(_) | Last::GivenUp(_) => Over::Lost,
        };
        let ends_well = over == Over::Returned;
        let mut state = self.lock();
        if state.course.on_over(over) == Taken::No {
            return;
        }
        state.last = Some(last);
        let is_wanted = ends_well || state.course.is_own_cancel(&self.here);
        let told = state.course.state(&self.here, &self.peer);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.tell(told);
        waiting.wake();
        if !is_wanted {
            self.cut.cut();
        }
    }

    /// At the server: the task is to end. The first who wants it is the one on record.
    pub(crate) fn on_cancel(&self, by: &ActorId) {
        let mut state = self.lock();
        state.cancelled.get_or_insert_with(|| by.clone());
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.wake();
        self.cut.cut();
    }

    // What is taken out.

    /// At the opener: what came with `started`; an error if the task ended before.
    pub(crate) fn poll_first(&self, cx: &Context<'_>) -> Poll<Result<Payload, ()>> {
        let mut state = self.lock();
        if let Some(first) = state.first.take() {
            return Poll::Ready(Ok(first));
        }
        if state.last.is_some() {
            return Poll::Ready(Err(()));
        }
        state.waiting.watchers.register(cx);
        Poll::Pending
    }

    /// At the opener: ready once the other end has read the wish to cancel, or has ended.
    pub(crate) fn poll_heard(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.last.is_some() || state.course.wish() == Wish::Heard {
            return Poll::Ready(());
        }
        state.waiting.watchers.register(cx);
        Poll::Pending
    }

    /// At the opener: ready once the task has ended.
    pub(crate) fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.last.is_some() {
            return Poll::Ready(());
        }
        state.waiting.watchers.register(cx);
        Poll::Pending
    }

    /// At the opener, when the task has ended: its value, once; or the error.
    pub(crate) fn take_result(&self) -> Result<Payload, NoResult> {
        let mut state = self.lock();
        let is_own_cancel = state.course.is_own_cancel(&self.here);
        match &mut state.last {
            Some(Last::Returned(value)) => value.take().ok_or(NoResult::Taken),
            Some(Last::Failed(failure)) if is_own_cancel => {
                Err(NoResult::AsWished(failure.clone()))
            }
            Some(Last::Failed(failure)) => Err(NoResult::Failed(failure.clone())),
            Some(Last::Gone(Ended::Cancelled { by })) if is_own_cancel => {
                Err(NoResult::AsWished(Failure::Cancelled { by: by.clone() }))
            }
            Some(Last::Gone(ended)) => Err(NoResult::Gone(ended.clone())),
            Some(Last::GivenUp(given_up)) => Err(NoResult::GivenUp(*given_up)),
            None => Err(NoResult::Taken),
        }
    }

    /// The next item; `None` at the end of the stream, again and again.
    pub(crate) fn poll_item(&self, cx: &Context<'_>) -> Poll<Result<Option<Payload>>> {
        let mut state = self.lock();
        if let Some(item) = state.inbox.items.pop_front() {
            state.counts.received += 1;
            let credit = state.inbox.ledger.on_taken();
            drop(state);
            self.give(credit);
            return Poll::Ready(Ok(Some(item)));
        }
        if let Some(told) = self.hindrance(&state) {
            return told.map(Err);
        }
        if state.inbox.end != End::Open {
            state.inbox.end = End::Told;
            return Poll::Ready(Ok(None));
        }
        if state.last.is_some() || state.outbox.is_closed() {
            return Poll::Ready(Ok(None));
        }
        state.waiting.readers.register(cx);
        Poll::Pending
    }

    /// Whether an item may be sent. Ready with `Room::One`, it is to be sent.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<Room>> {
        let mut state = self.lock();
        if let Some(told) = self.hindrance(&state) {
            return told.map(Err);
        }
        let is_told = state.inbox.end == End::Told;
        if is_told || state.last.is_some() || state.outbox.phase != Sending::Open {
            return Poll::Ready(Err(Error::StreamEnded { actor: self.peer.clone() }));
        }
        match state.outbox.window.admit() {
            Admission::Sent => {
                state.counts.sent += 1;
                Poll::Ready(Ok(Room::One))
            }
            Admission::Dropped => {
                state.counts.dropped += 1;
                Poll::Ready(Ok(Room::None))
            }
            Admission::Overrun => Poll::Ready(Err(Error::StreamOverrun {
                actor: self.peer.clone(),
                capacity: self.terms.capacity,
            })),
            Admission::Wait => {
                state.waiting.writers.register(cx);
                Poll::Pending
            }
        }
    }

    /// Why no operation of the stream makes sense any more, if the context has not ended well. A task that was cancelled waits,
    /// and is ended there; only what was taken out of it is told.
    fn hindrance(&self, state: &State) -> Option<Poll<Error>> {
        let told = match (&state.last, &state.cancelled) {
            (Some(Last::Failed(failure)), _) => {
                failure.clone().into_error(&self.peer, self.function)
            }
            (Some(Last::Gone(ended)), _) => ended.to_error(&self.peer),
            (Some(Last::GivenUp(given_up)), _) => given_up.to_error(&self.peer),
            (None, Some(_)) if state.pace == Pace::Inside => return Some(Poll::Pending),
            (None, Some(by)) => {
                Error::Cancelled { subject: self.here.clone(), canceller: by.clone() }
            }
            (Some(Last::Returned(_)), _) | (None, None) => return None,
        };
        Some(Poll::Ready(told))
    }

    // What is wished and said.

    pub(crate) fn open_stream(&self) -> OnOpen {
        let mut state = self.lock();
        let opened = match &state.cancelled {
            Some(_) => OnOpen::Refused,
            None => state.course.open_stream(),
        };
        drop(state);
        if opened == OnOpen::Opened {
            self.tell(ContextState::Streaming);
        }
        opened
    }

    /// At the opener: the other end was asked to begin.
    pub(crate) fn opened(&self) {
        self.lock().course.on_opened();
        self.tell(ContextState::Syncing);
    }

    /// At the server: `started` is being said.
    pub(crate) fn started(&self) {
        if self.lock().course.on_started() == Taken::Yes {
            self.tell(ContextState::Started);
        }
    }

    /// At the server: whether `started` was said.
    pub(crate) fn is_started(&self) -> bool {
        self.lock().course.is_started()
    }

    /// At the server: the task has ended; nothing of the context works any more.
    pub(crate) fn end(&self, last: Last) {
        self.on_last(last);
    }

    /// At the opener: asks the other end to end the task. If it never knew of it, this is the end.
    pub(crate) fn cancel(&self) {
        let duty = self.lock().course.cancel();
        match duty {
            OnCancel::Nothing => {}
            OnCancel::Say if self.out.cancel_context(self.id, self.here.clone()) => {}
            OnCancel::Say | OnCancel::End => {
                self.on_last(Last::Failed(Failure::Cancelled { by: self.here.clone() }));
            }
        }
    }

    /// At the opener: the task was asked to end, and is waited for no longer.
    pub(crate) fn give_up(&self, given_up: GivenUp) {
        self.on_last(Last::GivenUp(given_up));
    }

    /// At the server: the task itself wants to end as cancelled.
    pub(crate) fn cancel_self(&self) {
        let _said = self.lock().course.cancel();
        self.on_cancel(&self.here.clone());
    }

    /// Who wants the context to end, as far as this end knows.
    pub(crate) fn canceller(&self) -> Option<ActorId> {
        let state = self.lock();
        match (&state.last, &state.cancelled, state.course.wish()) {
            (
                Some(Last::Failed(Failure::Cancelled { by }) | Last::Gone(Ended::Cancelled { by })),
                ..,
            )
            | (_, Some(by), _) => Some(by.clone()),
            (_, None, Wish::Said | Wish::Heard) => Some(self.here.clone()),
            (_, None, Wish::None) => None,
        }
    }

    /// This end sends no more, and fetches no more: what comes is let go of.
    pub(crate) fn close(&self) {
        self.finish(Sending::Closed);
    }

    /// The stream was dropped.
    pub(crate) fn on_stream_dropped(&self) {
        let pace = self.lock().pace;
        self.finish(match pace {
            Pace::Inside | Pace::Over => Sending::Closing,
            Pace::Outside => Sending::Closed,
        });
    }

    fn finish(&self, phase: Sending) {
        let mut state = self.lock();
        let Discarded { credit, items } = state.discard();
        let is_over = state.last.is_some();
        let before = std::mem::replace(&mut state.outbox.phase, phase);
        // Once the end is said, there is nothing to hold back.
        let is_said = matches!(before, Sending::Done | Sending::Closed);
        if is_said {
            state.outbox.phase = Sending::Closed;
        }
        let told = match before {
            Sending::Closed => None,
            Sending::Open | Sending::Done | Sending::Closing => {
                state.course.on_stream_end();
                Some(state.course.state(&self.here, &self.peer))
            }
        };
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(items);
        if !is_over {
            self.give(credit);
            if !is_said && phase == Sending::Closed {
                self.say_end_of_stream();
            }
        }
        told.into_iter().for_each(|told| self.tell(told));
        waiting.wake();
    }

    /// Polls what of the context runs here: the server's task, or the opener's body.
    pub(crate) async fn drive<F: Future + ?Sized>(
        &self,
        future: std::pin::Pin<&mut F>,
    ) -> Option<F::Output> {
        let mut future = future;
        let paced = std::future::poll_fn(move |cx| {
            self.lock().pace = Pace::Inside;
            let inside = Inside(self);
            let poll = future.as_mut().poll(cx);
            drop(inside);
            if poll.is_pending() {
                self.settle();
            }
            poll
        });
        let ended = self.cut.run(std::pin::pin!(paced)).await;
        self.lock().pace = Pace::Over;
        ended
    }

    /// The task goes on: a stream that it has dropped has ended.
    fn settle(&self) {
        let state = self.lock();
        let is_closing = state.outbox.phase == Sending::Closing && state.cancelled.is_none();
        drop(state);
        if is_closing {
            self.finish(Sending::Closed);
        }
    }

    fn give(&self, credit: Option<u32>) {
        if let Some(count) = credit {
            // A peer that is gone sends no more.
            let _pushed = self.out.push(Dialogue::Credit { id: self.id, from: self.side, count });
        }
    }

    fn say_end_of_stream(&self) {
        // A peer that is gone reads no more.
        let _pushed = self.out.push(Dialogue::EndOfStream { id: self.id, from: self.side });
    }

    fn tell(&self, state: ContextState) {
        trace::emit(&self.peer, Step::Context { id: self.id, state });
    }

    /// A panic while the lock is held leaves a state that is whole: each change to it is one step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// From now on items are let go of as they come.
    fn discard(&mut self) -> Discarded {
        self.inbox.keeps = Keeps::Nothing;
        let items = std::mem::take(&mut self.inbox.items);
        let credit: u32 = items.iter().filter_map(|_| self.inbox.ledger.on_taken()).sum();
        Discarded { credit: (credit > 0).then_some(credit), items }
    }
}

impl Outbox {
    /// Whether the stream was closed here, or dropped.
    fn is_closed(&self) -> bool {
        match self.phase {
            Sending::Open | Sending::Done => false,
            Sending::Closing | Sending::Closed => true,
        }
    }
}

impl GivenUp {
    pub(crate) fn to_error(self, actor: &ActorId) -> Error {
        let GivenUp { rung, after } = self;
        Error::Unresponsive { actor: actor.clone(), rung, after }
    }
}

/// Items that nobody will fetch.
#[must_use]
struct Discarded {
    /// What the sender is to be told of them.
    credit: Option<u32>,
    /// To be dropped when no lock is held: between threads they are values, and their destructors the user's, who may ask the context
    /// how it is.
    items: VecDeque<Payload>,
}

/// Why a context has no value.
pub(crate) enum NoResult {
    Failed(Failure),
    Gone(Ended),
    /// It was cancelled, as this end wished.
    AsWished(Failure),
    /// It was asked to end, and did not in its time.
    GivenUp(GivenUp),
    /// It was taken before, or is not there yet.
    Taken,
}

/// While it lives, the context's task or body is being polled; also one that panics is not any more afterwards.
struct Inside<'s>(&'s Strand);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.lock().pace = Pace::Outside;
    }
}

impl Waiting {
    fn wake(self) {
        self.readers.wake();
        self.writers.wake();
        self.watchers.wake();
    }
}
