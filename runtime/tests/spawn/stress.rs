//! Forks from a process whose other threads print, allocate, run commands, set variables, panic and format
//! backtraces all the while. Each child uses what they hold locks on; none may hang.
//!
//! `SPAWN_STRESS_FORKS` says how many children each backend makes (a few hundred unless set; 50,000 for the proof).

use std::hint::black_box;
use std::panic::catch_unwind;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use runtime::spawn::{Backend, Exit};

use crate::actor::Actor;
use crate::variables::set_var;

/// Children alive at the same time.
const BATCH: usize = 4;

pub(crate) async fn no_child_hangs(backend: Backend) {
    let forks = std::env::var("SPAWN_STRESS_FORKS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(400);
    silence();
    let noise = Noise::start();
    for _ in 0..usize::div_ceil(forks, BATCH) {
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            batch.push(Actor::start(backend).await);
        }
        batch.iter_mut().for_each(|actor| actor.tell("everything"));
        for mut actor in batch {
            assert_eq!(actor.hear().as_deref(), Some("everything done"), "{}", actor.pid());
            assert_eq!(actor.hang_up().wait().await, Exit::Code(0));
        }
    }
    noise.stop();
}

/// Standard output and error take much and cost nothing.
fn silence() {
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null").expect("/dev/null");
    nix::unistd::dup2_stdout(&nowhere).expect("dup2");
    nix::unistd::dup2_stderr(&nowhere).expect("dup2");
}

/// Std's locks are not fair: without a breath between two takings, whoever forks could wait for seconds.
const BREATH: Duration = Duration::from_micros(100);

/// Threads that hold, again and again, the locks a child could hang on.
struct Noise {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Noise {
    fn start() -> Noise {
        set_var("RUST_BACKTRACE", "1");
        let over = Arc::new(AtomicBool::new(false));
        let makers: [(&str, fn()); 7] = [
            ("threads", start_a_thread),
            ("prints", || println!("a line {:?}", std::time::Instant::now())),
            ("complains", || eprintln!("another line {:?}", std::time::Instant::now())),
            ("allocates", allocate),
            ("commands", || assert!(Command::new("true").status().expect("true").success())),
            ("sets", || set_var("SPAWN_STRESS_NOISE", "loud")),
            ("panics", || drop(catch_unwind(|| panic!("as it should")))),
        ];
        let threads = makers.map(|(name, make)| {
            let over = Arc::clone(&over);
            let noise = move || {
                while !over.load(Ordering::Relaxed) {
                    make();
                    std::thread::sleep(BREATH);
                }
            };
            std::thread::Builder::new().name(name.into()).spawn(noise).expect("a thread")
        });
        Noise { over, threads: threads.into() }
    }

    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no noise fails"));
    }
}

/// As a runtime's pool does under changing load.
fn start_a_thread() {
    let thread = std::thread::Builder::new().spawn(|| ()).expect("a thread");
    thread.join().expect("no panic");
}

/// Sizes that malloc treats in different ways.
fn allocate() {
    drop(black_box((0..64).map(|size| vec![0u8; size * 100]).collect::<Vec<_>>()));
}
