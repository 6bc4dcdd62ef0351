//! What a test does with a driver: starts it, reads what it says, sees what it leaves.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runner_core::event::{Event, Finished};
use runner_core::outcome::{FlakyPolicy, Outcome};

use crate::driver::{Line, MARK, SCENARIO, Scenario, Suite};

/// A scenario with one suite, one slot, and little patience.
pub(crate) fn scenario(cases: &[&str]) -> Scenario {
    Scenario {
        suites: vec![suite("suite", cases)],
        slots: 1,
        fail_fast: None,
        groups: BTreeMap::new(),
        global_timeout: None,
        stress: None,
        retries: (0, Duration::ZERO),
        flaky: FlakyPolicy::Pass,
        silence_limit: Duration::from_secs(2),
        keep_all_output: false,
        run_dir: PathBuf::new(),
    }
}

pub(crate) fn suite(name: &str, cases: &[&str]) -> Suite {
    let cases = cases.iter().map(ToString::to_string).collect();
    Suite { name: name.into(), cases, env: Vec::new(), file: None }
}

/// A driver that takes longer is killed.
const LIMIT: Duration = Duration::from_secs(60);

/// A driver under way.
pub(crate) struct Driver {
    process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    seen: Vec<Event>,
    mark: String,
    run_dir: tempfile::TempDir,
    temp: tempfile::TempDir,
    /// Dropped when the driver is done with.
    _limit: SyncSender<()>,
}

/// A run that came to its end and left no process and no temporary file.
pub(crate) struct Run {
    pub(crate) events: Vec<Event>,
    pub(crate) not_started: usize,
    pub(crate) interrupted: bool,
    pub(crate) problems: Vec<String>,
    run_dir: tempfile::TempDir,
}

/// Runs a scenario to its end.
pub(crate) fn run(scenario: Scenario) -> Run {
    Driver::start(scenario).wait()
}

impl Driver {
    pub(crate) fn start(scenario: Scenario) -> Self {
        Self::start_as(Command::new(std::env::current_exe().unwrap()), scenario)
    }

