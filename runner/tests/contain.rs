//! `runner contain` as a built program: what a command's caller sees, and what is left of it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// In the environment of a command: what is left of it is found by that.
const MARK: &str = "CONTAIN_TEST";

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Contained {
    process: Child,
    mark: String,
    /// Dropped when it is done with.
    _limit: SyncSender<()>,
}

/// Kills what is not done in time: then its test fails.
fn limit(pid: u32) -> SyncSender<()> {
    let (done_tx, done_rx) = sync_channel(0);
    let watch = move || {
        if done_rx.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    };
    // Nobody joins it: it ends with its channel, or with this process.
    Builder::new().name("limit".into()).spawn(watch).expect("a thread");
    done_tx
}

fn contain(flags: &[&str], script: &str) -> Contained {
    command(flags, &["sh", "-c", script])
}

fn command(flags: &[&str], words: &[&str]) -> Contained {
    use std::os::unix::process::CommandExt;
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mark = format!("{}-{number}", std::process::id());
    let process = Command::new(env!("CARGO_BIN_EXE_runner"))
        .arg("contain")
        .args(flags)
        .arg("--")
        .args(words)
        .env(MARK, &mark)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built runner");
    let _limit = limit(process.id());
    Contained { process, mark, _limit }
}

impl Contained {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("our own child");
    }

    /// Waits until the command has said so.
    fn until_said(&mut self, wanted: &str) {
        let stdout = self.process.stdout.as_mut().expect("piped");
        let mut said = vec![0; wanted.len()];
        stdout.read_exact(&mut said).expect("it says something");
        assert_eq!(String::from_utf8_lossy(&said), wanted);
    }

    fn until(&self, is_so: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < until, "not in a minute");
            std::thread::yield_now();
        }
    }

    /// Its end; whatever there was of it then is a failure.
    fn end(mut self) -> Output {
        let status = self.process.wait().expect("our own child");
        assert_eq!(marked(&self.mark), Vec::<String>::new(), "is left");
        let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
        let (stdout, stderr) = (self.process.stdout.take(), self.process.stderr.take());
        stdout.expect("piped").read_to_end(&mut output.stdout).expect("readable");
        stderr.expect("piped").read_to_end(&mut output.stderr).expect("readable");
        output
    }
}

/// Living processes with this mark in their environment.
fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let marked = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let found = runner_core::process::all().into_iter().filter(marked);
    found
        .filter_map(runner_core::process::brief)
        .filter(|brief| brief.state != 'Z')
        .map(|brief| brief.command)
        .collect()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn how_it_ends_is_how_contain_ends() {
    for code in [0, 1, 77, 255] {
        let output = contain(&[], &format!("exit {code}")).end();
        assert_eq!(output.status.code(), Some(code), "{}", said(&output.stderr));
        assert_eq!(said(&output.stderr), "");
    }
    for signal in [Signal::SIGSEGV, Signal::SIGKILL, Signal::SIGTERM, Signal::SIGPIPE] {
        let output = contain(&[], &format!("kill -{} $$", signal as i32)).end();
        assert_eq!(output.status.signal(), Some(signal as i32));
    }
}

#[test]
fn what_cannot_be_executed_has_the_codes_of_a_shell() {
    let missing = command(&[], &["no-such-program"]).end();
    assert_eq!(missing.status.code(), Some(127));
    assert!(said(&missing.stderr).contains("cannot execute no-such-program"));
    assert_eq!(command(&[], &["/etc/passwd"]).end().status.code(), Some(126));
}

#[test]
fn streams_arguments_and_environment_are_the_commands_own() {
    let mut cat = command(&[], &["sh", "-c", "cat; echo \"$1|$2\" >&2", "x", "a b", "--grace"]);
    cat.process.stdin.take().expect("piped").write_all(b"through").expect("read by it");
    let output = cat.end();
    assert_eq!(said(&output.stdout), "through");
    assert_eq!(said(&output.stderr), "a b|--grace\n");
}

/// In a session of its own, with stdin, stdout and stderr closed once it is there: nothing
/// connects it any more.
const LEAVE_A_DAEMON: &str =
    "setsid -f sh -c 'echo there; exec sleep 1000 <&- >&- 2>&-' | read there";

#[test]
fn what_is_left_is_listed_and_gone() {
    let warned = contain(&[], LEAVE_A_DAEMON).end();
    assert_eq!(warned.status.code(), Some(0));
    assert!(said(&warned.stderr).contains("left sleep `sleep 1000`"), "{}", said(&warned.stderr));
    let failed = contain(&["--leak", "fail"], LEAVE_A_DAEMON).end();
    assert_eq!(failed.status.code(), Some(123));
    let its_own = format!("{LEAVE_A_DAEMON}; exit 4");
    assert_eq!(contain(&["--leak", "fail"], &its_own).end().status.code(), Some(4));
}

#[test]
fn when_time_is_over_there_is_a_report_and_an_end() {
    let script = "trap '' INT TERM; sleep 1000 & setsid sleep 1001 & wait; wait";
    let output = contain(&["--timeout", "0.3", "--grace", "0.1"], script).end();
    assert_eq!(output.status.code(), Some(124));
    let text = said(&output.stderr);
    for expected in ["hang report: sh", "sleep 1000", "sleep 1001", "contain: timed out"] {
        assert!(text.contains(expected), "no {expected}: {text}");
    }
}

