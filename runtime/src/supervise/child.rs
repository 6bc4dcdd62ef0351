//! The life of one child, from its spawn to its reaping.
//!
//! ```text
//!            ready               order, channel lost, farewell
//! Booting ─────────► Serving ─────────────────────────────────► Ending ──┐
//!    │  └──────────── order, boot failure, deadline ──────────────▲      │ exit
//!    └──────────────────────────┬────────────────────────────────────────┤
//!                  exit         ▼                                        ▼
//!                             ended: calls answered, rest killed, reported, in this order
//! ```
//!
//! One task, one loop: the next event, then the reaction. What may end a child's life (its exit, a word on the channel, the
//! order, a deadline) is raced in every stage, so none can keep the others waiting.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::crew::LifeEndTo;
use super::draft::ONLY_CALL;
use super::ladder::{Duty, Ladder, Means, Terms};
use super::nursery::Core;
use crate::actor::ThisActor;
use crate::error::{Error, RemoteError, Result, StartFailure, StartStep, Teardown};
use crate::ipc::{Channel, Closed};
use crate::line::{End, Ended, Line, Manner, NoValue, Order, Reply};
use crate::msg::{BootFailure, Dialogue, Failure, Message, PROTOCOL, Timings};
use crate::rpc::Dialogues;
use crate::spawn::{self, Backend, Child, Exit, Request, SpawnError, SpawnFailure};
use crate::trace::{self, Step};

/// A child to be started, and who is to be told what.
pub(super) struct Assignment {
    pub(super) this: Arc<ThisActor>,
    pub(super) owner: Owner,
    pub(super) line: Arc<Line>,
    pub(super) dialogues: Dialogues,
    pub(super) channel: Channel,
    pub(super) backend: Backend,
    pub(super) boot_within: Duration,
    /// Whoever awaits the start.
    pub(super) ready_tx: oneshot::Sender<Result<()>>,
    /// Whoever awaits a one-shot's result.
    pub(super) reply_tx: Option<oneshot::Sender<Reply>>,
}

/// Who is told of a child's end, and what failed in it.
pub(super) enum Owner {
    /// The scope it was started in, and its place in that.
    Nursery { core: Arc<Core>, place: u64 },
    /// The supervisor of whose child this is a life.
    Crew(LifeEndTo),
}

impl Owner {
    fn on_end(&self, failures: Vec<Error>) {
        match self {
            Owner::Nursery { core, place } => core.on_end(*place, failures),
            Owner::Crew(end_to) => end_to.tell(failures),
        }
    }
}

/// So many messages are dealt with before anything else is looked at again.
const AT_ONCE: usize = 128;

/// Leads one child through its life.
pub(super) struct Keeper {
    report: Report,
    line: Arc<Line>,
    dialogues: Dialogues,
    /// `None` once it is closed.
    channel: Option<Channel>,
    backend: Backend,
    boot_within: Duration,
    ready_tx: Option<oneshot::Sender<Result<()>>>,
    reply_tx: Option<oneshot::Sender<Reply>>,
    stage: Stage,
    alarm: Alarm,
    /// What is known of the end before it comes.
    omens: Omens,
}

enum Stage {
    Booting { step: StartStep, deadline: Instant },
    Serving,
    Ending { ladder: Ladder },
}

#[derive(Default)]
struct Omens {
    /// It never was ready: how far it got.
    unready: Option<StartStep>,
    boot_failure: Option<BootFailure>,
    boot_deadline_passed: bool,
    ordered: Option<Order>,
    lost: Option<String>,
    farewell: Option<Farewell>,
    /// The starter was told so, and the nursery need not be.
    start_failed: bool,
    unheard: Option<Error>,
    /// The failure of a one-shot's function.
    only_call_failure: Option<Error>,
}

/// A child's last message.
struct Farewell {
    failure: Option<RemoteError>,
}

/// What wakes a keeper.
enum Event {
    Message(Message),
    Closed(Closed),
    Exited(Exit),
    Ordered(Order),
    Deadline,
}

impl Keeper {
    pub(super) fn new(assignment: Assignment) -> Keeper {
        let Assignment {
            this,
            owner,
            line,
            dialogues,
            channel,
            backend,
            boot_within,
            ready_tx,
            reply_tx,
        } = assignment;
        let deadline = Instant::now() + boot_within;
        Keeper {
            report: Report { this, owner, line: Arc::clone(&line), is_made: false },
            line,
            dialogues,
            channel: Some(channel),
            backend,
            boot_within,
            ready_tx: Some(ready_tx),
            reply_tx,
            stage: Stage::Booting { step: StartStep::Spawn, deadline },
            alarm: Alarm::default(),
            omens: Omens { unready: Some(StartStep::Spawn), ..Omens::default() },
        }
    }

