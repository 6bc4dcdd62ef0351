//! The task that supervises: carries out what the plan says, and tells the plan what happened.
//!
//! One loop: act while there is something to do, then the next event. Each child has its own keeper, which leads one life of it;
//! the crew is told the end of that life when it has been reaped. Owned by the actor, like the keepers.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::child::Owner;
use super::draft::{Draft, Launched};
use super::nursery::Core;
use super::plan::{Action, How, Key, Plan, Verdict};
use super::strategy::Restarts;
use super::supervisor::{Answer, ChildSpec, Entry, Request, Roster, Supervisor, refused};
use crate::actor::ThisActor;
use crate::error::{ActorId, Death, Error, GaveUp, Result, StartFailure, Teardown};
use crate::line::{Bond, End, Ended, Line, Manner, Order, Post};
use crate::log;
use crate::rpc::catch_call;

/// Supervises the children of one supervisor.
pub(super) struct Crew {
    this: Arc<ThisActor>,
    membership: Membership,
    plan: Plan,
    limit: Restarts,
    members: BTreeMap<Key, Member>,
    starting: Option<Starting>,
    ends_tx: mpsc::UnboundedSender<LifeEnd>,
    ends_rx: mpsc::UnboundedReceiver<LifeEnd>,
    requests_rx: mpsc::Receiver<Request>,
    roster: Arc<Roster>,
    /// Whoever awaits that all run.
    begun_tx: Option<oneshot::Sender<Result<()>>>,
    ordered: Option<Order>,
    /// What failed, and is not made good by a restart.
    failures: Vec<Error>,
}

/// A child, through its lives.
struct Member {
    spec: ChildSpec,
    post: Arc<Post>,
    life: Option<Life>,
    /// What its last life failed with.
    last: Option<Error>,
    /// Whoever asked for its start.
    start_answer: Option<Answer>,
    stop_answers: Vec<Answer>,
}

struct Life {
    line: Arc<Line>,
    incarnation: u64,
    /// Why it was not ready.
    refused: Option<Error>,
}

/// The child that is being started.
struct Starting {
    key: Key,
    ready_rx: oneshot::Receiver<Result<()>>,
}

/// One life of a child has ended and been reaped.
pub(super) struct LifeEnd {
    key: Key,
    failures: Vec<Error>,
}

/// Where a keeper reports the end of a life.
pub(super) struct LifeEndTo {
    key: Key,
    /// Unbounded: one for each life, and a child has one at a time.
    ends_tx: mpsc::UnboundedSender<LifeEnd>,
}

impl LifeEndTo {
    pub(super) fn tell(&self, failures: Vec<Error>) {
        // A crew that is gone has killed what it left.
        let _told = self.ends_tx.send(LifeEnd { key: self.key, failures });
    }
}

/// What wakes a crew.
enum Event {
    /// The child that was being started is ready, or will not be.
    Answered(Result<()>),
    Ended(LifeEnd),
    Ordered(Order),
    Asked(Request),
}

impl Crew {
    pub(super) fn new(
        supervisor: Supervisor,
        membership: Membership,
        roster: Arc<Roster>,
        requests_rx: mpsc::Receiver<Request>,
        begun_tx: oneshot::Sender<Result<()>>,
    ) -> Crew {
        let Supervisor { strategy, limit, auto_shutdown, children } = supervisor;
        let (ends_tx, ends_rx) = mpsc::unbounded_channel();
        let mut crew = Crew {
            this: Arc::clone(&membership.core.this),
            membership,
            plan: Plan::new(strategy, limit, auto_shutdown),
            limit,
            members: BTreeMap::new(),
            starting: None,
            ends_tx,
            ends_rx,
            requests_rx,
            roster,
            begun_tx: Some(begun_tx),
            ordered: None,
            failures: Vec::new(),
        };
        for child in children {
            crew.add(child, None);
        }
        crew
    }

