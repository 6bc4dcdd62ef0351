//! The supervisor's loop: next wake-up, handle, react.
//!
//! Wakes up for the control socket, for the end of children (a signalfd), for the end of whoever
//! plays the runner (a pidfd: its socket could be held open by another process), and for the
//! clocks of `life`.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{ForkResult, Pid, getppid, setpgid, setsid};
use runner_core::memory::Memory;
use runner_core::protocol::{
    self, Attempt, Decoder, End, Facts, FromSupervisor, Hang, PROTOCOL_VERSION, Process,
    ProtocolError, RUN_FOLDER_PREFIX, ToSupervisor,
};

use super::life::{Action, Input, Life};
use super::subtree::{self, Reaped};
use crate::{Hooks, attempt, capture, registry};

/// Serves attempts until whoever plays the runner is gone; then ends what runs, and returns.
///
/// The caller has one thread. Its session, signals, stdin and children are the supervisor's from
/// now on.
///
/// # Errors
/// What the kernel says while preparing, or what the peer sent that is not the protocol.
pub(crate) fn serve(
    control: UnixStream,
    memory: Memory,
    hooks: &'static Hooks,
) -> Result<(), ProtocolError> {
    let runner = pidfd_of_parent()?;
    become_supervisor()?;
    let ends = watch_children()?;
    let memory: &'static Memory = Box::leak(Box::new(memory));
    let owner = capture::Owner::this(memory);
    prepare_for_cases();
    let decoder = Decoder::default();
    let mut supervisor = Supervisor {
        control,
        decoder,
        runner,
        ends,
        memory,
        owner,
        hooks,
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
        | ToSupervisor::Kill => return Err(ProtocolError::Version { theirs: 0 }),
    }
    let served = supervisor.attempts();
    if let Some(temp_dir) = &supervisor.last_temp_dir {
        remove_run_folder(temp_dir);
    }
    served
}

struct Supervisor {
    control: UnixStream,
    decoder: Decoder,
    runner: OwnedFd,
    ends: SignalFd,
    memory: &'static Memory,
    owner: Option<capture::Owner>,
    hooks: &'static Hooks,
    last_temp_dir: Option<PathBuf>,
    /// Of all attempts so far.
    cpu_time: Duration,
}

/// An attempt that has a process.
struct Running {
    first: Pid,
    life: Life,
    leaks: Vec<Process>,
    unkillable: Vec<Process>,
    hang_processes: Option<Vec<Process>>,
    hang: Option<Hang>,
}

/// Why a poll returned. Several can be true at once.
struct Wake {
    control: bool,
    runner_gone: bool,
    child_ended: bool,
}

impl Supervisor {
    fn attempts(&mut self) -> Result<(), ProtocolError> {
        loop {
            match self.next_message() {
                Ok(ToSupervisor::Start(attempt)) => self.attempt(*attempt)?,
                // The attempt that was meant ended just before.
                Ok(ToSupervisor::Interrupt | ToSupervisor::Expire | ToSupervisor::Kill) => {}
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
                let message = format!("cannot fork: {error}");
                return protocol::send(&mut self.control, &FromSupervisor::Fault { message });
            }
        };
        let peer = self.until_over(&mut running);
        let _ = fs::remove_dir_all(&temp_dir);
        self.last_temp_dir = Some(temp_dir);
        peer?;
        let facts = self.facts(running);
        protocol::send(&mut self.control, &FromSupervisor::Finished(Box::new(facts)))
    }

    fn start(&mut self, attempt: Attempt) -> nix::Result<Running> {
        let clocks = attempt.clocks;
        self.memory.begin();
        let now = Instant::now();
        match fork::fork()? {
            ForkResult::Parent { child: first } => Ok(Running {
                first,
                life: Life::new(clocks, now),
                leaks: Vec::new(),
                unkillable: Vec::new(),
                hang_processes: None,
                hang: None,
            }),
            ForkResult::Child => {
                leave_supervisor();
                attempt::run(attempt, self.memory, self.owner.as_ref(), self.hooks)
            }
        }
    }