    /// The whole life.
    pub(super) async fn run(mut self, request: Request) {
        let mut request = request;
        loop {
            self.trace(Step::Start(StartStep::Spawn));
            match self.spawn(request).await {
                Spawned::Child(child) => {
                    self.on_spawned();
                    let exit = self.watch(&child).await;
                    if let Some(again) = self.retry(&child, &exit) {
                        request = again;
                        continue;
                    }
                    self.drain();
                    return self.end(&child, exit).await;
                }
                Spawned::Failed(error) => self.tell_unborn(Some(&error)),
                Spawned::Stopped(child) => {
                    self.tell_unborn(None);
                    self.undo(child).await;
                }
            }
            return self.report.make(End { exit: None, teardown: Teardown::default() }, Vec::new());
        }
    }

    /// A child that was forked at a bad moment and came to nothing is made again, within the time of its start.
    fn retry(&self, child: &Child, exit: &Exit) -> Option<Request> {
        match self.stage {
            Stage::Booting { .. } => child.retry(exit),
            Stage::Serving | Stage::Ending { .. } => None,
        }
    }

    async fn spawn(&mut self, request: Request) -> Spawned {
        let backend = self.backend;
        let mut spawning: Spawning = Box::pin(spawn::spawn(backend, request));
        let spawned = std::future::poll_fn(|cx| {
            if let Some(channel) = &mut self.channel {
                // What was said to the child ahead is in the socket when it comes to life.
                let _written = channel.poll_flush(cx);
            }
            if let Poll::Ready(spawned) = spawning.as_mut().poll(cx) {
                return Poll::Ready(Some(spawned.map_or_else(Spawned::Failed, Spawned::Child)));
            }
            if let Poll::Ready(order) = self.line.bond.poll_order(cx) {
                self.omens.ordered = Some(order);
                return Poll::Ready(None);
            }
            if self.alarm.poll(self.stage.deadline(), cx).is_ready() {
                self.omens.boot_deadline_passed = true;
                return Poll::Ready(None);
            }
            Poll::Pending
        });
        spawned.await.unwrap_or(Spawned::Stopped(spawning))
    }

    /// Stopped half-way: what was being made is waited for and ended, for a nursery has not ended before all that came of it
    /// has. In bounds: a fork may have to wait for a lock that another thread of this process holds. What it makes after
    /// that is killed by the spawner.
    async fn undo(&mut self, spawning: Spawning) {
        let patience = self.timings().soft;
        let Ok(Ok(child)) = tokio::time::timeout(patience, spawning).await else {
            return;
        };
        match self.means() {
            Means::Process => drop(child.kill_subtree().await),
            // Its channel is closed: it sees that, and ends. Dropping it abandons one that does not.
            Means::Thread => {
                let _ended = tokio::time::timeout(self.timings().abandon, child.wait()).await;
            }
        }
    }

    fn on_spawned(&mut self) {
        self.on_boot_step(StartStep::Handshake);
    }

    /// Reacts to events until the child has ended.
    async fn watch(&mut self, child: &Child) -> Exit {
        let mut exit = pin!(child.wait());
        loop {
            match std::future::poll_fn(|cx| self.poll_event(exit.as_mut(), cx)).await {
                Event::Message(message) => {
                    child.is_heard();
                    self.on_message(message);
                    self.on_more_messages();
                }
                Event::Closed(closed) => self.on_closed(&closed),
                Event::Exited(exit) => return exit,
                Event::Ordered(order) => self.on_order(order, child).await,
                Event::Deadline => self.on_deadline(child).await,
            }
        }
    }

    /// What came in one piece with a message is dealt with at once.
    fn on_more_messages(&mut self) {
        for _ in 0..AT_ONCE {
            match self.channel.as_mut().and_then(Channel::next_at_hand) {
                Some(Ok(message)) => self.on_message(message),
                Some(Err(closed)) => return self.on_closed(&closed),
                None => return,
            }
        }
    }

