//! The harness of libtest-mimic.

use libtest_mimic::{Arguments, Trial};

fn main() {
    let trials = vec![
        Trial::test("mimics", || Ok(())),
        Trial::test("mimics, badly", || Err("no good".into())),
        Trial::test("has a kind", || Ok(())).with_kind("slow"),
        Trial::test("waits", || Err("was asked".into())).with_ignored_flag(true),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
