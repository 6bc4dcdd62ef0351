//! The caller's side of an actor.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use super::function::{Function, Remote};
use super::host::Host;
use crate::actor::{self, ThisActor};
use crate::error::{ActorId, CallError, Error, Result, Rung, Teardown};
use crate::ipc::stream_pair;
use crate::line::{Answer, Ended, Line, Manner, NoValue, Order, Post, Relation, Reply};
use crate::msg::{Dialogue, End, Failure, Message, Payload, Unpackable, shown};
use crate::parcel::{self, NoParcel};
use crate::spawn::{Exit, Link};
use crate::trace::{self, Step, Wait};

/// An actor as seen from outside: calls go in, and the order to end.
///
/// Clones are the same portal. It can be kept beyond the actor's life: calls then say how the actor ended. It belongs to the
/// actor that was given it, the parent or the child of the other one, and can be used from any task of it.
///
/// The portal of a [supervised](crate::Supervisor) child names the child through all of its lives, until it is sent to another process,
/// where it names one of them; what that means for calls is said there. What is said of the actor's end is meant of its current life,
/// or its last.
#[derive(Clone)]
pub struct Portal {
    way: Way,
}

/// How a portal finds its actor.
#[derive(Clone)]
enum Way {
    /// It has one life.
    Line(Arc<Line>),
    /// It is started again when it ends.
    Post(Arc<Post>),
}

impl Portal {
    pub(crate) fn new(line: Arc<Line>) -> Portal {
        Portal { way: Way::Line(line) }
    }

    /// The portal of an actor through all of its lives.
    pub(crate) fn at(post: Arc<Post>) -> Portal {
        Portal { way: Way::Post(post) }
    }

    /// What leads to the actor. While an actor that is started again has no life, its next one is waited for. Cancel safe.
    pub(crate) async fn reach(&self) -> Result<Arc<Line>> {
        match &self.way {
            Way::Line(line) => Ok(from_here(line)),
            Way::Post(post) => reach_life(post).await,
        }
    }

    /// What led to the actor last.
    fn latest(&self) -> Option<Arc<Line>> {
        match &self.way {
            Way::Line(line) => Some(from_here(line)),
            Way::Post(post) => post.latest().as_ref().map(from_here),
        }
    }

