//! A structured-concurrency actor runtime on tokio.
//!
//! An *actor* is a tree of async tasks with a memory domain and a scheduler of its own: a process, or a thread. Actors form a
//! supervised tree and talk only by messages. A *nursery* is the scope that owns children: it ends when all of them have ended
//! and been reaped, and when one fails the others are cancelled. The same program runs on every spawn [`Backend`].
//!
//! `README.md` has a first program, `examples/` has more.
//!
//! The modules, each using only those above it:
//!
//! ```text
//! watch       descriptors in the scheduler's care
//! spawn       how a child comes to be, per backend; knows no protocol
//! error       what can go wrong, as values
//! variables   typed values handed down the tree
//! log         what of that is logged, and in which spans
//! trace       the point that every change of an actor's state passes
//! parcel      descriptors on their way with a value
//! msg         what parent and child say to each other, as bytes
//! ipc         channels; knows no process
//! line        what there is between this actor and another: calls in flight, the other's end
//! actor       this actor: who it is, the tasks it owns, what it was told of its end
//! rpc         functions, portals, calls, and serving them
//! context     tasks in two actors, linked
//! stream      what the two say to each other, and what is made of it
//! channel     channels of the user's own, whose ends go wherever values go
//! boot        how a program and each of its actors begin and end
//! supervise   nurseries, the life of a child, the kill ladder: joins ipc and spawn, starts what boot runs
//! cluster     several actors of a type at once, one function in an actor of its own
//! pubsub      one producer, subscribers in other actors
//! resource    what several tasks of an actor share, opened by the first and closed after the last
//! scope       deadlines, cancels and shields for any work of an actor
//! ```

pub mod spawn;
pub mod trace;

mod actor;
mod boot;
mod channel;
mod cluster;
mod context;
mod error;
mod ipc;
mod line;
mod log;
mod msg;
mod parcel;
mod pubsub;
mod resource;
mod rpc;
mod scope;
mod stream;
mod supervise;
mod variables;
mod watch;

