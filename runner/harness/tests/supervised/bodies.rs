//! What the cases do.

use std::io;
use std::time::Duration;

/// What the suite's hook says.
pub(crate) fn describe(out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "root waits for leaf")?;
    match std::env::var("DESCRIBE").as_deref() {
        Ok("hang") => loop {
            std::thread::park();
        },
        Ok("panic") => panic!("the hook panics"),
        Ok(_) | Err(_) => writeln!(out, "leaf runs"),
    }
}

#[inline(never)]
pub(crate) fn sleeps_for_ever() {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

#[runner::test]
fn passes() {
    runner::trace(b"never shown");
}

#[runner::test]
fn fails_with_events() {
    runner::trace(b"first word");
    runner::trace_line(format_args!("last {}", "word"));
    panic!("as it should");
}

#[runner::test]
fn sleeps() {
    runner::trace(b"goes to sleep");
    println!("ready");
    sleeps_for_ever();
}
