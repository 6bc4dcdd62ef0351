//! The built runner on the fixture workspace: real suite binaries, real actors, everything that
//! goes wrong on purpose.
//!
//! What outcome each case must have, in all three faces, is `ci/compare-faces`' business; here is
//! what a person sees of them, and what is left when the runner itself is ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The promise: nothing that the runner started is alive so long after its SIGKILL.
const GONE_AFTER: Duration = Duration::from_secs(2);

#[test]
fn a_spinning_body_is_named_by_its_function() {
    let run = finished(&["hangs::spins_with_all_signals_blocked"]);
    assert_eq!(run.code, 100);
    assert!(run.text.contains("TIMEOUT"), "{}", run.text);
    assert!(run.text.contains("raw::spin_until_killed"), "{}", run.text);
}

#[test]
fn a_spinning_actor_is_named_on_every_backend() {
    let run = finished(&["spins_in_an_actor"]);
    for backend in ["exec", "forkserver", "fork", "thread_forkserver"] {
        let report = run.hang_report(&format!("spins_in_an_actor::{backend}"));
        let named = report.lines().any(|line| line.contains("actor[spinner@"));
        assert!(named, "on {backend}:\n{report}");
    }
    let report = run.hang_report("spins_in_an_actor::thread");
    assert!(report.contains("`spinner` in actors::spin_until_killed"), "{report}");
}

#[test]
fn the_last_events_of_a_hung_actor_and_of_who_waits_for_it_are_told() {
    let run = finished(&["spins_in_an_actor"]);
    for backend in ["exec", "forkserver", "fork", "thread", "thread_forkserver"] {
        let report = run.hang_report(&format!("spins_in_an_actor::{backend}"));
        let (_, events) = report.split_once("last events").unwrap_or_else(|| panic!("{report}"));
        for (teller, event) in
            [("root@", "waiting for a call of actors::spin"), ("spinner@", "begins actors::spin")]
        {
            let told = |line: &str| line.contains(&format!("] {teller}")) && line.ends_with(event);
            assert!(events.lines().any(told), "no `{event}` on {backend}:\n{report}");
        }
    }
}

#[test]
fn the_last_events_of_a_killed_actor_are_shown_beside_the_failure() {
    let run = finished(&["prints_and_kills_itself"]);
    for backend in ["exec", "forkserver", "fork", "thread_forkserver"] {
        let begun = run.text.split_once(&format!("prints_and_kills_itself::{backend}\n"));
        let shown = begun.and_then(|(_, after)| after.split_once("again: "));
        let (shown, _) = shown.unwrap_or_else(|| panic!("no {backend}:\n{}", run.text));
        for event in ["begins actors::print_and_die", "ended: signal 9 (SIGKILL)"] {
            assert!(shown.lines().any(|line| line.ends_with(event)), "no `{event}`:\n{shown}");
        }
    }
}

#[test]
fn the_last_words_of_killed_actors_are_shown_with_their_names() {
    let run = finished(&["prints_and_kills_itself"]);
    for backend in ["exec", "forkserver", "fork", "thread_forkserver"] {
        let output = run.output(&format!("prints_and_kills_itself::{backend}"));
        for words in ["| last words on stdout", "| and on stderr, unfinished"] {
            let line = output.lines().find(|line| line.contains(words));
            assert!(
                line.is_some_and(|line| line.starts_with("doomed[")),
                "on {backend}:\n{output}"
            );
        }
    }
}

#[test]
fn a_flood_from_a_tree_of_actors_is_kept_whole_and_attributed() {
    let run = finished(&["leaves_flood_and_fail"]);
    for backend in ["exec", "forkserver", "fork", "thread", "thread_forkserver"] {
        let output = run.output(&format!("leaves_flood_and_fail::{backend}"));
        for leaf in leaves() {
            let (writer, said) = (format!("{leaf}["), format!("| {leaf} line "));
            let own = |line: &&str| line.starts_with(&writer) && line.contains(&said);
            let lines = output.lines().filter(own).count();
            assert_eq!(lines, 1024, "of {leaf} on {backend}");
        }
    }
}

