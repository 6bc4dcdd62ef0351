//! How a program with actors, and each actor of it, begins and ends.
//!
//! [`divert`] and [`init`] come first in a program; [`block_on_root`] runs its root actor. `child` is what every other actor
//! runs from its first instruction to its last. The `main` attribute puts the three together.

mod child;
mod interrupt;
mod program;
mod root;

pub(crate) use child::entry;
pub use program::{Config, Guard, divert, init, on_actor_start, run_main};
pub use root::{RootConfig, block_on_root};
