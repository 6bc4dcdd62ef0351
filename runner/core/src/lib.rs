//! What the runner and every suite binary share, in the order data flows through it.
//!
//! `manifest` says which backends there are; a suite binary says which `test`s it has; `expand`
//! crosses the two into cases; `filter` selects among them; `protocol` carries one attempt to a
//! supervisor and its facts back; `outcome` judges the facts; `event` is what everybody reads.
//!
//! Nothing here starts a process or draws on a terminal. Both the runner binary and the harness
//! inside a suite binary link this crate, so that the three faces of a suite (`runner`,
//! `cargo nextest run`, `cargo test`) cannot disagree about a case.

pub mod diagnostic;
pub mod event;
pub mod expand;
pub mod filter;
pub mod manifest;
pub mod memory;
pub mod outcome;
pub mod owner;
pub mod pidfd;
pub mod process;
pub mod protocol;
pub mod report;
pub mod run_folder;
pub mod symbols;
pub mod test;
mod unwind;
pub mod wait;
