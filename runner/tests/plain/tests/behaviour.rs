//! Tests of the standard harness that behave badly, each in its own way. Not a test target of this
//! package: `workspace.rs` builds it in a workspace of its own.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn passes() {
    println!("nobody reads this");
}

#[test]
fn fails() {
    panic!("no good");
}

#[test]
#[ignore]
fn waits_to_be_asked() {
    panic!("was asked");
}

#[test]
fn hangs() {
    println!("before it hung");
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Passes at the second try.
#[test]
fn is_flaky() {
    let attempt = std::env::var("NEXTEST_ATTEMPT").unwrap();
    assert_ne!(attempt, "1");
}

#[test]
fn leaks() {
    let child = daemon();
    fs::write(std::env::var("LEAK").unwrap(), child.to_string()).unwrap();
}

/// A child in a session of its own, with nothing open that anybody waits for.
fn daemon() -> u32 {
    let mut command = Command::new("setsid");
    command.args(["sleep", "1000"]).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).process_group(0).spawn().unwrap().id()
}

#[test]
fn exits_with_77() {
    std::process::exit(77);
}

#[test]
fn aborts() {
    std::process::abort();
}

#[test]
fn floods() {
    let mut out = std::io::stdout().lock();
    out.write_all(b"the first line\n").unwrap();
    let line = [b'x'; 8192];
    for _ in 0..(1 << 30) / line.len() {
        out.write_all(&line).unwrap();
    }
    out.write_all(b"\nthe last line\n").unwrap();
    std::process::exit(3);
}

#[test]
fn writes_in_every_way() {
    println!("1 to stdout");
    eprintln!("2 to stderr");
    Command::new("sh")
        .args(["-c", "echo 3 from a child; echo 4 and its stderr >&2"])
        .status()
        .unwrap();
    std::io::stdout().write_all(b"5 \xff\xfe no UTF-8\n").unwrap();
    let piped = Command::new("sh").args(["-c", "echo through a pipe"]).output().unwrap();
    print!("6 {}", String::from_utf8(piped.stdout).unwrap());
    std::thread::scope(|scope| {
        for number in [7, 8] {
            scope.spawn(move || println!("{number} from a thread")).join().unwrap();
        }
    });
    print!("9 a part of a line");
    std::io::stdout().flush().unwrap();
    std::process::exit(3);
}

#[test]
fn tells_its_parent() {
    println!("parent {}", std::os::unix::process::parent_id());
    std::process::exit(3);
}

#[test]
fn tells_what_it_finds() {
    let mut stdin = String::new();
    std::io::stdin().read_to_string(&mut stdin).unwrap();
    let fds = fs::read_dir("/proc/self/fd").unwrap().map(|fd| fd.unwrap().path());
    // Less the folder that is being read.
    let fds: Vec<_> =
        fds.filter_map(|fd| fs::read_link(fd).ok()).filter(|to| !to.starts_with("/proc")).collect();
    // The first thread may still be inside the call that makes this one, with all signals blocked.
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let of = |field: &str| {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    println!("arguments {:?}", std::env::args().skip(1).collect::<Vec<_>>());
    println!("folder {}", std::env::current_dir().unwrap().display());
    println!("stdin {stdin:?}");
    println!("fds {fds:?}");
    println!("blocked {}", of("SigBlk"));
    println!("leads {}", of("NSpgid") == std::process::id().to_string());
    for (name, value) in std::env::vars() {
        println!("{name}={value}");
    }
    std::process::exit(3);
}