    /// Runs the attempt's life to its end. If the peer goes away meanwhile, the attempt is killed
    /// first and the peer's error returned then.
    fn until_over(&mut self, running: &mut Running) -> Result<(), ProtocolError> {
        let mut peer = Ok(());
        while !running.life.is_over() {
            let wake = self.wait(running.life.next_look(Instant::now()))?;
            if wake.child_ended {
                self.drain_ends();
                self.reap(running);
            }
            if peer.is_ok() && (wake.control || wake.runner_gone) {
                peer = self.hear(running, wake.control);
            }
            self.input(running, Input::Look(self.memory.stack_progress()));
        }
        peer
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
            // One attempt at a time, one greeting: a peer that does otherwise is not served.
            ToSupervisor::Start(_) | ToSupervisor::Hello { .. } => {}
        }
    }

    fn reap(&mut self, running: &mut Running) {
        loop {
            match subtree::reap() {
                Reaped::Child(pid, end) if pid == running.first => {
                    self.input(running, Input::FirstEnded(end));
                }
                Reaped::Child(..) => {}
                Reaped::NoneYet => return,
                Reaped::NoChild => return self.input(running, Input::Clear),
            }
        }
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
                // A peer that is gone is noticed by the next poll.
                let _ = protocol::send(&mut self.control, &FromSupervisor::Slow { elapsed });
            }
            Action::Expire => {
                self.memory.expire();
                running.hang_processes = Some(subtree::alive());
            }
            Action::TakeStacks => {
                let processes = running.hang_processes.take().unwrap_or_default();
                running.hang = Some(Hang { processes, stacks: self.memory.stacks() });
            }
            Action::Ask => {
                let _ = kill(running.first, Signal::SIGINT);
                let _ = kill(running.first, Signal::SIGCONT);
            }
            Action::ListLeaks => running.leaks = subtree::alive(),
            Action::Kill => subtree::kill_children(),
            Action::GiveUp => running.unkillable = subtree::alive(),
        }
    }

    fn facts(&mut self, running: Running) -> Facts {
        let cpu_time = subtree::reaped_time();
        let cpu_time_before = std::mem::replace(&mut self.cpu_time, cpu_time);
        let hang = running.hang.or_else(|| {
            let processes = running.hang_processes?;
            Some(Hang { processes, stacks: self.memory.stacks() })
        });
        // A first process that survives SIGKILL has no end: that it is named says it all.
        let (end, duration) = match running.life.end() {
            Some(end) => end,
            None => (End::Signalled(Signal::SIGKILL as i32), running.life.elapsed(Instant::now())),
        };
        Facts {
            end,
            done: self.memory.done(),
            duration,
            stopped: running.life.stopped(),
            leaks: running.leaks,
            unkillable: running.unkillable,
            hang,
            cpu_time: cpu_time.saturating_sub(cpu_time_before),
        }
    }

    fn wait(&self, until: Option<Instant>) -> io::Result<Wake> {
        let mut fds = [
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.runner.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.ends.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout(until)) {
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

/// Does once, before the first fork, what every case would do again: the index of tests, and the
/// first start of a thread, after which libc has looked up what it needs for that and keeps the
/// stack. Twice, because a case has two threads. They have ended before anything is forked.
fn prepare_for_cases() {
    let _ = registry::find("");
    let threads = [(); 2].map(|()| thread::Builder::new().spawn(|| {}));
    for thread in threads.into_iter().flatten() {
        // It does nothing that could panic.
        let _ = thread.join();
    }
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

/// poll(2) counts milliseconds: rounded up, so that what was waited for is due.
fn timeout(until: Option<Instant>) -> PollTimeout {
    let Some(until) = until else {
        return PollTimeout::NONE;
    };
    let left = until.saturating_duration_since(Instant::now());
    let millis = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}

/// A session of its own, every orphan of its subtree adopted, nothing to read on stdin.
fn become_supervisor() -> io::Result<()> {
    match setsid() {
        // The runner has done it already.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    prctl::set_child_subreaper(true)?;
    let _ = prctl::set_name(c"supervisor");
    let null = fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(null)?;
    Ok(())
}

fn watch_children() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Undoes in the attempt's first process what `become_supervisor` and `watch_children` did: a
/// process group of its own, no signal blocked, none of the supervisor's fds.
fn leave_supervisor() {
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let _ = prctl::set_name(c"case");
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    fork::close_from(3);
}

/// The parent, by pidfd: whoever plays the runner.
fn pidfd_of_parent() -> io::Result<OwnedFd> {
    let parent = getppid();
    let fd = fork::pidfd_open(parent)?;
    if getppid() == parent {
        Ok(fd)
    } else {
        Err(io::Error::other("whoever started this supervisor has ended"))
    }
}

/// Forks a supervisor from this process, which has one thread. The control socket's other end
/// and the supervisor's pid come back; in the child this never returns.
///
/// # Errors
/// What the kernel says to `socketpair` or `fork`.
pub(crate) fn start(memory: &Memory, hooks: &'static Hooks) -> io::Result<(UnixStream, Pid)> {
    let (ours, theirs) = UnixStream::pair()?;
    let memory = memory.fd().try_clone_to_owned()?;
    match fork::fork()? {
        ForkResult::Parent { child } => Ok((ours, child)),
        ForkResult::Child => {
            drop(ours);
            fork::close_all_but(3, [theirs.as_raw_fd(), memory.as_raw_fd()]);
            let served = Memory::open(memory).map_err(ProtocolError::from);
            let served = served.and_then(|memory| serve(theirs, memory, hooks));
            if let Err(error) = &served {
                eprintln!("error: supervisor: whoever started it {error}");
            }
            std::process::exit(i32::from(served.is_err()))
        }
    }
}

/// A control socket from the number of an inherited fd.
pub(crate) fn inherited(number: i32) -> io::Result<OwnedFd> {
    fork::inherited(number)
}

mod fork {
    //! Forking, and fds by number.
    #![expect(unsafe_code, reason = "fork, raw system calls and inherited fds")]

    use super::{AsRawFd, Errno, ForkResult, FromRawFd, OwnedFd, Pid, io};

    /// Forks this process, which has one thread.
    pub(super) fn fork() -> nix::Result<ForkResult> {
        // SAFETY: the supervisor has one thread (the two of `prepare_for_cases` were joined before
        // the first fork), so no lock can be held by one that does not exist in the child: the
        // child may do anything.
        unsafe { nix::unistd::fork() }
    }

    /// Closes all fds from `first` on, owned or not: their owners are never dropped here, this
    /// process ends by `exit`.
    pub(super) fn close_from(first: u32) {
        // SAFETY: takes no pointer. What is closed is never used again in this process.
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    }

    /// Closes all fds from `first` on but two: what a forked supervisor inherited of its
    /// siblings would keep their conversations open.
    pub(super) fn close_all_but(first: u32, mut kept: [i32; 2]) {
        kept.sort_unstable();
        let mut from = first;
        for fd in kept.map(i32::cast_unsigned) {
            if from < fd {
                // SAFETY: takes no pointer. The closed fds' owners are never used or dropped in
                // this process, which serves and then exits.
                unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
            }
            from = fd + 1;
        }
        close_from(from);
    }

    pub(super) fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
        // SAFETY: takes no pointer; the kernel makes a new fd (close-on-exec) or fails.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        let fd = Errno::result(fd)?;
        // SAFETY: the fd is new and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }

    pub(super) fn inherited(number: i32) -> io::Result<OwnedFd> {
        if number <= 2 {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: takes no pointer; an fd that is not open is an error.
        Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
        // SAFETY: it is open, and the runner made it for this process, which takes it once, at
        // its start.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        debug_assert_eq!(fd.as_raw_fd(), number);
        Ok(fd)
    }
}
