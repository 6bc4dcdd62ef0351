//! Channels of the user's own: one way, one type, two ends that go wherever values go.
//!
//! While both ends are in one process, items are moved from one to the other (`near`). The first end to leave makes a pair of
//! sockets, goes with one of them, and leaves the other to the end that stays (`far`). From then on an end is its socket and a few
//! numbers: given to another actor, it goes there itself, and no actor it came through has a part in it. Nothing drives a channel,
//! and no actor's end waits for one: who sends or receives reads and writes.
//!
//! ```text
//!        one is sent away            either is sent on
//! near ──────────────────────► far ─────────────────────► far
//! ```
//!
//! An end says when it is let go of, and by whom it is held when it has arrived. So the end of the socket, when nothing was said
//! before, is a death.

mod ends;
mod far;
mod near;
mod over;

pub use ends::{ChannelReceiver, ChannelSender, channel};