    /// Which actor.
    pub fn id(&self) -> &ActorId {
        match &self.way {
            Way::Line(line) => &line.actor,
            Way::Post(post) => &post.actor,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.id().name
    }

    /// Runs a function in the actor, and waits for its value.
    ///
    /// # Errors
    /// [`CallError::Returned`] with the function's own error. Otherwise [`CallError::Failed`]: [`Error::Remote`] for a panic,
    /// [`Error::NotExposed`], [`Error::ActorDied`] within half a second of the actor's death, [`Error::Cancelled`] if the
    /// actor was cancelled meanwhile, [`Error::Unsendable`], [`Error::WrongType`].
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call: the function's task in the actor is told to end.
    pub async fn call<F: Function>(&self, args: F::Args) -> Result<F::Output, CallError<F::Error>> {
        self.invoke::<F>(args).await
    }

    /// [`Portal::call`], for methods too.
    #[doc(hidden)]
    pub async fn invoke<R: Remote>(&self, args: R::Args) -> Result<R::Output, CallError<R::Error>> {
        let line = self.reach().await?;
        let args = Payload::pack(args, line.out.form())
            .map_err(|error| unsendable::<R>("arguments", &error))?;
        let pending = Pending::open(&line);
        let (id, function) = (pending.id, Cow::Borrowed(R::NAME));
        let call = Dialogue::Call { id, function, fingerprint: R::fingerprint(), args };
        // A channel that takes no more is about to tell the call why.
        let _sent = line.out.send(call).await;
        let _blocked = trace::blocked(self.id(), Wait::Call { function: shown(R::NAME) });
        let reply = pending.wait().await;
        value_of::<R>(self.id(), reply)
    }

    /// Cancels the actor, and waits until it has ended and been reaped, with all below it. Also an actor that has ended.
    ///
    /// # Errors
    /// [`Error::Forced`] if asking was not enough; it tells which rungs of the ladder it took. [`Error::NotExposed`] for a parent.
    /// [`Error::NoRuntime`] outside an actor.
    ///
    /// # Cancel safety
    /// The order is given at once; dropping the future does not take it back.
    pub async fn cancel(&self) -> Result<()> {
        self.end(Manner::Ask).await
    }

    /// As [`Portal::cancel`], and the actor is given `limit` to end, in place of what the tree's
    /// [`Timings`](crate::Timings) give it, before it is forced to: less what this actor, told to end itself, has not got. One
    /// that does not even acknowledge in the time for that is forced then.
    ///
    /// # Errors
    /// As [`Portal::cancel`].
    ///
    /// # Cancel safety
    /// As [`Portal::cancel`].
    pub async fn cancel_within(&self, limit: Duration) -> Result<()> {
        self.end(Manner::AskFor(limit)).await
    }

    /// Kills the actor and all below it without asking, and waits until they are reaped; also one that is being cancelled. On
    /// `thread`, where nothing can be killed, it is asked, and abandoned if it has not ended within 100 ms. No code of the actor
    /// runs any more, nor what it has to [release](crate::ActorInfo::on_end).
    ///
    /// # Errors
    /// [`Error::NoRuntime`] outside an actor.
    ///
    /// # Cancel safety
    /// As [`Portal::cancel`].
    pub async fn kill(&self) -> Result<()> {
        match self.end(Manner::Kill).await {
            // As it was to be.
            Err(Error::Forced { .. }) => Ok(()),
            ended => ended,
        }
    }

    async fn end(&self, manner: Manner) -> Result<()> {
        let this = actor::this()?;
        let Some(line) = self.latest() else {
            // It never was ready; there is nothing to end.
            return Ok(());
        };
        match (line.relation, manner) {
            (Relation::Child, _) => {}
            (Relation::Peer, Manner::Ask) => {
                return ask_peer(&this, &line, this.vars.timings.soft).await;
            }
            (Relation::Peer, Manner::AskFor(limit)) => return ask_peer(&this, &line, limit).await,
            (Relation::Peer, Manner::Kill) | (Relation::Parent, _) => return Err(not_ours(&line)),
        }
        let within = this.remaining(std::time::Instant::now());
        line.bond.order(Order { by: this.id.clone(), within, manner });
        let _blocked = trace::blocked(self.id(), Wait::End);
        let end = line.bond.wait_end().await;
        if end.teardown.is_forced() {
            return Err(Error::Forced {
                actor: line.actor.clone(),
                teardown: end.teardown.clone(),
            });
        }
        Ok(())
    }

    /// Waits until the actor has ended and been reaped, and says how; `None` if it never existed. Cancel safe.
    pub async fn wait_ended(&self) -> Option<Exit> {
        if let Way::Post(post) = &self.way {
            post.wait_closed().await;
        }
        match self.latest() {
            Some(line) => line.bond.wait_end().await.exit.clone(),
            None => None,
        }
    }

    /// How the actor was torn down, once it has ended: empty if it ended by itself.
    pub fn teardown(&self) -> Option<Teardown> {
        self.latest()?.bond.end().map(|end| end.teardown.clone())
    }
}

/// Asks an actor that is no child to end, and waits for that. Its parent makes it end if it does not; from here it can only be
/// asked.
async fn ask_peer(this: &ThisActor, line: &Line, within: Duration) -> Result<()> {
    let _blocked = trace::blocked(&line.actor, Wait::End);
    trace::emit(&line.actor, Step::CancelSent { by: &this.id, within });
    // If it takes no more, its end is about to be known.
    let _pushed = line.out.push(Message::CancelActor { by: this.id.clone(), within });
    let after = this.vars.timings.ack;
    let answer = tokio::time::timeout(after, async {
        tokio::select! {
            answer = line.answer.wait() => answer,
            _ = line.bond.wait_end() => Answer::Heard,
        }
    });
    match answer.await {
        Ok(Answer::Heard) => {}
        Ok(Answer::Refused) => return Err(not_ours(line)),
        Err(_) => {
            let (actor, rung) = (line.actor.clone(), Rung::Request);
            return Err(Error::Unresponsive { actor, rung, after });
        }
    }
    line.bond.wait_end().await;
    Ok(())
}

fn not_ours(line: &Line) -> Error {
    Error::NotExposed { actor: line.actor.clone(), function: "its end".to_owned() }
}

/// What of a portal goes with a value: whose it is, and the number of the end of a new channel to it.
#[derive(Serialize, Deserialize)]
struct Ticket {
    actor: ActorId,
    incarnation: u64,
    end: u32,
}

/// For channels between actors only: any other serialiser is told that it cannot be.
impl Serialize for Portal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ticket = self.introduce().map_err(|error| {
            serde::ser::Error::custom(format!("the portal of {}: {error}", self.id()))
        });
        ticket?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Portal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Portal, D::Error> {
        Portal::introduced(Ticket::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Portal {
    /// The end of a new channel to the actor, to be enclosed in what is being packed; the actor is given the other.
    fn introduce(&self) -> io::Result<Ticket> {
        if !parcel::is_open() {
            return Err(io::Error::other(NoParcel));
        }
        let line = self.latest().ok_or_else(|| io::Error::other("it has not been started yet"))?;
        let (ours, theirs) = stream_pair()?;
        // If the actor is gone, the end goes with this message, and the receiver sees that.
        let _pushed = line.out.push(Dialogue::Introduce { end: End::new(Link::Socket(theirs)) });
        let end = parcel::enclose(ours).map_err(io::Error::other)?;
        Ok(Ticket { actor: line.actor.clone(), incarnation: line.incarnation, end })
    }

    fn introduced(ticket: Ticket) -> io::Result<Portal> {
        let Ticket { actor, incarnation, end } = ticket;
        let end = parcel::take_out(end).map_err(io::Error::other)?;
        let host = Host::here().map_err(io::Error::other)?;
        host.receive(actor, incarnation, Link::Socket(end)).map(Portal::new)
    }
}

/// A line to a life whose end was not told here. An actor of this process that was given the portal may be told of it before
/// the one that keeps the post is.
async fn reach_life(post: &Post) -> Result<Arc<Line>> {
    let mut over = None;
    loop {
        let held = post.wait_held(over).await.map_err(|ended| ended.to_error(&post.actor))?;
        let line = from_here(&held);
        if !line.calls.is_over() {
            return Ok(line);
        }
        over = Some(held.incarnation);
    }
}

/// The line to the actor at the end of `line` from the one that runs here. Outside of actors, `line` itself.
fn from_here(line: &Arc<Line>) -> Arc<Line> {
    match Host::here() {
        Ok(host) if host.this.id.uuid != line.home => host.reach(line),
        Ok(_) | Err(_) => Arc::clone(line),
    }
}

impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Portal({})", self.id())
    }
}

/// The value of a call, or the error that its caller sees.
pub(crate) fn value_of<R: Remote>(
    actor: &ActorId,
    reply: Reply,
) -> Result<R::Output, CallError<R::Error>> {
    match reply {
        Ok(value) => value.unpack().map_err(|error| unsendable::<R>("value", &error).into()),
        Err(NoValue::Failed(Failure::Returned(remote))) => match remote.restore::<R::Error>() {
            Some(error) => Err(CallError::Returned(error, remote)),
            None => Err(CallError::Failed(Error::Remote(remote))),
        },
        Err(no_value) => Err(CallError::Failed(no_value.into_error(actor, R::NAME))),
    }
}

impl NoValue {
    pub(crate) fn into_error(self, actor: &ActorId, function: &str) -> Error {
        match self {
            NoValue::Failed(failure) => failure.into_error(actor, function),
            NoValue::Ended(ended) => ended.to_error(actor),
        }
    }
}

impl Failure {
    pub(crate) fn into_error(self, actor: &ActorId, function: &str) -> Error {
        let actor = actor.clone();
        match self {
            Failure::Returned(remote) | Failure::Panicked(remote) => Error::Remote(remote),
            Failure::NotExposed => {
                Error::NotExposed { actor, function: shown(function).to_owned() }
            }
            Failure::OtherTypes => Error::WrongType {
                what: shown(function).to_owned(),
                reason: format!("actor {actor} was built from other sources"),
            },
            Failure::Unsendable { what, reason } => Error::Unsendable { what, reason },
            Failure::NotStarted => {
                Error::NotStarted { actor, function: shown(function).to_owned() }
            }
            Failure::Cancelled { by } => Error::Cancelled { subject: actor, canceller: by },
        }
    }
}

pub(crate) fn unsendable<R: Remote>(what: &str, error: &Unpackable) -> Error {
    Error::Unsendable {
        what: format!("the {what} of {}", shown(R::NAME)),
        reason: error.to_string(),
    }
}

/// A call that was opened. Dropped before its answer, it is cancelled.
struct Pending<'l> {
    line: &'l Line,
    id: u64,
    reply_rx: oneshot::Receiver<Reply>,
}

impl Pending<'_> {
    fn open(line: &Line) -> Pending<'_> {
        let (id, reply_rx) = line.calls.open();
        Pending { line, id, reply_rx }
    }

    async fn wait(mut self) -> Reply {
        match (&mut self.reply_rx).await {
            Ok(reply) => reply,
            // The table answers whatever it drops; only the end of the whole runtime drops the table.
            Err(_) => Err(NoValue::Ended(Ended::Lost { reason: "the runtime ended".to_owned() })),
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.line.calls.forget(self.id) {
            self.line.out.cancel_call(self.id);
        }
    }
}
