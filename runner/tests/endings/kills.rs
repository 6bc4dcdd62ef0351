//! SIGKILL to the runner and to supervisors, at moments that no one has chosen; two runners at
//! once.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runner_core::process;

use crate::started::{Started, fixtures, runner, threads_named};

/// Cases that hang, ignore every request, and leave daemons.
const BAD: [&str; 3] = ["hangs::", "leaves::", "--no-fail-fast"];

/// Supervisors that still live end what is theirs within that.
const GONE_AFTER: Duration = Duration::from_secs(10);

fn bad_run(temp: &Path) -> Started {
    Started::new(runner(&fixtures()).args(BAD).args(["-j", "4"]).env("TMPDIR", temp))
}

/// Kills by a fixed but odd pattern: some moments are before the first case, some between two.
#[test]
fn whatever_is_killed_when_nothing_is_left_but_what_reap_finds() {
    let temp = tempfile::tempdir().unwrap();
    for round in 0..8_u32 {
        let mut run = bad_run(temp.path());
        run.until_said("Starting");
        let moment = Instant::now() + Duration::from_millis(u64::from(round * round * 37));
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        kill_some(&run, round);
        run.process.wait().unwrap();
        let until = Instant::now() + GONE_AFTER;
        while !run.left().is_empty() && Instant::now() < until {
            reap(temp.path());
        }
        assert_eq!(run.left(), Vec::<String>::new(), "round {round}:\n{}", run.text());
        reap(temp.path());
        let folders: Vec<_> = std::fs::read_dir(temp.path()).unwrap().flatten().collect();
        assert!(folders.is_empty(), "round {round}: {folders:?}");
    }
}

/// The runner, stopped first so that it cannot clear up, and every supervisor that the round's
/// bits choose.
fn kill_some(run: &Started, round: u32) {
    run.signal(Signal::SIGSTOP);
    run.until_stopped();
    for (index, supervisor) in process::children(run.pid()).into_iter().enumerate() {
        if round >> (index % 3) & 1 == 1 {
            let _ = kill(Pid::from_raw(supervisor), Signal::SIGKILL);
        }
    }
    run.signal(Signal::SIGKILL);
}

fn reap(temp: &Path) {
    let reaped = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(["reap", "--grace", "0.1"])
        .env("TMPDIR", temp)
        .output()
        .expect("the built runner");
    assert!(reaped.status.code() < Some(2), "{}", String::from_utf8_lossy(&reaped.stderr));
}

/// The one is killed with all its supervisors, and cleared away, while the other runs.
#[test]
fn two_runs_at_once_do_not_touch_each_other() {
    let temp = tempfile::tempdir().unwrap();
    let other = Started::new(
        runner(&fixtures())
            .args(["hangs::spins_in_many_threads::plain", "good::passes::plain", "-j", "1"])
            .env("TMPDIR", temp.path()),
    );
    other.until("it runs", |this| !threads_named(this.pid(), "body").is_empty());
    let mut run = bad_run(temp.path());
    run.until("a case runs", |this| !threads_named(this.pid(), "body").is_empty());
    kill_some(&run, 7);
    run.process.wait().unwrap();
    run.until("all of it is gone", |this| {
        reap(temp.path());
        this.left().is_empty()
    });
    let (code, text) = other.end();
    assert_eq!(code, 100, "{text}");
    assert!(text.contains("TIMEOUT"), "{text}");
    assert!(text.contains("2 cases run: 1 passed, 1 failed"), "{text}");
}
