//! What holds of a child on every backend that has what it needs.

use std::fs;
use std::future::Future;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::task::{Context, Waker};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use runtime::spawn::{Backend, Exit, Pid, Signalled, Step, Unavailable, spawn};

use crate::actor::{Actor, refusal, replace_side_car, request};
use crate::driver::eventually;
use crate::proc::{
    all_children, children, is_gone, name_of, names_of_threads, open_files, parent_of, pid, state,
};
use crate::variables::set_var;

pub(crate) async fn speaks_over_its_link(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    assert_eq!(actor.ask("echo hello there"), "hello there");
    assert_eq!(actor.child.backend(), backend);
    assert_eq!(actor.child.try_exit(), None);
    assert_eq!(actor.hang_up().wait().await, Exit::Code(0));
}

pub(crate) async fn knows_who_it_is(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    let identity = format!("pupil {} {backend}", actor.child.uuid());
    assert_eq!(actor.ask("identity"), identity);
    assert_eq!(actor.child.name(), "pupil");
    actor.hang_up().wait().await;
}

pub(crate) async fn ends_when_its_link_does(backend: Backend) {
    // A sibling made later must not hold the elder's link open.
    let elder = Actor::start(backend).await;
    let younger = Actor::start(backend).await;
    assert_eq!(elder.hang_up().wait().await, Exit::Code(0));
    assert_eq!(younger.hang_up().wait().await, Exit::Code(0));
}

pub(crate) async fn says_its_exit_code(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    actor.tell("exit 3");
    assert_eq!(actor.child.wait().await, Exit::Code(3));
    assert_eq!(actor.child.try_exit(), Some(Exit::Code(3)));
}

pub(crate) async fn says_that_it_panicked(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    actor.tell("panic at the disco");
    let expected =
        if backend.is_process() { Exit::Code(101) } else { Exit::Panicked("at the disco".into()) };
    assert_eq!(actor.child.wait().await, expected);
}

pub(crate) async fn tells_all_who_wait(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    // A wait that is given up takes nothing from the others.
    let given_up = tokio::time::timeout(Duration::from_millis(1), actor.child.wait()).await;
    assert!(given_up.is_err());
    actor.tell("exit 7");
    let (one, other) = tokio::join!(actor.child.wait(), actor.child.wait());
    assert_eq!([one, other], [Exit::Code(7), Exit::Code(7)]);
}

pub(crate) async fn runs_all_of_tokio(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    for _runtime_after_runtime in 0..2 {
        assert_eq!(actor.ask("tokio"), "0 exit status: 0");
        assert_eq!(actor.ask("tokio-signal"), "hung up");
    }
    actor.hang_up().wait().await;
}

pub(crate) async fn runs_commands(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    assert_eq!(actor.ask("command"), "exit status: 0");
    actor.hang_up().wait().await;
}

