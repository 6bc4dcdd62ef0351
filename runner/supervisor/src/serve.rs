//! The supervisor's loop: next wake-up, handle, react.
//!
//! Wakes up for the control socket, for the end of children (a signalfd), for the end of whoever
//! plays the runner (a pidfd: its socket could be held open by another process), and for the
//! clocks of `life`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Pid, getppid, setpgid, setsid};
use runner_core::memory::{Memory, Phase, ReportProgress};
use runner_core::protocol::{
    self, Attempt, Capture, Decoder, Done, End, Facts, FromSupervisor, Hang, LeakAllowance,
    PROTOCOL_VERSION, Process, ProcessHang, ProtocolError, RUN_FOLDER_PREFIX, ResourceDelta,
    Resources, Stdin, Stopped, ToSupervisor, Work,
};
use runner_core::{pidfd, wait};

use crate::census::Census;
use crate::hang::{self, Inside};
use crate::launch::{Launch, Launcher};
use crate::leftovers::{self, Shared};
use crate::life::{Action, Input, Life};
use crate::outside::Manner;
use crate::redirect::Redirect;
use crate::subtree::{self, Reaped, StoppedTree};
use crate::{FirstProcess, Terminal, fork, terminal};

/// So often what was left is listed again when nobody is seen.
const LEAK_LOOKS: u32 = 64;

/// How long who asks what an attempt is doing waits for the suite's hook.
const DESCRIPTION_PATIENCE: Duration = Duration::from_millis(200);
const DESCRIPTION_LOOK: Duration = Duration::from_micros(500);

/// Serves attempts until whoever plays the runner is gone; then ends what runs, and returns.
///
/// The caller has one thread. Its session, signals, stdin and children are the supervisor's from
/// now on.
///
/// # Errors
/// What the kernel says while preparing, or what the peer sent that is not the protocol.
pub fn serve(
    control: UnixStream,
    memory: Memory,
    mut first: impl FirstProcess,
) -> Result<(), ProtocolError> {
    let runner = pidfd_of_parent()?;
    let stdin = become_supervisor(first.terminal())?;
    let ends = watch_children()?;
    let memory: &'static Memory = Box::leak(Box::new(memory));
    first.prepare(memory);
    let decoder = Decoder::default();
    let mut supervisor = Supervisor {
        control,
        decoder,
        runner,
        ends,
        memory,
        first,
        stdin,
        launcher: None,
        redirect: None,
        shared: Shared::default(),
        last_temp_dir: None,
        cpu_time: Duration::ZERO,
    };
    let hello = FromSupervisor::Hello { protocol: PROTOCOL_VERSION };
    protocol::send(&mut supervisor.control, &hello)?;
    match protocol::receive(&mut supervisor.control)? {
        ToSupervisor::Hello { protocol: PROTOCOL_VERSION } => {}
        ToSupervisor::Hello { protocol } => {
            return Err(ProtocolError::Version { theirs: protocol });
        }
        ToSupervisor::Start(_)
        | ToSupervisor::Interrupt
        | ToSupervisor::Expire
        | ToSupervisor::Kill
        | ToSupervisor::Pause
        | ToSupervisor::Resume
        | ToSupervisor::Inspect => return Err(ProtocolError::Version { theirs: 0 }),
    }
    let served = supervisor.attempts();
    if !supervisor.shared.is_empty() {
        subtree::end_all();
    }
    if let Some(temp_dir) = &supervisor.last_temp_dir {
        remove_run_folder(temp_dir);
    }
    served
}

struct Supervisor<F> {
    control: UnixStream,
    decoder: Decoder,
    runner: OwnedFd,
    ends: SignalFd,
    memory: &'static Memory,
    first: F,
    /// What stdin was, for programs that are to have it.
    stdin: OwnedFd,
    /// Made for the first attempt that executes a program at once.
    launcher: Option<Launcher>,
    /// Made for the first attempt that is captured by its fds.
    redirect: Option<Redirect>,
    /// Daemons of earlier attempts that may go on.
    shared: Shared,
    last_temp_dir: Option<PathBuf>,
    /// Of all attempts so far.
    cpu_time: Duration,
}

