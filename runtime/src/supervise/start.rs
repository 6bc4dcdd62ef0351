//! What is chosen about a child before it is started, and the start.

use std::borrow::Cow;
use std::ffi::OsString;
use std::future::IntoFuture;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::child::{Assignment, Keeper};
use super::nursery::Nursery;
use super::one_shot::OneShot;
use crate::actor::{self, ThisActor};
use crate::error::{ActorId, Error, Result};
use crate::ipc::Channel;
use crate::line::{Line, Manner, Order, Relation, Reply};
use crate::msg::{Dialogue, Form, Life, Message, PROTOCOL, Payload, Spec, Unpackable, Vars};
use crate::rpc::{Actor, Dialogues, Exposes, Function, Host, Portal, Remote};
use crate::spawn::{Backend, Link, Request};
use crate::variables::Variables;

/// A child that is about to be started: choose options, then await it.
///
/// Awaiting returns when the child is ready.
///
/// # Errors
/// [`Error::SpawnFailed`] as soon as the child has ended instead of being ready, or never came to be;
/// [`Error::BootDeadline`]; [`Error::Unsupported`] for what its backend cannot do; [`Error::Cancelled`] if the nursery was
/// cancelled; [`Error::NoRuntime`] outside the nursery's actor.
///
/// # Cancel safety
/// Dropping the future cancels the child.
#[must_use = "an actor is started by awaiting this"]
pub struct Start<'n, T> {
    nursery: &'n Nursery,
    options: Options,
    target: T,
}

/// What is started: the kinds of [`Start`].
pub mod target {
    use std::marker::PhantomData;

    /// An actor of type `A`, not yet given its constructor's arguments.
    pub struct Typed<A>(pub(super) PhantomData<fn() -> A>);

    /// An actor of type `A` with its constructor's arguments.
    pub struct Given<A: crate::Actor>(pub(super) A::Init);

    /// An actor for free functions.
    #[derive(Default)]
    pub struct Daemon {
        pub(super) exposure: Vec<&'static str>,
    }

    /// An actor for one call of `F`.
    pub struct Once<F: crate::Function>(pub(super) F::Args);
}

struct Options {
    name: String,
    backend: Option<Backend>,
    env: Vec<(OsString, Option<OsString>)>,
    program: Option<PathBuf>,
    offers: Exposes,
    boot_deadline: Option<Duration>,
    variables: Variables,
}

impl<'n, T> Start<'n, T> {
    fn new(nursery: &'n Nursery, name: String, target: T) -> Start<'n, T> {
        let options = Options {
            name,
            backend: None,
            env: Vec::new(),
            program: None,
            offers: Exposes::default(),
            boot_deadline: None,
            variables: Variables::new(),
        };
        Start { nursery, options, target }
    }

    fn retarget<U>(self, target: impl FnOnce(T) -> U) -> Start<'n, U> {
        Start { nursery: self.nursery, options: self.options, target: target(self.target) }
    }

    /// How the child comes to be. Default: as this actor did; for a root, as its configuration says.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.options.backend = Some(backend);
        self
    }

    /// Sets a variable of the child's environment. Not on `thread`, which has none of its own.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.options.env.push((name.into(), Some(value.into())));
        self
    }

    /// Removes a variable from the child's environment. Not on `thread`.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.options.env.push((name.into(), None));
        self
    }

    /// Another program than this one, which must begin with [`divert`](crate::divert). On `exec` only.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.program = Some(path.into());
        self
    }

    /// Lets the child call `F` in this actor, by [`ActorInfo::parent_portal`](crate::ActorInfo::parent_portal): beside what this
    /// actor exposes to all.
    pub fn offer<F: Remote>(mut self) -> Self {
        self.options.offers = self.options.offers.function::<F>();
        self
    }

    /// How long the child may take to be ready before it is killed. Default: the tree's [`Timings`](crate::Timings).
    pub fn boot_deadline(mut self, deadline: Duration) -> Self {
        self.options.boot_deadline = Some(deadline);
        self
    }

    /// Sets a runtime variable of the child and all below it, over the one of that type it would inherit; see
    /// [`ActorInfo::var`](crate::ActorInfo::var).
    pub fn var<V: Serialize + DeserializeOwned + 'static>(mut self, value: &V) -> Self {
        self.options.variables = self.options.variables.with(value);
        self
    }
}

