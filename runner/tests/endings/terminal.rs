//! In a terminal (a pseudo terminal, of which this test is the screen and the keyboard): keys, stops,
//! and that its modes are what they were whenever somebody else has it.
#![expect(unsafe_code, reason = "a child takes a terminal between fork and exec")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::thread::{Builder, JoinHandle};

use nix::libc;
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::setsid;

use crate::started::{Started, runner, state};

struct Screen {
    started: Started,
    keyboard: File,
    terminal: OwnedFd,
    recorder: JoinHandle<()>,
}

/// Starts a command as the first job of a new terminal.
fn in_terminal(mut command: Command) -> Screen {
    let OpenptyResult { master, slave } = openpty(None, None).expect("a pseudo terminal");
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let output = folder.join("output");
    let file = File::create(&output).expect("a file in it");
    let stdio = || Stdio::from(slave.try_clone().expect("the same terminal"));
    command.stdin(stdio()).stdout(stdio()).stderr(stdio()).env("TERM", "xterm");
    command.env_remove("NO_COLOR");
    let prepare = || {
        setsid()?;
        // SAFETY: takes integers; fd 0 is the terminal.
        match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure only calls setsid and ioctl, which are async-signal-safe.
    unsafe { command.pre_exec(prepare) };
    let started = Started::with_output(&mut command, &folder, output);
    let keyboard: File = master.into();
    let recorder = record(keyboard.try_clone().expect("the same terminal"), file);
    Screen { started, keyboard, terminal: slave, recorder }
}

/// What is on the screen goes to a file. Ends with the terminal: when nobody has its other end any more.
fn record(mut screen: File, mut file: File) -> JoinHandle<()> {
    let record = move || {
        let mut chunk = [0; 4096];
        while let Ok(count) = screen.read(&mut chunk) {
            if count == 0 || file.write_all(&chunk[..count]).is_err() {
                return;
            }
        }
    };
    Builder::new().name("screen".into()).spawn(record).expect("a thread")
}

impl Screen {
    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("a terminal takes keys");
    }

    /// Its exit code, and all that was on the screen.
    #[track_caller]
    fn end(self) -> (i32, String) {
        let Screen { started, keyboard: _kept, terminal, recorder } = self;
        started.until_ended();
        if started.left().is_empty() {
            drop(terminal);
            recorder.join().expect("it writes a file");
        }
        started.end()
    }

    /// Whether it gives whole lines, and shows what is typed: as it was at first.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.terminal).expect("a terminal").local_flags;
        modes.contains(LocalFlags::ICANON | LocalFlags::ECHO)
    }

    fn until_cooked(&self, wanted: bool) {
        self.started.until("the terminal's modes", |_| self.is_cooked() == wanted);
    }
}

const CTRL_C: &[u8] = b"\x03";
const CTRL_Z: &[u8] = b"\x1a";

/// A workspace with plain tests that wait, made and built once.
fn workspace() -> PathBuf {
    static MADE: Once = Once::new();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("endings_terminal");
    MADE.call_once(|| {
        fs::create_dir_all(folder.join("tests")).expect("a folder");
        for (name, text) in [
            ("Cargo.toml", PACKAGE),
            ("lib.rs", ""),
            ("tests/slow.rs", TESTS),
            ("runner.toml", MANIFEST),
        ] {
            fs::write(folder.join(name), text).expect("written");
        }
        let listed = runner(&folder).arg("list").output().expect("the built runner");
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    });
    folder
}

const PACKAGE: &str = r#"
[workspace]
[package]
name = "slow"
version = "0.1.0"
edition = "2024"
[lib]
path = "lib.rs"
"#;

const TESTS: &str = r#"
#[test]
fn waits() {
    std::thread::sleep(std::time::Duration::from_secs(1000));
}
#[test]
fn passes() {}
#[test]
fn asks() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    assert_eq!(line, "answer\n");
}
"#;

const MANIFEST: &str = r#"
[backends.plain]
[suites.slow]
package = "slow"
test = "slow"
capture = "fd"
[profile.default]
slow-timeout = { period = "500s", terminate-after = 2, grace-period = "1s" }
"#;

fn run(arguments: &[&str]) -> Screen {
    let mut command = runner(&workspace());
    command.args(arguments);
    in_terminal(command)
}

#[test]
fn keys_stops_and_an_interrupt_leave_the_terminal_as_it_was() {
    let mut screen = run(&["waits"]);
    screen.until_cooked(false);
    screen.started.until_said("Starting");
    screen.started.until("the case runs", |this| this.text().contains("waits::plain"));
    screen.press(b"t");
    screen.started.until_said("hang report: waits::plain");
    screen.press(b"\n");
    screen.started.until_said("0/1 finished");
    screen.press(CTRL_Z);
    screen.started.until_said("Paused");
    screen.started.until_stopped();
    assert!(screen.is_cooked(), "while it is stopped");
    screen.started.signal(Signal::SIGCONT);
    screen.started.until_said("Resumed");
    screen.until_cooked(false);
    screen.press(CTRL_C);
    screen.started.until_ended();
    assert!(screen.is_cooked(), "at the end");
    let (_, text) = screen.end();
    assert!(text.contains("INTERRUPTED"), "{text}");
}

#[test]
fn without_the_input_handler_the_terminal_is_left_alone() {
    let mut screen = run(&["waits", "--no-input-handler"]);
    screen.started.until("the case runs", |this| this.text().contains("waits::plain"));
    assert!(screen.is_cooked());
    screen.press(CTRL_C);
    assert!(screen.end().1.contains("INTERRUPTED"));
}

/// `env` in the place of a debugger: it, too, executes what it is given.
#[test]
fn a_debugged_case_has_the_terminal() {
    let mut screen = run(&["asks", "--debugger", "env DEBUGGED=1"]);
    screen.started.until_said("running 1 test");
    screen.press(b"answer\n");
    let (code, text) = screen.end();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("test asks ... ok"), "{text}");
    let (code, text) = run(&["--debugger", "env"]).end();
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("a debugger takes one case"), "{text}");
}

/// As a job of its own it is stopped and interrupted by the terminal itself.
#[test]
fn a_contained_command_is_the_foreground_job() {
    let mut command = runner(Path::new("/"));
    let script =
        "trap 'echo heard; exit 7' INT; echo ready; while read line; do echo got $line; done";
    command.args(["contain", "--", "sh", "-c", script]);
    let mut screen = in_terminal(command);
    screen.started.until_said("ready");
    screen.press(b"one\n");
    screen.started.until_said("got one");
    screen.press(CTRL_Z);
    screen.started.until_stopped();
    let pid = screen.started.pid();
    let sh = *runner_core::process::descendants(pid).last().expect("the command");
    assert_eq!(state(sh), Some('T'));
    screen.started.signal(Signal::SIGCONT);
    screen.press(b"two\n");
    screen.started.until_said("got two");
    screen.press(CTRL_C);
    let (code, text) = screen.end();
    assert_eq!(code, 7, "{text}");
    assert!(text.contains("heard"), "{text}");
}
