//! What is chosen about a child before it is started, and the start.

use std::future::IntoFuture;
use std::marker::PhantomData;
use std::pin::Pin;

use tokio::sync::oneshot;

use super::draft::{Draft, Role};
use super::nursery::Nursery;
use super::one_shot::OneShot;
use super::options::{Options, setters};
use crate::error::Result;
use crate::rpc::{Actor, Function, Portal, Remote};

/// A child that is about to be started: choose options, then await it.
///
/// Awaiting returns when the child is ready.
///
/// # Errors
/// [`Error::SpawnFailed`](crate::Error::SpawnFailed) as soon as the child has ended instead of being ready, or never came to be;
/// [`Error::BootDeadline`](crate::Error::BootDeadline); [`Error::Unsupported`](crate::Error::Unsupported) for what its backend cannot do; [`Error::Cancelled`](crate::Error::Cancelled) if the nursery was
/// cancelled; [`Error::NoRuntime`](crate::Error::NoRuntime) outside the nursery's actor.
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

impl<'n, T> Start<'n, T> {
    fn new(nursery: &'n Nursery, name: String, target: T) -> Start<'n, T> {
        Start { nursery, options: Options::new(name), target }
    }

    fn retarget<U>(self, target: impl FnOnce(T) -> U) -> Start<'n, U> {
        Start { nursery: self.nursery, options: self.options, target: target(self.target) }
    }

    setters!();
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

    /// Lets the actor serve `F`. Whatever is not exposed is answered [`Error::NotExposed`](crate::Error::NotExposed).
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
            let draft = Draft::new(nursery.this()?, options)?;
            let role = Role::actor::<A>(init, draft.form())?;
            Ok(A::Handle::from(Portal::new(draft.start(nursery.core(), role).await?)))
        })
    }
}

impl<'n> IntoFuture for Start<'n, target::Daemon> {
    type Output = Result<Portal>;
    type IntoFuture = Starting<'n, Portal>;

    fn into_future(self) -> Starting<'n, Portal> {
        let Start { nursery, options, target: target::Daemon { exposure } } = self;
        Box::pin(async move {
            let draft = Draft::new(nursery.this()?, options)?;
            Ok(Portal::new(draft.start(nursery.core(), Role::daemon(&exposure)).await?))
        })
    }
}

impl<'n, F: Function> IntoFuture for Start<'n, target::Once<F>> {
    type Output = Result<OneShot<F>>;
    type IntoFuture = Starting<'n, OneShot<F>>;

    fn into_future(self) -> Starting<'n, OneShot<F>> {
        let Start { nursery, options, target: target::Once(args) } = self;
        Box::pin(async move {
            let draft = Draft::new(nursery.this()?, options)?;
            let (reply_tx, reply_rx) = oneshot::channel();
            let role = Role::once::<F>(args, draft.form(), Some(reply_tx))?;
            Ok(OneShot::new(draft.start(nursery.core(), role).await?, reply_rx))
        })
    }
}
