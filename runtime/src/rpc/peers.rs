//! Channels to actors that are neither parent nor child.
//!
//! Whoever holds a portal and sends it on makes a pair of sockets: one end goes to the receiver with the value the portal is in, the
//! other to the actor the portal is of, as [`Dialogue::Introduce`] on the sender's own channel to it. Nobody listens, nobody is
//! looked up. Between threads of a process values are moved and never packed, so there a portal is introduced where it is first
//! used by another actor than the one it belonged to.
//!
//! ```text
//!         ┌── value with a portal of T, one end ──► R ─┐ Hello
//! sender ─┤                                            ├── the channel of R and T
//!         └── Introduce, the other end ───────────► T ─┘ Hello
//! ```
//!
//! An actor that already has a channel to the other one uses that, and lets go of the new end before it has said a word over it;
//! the other end is dropped then. So a channel over which `Hello` has come stays until one of the two actors ends.
//!
//! The task that drives such a channel is not one that its actor waits for. What is served over it is ended with the actor.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::Span;
use uuid::Uuid;

use super::function::Exposure;
use super::host::Host;
use super::portal::Portal;
use super::serve::Dialogues;
use crate::actor::{ActorInfo, Tasks};
use crate::error::{ActorId, Error, Result, Teardown};
use crate::ipc::{Channel, Closed, MemoryEnd, stream_pair};
use crate::line::{Answer, End as LineEnd, Ended, Line, Relation};
use crate::msg::{Dialogue, End, Form, Message, PROTOCOL};
use crate::spawn::{Exit, IfAbandoned, Link, if_abandoned};

/// How long an actor's end waits for its last word to its peers to be written. One that does not read does not hold it up.
const LAST_WORD: Duration = Duration::from_millis(50);

/// The lines of one actor, and the tasks that drive those to its peers.
pub(super) struct Peers {
    lines: RefCell<Lines>,
    drivers: Tasks,
    closing: RefCell<bool>,
    closed: Notify,
}

impl Peers {
    /// Of an actor whose work is logged within `span`.
    pub(super) fn new(span: Span) -> Peers {
        Peers {
            lines: RefCell::default(),
            drivers: Tasks::new(span),
            closing: RefCell::new(false),
            closed: Notify::new(),
        }
    }
}

/// An actor, in one of its lives.
type Life = (Uuid, u64);

/// What there is to each actor that is known here.
#[derive(Default)]
struct Lines {
    known: HashMap<Life, Known>,
    /// How many there are when they are next looked through.
    sweep_at: usize,
}

/// A line that portals to its actor use.
enum Known {
    /// To the parent or a child, kept by whoever drives its channel and by portals.
    Family(Weak<Line>),
    /// Kept here when it has ended, to tell later uses how.
    Peer(Arc<Line>),
}

/// Peers that are remembered; with more, those that have ended are forgotten.
const REMEMBERED: usize = 1024;

/// So few are not looked through.
const FEW: usize = 16;

impl Lines {
    fn put(&mut self, life: Life, known: Known) {
        if self.known.len() >= self.sweep_at.max(FEW) {
            self.sweep();
        }
        self.known.insert(life, known);
    }

    /// Forgets lines that nobody has any more, and with too many, peers that have ended. What is left may double before the next
    /// time: an actor that starts children for ever keeps the memory of a few, and looks at each about once.
    fn sweep(&mut self) {
        let too_many = self.known.len() >= REMEMBERED;
        self.known.retain(|_, known| known.is_there() && !(too_many && known.is_over()));
        let left = self.known.len();
        self.sweep_at = if left < REMEMBERED { (2 * left).min(REMEMBERED) } else { 2 * left };
    }
}

impl Known {
    fn line(&self) -> Option<Arc<Line>> {
        match self {
            Known::Family(line) => line.upgrade(),
            Known::Peer(line) => Some(Arc::clone(line)),
        }
    }

