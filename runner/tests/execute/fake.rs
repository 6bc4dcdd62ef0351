//! A supervisor that speaks the protocol and does what the case's name says, right or wrong.
#![expect(unsafe_code, reason = "takes inherited fds by number")]

use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use runner_core::memory::{Memory, Stream, Writer};
use runner_core::process;
use runner_core::protocol::{
    Attempt, Done, End, Facts, FromSupervisor, Hang, PROTOCOL_VERSION, ProcessHang, ProtocolError,
    Stack, Stopped, ToSupervisor, Trace, Work, receive, send, variable,
};

/// Chooses how it greets.
pub(crate) const GREETING: &str = "EXECUTE_GREETING";

pub(crate) fn main() {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let control = UnixStream::from(inherited(variable::CONTROL));
    let memory = Memory::open(inherited(variable::MEMORY)).unwrap();
    let mut fake = Fake { control, memory };
    fake.greet();
    loop {
        match receive(&mut fake.control) {
            Ok(ToSupervisor::Start(attempt)) => fake.attempt(&attempt),
            Ok(_) => {}
            Err(ProtocolError::Closed | ProtocolError::Io(_)) => return,
            Err(error) => panic!("the executor {error}"),
        }
    }
}

struct Fake {
    control: UnixStream,
    memory: Memory,
}

impl Fake {
    fn greet(&mut self) {
        match std::env::var(GREETING).as_deref().unwrap_or("right") {
            "right" => self.say(&FromSupervisor::Hello { protocol: PROTOCOL_VERSION }),
            "other version" => self.say(&FromSupervisor::Hello { protocol: 99 }),
            "none" => for_ever(),
            "death" => std::process::exit(9),
            "garbage" => self.write(&[4, 0, 0, 0, b'o', b'o', b'p', b's']),
            other => panic!("unknown greeting {other}"),
        }
    }

    fn attempt(&mut self, attempt: &Attempt) {
        self.memory.begin();
        let Work::Test { name } = &attempt.work else {
            panic!("the executor was given tests only");
        };
        match name.as_str() {
            "fails" => self.end(failed("as it should")),
            "fails twice" if attempt.attempt <= 2 => {
                self.print("hello from a failed try\n");
                self.end(failed("not yet"));
            }
            "tells" | "tells again" => self.end(failed(&facts_of_this_process(attempt))),
            "prints" => {
                self.print("hello from an actor\n");
                self.end(failed("after printing"));
            }
            "prints and passes" => {
                self.print("hello\n");
                self.end(facts(Some(Done::Passed)));
            }
            "dies" => {
                self.print("last words\n");
                leave_daemons();
                raise(Signal::SIGKILL).unwrap();
            }
            "leaves a chain" => {
                std::fs::create_dir_all(&attempt.temp_dir).unwrap();
                leave_chain(attempt);
                raise(Signal::SIGKILL).unwrap();
            }
            "exits" => std::process::exit(3),
            "stops" => raise(Signal::SIGSTOP).unwrap(),
            "is silent" => for_ever(),
            "closes" => {
                self.control.shutdown(std::net::Shutdown::Both).unwrap();
                for_ever();
            }
            "sends garbage" => self.write(&[4, 0, 0, 0, b'o', b'o', b'p', b's']),
            "sends a huge frame" => self.write(&[0xff; 4]),
            "sends half a frame" => {
                self.write(&[100, 0, 0, 0, b'{']);
                for_ever();
            }
            "finishes twice" => {
                self.end(facts(Some(Done::Passed)));
                self.end(facts(Some(Done::Passed)));
            }
            "finishes and dies" => {
                self.end(facts(Some(Done::Passed)));
                raise(Signal::SIGKILL).unwrap();
            }
            "fails once" if attempt.attempt == 1 => self.end(failed("at first")),
            "finishes and dies behind its back" => {
                until_parent_is_stopped();
                self.end(facts(Some(Done::Passed)));
                raise(Signal::SIGKILL).unwrap();
            }
            "gives up" => self.say(&FromSupervisor::Fault { message: "cannot fork".into() }),
            "floods" => {
                for _ in 0..10_000 {
                    self.say(&FromSupervisor::Slow { elapsed: Duration::from_secs(1) });
                }
                self.end(facts(Some(Done::Passed)));
            }
            "hangs" => self.end(hang()),
            "leaves an unkillable" => {
                let unkillable = vec![process::read(std::process::id().cast_signed()).unwrap()];
                self.end(Facts { unkillable, ..facts(None) });
            }
            "will not leave" => {
                self.end(facts(Some(Done::Passed)));
                for_ever();
            }
            "ends while all stops" => {
                while receive::<ToSupervisor>(&mut self.control).unwrap() != ToSupervisor::Pause {}
                self.end(facts(Some(Done::Passed)));
                self.say(&FromSupervisor::Paused);
            }
            "answers" => self.answer_until_resumed(),
            "is polite" => self.until(&ToSupervisor::Interrupt),
            "is stubborn" => self.until(&ToSupervisor::Kill),
            "is deaf" => {
                leave_daemons();
                for_ever();
            }
            _ => self.end(facts(Some(Done::Passed))),
        }
    }

