//! How a program with actors, and each actor of it, begins and ends.
//!
//! [`divert`] and [`init`] come first in a program; [`block_on_root`] runs its root actor. `child` is what every other actor
//! runs from its first instruction to its last. The `main` attribute puts the three together; `test` does it
//! for each test of the user's.

mod child;
mod home;
mod interrupt;
mod program;
mod root;
mod test;

pub(crate) use child::entry;
pub use interrupt::interrupt;
pub use program::{Config, Guard, divert, init, on_actor_start, run_main};
pub(crate) use root::implicit;
pub use root::{RootConfig, block_on_root};
pub use test::{ACTOR_TESTS, Test, before_main, run_test, run_test_root};