pub(crate) async fn has_children_on_every_backend(backend: Backend) {
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

pub(crate) async fn refuses_a_link_of_the_wrong_kind(backend: Backend) {
    let other = if backend.is_process() { Backend::Thread } else { Backend::Exec };
    let (request, _link) = request(other, "pupil");
    assert_eq!(refusal(spawn(backend, request).await.map(drop)), Unavailable::WrongLink);
}

pub(crate) async fn refuses_a_name_with_a_nul(backend: Backend) {
    let (request, _link) = request(backend, "pu\0pil");
    let error = spawn(backend, request).await.expect_err("a C string ends at a NUL");
    assert_eq!((error.step, error.backend), (Step::Prepare, backend));
}

pub(crate) async fn is_not_made_for_nobody(backend: Backend) {
    let (wanted, mut link) = request(backend, "unwanted");
    // Polled once, so that it is on its way (or even there), and then dropped.
    let mut spawning = Box::pin(spawn(backend, wanted));
    drop(spawning.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    drop(spawning);
    let mut said = String::new();
    link.read_to_string(&mut said).expect("nobody holds the child's end");
    assert_eq!(said, "");
    eventually("no child is left", || children().is_empty());
}

pub(crate) async fn ends_when_it_is_dropped(backend: Backend) {
    let actor = Actor::start(backend).await;
    let pid = actor.pid();
    let mut link = actor.drop_child();
    let mut said = String::new();
    link.read_to_string(&mut said).expect("the child's end closes with it");
    eventually("it is reaped", || is_gone(pid));
}

pub(crate) async fn is_named(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    let title = |process: Pid| {
        let line = fs::read(format!("/proc/{process}/cmdline")).expect("/proc");
        String::from_utf8(line).expect("text").trim_end_matches('\0').to_owned()
    };
    let uuid = actor.child.uuid().simple().to_string();
    assert_eq!(title(actor.pid()), format!("actor[pupil@{}]", &uuid[..8]));
    assert_eq!(
        names_of_threads(actor.pid()),
        ["pupil", "pupil"],
        "the main thread and the actor's"
    );
    for below in Backend::ALL.into_iter().filter(|below| below.is_process()) {
        let grandchild = title(pid(&actor.ask(&format!("child {below}"))));
        assert!(
            grandchild.starts_with("actor[grandchild@") && grandchild.ends_with(']'),
            "{grandchild}"
        );
    }
    actor.hang_up().wait().await;
}

pub(crate) async fn keeps_its_arguments(backend: Backend) {
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

pub(crate) async fn gets_its_environment(backend: Backend) {
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

pub(crate) async fn gets_the_environment_of_now(backend: Backend) {
    set_var("SPAWN_TEST_LATE", "but in time");
    let mut actor = Actor::start(backend).await;
    assert_eq!(actor.ask("env SPAWN_TEST_LATE"), "but in time");
    actor.hang_up().wait().await;
}

pub(crate) async fn gets_no_descriptor_but_its_own(backend: Backend) {
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
    // Not even the ends of tokio's pair are shared: a signal to one of the two would wake the other.
    let ours = open_files(Pid::this());
    let shared = open_files(actor.pid())
        .into_iter()
        .filter(|file| file.starts_with("socket:") && ours.contains(file));
    assert_eq!(shared.collect::<Vec<_>>(), Vec::<String>::new());
    drop(inheritable);
    actor.hang_up().wait().await;
    sibling.hang_up().wait().await;
}

pub(crate) async fn gets_fresh_signals(backend: Backend) {
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

pub(crate) async fn takes_signals(backend: Backend) {
    let interrupted = Actor::start(backend).await;
    assert_eq!(interrupted.child.interrupt(), Signalled::Sent);
    assert_eq!(interrupted.child.wait().await, Exit::Signal(Signal::SIGINT as i32));
    assert_eq!(interrupted.child.interrupt(), Signalled::Gone);
    let terminated = Actor::start(backend).await;
    assert_eq!(terminated.child.terminate(), Signalled::Sent);
    assert_eq!(terminated.child.wait().await, Exit::Signal(Signal::SIGTERM as i32));
}

pub(crate) async fn says_which_signal_killed_it(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    actor.tell("die SIGABRT");
    assert_eq!(actor.child.wait().await, Exit::Signal(Signal::SIGABRT as i32));
    assert_eq!(actor.hear(), None);
}

pub(crate) async fn says_that_somebody_else_reaped_it(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    actor.tell("exit 5");
    nix::sys::wait::waitpid(actor.pid(), Some(nix::sys::wait::WaitPidFlag::__WALL))
        .expect("a thief");
    assert_eq!(actor.child.wait().await, Exit::Unknown);
}

pub(crate) async fn is_killed_while_it_spins(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    assert_eq!(actor.ask("spin"), "spinning");
    let report = actor.child.kill_subtree().await;
    assert_eq!(report.killed, [actor.pid()]);
    assert_eq!(actor.child.try_exit(), Some(Exit::Signal(Signal::SIGKILL as i32)));
}

pub(crate) async fn is_killed_while_it_is_stopped(backend: Backend) {
    let actor = Actor::start(backend).await;
    kill(actor.pid(), Signal::SIGSTOP).expect("a live child");
    actor.child.kill_subtree().await;
    assert_eq!(actor.child.try_exit(), Some(Exit::Signal(Signal::SIGKILL as i32)));
}

pub(crate) async fn is_killed_with_all_below_it(backend: Backend) {
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

pub(crate) async fn leaves_nothing_in_its_group_when_dead(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    let orphan = pid(&actor.ask("sleeper"));
    kill(actor.pid(), Signal::SIGKILL).expect("a live child");
    assert_eq!(actor.child.wait().await, Exit::Signal(Signal::SIGKILL as i32));
    assert!(!is_gone(orphan));
    let report = actor.child.kill_subtree().await;
    assert_eq!(report.killed, [actor.pid(), orphan]);
    assert!(is_gone(orphan));
}

pub(crate) async fn adopts_what_its_children_leave(backend: Backend) {
    let mut actor = Actor::start(backend).await;
    let grandchild = pid(&actor.ask("child exec"));
    let left = [pid(&actor.ask("relay sleeper")), pid(&actor.ask("relay sleeper daemon"))];
    kill(grandchild, Signal::SIGKILL).expect("a live grandchild");
    for orphan in left {
        eventually("the orphan is adopted", || parent_of(orphan) == Some(actor.pid()));
    }
    actor.child.kill_subtree().await;
    assert!([grandchild].into_iter().chain(left).all(is_gone));
}

pub(crate) async fn dies_with_its_parent(backend: Backend) {
    for middle in Backend::ALL.into_iter().filter(|middle| middle.is_process()) {
        let mut actor = Actor::start(middle).await;
        let grandchild = pid(&actor.ask(&format!("child {backend}")));
        // It does not hear that its link has ended, and is not asked.
        assert_eq!(actor.ask("relay spin"), "spinning");
        kill(actor.pid(), Signal::SIGKILL).expect("a live child");
        assert_eq!(actor.child.wait().await, Exit::Signal(Signal::SIGKILL as i32));
        eventually("the grandchild is dead", || state(grandchild).is_none_or(|state| state == 'Z'));
        // Nobody's wait but ours can reap it now.
        assert!(actor.child.kill_subtree().await.killed.contains(&grandchild));
        assert!(is_gone(grandchild));
    }
}

pub(crate) async fn leaves_nothing_when_it_is_killed_while_it_breeds(backend: Backend) {
    let moments = Moments::new();
    for below in Backend::ALL.into_iter().filter(|below| below.is_process()) {
        for (round, moment) in moments.take(BROODS).enumerate() {
            let mut actor = Actor::start(backend).await;
            let before = all_children();
            assert_eq!(actor.ask(&format!("breed {below}")), "breeding");
            std::thread::sleep(moment);
            let dies_first = round % 2 == 0;
            if dies_first {
                kill(actor.pid(), Signal::SIGKILL).expect("a live child");
                assert_eq!(actor.child.wait().await, Exit::Signal(Signal::SIGKILL as i32));
            }
            let report = actor.child.kill_subtree().await;
            let left: Vec<_> = all_children()
                .into_iter()
                .filter(|child| !before.contains(child))
                .map(|child| (child, state(child), name_of(child)))
                .collect();
            assert_eq!(left, [], "{below} below {backend}, {moment:?}, {dies_first}: {report:?}");
            assert_eq!(report.strangers, [], "{below} below {backend}");
            assert!(is_gone(actor.pid()));
        }
    }
}

/// How often an actor is killed while it starts children, on each backend of theirs.
const BROODS: usize = 20;

/// Times at which to kill, the same in every run: from before the first child to after a few.
#[derive(Clone, Copy)]
struct Moments(u64);

impl Moments {
    fn new() -> Moments {
        Moments(0x9E37_79B9_7F4A_7C15)
    }
}

impl Iterator for Moments {
    type Item = Duration;

    /// Xorshift.
    fn next(&mut self) -> Option<Duration> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Some(Duration::from_micros(self.0 % 3000))
    }
}
