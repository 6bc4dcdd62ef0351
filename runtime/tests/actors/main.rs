//! Small programs with actors, each run in a process of its own on every backend that can: what they see is asserted, and that
//! nothing is left of them.
//!
//! `cargo test -p runtime --test actors -- fork::` runs those of one backend, `… -- --list` lists them.

mod backtraces;
mod boots;
mod calls;
mod cancels;
mod channels;
mod clusters;
mod contexts;
mod deaths;
mod gate;
mod interrupts;
mod lifetimes;
mod logs;
mod nurseries;
mod orphans;
mod peer_contexts;
mod peers;
mod scopes;
mod sharing;
mod streams;
mod supervisors;
mod transitions;
mod upward;

use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use runtime::{Backend, Capability, RootConfig, Timings};

/// One program.
struct Case {
    name: &'static str,
    /// What its backend must be able to do.
    needs: Option<Need>,
    timings: Timings,
    body: Body,
}

type Body = fn() -> Pin<Box<dyn Future<Output = runtime::Result<()>>>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// For programs that kill, stop or exit their process.
    Process,
    /// For programs about a fresh image.
    Exec,
    /// For programs about what cannot be killed.
    Thread,
}

impl Need {
    fn is_met_by(self, backend: Backend) -> bool {
        match self {
            Need::Process => backend.capabilities().has(Capability::Process),
            Need::Exec => backend == Backend::Exec,
            Need::Thread => backend == Backend::Thread,
        }
    }
}

/// The cases of a module, by the names of its functions, under what they need and, if they sit through a wait, their timings.
macro_rules! cases {
    ($($needs:expr $(, $timings:expr)? => [$($name:ident),* $(,)?]),* $(,)?) => {
        pub(crate) fn cases() -> Vec<$crate::Case> {
            let mut cases = Vec::new();
            $(
                let timings = [$($timings,)? $crate::PATIENT][0];
                $(cases.push($crate::Case {
                    name: stringify!($name),
                    needs: $needs,
                    timings,
                    body: || Box::pin($name()),
                });)*
            )*
            cases
        }
    };
}
use cases;

fn main() -> ExitCode {
    if std::env::var_os(transitions::SWITCH).is_some() {
        runtime::trace::install(transitions::print);
    }
    if std::env::var_os(logs::SWITCH).is_some() {
        logs::install();
    }
    runtime::divert();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--case", case, backend] => run_case(case, backend),
        ["--stand", backend] => run(backend, PATIENT, || Box::pin(orphans::stand())),
        ["--interrupted", backend, ..] => {
            run(backend, interrupts::LONG, || Box::pin(interrupts::live()))
        }
        ["--whole"] => interrupts::whole::run(),
        ["--alone", way] => run_alone(way),
        ["--logged", backend] => run(backend, logs::TIMINGS, || Box::pin(logs::live())),
        ["--failing", backend] => run(backend, PATIENT, || Box::pin(backtraces::fail())),
        ["--traced", backend] => run(backend, PATIENT, || Box::pin(transitions::live())),
        _ => libtest_mimic::run(&Arguments::from_args(), trials()).exit_code(),
    }
}

fn all_cases() -> Vec<Case> {
    [
        boots::cases(),
        calls::cases(),
        cancels::cases(),
        channels::cases(),
        clusters::cases(),
        contexts::cases(),
        deaths::cases(),
        sharing::cases(),
        streams::cases(),
        nurseries::cases(),
        lifetimes::cases(),
        scopes::cases(),
        supervisors::cases(),
        upward::cases(),
        peers::cases(),
        peer_contexts::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn trials() -> Vec<Trial> {
    let mut trials = orphans::trials();
    trials.extend(transitions::trials());
    trials.extend(backtraces::trials());
    trials.extend(interrupts::trials());
    trials.extend(logs::trials());
    trials.extend(clusters::trials());
    for Case { name, needs, .. } in all_cases() {
        for backend in Backend::ALL {
            if needs.is_none_or(|need| need.is_met_by(backend)) {
                trials.push(Trial::test(format!("{backend}::{name}"), move || {
                    spawn_case(name, backend)
                }));
            }
        }
    }
    trials
}

/// Runs a case as a process: `init` wants to be first in one.
fn spawn_case(name: &str, backend: Backend) -> Result<(), Failed> {
    let program = std::env::current_exe()?;
    let output = Command::new("timeout")
        .args(["--kill-after=5", "30"])
        .arg(program)
        .args(["--case", name, backend.name()])
        .env("RUST_BACKTRACE", "0")
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}\n{stderr}", output.status).into())
}

/// However busy the machine, what is healthy needs less than this: where it is forced, something is wrong. Cases that sit
/// through a wait shorten that one.
const PATIENT: Timings = Timings {
    boot: Duration::from_secs(20),
    ack: Duration::from_secs(5),
    soft: Duration::from_secs(20),
    terminate: Duration::from_secs(5),
    abandon: Duration::from_secs(20),
    orphan: Duration::from_millis(500),
};

fn run_case(name: &str, backend: &str) -> ExitCode {
    let case = all_cases().into_iter().find(|case| case.name == name).expect("a case of that name");
    run(backend, case.timings, case.body)
}

/// A program whose code runs on a thread of its own, and no root around it.
fn run_alone(way: &str) -> ExitCode {
    let guard = runtime::init(runtime::Config::default()).expect("nothing came before");
    let main_loop = guard.main_loop();
    let stopper = main_loop.stopper();
    let way = way.to_owned();
    let alone = std::thread::Builder::new().name("alone".to_owned()).spawn(move || {
        let outcome = std::panic::catch_unwind(|| clusters::stand_alone(&way));
        stopper.stop();
        outcome
    });
    let alone = alone.expect("a thread");
    main_loop.run();
    alone.join().flatten().expect("no assertion failed");
    drop(guard);
    // One that was dropped has killed its tree, and did not wait for that.
    let begun = std::time::Instant::now();
    while !left_behind().is_empty() && begun.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    assert_eq!(left_behind(), Vec::<String>::new(), "processes were left");
    ExitCode::SUCCESS
}

fn run(backend: &str, timings: Timings, body: Body) -> ExitCode {
    let config = RootConfig {
        backend: backend.parse().expect("a backend"),
        timings,
        ..RootConfig::default()
    };
    let guard = runtime::init(runtime::Config::default()).expect("nothing came before");
    let main_loop = guard.main_loop();
    let stopper = main_loop.stopper();
    let root = std::thread::Builder::new().name("root".to_owned()).spawn(move || {
        let outcome = std::panic::catch_unwind(move || runtime::block_on_root(config, body()));
        stopper.stop();
        outcome
    });
    let root = root.expect("a thread");
    main_loop.run();
    let outcome = root.join().flatten().expect("no assertion failed").flatten();
    drop(guard);
    assert_eq!(left_behind(), Vec::<String>::new(), "processes were left");
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(runtime::Error::Interrupted) => ExitCode::from(interrupts::INTERRUPTED),
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// What the kernel says of each child this process still has.
fn left_behind() -> Vec<String> {
    let children = children_of(std::process::id());
    children
        .split_whitespace()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .collect()
}

/// The pids of a process's children, as the kernel lists them.
fn children_of(pid: u32) -> String {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .collect()
}

/// What is said of actors, without what is drawn anew for each.
fn actor_uuid_free(said: &str) -> String {
    let mut parts = said.split('@');
    let first = parts.next().into_iter();
    first.chain(parts.map(|part| part.get(8..).unwrap_or(""))).collect()
}
