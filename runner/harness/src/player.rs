//! Plays the runner under `cargo nextest run` and `cargo test`: one supervisor per test thread,
//! each with a memory of its own, and the same protocol.
//!
//! Supervisors are forked before the first thread. Afterwards this process only waits for
//! verdicts: it never forks a case.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use runner_core::expand::{AttemptPlace, Case};
use runner_core::memory::{Memory, Output};
use runner_core::outcome::{Outcome, judge};
use runner_core::owner::Owner;
use runner_core::process;
use runner_core::protocol::{
    self, Attempt, Facts, FromSupervisor, PROTOCOL_VERSION, ProtocolError, ToSupervisor,
};
use runner_core::run_folder::RunFolder;

use crate::Hooks;
use crate::forked::ForkedCase;

/// All supervisors of this process.
pub(crate) struct Player {
    idle: Mutex<Vec<Client>>,
    /// Write ends, for the thread that hears signals.
    controls: Mutex<Vec<UnixStream>>,
    supervisors: Mutex<Vec<Pid>>,
    interrupts: AtomicU32,
    attempts: AtomicU64,
    package_root: PathBuf,
    folder: RunFolder,
    owner: Option<Owner>,
}

/// One supervisor, seen from here.
struct Client {
    control: UnixStream,
    memory: Memory,
    pid: Pid,
    slot: u32,
}

/// What came of a case.
pub(crate) struct Played {
    pub(crate) outcome: Outcome,
    pub(crate) facts: Option<Facts>,
    pub(crate) output: Output,
}

/// Room for the output of one attempt, in bytes.
const CAPTURE_LIMIT_BYTES: usize = 64 << 20;
/// How long a supervisor may be silent when all clocks of its attempt have run out.
const SILENCE: Duration = Duration::from_secs(10);
/// How long to look for what a lost supervisor left.
const BURIAL_PATIENCE: Duration = Duration::from_secs(5);

impl Player {
    /// Forks `count` supervisors and hears signals from then on. The caller has one thread.
    pub(crate) fn start(
        count: usize,
        package_root: PathBuf,
        hooks: &'static Hooks,
    ) -> Result<&'static Self, ProtocolError> {
        // A supervisor that is killed leaves its attempt to us, not to init.
        prctl::set_child_subreaper(true).map_err(io::Error::from)?;
        let mut clients = Vec::new();
        for slot in 0..count {
            clients.push(Client::start(slot, hooks)?);
        }
        let controls: io::Result<Vec<_>> = clients.iter().map(|c| c.control.try_clone()).collect();
        let supervisors = clients.iter().map(|client| client.pid).collect();
        let player = Box::leak(Box::new(Self {
            supervisors: Mutex::new(supervisors),
            idle: Mutex::new(clients),
            controls: Mutex::new(controls?),
            interrupts: AtomicU32::new(0),
            attempts: AtomicU64::new(0),
            package_root,
            folder: RunFolder::create()?,
            owner: Owner::this(),
        }));
        player.hear_signals()?;
        Ok(player)
    }

    /// Runs a case on whichever supervisor is idle, and waits for the verdict.
    pub(crate) fn play(&self, case: &Case) -> Played {
        let Some(mut client) = self.take() else {
            let message = "no supervisor is left: the cases before ended them".into();
            return Played::without_facts(Outcome::RunnerFault { message });
        };
        if self.interrupts.load(Ordering::Acquire) > 0 {
            self.put_back(client);
            return Played::without_facts(Outcome::Interrupted);
        }
        client.memory.reset();
        let played = client.run(self.attempt(case, client.slot));
        match played {
            Ok(facts) => {
                let outcome = judge(&facts, &case.expectation);
                let last_events = facts.last_events.clone();
                let output = Output { last_events, ..client.memory.output() };
                if facts.unkillable.is_empty() {
                    self.put_back(client);
                }
                Played { outcome, facts: Some(facts), output }
            }
            Err(error) => {
                let output = client.memory.output();
                let message = format!("its supervisor (pid {}) {error}", client.pid);
                self.bury(client.pid);
                Played { outcome: Outcome::RunnerFault { message }, facts: None, output }
            }
        }
    }

    /// Ends all supervisors and waits for them.
    pub(crate) fn end(&self) {
        lock(&self.controls).clear();
        for client in lock(&self.idle).drain(..) {
            let Client { control, pid, .. } = client;
            drop(control);
            let _ = waitpid(pid, None);
        }
        let _ = self.folder.remove();
    }

    /// Ends a supervisor that cannot be talked to, and what its attempt leaves to us: every child
    /// of this process is a supervisor or such an orphan.
    fn bury(&self, supervisor: Pid) {
        let _ = kill(supervisor, Signal::SIGKILL);
        let _ = waitpid(supervisor, None);
        lock(&self.supervisors).retain(|pid| *pid != supervisor);
        let until = Instant::now() + BURIAL_PATIENCE;
        while Instant::now() < until {
            let supervisors = lock(&self.supervisors).clone();
            let children = process::children(Pid::this().as_raw()).into_iter().map(Pid::from_raw);
            let orphans: Vec<Pid> = children.filter(|pid| !supervisors.contains(pid)).collect();
            if orphans.is_empty() {
                return;
            }
            for orphan in orphans {
                let _ = kill(orphan, Signal::SIGKILL);
                let _ = waitpid(orphan, None);
            }
        }
    }

    fn take(&self) -> Option<Client> {
        lock(&self.idle).pop()
    }

    fn put_back(&self, client: Client) {
        lock(&self.idle).push(client);
    }

    fn attempt(&self, case: &Case, slot: u32) -> Attempt {
        let number = self.attempts.fetch_add(1, Ordering::Relaxed);
        let mut attempt = case.attempt(AttemptPlace {
            attempt: 1,
            slot,
            seed: seed(),
            cwd: self.package_root.clone(),
            temp_dir: self.folder.path().join(format!("{number:x}")),
        });
        let mark = self.owner.map(|owner| (Owner::VARIABLE.to_owned(), owner.to_string()));
        attempt.env.extend(mark);
        attempt
    }

    /// SIGTERM is how nextest says that its own clock ran out: it is answered like the deadline,
    /// with a hang report. SIGINT asks for an end, a second one does not ask. SIGCHLD may tell that a
    /// supervisor was stopped.
    fn hear_signals(&'static self) -> io::Result<()> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let listen = move || {
            while let Ok(signal) = mask.wait() {
                if signal == Signal::SIGCHLD {
                    self.end_stopped();
                    continue;
                }
                let before = self.interrupts.fetch_add(1, Ordering::AcqRel);
                self.tell_all(&match (signal, before) {
                    (Signal::SIGTERM, 0) => ToSupervisor::Expire,
                    (_, 0) => ToSupervisor::Interrupt,
                    (_, _) => ToSupervisor::Kill,
                });
            }
        };
        thread::Builder::new().name("signals".into()).spawn(listen)?;
        Ok(())
    }

    /// A supervisor that is stopped keeps no clock. Ended, its socket tells whoever waits for it.
    fn end_stopped(&self) {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        for pid in lock(&self.supervisors).iter() {
            if let Ok(WaitStatus::Stopped(..)) = waitid(Id::Pid(*pid), flags) {
                let _ = kill(*pid, Signal::SIGKILL);
            }
        }
    }

    fn tell_all(&self, message: &ToSupervisor) {
        for control in lock(&self.controls).iter_mut() {
            // A supervisor that is gone has nothing to end.
            let _ = protocol::send(control, message);
        }
    }
}

