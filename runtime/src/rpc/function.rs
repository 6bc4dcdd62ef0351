//! What can be called, and how it is found by name.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::RwLock;

use super::fingerprint::{context_fingerprint_of, fingerprint_of};
use super::portal::Portal;
use crate::actor;
use crate::error::{Error, RemoteError};
use crate::line::Strand;
use crate::msg::{BootFailure, Failure, Form, Payload, shown};

/// Something that can be called in another actor: a function, or a method of an actor. Written by the macros.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that another actor can run",
    label = "not a remote function",
    note = "put `#[runtime::remote]` on the `async fn`, and name it here"
)]
pub trait Remote: 'static {
    /// Unique in the program.
    const NAME: &'static str;
    /// A tuple.
    type Args: Serialize + DeserializeOwned + Send + 'static;
    /// What it returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// What it may fail with; [`Never`](crate::Never) if it returns no `Result`.
    type Error: StdError + Serialize + DeserializeOwned + Send + 'static;
    /// Of the names of its types: a program that has others for the function is refused. What the macros write keeps it.
    #[doc(hidden)]
    fn fingerprint() -> u64
    where
        Self: Sized,
    {
        fingerprint_of::<Self>()
    }
}

/// A free function that can be called in another actor. Written by [`#[remote]`](macro@crate::remote).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no function that another actor can run",
    label = "not a remote function",
    note = "put `#[runtime::remote]` on the `async fn`, and name it here; methods are called on the actor's handle, contexts and streams opened by `Portal::context` and `Portal::stream`"
)]
pub trait Function: Remote {
    /// Runs it here.
    #[doc(hidden)]
    fn run(args: Self::Args) -> impl Future<Output = Result<Self::Output, Self::Error>> + 'static;
}

/// A method of an actor. Written by [`#[actor]`](macro@crate::actor).
#[doc(hidden)]
pub trait Method: Remote {
    type Actor: 'static;
    fn run(
        state: State<Self::Actor>,
        args: Self::Args,
    ) -> impl Future<Output = Result<Self::Output, Self::Error>> + 'static;
}

/// A function that runs in a context, a task linked with one in another actor. Written by [`#[context]`](macro@crate::context).
pub trait ContextFunction: Remote {
    /// What it says when it is under way.
    type Started: Serialize + DeserializeOwned + Send + 'static;
    /// What it receives from the stream.
    type Receives: Serialize + DeserializeOwned + Send + 'static;
    /// What it sends into the stream.
    type Sends: Serialize + DeserializeOwned + Send + 'static;
    /// As [`Remote::fingerprint`], with these types.
    #[doc(hidden)]
    fn context_fingerprint() -> u64
    where
        Self: Sized,
    {
        context_fingerprint_of::<Self>()
    }
}

/// The end of a context that is to be served.
#[doc(hidden)]
pub struct Seed(pub(crate) Arc<Strand>);

/// A free [`ContextFunction`].
#[doc(hidden)]
pub trait FreeContext: ContextFunction {
    fn run(
        seed: Seed,
        args: Self::Args,
    ) -> impl Future<Output = Result<Self::Output, Self::Error>> + 'static;
}

/// A [`ContextFunction`] that is a method of an actor.
#[doc(hidden)]
pub trait MethodContext: ContextFunction {
    type Actor: 'static;
    fn run(
        state: State<Self::Actor>,
        seed: Seed,
        args: Self::Args,
    ) -> impl Future<Output = Result<Self::Output, Self::Error>> + 'static;
}

/// The state of an actor: read by methods that take `&self`, any number at a time; written by those that take `&mut self`,
/// one at a time. Who comes first is served first.
#[doc(hidden)]
pub type State<A> = Rc<RwLock<A>>;

/// A type whose methods can be called in another actor. Written by [`#[actor]`](macro@crate::actor).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no actor",
    label = "not an actor",
    note = "put `#[runtime::actor]` on the `impl` block with its methods"
)]
pub trait Actor: Sized + 'static {
    /// Unique in the program.
    #[doc(hidden)]
    const NAME: &'static str;
    /// What its constructor takes: a tuple, empty if there is none but `Default`.
    type Init: Serialize + DeserializeOwned + Send + 'static;
    /// What its constructor may fail with.
    type InitError: StdError + Serialize + DeserializeOwned + Send + 'static;
    /// What its parent calls it by: its methods, and those of the [`Portal`] it derefs to.
    type Handle: From<Portal>;
    /// The names of its methods: what an actor started from it exposes.
    #[doc(hidden)]
    const METHODS: &'static [&'static str];
    /// Makes the state, in the actor.
    #[doc(hidden)]
    fn construct(init: Self::Init)
    -> impl Future<Output = Result<Self, Self::InitError>> + 'static;
}

