//! `runner`: every test of a suite, once for every backend.

fn main() {}
