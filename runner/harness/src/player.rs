//! Plays the runner under `cargo nextest run` and `cargo test`: one supervisor per test thread,
//! each with a memory of its own, and the same protocol.
//!
//! Supervisors are forked before the first thread. Afterwards this process only waits for
//! verdicts: it never forks a case. One that is lost is replaced (`respawn`).

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use runner_core::expand::{AttemptPlace, Case};
use runner_core::memory::{CAPTURE_LIMIT_BYTES, Memory, Output};
use runner_core::outcome::{Outcome, judge};
use runner_core::owner::Owner;
use runner_core::process;
use runner_core::protocol::{
    self, Attempt, Facts, FromSupervisor, Hang, ProtocolError, ToSupervisor,
};
use runner_core::report;
use runner_core::run_folder::RunFolder;
use runner_core::symbols::Symboliser;

use crate::forked::ForkedCase;
use crate::{Hooks, respawn};

/// All supervisors of this process.
pub(crate) struct Player {
    idle: Mutex<Vec<Client>>,
    /// Write ends, for the thread that hears signals.
    controls: Mutex<Vec<(Pid, UnixStream)>>,
    supervisors: Mutex<Vec<Pid>>,
    interrupts: AtomicU32,
    /// Held while everything stands still: nothing is started then.
    gate: Mutex<()>,
    /// Supervisors at work, and how many of them have stopped what is theirs.
    pause: Mutex<Pause>,
    paused: Condvar,
    attempts: AtomicU64,
    package_root: PathBuf,
    folder: RunFolder,
    owner: Option<Owner>,
}

#[derive(Default)]
struct Pause {
    running: usize,
    paused: usize,
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
    /// What its attempt had, if there was one.
    pub(crate) seed: Option<u64>,
}

