//! A child actor from its first instruction to its last.
//!
//! ```text
//! Hello, Spec read ─► Hello written, state constructed ─► Ready written ─► serving ─┬─ cancelled ──► teardown ─► Farewell ─► exit 0
//!        └─────────────────┴─ BootFailed, exit 1                            ├─ one-shot done ──┘
//!                                                                           └─ parent gone ─► teardown ────────────► exit 1
//! ```
//!
//! The parent's channel is driven in every stage, so nothing the actor does with its tasks keeps it from reading a cancel.

use std::borrow::Cow;
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::program::{call_start_hook, mark_initialised};
use super::{home, interrupt, root};
use crate::actor::{self, Ending, Origin, ScopeEnd, ThisActor};
use crate::error::{ActorId, Error, RemoteError, Teardown};
use crate::ipc::{Channel, Closed, MemoryEnd};
use crate::line::{End, Ended, Line, Relation};
use crate::log;
use crate::msg::{BootFailure, Life, Message, PROTOCOL, Payload, Spec};
use crate::rpc::{self, AnyState, Dialogues, Exposure, Host, catch, find, install_hook};
use crate::spawn::{Boot, Exit, Link};
use crate::trace;

/// It ended as it should.
const DONE: i32 = 0;
/// It never served, or lost its parent.
const FAILED: i32 = 1;

/// What the thread of every child runs, on every backend.
pub(crate) fn entry(boot: Boot) -> i32 {
    mark_initialised();
    install_hook();
    interrupt::ignore_in_process(boot.backend);
    let scheduler = match root::scheduler() {
        Ok(scheduler) => scheduler,
        Err(error) => {
            // There is no channel without a scheduler.
            eprintln!("actor {}: {error}", boot.name);
            return FAILED;
        }
    };
    let code = scheduler.block_on(as_task(life_of(boot)));
    // Threads of the blocking pool that are stuck do not keep an actor from ending.
    scheduler.shutdown_background();
    code
}

/// The whole life, where it stays: on the stack it would be in the frames of all that it is handed through, and each page of those
/// is one that a forked child has to copy.
#[inline(never)]
fn life_of(boot: Boot) -> Pin<Box<dyn Future<Output = i32>>> {
    Box::pin(live(boot))
}

/// Runs it as a task like any other. The future that a scheduler blocks on is polled only when no task is ready, and after a look
/// at the kernel: a system call more for each message that a task answers.
async fn as_task(life: Pin<Box<dyn Future<Output = i32>>>) -> i32 {
    match tokio::task::spawn_local(life).await {
        Ok(code) => code,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Nobody has its handle but this future.
            Err(_cancelled) => FAILED,
        },
    }
}

async fn live(boot: Boot) -> i32 {
    let id = ActorId { name: boot.name.clone(), uuid: boot.uuid };
    if boot.backend.is_process() {
        home::settle(&id);
    }
    let mut channel = match open(boot.link) {
        Ok(channel) => channel,
        Err(error) => {
            eprintln!("actor {id}: its channel cannot be opened: {error}");
            return FAILED;
        }
    };
    let _severed = rpc::sever_if_abandoned(&channel);
    let spec = match greet(&mut channel).await {
        Ok(spec) => *spec,
        Err(reason) => return decline(channel, reason).await,
    };
    let upward =
        Line::new(spec.parent.clone(), channel.sender().clone(), Relation::Parent, id.uuid);
    let origin = Origin::Child {
        backend: boot.backend,
        parent: spec.parent,
        incarnation: spec.incarnation,
        upward: Arc::clone(&upward),
    };
    let this = ThisActor::new(id, spec.vars, origin);
    let _entered = actor::enter(Arc::clone(&this));
    let reachable = rpc::enter(Arc::clone(&this));
    call_start_hook(&this.id);
    let host = Rc::clone(reachable.host());
    let dialogues = Dialogues::new(Rc::clone(&host), Arc::clone(&upward), Exposure::default());
    let talk = Talk { channel, dialogues };
    let span = this.tasks.span();
    let actor = Serving { this, host, upward, talk, life: spec.life };
    log::within(span, actor.begin(&spec.exposure, spec.state)).await
}

/// The parent's channel and what is said over it.
struct Talk {
    channel: Channel,
    dialogues: Dialogues,
}

