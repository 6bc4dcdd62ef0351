//! What the cases do.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

mod locks;
pub(crate) mod writers;

/// What the suite's hook says.
pub(crate) fn describe(out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "root waits for leaf")?;
    match std::env::var("DESCRIBE").as_deref() {
        Ok("hang") => loop {
            std::thread::park();
        },
        Ok("panic") => panic!("the hook panics"),
        Ok(_) | Err(_) => writeln!(out, "leaf runs"),
    }
}

#[inline(never)]
pub(crate) fn sleeps_for_ever() {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// What a child of a case does, which is this binary too.
pub(crate) fn live_as_a_child() -> ! {
    if std::env::var("CHILD").as_deref() == Ok("panics") {
        drop(dies("of a child"));
        wait_until_dead("of a child");
        std::process::exit(0);
    }
    let sleeper = std::thread::Builder::new().name("sleeper".into());
    sleeper.spawn(sleeps_for_ever).expect("a thread");
    std::fs::write(go_file().with_file_name("child"), "").expect("written");
    spins_in_a_child()
}

#[inline(never)]
fn spins_in_a_child() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

#[runner::test]
fn waits_for_a_child() {
    let mut child = Command::new("/proc/self/exe").env("CHILD", "").spawn().expect("this binary");
    while !go_file().with_file_name("child").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("ready");
    child.wait().expect("our own child");
}

#[runner::test]
fn stops_itself() {
    println!("ready");
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP).expect("a signal to itself");
    sleeps_for_ever();
}

#[runner::test]
fn listens(case: runner::Case) {
    let path = case.runtime_dir().expect("a folder").join("door");
    let _listener = std::os::unix::net::UnixListener::bind(path).expect("bound");
    println!("ready");
    sleeps_for_ever();
}

/// One thread runs, one is in a system call that would tell.
#[runner::test]
fn minds_interruptions() {
    std::thread::scope(|scope| {
        let (begun_tx, begun_rx) = std::sync::mpsc::sync_channel(1);
        scope.spawn(move || wait_without_interruption(&begun_tx));
        begun_rx.recv().expect("the other thread");
        println!("ready");
        spins_until_let_go();
    });
}

#[inline(never)]
fn spins_until_let_go() {
    while !go_file().exists() {
        std::hint::spin_loop();
    }
}

#[inline(never)]
fn wait_without_interruption(begun_tx: &std::sync::mpsc::SyncSender<()>) {
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent};
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("an epoll");
    begun_tx.send(()).expect("the body");
    while !go_file().exists() {
        let waited = epoll.wait(&mut [EpollEvent::empty()], 50_u8);
        assert_eq!(waited, Ok(0), "interrupted");
    }
}

fn go_file() -> std::path::PathBuf {
    let folder = std::env::var("FOLDER").expect("set by the bench");
    std::path::Path::new(&folder).join("go")
}

#[runner::test]
fn passes() {
    runner::trace(b"never shown");
}

#[runner::test]
fn ignores_nothing() {
    use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGQUIT};
    let status = std::fs::read_to_string("/proc/self/status").expect("about this process");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask, 16).ok()).expect("a mask");
    for signal in [SIGHUP, SIGINT, SIGQUIT] {
        assert_eq!(ignored >> (signal as u32 - 1) & 1, 0, "{signal} is ignored");
    }
}

#[runner::test]
fn fails_with_events() {
    runner::trace(b"first word");
    runner::trace_line(format_args!("last {}", "word"));
    panic!("as it should");
}

#[runner::test]
fn sleeps() {
    runner::trace(b"goes to sleep");
    println!("ready");
    sleeps_for_ever();
}

/// Until the test lets it go.
fn wait() {
    println!("ready");
    while !go_file().exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("going");
}

#[runner::test]
fn waits() {
    wait();
}

#[runner::test]
fn waits_with_a_daemon() {
    let mut daemon = Command::new("setsid").args(["sleep", "1000"]).spawn().expect("setsid");
    wait();
    daemon.kill().expect("our own child");
    daemon.wait().expect("our own child");
}

