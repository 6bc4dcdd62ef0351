//! Contexts: a task here and a task in another actor, linked. Neither outlives the failure of the other.
//!
//! `opening` is the side that opens, and waits until the other task has ended; `gather` opens several; `served` the side that is opened; `outcome` which of
//! their errors wins. What both say to each other is in `line`; the stream between them in `stream`.

mod gather;
mod opening;
mod outcome;
mod served;

pub use gather::gather_contexts;
pub(crate) use opening::Hold;
pub use opening::{Opened, Opening};
pub use served::{Context, Served, Started};
