//! A context as the one who opens it sees it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::outcome::{Body, Setback, SetbackKind, outcome};
use crate::actor::{self, Remnant, ThisActor, collect, leave};
use crate::error::{ActorId, CallError, Error, Result, Rung};
use crate::line::{Ended, GivenUp, Line, NoResult, NoValue, Strand};
use crate::msg::{Dialogue, Failure, Overrun, Payload, Terms, Timings, shown};
use crate::rpc::{ContextFunction, Portal, unsendable};
use crate::stream::{self, Stream};
use crate::trace::{self, ContextState, Wait};

/// What the stream of a context holds unless [`Opening::capacity`] says otherwise, in items.
const CAPACITY: u32 = 64;

/// A context that is about to be opened: choose options, then [`open`](Opening::open) it.
#[must_use = "a context is opened by `open`"]
pub struct Opening<'p, C: ContextFunction> {
    portal: Cow<'p, Portal>,
    args: C::Args,
    terms: Terms,
}

impl Portal {
    /// Runs a function in the actor as a task linked with one here. Nothing happens before [`Opening::open`].
    pub fn context<C: ContextFunction>(&self, args: C::Args) -> Opening<'_, C> {
        Opening {
            portal: Cow::Borrowed(self),
            args,
            terms: Terms { capacity: CAPACITY, overrun: Overrun::default() },
        }
    }
}

impl<C: ContextFunction> Opening<'_, C> {
    /// How many items may be sent into the stream, in each direction, and not yet received. Default: 64.
    ///
    /// # Panics
    /// If it is 0.
    pub fn capacity(mut self, items: u32) -> Self {
        assert!(items > 0, "a stream that holds nothing carries nothing");
        self.terms.capacity = items;
        self
    }

    /// What becomes of an item beyond that, in both directions. Default: its sender waits.
    pub fn overrun(mut self, overrun: Overrun) -> Self {
        self.terms.overrun = overrun;
        self
    }

    /// The same, not borrowed from the portal.
    pub fn into_owned(self) -> Opening<'static, C> {
        let portal = Cow::Owned(self.portal.into_owned());
        Opening { portal, args: self.args, terms: self.terms }
    }

    /// Begins the function in the other actor, and when it has [started](crate::Context::started), runs `body` here. Returns when
    /// both have ended.
    ///
    /// The two are linked. If `body` fails, the function is cancelled. If the function fails or is cancelled, `body` is cut short:
    /// it is polled once more, and then dropped where it waits. If `body` ends well, what is left in the stream is let go of, and
    /// the function's end is awaited; a function that does not end by itself is to be [cancelled](Opened::cancel).
    ///
    /// # Errors
    /// [`CallError::Returned`] with the function's own error. Otherwise [`CallError::Failed`], with the body's error, or:
    ///
    /// - [`Error::Cancelled`] if the function was cancelled. Not if `body` asked for it by [`Opened::cancel`]: that is absorbed
    ///   here, and the body's value returned. Cancelling the actor ([`Portal::cancel`]) is not absorbed.
    /// - [`Error::NotStarted`], [`Error::NotExposed`], [`Error::Unsendable`], [`Error::WrongType`]; [`Error::Remote`] for a panic;
    ///   [`Error::ActorDied`] within half a second of the actor's death.
    /// - [`Error::Unresponsive`] if a cancel was not acknowledged within [`Timings::ack`](crate::Timings::ack), or the function has not
    ///   ended then within a whole ladder's time (`soft`, `terminate` and `abandon` together): it may have children to force. It is
    ///   given up: whatever it still says is dropped, and it stays its actor's business.
    /// - [`Error::Misuse`] for a context with the actor itself; [`Error::NoRuntime`] outside an actor.
    ///
    /// A body's error wins over a cancel. If both fail, both are told, in a [`Group`](crate::Group), the body's first.
    ///
    /// # Cancel safety
    /// Dropping the future is a cancel: `body` is dropped, the function told to end, and the actor does not end before it has, or
    /// the time for that is over.
    pub async fn open<T, B>(self, body: B) -> Result<T, CallError<C::Error>>
    where
        B: AsyncFnOnce(Opened<C>) -> Result<T>,
    {
        let (hold, first) = self.begin().await?;
        let mut body = Box::pin(body(hold.opened(first)));
        let ended = hold.strand.drive(body.as_mut()).await;
        let left = collect(|| drop(body));
        hold.part(&ended);
        let failures = left.wait().await;
        hold.finish::<C, T>(with_failures(ended, failures)).await
    }

    /// Waits for `started`.
    pub(crate) async fn begin(self) -> Result<(Hold, C::Started), CallError<C::Error>> {
        let Opening { portal, args, terms } = self;
        let this = actor::this()?;
        let line = portal.reach().await?;
        if line.actor == this.id {
            let what = format!("a context with this actor itself ({}) is refused", this.id);
            return Err(Error::Misuse(what).into());
        }
        let args = Payload::pack(args, line.out.form())
            .map_err(|error| unsendable::<C>("arguments", &error))?;
        let hold = Hold::new(line, this, C::NAME, terms);
        let (id, function) = (hold.strand.id, Cow::Borrowed(C::NAME));
        // A channel that takes no more is about to tell why.
        let fingerprint = C::context_fingerprint();
        let open = Dialogue::Open { id, function, fingerprint, args, terms };
        let _sent = hold.line.out.send(open).await;
        hold.strand.opened();
        hold.started::<C>().await
    }
}