impl Client {
    fn start(slot: usize, hooks: &'static Hooks) -> Result<Self, ProtocolError> {
        let memory = Memory::create(CAPTURE_LIMIT_BYTES)?;
        let (mut control, pid) =
            runner_supervisor::fork_supervisor(&memory, ForkedCase::new(hooks))?;
        protocol::send(&mut control, &ToSupervisor::Hello { protocol: PROTOCOL_VERSION })?;
        match protocol::receive(&mut control)? {
            FromSupervisor::Hello { protocol: PROTOCOL_VERSION } => {}
            FromSupervisor::Hello { protocol } => {
                return Err(ProtocolError::Version { theirs: protocol });
            }
            FromSupervisor::Slow { .. }
            | FromSupervisor::Finished(_)
            | FromSupervisor::Paused
            | FromSupervisor::Inspected(_)
            | FromSupervisor::Fault { .. } => return Err(ProtocolError::Version { theirs: 0 }),
        }
        let slot = u32::try_from(slot).unwrap_or(u32::MAX);
        Ok(Self { control, memory, pid, slot })
    }

    fn run(&mut self, attempt: Attempt) -> Result<Facts, ProtocolError> {
        let clocks = attempt.clocks;
        let limit = clocks.deadline.map(|d| d + clocks.grace + clocks.leak_after + SILENCE);
        self.control.set_read_timeout(limit)?;
        protocol::send(&mut self.control, &ToSupervisor::Start(Box::new(attempt)))?;
        loop {
            match protocol::receive(&mut self.control)? {
                FromSupervisor::Finished(facts) => return Ok(*facts),
                // nextest and libtest have slow lines of their own; the rest is not asked for.
                FromSupervisor::Slow { .. }
                | FromSupervisor::Paused
                | FromSupervisor::Inspected(_) => {}
                FromSupervisor::Hello { protocol } => {
                    return Err(ProtocolError::Version { theirs: protocol });
                }
                FromSupervisor::Fault { message } => {
                    return Err(io::Error::other(message).into());
                }
            }
        }
    }
}

impl Played {
    /// A case that did not run.
    pub(crate) fn skipped() -> Self {
        Self::without_facts(Outcome::Pass)
    }

    fn without_facts(outcome: Outcome) -> Self {
        Self { outcome, facts: None, output: Output::default() }
    }
}

/// Of the wall clock and this process: different in each run, printed with each failure.
fn seed() -> u64 {
    runner_core::memory::now_ns().wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ u64::from(std::process::id())
}

/// A test thread that panicked while it held the list has left it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