    fn is_there(&self) -> bool {
        match self {
            Known::Family(line) => line.strong_count() > 0,
            Known::Peer(_) => true,
        }
    }

    /// Whether nothing comes over it any more.
    fn is_over(&self) -> bool {
        match self {
            Known::Family(_) => false,
            Known::Peer(line) => line.bond.end().is_some(),
        }
    }
}

impl Host {
    /// There is a channel to that actor: it is what portals to it use.
    pub(super) fn know(&self, line: &Arc<Line>) {
        let known = match line.relation {
            Relation::Child | Relation::Parent => Known::Family(Arc::downgrade(line)),
            Relation::Peer => Known::Peer(Arc::clone(line)),
        };
        self.peers.lines.borrow_mut().put((line.actor.uuid, line.incarnation), known);
    }

    /// This actor's own line to the one at the end of `via`, which is a line of another actor of this process.
    pub(super) fn reach(self: &Rc<Host>, via: &Line) -> Arc<Line> {
        self.known(&via.actor, via.incarnation).unwrap_or_else(|| {
            self.meet(via).unwrap_or_else(|error| self.line_to_nobody(via, &error))
        })
    }

    /// The line to an actor whose portal was received, with the end of a new channel to it.
    pub(super) fn receive(
        self: &Rc<Host>,
        actor: ActorId,
        incarnation: u64,
        end: Link,
    ) -> io::Result<Arc<Line>> {
        match self.known(&actor, incarnation) {
            Some(line) => Ok(line),
            None => Ok(self.adopt(actor, incarnation, open(end)?)),
        }
    }

    /// Somebody was given a portal to this actor, and is at the other end of that channel. Who it is, it says first.
    pub(super) fn accept(self: &Rc<Host>, end: End) {
        // One that cannot be opened is closed, as the other end will see.
        let Some(Ok(channel)) = end.into_link().map(open) else { return };
        let (host, severed) = (Rc::clone(self), sever_if_abandoned(&channel));
        self.drive(async move {
            let _severed = severed;
            match host.ended_by() {
                Some(by) => host.say_ended(channel, by).await,
                None => host.greet(channel).await,
            }
        });
    }

    /// To one who comes when all others have been told.
    async fn say_ended(&self, mut channel: Channel, by: ActorId) {
        let sender = channel.sender();
        // The queue is new, and its other end in our hands.
        let _pushed = sender.push(Message::hello(self.this.id.clone(), self.this.incarnation()));
        let _pushed = sender.push(Message::Ending { by });
        channel.flush().await;
    }

    /// Tells the peers that this actor ends, for `by`.
    pub(super) fn say_ending(&self, by: &ActorId) {
        for line in self.peers.lines.borrow().known.values().filter_map(Known::line) {
            match line.relation {
                // A peer that is gone need not know.
                Relation::Peer => drop(line.out.push(Message::Ending { by: by.clone() })),
                Relation::Child | Relation::Parent => {}
            }
        }
    }

    /// Closes the channels to the peers, once what was said over them is written. Bounded.
    pub(crate) async fn close_peers(&self) {
        self.peers.closing.replace(true);
        self.peers.closed.notify_waiters();
        // One that was not written in time is not waited for: the channel's end says nearly as much.
        let _written = tokio::time::timeout(LAST_WORD, self.peers.drivers.wait_idle()).await;
    }

    /// The channel there is, if it is of use.
    fn known(self: &Rc<Host>, actor: &ActorId, incarnation: u64) -> Option<Arc<Line>> {
        let this = &self.this;
        if (actor.uuid, incarnation) == (this.id.uuid, this.incarnation()) {
            return Some(self.line_to_itself());
        }
        self.open_line((actor.uuid, incarnation))
    }

    fn open_line(&self, life: Life) -> Option<Arc<Line>> {
        let line = self.peers.lines.borrow().known.get(&life).and_then(Known::line)?;
        // One whose actor has ended says how; one that broke is replaced.
        (!line.calls.is_lost()).then_some(line)
    }

