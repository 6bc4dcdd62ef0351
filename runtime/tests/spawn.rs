//! The contract of the spawn layer: each case on every backend that has what it needs, and what tells the backends
//! apart, read from `/proc` instead of asked.

mod spawn_actor;
mod spawn_driver;

use std::fs;
use std::future::Future;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use runtime::spawn::{
    Backend, Capability, Exit, Pid, Signalled, SpawnFailure, Step, Unavailable, abandoned, spawn,
};
use spawn_actor::{Actor, STOP_SPINNING, request};
use spawn_driver::{Case, set_var};

fn main() -> ExitCode {
    runtime::spawn::set_entry(spawn_actor::entry);
    runtime::spawn::divert();
    let contract = CONTRACT.iter().flat_map(Clause::cases);
    let single = SINGLE.iter().map(|(name, body)| Case::new(*name, body));
    spawn_driver::main(contract.chain(single).collect())
}

type Body = Pin<Box<dyn Future<Output = ()>>>;

/// Something that holds on every backend whose children can do what it is about.
struct Clause {
    name: &'static str,
    needs: &'static [Capability],
    body: fn(Backend) -> Body,
}

impl Clause {
    fn cases(&'static self) -> impl Iterator<Item = Case> {
        let body = self.body;
        let able =
            |backend: &Backend| self.needs.iter().all(|need| backend.capabilities().has(*need));
        Backend::ALL.into_iter().filter(able).map(move |backend| {
            Case::new(format!("{}::{backend}", self.name), move || body(backend))
        })
    }
}

macro_rules! clause {
    ($name:ident) => {
        clause!($name, &[])
    };
    ($name:ident, $needs:expr) => {
        Clause { name: stringify!($name), needs: $needs, body: |backend| Box::pin($name(backend)) }
    };
}

macro_rules! single {
    ($name:ident) => {
        (stringify!($name), || Box::pin($name()))
    };
}

use Capability::{Killable, ParentDeath, Process, SubtreeKill};

const CONTRACT: &[Clause] = &[
    clause!(speaks_over_its_link),
    clause!(knows_who_it_is),
    clause!(ends_when_its_link_does),
    clause!(says_its_exit_code),
    clause!(says_that_it_panicked),
    clause!(tells_all_who_wait),
    clause!(runs_all_of_tokio),
    clause!(runs_commands),
    clause!(has_children_on_every_backend),
    clause!(refuses_a_link_of_the_wrong_kind),
    clause!(refuses_a_name_with_a_nul),
    clause!(is_not_made_for_nobody, &[Process]),
    clause!(ends_when_it_is_dropped, &[Process]),
    clause!(is_named, &[Process]),
    clause!(keeps_its_arguments, &[Process]),
    clause!(gets_its_environment, &[Process]),
    clause!(gets_the_environment_of_now, &[Process]),
    clause!(gets_no_descriptor_but_its_own, &[Process]),
    clause!(gets_fresh_signals, &[Process]),
    clause!(takes_signals, &[Killable]),
    clause!(says_which_signal_killed_it, &[Killable]),
    clause!(says_that_somebody_else_reaped_it, &[Killable]),
    clause!(is_killed_while_it_spins, &[Killable]),
    clause!(is_killed_while_it_is_stopped, &[Killable]),
    clause!(is_killed_with_all_below_it, &[SubtreeKill]),
    clause!(leaves_nothing_in_its_group_when_dead, &[SubtreeKill]),
    clause!(dies_with_its_parent, &[ParentDeath]),
];

const SINGLE: &[(&str, fn() -> Body)] = &[
    single!(the_five_mechanisms_are_five),
    single!(a_thread_that_spins_is_abandoned_and_listed),
    single!(a_thread_cannot_have_an_environment),
    single!(only_exec_starts_another_program),
    single!(a_program_that_does_not_exist_is_named),
    single!(a_program_that_ends_at_once_is_seen_to),
    single!(init_is_refused_twice_and_late),
    single!(thread_forkserver_is_refused_after_the_loop_has_stopped),
    single!(a_killed_side_car_is_replaced),
];