#[test]
fn an_interrupt_is_answered_and_a_second_one_ends_it() {
    let mut runner = Running::start(&["hangs::", "-j", "4"]);
    runner.wait_for("hangs::stops_itself");
    let asked = Instant::now();
    runner.signal(Signal::SIGINT);
    runner.wait_for("Canceling");
    assert!(asked.elapsed() < Duration::from_secs(1));
    runner.signal(Signal::SIGINT);
    assert_eq!(runner.wait().code, 100);
    assert_eq!(still_alive(runner.mark()), Vec::<String>::new());
}

#[test]
fn a_run_that_was_ended_before_anything_failed_is_no_success() {
    // Its own deadline, a second, is not to be what ends it.
    let mut runner = Running::start(&["hangs::sleeps_for_ever", "--timeout-scale", "60"]);
    runner.wait_for("hangs::sleeps_for_ever");
    runner.signal(Signal::SIGINT);
    let run = runner.wait();
    assert_eq!(run.code, 100, "{}", run.text);
    assert!(run.text.contains("1 case run: 0 passed, 1 interrupted"), "{}", run.text);
}

#[test]
fn a_killed_runner_takes_everything_along() {
    for case in [
        "leaves::a_setsid_daemon",
        "hangs::ignores_sigterm",
        "hangs::stops_itself",
        "hangs::spins_with",
    ] {
        let mut runner = Running::start(&[case, "-j", "8"]);
        runner.wait_for(case);
        runner.signal(Signal::SIGKILL);
        runner.reap();
        let killed = Instant::now();
        while killed.elapsed() < GONE_AFTER && !still_alive(runner.mark()).is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(still_alive(runner.mark()), Vec::<String>::new(), "after {case}");
    }
}

/// What `cargo nextest run` does when its own clock runs out.
#[test]
fn a_sigterm_to_the_look_alike_is_answered_with_a_hang_report() {
    let mut face = look_alike("hangs::spins_with_all_signals_blocked::plain");
    face.wait_until(|| !descendants_named(face.process.id(), "body").is_empty());
    face.signal(Signal::SIGTERM);
    let answer = face.wait();
    assert_eq!(answer.code, 101);
    assert!(answer.text.contains("TIMEOUT"), "{}", answer.text);
    assert!(answer.text.contains("raw::spin_until_killed"), "{}", answer.text);
    assert_eq!(still_alive(face.mark()), Vec::<String>::new());
}

/// … and when that is not answered in time.
#[test]
fn a_killed_look_alike_takes_everything_along() {
    let mut face = look_alike("hangs::ignores_sigterm_and_sigint::plain");
    face.wait_until(|| !descendants_named(face.process.id(), "body").is_empty());
    face.signal(Signal::SIGKILL);
    face.reap();
    let killed = Instant::now();
    while killed.elapsed() < GONE_AFTER && !still_alive(face.mark()).is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(still_alive(face.mark()), Vec::<String>::new());
}

/// The eight leaves of `leaves_flood_and_fail`.
fn leaves() -> Vec<String> {
    let sides = ["left", "right"];
    let mut leaves = vec!["root".to_owned()];
    for _ in 0..3 {
        let below = |name: &String| sides.map(|side| format!("{name}.{side}"));
        leaves = leaves.iter().flat_map(below).collect();
    }
    leaves
}

/// A run that has ended.
struct Finished {
    code: i32,
    text: String,
}

/// A run under way, with its output in a file: a pipe could fill.
struct Running {
    process: Child,
    output: PathBuf,
    mark: String,
}