impl<'n, A: Actor> Start<'n, target::Typed<A>> {
    pub(super) fn typed(nursery: &'n Nursery, name: String) -> Self {
        Start::new(nursery, name, target::Typed(PhantomData))
    }

    /// The arguments of the actor's constructor, as a tuple.
    pub fn with(self, init: A::Init) -> Start<'n, target::Given<A>> {
        self.retarget(|_| target::Given(init))
    }
}

impl<'n> Start<'n, target::Daemon> {
    pub(super) fn daemon(nursery: &'n Nursery, name: String) -> Self {
        Start::new(nursery, name, target::Daemon::default())
    }

    /// Lets the actor serve `F`. Whatever is not exposed is answered [`Error::NotExposed`].
    pub fn expose<F: Remote>(mut self) -> Self {
        self.target.exposure.push(F::NAME);
        self
    }
}

impl<'n, F: Function> Start<'n, target::Once<F>> {
    pub(super) fn once(nursery: &'n Nursery, name: String, args: F::Args) -> Self {
        Start::new(nursery, name, target::Once(args))
    }
}

type Starting<'n, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'n>>;

impl<'n, A: Actor<Init = ()>> IntoFuture for Start<'n, target::Typed<A>> {
    type Output = Result<A::Handle>;
    type IntoFuture = Starting<'n, A::Handle>;

    fn into_future(self) -> Starting<'n, A::Handle> {
        self.with(()).into_future()
    }
}

impl<'n, A: Actor> IntoFuture for Start<'n, target::Given<A>> {
    type Output = Result<A::Handle>;
    type IntoFuture = Starting<'n, A::Handle>;

    fn into_future(self) -> Starting<'n, A::Handle> {
        let Start { nursery, options, target: target::Given(init) } = self;
        Box::pin(async move {
            let draft = Draft::new(nursery, options)?;
            let init = Payload::pack(init, draft.form())
                .map_err(|error| unsendable("the constructor's arguments", &error))?;
            let role = Role {
                exposure: A::METHODS,
                state: Some((Cow::Borrowed(A::NAME), init)),
                life: Life::Daemon,
            };
            let line = draft.start(role, None).await?;
            Ok(A::Handle::from(Portal::new(line)))
        })
    }
}

impl<'n> IntoFuture for Start<'n, target::Daemon> {
    type Output = Result<Portal>;
    type IntoFuture = Starting<'n, Portal>;

    fn into_future(self) -> Starting<'n, Portal> {
        let Start { nursery, options, target: target::Daemon { exposure } } = self;
        Box::pin(async move {
            let role = Role { exposure: &exposure, state: None, life: Life::Daemon };
            Ok(Portal::new(Draft::new(nursery, options)?.start(role, None).await?))
        })
    }
}

impl<'n, F: Function> IntoFuture for Start<'n, target::Once<F>> {
    type Output = Result<OneShot<F>>;
    type IntoFuture = Starting<'n, OneShot<F>>;

    fn into_future(self) -> Starting<'n, OneShot<F>> {
        let Start { nursery, options, target: target::Once(args) } = self;
        Box::pin(async move {
            let draft = Draft::new(nursery, options)?;
            let args = Payload::pack(args, draft.form())
                .map_err(|error| unsendable("the function's arguments", &error))?;
            let (reply_tx, reply_rx) = oneshot::channel();
            let call = OnlyCall { function: F::NAME, args, reply_tx };
            let role = Role { exposure: &[F::NAME], state: None, life: Life::OneShot };
            let line = draft.start(role, Some(call)).await?;
            Ok(OneShot::new(line, reply_rx))
        })
    }
}

fn unsendable(what: &str, error: &Unpackable) -> Error {
    Error::Unsendable { what: what.to_owned(), reason: error.to_string() }
}

/// What the child is to be.
struct Role<'a> {
    exposure: &'a [&'static str],
    state: Option<(Cow<'static, str>, Payload)>,
    life: Life,
}