    /// Both ends of one channel here: to itself an actor is a peer like any other.
    fn line_to_itself(self: &Rc<Host>) -> Arc<Line> {
        let this = &self.this;
        self.open_line((this.id.uuid, this.incarnation())).unwrap_or_else(|| {
            let (ours, theirs) = Channel::in_memory();
            self.accept(End::new(Link::Memory(Box::new(theirs))));
            self.adopt(this.id.clone(), this.incarnation(), ours)
        })
    }

    fn meet(self: &Rc<Host>, via: &Line) -> io::Result<Arc<Line>> {
        let (ours, theirs) = match via.out.form() {
            Form::Value => {
                let (channel, end) = Channel::in_memory();
                (channel, Link::Memory(Box::new(end)))
            }
            Form::Bytes => {
                let (ours, theirs) = stream_pair()?;
                (Channel::over_socket(ours)?, Link::Socket(theirs))
            }
        };
        // If it takes no more, the end goes with it, and this one sees that.
        let _pushed = via.out.push(Dialogue::Introduce { end: End::new(theirs) });
        Ok(self.adopt(via.actor.clone(), via.incarnation, ours))
    }

    fn adopt(self: &Rc<Host>, actor: ActorId, incarnation: u64, channel: Channel) -> Arc<Line> {
        let severed = sever_if_abandoned(&channel);
        let (peer, line) = Peer::new(self, actor, incarnation, channel);
        self.drive(async move {
            let _severed = severed;
            peer.talk(Greeting::Awaited).await;
        });
        line
    }

    /// A line that has ended before it began.
    fn line_to_nobody(&self, via: &Line, error: &io::Error) -> Arc<Line> {
        let (channel, _) = Channel::in_memory();
        let (actor, home) = (via.actor.clone(), self.this.id.uuid);
        let line = Line::new(actor, channel.sender().clone(), Relation::Peer, home);
        line.calls.close(&Ended::Lost { reason: format!("no channel could be made: {error}") });
        line.bond.set_end(unseen_end());
        line
    }

    async fn greet(self: Rc<Host>, mut channel: Channel) {
        // Anything else is no peer's first word: of one that has a better channel there is none.
        if let Ok(Message::Hello { protocol: PROTOCOL, actor, incarnation, .. }) =
            channel.recv().await
        {
            let (peer, _line) = Peer::new(&self, actor, incarnation, channel);
            peer.talk(Greeting::Done).await;
        }
    }

    fn drive(self: &Rc<Host>, driver: impl Future<Output = ()> + 'static) {
        let host = Rc::clone(self);
        self.peers.drivers.spawn(async move {
            tokio::select! {
                biased;
                () = driver => {}
                () = host.wait_overdue() => {}
            }
        });
    }

    async fn wait_closing(&self) {
        loop {
            let closed = self.peers.closed.notified();
            if *self.peers.closing.borrow() {
                return;
            }
            closed.await;
        }
    }

    /// A driver has that long to flush once the actor closes its channels.
    async fn wait_overdue(&self) {
        self.wait_closing().await;
        tokio::time::sleep(LAST_WORD).await;
    }
}

/// Has `channel` closed if the actor of this thread is given up, as long as what is returned lives: whoever drives it is stuck then,
/// and the other end is not to wait for that.
pub(crate) fn sever_if_abandoned(channel: &Channel) -> Option<IfAbandoned> {
    if_abandoned(|| {
        let severer = channel.severer().ok()?;
        Some(Box::new(move || severer.sever()))
    })
}

fn open(end: Link) -> io::Result<Channel> {
    match end {
        Link::Socket(fd) => Channel::over_socket(fd),
        Link::Memory(end) => MemoryEnd::from_link(end)
            .map(Channel::over_memory)
            .ok_or_else(|| io::Error::other("the link is not one of this crate's")),
    }
}