#[runner::test]
fn waits_with_a_stopped_child() {
    let mut child =
        Command::new("sh").args(["-c", "kill -STOP $$; sleep 1000"]).spawn().expect("sh");
    wait();
    sleeps_for_ever();
    child.wait().expect("our own child");
}

/// Forks children that fork children, as fast as it goes; a thousand at last, so that a runner that
/// does not end them does not end the machine.
#[runner::test]
fn forks_without_end() {
    let bomb = "bomb() { [ $1 -lt 10 ] && { bomb $(($1 + 1)) & bomb $(($1 + 1)) & }; \
                while :; do :; done; }; bomb 1";
    Command::new("sh").args(["-c", bomb]).status().expect("sh");
}

fn dies(name: &str) -> std::thread::JoinHandle<()> {
    let thread = std::thread::Builder::new().name(name.into());
    let (begun_tx, begun_rx) = std::sync::mpsc::sync_channel(1);
    let panics = move || {
        begun_tx.send(()).expect("who started it");
        panic!("nobody hears this")
    };
    let handle = thread.spawn(panics).expect("a thread");
    begun_rx.recv().expect("the thread");
    handle
}

/// A thread's death can only be waited for here by what it leaves undone.
fn wait_until_dead(name: &str) {
    let me = std::process::id().cast_signed();
    let is_alive = || {
        let threads = runner_core::process::read(me).expect("this process").threads;
        threads.iter().any(|thread| thread.name == name)
    };
    while is_alive() {
        std::thread::yield_now();
    }
}

#[runner::test]
fn drops_a_thread_that_panics() {
    drop(dies("early"));
    wait_until_dead("early");
}

#[runner::test]
fn keeps_a_thread_that_panics() {
    static KEPT: std::sync::Mutex<Option<std::thread::JoinHandle<()>>> =
        std::sync::Mutex::new(None);
    *KEPT.lock().expect("nobody else") = Some(dies("kept"));
    wait_until_dead("kept");
}

#[runner::test]
fn joins_a_thread_that_panics() {
    assert!(dies("joined").join().is_err());
}

#[runner::test]
fn catches_and_scopes_panics() {
    let catches = || drop(std::panic::catch_unwind(|| panic!("caught")));
    drop(std::thread::Builder::new().name("catches".into()).spawn(catches));
    let scope = || {
        std::thread::scope(|scope| drop(scope.spawn(|| panic!("in a scope"))));
    };
    assert!(std::panic::catch_unwind(scope).is_err());
    wait_until_dead("catches");
}

/// Threads of processes beside the first count too.
#[runner::test]
fn has_a_child_whose_thread_panics() {
    let child = Command::new("/proc/self/exe").env("CHILD", "panics").status();
    assert!(child.expect("this binary").success());
}

/// By a signal that has no name.
#[runner::test]
fn ends_itself_by_a_realtime_signal() {
    let me = std::process::id().to_string();
    Command::new("kill").args(["-40", &me]).status().expect("kill");
    sleeps_for_ever();
}

#[runner::test]
fn leaves_a_daemon() {
    let mut daemon = Command::new("setsid");
    daemon.args(["sleep", "4711"]).stdout(Stdio::null()).stderr(Stdio::null());
    drop(daemon.spawn().expect("setsid"));
}

#[runner::test]
fn leaves_this_and_that(case: runner::Case) {
    let file = std::fs::File::open("/dev/null").expect("a file");
    static KEPT: std::sync::Mutex<Option<std::fs::File>> = std::sync::Mutex::new(None);
    *KEPT.lock().expect("nobody else") = Some(file);
    drop(std::thread::Builder::new().spawn(sleeps_for_ever).expect("a thread"));
    let door = case.runtime_dir().expect("a folder").join("door");
    drop(std::os::unix::net::UnixListener::bind(door).expect("bound"));
    let id = std::process::id();
    std::fs::write(format!("/dev/shm/supervised-{id}"), "").expect("written");
    println!("shm {id}");
}