    pub(super) async fn run(mut self) {
        loop {
            while let Some(action) = self.plan.next() {
                match action {
                    Action::Start { key, incarnation } => {
                        self.start(key, incarnation);
                        // Starts that fail at once, again and again, are to cost the actor's other tasks nothing, nor an order.
                        tokio::task::yield_now().await;
                        self.heed_order().await;
                    }
                    Action::Stop(key) => self.stop(key),
                    Action::End(verdict) => return self.end(verdict),
                }
            }
            self.tell();
            match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Answered(answer) => self.on_answered(answer),
                Event::Ended(end) => self.on_ended(end),
                Event::Ordered(order) => self.on_ordered(order),
                Event::Asked(request) => self.on_asked(request),
            }
        }
    }

    async fn heed_order(&mut self) {
        if let Poll::Ready(order) =
            poll_fn(|cx| Poll::Ready(self.membership.bond.poll_order(cx))).await
        {
            self.on_ordered(order);
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(order) = self.membership.bond.poll_order(cx) {
            return Poll::Ready(Event::Ordered(order));
        }
        if let Some(starting) = &mut self.starting
            && let Poll::Ready(answer) = Pin::new(&mut starting.ready_rx).poll(cx)
        {
            return Poll::Ready(Event::Answered(answer.unwrap_or_else(|_| Err(unheard()))));
        }
        if let Poll::Ready(Some(end)) = self.ends_rx.poll_recv(cx) {
            return Poll::Ready(Event::Ended(end));
        }
        match self.requests_rx.poll_recv(cx) {
            Poll::Ready(Some(request)) => Poll::Ready(Event::Asked(request)),
            // Nobody has a handle any more: nothing is asked.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn add(&mut self, spec: ChildSpec, start_answer: Option<Answer>) {
        let Some(key) = self.plan.add(spec.terms()) else {
            // The handle says that the supervisor ends.
            return drop(start_answer);
        };
        let post = Post::new(ActorId { name: spec.name().to_owned(), uuid: Uuid::new_v4() });
        let entry = Entry { post: Arc::clone(&post), kind: spec.kind() };
        self.roster.enter(spec.name(), entry);
        let stop_answers = Vec::new();
        let member = Member { spec, post, life: None, last: None, start_answer, stop_answers };
        self.members.insert(key, member);
    }

    fn start(&mut self, key: Key, incarnation: u64) {
        let Some(member) = self.members.get_mut(&key) else { return };
        member.post.vacate();
        let end_to = LifeEndTo { key, ends_tx: self.ends_tx.clone() };
        match member.launch(&self.this, incarnation, end_to) {
            Ok(Launched { line, ready_rx }) => {
                member.life = Some(Life { line, incarnation, refused: None });
                self.starting = Some(Starting { key, ready_rx });
            }
            Err(error) => {
                self.note(key, incarnation, Some(error));
                self.plan.on_start_failed(key, Instant::now());
            }
        }
    }

    /// When the actor was told to end, and its time is over, there is none for one after the other.
    fn stop(&mut self, key: Key) {
        let is_late =
            self.this.remaining(Instant::now()).is_some_and(|left| left <= Duration::ZERO);
        for (other, member) in &self.members {
            if *other == key || is_late {
                self.order(member, member.spec.manner());
            }
        }
    }

    fn order(&self, member: &Member, manner: Manner) {
        // What is called from now on waits for the next life.
        member.post.vacate();
        if let Some(life) = &member.life {
            let is_to_kill = self.ordered.as_ref().is_some_and(|it| it.manner == Manner::Kill);
            let within = self.this.remaining(Instant::now());
            let manner = if is_to_kill { Manner::Kill } else { manner };
            life.line.bond.order(Order { by: self.canceller().clone(), within, manner });
        }
    }

    fn canceller(&self) -> &ActorId {
        self.ordered.as_ref().map_or(&self.this.id, |order| &order.by)
    }

    fn on_answered(&mut self, answer: Result<()>) {
        let Some(Starting { key, .. }) = self.starting.take() else { return };
        let Some(member) = self.members.get_mut(&key) else { return };
        let Some(life) = &mut member.life else { return };
        match answer {
            Ok(()) => {
                // What is called while it is being stopped waits for its next life.
                if self.plan.on_started(key) {
                    member.post.hold(&life.line);
                }
                if let Some(answer) = member.start_answer.take() {
                    let _heard = answer.send(Ok(()));
                }
            }
            // Its end is yet to come.
            Err(error) => life.refused = Some(error),
        }
    }

    fn on_ended(&mut self, LifeEnd { key, failures }: LifeEnd) {
        if self.starting.as_ref().is_some_and(|starting| starting.key == key) {
            // The keeper has answered before it reported.
            let answer = self.starting.as_mut().map(|starting| starting.ready_rx.try_recv());
            self.on_answered(answer.and_then(Result::ok).unwrap_or_else(|| Err(unheard())));
        }
        let life = self.members.get_mut(&key).and_then(|member| {
            member.post.vacate();
            member.life.take()
        });
        let Some(Life { incarnation, refused, .. }) = life else { return };
        let now = Instant::now();
        match refused {
            Some(error) => {
                self.note(key, incarnation, Some(error));
                self.plan.on_start_failed(key, now);
            }
            None => {
                let failure = Error::from_failures(failures);
                let how = if failure.is_some() { How::Failed } else { How::Well };
                self.note(key, incarnation, failure);
                self.plan.on_ended(key, how, now);
            }
        }
        self.this.report_progress();
    }

    /// Keeps what a life failed with. While all are being stopped for good, that is the supervisor's failure; but that a child
    /// is dead is what was wanted of it.
    fn note(&mut self, key: Key, incarnation: u64, failure: Option<Error>) {
        let Some(member) = self.members.get_mut(&key) else { return };
        let cause = failure.as_ref().map(ToString::to_string);
        match failure {
            // As it was told to.
            None | Some(Error::Cancelled { .. }) if self.plan.is_stopping(key) => return,
            Some(error) if self.plan.is_ending() && !is_death(&error) => self.failures.push(error),
            failure => member.last = failure,
        }
        let death = Death { child: member.post.actor.clone(), incarnation, cause };
        log::death(&death);
        self.roster.note(death);
    }

    fn on_ordered(&mut self, order: Order) {
        self.ordered = Some(order);
        self.plan.shut_down();
        if self.ordered.as_ref().is_some_and(|order| order.manner == Manner::Kill) {
            self.members.values().for_each(|member| self.order(member, Manner::Kill));
        }
    }

    fn on_asked(&mut self, request: Request) {
        match request {
            Request::Start(spec, answer) => self.on_asked_to_start(*spec, answer),
            Request::Terminate(name, answer) => {
                if let Some((key, answer)) = self.find(&name, answer) {
                    self.plan.terminate(key);
                    self.members.entry(key).and_modify(|it| it.stop_answers.push(answer));
                }
            }
            Request::Restart(name, answer) => {
                if let Some((key, answer)) = self.find(&name, answer) {
                    self.on_asked_to_restart(key, answer);
                }
            }
            Request::Delete(name, answer) => {
                if let Some((key, answer)) = self.find(&name, answer) {
                    let runs = || Err(refused(&name, "it runs"));
                    let _heard =
                        answer.send(self.plan.forget(key).then_some(()).map_or_else(runs, Ok));
                }
            }
        }
    }

    fn on_asked_to_start(&mut self, spec: ChildSpec, answer: Answer) {
        let is_taken = self.members.values().any(|member| member.spec.name() == spec.name());
        let checked = match is_taken {
            true => Err(refused(spec.name(), "there is one of that name")),
            false => spec.check(),
        };
        match checked {
            Ok(()) => self.add(spec, Some(answer)),
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn on_asked_to_restart(&mut self, key: Key, answer: Answer) {
        let Some(member) = self.members.get_mut(&key) else { return };
        if self.plan.restart(key) {
            member.start_answer = Some(answer);
        } else {
            let _heard = answer.send(Err(refused(member.spec.name(), "it runs")));
        }
    }

    fn find(&self, name: &str, answer: Answer) -> Option<(Key, Answer)> {
        match self.members.iter().find(|(_, member)| member.spec.name() == name) {
            Some((key, _)) => Some((*key, answer)),
            None => {
                let _heard = answer.send(Err(refused(name, "there is no such child")));
                None
            }
        }
    }

    /// Tells those who wait what has come about.
    fn tell(&mut self) {
        if self.plan.has_begun()
            && let Some(begun_tx) = self.begun_tx.take()
        {
            // Whoever started it was dropped, and gave the order to end.
            let _heard = begun_tx.send(Ok(()));
        }
        for (key, member) in &mut self.members {
            if self.plan.is_over(*key) {
                member.close(&self.this.id);
            }
        }
        let plan = &self.plan;
        let forgotten = self.members.extract_if(.., |key, _| !plan.knows(*key));
        forgotten.for_each(|(_, member)| self.roster.strike(member.spec.name()));
    }

    fn end(mut self, verdict: Verdict) {
        for member in self.members.values_mut() {
            member.close(self.ordered.as_ref().map_or(&self.this.id, |order| &order.by));
        }
        match verdict {
            Verdict::Ordered | Verdict::Auto => {}
            Verdict::NotStarted(key) => self.tell_not_started(key),
            Verdict::GaveUp(key) => {
                let failure = self.gave_up(key);
                self.failures.insert(0, failure);
            }
        }
        if let Some(begun_tx) = self.begun_tx.take() {
            // Ended before it had begun: by the order, or with its last child.
            let (subject, canceller) = (self.this.id.clone(), self.canceller().clone());
            let _heard = begun_tx.send(Err(Error::Cancelled { subject, canceller }));
        }
        let failures = std::mem::take(&mut self.failures);
        self.membership.end(failures);
    }

    /// The failure is the starter's; or the nursery's, if the starter was dropped.
    fn tell_not_started(&mut self, key: Key) {
        let failure = self.members.get_mut(&key).and_then(|member| member.last.take());
        let failure = failure.unwrap_or_else(unheard);
        match self.begun_tx.take() {
            Some(begun_tx) => {
                if let Err(Err(unheard)) = begun_tx.send(Err(failure)) {
                    self.failures.push(unheard);
                }
            }
            None => self.failures.push(failure),
        }
    }

    fn gave_up(&mut self, key: Key) -> Error {
        let Some(member) = self.members.get_mut(&key) else { return unheard() };
        let gave_up = GaveUp {
            child: member.post.actor.clone(),
            at_most: self.limit.at_most,
            within: self.limit.within,
            history: self.roster.history(),
            last: member.last.take(),
        };
        log::gave_up(&gave_up);
        Error::GaveUp(Box::new(gave_up))
    }
}

/// Whether a child was just gone: it had not failed at what it was doing, and was not forced to end.
fn is_death(error: &Error) -> bool {
    let in_its_start = |failure: &StartFailure| failure.exit.is_some() && failure.cause.is_none();
    matches!(error, Error::ActorDied { .. } | Error::ChannelLost { .. })
        || matches!(error, Error::SpawnFailed(failure) if in_its_start(failure))
}

fn unheard() -> Error {
    Error::Bug("a keeper ended without a word".to_owned())
}

impl Member {
    /// Sets the next life going.
    fn launch(
        &self,
        this: &Arc<ThisActor>,
        incarnation: u64,
        end_to: LifeEndTo,
    ) -> Result<Launched> {
        let (options, id) = (self.spec.options.clone(), self.post.actor.clone());
        let draft = Draft::of_incarnation(Arc::clone(this), options, id, incarnation)?;
        let mut role = None;
        // The factory is the user's.
        catch_call(|| role = Some(self.spec.role(incarnation, &draft)))
            .map_err(|panic| panic.into_error(&this.id))?;
        let role = role.unwrap_or_else(|| Err(unheard()))?;
        draft.launch(role, |_| Ok(Owner::Crew(end_to)))
    }

    /// It does not run, and will not by itself.
    fn close(&mut self, canceller: &ActorId) {
        let latest = self.post.latest().and_then(|line| line.calls.ended());
        self.post.close(latest.unwrap_or_else(|| Ended::Cancelled { by: canceller.clone() }));
        if let Some(answer) = self.start_answer.take() {
            let cancelled = || Error::Cancelled {
                subject: self.post.actor.clone(),
                canceller: canceller.clone(),
            };
            let _heard = answer.send(Err(self.last.take().unwrap_or_else(cancelled)));
        }
        for answer in self.stop_answers.drain(..) {
            let _heard = answer.send(Ok(()));
        }
    }
}

/// A crew's place in its nursery. Given up with its failures; a crew that panics gives it up too, as the bug it is.
pub(super) struct Membership {
    pub(super) core: Arc<Core>,
    pub(super) place: u64,
    pub(super) bond: Arc<Bond>,
}

impl Membership {
    fn end(&mut self, failures: Vec<Error>) {
        self.bond.set_end(End { exit: None, teardown: Teardown::default() });
        self.core.on_end(self.place, failures);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.bond.end().is_none() {
            self.end(vec![Error::Bug("a supervisor ended before its children".to_owned())]);
        }
    }
}

impl Drop for Crew {
    /// A crew that panicked leaves nobody behind.
    fn drop(&mut self) {
        for life in self.members.values().filter_map(|member| member.life.as_ref()) {
            let by = self.this.id.clone();
            life.line.bond.order(Order { by, within: None, manner: Manner::Kill });
        }
    }
}