    /// By a command that becomes this very program.
    pub(crate) fn start_as(mut command: Command, mut scenario: Scenario) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{number}", std::process::id());
        let run_dir = tempfile::tempdir().unwrap();
        let temp = tempfile::tempdir().unwrap();
        scenario.run_dir = run_dir.path().to_owned();
        let mut process = command
            .env(SCENARIO, serde_json::to_string(&scenario).unwrap())
            .env(MARK, &mark)
            .env("TMPDIR", temp.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let limit = limit(mark.clone());
        Self { process, lines, seen: Vec::new(), mark, run_dir, temp, _limit: limit }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).unwrap();
    }

    /// Waits until the driver is stopped.
    pub(crate) fn until_stopped(&self) {
        let pid = self.process.id().cast_signed();
        while runner_core::process::read(pid).is_none_or(|process| process.state != 'T') {
            std::thread::yield_now();
        }
    }

    /// The text of a file of the run so far.
    pub(crate) fn read(&self, file: &Path) -> String {
        std::fs::read_to_string(self.run_dir.path().join(file)).unwrap()
    }

    /// The last event that was waited for.
    pub(crate) fn last_seen(&self) -> &Event {
        self.seen.last().unwrap()
    }

    /// Kills everything that the driver started.
    pub(crate) fn kill_others(&self) {
        for (pid, _) in marked(&self.mark) {
            if pid != self.process.id().cast_signed() {
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            }
        }
    }

    /// Waits until nothing that the driver started is alive, and the kernel says so to whoever waits.
    pub(crate) fn until_alone(&self) {
        let driver = self.process.id();
        while !processes_with(&self.mark, driver).is_empty() || has_living_child(driver) {
            std::thread::yield_now();
        }
    }

    /// Reads events up to one that is wanted.
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&Event) -> bool) {
        loop {
            match self.next_line() {
                Line::Event(event) => {
                    self.seen.push(event);
                    if self.seen.last().is_some_and(&wanted) {
                        return;
                    }
                }
                other => panic!("{other:?} after {:#?}", self.seen),
            }
        }
    }

    /// Reads to the end and looks what is left.
    pub(crate) fn wait(mut self) -> Run {
        let (not_started, interrupted, problems) = loop {
            match self.next_line() {
                Line::Event(event) => self.seen.push(event),
                Line::Over { not_started, interrupted, problems } => {
                    break (not_started, interrupted, problems);
                }
                Line::Error(error) => panic!("{error}"),
            }
        };
        // What is alive now was alive when `run` returned: the driver only exits after it.
        let left = processes_with(&self.mark, self.process.id());
        assert_eq!(left, Vec::<String>::new(), "processes are left");
        assert!(self.process.wait().unwrap().success());
        let files: Vec<_> = std::fs::read_dir(self.temp.path()).unwrap().collect();
        assert!(files.is_empty(), "temporary files are left: {files:?}");
        let Self { seen: events, run_dir, .. } = self;
        Run { events, not_started, interrupted, problems, run_dir }
    }

    fn next_line(&mut self) -> Line {
        let line = self.lines.next().expect("the driver ended without a last line").unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Run {
    /// The ends of attempts, in the order in which they were told.
    pub(crate) fn finished(&self) -> Vec<&Finished> {
        self.events.iter().filter_map(as_finished).collect()
    }

    /// Test and outcome of each attempt.
    pub(crate) fn outcomes(&self) -> Vec<(&str, &'static str)> {
        let pair = |finished: &Finished| finished.outcome.word();
        self.finished().iter().map(|f| (f.case.test.as_str(), pair(f))).collect()
    }

    /// The fault message of a case.
    pub(crate) fn fault_of(&self, test: &str) -> &str {
        match &self.of(test).outcome {
            Outcome::RunnerFault { message } => message,
            other => panic!("{test}: {other:?}"),
        }
    }

    pub(crate) fn of(&self, test: &str) -> &Finished {
        self.finished().into_iter().find(|f| f.case.test == test).unwrap()
    }

    /// What a supervisor told of itself in a case.
    pub(crate) fn told(&self, test: &str) -> serde_json::Value {
        match &self.of(test).outcome {
            Outcome::Fail { message, .. } => serde_json::from_str(message).unwrap(),
            other => panic!("{test}: {other:?}"),
        }
    }

    /// The text of a file of the run.
    pub(crate) fn read(&self, file: Option<&PathBuf>) -> String {
        std::fs::read_to_string(self.run_dir.path().join(file.expect("a file"))).unwrap()
    }

    pub(crate) fn lost(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::SupervisorLost { .. })).count()
    }
}

/// Kills a driver that is not done in time, and all it started: then its test fails.
fn limit(mark: String) -> SyncSender<()> {
    let (done_tx, done_rx) = sync_channel(0);
    let watch = move || {
        if done_rx.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            for (pid, _) in marked(&mark) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    };
    // Nobody joins it: it ends with its channel, or with this process.
    Builder::new().name("limit".into()).spawn(watch).unwrap();
    done_tx
}

/// Living processes with this mark in their environment, but for one.
fn processes_with(mark: &str, except: u32) -> Vec<String> {
    let others = marked(mark).into_iter().filter(|(pid, _)| *pid != except.cast_signed());
    others.map(|(pid, command)| format!("{pid} {command}")).collect()
}

/// Living processes with this mark in their environment, and their command lines.
fn marked(mark: &str) -> Vec<(i32, String)> {
    let wanted = format!("{MARK}={mark}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes()) {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    found
}

/// A dying process has no environment any more, for a while before it is a zombie.
fn has_living_child(pid: u32) -> bool {
    let mut pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    pids.any(|child| {
        let read = runner_core::process::brief(child);
        read.is_some_and(|child| child.parent == pid.cast_signed() && child.state != 'Z')
    })
}

fn as_finished(event: &Event) -> Option<&Finished> {
    match event {
        Event::AttemptFinished(finished) => Some(finished),
        _ => None,
    }
}

pub(crate) fn is_start_of(event: &Event, test: &str) -> bool {
    matches!(event, Event::AttemptStarted { case, .. } if case.test == test)
}