    /// Ends the attempt when it is told just that.
    fn until(&mut self, wanted: &ToSupervisor) {
        while receive::<ToSupervisor>(&mut self.control).unwrap() != *wanted {}
        self.end(Facts { stopped: Some(Stopped::Interrupted), ..facts(None) });
    }

    /// Ends the attempt when it is told to end or to go on.
    fn answer_until_resumed(&mut self) {
        loop {
            match receive::<ToSupervisor>(&mut self.control).unwrap() {
                ToSupervisor::Pause => self.say(&FromSupervisor::Paused),
                ToSupervisor::Resume => return self.end(facts(Some(Done::Passed))),
                ToSupervisor::Inspect => {
                    let hang = hang().hang.unwrap();
                    self.say(&FromSupervisor::Inspected(Box::new(hang)));
                }
                _ => {
                    return self.end(Facts { stopped: Some(Stopped::Interrupted), ..facts(None) });
                }
            }
        }
    }

    fn end(&mut self, facts: Facts) {
        self.say(&FromSupervisor::Finished(Box::new(facts)));
    }

    fn say(&mut self, message: &FromSupervisor) {
        if send(&mut self.control, message).is_err() {
            std::process::exit(1);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.control.write_all(bytes).unwrap();
    }

    fn print(&self, text: &str) {
        let pid = std::process::id().cast_signed();
        let writer = Writer { pid, tid: pid, name: *b"actor\0\0\0\0\0\0\0\0\0\0\0" };
        self.memory.write(&writer, Stream::Stdout, text.as_bytes());
    }
}

/// A name to look for in a hang report.
#[inline(never)]
pub(crate) fn a_function_that_spins() -> u64 {
    a_function_that_spins as fn() -> u64 as usize as u64
}

fn hang() -> Facts {
    let pid = std::process::id().cast_signed();
    let trace = Trace::Calls(vec![a_function_that_spins() + 1]);
    let stack = Stack { tid: pid, name: "main".into(), trace };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let process =
        ProcessHang { maps, stacks: vec![stack], ..ProcessHang::bare(process::read(pid).unwrap()) };
    let hang = Hang { processes: vec![process], ..Hang::default() };
    Facts { stopped: Some(Stopped::Deadline), hang: Some(hang), ..facts(None) }
}

fn failed(message: &str) -> Facts {
    facts(Some(Done::Failed { message: message.into() }))
}

fn facts(done: Option<Done>) -> Facts {
    Facts::bare(End::Exited(0), done, Duration::from_millis(5))
}

/// A child, a grandchild in a session of its own with closed stdio, and one that ignores SIGTERM.
fn leave_daemons() {
    shell("sleep 1000 & setsid sleep 1000 <&- >&- 2>&- & trap '' TERM INT; sleep 1000");
}

/// Processes that each start the next one and exit, as long as the attempt's folder is there.
fn leave_chain(attempt: &Attempt) {
    let folder = attempt.temp_dir.display();
    shell(&format!("link() {{ [ -e '{folder}' ] && link & exit 0; }}; link"));
}

#[expect(clippy::zombie_processes, reason = "they are to be left")]
fn shell(script: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap();
}

/// What the executor promises about the process it starts.
fn facts_of_this_process(attempt: &Attempt) -> String {
    let pid = nix::unistd::getpid();
    let session = nix::unistd::getsid(None).unwrap();
    let mut variables: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    variables.sort();
    let link = |path: &str| std::fs::read_link(path).unwrap().display().to_string();
    let fds: Vec<String> = (3..100)
        .filter_map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok())
        .map(|target| target.display().to_string())
        .collect();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    let told = serde_json::json!({
        "own_session": pid == session,
        "pid": pid.as_raw(),
        "cwd": std::env::current_dir().unwrap(),
        "stdin": link("/proc/self/fd/0"),
        "variables": variables,
        "fds": fds,
        "blocked": blocked,
        "argument": std::env::args().next(),
        "attempt": attempt,
    });
    told.to_string()
}

fn inherited(name: &str) -> OwnedFd {
    let number = std::env::var(name).unwrap().parse().unwrap();
    // SAFETY: the executor made this fd for this process, which takes it once.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn until_parent_is_stopped() {
    let parent = nix::unistd::getppid().as_raw();
    while process::read(parent).is_none_or(|parent| parent.state != 'T') {
        std::thread::yield_now();
    }
}

fn for_ever() {
    loop {
        std::thread::park();
    }
}