async fn speaks_over_its_link(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    assert_eq!(actor.ask("echo hello there"), "hello there");
    assert_eq!(actor.child.backend(), backend);
    assert_eq!(actor.child.try_exit(), None);
    assert_eq!(actor.hang_up().wait().await, Exit::Code(0));
}

async fn knows_who_it_is(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    let identity = format!("pupil {} {backend}", actor.child.uuid());
    assert_eq!(actor.ask("identity"), identity);
    assert_eq!(actor.child.name(), "pupil");
    actor.hang_up().wait().await;
}

async fn ends_when_its_link_does(backend: Backend) {
    // A sibling made later must not hold the elder's link open.
    let elder = Actor::start(backend).await;
    let younger = Actor::start(backend).await;
    assert_eq!(elder.hang_up().wait().await, Exit::Code(0));
    assert_eq!(younger.hang_up().wait().await, Exit::Code(0));
}

async fn says_its_exit_code(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    actor.tell("exit 3");
    assert_eq!(actor.child.wait().await, Exit::Code(3));
    assert_eq!(actor.child.try_exit(), Some(Exit::Code(3)));
}

async fn says_that_it_panicked(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    actor.tell("panic at the disco");
    let expected =
        if backend.is_process() { Exit::Code(101) } else { Exit::Panicked("at the disco".into()) };
    assert_eq!(actor.child.wait().await, expected);
}

async fn tells_all_who_wait(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    // A wait that is given up takes nothing from the others.
    let given_up = tokio::time::timeout(Duration::from_millis(1), actor.child.wait()).await;
    assert!(given_up.is_err());
    actor.tell("exit 7");
    let (one, other) = tokio::join!(actor.child.wait(), actor.child.wait());
    assert_eq!([one, other], [Exit::Code(7), Exit::Code(7)]);
}

async fn runs_all_of_tokio(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    for _runtime_after_runtime in 0..2 {
        assert_eq!(actor.ask("tokio"), "0 exit status: 0");
        assert_eq!(actor.ask("tokio-signal"), "hung up");
    }
    actor.hang_up().wait().await;
}

async fn runs_commands(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    assert_eq!(actor.ask("command"), "exit status: 0");
    actor.hang_up().wait().await;
}

async fn has_children_on_every_backend(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    for below in Backend::ALL {
        let child = actor.ask(&format!("child {below}"));
        match child.parse() {
            Ok(pid) => {
                let parent = if backend.is_process() { actor.pid() } else { Pid::this() };
                assert_eq!(parent_of(Pid::from_raw(pid)), Some(parent), "{below} below {backend}");
            }
            Err(_) => assert_eq!(child, "thread", "{below} below {backend}"),
        }
        assert_eq!(actor.ask("relay tokio"), "0 exit status: 0", "{below} below {backend}");
    }
    actor.hang_up().wait().await;
}