/// The call a one-shot is made for. It goes out behind the spec, before the child even exists.
struct OnlyCall {
    function: &'static str,
    args: Payload,
    reply_tx: oneshot::Sender<Reply>,
}

/// The id of a one-shot's call; the table of calls begins at 1.
pub(super) const ONLY_CALL: u64 = 0;

/// A child with its options decided and its channel made.
struct Draft<'n> {
    nursery: &'n Nursery,
    this: Arc<ThisActor>,
    /// What the child knows of the tree; its backend is the one it is started on.
    vars: Vars,
    id: ActorId,
    options: Options,
    channel: Channel,
    link: Link,
}

impl<'n> Draft<'n> {
    fn new(nursery: &'n Nursery, options: Options) -> Result<Draft<'n>> {
        let this = actor::this()?;
        // A keeper runs on the thread of the actor that owns it.
        if !Arc::ptr_eq(&this, &nursery.core().this) {
            return Err(Error::NoRuntime);
        }
        let backend = options.backend.unwrap_or(this.vars.backend);
        let variables = this.vars.variables.overlaid(options.variables.clone())?;
        let vars = Vars { backend, timings: this.vars.timings, variables };
        let (channel, link) = open_channel(backend).map_err(|error| Error::System {
            what: "opening a channel to a new actor".to_owned(),
            reason: error.to_string(),
        })?;
        let id = ActorId { name: options.name.clone(), uuid: Uuid::new_v4() };
        Ok(Draft { nursery, this, vars, id, options, channel, link })
    }

    fn form(&self) -> Form {
        self.channel.sender().form()
    }

    /// Starts the child and returns when it is ready.
    async fn start(self, role: Role<'_>, only_call: Option<OnlyCall>) -> Result<Arc<Line>> {
        let Draft { nursery, this, vars, id, options, channel, link } = self;
        let backend = vars.backend;
        let out = channel.sender().clone();
        let reply_tx = greet(&out, &this, vars, role, only_call);
        let line = Line::new(id.clone(), out, Relation::Child);
        let offered = options.offers.resolve()?;
        let dialogues = Dialogues::new(Host::here()?, Arc::clone(&line), offered);
        let place = nursery.core().admit(&line)?;
        let (ready_tx, ready_rx) = oneshot::channel();
        let boot_within = options.boot_deadline.unwrap_or(this.vars.timings.boot);
        let request = Request {
            name: id.name,
            uuid: id.uuid,
            link,
            entry: crate::boot::entry,
            env: options.env,
            program: options.program,
        };
        let assignment = Assignment {
            core: Arc::clone(nursery.core()),
            place,
            line: Arc::clone(&line),
            dialogues,
            channel,
            backend,
            boot_within,
            ready_tx,
            reply_tx,
        };
        this.tasks.spawn(Keeper::new(assignment).run(request));
        let mut awaited = Awaited { line: Some(line), this };
        let told = ready_rx.await;
        let line = awaited.line.take();
        told.unwrap_or_else(|_| Err(Error::Bug("a keeper ended without a word".to_owned())))?;
        line.ok_or_else(|| Error::Bug("a start was done twice".to_owned()))
    }
}

/// All that can be said to a child before it exists: it finds it in its channel when it boots.
fn greet(
    out: &crate::ipc::Sender,
    this: &ThisActor,
    vars: Vars,
    role: Role<'_>,
    only_call: Option<OnlyCall>,
) -> Option<oneshot::Sender<Reply>> {
    let spec = Spec {
        parent: this.id.clone(),
        vars,
        exposure: role.exposure.iter().map(|name| Cow::Borrowed(*name)).collect(),
        state: role.state,
        life: role.life,
    };
    let hello =
        Message::Hello { protocol: PROTOCOL, actor: this.id.clone(), pid: std::process::id() };
    let (call, reply_tx) = match only_call {
        Some(OnlyCall { function, args, reply_tx }) => (
            Some(Dialogue::Call { id: ONLY_CALL, function: Cow::Borrowed(function), args }.into()),
            Some(reply_tx),
        ),
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

/// Both ends close on exec and do not block, from birth.
fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?)
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
