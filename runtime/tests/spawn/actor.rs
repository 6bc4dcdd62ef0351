//! A small actor for the spawn tests, and the parent's hand on it: one order a line, one answer a line.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use runtime::spawn::{
    Backend, Boot, Child, Link, Pid, Request, SpawnError, SpawnFailure, Step, Unavailable, spawn,
};
use uuid::Uuid;

use crate::proc::side_car;
use crate::variables::set_var;

/// No answer takes this long, on a busy machine either: a test fails then instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends the actors on threads of this process that spin.
pub(crate) static STOP_SPINNING: AtomicBool = AtomicBool::new(false);

/// A child that takes orders.
pub(crate) struct Actor {
    pub(crate) child: Child,
    link: BufReader<UnixStream>,
}

impl Actor {
    /// Starts one and hears that it lives.
    pub(crate) async fn start(backend: Backend) -> Actor {
        Actor::start_named(backend, "pupil").await.expect("a child")
    }

    async fn start_named(backend: Backend, name: &str) -> Result<Actor, SpawnError> {
        let (request, link) = request(backend, name);
        let mut actor = Actor { child: spawn(backend, request).await?, link };
        actor.tell("echo ready");
        while let Some(again) = actor.came_to_nothing() {
            actor.child = spawn(backend, again).await?;
        }
        assert_eq!(actor.hear().as_deref(), Some("ready"));
        Ok(actor)
    }

    /// Waits for its first word, or for its end if it was forked at a bad moment.
    fn came_to_nothing(&self) -> Option<Request> {
        let deadline = Instant::now() + PATIENCE;
        let a_moment = PollTimeout::from(10_u8);
        while poll(&mut [PollFd::new(self.link.get_ref().as_fd(), PollFlags::POLLIN)], a_moment)
            .is_ok_and(|ready| ready == 0)
        {
            assert!(Instant::now() < deadline, "the actor says nothing");
            if let Some(exit) = self.child.try_exit() {
                return self.child.retry(&exit);
            }
        }
        self.child.is_heard();
        None
    }

    pub(crate) async fn start_with(
        backend: Backend,
        change: impl FnOnce(&mut Request),
    ) -> Result<Actor, SpawnError> {
        let (mut request, link) = request(backend, "pupil");
        change(&mut request);
        Ok(Actor { child: spawn(backend, request).await?, link })
    }

    pub(crate) fn tell(&mut self, order: &str) {
        writeln!(self.link.get_mut(), "{order}").expect("the actor listens");
    }

    pub(crate) fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.hear().unwrap_or_else(|| panic!("no answer to `{order}`"))
    }

    /// The next line, or `None` at the end of the link.
    pub(crate) fn hear(&mut self) -> Option<String> {
        if self.link.buffer().is_empty() {
            await_input(self.link.get_ref());
        }
        let mut line = String::new();
        match self.link.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("the link is broken: {error}"),
        }
    }

    /// Closes the parent's side of the bond.
    pub(crate) fn hang_up(self) -> Child {
        self.child
    }

    /// Drops the handle on the child, and nothing else.
    pub(crate) fn drop_child(self) -> BufReader<UnixStream> {
        self.link
    }

    pub(crate) fn pid(&self) -> Pid {
        self.child.pid().expect("a process")
    }
}

/// A request for an actor of `name`, and the parent's end of the link.
pub(crate) fn request(backend: Backend, name: &str) -> (Request, BufReader<UnixStream>) {
    let (mine, theirs) = UnixStream::pair().expect("a socket pair");
    let link = if backend.is_process() {
        Link::Socket(theirs.into())
    } else {
        Link::Memory(Box::new(theirs))
    };
    let request = Request {
        name: name.into(),
        uuid: Uuid::new_v4(),
        link,
        entry,
        env: Vec::new(),
        program: None,
    };
    (request, BufReader::new(mine))
}

/// A timeout of the socket's own would begin anew with every signal, and children end all the time.
fn await_input(link: &UnixStream) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).expect("less than weeks");
        match poll(&mut [PollFd::new(link.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => panic!("the actor says nothing"),
            Ok(_) => return,
            Err(error) => assert_eq!(error, Errno::EINTR),
        }
    }
}

/// Why a spawn was refused by name.
pub(crate) fn refusal(outcome: Result<(), SpawnError>) -> Unavailable {
    match outcome.expect_err("refused").source {
        SpawnFailure::Unavailable(reason) => reason,
        SpawnFailure::Os(error) => panic!("refused, but not by name: {error}"),
    }
}

/// Kills the side-car and lets a spawn find out.
pub(crate) async fn replace_side_car() {
    kill(side_car(), Signal::SIGKILL).expect("a live side-car");
    let refused = Actor::start_with(Backend::Forkserver, |_| ()).await;
    assert_eq!(refused.map(drop).expect_err("the side-car is dead").step, Step::Request);
}

/// What the actor runs.
pub(crate) fn entry(boot: Boot) -> i32 {
    let identity = format!("{} {} {}", boot.name, boot.uuid, boot.backend);
    let link = match boot.link {
        Link::Socket(socket) => UnixStream::from(socket),
        Link::Memory(stream) => *stream.downcast::<UnixStream>().expect("the stream of `request`"),
    };
    let mut pupil = Pupil {
        identity,
        answers: link.try_clone().expect("a second handle"),
        children: Vec::new(),
    };
    for order in BufReader::new(link).lines().map_while(Result::ok) {
        if let Some(code) = pupil.obey(&order) {
            return code;
        }
    }
    pupil.dismiss();
    0
}

struct Pupil {
    identity: String,
    answers: UnixStream,
    children: Vec<Actor>,
}