/// An open context, in the body of [`Opening::open`].
pub struct Opened<C: ContextFunction> {
    strand: Arc<Strand>,
    first: C::Started,
    timings: Timings,
}

impl<C: ContextFunction> Opened<C> {
    /// What the function started with.
    pub fn first(&self) -> &C::Started {
        &self.first
    }

    /// The same, for what is used up by use: the end of a [`channel`](crate::channel()), for one.
    pub fn first_mut(&mut self) -> &mut C::Started {
        &mut self.first
    }

    /// The stream between the two tasks; there is one.
    ///
    /// # Errors
    /// [`Error::Misuse`] the second time. Of a context that has ended it can be opened: what came before can still be received.
    pub fn open_stream(&self) -> Result<Stream<C::Sends, C::Receives>> {
        stream::open(&self.strand)
    }

    /// Asks the other end to end its task, and returns when that was acknowledged: at the latest after
    /// [`Timings::ack`](crate::Timings::ack). The task ends somewhat later: the scope waits for that. A task that has ended is
    /// left as it is.
    ///
    /// # Cancel safety
    /// The request is made at once; dropping the future does not take it back.
    pub async fn cancel(&self) {
        self.strand.cancel();
        let heard = std::future::poll_fn(|cx| self.strand.poll_heard(cx));
        let _in_time = timeout(self.timings.ack, heard).await;
    }

    /// Waits for the function's value.
    ///
    /// It says that nothing more is sent: a function that reads its stream to the end comes to it, also if the stream is still held
    /// here. Sending into that is [`Error::StreamEnded`] from now on, so a task that feeds the stream is to be waited for before.
    /// What comes can be received; without a stream to receive it from, it is let go of.
    ///
    /// # Errors
    /// As of a call; [`Error::Cancelled`] also if it was cancelled from here. [`Error::Unresponsive`] if it was and has not ended in
    /// time: as of [`Opening::open`], which then fails with it.
    pub async fn result(self) -> Result<C::Output, CallError<C::Error>> {
        let Opened { strand, timings, .. } = self;
        strand.on_result_awaited();
        wait_over(&strand, &timings).await;
        match strand.take_result() {
            Ok(value) => unpack_value::<C>(value).map_err(CallError::Failed),
            Err(failed) => Err(typed::<C>(&strand, failed)),
        }
    }

    /// The actor of the other task.
    pub fn peer(&self) -> &ActorId {
        &self.strand.peer
    }

    /// Who asked for the end of the other task, if anybody has.
    pub fn canceller(&self) -> Option<ActorId> {
        self.strand.canceller()
    }

    /// How far it is.
    pub fn state(&self) -> ContextState {
        self.strand.state()
    }
}

impl<C: ContextFunction> fmt::Debug for Opened<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({} in {}, {})", self.strand.shown(), self.peer(), self.state())
    }
}

/// Holds the other end's task: dropped before that has ended, it cancels it, and has the actor wait for it.
pub(crate) struct Hold {
    line: Arc<Line>,
    pub(crate) strand: Arc<Strand>,
    this: Arc<ThisActor>,
}

impl Hold {
    fn new(line: Arc<Line>, this: Arc<ThisActor>, function: &'static str, terms: Terms) -> Hold {
        let strand = line.calls.open_context(|id| {
            let (here, peer) = (this.id.clone(), line.actor.clone());
            Strand::of_opener(id, here, peer, function, terms, line.out.clone())
        });
        Hold { line, strand, this }
    }