/// How a peer ended is known to its parent only.
fn unseen_end() -> LineEnd {
    LineEnd { exit: Some(Exit::Unknown), teardown: Teardown::default() }
}

/// Whether the other end has said who it is.
#[derive(Clone, Copy)]
enum Greeting {
    Awaited,
    Done,
}

/// The channel to a peer, and what is said over it.
struct Peer {
    host: Rc<Host>,
    line: Arc<Line>,
    channel: Channel,
    dialogues: Dialogues,
    /// It has said that it ends, and for whom.
    ending: Option<ActorId>,
}

impl Peer {
    fn new(
        host: &Rc<Host>,
        actor: ActorId,
        incarnation: u64,
        channel: Channel,
    ) -> (Peer, Arc<Line>) {
        let (this, out) = (&host.this, channel.sender().clone());
        let line = Line::of_incarnation(actor, out, Relation::Peer, this.id.uuid, incarnation);
        let hello = Message::hello(this.id.clone(), this.incarnation());
        // The queue is new, and its other end in our hands.
        let _pushed = channel.sender().push(hello);
        let dialogues = Dialogues::new(Rc::clone(host), Arc::clone(&line), Exposure::default());
        let peer = Peer {
            host: Rc::clone(host),
            line: Arc::clone(&line),
            channel,
            dialogues,
            ending: None,
        };
        (peer, line)
    }

    /// Until one of the two actors ends, or the channel breaks.
    async fn talk(mut self, greeting: Greeting) {
        let ended = match self.greet(greeting).await {
            ControlFlow::Continue(()) => self.serve().await,
            ControlFlow::Break(over) => over,
        };
        match ended {
            Over::Closing => self.channel.flush().await,
            Over::Ended(ended) => {
                self.dialogues.end(&ended);
                self.line.bond.set_end(unseen_end());
            }
        }
    }

    async fn greet(&mut self, greeting: Greeting) -> ControlFlow<Over> {
        match greeting {
            Greeting::Done => return ControlFlow::Continue(()),
            Greeting::Awaited => {}
        }
        match self.next().await? {
            Message::Hello { protocol: PROTOCOL, actor, .. } if actor == self.line.actor => {
                ControlFlow::Continue(())
            }
            other => {
                ControlFlow::Break(self.lost(&format!("its first word makes no sense: {other:?}")))
            }
        }
    }

    async fn serve(&mut self) -> Over {
        loop {
            let message = match self.next().await {
                ControlFlow::Continue(message) => message,
                ControlFlow::Break(over) => return over,
            };
            if let ControlFlow::Break(over) = self.on(message) {
                return over;
            }
        }
    }

    async fn next(&mut self) -> ControlFlow<Over, Message> {
        let received = tokio::select! {
            biased;
            received = self.channel.recv() => received,
            () = self.host.wait_closing() => return ControlFlow::Break(Over::Closing),
        };
        match received {
            Ok(message) => ControlFlow::Continue(message),
            Err(Closed::Ended) => ControlFlow::Break(Over::Ended(self.ended())),
            Err(closed) => ControlFlow::Break(self.lost(&closed.to_string())),
        }
    }

    fn on(&mut self, message: Message) -> ControlFlow<Over> {
        match message {
            Message::Dialogue(dialogue) => self.dialogues.on(dialogue),
            Message::CancelActor { .. } => self.on_cancel(),
            Message::CancelAck => self.line.answer.set(Answer::Heard),
            Message::CancelRefused => self.line.answer.set(Answer::Refused),
            // What it still answers, a failure for one, is not to be masked: what is left is told at its end.
            Message::Ending { by } => self.ending = Some(by),
            other @ (Message::Hello { .. }
            | Message::Spec(_)
            | Message::Ready
            | Message::BootFailed(_)
            | Message::Progress
            | Message::Farewell { .. }) => {
                return ControlFlow::Break(
                    self.lost(&format!("it said what no peer says: {other:?}")),
                );
            }
        }
        ControlFlow::Continue(())
    }

