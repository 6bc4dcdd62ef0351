//! Calling functions of other actors, and serving such calls.
//!
//! A [`Portal`] is the caller's side of an actor: its calls wait in a table until the channel brings their answers. A
//! `Server` is the actor's own side: it runs what is exposed, each call as a task. What can be called is registered at link
//! time under its name, because a child may be another process with other addresses.
//!
//! Used by `supervise` (which owns the channel) and `boot`. Nothing here starts or ends an actor.

mod bond;
mod calls;
mod function;
mod panic;
mod portal;
mod serve;

pub(crate) use bond::{Bond, End, Manner, Order};
pub(crate) use calls::{Calls, Ended, NoValue, Reply};
pub use function::{Actor, ENTRIES, Entry, Fallible, Function, Method, Remote, State};
pub(crate) use function::{AnyState, Exposure, find};
pub(crate) use panic::{Panic, catch, catch_call, install_hook, message_of};
pub use portal::Portal;
pub(crate) use portal::{Line, value_of};
pub(crate) use serve::Server;