impl Pupil {
    /// The exit code, when the order is to end.
    fn obey(&mut self, order: &str) -> Option<i32> {
        let (verb, rest) = order.split_once(' ').unwrap_or((order, ""));
        match verb {
            "exit" => return Some(rest.parse().expect("a code")),
            "panic" => panic!("{rest}"),
            "spin" => {
                self.answer("spinning");
                while !STOP_SPINNING.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
                return Some(0);
            }
            "die" => nix::sys::signal::raise(rest.parse().expect("a signal")).expect("raise"),
            "echo" => self.answer(rest),
            "identity" => self.answer(&self.identity.clone()),
            "tokio" => self.answer(&use_tokio()),
            "tokio-signal" => self.answer(&use_tokio_signal()),
            "everything" => self.answer(&use_everything()),
            "command" => self.answer(&Command::new("true").status().expect("true").to_string()),
            "sleeper" => self.answer(&sleeper(rest)),
            "child" => self.start_child(rest.parse().expect("a backend")),
            "breed" => self.breed(rest.parse().expect("a backend")),
            "relay" => {
                let answer = self.children.last_mut().expect("a child").ask(rest);
                self.answer(&answer);
            }
            "descriptors" => self.answer(&descriptors()),
            "env" => self.answer(&std::env::var(rest).unwrap_or_else(|error| error.to_string())),
            "arguments" => self.answer(&std::env::args().collect::<Vec<_>>().join(" ")),
            "signals" => self.answer(&signals()),
            unknown => panic!("no such order: {unknown}"),
        }
        None
    }

    /// An actor that leaves in good order waits for its children.
    fn dismiss(self) {
        for child in self.children {
            with_runtime(async { child.hang_up().wait().await });
        }
    }

    fn answer(&mut self, answer: &str) {
        writeln!(self.answers, "{answer}").expect("the parent listens");
    }

    fn start_child(&mut self, backend: Backend) {
        let actor = match with_runtime(Actor::start_named(backend, "grandchild")) {
            Ok(actor) => actor,
            Err(error) => return self.answer(&format!("{error}: {}", error.source)),
        };
        let pid = actor.child.pid().map_or_else(|| "thread".into(), |pid| pid.to_string());
        self.children.push(actor);
        self.answer(&pid);
    }

    /// Starts children, one after the other, until somebody kills this actor. They live until they see its end.
    fn breed(&mut self, backend: Backend) {
        self.answer("breeding");
        with_runtime(async {
            loop {
                let (request, link) = request(backend, "grandchild");
                let child = spawn(backend, request).await.expect("a child");
                self.children.push(Actor { child, link });
            }
        });
    }
}

/// A runtime with I/O, timers and processes.
fn use_tokio() -> String {
    with_runtime(async {
        let (one, mut other) = tokio::net::UnixStream::pair().expect("a socket pair");
        drop(one);
        let end = tokio::io::AsyncReadExt::read(&mut other, &mut [0; 8]).await.expect("the end");
        let status = tokio::process::Command::new("true").status().await.expect("true");
        tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>())
            .await
            .expect_err("time passes");
        format!("{end} {status}")
    })
}

/// What tokio's process-wide pair is for.
fn use_tokio_signal() -> String {
    with_runtime(async {
        let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
            .expect("a handler");
        nix::sys::signal::raise(Signal::SIGHUP).expect("raise");
        hangup.recv().await.map_or("end of signals", |()| "hung up").to_owned()
    })
}

fn with_runtime<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(task)
}

/// What takes a lock of std's, of libc's or of tokio's in a process that was forked while others held them.
fn use_everything() -> String {
    println!("a line of a child");
    eprintln!("a line of a child");
    let panicked = std::panic::catch_unwind(|| panic!("a panic of a child")).is_err();
    set_var("SPAWN_TEST_CHILD", "set");
    let environment = std::env::vars_os().collect::<std::collections::HashMap<_, _>>();
    let thread = std::thread::Builder::new().spawn(|| vec![1u8; 100_000].len()).expect("a thread");
    let allocated = thread.join().expect("no panic");
    let tokio = use_tokio();
    let set = environment.contains_key(std::ffi::OsStr::new("SPAWN_TEST_CHILD"));
    match (panicked, set, allocated, tokio.as_str()) {
        (true, true, 100_000, "0 exit status: 0") => "everything done".into(),
        outcome => format!("{outcome:?}"),
    }
}

/// A process that is no actor: of this one's group, or ("daemon") of a session of its own.
#[expect(clippy::zombie_processes, reason = "it is for others to find, kill and reap")]
fn sleeper(kind: &str) -> String {
    let program =
        if kind == "daemon" { ["setsid", "sleep", "1000"].as_slice() } else { &["sleep", "1000"] };
    let child = Command::new(program[0]).args(&program[1..]).spawn().expect("sleep");
    child.id().to_string()
}

fn descriptors() -> String {
    let entries = std::fs::read_dir("/proc/self/fd").expect("/proc").flatten();
    let mut open: Vec<_> = entries
        .filter_map(|entry| {
            Some((entry.file_name().into_string().ok()?, std::fs::read_link(entry.path()).ok()?))
        })
        .map(|(number, target)| format!("{number}={}", target.display()))
        .collect();
    open.sort();
    open.join(" ")
}

/// Blocked, ignored and caught signals of the process.
fn signals() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("/proc");
    let masks = status
        .lines()
        .filter(|line| ["SigBlk", "SigIgn", "SigCgt"].iter().any(|mask| line.starts_with(mask)));
    masks.map(|line| line.replace('\t', "")).collect::<Vec<_>>().join(" ")
}
