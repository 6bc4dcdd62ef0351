//! The start of a child: its channel is made, all that can be said to it ahead is said, and its keeper begins.
//!
//! Used by `start`, for a nursery, and by `crew`, for a supervisor.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::child::{Assignment, Keeper, Owner};
use super::nursery::{Core, Member};
use super::options::Options;
use crate::actor::ThisActor;
use crate::error::{ActorId, Error, Result};
use crate::ipc::{Channel, stream_pair};
use crate::line::{Line, Manner, Order, Relation, Reply};
use crate::msg::{Dialogue, Form, LONGEST, Life, Message, Payload, Spec, Unpackable, Vars};
use crate::rpc::{Actor, Dialogues, Function, Host};
use crate::spawn::{Backend, Link, Request};

/// What the child is to be.
pub(super) struct Role {
    exposure: Vec<Cow<'static, str>>,
    state: Option<(Cow<'static, str>, Payload)>,
    life: Life,
    only_call: Option<OnlyCall>,
}

/// The call a one-shot is made for. It goes out behind the spec, before the child even exists.
struct OnlyCall {
    function: &'static str,
    fingerprint: u64,
    args: Payload,
    reply_tx: Option<oneshot::Sender<Reply>>,
}

/// The id of a one-shot's call; the table of calls begins at 1.
pub(super) const ONLY_CALL: u64 = 0;

impl Role {
    pub(super) fn actor<A: Actor>(init: A::Init, form: Form) -> Result<Role> {
        let init = Payload::pack(init, form)
            .map_err(|error| unsendable("the constructor's arguments", &error))?;
        Ok(Role {
            exposure: exposure(A::METHODS),
            state: Some((Cow::Borrowed(A::NAME), init)),
            life: Life::Daemon,
            only_call: None,
        })
    }

