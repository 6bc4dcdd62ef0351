//! Plays the runner for one supervisor, and says what came of a case.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use runner_core::memory::Memory;
use runner_core::protocol::{
    Attempt, Capture, Clocks, Facts, FromSupervisor, Hang, PROTOCOL_VERSION, Resources,
    ToSupervisor, Work, receive, role, send, variable,
};
use runner_core::report;
use runner_core::symbols::Symboliser;

/// A supervisor of this binary. It ends when this is dropped.
pub(crate) struct Bench {
    control: UnixStream,
    pub(crate) memory: Memory,
    process: Child,
    folder: tempfile::TempDir,
    /// Where its stdout and stderr lead, if not to ours.
    stdout: Option<File>,
}

impl Bench {
    pub(crate) fn start() -> Self {
        Self::start_into(Command::new("/proc/self/exe"), None)
    }

    /// As a shell's background job.
    pub(crate) fn start_where_interrupts_are_ignored() -> Self {
        let mut command = Command::new("env");
        command.arg("--ignore-signal=HUP,INT,QUIT");
        command.arg(std::env::current_exe().expect("a file of this process"));
        Self::start_into(command, None)
    }

    /// Its fds 1 and 2 lead into a file.
    pub(crate) fn start_with_stdout() -> Self {
        let file = tempfile::tempfile().expect("a file");
        Self::start_into(Command::new("/proc/self/exe"), Some(file))
    }

    fn start_into(mut command: Command, stdout: Option<File>) -> Self {
        let (mut control, theirs) = UnixStream::pair().expect("a socket pair");
        control.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        let memory = Memory::create(0).expect("attempt memory");
        inherit(&theirs);
        inherit(&memory.fd());
        if let Some(file) = &stdout {
            command.stdout(file.try_clone().expect("a copy"));
            command.stderr(file.try_clone().expect("a copy"));
        }
        let process = command
            .env(variable::ROLE, role::SUPERVISOR)
            .env(variable::CONTROL, theirs.as_raw_fd().to_string())
            .env(variable::MEMORY, memory.fd().as_raw_fd().to_string())
            .stdin(Stdio::null())
            .spawn()
            .expect("this binary");
        fcntl(memory.fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("our own fd");
        send(&mut control, &ToSupervisor::Hello { protocol: PROTOCOL_VERSION }).expect("sent");
        let greeting: FromSupervisor = receive(&mut control).expect("a greeting");
        assert_eq!(greeting, FromSupervisor::Hello { protocol: PROTOCOL_VERSION });
        let folder = tempfile::tempdir().expect("a folder");
        Self { control, memory, process, folder, stdout }
    }

    /// An attempt of a test of `bodies`, with a deadline that no test waits for in vain.
    pub(crate) fn attempt(&self, test: &str) -> Attempt {
        Attempt {
            case_id: format!("{test}::plain"),
            work: Work::Test { name: format!("bodies::{test}") },
            backend: "plain".into(),
            axes: std::collections::BTreeMap::new(),
            attempt: 1,
            slot: 0,
            seed: 0,
            env: vec![("FOLDER".into(), self.folder.path().display().to_string())],
            cwd: PathBuf::from("/"),
            temp_dir: self.folder.path().join("attempt"),
            capture: Capture::Sys,
            clocks: Clocks {
                slow_after: Duration::from_secs(60),
                deadline: Some(Duration::from_secs(20)),
                grace: Duration::from_millis(50),
                leak_after: Duration::from_millis(100),
            },
            max_processes: 512,
            leak_allow: Vec::new(),
            resources: Resources::Ignore,
        }
    }

    pub(crate) fn say(&mut self, message: &ToSupervisor) {
        send(&mut self.control, message).expect("sent");
    }

    pub(crate) fn begin(&mut self, attempt: Attempt) {
        self.memory.reset();
        self.say(&ToSupervisor::Start(Box::new(attempt)));
    }

    pub(crate) fn hear(&mut self) -> FromSupervisor {
        receive(&mut self.control).expect("an answer")
    }

    /// Waits for the end of the attempt.
    pub(crate) fn facts(&mut self) -> Facts {
        loop {
            match self.hear() {
                FromSupervisor::Finished(facts) => return *facts,
                FromSupervisor::Debugged => {}
                other => panic!("not the end: {other:?}"),
            }
        }
    }

    /// Runs an attempt to its end.
    pub(crate) fn run(&mut self, attempt: Attempt) -> Facts {
        self.begin(attempt);
        self.facts()
    }

    /// Lets a case run into its deadline as soon as it says `ready`, and shows its hang report.
    pub(crate) fn hang_report(&mut self, test: &str) -> String {
        self.begin(self.attempt(test));
        self.wait_for("ready");
        self.say(&ToSupervisor::Expire);
        let facts = self.facts();
        shown(&facts.hang.expect("a hang"))
    }

    /// Waits until the case has said so.
    pub(crate) fn wait_for(&self, words: &str) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !self.said().contains(words) {
            assert!(Instant::now() < patience, "no {words} in: {}", self.said());
            std::thread::yield_now();
        }
    }

    /// What `waits` and its like wait for.
    pub(crate) fn let_go(&self) {
        std::fs::write(self.folder.path().join("go"), "").expect("written");
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// What went to its real fds 1 and 2.
    pub(crate) fn stdout(&self) -> String {
        let mut text = String::new();
        let mut file = self.stdout.as_ref().expect("a file");
        file.rewind().and_then(|()| file.read_to_string(&mut text)).expect("text");
        text
    }

    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&report::attributed(&self.memory.output())).into_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        let _ = self.process.wait();
    }
}

pub(crate) fn shown(hang: &Hang) -> String {
    report::hang("case", hang, &mut Symboliser::new())
}

fn inherit(fd: &impl AsFd) {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).expect("our own fd");
}