async fn is_not_made_for_nobody(backend: Backend) {
    let (wanted, mut link) = request(backend, "unwanted");
    // Polled once, so that it is on its way, and then dropped.
    let mut spawning = Box::pin(spawn(backend, wanted));
    assert!(spawning.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(spawning);
    let mut said = String::new();
    link.read_to_string(&mut said).expect("nobody holds the child's end");
    assert_eq!(said, "");
    eventually("no child is left", || children().is_empty());
}

async fn ends_when_it_is_dropped(backend: Backend) {
    let actor = Actor::start(backend).await;
    let pid = actor.pid();
    let mut link = actor.drop_child();
    let mut said = String::new();
    link.read_to_string(&mut said).expect("the child's end closes with it");
    eventually("it is reaped", || is_gone(pid));
}

async fn refuses_a_link_of_the_wrong_kind(backend: Backend) {
    let other = if backend.is_process() { Backend::Thread } else { Backend::Exec };
    let (request, _link) = request(other, "pupil");
    assert_eq!(refusal(spawn(backend, request).await.map(drop)), Unavailable::WrongLink);
}

async fn refuses_a_name_with_a_nul(backend: Backend) {
    let (request, _link) = request(backend, "pu\0pil");
    let error = spawn(backend, request).await.expect_err("a C string ends at a NUL");
    assert_eq!((error.step, error.backend), (Step::Prepare, backend));
}

async fn is_named(backend: Backend) {
    let actor = Actor::start(backend).await;
    let uuid = actor.child.uuid().simple().to_string();
    let line = fs::read(format!("/proc/{}/cmdline", actor.pid())).expect("/proc");
    let line = String::from_utf8(line).expect("text");
    assert_eq!(line.trim_end_matches('\0'), format!("actor[pupil@{}]", &uuid[..8]));
    assert_eq!(
        names_of_threads(actor.pid()),
        ["pupil", "pupil"],
        "the main thread and the actor's"
    );
    actor.hang_up().wait().await;
}

async fn keeps_its_arguments(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    let arguments = actor.ask("arguments");
    match backend {
        Backend::Exec => assert!(arguments.starts_with("actor[pupil@"), "{arguments}"),
        Backend::Fork | Backend::Forkserver | Backend::ThreadForkserver | Backend::Thread => {
            assert_eq!(arguments, std::env::args().collect::<Vec<_>>().join(" "));
        }
    }
    actor.hang_up().wait().await;
}

async fn gets_its_environment(backend: Backend) {
    let mut actor = Actor::start_with(backend, |request| {
        request.env = vec![
            ("SPAWN_TEST_COLOUR".into(), Some("blue".into())),
            ("SPAWN_TEST_COLOUR".into(), Some("red".into())),
            ("PATH".into(), None),
        ];
    })
    .await
    .expect("a child");
    assert_eq!(actor.ask("env SPAWN_TEST_COLOUR"), "red");
    assert_eq!(actor.ask("env PATH"), "environment variable not found");
    assert_eq!(actor.ask("env RUNTIME_CHILD"), "environment variable not found");
    actor.hang_up().wait().await;

    let refused =
        Actor::start_with(backend, |request| request.env = vec![("A=B".into(), None)]).await;
    assert_eq!(refused.map(drop).expect_err("not a name").step, Step::Prepare);
}

async fn gets_the_environment_of_now(backend: Backend) {
    set_var("SPAWN_TEST_LATE", "but in time");
    let mut actor = Actor::start(backend).await;
    assert_eq!(actor.ask("env SPAWN_TEST_LATE"), "but in time");
    actor.hang_up().wait().await;
}

async fn gets_no_descriptor_but_its_own(backend: Backend) {
    let secret = fs::File::open("/proc/self/status").expect("/proc");
    let inheritable = nix::unistd::dup(&secret).expect("a descriptor that is not close-on-exec");
    let kept = fs::File::open("/proc/self/maps").expect("/proc");
    set_var("SPAWN_KEEP_FDS", &format!("{},nonsense,{}", kept.as_raw_fd(), 1 << 19));
    // The side-car was started before there was anything to keep: the next one is not.
    if backend == Backend::Forkserver {
        replace_side_car().await;
    }
    let sibling = Actor::start(backend).await;
    let mut actor = Actor::start(backend).await;
    let open = actor.ask("descriptors");
    // Standard streams, the link twice, tokio's pair, what is to be kept, the table of actors, and the directory.
    let numbers: Vec<i32> =
        open.split(' ').filter_map(|fd| fd.split_once('=')?.0.parse().ok()).collect();
    assert!(!open.contains("/status"), "{open}");
    assert!(open.contains("/maps"), "{open}");
    assert!(numbers.len() <= 3 + 2 + 2 + 1 + 1 + 1, "{open}");
    drop(inheritable);
    actor.hang_up().wait().await;
    sibling.hang_up().wait().await;
}

async fn gets_fresh_signals(backend: Backend) {
    let mut blocked = nix::sys::signal::SigSet::empty();
    blocked.add(Signal::SIGUSR1);
    blocked.thread_block().expect("a mask");
    let mut usr2 = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined2())
        .expect("a handler");
    let mut actor = Actor::start(backend).await;
    let signals = actor.ask("signals");
    let mask = |name: &str| {
        let hex = signals
            .split(' ')
            .find_map(|mask| mask.strip_prefix(name)?.strip_prefix(':'))
            .expect("a mask");
        u64::from_str_radix(hex, 16).expect("hexadecimal")
    };
    let bit = |signal: Signal| 1u64 << (signal as u32 - 1);
    assert_eq!(mask("SigBlk"), 0, "{signals}");
    // Two are internal to libc, which refuses to change them.
    assert_eq!(mask("SigIgn") & !(0b11 << 31), bit(Signal::SIGPIPE), "{signals}");
    assert_eq!(mask("SigCgt") & bit(Signal::SIGUSR2), 0, "{signals}");
    // As in every Rust program: a stack overflow is told from a wild pointer.
    assert_ne!(mask("SigCgt") & bit(Signal::SIGSEGV), 0, "{signals}");
    actor.hang_up().wait().await;
    nix::sys::signal::raise(Signal::SIGUSR2).expect("raise");
    usr2.recv().await;
}

