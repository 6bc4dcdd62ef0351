//! The stream between the two tasks of a context, and what is made of it.
//!
//! `ends` is the stream itself, `fan` a stream that several tasks of this actor read, `one_way` a function that only sends. Flow
//! control is in `line`, which knows the messages.

mod ends;
mod fan;
mod one_way;

pub(crate) use ends::open;
pub use ends::{Receiver, Sender, Statistics, Stream};
pub use fan::Subscription;
pub use one_way::{Incoming, Listening, OutItem, StreamFunction, one_way};