    /// What its body is given.
    pub(super) fn opened<C: ContextFunction>(&self, first: C::Started) -> Opened<C> {
        Opened { strand: Arc::clone(&self.strand), first, timings: *self.timings() }
    }

    fn timings(&self) -> &Timings {
        &self.this.vars.timings
    }

    async fn started<C: ContextFunction>(self) -> Result<(Hold, C::Started), CallError<C::Error>> {
        let first = {
            let _blocked = trace::blocked(&self.strand.peer, self.waiting());
            std::future::poll_fn(|cx| self.strand.poll_first(cx)).await
        };
        let Ok(first) = first else { return Err(self.failed::<C>()) };
        match first.unpack::<C::Started>() {
            Ok(first) => Ok((self, first)),
            Err(error) => {
                let wrong: Result<()> = Err(Error::WrongType {
                    what: format!("what {} starts with", shown(C::NAME)),
                    reason: error.to_string(),
                });
                match self.finish::<C, ()>(Some(wrong)).await {
                    Ok(()) => Err(Error::Bug("an error came to nothing".to_owned()).into()),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// The error of a task that ended before its time.
    fn failed<C: ContextFunction>(&self) -> CallError<C::Error> {
        match self.strand.take_result() {
            // A peer that returns before it has started is not of our build.
            Ok(_) | Err(NoResult::Taken) => {
                let failure = NoValue::Failed(Failure::NotStarted);
                failure.into_error(&self.strand.peer, C::NAME).into()
            }
            Err(failed) => typed::<C>(&self.strand, failed),
        }
    }

    /// The body has ended, with `None` if it was cut short: what comes of it and of the other end's task, when that has ended.
    pub(crate) async fn finish<C: ContextFunction, T>(
        self,
        ended: Option<Result<T>>,
    ) -> Result<T, CallError<C::Error>> {
        self.part(&ended);
        let setback = self.wait_setback::<C>().await;
        let body = ended.map_or(Body::Cut, Body::Ended);
        outcome(body, setback.into_iter().collect()).map_err(|error| self.retyped::<C>(error))
    }

    /// Waits for the end of the other task, and says why it has no value, if so.
    pub(super) async fn wait_setback<C: ContextFunction>(&self) -> Option<Setback> {
        wait_over(&self.strand, self.timings()).await;
        self.setback::<C>()
    }

    /// Nothing is said from here any more; unless the body ended well, the other task is to end.
    pub(super) fn part<T>(&self, ended: &Option<Result<T>>) {
        match ended {
            Some(Ok(_)) => self.strand.close(),
            Some(Err(_)) | None => self.strand.cancel(),
        }
    }

    /// Waits for the end of a task whose stream has ended, and looks whether it ended well.
    pub(crate) async fn ended_well<C: ContextFunction>(&self) -> Result<(), CallError<C::Error>> {
        std::future::poll_fn(|cx| self.strand.poll_over(cx)).await;
        match self.setback::<C>() {
            None => Ok(()),
            Some(setback) => Err(self.retyped::<C>(setback.error)),
        }
    }

    fn setback<C: ContextFunction>(&self) -> Option<Setback> {
        let (kind, failed) = match self.strand.take_result() {
            Ok(value) => {
                let error = unpack_value::<C>(value).err()?;
                return Some(Setback { error, kind: SetbackKind::Failed });
            }
            // The body has had it.
            Err(NoResult::Taken) => return None,
            Err(failed) => (failed.kind(), failed),
        };
        Some(Setback { error: failed.into_error(&self.strand.peer, C::NAME), kind })
    }

    /// Whether the error is that of the function.
    pub(super) fn has_failed_with(&self, error: &Error) -> bool {
        let Error::Remote(remote) = error else { return false };
        match self.strand.take_result() {
            Err(NoResult::Failed(Failure::Returned(told))) => {
                told.occurrence() == remote.occurrence()
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// The function's own error again as such, if that is what it is.
    pub(crate) fn retyped<C: ContextFunction>(&self, error: Error) -> CallError<C::Error> {
        let Error::Remote(remote) = &error else { return error.into() };
        match self.strand.take_result() {
            Err(NoResult::Failed(Failure::Returned(told)))
                if told.occurrence() == remote.occurrence() =>
            {
                typed::<C>(&self.strand, NoResult::Failed(Failure::Returned(told)))
            }
            Ok(_) | Err(_) => error.into(),
        }
    }

    fn waiting(&self) -> Wait<'static> {
        Wait::Context { id: self.strand.id }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.strand.is_over() {
            // One that was given up is still in the table.
            self.line.calls.forget(self.strand.id);
            return;
        }
        self.strand.cancel();
        if self.strand.is_over() {
            self.line.calls.forget(self.strand.id);
            return;
        }
        let (line, strand) = (Arc::clone(&self.line), Arc::clone(&self.strand));
        let (this, remnant) = (Arc::clone(&self.this), leave(&self.this));
        let leaving = Leaving { line, strand, remnant };
        // One for each context that was dropped and whose task has not ended, no longer than that one is waited for. The strand
        // wakes whoever watches it, and its end is known to the scope by what this task lets go of.
        self.this.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = wait_over(&leaving.strand, &this.vars.timings) => {}
                // This actor's own time to end.
                () = this.wait_over(Duration::MAX) => {}
            }
        });
    }
}

/// Waits for the end of the other task. One that was asked to end has a bounded time to say that it knows, and then to do so;
/// after that it is given up.
async fn wait_over(strand: &Strand, timings: &Timings) {
    let _blocked = trace::blocked(&strand.peer, Wait::Context { id: strand.id });
    let over = std::future::poll_fn(|cx| strand.poll_over(cx));
    if !strand.is_wished() {
        return over.await;
    }
    let heard = std::future::poll_fn(|cx| strand.poll_heard(cx));
    if timeout(timings.ack, heard).await.is_err() {
        return strand.give_up(GivenUp { rung: Rung::Request, after: timings.ack });
    }
    let after = timings.soft.saturating_add(timings.terminate).saturating_add(timings.abandon);
    if timeout(after, over).await.is_err() {
        strand.give_up(GivenUp { rung: Rung::Soft, after });
    }
}

/// A context nobody waits for any more. Given up, it is forgotten.
struct Leaving {
    line: Arc<Line>,
    strand: Arc<Strand>,
    /// For the scope from which it was dropped.
    remnant: Arc<Remnant>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.line.calls.forget(self.strand.id);
        let failures = match self.strand.take_result() {
            Err(NoResult::GivenUp(given_up)) => vec![given_up.to_error(&self.strand.peer)],
            Ok(_) | Err(_) => Vec::new(),
        };
        self.remnant.end(failures);
    }
}

/// How a body ended, of which so much has failed that it left behind.
pub(super) fn with_failures<T>(
    ended: Option<Result<T>>,
    failures: Vec<Error>,
) -> Option<Result<T>> {
    let (own, ended) = match ended {
        Some(Err(own)) => (Some(own), None),
        ended @ (Some(Ok(_)) | None) => (None, ended),
    };
    match Error::from_failures(own.into_iter().chain(failures)) {
        Some(failure) => Some(Err(failure)),
        None => ended,
    }
}

/// The error that the opener sees of a task that has no value.
fn typed<C: ContextFunction>(strand: &Strand, failed: NoResult) -> CallError<C::Error> {
    if let NoResult::Failed(Failure::Returned(remote)) = &failed
        && let Some(error) = remote.restore::<C::Error>()
    {
        return CallError::Returned(error, remote.clone());
    }
    failed.into_error(&strand.peer, C::NAME).into()
}

fn unpack_value<C: ContextFunction>(value: Payload) -> Result<C::Output> {
    value.unpack().map_err(|error| Error::WrongType {
        what: format!("the value of {}", shown(C::NAME)),
        reason: error.to_string(),
    })
}

impl NoResult {
    fn kind(&self) -> SetbackKind {
        match self {
            NoResult::AsWished(_) => SetbackKind::Wished,
            NoResult::Failed(Failure::Cancelled { .. })
            | NoResult::Gone(Ended::Cancelled { .. }) => SetbackKind::Cancelled,
            NoResult::Failed(_) | NoResult::Gone(_) | NoResult::GivenUp(_) | NoResult::Taken => {
                SetbackKind::Failed
            }
        }
    }

    fn into_error(self, actor: &ActorId, function: &str) -> Error {
        match self {
            NoResult::Failed(failure) | NoResult::AsWished(failure) => {
                failure.into_error(actor, function)
            }
            NoResult::Gone(ended) => ended.to_error(actor),
            NoResult::GivenUp(given_up) => given_up.to_error(actor),
            NoResult::Taken => Error::Misuse("the value of a context is had once".to_owned()),
        }
    }
}