async fn takes_signals(backend: Backend) {
    let interrupted = Actor::start(backend).await;
    assert_eq!(interrupted.child.interrupt(), Signalled::Sent);
    assert_eq!(interrupted.child.wait().await, Exit::Signal(Signal::SIGINT as i32));
    assert_eq!(interrupted.child.interrupt(), Signalled::Gone);
    let terminated = Actor::start(backend).await;
    assert_eq!(terminated.child.terminate(), Signalled::Sent);
    assert_eq!(terminated.child.wait().await, Exit::Signal(Signal::SIGTERM as i32));
}

async fn says_which_signal_killed_it(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    actor.tell("die SIGABRT");
    assert_eq!(actor.child.wait().await, Exit::Signal(Signal::SIGABRT as i32));
    assert_eq!(actor.hear(), None);
}

async fn says_that_somebody_else_reaped_it(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    actor.tell("exit 5");
    nix::sys::wait::waitpid(actor.pid(), Some(nix::sys::wait::WaitPidFlag::__WALL))
        .expect("a thief");
    assert_eq!(actor.child.wait().await, Exit::Unknown);
}

async fn is_killed_while_it_spins(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    assert_eq!(actor.ask("spin"), "spinning");
    let report = actor.child.kill_subtree().await;
    assert_eq!(report.killed, [actor.pid()]);
    assert_eq!(actor.child.try_exit(), Some(Exit::Signal(Signal::SIGKILL as i32)));
}

async fn is_killed_while_it_is_stopped(backend: Backend) {
    let actor = Actor::start(backend).await;
    kill(actor.pid(), Signal::SIGSTOP).expect("a live child");
    actor.child.kill_subtree().await;
    assert_eq!(actor.child.try_exit(), Some(Exit::Signal(Signal::SIGKILL as i32)));
}

async fn is_killed_with_all_below_it(backend: Backend) {
    for below in Backend::ALL.into_iter().filter(|below| below.is_process()) {
        let mut actor = Actor::start(backend).await;
        let grandchild = pid(&actor.ask(&format!("child {below}")));
        let below_both = [
            pid(&actor.ask("relay sleeper")),
            pid(&actor.ask("relay sleeper daemon")),
            pid(&actor.ask("sleeper daemon")),
        ];
        // A blocked child with a live grandchild.
        assert_eq!(actor.ask("spin"), "spinning");
        let report = actor.child.kill_subtree().await;
        for process in [actor.pid(), grandchild].into_iter().chain(below_both) {
            assert!(report.killed.contains(&process), "{process} is missing in {report:?}");
            assert!(is_gone(process), "{process} is left");
        }
        assert_eq!(report.strangers, []);
    }
}

async fn leaves_nothing_in_its_group_when_dead(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    let orphan = pid(&actor.ask("sleeper"));
    kill(actor.pid(), Signal::SIGKILL).expect("a live child");
    assert_eq!(actor.child.wait().await, Exit::Signal(Signal::SIGKILL as i32));
    assert!(!is_gone(orphan));
    let report = actor.child.kill_subtree().await;
    assert_eq!(report.killed, [actor.pid(), orphan]);
    assert!(is_gone(orphan));
}