/// `Result`, whatever it is called where the macros meet it.
#[doc(hidden)]
pub trait Fallible {
    type Output;
    type Error;
    fn into_result(self) -> Result<Self::Output, Self::Error>;
}

impl<T, E> Fallible for Result<T, E> {
    type Output = T;
    type Error = E;
    fn into_result(self) -> Result<T, E> {
        self
    }
}

/// Everything in this program that can be called in another actor.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static ENTRIES: [Entry];

/// One thing that can be called.
#[doc(hidden)]
pub struct Entry {
    name: &'static str,
    /// None for a constructor, which no call names.
    fingerprint: Option<fn() -> u64>,
    kind: Kind,
}

enum Kind {
    Function(fn(Payload, Form) -> Running),
    Method(fn(AnyState, Payload, Form) -> Running),
    Context(fn(Seed, Payload) -> Running),
    MethodContext(fn(AnyState, Seed, Payload) -> Running),
    Constructor(fn(Payload) -> Constructing),
}

/// An actor's state without its type.
pub(crate) type AnyState = Rc<dyn Any>;
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<Payload, Failure>>>>;
pub(crate) type Constructing = Pin<Box<dyn Future<Output = Result<AnyState, BootFailure>>>>;

impl Entry {
    pub const fn function<F: Function>() -> Entry {
        let kind = Kind::Function(run_function::<F>);
        Entry { name: F::NAME, fingerprint: Some(F::fingerprint), kind }
    }

    pub const fn method<M: Method>() -> Entry {
        let kind = Kind::Method(run_method::<M>);
        Entry { name: M::NAME, fingerprint: Some(M::fingerprint), kind }
    }

    pub const fn context<C: FreeContext>() -> Entry {
        let kind = Kind::Context(run_context::<C>);
        Entry { name: C::NAME, fingerprint: Some(C::context_fingerprint), kind }
    }

    pub const fn method_context<C: MethodContext>() -> Entry {
        let kind = Kind::MethodContext(run_method_context::<C>);
        Entry { name: C::NAME, fingerprint: Some(C::context_fingerprint), kind }
    }

    pub const fn constructor<A: Actor>() -> Entry {
        Entry { name: A::NAME, fingerprint: None, kind: Kind::Constructor(run_constructor::<A>) }
    }

    /// Begins a call. `None`: it is not something a call can name, or the actor has no state of the right type.
    pub(crate) fn begin(
        &self,
        state: Option<&AnyState>,
        args: Payload,
        form: Form,
    ) -> Option<Running> {
        match self.kind {
            Kind::Function(run) => Some(run(args, form)),
            Kind::Method(run) => state.map(|state| run(Rc::clone(state), args, form)),
            Kind::Context(_) | Kind::MethodContext(_) | Kind::Constructor(_) => None,
        }
    }

    /// Begins a context, whose end here is `strand`. `None`: it is not something that runs in one, or as for a call.
    pub(crate) fn begin_context(
        &self,
        state: Option<&AnyState>,
        strand: Arc<Strand>,
        args: Payload,
    ) -> Option<Running> {
        let seed = Seed(strand);
        match self.kind {
            Kind::Context(run) => Some(run(seed, args)),
            Kind::MethodContext(run) => state.map(|state| run(Rc::clone(state), seed, args)),
            Kind::Function(_) | Kind::Method(_) | Kind::Constructor(_) => None,
        }
    }