#[test]
fn a_report_may_go_into_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report");
    let flags = ["--timeout", "0.1", "--grace", "0.1", "--report", path.to_str().unwrap()];
    let output = contain(&flags, "sleep 1000").end();
    assert_eq!(output.status.code(), Some(124));
    assert!(fs::read_to_string(&path).unwrap().contains("sleep 1000"));
    assert!(!said(&output.stderr).contains("sleep 1000"), "{}", said(&output.stderr));
}

#[test]
fn a_command_that_ends_when_asked_says_itself_how() {
    let polite = "trap 'exit 3' INT; echo ready; while :; do sleep 0.01; done";
    let mut contained = contain(&[], polite);
    contained.until_said("ready\n");
    contained.signal(Signal::SIGINT);
    assert_eq!(contained.end().status.code(), Some(3));
}

#[test]
fn one_that_does_not_end_is_killed_and_the_signal_is_seen() {
    let stubborn = "trap '' INT; echo ready; while :; do sleep 0.01; done";
    let mut patient = contain(&["--grace", "0.1"], stubborn);
    patient.until_said("ready\n");
    patient.signal(Signal::SIGINT);
    assert_eq!(patient.end().status.signal(), Some(Signal::SIGINT as i32));
    // Twice: without waiting.
    let mut impatient = contain(&["--grace", "1000"], stubborn);
    impatient.until_said("ready\n");
    impatient.signal(Signal::SIGHUP);
    impatient.signal(Signal::SIGINT);
    let ended = impatient.end().status.signal();
    assert!(ended == Some(Signal::SIGHUP as i32) || ended == Some(Signal::SIGINT as i32));
}

/// What nextest does when its own clock runs out, and then, ten seconds later.
#[test]
fn sigterm_is_answered_with_a_report_and_a_killed_group_takes_everything_along() {
    let stubborn = "trap '' INT TERM; setsid sleep 1000 & echo ready; wait; wait";
    let mut asked = contain(&["--grace", "0.1"], stubborn);
    asked.until_said("ready\n");
    asked.signal(Signal::SIGTERM);
    let output = asked.end();
    assert_eq!(output.status.signal(), Some(Signal::SIGTERM as i32));
    assert!(said(&output.stderr).contains("hang report: sh"), "{}", said(&output.stderr));

    let mut killed = contain(&[], stubborn);
    killed.until_said("ready\n");
    killpg(killed.pid(), Signal::SIGKILL).unwrap();
    killed.until(|| marked(&killed.mark).is_empty());
    killed.process.wait().unwrap();
}

#[test]
fn a_look_disturbs_nobody() {
    let mut contained = contain(&[], "echo ready; read line; exit 5");
    contained.until_said("ready\n");
    contained.signal(Signal::SIGUSR1);
    let mut first = [0; 12];
    contained.process.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(said(&first), "hang report:");
    contained.process.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(contained.end().status.code(), Some(5));
}

#[test]
fn a_stop_stops_the_command_and_its_clock() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let gate = folder.path().join("gate");
    let waits = format!("echo ready; until [ -e {} ]; do sleep 0.05; done; exit 6", gate.display());
    let mut contained = contain(&["--timeout", "3"], &waits);
    contained.until_said("ready\n");
    contained.signal(Signal::SIGTSTP);
    let pid = contained.pid().as_raw();
    let is_stopped = |pid: i32| runner_core::process::brief(pid).is_some_and(|it| it.state == 'T');
    contained.until(|| is_stopped(pid));
    let first = first_process(pid);
    contained.until(|| is_stopped(first));
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(3200) {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    fs::write(gate, "").expect("a file in it");
    contained.signal(Signal::SIGCONT);
    assert_eq!(contained.end().status.code(), Some(6), "its three seconds were not over");
}

/// Of the command: the supervisor's child.
fn first_process(contain: i32) -> i32 {
    let below = runner_core::process::descendants(contain);
    *below.get(1).expect("a supervisor and a first process")
}

#[test]
fn a_supervisor_that_is_killed_or_stopped_leaves_nothing() {
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let mut contained = contain(&[], "setsid sleep 1000 & sleep 1001 & echo ready; wait");
        contained.until_said("ready\n");
        let supervisor = runner_core::process::children(contained.pid().as_raw())[0];
        kill(Pid::from_raw(supervisor), signal).unwrap();
        let output = contained.end();
        assert_eq!(output.status.code(), Some(125), "{}", said(&output.stderr));
        assert!(said(&output.stderr).contains("its supervisor"), "{}", said(&output.stderr));
    }
}

/// Nobody is there to end anything: what is left is `reap`'s.
#[test]
fn what_is_left_when_both_are_killed_is_found_by_reap() {
    let mut contained = contain(&[], "setsid sleep 1000 & sleep 1001 & echo ready; wait");
    contained.until_said("ready\n");
    let supervisor = runner_core::process::children(contained.pid().as_raw())[0];
    // The thin one first stopped, so that it cannot clear up after the supervisor.
    contained.signal(Signal::SIGSTOP);
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
    contained.signal(Signal::SIGKILL);
    contained.process.wait().unwrap();
    assert!(!marked(&contained.mark).is_empty(), "something is left");
    let temp = tempfile::tempdir().unwrap();
    let reaped = reap(temp.path());
    for name in ["sleep 1000", "sleep 1001"] {
        assert!(reaped.contains(name), "{name}: {reaped}");
    }
    assert_eq!(marked(&contained.mark), Vec::<String>::new());
}

fn reap(temp: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(["reap", "--grace", "1"])
        .env("TMPDIR", temp)
        .output()
        .expect("the built runner");
    said(&output.stdout)
}
