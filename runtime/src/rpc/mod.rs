//! Calling functions of other actors, and serving such calls.
//!
//! A [`Portal`] is the caller's side of an actor: its calls wait in a table until the channel brings their answers. `Host` is
//! the actor's own side: what it exposes, to its parent, its children and whoever else reaches it. `Dialogues` joins the two
//! for one channel, whatever the actors at its ends are to each other. What can be called is registered at link time under its
//! name, because an actor may be another process with other addresses.
//!
//! Used by `supervise` (which owns the channel) and `boot`. Nothing here starts or ends an actor.

mod fingerprint;
mod function;
mod host;
mod panic;
mod peers;
mod portal;
mod serve;

pub use fingerprint::{Kept, context_fingerprint_of, fingerprint_of};
pub use function::{
    Actor, ContextFunction, ENTRIES, Entry, Exposes, Fallible, FreeContext, Function, Method,
    MethodContext, Remote, Seed, State,
};
pub(crate) use function::{AnyState, Exposure, find};
pub(crate) use host::{Entered, Host, enter, reenter};
pub(crate) use panic::{Panic, catch, catch_call, install_hook, message_of};
pub(crate) use peers::sever_if_abandoned;
pub use portal::Portal;
pub(crate) use portal::{unsendable, value_of};
pub(crate) use serve::Dialogues;
