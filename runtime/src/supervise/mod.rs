//! Owning children: nurseries, the life of a child, the ladder by which it is made to end.
//!
//! A [`Nursery`] is the scope; each child in it has one task, its keeper, that spawns it, drives its channel, watches its
//! process, carries out the order to end, and reports the end to the nursery. Keepers are owned by the actor, not by
//! whoever started the child, so a dropped future tears down as completely as an awaited one.
//!
//! This is the one place where channels (`ipc`) and processes (`spawn`) meet.

mod child;
mod crew;
mod draft;
mod ladder;
mod nursery;
mod one_shot;
mod options;
mod plan;
mod start;
mod strategy;
mod supervisor;

pub use nursery::{Nursery, nursery};
pub use one_shot::OneShot;
pub use start::{Start, target};
pub use strategy::{AutoShutdown, Restart, Restarts, Shutdown, Strategy};
pub use supervisor::{ChildSpec, ChildStatus, Supervised, Supervisor};