    pub(super) fn daemon(exposes: &[&'static str]) -> Role {
        Role { exposure: exposure(exposes), state: None, life: Life::Daemon, only_call: None }
    }

    pub(super) fn once<F: Function>(
        args: F::Args,
        form: Form,
        reply_tx: Option<oneshot::Sender<Reply>>,
    ) -> Result<Role> {
        let args = Payload::pack(args, form)
            .map_err(|error| unsendable("the function's arguments", &error))?;
        Ok(Role {
            exposure: exposure(&[F::NAME]),
            state: None,
            life: Life::OneShot,
            only_call: Some(OnlyCall {
                function: F::NAME,
                fingerprint: F::fingerprint(),
                args,
                reply_tx,
            }),
        })
    }
}

impl Role {
    /// And lets it serve one more function.
    pub(super) fn exposing(mut self, name: &'static str) -> Role {
        self.exposure.push(Cow::Borrowed(name));
        self
    }
}

fn exposure(names: &[&'static str]) -> Vec<Cow<'static, str>> {
    names.iter().map(|name| Cow::Borrowed(*name)).collect()
}

fn unsendable(what: &str, error: &Unpackable) -> Error {
    Error::Unsendable { what: what.to_owned(), reason: error.to_string() }
}

/// A child with its options decided and its channel made.
pub(super) struct Draft {
    this: Arc<ThisActor>,
    /// What the child knows of the tree; its backend is the one it is started on.
    vars: Vars,
    id: ActorId,
    incarnation: u64,
    options: Options,
    channel: Channel,
    link: Link,
}

/// A child that is on its way.
pub(super) struct Launched {
    pub(super) line: Arc<Line>,
    /// Whether it became ready.
    pub(super) ready_rx: oneshot::Receiver<Result<()>>,
}

impl Draft {
    /// Of a new actor, which has one life.
    pub(super) fn new(this: Arc<ThisActor>, options: Options) -> Result<Draft> {
        let id = ActorId { name: options.name.clone(), uuid: Uuid::new_v4() };
        Draft::of_incarnation(this, options, id, 0)
    }

    /// Of one of the lives of an actor.
    pub(super) fn of_incarnation(
        this: Arc<ThisActor>,
        options: Options,
        id: ActorId,
        incarnation: u64,
    ) -> Result<Draft> {
        let backend = options.backend.unwrap_or(this.vars.backend);
        let variables = this.vars.variables.overlaid(options.variables.clone())?;
        let vars = Vars { backend, timings: this.vars.timings, variables };
        let (channel, link) = open_channel(backend).map_err(|error| Error::System {
            what: "opening a channel to a new actor".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Draft { this, vars, id, incarnation, options, channel, link })
    }

    pub(super) fn form(&self) -> Form {
        self.channel.sender().form()
    }

    /// Starts the child in a nursery, and returns when it is ready.
    pub(super) async fn start(self, core: &Arc<Core>, role: Role) -> Result<Arc<Line>> {
        let this = Arc::clone(&self.this);
        let Launched { line, ready_rx } = self.launch(role, |line| {
            let place = core.admit(Member::Actor(Arc::clone(line)))?;
            Ok(Owner::Nursery { core: Arc::clone(core), place })
        })?;
        let mut awaited = Awaited { line: Some(line), this };
        let told = ready_rx.await;
        let line = awaited.line.take();
        told.unwrap_or_else(|_| Err(Error::Bug("a keeper ended without a word".to_owned())))?;
        line.ok_or_else(|| Error::Bug("a start was done twice".to_owned()))
    }

    /// Sets the child going, in the care of a keeper. Who owns it is told its end, whatever comes of it.
    pub(super) fn launch(
        self,
        role: Role,
        owned_by: impl FnOnce(&Arc<Line>) -> Result<Owner>,
    ) -> Result<Launched> {
        let Draft { this, vars, id, incarnation, options, channel, link } = self;
        let backend = vars.backend;
        let out = channel.sender().clone();
        let reply_tx = greet(&out, &this, vars, incarnation, role);
        let line =
            Line::of_incarnation(id.clone(), out, Relation::Child, this.id.uuid, incarnation);
        let offered = options.offers.resolve()?;
        let dialogues = Dialogues::new(Host::here()?, Arc::clone(&line), offered);
        let owner = owned_by(&line)?;
        let (ready_tx, ready_rx) = oneshot::channel();
        let boot_within = options.boot_deadline.unwrap_or(this.vars.timings.boot).min(LONGEST);
        let request = Request {
            name: id.name,
            uuid: id.uuid,
            link,
            entry: crate::boot::entry,
            env: options.env,
            program: options.program,
        };
        let assignment = Assignment {
            this: Arc::clone(&this),
            owner,
            line: Arc::clone(&line),
            dialogues,
            channel,
            backend,
            boot_within,
            ready_tx,
            reply_tx,
        };
        keep(&this, assignment, request);
        Ok(Launched { line, ready_rx })
    }
}

/// Begins the child's life. Apart, because what is large on the way there would be in the frame of whoever awaits the start, and
/// each page of that is copied after each fork.
#[inline(never)]
fn keep(this: &ThisActor, assignment: Assignment, request: Request) {
    this.tasks.spawn_boxed(Box::pin(Keeper::new(assignment).run(request)));
}

/// All that can be said to a child before it exists: it finds it in its channel when it boots.
fn greet(
    out: &crate::ipc::Sender,
    this: &ThisActor,
    vars: Vars,
    incarnation: u64,
    role: Role,
) -> Option<oneshot::Sender<Reply>> {
    let Role { exposure, state, life, only_call } = role;
    let spec = Spec { parent: this.id.clone(), incarnation, vars, exposure, state, life };
    let hello = Message::hello(this.id.clone(), this.incarnation());
    let (call, reply_tx) = match only_call {
        Some(OnlyCall { function, fingerprint, args, reply_tx }) => {
            let function = Cow::Borrowed(function);
            (Some(Dialogue::Call { id: ONLY_CALL, function, fingerprint, args }.into()), reply_tx)
        }
        None => (None, None),
    };
    for message in [hello, Message::Spec(Box::new(spec))].into_iter().chain(call) {
        // The queue is new, and its other end in our hands.
        let _pushed = out.push(message);
    }
    reply_tx
}

fn open_channel(backend: Backend) -> io::Result<(Channel, Link)> {
    if backend.is_process() {
        let (ours, theirs) = stream_pair()?;
        Ok((Channel::over_socket(ours)?, Link::Socket(theirs)))
    } else {
        let (channel, end) = Channel::in_memory();
        Ok((channel, Link::Memory(Box::new(end))))
    }
}

/// A start that is awaited. Dropped before the line is taken from it, it cancels the child.
struct Awaited {
    line: Option<Arc<Line>>,
    this: Arc<ThisActor>,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            let within = self.this.remaining(Instant::now());
            line.bond.order(Order { by: self.this.id.clone(), within, manner: Manner::Ask });
        }
    }
}
