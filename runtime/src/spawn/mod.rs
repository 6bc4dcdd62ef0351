//! Spawning: how a child actor comes to be, on each of the five backends, and how it is waited for and ended.
//!
//! Called by `supervise`, which joins a child to its channel. Nothing here knows the protocol: a child gets its end
//! of the bond as a [`Link`] and runs an [`Entry`].
//!
//! ```text
//! spawn ─► spawner (thread) ─┬─► exec               a fresh image            ┐
//!                            ├─► fork               this thread forks         ├─► birth ─► Entry
//!       ├─► main_loop ───────┼─► thread_forkserver  the main thread forks     │
//!       │                    └─► forkserver         a side-car forks          ┘
//!       └─► thread                                  an OS thread
//! Child ─► process (pid + pidfd) ─► reaper (thread) ─► subtree
//! ```

mod backend;
mod birth;
mod child;
mod descriptors;
mod environment;
mod error;
mod exec;
mod family;
mod fork;
mod forkserver;
mod globals;
mod init;
mod kernel;
mod lineage;
mod lock;
mod main_loop;
mod panics;
mod process;
mod quiesce;
mod reaper;
mod request;
mod signals;
mod spawner;
mod subtree;
mod summons;
mod thread;
mod thread_forkserver;
mod title;

pub use backend::{Backend, Capabilities, Capability, Unavailable, UnknownBackend};
pub(crate) use birth::is_summoned;
pub use birth::{divert, set_entry};
pub use child::{Child, Exit, KillReport, Signalled, Stranger};
pub(crate) use environment::remove_alone as forget_variable;
pub use error::{InitError, SpawnError, SpawnFailure, Step};
pub use init::{Guard, InitOptions, init};
pub use main_loop::{MainLoop, Stopper};
pub use nix::unistd::Pid;
pub(crate) use panics::is_forked;
pub use request::{Boot, Entry, Link, Request, spawn};
pub(crate) use signals::ignore_broken_pipes;
pub use thread::{Abandoned, abandoned};
pub(crate) use thread::{IfAbandoned, if_abandoned};
