//! Channels between two actors: what goes in at one end comes out at the other, in order, control first.
//!
//! [`Sender`] is the shared end that anybody pushes messages into; a [`Channel`] is owned by the one task that drives it.
//! A channel is a socket between processes, a pair of queues between threads; who uses one cannot tell.
//!
//! Used by `rpc`, `supervise` and `boot`. No process is known here.

mod channel;
mod packets;
mod queue;
mod rights;
mod socket;

pub(crate) use channel::{Channel, Closed, MemoryEnd};
pub(crate) use packets::{PACKET_BYTES, Packet, Packets, packet_pair};
pub(crate) use queue::Sender;
pub(crate) use socket::stream_pair;