    fn poll_event(
        &mut self,
        exit: Pin<&mut impl Future<Output = Exit>>,
        cx: &mut Context<'_>,
    ) -> Poll<Event> {
        if let Poll::Ready(order) = self.line.bond.poll_order(cx) {
            return Poll::Ready(Event::Ordered(order));
        }
        if let Some(channel) = &mut self.channel
            && let Poll::Ready(received) = channel.poll_recv(cx)
        {
            return Poll::Ready(received.map_or_else(Event::Closed, Event::Message));
        }
        if let Poll::Ready(exit) = exit.poll(cx) {
            return Poll::Ready(Event::Exited(exit));
        }
        self.alarm.poll(self.stage.deadline(), cx).map(|()| Event::Deadline)
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Hello { protocol: PROTOCOL, .. } => self.on_boot_step(StartStep::Construct),
            Message::Hello { protocol, .. } => {
                self.lose(format!(
                    "it speaks version {protocol} of the protocol, and this is {PROTOCOL}"
                ));
            }
            Message::Ready => self.on_ready(),
            Message::BootFailed(failure) => self.on_boot_failed(failure),
            Message::Dialogue(Dialogue::Return { id: ONLY_CALL, value }) => {
                self.on_only_answer(Ok(value));
            }
            Message::Dialogue(Dialogue::Failed { id: ONLY_CALL, failure }) => {
                self.omens.only_call_failure = self.failure_of_only_call(&failure);
                self.on_only_answer(Err(NoValue::Failed(failure)));
            }
            Message::Dialogue(dialogue) => self.dialogues.on(dialogue),
            Message::CancelAck => {
                self.trace(Step::CancelAcked);
                self.on_ladder(Ladder::on_ack);
            }
            Message::Progress => {
                self.on_ladder(Ladder::on_progress);
                self.report.this.report_progress();
            }
            Message::Farewell { failure } => self.on_farewell(failure),
            // A peer of it asked. What remains is as if it had been asked from here.
            Message::Ending { by } => {
                self.line.bond.order(Order { by, within: None, manner: Manner::Ask });
            }
            Message::Spec(_) | Message::CancelActor { .. } | Message::CancelRefused => {
                self.lose("it said what only a parent says".to_owned());
            }
        }
    }

    fn on_boot_step(&mut self, now_at: StartStep) {
        if let Stage::Booting { step, .. } = &mut self.stage {
            *step = now_at;
            self.omens.unready = Some(now_at);
            self.trace(Step::Start(now_at));
        }
    }

    fn on_ready(&mut self) {
        self.omens.unready = None;
        if let Stage::Booting { .. } = self.stage {
            self.stage = Stage::Serving;
            self.trace(Step::Ready);
        }
        self.tell_starter(Ok(()));
    }

    fn on_boot_failed(&mut self, failure: BootFailure) {
        self.omens.boot_failure = Some(failure);
        self.begin_ending(Ladder::begin_parting);
    }

    fn on_only_answer(&mut self, reply: Reply) {
        if let Some(reply_tx) = self.reply_tx.take() {
            // Whether the result is read is the body's choice.
            let _read = reply_tx.send(reply);
        }
    }

    /// What the nursery is told of a one-shot's failure. That it was cancelled is no failure.
    fn failure_of_only_call(&self, failure: &Failure) -> Option<Error> {
        match failure {
            Failure::Cancelled { .. } => None,
            Failure::Returned(_)
            | Failure::Panicked(_)
            | Failure::NotExposed
            | Failure::OtherTypes
            | Failure::NotStarted
            | Failure::Unsendable { .. } => {
                Some(failure.clone().into_error(&self.line.actor, "its function"))
            }
        }
    }

    fn on_farewell(&mut self, failure: Option<RemoteError>) {
        self.omens.farewell = Some(Farewell { failure });
        self.begin_ending(Ladder::begin_parting);
    }

    fn on_closed(&mut self, closed: &Closed) {
        self.channel = None;
        match closed {
            Closed::Ended if self.omens.farewell.is_some() || self.omens.boot_failure.is_some() => {
            }
            // Most often the child is dead and its exit is the next event; if not, it is made to be.
            Closed::Ended => self.begin_ending(Ladder::begin_unheard),
            Closed::Torn | Closed::Garbage(_) | Closed::Refused(_) => self.lose(closed.to_string()),
        }
    }

    /// The channel is of no more use. The child sees its end, and has a moment to go by itself.
    fn lose(&mut self, reason: String) {
        self.channel = None;
        self.answer_all(&Ended::Lost { reason: reason.clone() });
        self.omens.lost.get_or_insert(reason);
        self.begin_ending(Ladder::begin_unheard);
    }

    async fn on_order(&mut self, order: Order, child: &Child) {
        let now = Instant::now();
        let duty = match &mut self.stage {
            Stage::Booting { .. } | Stage::Serving => self.begin_ordered(&order, now),
            // It ends already.
            Stage::Ending { ladder } if order.manner == Manner::Kill => ladder.hurry(now),
            Stage::Ending { .. } => None,
        };
        self.omens.ordered = Some(order);
        self.carry_out(duty, child).await;
    }

    fn begin_ordered(&mut self, order: &Order, now: Instant) -> Option<Duty> {
        let terms = self.terms(order.within);
        let (ladder, duty) = match order.manner {
            Manner::Ask => (Ladder::begin(&terms, now), None),
            Manner::AskFor(patience) => {
                (Ladder::begin(&Terms { patience: Some(patience), ..terms }, now), None)
            }
            Manner::Kill => Ladder::begin_killing(&terms, now),
        };
        if duty.is_none() {
            self.ask(order, &ladder);
        }
        self.stage = Stage::Ending { ladder };
        self.tell_starter(Err(self.cancelled(order)));
        duty
    }

    fn ask(&self, order: &Order, ladder: &Ladder) {
        self.trace(Step::CancelSent { by: &order.by, within: ladder.within() });
        // If the channel is gone, what is left of the ladder does it.
        let _pushed = self
            .line
            .out
            .push(Message::CancelActor { by: order.by.clone(), within: ladder.within() });
    }

    async fn on_deadline(&mut self, child: &Child) {
        let duty = match &mut self.stage {
            Stage::Booting { .. } => self.on_boot_deadline(),
            Stage::Serving => None,
            Stage::Ending { ladder } => Some(ladder.on_deadline(Instant::now())),
        };
        self.note_silence();
        self.report.this.report_progress();
        self.carry_out(duty, child).await;
    }

    async fn carry_out(&self, duty: Option<Duty>, child: &Child) {
        let Some(duty) = duty else { return };
        self.trace(Step::Rung(duty.rung()));
        match duty {
            Duty::Terminate => drop(child.terminate()),
            Duty::KillSubtree => drop(child.kill_subtree().await),
            Duty::Abandon => child.abandon(),
        }
    }

    /// A child that is forced although nobody ordered its end is one that closed its channel and lived on: how it ends then
    /// is our doing, and is not reported as its own.
    fn note_silence(&mut self) {
        let Omens { ordered, farewell, boot_failure, .. } = &self.omens;
        let is_silent = ordered.is_none() && farewell.is_none() && boot_failure.is_none();
        if is_silent && self.channel.is_none() && self.omens.lost.is_none() {
            self.lose("the other end closed it, and lived on".to_owned());
        }
    }

    /// It had its time: a process is killed, a thread is shown the end of its channel, and may need to be abandoned.
    fn on_boot_deadline(&mut self) -> Option<Duty> {
        self.omens.boot_deadline_passed = true;
        let failure = self.start_failure(None);
        self.tell_starter(Err(failure));
        let (means, now) = (self.means(), Instant::now());
        let mut ladder = Ladder::begin(&self.terms(self.report.this.remaining(now)), now);
        let duty = match means {
            Means::Process => Some(ladder.kill(now)),
            Means::Thread => {
                self.channel = None;
                None
            }
        };
        self.stage = Stage::Ending { ladder };
        duty
    }

    fn on_ladder(&mut self, step: impl FnOnce(&mut Ladder, Instant)) {
        if let Stage::Ending { ladder } = &mut self.stage {
            step(ladder, Instant::now());
        }
    }

    /// The child ends without having been asked, or should.
    fn begin_ending(&mut self, begin: fn(&Terms<'_>, Instant) -> Ladder) {
        if let Stage::Booting { .. } | Stage::Serving = self.stage {
            let now = Instant::now();
            let terms = self.terms(self.report.this.remaining(now));
            self.stage = Stage::Ending { ladder: begin(&terms, now) };
        }
    }

    /// After the exit: what the child said before it, and is still in the channel.
    fn drain(&mut self) {
        while let Some(channel) = &mut self.channel {
            match channel.recv_left() {
                Some(Ok(message)) => self.on_message(message),
                Some(Err(closed)) => self.on_closed(&closed),
                None => self.channel = None,
            }
        }
    }

    /// Nothing came to be, or it is stopped before it could be watched.
    fn tell_unborn(&mut self, error: Option<&SpawnError>) {
        self.channel = None;
        let ended = self.ended(None);
        self.answer_all(&ended);
        let told = match error {
            Some(error) => self.refused(error),
            None => self.start_failure(None),
        };
        self.tell_starter(Err(told));
    }

    async fn end(mut self, child: &Child, exit: Exit) {
        self.trace(Step::Exit(&exit));
        self.channel = None;
        let ended = self.ended(Some(&exit));
        self.answer_all(&ended);
        if self.omens.unready.is_some() {
            self.end_unready(&exit);
        }
        let teardown = self.take_teardown();
        if self.omens.farewell.is_none() || exit != Exit::Code(0) {
            // It did not end by its own will, so it may have left children of its own behind: a fork server, if it was killed
            // between its last word and its end.
            drop(child.kill_subtree().await);
        }
        let failures = self.failures(&exit, &teardown);
        self.report.make(End { exit: Some(exit), teardown }, failures);
    }

    /// What went wrong by itself after the starter was told of a cancel is the nursery's.
    fn end_unready(&mut self, exit: &Exit) {
        let failed_by_itself = self.omens.boot_failure.is_some();
        let failure = self.start_failure(Some(exit.clone()));
        if self.ready_tx.is_none() && failed_by_itself && !self.omens.start_failed {
            (self.omens.start_failed, self.omens.unheard) = (true, Some(failure));
        } else {
            self.tell_starter(Err(failure));
        }
    }

    /// All that waits for the child is told how it ended. The first telling counts.
    fn answer_all(&mut self, ended: &Ended) {
        self.dialogues.end(ended);
        if let Some(reply_tx) = self.reply_tx.take() {
            let _read = reply_tx.send(Err(NoValue::Ended(ended.clone())));
        }
    }

    fn take_teardown(&mut self) -> Teardown {
        let was_torn_down = self.is_torn_down();
        match std::mem::replace(&mut self.stage, Stage::Serving) {
            Stage::Ending { ladder } if was_torn_down => ladder.into_teardown(Instant::now()),
            Stage::Ending { .. } | Stage::Booting { .. } | Stage::Serving => Teardown::default(),
        }
    }

    /// Whether anybody made it end. One that said farewell or died by itself was only waited for, unless the wait was too
    /// long.
    fn is_torn_down(&self) -> bool {
        let by_force = match &self.stage {
            Stage::Ending { ladder } => ladder.is_force(),
            Stage::Booting { .. } | Stage::Serving => false,
        };
        self.omens.ordered.is_some() || by_force
    }

    /// What calls in flight, and later ones, end with.
    fn ended(&self, exit: Option<&Exit>) -> Ended {
        let Omens { ordered, lost, unready, .. } = &self.omens;
        match (ordered, lost, unready, exit) {
            (Some(order), ..) => Ended::Cancelled { by: order.by.clone() },
            (None, Some(reason), ..) => Ended::Lost { reason: reason.clone() },
            (None, None, Some(_), _) | (None, None, None, None) => Ended::NeverReady,
            (None, None, None, Some(exit)) => {
                Ended::Died { exit: exit.clone(), incarnation: self.line.incarnation }
            }
        }
    }

    /// What the nursery is told. A start that failed is the starter's to deal with.
    fn failures(&mut self, exit: &Exit, teardown: &Teardown) -> Vec<Error> {
        if self.omens.start_failed {
            return self.omens.unheard.take().into_iter().collect();
        }
        let own = self.own_failure(exit, teardown);
        let only_call = self.omens.only_call_failure.take();
        let told =
            self.omens.farewell.take().and_then(|farewell| farewell.failure).map(Error::Remote);
        only_call.into_iter().chain(told).chain(own).collect()
    }

    /// How the actor itself failed, whatever failed in it.
    fn own_failure(&mut self, exit: &Exit, teardown: &Teardown) -> Option<Error> {
        let actor = self.line.actor.clone();
        if let Some(reason) = self.omens.lost.take() {
            Some(Error::ChannelLost { actor, reason })
        } else if teardown.is_forced() && self.was_to_be_killed() {
            None
        } else if teardown.is_forced() {
            Some(Error::Forced { actor, teardown: teardown.clone() })
        } else if self.omens.farewell.is_some() {
            None
        } else {
            Some(Error::ActorDied { actor, exit: exit.clone(), incarnation: self.line.incarnation })
        }
    }

    fn was_to_be_killed(&self) -> bool {
        self.omens.ordered.as_ref().is_some_and(|order| order.manner == Manner::Kill)
    }

    /// Only the first word counts. A failure that nobody hears, because the start was dropped, is the nursery's.
    fn tell_starter(&mut self, told: Result<()>) {
        let Some(ready_tx) = self.ready_tx.take() else { return };
        self.omens.start_failed =
            matches!(&told, Err(error) if !matches!(error, Error::Cancelled { .. }));
        if let Err(Err(unheard)) = ready_tx.send(told)
            && self.omens.start_failed
        {
            self.omens.unheard = Some(unheard);
        }
    }

    fn cancelled(&self, order: &Order) -> Error {
        Error::Cancelled { subject: self.line.actor.clone(), canceller: order.by.clone() }
    }

    /// Why the start failed.
    fn start_failure(&mut self, exit: Option<Exit>) -> Error {
        let step = self.omens.unready.unwrap_or(StartStep::Construct);
        let actor = self.line.actor.clone();
        if self.omens.boot_deadline_passed {
            return Error::BootDeadline { actor, step, after: self.boot_within };
        }
        // What went wrong by itself is not masked by a cancel that came meanwhile.
        if let (Some(order), None) = (&self.omens.ordered, &self.omens.boot_failure) {
            return self.cancelled(order);
        }
        let (last_words, cause) = match self.omens.boot_failure.take() {
            Some(BootFailure::Construct(cause)) => (None, Some(cause)),
            Some(other) => (Some(other.to_string()), None),
            None => (self.omens.lost.take(), None),
        };
        Error::SpawnFailed(Box::new(StartFailure {
            actor,
            backend: self.backend,
            step,
            exit,
            last_words,
            cause,
        }))
    }

    fn refused(&self, error: &SpawnError) -> Error {
        match &error.source {
            SpawnFailure::Unavailable(reason) => Error::Unsupported {
                backend: self.backend,
                actor: self.line.actor.clone(),
                reason: reason.to_string(),
            },
            SpawnFailure::Os(source) => Error::SpawnFailed(Box::new(StartFailure {
                actor: self.line.actor.clone(),
                backend: self.backend,
                step: StartStep::Spawn,
                exit: None,
                last_words: Some(format!("could not {}: {source}", error.step)),
                cause: None,
            })),
        }
    }

    fn trace(&self, step: Step<'_>) {
        trace::emit(&self.line.actor, step);
    }

    fn timings(&self) -> &Timings {
        &self.report.this.vars.timings
    }

    fn terms(&self, remaining: Option<Duration>) -> Terms<'_> {
        Terms { timings: self.timings(), means: self.means(), patience: None, remaining }
    }

    fn means(&self) -> Means {
        if self.backend.is_process() { Means::Process } else { Means::Thread }
    }
}

