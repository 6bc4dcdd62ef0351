//! Cases that print and fail, so that all of their output is read, kept and told of: what a run of
//! many takes of memory.

use std::process::ExitCode;

use runner::TestResult;

fn main() -> ExitCode {
    runner::harness!().main()
}

/// 80 with the newline; so many of them are 10 kB.
const LINE: &str =
    "a line of eighty bytes as a test might print it: 0123456789 0123456789 012345678";
const LINES: usize = 125;

macro_rules! ten_tests {
    ($($name:ident)*) => {
        $(#[runner::test] #[axes("copy")] fn $name() -> TestResult { print_and_fail() })*
    };
}

macro_rules! ten_modules {
    ($($name:ident)*) => { $(mod $name { use super::*; ten_tests!(t0 t1 t2 t3 t4 t5 t6 t7 t8 t9); })* };
}

// A hundred, each a hundred times.
ten_modules!(a b c d e f g h i j);

fn print_and_fail() -> TestResult {
    for _ in 0..LINES {
        println!("{LINE}");
    }
    Err("as it should".into())
}
