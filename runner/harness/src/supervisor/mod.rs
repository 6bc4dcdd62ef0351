//! The supervisor: the small single-threaded process that owns a slot's attempts.
//!
//! `serve` is its loop, `life` decides what happens next, `subtree` ends processes. It is the
//! suite binary itself, started by the runner or forked by the other faces before their first
//! thread; either way it has a session of its own and adopts every orphan of its attempts.

mod life;
mod serve;
mod subtree;

pub(crate) use serve::{inherited, serve, start};