async fn dies_with_its_parent(backend: Backend) {
    for middle in Backend::ALL.into_iter().filter(|middle| middle.is_process()) {
        let mut actor = Actor::start(middle).await;
        let grandchild = pid(&actor.ask(&format!("child {backend}")));
        // It does not hear that its link has ended, and is not asked.
        actor.tell("relay-tell spin");
        kill(actor.pid(), Signal::SIGKILL).expect("a live child");
        assert_eq!(actor.child.wait().await, Exit::Signal(Signal::SIGKILL as i32));
        eventually("the grandchild is dead", || state(grandchild).is_none_or(|state| state == 'Z'));
        // Nobody's wait but ours can reap it now.
        assert!(actor.child.kill_subtree().await.killed.contains(&grandchild));
        assert!(is_gone(grandchild));
    }
}

/// Read from /proc alone: who made the child, on which thread, of which image, with whose heap.
async fn the_five_mechanisms_are_five() {
    static MARK: AtomicU64 = AtomicU64::new(0);
    MARK.store(u64::from(std::process::id()), Ordering::Relaxed);
    for backend in Backend::ALL {
        let actor = Actor::start(backend).await;
        match actor.child.pid() {
            None => assert!(names_of_threads(Pid::this()).contains(&"pupil".into())),
            Some(child) => {
                assert_eq!(parent_of(child), Some(Pid::this()), "{backend}");
                let fresh_image = fs::read(format!("/proc/{child}/environ"))
                    .expect("/proc")
                    .windows(14)
                    .any(|variable| variable == b"RUNTIME_CHILD=");
                let mut mark = [0; 8];
                let at = std::ptr::from_ref(&MARK).addr() as u64;
                let memory = fs::File::open(format!("/proc/{child}/mem")).expect("/proc");
                // Another image has something else there, or nothing.
                let inherits_heap = memory.read_exact_at(&mut mark, at).is_ok()
                    && u64::from_ne_bytes(mark) == u64::from(std::process::id());
                let expected = match backend {
                    Backend::Exec => ("spawner", true, false),
                    Backend::Fork => ("spawner", false, true),
                    Backend::ThreadForkserver => ("main", false, true),
                    Backend::Forkserver => ("main", false, false),
                    Backend::Thread => unreachable!("a thread has no process"),
                };
                assert_eq!(
                    (forked_by(child).as_str(), fresh_image, inherits_heap),
                    expected,
                    "{backend}"
                );
            }
        }
        actor.hang_up().wait().await;
    }
}

async fn a_thread_that_spins_is_abandoned_and_listed() {
    let mut actor = Actor::start(Backend::Thread).await;
    assert_eq!(actor.ask("spin"), "spinning");
    assert_eq!(actor.child.terminate(), Signalled::Unsupported);
    actor.child.abandon();
    assert_eq!(actor.child.wait().await, Exit::Abandoned);
    let listed = abandoned();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].uuid), ("pupil", actor.child.uuid()));
    STOP_SPINNING.store(true, Ordering::Relaxed);
    eventually("it is taken off the list", || abandoned().is_empty());
    assert_eq!(actor.child.wait().await, Exit::Abandoned);
}

async fn a_thread_cannot_have_an_environment() {
    let refused =
        Actor::start_with(Backend::Thread, |request| request.env = vec![("A".into(), None)]).await;
    assert_eq!(refusal(refused.map(drop)), Unavailable::SharedEnvironment);
}

async fn only_exec_starts_another_program() {
    for backend in Backend::ALL.into_iter().filter(|backend| *backend != Backend::Exec) {
        let refused =
            Actor::start_with(backend, |request| request.program = Some("/bin/true".into())).await;
        assert_eq!(refusal(refused.map(drop)), Unavailable::OtherProgram, "{backend}");
    }
}

async fn a_program_that_does_not_exist_is_named() {
    let gone = Path::new("/nowhere/worker");
    let refused =
        Actor::start_with(Backend::Exec, |request| request.program = Some(gone.into())).await;
    let error = refused.map(drop).expect_err("no such program");
    assert_eq!(error.step, Step::Exec);
    assert_eq!(
        error.to_string(),
        "cannot spawn actor `pupil` on exec, failed to execute the program"
    );
    assert_eq!(error.source.to_string(), "/nowhere/worker: No such file or directory (os error 2)");
}