/// How long a supervisor may be silent when all clocks of its attempt have run out.
const SILENCE: Duration = Duration::from_secs(10);
/// How long supervisors may take to stop what is theirs before this process stops.
const PAUSE_LIMIT: Duration = Duration::from_secs(1);
/// How long to look for what a lost supervisor left.
const BURIAL_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const BURIAL_LOOK: Duration = Duration::from_millis(1);

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
        let controls: io::Result<Vec<_>> = clients.iter().map(Client::write_end).collect();
        let supervisors = clients.iter().map(|client| client.pid).collect();
        let player = Box::leak(Box::new(Self {
            supervisors: Mutex::new(supervisors),
            idle: Mutex::new(clients),
            controls: Mutex::new(controls?),
            interrupts: AtomicU32::new(0),
            gate: Mutex::default(),
            pause: Mutex::default(),
            paused: Condvar::new(),
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
        let attempt = self.attempt(case, client.slot);
        let seed = Some(attempt.seed);
        let played = self.run(&mut client, attempt);
        match played {
            Ok(facts) => {
                let outcome = judge(&facts, &case.expectation);
                let last_events = facts.last_events.clone();
                let output = Output { last_events, ..client.memory.output() };
                if facts.unkillable.is_empty() {
                    self.put_back(client);
                } else {
                    // What it could not end may write into its memory for ever.
                    self.replace(client);
                }
                Played { outcome, facts: Some(facts), output, seed }
            }
            Err(error) => {
                let output = client.memory.output();
                let message = format!("its supervisor (pid {}) {error}", client.pid);
                self.bury(client.pid);
                self.replace(client);
                Played { outcome: Outcome::RunnerFault { message }, facts: None, output, seed }
            }
        }
    }

    /// One attempt, which stands still with everything else.
    fn run(&self, client: &mut Client, attempt: Attempt) -> Result<Facts, ProtocolError> {
        let id = attempt.case_id.clone();
        {
            let _open = lock(&self.gate);
            client.start_attempt(attempt)?;
            lock(&self.pause).running += 1;
        }
        let facts = client.until_finished(|message| match message {
            Meanwhile::Paused => {
                lock(&self.pause).paused += 1;
                self.paused.notify_all();
            }
            Meanwhile::Inspected(hang) => {
                eprint!("{}", report::hang(&id, &hang, &mut Symboliser::new()));
            }
        });
        lock(&self.pause).running -= 1;
        self.paused.notify_all();
        facts
    }

    /// Puts another supervisor into the place of one that is lost. Without one, there is a slot
    /// less: the cases that are still to come have the others.
    fn replace(&self, lost: Client) {
        let (pid, slot) = (lost.pid, lost.slot);
        drop(lost);
        lock(&self.controls).retain(|(other, _)| *other != pid);
        // Held until it is known: `bury` ends children that are nobody's.
        let mut supervisors = lock(&self.supervisors);
        match Client::restart(slot) {
            Ok((client, write_end)) => {
                supervisors.push(client.pid);
                lock(&self.controls).push(write_end);
                self.put_back(client);
            }
            Err(error) => eprintln!("warning: a lost supervisor is not replaced: {error}"),
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
            let orphans = self.orphans();
            if orphans.is_empty() {
                return;
            }
            for orphan in orphans {
                let _ = kill(orphan, Signal::SIGKILL);
                // One that changed its user cannot be killed, and is not waited for beyond that.
                let _ = waitpid(orphan, Some(WaitPidFlag::WNOHANG));
            }
            thread::sleep(BURIAL_LOOK);
        }
    }

    fn orphans(&self) -> Vec<Pid> {
        // Held while children are read: one that is being started is in both or in neither.
        let supervisors = lock(&self.supervisors);
        let children = process::children(Pid::this().as_raw()).into_iter().map(Pid::from_raw);
        children.filter(|pid| !supervisors.contains(pid)).collect()
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

    /// Those of these signals that this process was not started to ignore.
    fn hear_signals(&'static self) -> io::Result<()> {
        let mut mask = process::heard(&[
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGTSTP,
            Signal::SIGUSR1,
        ]);
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let listen = move || {
            while let Ok(signal) = mask.wait() {
                self.on_signal(signal);
            }
        };
        thread::Builder::new().name("signals".into()).spawn(listen)?;
        Ok(())
    }

    /// SIGTERM is how nextest says that its own clock ran out: it is answered like the deadline,
    /// with a hang report. SIGINT asks for an end, a second one does not ask. SIGCHLD may tell that
    /// a supervisor was stopped.
    fn on_signal(&self, signal: Signal) {
        match signal {
            Signal::SIGCHLD => self.end_stopped(),
            Signal::SIGTSTP => self.stand_still(),
            Signal::SIGUSR1 => self.tell_all(&ToSupervisor::Inspect),
            _ => {
                let before = self.interrupts.fetch_add(1, Ordering::AcqRel);
                self.tell_all(&match (signal, before) {
                    (Signal::SIGTERM, 0) => ToSupervisor::Expire,
                    (_, 0) => ToSupervisor::Interrupt,
                    (_, _) => ToSupervisor::Kill,
                });
            }
        }
    }

    /// Stops everything and then this process, until somebody sends SIGCONT. What the terminal
    /// or nextest sends does not reach attempts: they are sessions of their own.
    fn stand_still(&self) {
        let _closed = lock(&self.gate);
        lock(&self.pause).paused = 0;
        self.tell_all(&ToSupervisor::Pause);
        let is_awaited = |pause: &mut Pause| pause.paused < pause.running;
        // Idle ones answer too, but nobody reads that.
        let stopped = self.paused.wait_timeout_while(lock(&self.pause), PAUSE_LIMIT, is_awaited);
        drop(stopped);
        let _ = raise(Signal::SIGSTOP);
        self.tell_all(&ToSupervisor::Resume);
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
        for (_, control) in lock(&self.controls).iter_mut() {
            // A supervisor that is gone has nothing to end.
            let _ = protocol::send(control, message);
        }
    }
}

impl Client {
    fn start(slot: usize, hooks: &'static Hooks) -> Result<Self, ProtocolError> {
        let memory = Memory::create(CAPTURE_LIMIT_BYTES)?;
        let started = runner_supervisor::fork_supervisor(&memory, ForkedCase::new(hooks))?;
        Self::greet(memory, started, u32::try_from(slot).unwrap_or(u32::MAX))
    }

    /// In a process that has many threads.
    fn restart(slot: u32) -> Result<(Self, (Pid, UnixStream)), ProtocolError> {
        let memory = Memory::create(CAPTURE_LIMIT_BYTES)?;
        let started = respawn::supervisor(&memory)?;
        started.0.set_read_timeout(Some(SILENCE))?;
        let client = Self::greet(memory, started, slot)?;
        let write_end = client.write_end()?;
        Ok((client, write_end))
    }

    fn greet(
        memory: Memory,
        (control, pid): (UnixStream, Pid),
        slot: u32,
    ) -> Result<Self, ProtocolError> {
        protocol::greet(&control)?;
        Ok(Self { control, memory, pid, slot })
    }

    fn write_end(&self) -> io::Result<(Pid, UnixStream)> {
        Ok((self.pid, self.control.try_clone()?))
    }

    fn start_attempt(&mut self, attempt: Attempt) -> Result<(), ProtocolError> {
        let clocks = attempt.clocks;
        let limit = clocks.deadline.map(|d| d + clocks.grace + clocks.leak_after + SILENCE);
        self.control.set_read_timeout(limit)?;
        protocol::send(&mut self.control, &ToSupervisor::Start(Box::new(attempt)))
    }

    /// A read that was stopped with this process begins anew, and its time too (signal(7)).
    fn until_finished(
        &mut self,
        mut on_meanwhile: impl FnMut(Meanwhile),
    ) -> Result<Facts, ProtocolError> {
        loop {
            match protocol::receive(&mut self.control)? {
                FromSupervisor::Finished(facts) => return Ok(*facts),
                FromSupervisor::Paused => on_meanwhile(Meanwhile::Paused),
                FromSupervisor::Inspected(hang) => on_meanwhile(Meanwhile::Inspected(hang)),
                // nextest and libtest have slow lines of their own.
                FromSupervisor::Slow { .. } => {}
                // The next read has the whole time again.
                FromSupervisor::Debugged => {}
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

/// What a supervisor says while an attempt goes on.
enum Meanwhile {
    Paused,
    Inspected(Box<Hang>),
}

impl Played {
    /// A case that did not run.
    pub(crate) fn skipped() -> Self {
        Self::without_facts(Outcome::Pass)
    }

    fn without_facts(outcome: Outcome) -> Self {
        Self { outcome, facts: None, output: Output::default(), seed: None }
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