    /// Whoever it names, it is the peer at this end that asks.
    fn on_cancel(&self) {
        let answer = match self.host.ask_end(&self.line.actor) {
            Answer::Heard => Message::CancelAck,
            Answer::Refused => Message::CancelRefused,
        };
        // One for each time the peer asks.
        let _pushed = self.line.out.push(answer);
    }

    fn ended(&self) -> Ended {
        match &self.ending {
            Some(by) => Ended::Cancelled { by: by.clone() },
            None => Ended::Died { exit: Exit::Unknown, incarnation: self.line.incarnation },
        }
    }

    fn lost(&self, reason: &str) -> Over {
        Over::Ended(Ended::Lost { reason: reason.to_owned() })
    }
}

/// Why a channel to a peer is not served any more.
enum Over {
    /// This actor ends.
    Closing,
    Ended(Ended),
}

impl ActorInfo {
    /// This actor as others see it: to be given to them, so that they can call it. Called here, it serves what it serves
    /// everybody.
    ///
    /// # Errors
    /// [`Error::NoRuntime`] on a thread that does not run this actor.
    pub fn portal(&self) -> Result<Portal> {
        let host = Host::here()?;
        if host.this.id != *self.id() {
            return Err(Error::NoRuntime);
        }
        Ok(Portal::new(host.line_to_itself()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::actor::{self, Origin, ThisActor};
    use crate::line::NoValue;
    use crate::msg::{Timings, Vars, encode};
    use crate::rpc;
    use crate::spawn::Backend;
    use crate::variables::Variables;

    fn id(name: &str) -> ActorId {
        ActorId { name: name.to_owned(), uuid: Uuid::new_v4() }
    }

    /// Runs `body` in a root actor.
    fn in_actor<F: Future<Output = ()>>(body: impl FnOnce(Rc<Host>) -> F) {
        let vars = Vars {
            backend: Backend::Exec,
            timings: Timings::default(),
            variables: Variables::new(),
        };
        let this = ThisActor::new(id("here"), vars, Origin::Root);
        let _entered = actor::enter(Arc::clone(&this));
        let reachable = rpc::enter(this);
        let scheduler = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        scheduler.block_on(body(Rc::clone(reachable.host())));
    }

    /// A channel's end, and the raw stream at its other one.
    fn raw() -> (Link, UnixStream) {
        let (ours, theirs) = stream_pair().unwrap();
        (Link::Socket(ours), UnixStream::from(theirs))
    }

    fn greeting(actor: &ActorId) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(Message::hello(actor.clone(), 0), &mut bytes).unwrap();
        bytes
    }

    /// Waits until the other end of `stream` is closed, whatever it says before.
    async fn closed(stream: UnixStream) {
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::UnixStream::from_std(stream).unwrap();
        let mut buffer = [0; 1024];
        loop {
            stream.readable().await.unwrap();
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {}
            }
        }
    }

    #[test]
    fn of_children_that_have_ended_no_more_is_kept_than_of_a_few() {
        in_actor(async |host| {
            let child = || {
                let (channel, _) = Channel::in_memory();
                let home = host.this.id.uuid;
                let line = Line::new(id("child"), channel.sender().clone(), Relation::Child, home);
                host.know(&line);
                line
            };
            let living: Vec<_> = (0..FEW).map(|_| child()).collect();
            (0..10 * REMEMBERED).for_each(|_| drop(child()));
            assert!(host.peers.lines.borrow().known.len() <= 2 * FEW);
            for line in living {
                let life = (line.actor.uuid, line.incarnation);
                assert!(host.open_line(life).is_some_and(|known| Arc::ptr_eq(&known, &line)));
            }
        });
    }

    #[test]
    fn garbage_ends_that_channel_and_what_waits_for_it_and_no_other() {
        in_actor(async |host| {
            let (mad, sane) = (id("mad"), id("sane"));
            let (end, mut of_mad) = raw();
            let line = host.receive(mad.clone(), 0, end).unwrap();
            let (end, mut of_sane) = raw();
            let other = host.receive(sane.clone(), 0, end).unwrap();
            of_mad.write_all(&greeting(&mad)).unwrap();
            of_sane.write_all(&greeting(&sane)).unwrap();
            let (_, waiting) = line.calls.open();
            of_mad.write_all(&[0xff; 64]).unwrap();
            let answer = waiting.await.unwrap();
            assert!(matches!(answer, Err(NoValue::Ended(Ended::Lost { .. }))), "{answer:?}");
            closed(of_mad).await;
            assert!(other.calls.ended().is_none());
            // A portal that comes later has a new channel; one to the other actor uses what there is.
            let (end, _) = raw();
            assert!(!Arc::ptr_eq(&line, &host.receive(mad, 0, end).unwrap()));
            let (end, unused) = raw();
            assert!(Arc::ptr_eq(&other, &host.receive(sane, 0, end).unwrap()));
            closed(unused).await;
        });
    }

    #[test]
    fn who_does_not_greet_first_or_is_somebody_else_is_not_talked_to() {
        in_actor(async |host| {
            let mut call = Vec::new();
            encode(Dialogue::CancelCall { id: 1 }.into(), &mut call).unwrap();
            for words in [call, vec![0xff; 64]] {
                let (end, mut stranger) = raw();
                host.accept(End::new(end));
                stranger.write_all(&words).unwrap();
                closed(stranger).await;
            }
            let (end, mut impostor) = raw();
            let line = host.receive(id("wanted"), 0, end).unwrap();
            impostor.write_all(&greeting(&id("impostor"))).unwrap();
            let end = line.bond.wait_end().await;
            assert_eq!(end.exit, Some(Exit::Unknown));
            assert!(line.calls.is_lost());
        });
    }

    /// Those that live are not looked through for each that comes, and those that have ended do not pile up beside them.
    #[test]
    fn many_peers_are_remembered_at_a_bounded_cost() {
        const LIVING: usize = 2 * REMEMBERED;
        in_actor(async |host| {
            let (channel, _) = Channel::in_memory();
            let known = || {
                let (sender, home) = (channel.sender().clone(), host.this.id.uuid);
                let line = Line::new(id("peer"), sender, Relation::Peer, home);
                host.know(&line);
                line
            };
            let next_look = || host.peers.lines.borrow().sweep_at;
            let (mut looks, mut living) = (0, Vec::new());
            for _ in 0..LIVING {
                let before = next_look();
                living.push(known());
                looks += u32::from(next_look() != before);
            }
            assert!(looks <= LIVING.ilog2(), "looked through {looks} times");
            for _ in 0..10 * LIVING {
                known().bond.set_end(unseen_end());
            }
            let count = host.peers.lines.borrow().known.len();
            assert!(count <= 2 * LIVING, "{count} are remembered");
            let life = |line: &Line| (line.actor.uuid, line.incarnation);
            assert!(living.iter().all(|line| host.open_line(life(line)).is_some()));
        });
    }

    #[test]
    fn a_peer_that_reads_nothing_does_not_hold_up_the_end() {
        in_actor(async |host| {
            let (end, mut lazy) = raw();
            let line = host.receive(id("lazy"), 0, end).unwrap();
            lazy.write_all(&greeting(&line.actor)).unwrap();
            let value = crate::msg::Payload::Bytes(vec![0; 8 << 20]);
            line.out.push(Dialogue::Return { id: 1, value }).unwrap();
            let begun = std::time::Instant::now();
            host.close_peers().await;
            assert!(begun.elapsed() < 20 * LAST_WORD);
        });
    }
}
