//! What the cases do.

use std::io;
use std::process::Command;
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

/// Until the test lets it go.
fn wait() {
    println!("ready");
    let folder = std::env::var("FOLDER").expect("set by the bench");
    while !std::path::Path::new(&folder).join("go").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("going");
}

#[runner::test]
fn waits() {
    wait();
}

#[runner::test]
fn waits_with_a_daemon() {
    let mut daemon = Command::new("setsid").args(["sleep", "1000"]).spawn().expect("setsid");
    wait();
    daemon.kill().expect("our own child");
    daemon.wait().expect("our own child");
}

#[runner::test]
fn waits_with_a_stopped_child() {
    let mut child =
        Command::new("sh").args(["-c", "kill -STOP $$; sleep 1000"]).spawn().expect("sh");
    wait();
    sleeps_for_ever();
    child.wait().expect("our own child");
}

/// Forks children that fork children, as fast as it goes; a thousand at last, so that a runner that
/// does not end them does not end the machine.
#[runner::test]
fn forks_without_end() {
    let bomb = "bomb() { [ $1 -lt 10 ] && { bomb $(($1 + 1)) & bomb $(($1 + 1)) & }; \
                while :; do :; done; }; bomb 1";
    Command::new("sh").args(["-c", bomb]).status().expect("sh");
}