impl Talk {
    /// What the parent says beside the dialogues, which are dealt with. Cancel safe.
    async fn recv(&mut self) -> Result<Message, Closed> {
        loop {
            match self.channel.recv().await? {
                Message::Dialogue(dialogue) => self.dialogues.on(dialogue),
                other => return Ok(other),
            }
        }
    }
}

/// So many messages are heard of those that a cancel overtook.
const LEFT: usize = 128;

impl Talk {
    /// What the parent had said when the actor was told to end: a peer may have been introduced, who is to be told of the end
    /// as such. The parent's channel is open.
    fn hear_left(&mut self) {
        for _ in 0..LEFT {
            match self.channel.recv_left() {
                Some(Ok(Message::Dialogue(dialogue))) => self.dialogues.on(dialogue),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    }
}

fn open(link: Link) -> io::Result<Channel> {
    match link {
        Link::Socket(fd) => Channel::over_socket(fd),
        Link::Memory(end) => MemoryEnd::from_link(end)
            .map(Channel::over_memory)
            .ok_or_else(|| io::Error::other("the link is not one of this crate's")),
    }
}

/// Why an actor ends before it serves.
enum Short {
    Cancelled(Ending),
    Failed(BootFailure),
    Orphaned(Ended),
}

/// There is no actor yet, so nothing of it has to end.
async fn decline(channel: Channel, reason: Short) -> i32 {
    match reason {
        Short::Cancelled(_) => say_last(channel, Message::Farewell { failure: None }, DONE).await,
        Short::Failed(failure) => say_last(channel, Message::BootFailed(failure), FAILED).await,
        Short::Orphaned(_) => FAILED,
    }
}

/// What no scope of the actor was left to return: one failure, as if the actor had returned it.
fn unclaimed(this: &ThisActor) -> Option<RemoteError> {
    Error::from_failures(this.take_unclaimed())
        .map(|failure| RemoteError::returned(&this.id, failure))
}

async fn say_last(mut channel: Channel, message: Message, code: i32) -> i32 {
    say(&channel, message);
    channel.flush().await;
    code
}

/// For messages whose number the actor's life bounds. A parent that is gone is noticed where the channel is read.
fn say(channel: &Channel, message: Message) {
    let _pushed = channel.sender().push(message);
}

/// The parent's first words.
async fn greet(channel: &mut Channel) -> Result<Box<Spec>, Short> {
    loop {
        match channel.recv().await {
            Ok(Message::Hello { protocol: PROTOCOL, .. }) => {}
            Ok(Message::Hello { protocol, .. }) => {
                return Err(Short::Failed(BootFailure::Protocol {
                    theirs: protocol,
                    ours: PROTOCOL,
                }));
            }
            Ok(Message::Spec(spec)) => return Ok(spec),
            // It overtook the rest: the start was cancelled before it began here.
            Ok(Message::CancelActor { by, within }) => {
                return Err(Short::Cancelled(Ending::new(by, within)));
            }
            Ok(other) => return Err(surprised(&format!("{other:?}"))),
            Err(closed @ Closed::Ended) => {
                return Err(Short::Orphaned(Ended::of_closed(&closed)));
            }
            Err(closed) => return Err(surprised(&closed.to_string())),
        }
    }
}

fn surprised(by: &str) -> Short {
    Short::Failed(BootFailure::Greeting {
        reason: format!("the parent's first words make no sense: {by}"),
    })
}

/// Looks up what is exposed and makes the state.
async fn prepare(
    this: &ThisActor,
    talk: &mut Talk,
    exposure: &[Cow<'static, str>],
    state: Option<(Cow<'static, str>, Payload)>,
) -> Result<(Exposure, Option<AnyState>), Short> {
    let hello = Message::hello(this.id.clone(), this.incarnation());
    // Whatever comes of it, there is a word to follow.
    let _pushed = talk.channel.sender().push_ahead(hello);
    let exposure = Exposure::resolve(exposure).map_err(Short::Failed)?;
    let state = match state {
        Some((constructor, init)) => Some(construct(this, talk, &constructor, init).await?),
        None => None,
    };
    Ok((exposure, state))
}

/// Runs the user's constructor; the order to end, or the parent's end, ends it too.
async fn construct(
    this: &ThisActor,
    talk: &mut Talk,
    constructor: &str,
    init: Payload,
) -> Result<AnyState, Short> {
    let entry = find(constructor).map_err(Short::Failed)?;
    let Some(mut constructing) = entry.construct(init) else {
        return Err(Short::Failed(BootFailure::Unknown { function: constructor.to_owned() }));
    };
    // The constructor may end the process: that it was reached is to be known by then.
    talk.channel.flush().await;
    tokio::select! {
        made = catch(constructing.as_mut()) => match made {
            Ok(made) => made.map_err(Short::Failed),
            Err(panic) => {
                let cause = RemoteError::panicked(&this.id, panic.message, panic.place);
                Err(Short::Failed(BootFailure::Construct(cause)))
            }
        },
        received = talk.recv() => Err(match received {
            Ok(Message::CancelActor { by, within }) => Short::Cancelled(Ending::new(by, within)),
            Ok(other) => surprised(&format!("{other:?}")),
            Err(closed) => Short::Orphaned(Ended::of_closed(&closed)),
        }),
    }
}

/// An actor whose parent has said what it is to be.
struct Serving {
    this: Arc<ThisActor>,
    host: Rc<Host>,
    upward: Arc<Line>,
    talk: Talk,
    life: Life,
}

/// Why an actor stops serving.
enum Over {
    /// A one-shot has answered.
    Done,
    Cancelled(Ending),
    /// The parent is gone, or its words make no sense any more.
    Orphaned(Ended),
}

/// What has to be done about a message.
enum Step {
    Served,
    Over(Over),
}

impl Serving {
    async fn begin(
        mut self,
        exposure: &[Cow<'static, str>],
        state: Option<(Cow<'static, str>, Payload)>,
    ) -> i32 {
        match prepare(&self.this, &mut self.talk, exposure, state).await {
            Ok((exposure, state)) => self.live(exposure, state).await,
            Err(reason) => self.stop_short(reason).await,
        }
    }

    async fn live(mut self, exposure: Exposure, state: Option<AnyState>) -> i32 {
        self.host.open(exposure, state);
        say(&self.talk.channel, Message::Ready);
        trace::emit(&self.this.id, trace::Step::Serving);
        let code = match self.serve().await {
            Over::Done => self.wind_up().await,
            Over::Cancelled(ending) => self.tear_down(ending).await,
            Over::Orphaned(ended) => self.tear_down_orphaned(&ended).await,
        };
        self.part(code).await
    }

    /// It never serves; but its constructor may have started what has to end first.
    async fn stop_short(mut self, reason: Short) -> i32 {
        let code = match reason {
            Short::Cancelled(ending) => self.tear_down(ending).await,
            Short::Orphaned(ended) => self.tear_down_orphaned(&ended).await,
            Short::Failed(failure) => {
                let _code = self.wind_up().await;
                root::release(&self.this);
                self.host.close_peers().await;
                return say_last(self.talk.channel, Message::BootFailed(failure), FAILED).await;
            }
        };
        self.part(code).await
    }

    async fn part(self, code: i32) -> i32 {
        let Serving { this, host, mut talk, .. } = self;
        root::release(&this);
        if code == DONE {
            talk.hear_left();
        }
        host.close_peers().await;
        match code {
            DONE => {
                say_last(talk.channel, Message::Farewell { failure: unclaimed(&this) }, DONE).await
            }
            failed => failed,
        }
    }

    async fn serve(&mut self) -> Over {
        loop {
            let received = tokio::select! {
                biased;
                received = self.talk.channel.recv() => received,
                () = self.talk.dialogues.wait_done(self.life) => return Over::Done,
                by = self.host.wait_asked() => return self.on_asked(by),
            };
            match self.on_received(received) {
                Step::Served => {}
                Step::Over(over) => return over,
            }
        }
    }

    /// A peer wants this actor to end. Its parent is told first, and sees to it from there.
    fn on_asked(&self, by: ActorId) -> Over {
        say(&self.talk.channel, Message::Ending { by: by.clone() });
        let deadline = Instant::now() + self.this.vars.timings.soft;
        Over::Cancelled(Ending { by, deadline })
    }

    fn on_received(&self, received: Result<Message, Closed>) -> Step {
        match received {
            Ok(Message::Dialogue(dialogue)) => self.talk.dialogues.on(dialogue),
            Ok(Message::CancelActor { by, within }) => {
                return Step::Over(Over::Cancelled(Ending::new(by, within)));
            }
            Ok(
                Message::Hello { .. }
                | Message::Spec(_)
                | Message::Ready
                | Message::BootFailed(_)
                | Message::CancelAck
                | Message::CancelRefused
                | Message::Ending { .. }
                | Message::Progress
                | Message::Farewell { .. },
            ) => {
                let reason = "it said what no parent says".to_owned();
                return Step::Over(Over::Orphaned(Ended::Lost { reason }));
            }
            Err(closed) => return Step::Over(Over::Orphaned(Ended::of_closed(&closed))),
        }
        Step::Served
    }

    /// Nothing is left to serve; nurseries that were dropped may still be ending.
    async fn wind_up(&mut self) -> i32 {
        // What peers still ask of it does not keep it.
        self.host.end(&self.this.id);
        self.this.scopes.end_all(ScopeEnd::Cancelled);
        match self.wait_idle().await {
            Idle::Yes => DONE,
            Idle::Over(Over::Done) => DONE,
            Idle::Over(Over::Cancelled(ending)) => Box::pin(self.tear_down(ending)).await,
            Idle::Over(Over::Orphaned(ended)) => self.tear_down_orphaned(&ended).await,
        }
    }

    async fn tear_down(&mut self, ending: Ending) -> i32 {
        let by = ending.by.clone();
        self.this.begin_ending(ending);
        // Goes out when the channel is next driven: before any destructor runs, or, if there is nothing to tear down, in one
        // write with the farewell.
        say(&self.talk.channel, Message::CancelAck);
        let_ready_tasks_run().await;
        self.host.end(&by);
        end_scopes_soon(&self.this);
        loop {
            match self.wait_idle().await {
                Idle::Yes | Idle::Over(Over::Done) => return DONE,
                // Asked again, perhaps with less time.
                Idle::Over(Over::Cancelled(again)) => {
                    self.this.begin_ending(again);
                    say(&self.talk.channel, Message::CancelAck);
                }
                Idle::Over(Over::Orphaned(ended)) => return self.tear_down_orphaned(&ended).await,
            }
        }
    }

    /// Nobody waits for this actor, and nobody would kill it: it bounds its own teardown.
    async fn tear_down_orphaned(&mut self, ended: &Ended) -> i32 {
        self.talk.dialogues.end(ended);
        self.upward.bond.set_end(End { exit: Some(Exit::Unknown), teardown: Teardown::default() });
        interrupt::restore_in_process(&self.this);
        let patience = self.this.vars.timings.orphan;
        let by = self.this.id.clone();
        self.this.begin_ending(Ending { by: by.clone(), deadline: Instant::now() + patience });
        self.host.end(&by);
        self.this.scopes.end_all(ScopeEnd::Cancelled);
        // What has not ended by then dies with the process, or is abandoned with the thread.
        let _idle =
            tokio::time::timeout(patience + patience / 2, self.this.tasks.wait_idle()).await;
        FAILED
    }

    /// Waits for the actor's tasks, and reads the channel meanwhile.
    async fn wait_idle(&mut self) -> Idle {
        loop {
            let received = tokio::select! {
                biased;
                () = self.this.tasks.wait_idle() => return Idle::Yes,
                received = self.talk.channel.recv() => received,
            };
            match self.on_received(received) {
                Step::Served => {}
                Step::Over(over) => return Idle::Over(over),
            }
        }
    }
}

/// Whether an actor's tasks have ended.
enum Idle {
    Yes,
    /// Something else came first.
    Over(Over),
}

/// Scopes that are dropped with the tasks that hold them end by themselves; those that were leaked are ended, after that. By a
/// task: the acknowledgement is not to wait for destructors.
fn end_scopes_soon(this: &Arc<ThisActor>) {
    if this.scopes.is_empty() {
        return;
    }
    let ending = Arc::clone(this);
    this.tasks.spawn(async move {
        let_ready_tasks_run().await;
        ending.scopes.end_all(ScopeEnd::Cancelled);
    });
}

/// A cancel arrives where a task waits: what is ready goes on first, so that a failure that has already happened is told, and
/// not lost to the cancel. Twice, because what the first round finds (sockets, timers) wakes tasks for the second.
async fn let_ready_tasks_run() {
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
}