/// An attempt that has a process.
struct Running {
    first: Pid,
    verdict: Verdict,
    life: Life,
    /// Where its fds 1 and 2 lead, if they are captured.
    redirect: Option<Redirect>,
    /// Where there is a limit to its processes.
    census: Option<Census>,
    too_many: Option<u32>,
    /// What a pause has stopped.
    stopped: Option<StoppedTree>,
    leaks: Vec<Process>,
    allowed: Vec<Process>,
    leak_allow: Vec<LeakAllowance>,
    /// What there was at the beginning, if what it leaves is to be counted.
    count: Option<Count>,
    unkillable: Vec<Process>,
    hang_facts: Option<Vec<ProcessHang>>,
    hang: Option<Hang>,
}

impl Running {
    /// When there is something to do even if nothing happens.
    fn next_look(&self, now: Instant) -> Option<Instant> {
        let redirect = self.redirect.as_ref().map(Redirect::next_look);
        let census = self.census.as_ref().filter(|_| self.stopped.is_none());
        let census = census.map(Census::next_look);
        self.life.next_look(now).into_iter().chain(redirect).chain(census).min()
    }
}

/// What is counted for [`Facts::resources`].
struct Count {
    /// At the beginning.
    shm: BTreeSet<String>,
    /// Alive when the first process had ended.
    children: usize,
}

/// Who says how the attempt went.
#[derive(Clone, Copy)]
enum Verdict {
    /// The attempt itself, in its memory.
    Done,
    /// The first process's exit code.
    ExitCode,
}

/// Why a poll returned. Several can be true at once.
struct Wake {
    control: bool,
    runner_gone: bool,
    child_ended: bool,
}