    /// Whether a caller that has this fingerprint of it means this very function.
    pub(crate) fn is_meant(&self, fingerprint: u64) -> bool {
        self.fingerprint.is_some_and(|own| own() == fingerprint)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Begins to make an actor's state. `None`: it is no constructor.
    pub(crate) fn construct(&self, init: Payload) -> Option<Constructing> {
        match self.kind {
            Kind::Constructor(run) => Some(run(init)),
            Kind::Function(_) | Kind::Method(_) | Kind::Context(_) | Kind::MethodContext(_) => None,
        }
    }
}

fn run_function<F: Function>(args: Payload, form: Form) -> Running {
    Box::pin(async move {
        let args = unpack_args::<F>(args)?;
        pack_result::<F>(F::run(args).await, form)
    })
}

fn run_method<M: Method>(state: AnyState, args: Payload, form: Form) -> Running {
    Box::pin(async move {
        // An exposure is made from the type whose constructor made the state.
        let Ok(state) = state.downcast::<RwLock<M::Actor>>() else {
            return Err(Failure::NotExposed);
        };
        let args = unpack_args::<M>(args)?;
        pack_result::<M>(M::run(state, args).await, form)
    })
}

fn run_context<C: FreeContext>(seed: Seed, args: Payload) -> Running {
    Box::pin(async move {
        let (args, form) = (unpack_args::<C>(args)?, seed.0.form());
        pack_result::<C>(C::run(seed, args).await, form)
    })
}

fn run_method_context<C: MethodContext>(state: AnyState, seed: Seed, args: Payload) -> Running {
    Box::pin(async move {
        let Ok(state) = state.downcast::<RwLock<C::Actor>>() else {
            return Err(Failure::NotExposed);
        };
        let (args, form) = (unpack_args::<C>(args)?, seed.0.form());
        pack_result::<C>(C::run(state, seed, args).await, form)
    })
}

fn run_constructor<A: Actor>(init: Payload) -> Constructing {
    Box::pin(async move {
        let init = init.unpack::<A::Init>().map_err(|error| BootFailure::Arguments {
            constructor: shown(A::NAME).to_owned(),
            reason: error.to_string(),
        })?;
        match A::construct(init).await {
            Ok(state) => Ok(Rc::new(RwLock::new(state)) as AnyState),
            Err(error) => Err(BootFailure::Construct(RemoteError::returned(&here(), error))),
        }
    })
}

fn unpack_args<R: Remote>(args: Payload) -> Result<R::Args, Failure> {
    args.unpack().map_err(|error| Failure::Unsendable {
        what: format!("the arguments of {}", shown(R::NAME)),
        reason: error.to_string(),
    })
}

fn pack_result<R: Remote>(
    result: Result<R::Output, R::Error>,
    form: Form,
) -> Result<Payload, Failure> {
    let value = result.map_err(|error| Failure::Returned(RemoteError::returned(&here(), error)))?;
    Payload::pack(value, form).map_err(|error| Failure::Unsendable {
        what: format!("the value of {}", shown(R::NAME)),
        reason: error.to_string(),
    })
}

/// Who an error is said to come from. Entries run in actors only; the nil actor stands for a bug, visibly.
fn here() -> crate::error::ActorId {
    actor::this().map_or_else(
        |_| crate::error::ActorId { name: "(no actor)".to_owned(), uuid: uuid::Uuid::nil() },
        |this| this.id.clone(),
    )
}

/// What one actor lets others call. Empty unless something is added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposes {
    names: Vec<&'static str>,
}

impl Exposes {
    /// And `F`.
    #[must_use]
    pub fn function<F: Remote>(mut self) -> Exposes {
        self.names.push(F::NAME);
        self
    }

    pub(crate) fn resolve(&self) -> Result<Exposure, Error> {
        let names: Vec<_> = self.names.iter().map(|name| Cow::Borrowed(*name)).collect();
        Exposure::resolve(&names).map_err(|refused| Error::System {
            what: "exposing a function".to_owned(),
            reason: refused.to_string(),
        })
    }
}

/// What an actor serves: looked up once, when it boots.
#[derive(Default)]
pub(crate) struct Exposure {
    entries: HashMap<&'static str, &'static Entry>,
}

impl Exposure {
    pub(crate) fn resolve(names: &[Cow<'static, str>]) -> Result<Exposure, BootFailure> {
        let entries: Result<_, _> =
            names.iter().map(|name| find(name).map(|entry| (entry.name, entry))).collect();
        Ok(Exposure { entries: entries? })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'static Entry> {
        self.entries.get(name).copied()
    }
}

/// The one entry of that name.
pub(crate) fn find(name: &str) -> Result<&'static Entry, BootFailure> {
    let mut found = ENTRIES.iter().filter(|entry| entry.name == name);
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry),
        (None, _) => Err(BootFailure::Unknown { function: shown(name).to_owned() }),
        (Some(_), Some(_)) => Err(BootFailure::Ambiguous { function: shown(name).to_owned() }),
    }
}