/// What became of a spawn.
enum Spawned {
    Child(Child),
    Failed(SpawnError),
    /// By the order or the boot deadline.
    Stopped(Spawning),
}

/// A spawn under way.
type Spawning = Pin<Box<dyn Future<Output = Result<Child, SpawnError>>>>;

impl Stage {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Stage::Booting { deadline, .. } => Some(*deadline),
            Stage::Serving => None,
            Stage::Ending { ladder } => ladder.deadline(),
        }
    }
}

/// A timer that is only touched when the deadline changes.
#[derive(Default)]
struct Alarm {
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Alarm {
    fn poll(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else {
            self.sleep = None;
            return Poll::Pending;
        };
        let sleep = match &mut self.sleep {
            Some((at, sleep)) if *at == deadline => sleep,
            _ => {
                &mut self
                    .sleep
                    .insert((deadline, Box::pin(tokio::time::sleep_until(deadline.into()))))
                    .1
            }
        };
        sleep.as_mut().poll(cx)
    }
}

/// The report to the nursery and to all who hold the portal. Made exactly once: a keeper that panics makes it too, as the
/// bug it is, for a nursery must not wait for a child nobody watches.
struct Report {
    this: Arc<ThisActor>,
    owner: Owner,
    line: Arc<Line>,
    is_made: bool,
}

impl Report {
    fn make(mut self, end: End, failures: Vec<Error>) {
        self.is_made = true;
        self.line.bond.set_end(end);
        self.owner.on_end(failures);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.is_made {
            let bug =
                Error::Bug(format!("the keeper of actor {} ended before it", self.line.actor));
            self.line.calls.close(&Ended::Lost { reason: bug.to_string() });
            self.line.bond.set_end(End { exit: None, teardown: Teardown::default() });
            self.owner.on_end(vec![bug]);
        }
    }
}
