//! A program under way: what it says, who is below it, what is left of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runner_core::process;

/// Longer than anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// In the environment of a program and of whatever it starts.
const MARK: &str = "RUNNER_ENDINGS_TEST";

pub(crate) struct Started {
    pub(crate) process: Child,
    output: PathBuf,
    mark: String,
}

impl Started {
    /// Its output goes to a file: a pipe could fill.
    pub(crate) fn new(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        let output = folder.join("output");
        let file = fs::File::create(&output).expect("a file in it");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("the same file")).stderr(file);
        Self::with_output(command, &folder, output)
    }

    pub(crate) fn with_output(command: &mut Command, folder: &Path, output: PathBuf) -> Self {
        let mark = folder.display().to_string();
        let process = command.env(MARK, &mark).spawn().expect("a built program");
        Self { process, output, mark }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("our own child");
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < until, "not in a minute: {what}\n{}", self.text());
            std::thread::yield_now();
        }
    }

    #[track_caller]
    pub(crate) fn until_said(&self, words: &str) {
        self.until(words, |this| this.text().contains(words));
    }

    #[track_caller]
    pub(crate) fn until_stopped(&self) {
        self.until("stopped", |this| state(this.pid()) == Some('T'));
    }

    #[track_caller]
    pub(crate) fn until_ended(&self) {
        self.until("ended", |this| matches!(state(this.pid()), Some('Z') | None));
    }

    /// Its exit code; whatever is left of it then is a failure.
    #[track_caller]
    pub(crate) fn end(mut self) -> (i32, String) {
        self.until_ended();
        let status = self.process.wait().expect("our own child");
        assert_eq!(self.left(), Vec::<String>::new(), "is left of:\n{}", self.text());
        (status.code().unwrap_or(-1), self.text())
    }

    /// Living processes with its mark but itself.
    pub(crate) fn left(&self) -> Vec<String> {
        let wanted = format!("{MARK}={}", self.mark);
        let is_marked = |pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        };
        let others = process::all().into_iter().filter(|pid| *pid != self.pid());
        let marked = others.filter(is_marked).filter_map(process::brief);
        marked.filter(|it| it.state != 'Z').map(|it| it.command).collect()
    }
}

pub(crate) fn state(pid: i32) -> Option<char> {
    process::brief(pid).map(|it| it.state)
}

/// First processes of cases below a program, by the name that they have there.
pub(crate) fn threads_named(pid: i32, name: &str) -> Vec<i32> {
    let below = process::descendants(pid).into_iter().filter_map(process::read);
    let with = below.filter(|it| it.threads.iter().any(|thread| thread.name == name));
    with.map(|it| it.pid).collect()
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../suites/fixtures")
}

/// The runner, without what this test's own harness and cargo set.
pub(crate) fn runner(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.current_dir(folder).env_remove("RUST_BACKTRACE").env_remove("CI");
    command
}

/// The suite of bad tests, as cargo and nextest start it.
pub(crate) fn look_alike() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args(["test", "--no-run", "--test", "bad", "--message-format", "json"])
            .current_dir(fixtures())
            .output()
            .expect("cargo");
        let messages = String::from_utf8_lossy(&built.stdout);
        let json = |line| serde_json::from_str::<serde_json::Value>(line).ok();
        let found = messages.lines().filter_map(json);
        found
            .into_iter()
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .expect("the test target's executable")
    });
    let mut command = Command::new(binary);
    command.current_dir(fixtures()).env_remove("RUST_BACKTRACE");
    command
}