pub use actor::{ActorInfo, current};
pub use boot::{Config, Guard, RootConfig, block_on_root, divert, init, interrupt, on_actor_start};
pub use channel::{ChannelReceiver, ChannelSender, channel};
pub use cluster::{Cluster, ClusterEnd, to_actor};
pub use context::{Context, Opened, Opening, Started, gather_contexts};
pub use error::{
    ActorId, CallError, Death, Error, GaveUp, Group, Never, PanicLocation, RemoteError, Result,
    Rung, RungTaken, StartFailure, StartStep, Teardown, UserError,
};
pub use line::Presence;
pub use msg::{FRAME_LIMIT_BYTES, Overrun, Timings};
pub use pubsub::{Publisher, publish};
pub use resource::{Lease, Provide, maybe_open_context};
pub use rpc::{Actor, ContextFunction, Exposes, Function, Portal, Remote};
/// For `impl Counter` comes `CounterHandle`, with the same methods, each returning a [`Result`] with a [`CallError`], and those of a
/// [`Portal`]. Methods that take `&self` run side by side; one that takes `&mut self` runs alone, and who comes first is served
/// first. Functions that are not `async`, and those without a receiver, are left to the type's own use.
///
/// The state is made in the actor, by `new` if the block has one (it may take arguments, be `async`, and return a `Result`), else by
/// [`Default`]. A method that panics fails its call; the state is kept as the panic left it.
///
/// The handle is as visible as the most visible function of the block; `#[runtime::actor(pub)]` says otherwise.
pub use runtime_macros::actor;
/// The first parameter is a [`Context`], the others are the arguments and are sent, as for [`macro@remote`]. The function stays what
/// it is; beside it comes a type of the same name, for [`Portal::context`] and [`Start::expose`]. On a method in an
/// [`macro@actor`]'s block, the handle gets a method that returns an [`Opening`].
///
/// ```
/// use runtime::{Context, Never, Portal};
///
/// #[runtime::context]
/// async fn spell(cx: Context<usize, Never, char>, word: String) -> runtime::Result<()> {
///     let cx = cx.started(word.len()).await?;
///     let stream = cx.open_stream()?;
///     for letter in word.chars() {
///         stream.send(letter).await?;
///     }
///     Ok(())
/// }
///
/// async fn read(portal: Portal) -> runtime::Result<String> {
///     let opening = portal.context::<spell>(("context".to_owned(),));
///     let spelled = opening.open(async |cx| {
///         let mut word = String::with_capacity(*cx.first());
///         let mut stream = cx.open_stream()?;
///         while let Some(letter) = stream.recv().await? {
///             word.push(letter);
///         }
///         Ok(word)
///     });
///     Ok(spelled.await?)
/// }
/// # fn main() {}
/// ```
pub use runtime_macros::context;
/// The function takes nothing and returns what a `main` may. Before it runs, a process that was started to be an actor is
/// diverted to be that; after it, all of its tree has ended. The root actor runs on a thread of its own, named `root`; the main
/// thread serves `thread_forkserver`. The variable `RUNTIME_BACKEND` names the backend of children for which none is named.
///
/// A program that needs its own `main` calls [`divert`], [`init`] and [`block_on_root`] instead.
pub use runtime_macros::main;
/// The function stays what it is. Beside it comes a type of the same name, for [`Portal::call`], [`Start::expose`] and
/// [`Nursery::run_in_actor`]. Arguments and result are sent, so they are owned and serialisable; if it returns a `Result`, so is
/// its error, and implements [`std::error::Error`]. [`Error`] is such an error: a function that returns [`Result<T>`](Result) passes
/// on whatever went wrong.
pub use runtime_macros::remote;
/// The first parameter is the [`Sender`] it sends into, the others are the arguments, as for [`macro@remote`]. For [`Portal::stream`]
/// and [`Start::expose`]; on a method, the handle gets a method that returns a [`Listening`]. The stream ends when the function
/// returns.
pub use runtime_macros::stream;
/// The function is `async`, takes nothing, and returns what a test may. It runs as the body of a root actor, in a process of its own,
/// which has threads only once [`init`] has run, so actors work on every backend. It is a test like any other under
/// `cargo test` and `cargo nextest run`: filtered by its name, its output captured, `#[should_panic]` and `#[ignore]` as usual.
///
/// ```no_run
/// #[runtime::test(backend = "fork")]
/// async fn counts() -> runtime::Result<()> {
///     runtime::nursery(async |n| n.actor("idle").await?.cancel().await).await
/// }
/// ```
///
/// `backend` names the backend of children for which none is named; without it, `RUNTIME_BACKEND` does. A test binary has an
/// initialiser then, which runs before `main` and before what other crates run there, and by which a process that was started to be
/// a test or an actor becomes that.
pub use runtime_macros::test;
pub use scope::{CancelScope, fail_after, move_on_after, shield};
pub use spawn::{Backend, Capabilities, Capability, Exit, InitError, MainLoop, Stopper};
pub use stream::{
    Incoming, Listening, Receiver, Sender, Statistics, Stream, StreamFunction, Subscription,
};
pub use supervise::{
    AutoShutdown, ChildSpec, ChildStatus, Nursery, OneShot, Restart, Restarts, Shutdown, Start,
    Strategy, Supervised, Supervisor, nursery, target,
};
pub use trace::ContextState;
pub use variables::Variables;

/// What the macros' output names. Not for use by hand, and free to change.
#[doc(hidden)]
pub mod __private {
    pub use crate::boot::{ACTOR_TESTS, Test, before_main, run_main, run_test, run_test_root};
    pub use crate::context::Served;
    pub use crate::rpc::{
        ENTRIES, Entry, Fallible, FreeContext, Kept, Method, MethodContext, Seed, State,
        context_fingerprint_of, fingerprint_of,
    };
    pub use crate::stream::{OutItem, one_way};
    pub use linkme;
    pub use serde;
}

/// The program in the README is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
