//! A thousand sync cases and a thousand async ones that do nothing: what a harness costs.

use std::process::ExitCode;

fn main() -> ExitCode {
    runner::harness!().main()
}

macro_rules! ten_tests {
    ($($name:ident)*) => { $(#[runner::test] fn $name() -> runner::TestResult { Ok(()) })* };
}

macro_rules! ten_async_tests {
    ($($name:ident)*) => { $(#[runner::test] async fn $name() -> runner::TestResult { Ok(()) })* };
}

macro_rules! ten_modules {
    ($tests:ident: $($name:ident)*) => {
        $(mod $name { $tests!(t0 t1 t2 t3 t4 t5 t6 t7 t8 t9); })*
    };
}

macro_rules! hundreds {
    ($tests:ident: $($name:ident)*) => {
        $(mod $name { ten_modules!($tests: a b c d e f g h i j); })*
    };
}

mod sync {
    hundreds!(ten_tests: h0 h1 h2 h3 h4 h5 h6 h7 h8 h9);
}

mod asynchronous {
    hundreds!(ten_async_tests: h0 h1 h2 h3 h4 h5 h6 h7 h8 h9);
}
