//! The process that was started: it forks the supervisor, passes signals on, and ends as the
//! command did.
//!
//! One thread and one poll loop over signals, the supervisor's socket and its death. It never
//! reads stdin and writes only to stderr: both are the command's.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use runner_core::memory::Memory;
use runner_core::outcome::signal_name;
use runner_core::owner::Owner;
use runner_core::protocol::{
    self, Attempt, Capture, Clocks, Decoder, Facts, FromSupervisor, Hang, Program, ProtocolError,
    Resources, Stdin, ToSupervisor, Work,
};
use runner_core::report;
use runner_core::symbols::Symboliser;
use runner_core::{pidfd, process, wait};
use runner_supervisor::fork_supervisor;

use super::command::Executed;
use super::terminal::Terminal;
use super::verdict::{Ending, code, judge};
use super::{Contain, verdict};
use crate::execute::Orphans;

/// A supervisor that was asked for an end has so long beyond all its clocks.
const SILENCE_LIMIT: Duration = Duration::from_secs(15);
/// A supervisor that has nothing to do any more is gone after this long, or killed.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// So long the command's processes may take to be stopped before this one stops.
const PAUSE_LIMIT: Duration = Duration::from_secs(1);
/// What survives SIGKILL for so long is named and left.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks for what a lost supervisor left.
const SWEEP_PERIOD: Duration = Duration::from_millis(5);
/// In practice never; a sum with it is still a time.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Runs a command to its end, and says how to end.
///
/// The calling process has one thread and no child that it waits for; its signals and its terminal
/// are this function's meanwhile.
pub fn contain(contain: &Contain) -> Ending {
    match Thin::start(contain) {
        Ok(mut thin) => thin.run(),
        Err(error) => {
            say(&format!("cannot start a supervisor: {error}"));
            Ending::Code(code::FAULT)
        }
    }
}

struct Thin<'a> {
    contain: &'a Contain,
    signals: SignalFd,
    terminal: Option<Terminal>,
    control: UnixStream,
    decoder: Decoder,
    supervisor: Pid,
    pidfd: OwnedFd,
    orphans: Orphans,
    /// The first signal by which somebody asked for the end.
    asked: Option<i32>,
    /// A supervisor that is silent beyond this is lost.
    patience: Option<Instant>,
    pause: Pause,
}

/// Whether somebody wants the command to stop for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// It runs.
    None,
    /// Its processes are being stopped, until then.
    Stopping { until: Instant },
    /// They were, and this process stopped itself.
    Stopped,
}

/// How the loop ends.
enum Over {
    Finished(Box<Facts>),
    Lost(String),
}

impl<'a> Thin<'a> {
    fn start(contain: &'a Contain) -> Result<Self, ProtocolError> {
        let signals = signals()?;
        let orphans = Orphans::adopt_all()?;
        let terminal = Terminal::take(contain.terminal);
        let executed = Executed {
            contain: contain.clone(),
            terminal: match terminal {
                Some(_) => runner_supervisor::Terminal::Shared,
                None => runner_supervisor::Terminal::None,
            },
        };
        let memory = Memory::create(0)?;
        let (control, supervisor) = fork_supervisor(&memory, executed)?;
        let mut thin = Self {
            contain,
            signals,
            terminal,
            control,
            decoder: Decoder::default(),
            supervisor,
            pidfd: pidfd::open(supervisor).map_err(io::Error::from)?,
            orphans,
            asked: None,
            patience: None,
            pause: Pause::None,
        };
        thin.greet()?;
        Ok(thin)
    }

    fn greet(&mut self) -> Result<(), ProtocolError> {
        protocol::greet(&self.control)?;
        let start = ToSupervisor::Start(Box::new(attempt(self.contain)));
        protocol::send(&mut self.control, &start)
    }

    fn run(&mut self) -> Ending {
        let over = loop {
            match self.step() {
                Ok(None) => {}
                Ok(Some(over)) => break over,
                Err(error) => break Over::Lost(format!("its supervisor {error}")),
            }
        };
        if let Some(terminal) = &self.terminal {
            terminal.take_back();
        }
        match over {
            Over::Finished(facts) => self.finish(&facts),
            Over::Lost(why) => self.bury(&why),
        }
    }

