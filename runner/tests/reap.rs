//! `runner reap` on processes and folders that are marked as a run would mark them: what it ends,
//! what it leaves alone, and what it exits with.
//!
//! This process is the reaper of what it starts and asks for that only (`--parent`), in temporary
//! folders of its own: whatever else runs on this machine neither disturbs nor is disturbed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use runner_core::owner::Owner;
use runner_core::process;
use runner_core::run_folder::RunFolder;

/// One test at a time: what one leaves must not be another's to find.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    nix::sys::prctl::set_child_subreaper(true).expect("always allowed");
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Reaped {
    code: i32,
    text: String,
}

fn reap(temp: &Path, arguments: &[&str]) -> Reaped {
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .arg("reap")
        .args(["--parent", &std::process::id().to_string()])
        .args(arguments)
        .env("TMPDIR", temp)
        .stdin(Stdio::null())
        .output()
        .expect("the built runner");
    let text = String::from_utf8(output.stdout).expect("text");
    Reaped { code: output.status.code().expect("it exits"), text }
}

/// A process with this mark, and a group of its own, which has said `ready`.
struct Marked(Child);

impl Marked {
    fn start(mark: &str, script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .env(Owner::VARIABLE, mark)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let stdout = child.stdout.as_mut().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it says something");
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().expect("our own child").is_none()
    }

    fn subject(&self) -> String {
        format!("process {} ", self.0.id())
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// The mark of a process that has ended.
fn mark_of_the_dead() -> String {
    let alive = Owner::this().expect("there is /proc").to_string();
    let mut fields: Vec<String> = alive.split('-').map(str::to_owned).collect();
    let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep");
    fields[0] = child.id().to_string();
    let ticks = process::start_ticks(child.id().cast_signed()).expect("it lives");
    fields[1] = ticks.to_string();
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    fields.join("-")
}

const POLITE: &str = "trap 'kill $!; exit' INT; sleep 1000 & echo ready; wait";
const STUBBORN: &str = "trap '' INT TERM; sleep 1000 & echo ready; wait; wait";

#[test]
fn what_ends_when_asked_is_no_reason_to_complain() {
    let _alone = alone();
    let temp = tempfile::tempdir().unwrap();
    let mut left = Marked::start(&mark_of_the_dead(), POLITE);
    let told = reap(temp.path(), &["-n"]);
    assert_eq!(told.code, 0);
    assert!(told.text.contains(&format!("would end {}", left.subject())), "{}", told.text);
    assert!(left.is_alive(), "was only to be told");
    let done = reap(temp.path(), &["--grace", "60"]);
    assert_eq!(done.code, 0, "{}", done.text);
    assert!(done.text.contains(&format!(" ended {}", left.subject())), "{}", done.text);
    assert!(!left.is_alive());
}

#[test]
fn what_needs_force_is_killed_and_makes_the_exit_code_1() {
    let _alone = alone();
    let temp = tempfile::tempdir().unwrap();
    let mut left = Marked::start(&mark_of_the_dead(), STUBBORN);
    let done = reap(temp.path(), &["--grace", "0.1"]);
    assert_eq!(done.code, 1, "{}", done.text);
    assert!(done.text.contains(&format!("killed {}", left.subject())), "{}", done.text);
    assert!(!left.is_alive());
    assert_eq!(reap(temp.path(), &[]).text, "nothing was left behind\n");
}

#[test]
fn what_forks_faster_than_it_dies_is_ended_all_the_same() {
    let _alone = alone();
    let temp = tempfile::tempdir().unwrap();
    let chain = r#"trap '' INT TERM
        if [ "$1" -lt 200 ]; then sh "$0" $(($1 + 1)) & fi
        exec sleep 1000"#;
    let script = temp.path().join("chain");
    fs::write(&script, chain).unwrap();
    let first = format!("echo ready; sh {} 0", script.display());
    let _left = Marked::start(&mark_of_the_dead(), &first);
    let done = reap(temp.path(), &["--grace", "0"]);
    assert_eq!(done.code, 1, "{}", done.text);
    assert_eq!(reap(temp.path(), &[]).text, "nothing was left behind\n");
}

#[test]
fn a_living_run_is_not_touched() {
    let _alone = alone();
    let temp = tempfile::tempdir().unwrap();
    let living = Marked::start("none", POLITE);
    let pid = living.0.id().cast_signed();
    let ticks = process::start_ticks(pid).expect("it lives").to_string();
    let mut fields: Vec<String> = mark_of_the_dead().split('-').map(str::to_owned).collect();
    (fields[0], fields[1]) = (pid.to_string(), ticks);
    let mut of_it = Marked::start(&fields.join("-"), POLITE);
    fields[2] = "1".into();
    let mut of_another_container = Marked::start(&fields.join("-"), POLITE);
    let mut of_nobody = Marked::start("garbage", POLITE);
    let done = reap(temp.path(), &["--grace", "0"]);
    assert_eq!(done.code, 0, "{}", done.text);
    assert!(done.text.contains(&of_it.subject()), "{}", done.text);
    assert!(done.text.contains(&format!("the runner with pid {pid} is alive")), "{}", done.text);
    assert!(done.text.contains("was started in another container"), "{}", done.text);
    assert!(!done.text.contains(&of_nobody.subject()), "{}", done.text);
    assert!(of_it.is_alive() && of_another_container.is_alive() && of_nobody.is_alive());
}

#[test]
fn a_run_folder_is_removed_once_its_run_has_let_go() {
    let _alone = alone();
    let temp = tempfile::tempdir().unwrap();
    let mine = temp.path().join("runner-mine");
    fs::create_dir_all(mine.join("1/rt")).unwrap();
    fs::write(temp.path().join("runner-file"), "").unwrap();
    fs::create_dir(temp.path().join("other")).unwrap();
    let done = reap(temp.path(), &[]);
    assert_eq!(done.code, 0, "{}", done.text);
    assert!(done.text.contains(&format!("removed {}", mine.display())), "{}", done.text);
    assert!(!mine.exists());
    assert!(temp.path().join("runner-file").exists() && temp.path().join("other").exists());
}

#[test]
fn a_locked_run_folder_stays() {
    let _alone = alone();
    // Its own, wherever that is: the variable cannot be changed for this process alone.
    let folder = RunFolder::create().unwrap();
    let temp = folder.path().parent().unwrap();
    let done = reap(temp, &["-n"]);
    // Other runs of this machine may be told of in the same line.
    let own = folder.path().display().to_string();
    let is_told = |line: &str| {
        line.trim_start().starts_with("left alone ")
            && (line.contains(&own) || line.contains("more: its run lives"))
    };
    assert!(done.text.lines().any(is_told), "{}", done.text);
    folder.remove().unwrap();
}