impl<F: FirstProcess> Supervisor<F> {
    fn attempts(&mut self) -> Result<(), ProtocolError> {
        loop {
            match self.next_message() {
                Ok(ToSupervisor::Start(attempt)) => self.attempt(*attempt)?,
                // The attempt that was meant ended just before.
                Ok(
                    ToSupervisor::Interrupt
                    | ToSupervisor::Expire
                    | ToSupervisor::Kill
                    | ToSupervisor::Resume
                    | ToSupervisor::Inspect,
                ) => {}
                Ok(ToSupervisor::Pause) => self.say(&FromSupervisor::Paused),
                Ok(ToSupervisor::Hello { .. }) | Err(ProtocolError::Closed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits while no attempt runs.
    fn next_message(&mut self) -> Result<ToSupervisor, ProtocolError> {
        loop {
            if let Some(message) = self.decoder.next()? {
                return Ok(message);
            }
            let wake = self.wait(None)?;
            if wake.control {
                self.read_control()?;
            } else if wake.runner_gone {
                return Err(ProtocolError::Closed);
            }
        }
    }

    fn attempt(&mut self, attempt: Attempt) -> Result<(), ProtocolError> {
        let temp_dir = attempt.temp_dir.clone();
        let mut running = match self.start(attempt) {
            Ok(running) => running,
            Err(error) => {
                let message = format!("cannot start an attempt: {error}");
                return protocol::send(&mut self.control, &FromSupervisor::Fault { message });
            }
        };
        let peer = self.until_over(&mut running);
        if let Some(mut redirect) = running.redirect.take() {
            redirect.collect(self.memory, running.first);
            self.redirect = Some(redirect);
        }
        let resources = running.count.take().map(|count| self.resources(&count, &temp_dir));
        let _ = fs::remove_dir_all(&temp_dir);
        self.last_temp_dir = Some(temp_dir);
        peer?;
        let facts = Facts { resources, ..self.facts(running) };
        protocol::send(&mut self.control, &FromSupervisor::Finished(Box::new(facts)))
    }

    fn start(&mut self, attempt: Attempt) -> io::Result<Running> {
        let Attempt { clocks, max_processes, .. } = attempt;
        let leak_allow = attempt.leak_allow.clone();
        let count = match attempt.resources {
            Resources::Ignore => None,
            Resources::Count => Some(Count { shm: leftovers::shm(), children: 0 }),
        };
        let verdict = match attempt.work {
            Work::Test { .. } => Verdict::Done,
            Work::Program(_) => Verdict::ExitCode,
        };
        let now = Instant::now();
        let redirect = match attempt.capture {
            Capture::Fd => Some(self.redirect(now)?),
            Capture::Sys | Capture::TeeSys | Capture::No => None,
        };
        self.memory.begin();
        let first = match self.first.launch(&attempt) {
            Some(launch) => {
                let launcher = self.launcher.get_or_insert_with(Launcher::new);
                execute(launcher, &launch, redirect.as_ref(), self.memory)?
            }
            None => self.fork(attempt, redirect.as_ref())?,
        };
        Ok(Running {
            first,
            verdict,
            life: Life::new(clocks, now),
            redirect,
            census: Census::begin(max_processes, first, now),
            too_many: None,
            stopped: None,
            leaks: Vec::new(),
            allowed: Vec::new(),
            leak_allow,
            count,
            unkillable: Vec::new(),
            hang_facts: None,
            hang: None,
        })
    }

    fn fork(&self, attempt: Attempt, redirect: Option<&Redirect>) -> nix::Result<Pid> {
        match fork::fork()? {
            ForkResult::Parent { child } => Ok(child),
            ForkResult::Child => {
                self.leave(&attempt, redirect);
                self.first.run(attempt, self.memory)
            }
        }
    }

    fn redirect(&mut self, now: Instant) -> io::Result<Redirect> {
        let mut redirect = match self.redirect.take() {
            Some(redirect) => redirect,
            None => Redirect::new(self.memory)?,
        };
        redirect.begin(now)?;
        Ok(redirect)
    }

    /// Undoes in the attempt's first process what `become_supervisor` and `watch_children` did: a
    /// process group of its own, no signal blocked, none of the supervisor's fds.
    fn leave(&self, attempt: &Attempt, redirect: Option<&Redirect>) {
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        if self.first.terminal() == Terminal::Shared {
            let _ = terminal::set_foreground(Pid::this());
        }
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        let _ = prctl::set_name(c"case");
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
        match &attempt.work {
            Work::Test { .. } => fork::hear_interrupts(),
            Work::Program(program) => match program.stdin {
                Stdin::Null => {}
                Stdin::Inherit => drop(nix::unistd::dup2_stdin(&self.stdin)),
            },
        }
        if let Some(redirect) = redirect {
            // dup2 of two open fds does not fail.
            let _ = redirect.install();
        }
        fork::close_all_but(&self.first.kept_fds(attempt));
    }

    /// Runs the attempt's life to its end. If the peer goes away meanwhile, the attempt is killed
    /// first and the peer's error returned then.
    fn until_over(&mut self, running: &mut Running) -> Result<(), ProtocolError> {
        let mut peer = Ok(());
        while !running.life.is_over() {
            let wake = self.wait(running.next_look(Instant::now()))?;
            if wake.child_ended {
                self.drain_ends();
                self.reap(running);
            }
            if peer.is_ok() && (wake.control || wake.runner_gone) {
                peer = self.hear(running, wake.control);
            }
            self.settle(running);
            self.count(running);
            let progress = self.report_progress(running.verdict);
            self.input(running, Input::Look(progress));
            if let Some(redirect) = &mut running.redirect {
                redirect.look(Instant::now());
            }
        }
        peer
    }

    /// With shared daemons there is always a child: the attempt is over when there is no other.
    fn settle(&mut self, running: &mut Running) {
        let may_be_over = !self.shared.is_empty() && running.life.end().is_some();
        if may_be_over && subtree::is_clear(&self.shared) {
            self.input(running, Input::Clear);
        }
    }

    fn count(&mut self, running: &mut Running) {
        if running.life.end().is_some() {
            // What the first process leaves is ended soon, and its group is nobody's to signal.
            running.census = None;
        }
        // Who is stopped does not grow, and to be counted might set it going.
        if running.stopped.is_some() {
            return;
        }
        let counted = running.census.as_mut().and_then(|census| census.look(Instant::now()));
        if counted.is_some() {
            running.too_many = counted;
            running.census = None;
            self.input(running, Input::TooMany);
        }
    }

    fn hear(&mut self, running: &mut Running, readable: bool) -> Result<(), ProtocolError> {
        let heard = self.messages(readable);
        match heard {
            Ok(messages) => {
                for message in messages {
                    self.told(running, &message);
                }
                Ok(())
            }
            Err(error) => {
                self.input(running, Input::Kill);
                Err(error)
            }
        }
    }

    fn messages(&mut self, readable: bool) -> Result<Vec<ToSupervisor>, ProtocolError> {
        if !readable {
            return Err(ProtocolError::Closed);
        }
        self.read_control()?;
        let mut messages = Vec::new();
        while let Some(message) = self.decoder.next()? {
            messages.push(message);
        }
        Ok(messages)
    }

    fn told(&mut self, running: &mut Running, message: &ToSupervisor) {
        match message {
            ToSupervisor::Interrupt => self.input(running, Input::Interrupt),
            ToSupervisor::Expire => self.input(running, Input::Expire),
            ToSupervisor::Kill => self.input(running, Input::Kill),
            ToSupervisor::Pause => {
                self.input(running, Input::Pause);
                self.say(&FromSupervisor::Paused);
            }
            ToSupervisor::Resume => {
                self.input(running, Input::Resume);
                if self.shares_terminal(running) {
                    terminal::go_on(running.first);
                }
            }
            ToSupervisor::Inspect => self.inspect(running),
            // One attempt at a time, one greeting: a peer that does otherwise is not served.
            ToSupervisor::Start(_) | ToSupervisor::Hello { .. } => {}
        }
    }

    fn reap(&mut self, running: &mut Running) {
        loop {
            match subtree::reap() {
                Reaped::Child(pid, end) if pid == running.first => {
                    if let Some(count) = &mut running.count {
                        count.children = subtree::alive(&self.shared).len();
                    }
                    self.input(running, Input::FirstEnded(end));
                }
                Reaped::Child(pid, _) => self.shared.forget(pid.as_raw()),
                Reaped::NoneYet => return self.look_at_stops(running),
                Reaped::NoChild => return self.input(running, Input::Clear),
            }
        }
    }

    /// What is alive. Processes that each start the next one and end are in no listing, if it is
    /// unlucky: that somebody is there is told all the same.
    fn left(&mut self, running: &mut Running) -> Vec<Process> {
        for _ in 0..LEAK_LOOKS {
            let alive = subtree::alive(&self.shared);
            if !alive.is_empty() {
                return alive;
            }
            // What died meanwhile left nothing.
            self.reap(running);
            self.settle(running);
            if running.life.is_over() {
                return Vec::new();
            }
        }
        vec![Process::unseen()]
    }

    /// A first process that was stopped as a job is: whoever plays the runner stops too.
    fn look_at_stops(&mut self, running: &mut Running) {
        if self.shares_terminal(running) && terminal::has_stopped(running.first) {
            self.told(running, &ToSupervisor::Pause);
        }
    }

    /// Whether the first process lives and may be the foreground job.
    fn shares_terminal(&self, running: &Running) -> bool {
        self.first.terminal() == Terminal::Shared && running.life.end().is_none()
    }

    fn input(&mut self, running: &mut Running, input: Input) {
        for action in running.life.step(input, Instant::now()) {
            self.act(running, action);
        }
    }

    fn act(&mut self, running: &mut Running, action: Action) {
        match action {
            Action::TellSlow => {
                let elapsed = running.life.elapsed(Instant::now());
                self.say(&FromSupervisor::Slow { elapsed });
            }
            Action::TellDebugged => self.say(&FromSupervisor::Debugged),
            Action::Expire => {
                running.hang_facts = Some(hang::facts(&self.shared));
                self.memory.expire();
                self.memory.begin_report();
            }
            Action::TakeReport => {
                let facts = running.hang_facts.take().unwrap_or_default();
                running.hang = Some(self.hang(facts, running.verdict));
            }
            Action::Ask => {
                let _ = kill(running.first, Signal::SIGINT);
                let _ = kill(running.first, Signal::SIGCONT);
            }
            Action::ListLeaks => {
                let leaks = self.left(running);
                let (leaks, allowed) = self.shared.keep(leaks, &running.leak_allow);
                (running.leaks, running.allowed) = (leaks, allowed);
            }
            Action::Kill => {
                if running.life.end().is_none() {
                    // Not reaped, so the group cannot be another's; and all of it ends at once,
                    // also where it forks faster than anybody could count.
                    let _ = killpg(running.first, Signal::SIGKILL);
                }
                subtree::kill_children(&self.shared);
            }
            Action::GiveUp => running.unkillable = subtree::alive(&self.shared),
            Action::LookForDebugger => self.input(running, Input::Traced(subtree::tracer())),
            Action::StopAll => running.stopped = Some(StoppedTree::stop()),
            Action::ContinueAll => {
                running.stopped.take().into_iter().for_each(StoppedTree::go_on);
            }
            Action::StopClock => self.memory.stop_clock(),
            Action::ContinueClock => self.memory.continue_clock(),
        }
    }

    fn facts(&mut self, running: Running) -> Facts {
        let cpu_time = subtree::reaped_time();
        let cpu_time_before = std::mem::replace(&mut self.cpu_time, cpu_time);
        let hang = running.hang.or_else(|| {
            let facts = running.hang_facts?;
            Some(self.hang(facts, running.verdict))
        });
        // A first process that survives SIGKILL has no end: that it is named says it all.
        let (end, duration) = match running.life.end() {
            Some(end) => end,
            None => (End::Signalled(Signal::SIGKILL as i32), running.life.elapsed(Instant::now())),
        };
        let done = self.done(running.verdict, end);
        let plain = done == Some(Done::Passed) && end == End::Exited(0) && hang.is_none();
        let last_events = if plain { Vec::new() } else { self.memory.last_events() };
        Facts {
            end,
            done,
            duration,
            stopped: running.life.stopped().or_else(|| self.watchdog_stopped()),
            leaks: running.leaks,
            unkillable: running.unkillable,
            hang,
            cpu_time: cpu_time.saturating_sub(cpu_time_before),
            detached_panics: self.memory.detached_panics(),
            too_many_processes: running.too_many,
            resources: None,
            allowed_leaks: running.allowed,
            last_events,
        }
    }

    fn resources(&self, before: &Count, temp_dir: &Path) -> ResourceDelta {
        let (threads, fds) = self.memory.resource_deltas().unzip();
        ResourceDelta {
            threads,
            fds,
            children: u32::try_from(before.children).unwrap_or(u32::MAX),
            shm: leftovers::shm().difference(&before.shm).cloned().collect(),
            sockets: leftovers::sockets_below(temp_dir),
        }
    }

    /// The watchdog's clock may be ahead of ours by the time of a fork: what ended in between has
    /// no *done*, and did not end early either.
    fn watchdog_stopped(&self) -> Option<Stopped> {
        (self.memory.phase() == Phase::Expired).then_some(Stopped::Deadline)
    }

    /// What the attempt said of itself: a program says it by its exit code.
    fn done(&self, verdict: Verdict, end: End) -> Option<Done> {
        let said = self.memory.done();
        match (verdict, end) {
            (Verdict::ExitCode, End::Exited(0)) => said.or(Some(Done::Passed)),
            (Verdict::ExitCode, End::Exited(code)) => {
                said.or_else(|| Some(Done::Failed { message: format!("exited with {code}") }))
            }
            (Verdict::Done, End::Exited(_))
            | (Verdict::Done | Verdict::ExitCode, End::Signalled(_)) => said,
        }
    }

    fn hang(&self, facts: Vec<ProcessHang>, verdict: Verdict) -> Hang {
        let inside = match verdict {
            Verdict::Done => Inside::Asked(self.memory.stacks()),
            Verdict::ExitCode => Inside::Nobody,
        };
        hang::complete(facts, inside, Manner::Thorough, self.memory)
    }

    /// What the attempt is doing, for whoever asks while it runs.
    fn inspect(&mut self, running: &Running) {
        let facts = hang::facts(&self.shared);
        let inside = match running.verdict {
            Verdict::ExitCode => Inside::Nobody,
            Verdict::Done => {
                self.have_described();
                Inside::NotAsked
            }
        };
        let hang = hang::complete(facts, inside, Manner::Glance, self.memory);
        self.say(&FromSupervisor::Inspected(Box::new(hang)));
    }

    /// A hook that takes longer has said what it has said.
    fn have_described(&self) {
        if self.memory.phase() != Phase::Running || !self.memory.ask_for_description() {
            return;
        }
        let until = Instant::now() + DESCRIPTION_PATIENCE;
        while !self.memory.is_described() && Instant::now() < until {
            std::thread::sleep(DESCRIPTION_LOOK);
        }
    }

    /// How far the first process is with its own part of a report.
    fn report_progress(&self, verdict: Verdict) -> ReportProgress {
        match verdict {
            Verdict::Done => self.memory.report_progress(),
            // It has no part in it.
            Verdict::ExitCode => ReportProgress::Over,
        }
    }

    /// A peer that is gone is noticed by the next poll.
    fn say(&mut self, message: &FromSupervisor) {
        let _ = protocol::send(&mut self.control, message);
    }

    fn wait(&self, until: Option<Instant>) -> io::Result<Wake> {
        let mut fds = [
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.runner.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.ends.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, wait::timeout(until)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |index: usize| fds[index].any().unwrap_or(false);
        Ok(Wake { control: ready(0), runner_gone: ready(1), child_ended: ready(2) })
    }

    fn read_control(&mut self) -> Result<(), ProtocolError> {
        let mut chunk = [0; 4096];
        match self.control.read(&mut chunk) {
            Ok(0) => Err(ProtocolError::Closed),
            Ok(count) => {
                self.decoder.push(&chunk[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(ProtocolError::Closed)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// One SIGCHLD may stand for several ends; `reap` asks for all of them. There is never more
    /// than one to read: it is not queued.
    fn drain_ends(&self) {
        let _ = self.ends.read_signal();
    }
}

/// Starts a program as the first process. That it could not be executed is the attempt's *done*.
fn execute(
    launcher: &mut Launcher,
    launch: &Launch<'_>,
    redirect: Option<&Redirect>,
    memory: &Memory,
) -> io::Result<Pid> {
    let launched = launcher.launch(launch, redirect.map(Redirect::file))?;
    if let Some(message) = launched.failure {
        memory.finish(&Done::NotSetUp { message });
    }
    Ok(launched.pid)
}

/// What the folders of a run's attempts lie in, `runner-…`, is the runner's to remove. A runner that
/// was killed cannot: the last of its supervisors to go finds it empty.
fn remove_run_folder(temp_dir: &Path) {
    let is_ours = |folder: &&Path| {
        let name = folder.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(RUN_FOLDER_PREFIX))
    };
    if let Some(folder) = temp_dir.parent().filter(is_ours) {
        // Not empty: another supervisor is still at work in it, and comes later.
        let _ = fs::remove_dir(folder);
    }
}

/// A session of its own, every orphan of its subtree adopted, nothing to read on stdin; what stdin
/// was comes back.
fn become_supervisor(terminal: Terminal) -> io::Result<OwnedFd> {
    match terminal {
        Terminal::None => match setsid() {
            // The runner has done it already.
            Ok(_) | Err(Errno::EPERM) => {}
            Err(error) => return Err(error.into()),
        },
        Terminal::Shared => setpgid(Pid::from_raw(0), Pid::from_raw(0))?,
    }
    prctl::set_child_subreaper(true)?;
    let _ = prctl::set_name(c"supervisor");
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let null = fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(null)?;
    Ok(stdin)
}

fn watch_children() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// The parent, by pidfd: whoever plays the runner.
fn pidfd_of_parent() -> io::Result<OwnedFd> {
    let parent = getppid();
    let fd = pidfd::open(parent)?;
    if getppid() == parent {
        Ok(fd)
    } else {
        Err(io::Error::other("whoever started this supervisor has ended"))
    }
}

/// Forks a supervisor from this process, which has one thread. The control socket's other end
/// and the supervisor's pid come back; in the child this never returns. It and those forked after
/// it have no part in this process's mapping of `memory`.
///
/// # Errors
/// What the kernel says to `socketpair`, `madvise` or `fork`.
pub fn fork_supervisor(memory: &Memory, first: impl FirstProcess) -> io::Result<(UnixStream, Pid)> {
    let (ours, theirs) = UnixStream::pair()?;
    // It opens the file. What its siblings' attempts may write to must not be in it either.
    memory.keep_from_forks()?;
    let memory = memory.fd().try_clone_to_owned()?;
    match fork::fork()? {
        ForkResult::Parent { child } => Ok((ours, child)),
        ForkResult::Child => {
            drop(ours);
            fork::close_all_but(&[theirs.as_raw_fd(), memory.as_raw_fd()]);
            let served = Memory::open(memory).map_err(ProtocolError::from);
            let served = served.and_then(|memory| serve(theirs, memory, first));
            if let Err(error) = &served {
                eprintln!("error: supervisor: whoever started it {error}");
            }
            std::process::exit(i32::from(served.is_err()))
        }
    }
}
