//! `runner`, as a library for its own tests: the binary is a `main` over it.

pub mod execute;
pub mod plan;
