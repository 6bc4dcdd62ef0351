//! `runner`, as a library for its own tests: the binary is a `main` over it.
//!
//! In the order data flows: the command line is parsed (`cli`) and resolved against the manifest
//! (`choice`); cargo builds the suites (`cargo`), which are listed (`list`) and expanded into cases
//! (`discover`); `plan` and `execute` run them, those of other harnesses by `plain`; what happens is recorded (`store`) and told
//! (`report`). `session` ties these together, `triage` reads what was recorded.
//! `nextest` is what tests are told in nextest's words.

pub mod again;
pub mod cargo;
pub mod catalogue;
pub mod choice;
pub mod cli;
pub mod contain;
pub mod debugger;
pub mod discover;
pub mod durations;
pub mod execute;
pub mod exit;
pub mod headroom;
pub mod history;
pub mod keys;
pub mod list;
pub mod nextest;
pub mod plain;
pub mod plan;
pub mod printable;
pub mod reap;
pub mod report;
#[cfg(test)]
mod samples;
pub mod session;
pub mod store;
pub mod triage;