async fn a_program_that_ends_at_once_is_seen_to() {
    let actor =
        Actor::start_with(Backend::Exec, |request| request.program = Some("/bin/false".into()))
            .await;
    let mut actor = actor.expect("it starts");
    assert_eq!(actor.child.wait().await, Exit::Code(1));
    assert_eq!(actor.hear(), None);
}

async fn init_is_refused_twice_and_late() {
    let error = runtime::spawn::init(runtime::spawn::InitOptions::default())
        .map(drop)
        .expect_err("threads run");
    assert!(error.to_string().starts_with("`init` must come before any other thread"), "{error}");
}

async fn thread_forkserver_is_refused_after_the_loop_has_stopped() {
    spawn_driver::stop_main_loop();
    let refused = Actor::start_with(Backend::ThreadForkserver, |_| ()).await;
    assert_eq!(refusal(refused.map(drop)), Unavailable::NoMainLoop);
    assert_eq!(Backend::ThreadForkserver.check(), Err(Unavailable::NoMainLoop));
}

async fn a_killed_side_car_is_replaced() {
    let before = Actor::start(Backend::Forkserver).await;
    replace_side_car().await;
    let after = Actor::start(Backend::Forkserver).await;
    assert_eq!(
        before.hang_up().wait().await,
        Exit::Code(0),
        "it outlives the side-car that made it"
    );
    assert_eq!(after.hang_up().wait().await, Exit::Code(0));
}

/// Kills the side-car and lets a spawn find out.
async fn replace_side_car() {
    kill(side_car(), Signal::SIGKILL).expect("a live side-car");
    let refused = Actor::start_with(Backend::Forkserver, |_| ()).await;
    assert_eq!(refused.map(drop).expect_err("the side-car is dead").step, Step::Request);
}

fn refusal(outcome: Result<(), runtime::spawn::SpawnError>) -> Unavailable {
    match outcome.expect_err("refused").source {
        SpawnFailure::Unavailable(reason) => reason,
        SpawnFailure::Os(error) => panic!("refused, but not by name: {error}"),
    }
}

/// For what has no event to wait for: looks until it is so.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "not so after half a minute: {what}");
        std::thread::yield_now();
    }
}

fn pid(answer: &str) -> Pid {
    Pid::from_raw(answer.parse().unwrap_or_else(|_| panic!("not a pid: {answer}")))
}

fn is_gone(pid: Pid) -> bool {
    kill(pid, None) == Err(Errno::ESRCH)
}

/// Children of this process, the side-car excepted.
fn children() -> Vec<Pid> {
    threads_of(Pid::this())
        .into_iter()
        .flat_map(children_of_thread)
        .filter(|child| name_of(*child) != "forkserver")
        .collect()
}

fn side_car() -> Pid {
    let mut all = threads_of(Pid::this()).into_iter().flat_map(children_of_thread);
    all.find(|child| name_of(*child) == "forkserver").expect("a side-car")
}

/// The name of the thread of this process that `child` is listed under; "main" for the main thread.
fn forked_by(child: Pid) -> String {
    let thread = threads_of(Pid::this())
        .into_iter()
        .find(|thread| children_of_thread(*thread).contains(&child));
    match thread.expect("a child of one of the threads") {
        main if main == Pid::this() => "main".into(),
        thread => name_of(thread),
    }
}

fn threads_of(process: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("/proc").flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok().map(Pid::from_raw)).collect()
}

fn children_of_thread(thread: Pid) -> Vec<Pid> {
    let list =
        fs::read_to_string(format!("/proc/{thread}/task/{thread}/children")).unwrap_or_default();
    list.split_whitespace().map(pid).collect()
}

fn names_of_threads(process: Pid) -> Vec<String> {
    threads_of(process).into_iter().map(name_of).collect()
}

fn name_of(task: Pid) -> String {
    fs::read_to_string(format!("/proc/{task}/comm")).unwrap_or_default().trim_end().to_owned()
}

fn parent_of(process: Pid) -> Option<Pid> {
    stat(process, 1)?.parse().ok().map(Pid::from_raw)
}

fn state(process: Pid) -> Option<char> {
    stat(process, 0)?.chars().next()
}

/// A field of /proc/PID/stat, counted from the state.
fn stat(process: Pid, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(field).map(ToOwned::to_owned)
}