fn finished(arguments: &[&str]) -> Finished {
    Running::start(arguments).wait()
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        build();
        Self::of(runner().args(["--no-fail-fast"]).args(arguments))
    }

    fn of(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        let output = folder.join("output");
        let file = fs::File::create(&output).expect("a file in it");
        let mark = folder.display().to_string();
        let process = command
            .env(MARK, &mark)
            .stdout(file.try_clone().expect("the same file"))
            .stderr(file)
            .spawn()
            .expect("a built program");
        Self { process, output, mark }
    }

    fn mark(&self) -> &str {
        &self.mark
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Waits until the run has said so, or started a case of that name.
    fn wait_for(&mut self, words: &str) {
        let patience = Instant::now() + Duration::from_secs(60);
        while !self.text().contains(words) && !self.has_started(words) {
            let ended = self.process.try_wait().expect("our own child");
            assert!(ended.is_none(), "ended without {words}:\n{}", self.text());
            assert!(Instant::now() < patience, "no {words} in a minute:\n{}", self.text());
            std::thread::yield_now();
        }
    }

    fn wait_until(&self, is_so: impl Fn() -> bool) {
        let patience = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < patience, "not in a minute:\n{}", self.text());
            std::thread::yield_now();
        }
    }

    fn has_started(&self, case: &str) -> bool {
        let Some(folder) = run_folder(&self.text()) else {
            return false;
        };
        let events = fs::read_to_string(folder.join("events.jsonl")).unwrap_or_default();
        let started = |line: &str| line.contains("attempt-started") && line.contains(case);
        events.lines().any(started)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().cast_signed());
        kill(pid, signal).expect("our own child");
    }

    fn reap(&mut self) {
        self.process.wait().expect("our own child");
    }

    fn wait(&mut self) -> Finished {
        let status = self.process.wait().expect("our own child");
        Finished { code: status.code().unwrap_or(-1), text: self.text() }
    }
}

impl Finished {
    fn output(&self, case: &str) -> String {
        self.file_of(case, "output")
    }

    fn hang_report(&self, case: &str) -> String {
        self.file_of(case, "hang_report")
    }

    /// A file that the event log names for a case.
    fn file_of(&self, case: &str, field: &str) -> String {
        let folder = run_folder(&self.text).expect("the run's id in its output");
        let events = fs::read_to_string(folder.join("events.jsonl")).expect("the event log");
        let events = events.lines().filter_map(|line| serde_json::from_str(line).ok());
        let of_case = |event: &serde_json::Value| {
            event["event"] == "attempt-finished" && event["case"]["id"] == case
        };
        let event =
            events.into_iter().find(of_case).unwrap_or_else(|| panic!("no {case}:\n{}", self.text));
        let name = event[field].as_str().unwrap_or_else(|| panic!("no {field} of {case}"));
        String::from_utf8_lossy(&fs::read(folder.join(name)).expect("the file")).into_owned()
    }
}

/// What tells processes of one run of the runner from all others: it is in their environment.
const MARK: &str = "RUNNER_FIXTURE_TEST";

/// Processes with that mark, by pid and command.
fn still_alive(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let marked = |folder: &Path| {
        let environment = fs::read(folder.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let folders = processes.map(|entry| entry.path()).filter(|folder| marked(folder));
    folders
        .map(|folder| {
            let command = fs::read_to_string(folder.join("cmdline")).unwrap_or_default();
            format!("{} {}", folder.display(), command.replace('\0', " "))
        })
        .collect()
}

/// The folder of the run that this output is of: ` Run ID, seed …`.
fn run_folder(text: &str) -> Option<PathBuf> {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("Run "))?;
    let (id, _) = line.split_once(',')?;
    Some(workspace().join("target/runner/runs").join(id))
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../suites/fixtures")
}

/// The runner in the fixture workspace, without what this test's own harness and cargo set.
fn runner() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command
        .current_dir(workspace())
        .stdin(Stdio::null())
        .env_remove("RUST_BACKTRACE")
        .env_remove("CI");
    command
}

/// The suite binary itself, as nextest starts it for one case.
fn look_alike(case: &str) -> Running {
    build();
    let built = Command::new(env!("CARGO"))
        .args(["test", "--no-run", "--test", "bad", "--message-format", "json"])
        .current_dir(workspace())
        .output()
        .expect("cargo");
    let messages = String::from_utf8_lossy(&built.stdout);
    let binary = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("the test target's executable");
    let mut command = Command::new(binary);
    Running::of(
        command
            .args(["--exact", case, "--nocapture"])
            .current_dir(workspace())
            .stdin(Stdio::null())
            .env_remove("RUST_BACKTRACE"),
    )
}

/// Threads of that name below a process.
fn descendants_named(pid: u32, name: &str) -> Vec<i32> {
    let below = runner_core::process::descendants(pid.cast_signed());
    let processes = below.into_iter().filter_map(runner_core::process::read);
    let threads = processes.flat_map(|process| process.threads);
    threads.filter(|thread| thread.name == name).map(|thread| thread.tid).collect()
}

/// Builds the fixtures once, so that no test waits for cargo while its clock runs.
fn build() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let listed = runner().arg("list").output().expect("the built runner");
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    });
}