    fn step(&mut self) -> Result<Option<Over>, ProtocolError> {
        let (signalled, spoken, dead) = self.wait()?;
        if signalled {
            self.on_signals();
        }
        if spoken && let Some(over) = self.hear()? {
            return Ok(Some(over));
        }
        if dead {
            return Ok(Some(Over::Lost("its supervisor died".into())));
        }
        Ok(self.on_clock(Instant::now()))
    }

    fn wait(&self) -> io::Result<(bool, bool, bool)> {
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, wait::timeout(self.next_clock())) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |index: usize| fds[index].any().unwrap_or(false);
        Ok((ready(0), ready(1), ready(2)))
    }

    fn next_clock(&self) -> Option<Instant> {
        let pause = match self.pause {
            Pause::Stopping { until } => Some(until),
            Pause::None | Pause::Stopped => None,
        };
        self.patience.into_iter().chain(pause).min()
    }

    fn on_clock(&mut self, now: Instant) -> Option<Over> {
        if let Pause::Stopping { until } = self.pause
            && until <= now
        {
            self.stop();
        }
        let is_lost = self.patience.is_some_and(|until| until <= now);
        is_lost.then(|| Over::Lost("its supervisor is silent".into()))
    }

    fn on_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = info.ssi_signo.cast_signed();
            match Signal::try_from(number) {
                Ok(Signal::SIGTSTP) => self.pause(),
                Ok(Signal::SIGCONT) => self.resume(),
                Ok(Signal::SIGUSR1) => self.tell(&ToSupervisor::Inspect),
                Ok(Signal::SIGCHLD) => self.on_child(),
                Ok(_) | Err(_) => self.on_end_asked(number),
            }
        }
    }

    /// SIGTERM is how nextest says that its own clock ran out: it is answered as that, with a hang
    /// report.
    fn on_end_asked(&mut self, number: i32) {
        let message = match (self.asked, number) {
            (Some(_), _) => ToSupervisor::Kill,
            (None, libc::SIGTERM) => ToSupervisor::Expire,
            (None, _) => ToSupervisor::Interrupt,
        };
        self.asked.get_or_insert(number);
        let bound = self.contain.grace + self.contain.leak_after + SILENCE_LIMIT;
        self.patience = Some(Instant::now() + bound);
        self.tell(&message);
    }

    /// A supervisor that is stopped can do nothing of what it is there for.
    fn on_child(&mut self) {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
        if let Ok(WaitStatus::Stopped(..)) = waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
            let _ = kill(self.supervisor, Signal::SIGKILL);
        }
    }

    fn pause(&mut self) {
        if self.pause == Pause::None {
            self.pause = Pause::Stopping { until: Instant::now() + PAUSE_LIMIT };
            self.tell(&ToSupervisor::Pause);
        }
    }

    /// The command is stopped: so is this process, for whoever waits for it. Goes on at SIGCONT.
    fn stop(&mut self) {
        self.pause = Pause::Stopped;
        let stopped = Instant::now();
        let _ = raise(Signal::SIGSTOP);
        self.patience = self.patience.map(|until| until + stopped.elapsed());
    }

    fn resume(&mut self) {
        if self.pause != Pause::None {
            self.pause = Pause::None;
            self.tell(&ToSupervisor::Resume);
        }
    }

    /// A supervisor that is gone is noticed by the next poll.
    fn tell(&mut self, message: &ToSupervisor) {
        let _ = protocol::send(&mut self.control, message);
    }

    fn hear(&mut self) -> Result<Option<Over>, ProtocolError> {
        let mut chunk = [0; 16 << 10];
        match self.control.read(&mut chunk) {
            Ok(0) => return Err(ProtocolError::Closed),
            Ok(count) => self.decoder.push(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(message) = self.decoder.next()? {
            match message {
                FromSupervisor::Finished(facts) => return Ok(Some(Over::Finished(facts))),
                FromSupervisor::Fault { message } => return Ok(Some(Over::Lost(message))),
                // Asked for, or because the terminal stopped it.
                FromSupervisor::Paused => self.stop(),
                FromSupervisor::Inspected(hang) => self.report(&hang),
                FromSupervisor::Slow { .. } | FromSupervisor::Debugged => {}
                FromSupervisor::Hello { protocol } => {
                    return Err(ProtocolError::Version { theirs: protocol });
                }
            }
        }
        Ok(None)
    }

    fn finish(&mut self, facts: &Facts) -> Ending {
        let verdict::Verdict { ending, words } = judge(facts, self.asked, self.contain.leak);
        if let (Some(terminal), Some(_)) = (&self.terminal, facts.stopped) {
            terminal.restore_modes();
        }
        if let Some(hang) = &facts.hang {
            self.report(hang);
        }
        words.iter().for_each(|line| say(line));
        self.dismiss();
        ending
    }

    fn report(&self, hang: &Hang) {
        let name = self.contain.command.iter().map(|word| word.display().to_string());
        let name = name.collect::<Vec<_>>().join(" ");
        let text = report::hang(&name, hang, &mut Symboliser::new());
        let written = match &self.contain.report {
            None => io::stderr().lock().write_all(text.as_bytes()),
            Some(path) => fs::write(path, text),
        };
        match (written, &self.contain.report) {
            (Ok(()), Some(path)) => say(&format!("hang report: {}", path.display())),
            (Err(error), Some(path)) => say(&format!("cannot write {}: {error}", path.display())),
            // Nobody reads stderr: there is nobody to tell.
            (Ok(()) | Err(_), None) => {}
        }
    }

    /// Waits for the supervisor, which holds the pipes that somebody may wait for the end of.
    fn dismiss(&mut self) {
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let gone = poll(&mut fds, wait::timeout(Some(Instant::now() + LEAVE_LIMIT)));
        if gone.is_ok_and(|count| count == 0) {
            let _ = kill(self.supervisor, Signal::SIGKILL);
        }
        let _ = waitpid(self.supervisor, None);
    }

    /// The supervisor is dead or useless: what is left of the command comes to this process, a
    /// subreaper too, and is ended here.
    fn bury(&mut self, why: &str) -> Ending {
        say(why);
        let _ = kill(self.supervisor, Signal::SIGKILL);
        let _ = waitpid(self.supervisor, None);
        if let Some(terminal) = &self.terminal {
            terminal.restore_modes();
        }
        let until = Instant::now() + KILL_PATIENCE;
        loop {
            let left = self.orphans.sweep(&std::collections::BTreeSet::new());
            if left.is_empty() {
                break;
            }
            if Instant::now() >= until {
                say(&format!("what survived SIGKILL for 5 s: {left:?}"));
                break;
            }
            let _ = poll(&mut [], wait::timeout(Some(Instant::now() + SWEEP_PERIOD)));
        }
        match self.asked {
            Some(signal) => Ending::Signal(signal),
            None => Ending::Code(code::FAULT),
        }
    }
}

fn attempt(contain: &Contain) -> Attempt {
    let mark = Owner::this().map(|this| (Owner::VARIABLE.to_owned(), this.to_string()));
    let image = contain.command.first().map(PathBuf::from).unwrap_or_default();
    let arguments = contain.command.clone();
    Attempt {
        case_id: image.display().to_string(),
        work: Work::Program(Program { image, arguments, stdin: Stdin::Inherit }),
        backend: String::new(),
        axes: Default::default(),
        attempt: 1,
        slot: 0,
        seed: 0,
        env: mark.into_iter().collect(),
        cwd: PathBuf::new(),
        // None is offered to the command.
        temp_dir: PathBuf::new(),
        capture: Capture::No,
        clocks: Clocks {
            slow_after: NEVER,
            deadline: contain.timeout,
            grace: contain.grace,
            leak_after: contain.leak_after,
        },
        max_processes: contain.max_processes,
        leak_allow: Vec::new(),
        resources: Resources::Ignore,
    }
}

/// Blocked from here on, in the supervisor too; the command begins with none blocked.
fn signals() -> io::Result<SignalFd> {
    let mut set = process::heard(&[
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGTSTP,
        Signal::SIGCONT,
        Signal::SIGUSR1,
    ]);
    set.add(Signal::SIGCHLD);
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// To stderr, which somebody may have closed.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "contain: {line}");
}

impl Ending {
    /// Ends this process so that whoever waits for it sees what it would have seen of the command.
    pub fn end(self) -> std::process::ExitCode {
        match self {
            Self::Code(code) => code.into(),
            Self::Signal(signal) => {
                crate::execute::die_of(signal);
                // It is blocked by whoever started this process, or cannot end one.
                say(&format!("ended by {}", signal_name(signal)));
                (128_u8.saturating_add(u8::try_from(signal).unwrap_or(0))).into()
            }
        }
    }
}
