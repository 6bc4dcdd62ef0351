//! Plain test binaries: any that understand libtest's arguments and say by their exit code how a
//! test went.
//!
//! Their supervisor is this very program in another role: one for each slot, whatever binary the
//! next test is in. It knows them all (`images`), executes one of them once for each attempt
//! (`exec`), and is in every other respect what a supervisor of ours is. What an attempt of
//! theirs is told is made here (`attempt`), and what its output says of a failure is read here
//! (`panics`).
//!
//! Called by `execute` for the runner's side and by `main` for the supervisor's.

mod attempt;
mod exec;
mod images;
mod panics;

pub use attempt::{Circumstances, attempt};
pub use exec::supervise_if_told;
pub use images::Images;
pub use panics::explained;

/// Number of the inherited memory file with the [`Images`], beside the variables of every
/// supervisor.
pub const IMAGES: &str = "RUNNER_IMAGES_FD";
