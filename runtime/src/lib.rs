//! A structured-concurrency actor runtime on tokio.
//!
//! An *actor* is a tree of async tasks with a memory domain and a scheduler of its own: a process, or a thread. Actors form a
//! supervised tree and talk only by messages. A *nursery* is the scope that owns children: it ends when all of them have ended
//! and been reaped, and when one fails the others are cancelled. The same program runs on every spawn [`Backend`].
//!
//! ```no_run
//! use runtime::Backend;
//!
//! #[derive(Default)]
//! struct Counter {
//!     total: u64,
//! }
//!
//! #[runtime::actor]
//! impl Counter {
//!     async fn add(&mut self, n: u64) -> u64 {
//!         self.total += n;
//!         self.total
//!     }
//! }
//!
//! #[runtime::main]
//! async fn main() -> runtime::Result<()> {
//!     runtime::nursery(async |n| {
//!         let counter = n.start::<Counter>("counter").backend(Backend::Fork).await?;
//!         assert_eq!(counter.add(3).await?, 3);
//!         counter.cancel().await
//!     })
//!     .await
//! }
//! ```
//!
//! The modules, each using only those above it:
//!
//! ```text
//! spawn       how a child comes to be, per backend; knows no protocol
//! error       what can go wrong, as values
//! msg         what parent and child say to each other, as bytes
//! ipc         channels; knows no process
//! actor       this actor: who it is, the tasks it owns, what it was told of its end
//! rpc         functions, portals, calls, and serving them
//! supervise   nurseries, the life of a child, the kill ladder: joins ipc and spawn
//! boot        how a program and each of its actors begin and end
//! ```

pub mod spawn;

mod actor;
mod boot;
mod error;
mod ipc;
mod msg;
mod rpc;
mod supervise;

pub use actor::{ActorInfo, current};
pub use boot::{Config, Guard, RootConfig, block_on_root, divert, init, on_actor_start};
pub use error::{
    ActorId, CallError, Error, Group, Never, PanicLocation, RemoteError, Result, Rung, RungTaken,
    StartFailure, StartStep, Teardown, UserError,
};
pub use msg::{FRAME_LIMIT_BYTES, Timings};
pub use rpc::{Actor, Function, Portal, Remote};
pub use runtime_macros::{actor, main, remote};
pub use spawn::{Backend, Capabilities, Capability, Exit, InitError, MainLoop, Stopper};
pub use supervise::{Nursery, OneShot, Start, nursery, target};

/// What the macros' output names. Not for use by hand, and free to change.
#[doc(hidden)]
pub mod __private {
    pub use crate::boot::run_main;
    pub use crate::rpc::{ENTRIES, Entry, Fallible, Method, State};
    pub use linkme;
}
