//! One supervisor process as the executor sees it: how it is started, spoken to, and ended.
//!
//! Nothing here waits. What a supervisor's words and its death mean is decided in `executor`.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use runner_core::memory::Memory;
use runner_core::outcome::signal_name;
use runner_core::owner::Owner;
use runner_core::protocol::{
    Decoder, FromSupervisor, Process, ProtocolError, ToSupervisor, role, variable,
};

use super::image::Image;
use super::kernel;
use super::run::RawOutput;

/// Taken from a socket by one read: many times a usual message.
const CHUNK_BYTES: usize = 8 << 10;

/// Never given twice in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SupervisorId(pub(super) u32);

/// What a supervisor is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// It was started and has not greeted.
    Greeting { slot: usize },
    /// It serves a slot.
    Serving { slot: usize },
    /// Nothing any more.
    Leaving,
}

/// How long a supervisor may still live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// As long as it has a duty.
    Open,
    /// It should be about to exit; SIGKILL then.
    KillAt(Instant),
    /// SIGKILL was sent; nobody waits for it beyond that time.
    GiveUpAt(Instant),
}

/// A supervisor that is not done with.
pub(super) struct Supervisor {
    /// Of which suite, by number.
    pub(super) suite: usize,
    /// What it is there for.
    pub(super) duty: Duty,
    /// How long it may still live.
    pub(super) term: Term,
    /// What it did wrong; nothing it says is heard any more.
    pub(super) fault: Option<String>,
    /// It and what was below it when that was noticed.
    pub(super) evidence: Vec<Process>,
    child: Child,
    pidfd: OwnedFd,
    /// `None` after `close`: that is what tells it to go.
    socket: Option<UnixStream>,
    decoder: Decoder,
    /// What the socket had no room for.
    unsent: Vec<u8>,
    /// Once it was waited for.
    status: Option<ExitStatus>,
}

/// How far a send or a read came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Everything there was.
    All,
    /// There is more, as soon as the socket is ready again.
    Part,
}

impl Supervisor {
    /// Starts a process of `image` for `slot`, with its attempts' output in `memory`.
    ///
    /// Its environment is the image's and the protocol's variables, nothing of this process.
    pub(super) fn start(
        slot: usize,
        suite: usize,
        image: &Image<'_>,
        memory: &Memory,
        raw_output: &RawOutput,
    ) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        let mut command = image.command();
        command
            .env(variable::ROLE, role::SUPERVISOR)
            .env(variable::CONTROL, theirs.as_raw_fd().to_string())
            .env(variable::MEMORY, memory.fd().as_raw_fd().to_string())
            .stdin(Stdio::null());
        if let Some(this) = Owner::this() {
            command.env(Owner::VARIABLE, this.to_string());
        }
        if let RawOutput::File(file) = raw_output {
            command.stdout(file.try_clone()?).stderr(file.try_clone()?);
        }
        let mut kept = image.fds();
        kept.extend([theirs.as_fd(), memory.fd()]);
        let child = kernel::spawn_apart(&mut command, &kept)?;
        Self::adopt(child, socket, Duty::Greeting { slot }, suite)
    }

    fn adopt(mut child: Child, socket: UnixStream, duty: Duty, suite: usize) -> io::Result<Self> {
        match kernel::pidfd_of(&child) {
            Ok(pidfd) => Ok(Self {
                suite,
                duty,
                term: Term::Open,
                fault: None,
                evidence: Vec::new(),
                child,
                pidfd,
                socket: Some(socket),
                decoder: Decoder::default(),
                unsent: Vec::new(),
                status: None,
            }),
            Err(error) => {
                // It cannot be watched, so it must not be. SIGKILL of a fresh child is prompt.
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Readable when it is dead.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its socket, as long as it is not closed.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Sends a message, or as much of it as there is room for.
    pub(super) fn send(&mut self, message: &ToSupervisor) -> Result<Progress, ProtocolError> {
        runner_core::protocol::send(&mut self.unsent, message)?;
        self.flush()
    }

    /// Sends what earlier sends left.
    pub(super) fn flush(&mut self) -> Result<Progress, ProtocolError> {
        let Some(socket) = &mut self.socket else {
            return Err(ProtocolError::Closed);
        };
        while !self.unsent.is_empty() {
            match socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(Progress::Part),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        return Err(ProtocolError::Closed);
                    }
                    _ => return Err(error.into()),
                },
            }
        }
        Ok(Progress::All)
    }

    /// Whether a send was left unfinished.
    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Takes in one chunk of what it said; [`Supervisor::next`] has the messages.
    ///
    /// # Errors
    /// [`ProtocolError::Closed`] when there will never be more.
    pub(super) fn read(&mut self) -> Result<Progress, ProtocolError> {
        let Some(socket) = &mut self.socket else {
            return Err(ProtocolError::Closed);
        };
        let mut chunk = [0; CHUNK_BYTES];
        match socket.read(&mut chunk) {
            Ok(0) => Err(ProtocolError::Closed),
            Ok(count) => {
                self.decoder.push(&chunk[..count]);
                Ok(if count == CHUNK_BYTES { Progress::Part } else { Progress::All })
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(Progress::All),
                io::ErrorKind::ConnectionReset => Err(ProtocolError::Closed),
                _ => Err(error.into()),
            },
        }
    }

    /// The next whole message of what was read.
    pub(super) fn next(&mut self) -> Result<Option<FromSupervisor>, ProtocolError> {
        self.decoder.next()
    }

    /// Closes the socket: a living supervisor then ends whatever it has and exits.
    pub(super) fn close(&mut self) {
        self.socket = None;
    }

    /// Sends SIGKILL. What it leaves becomes ours.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Waits for it if it is dead; its id may belong to somebody else afterwards.
    pub(super) fn try_reap(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Whether it may be given work: it lives, as far as is known, and did nothing wrong.
    pub(super) fn is_fit(&self) -> bool {
        self.status.is_none() && self.fault.is_none() && self.socket.is_some()
    }

    /// What ended it, for a person.
    pub(super) fn end_in_words(&self) -> String {
        match (&self.fault, self.status) {
            (Some(fault), _) => fault.clone(),
            (None, None) => "ended the conversation".into(),
            (None, Some(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exited with {code}"),
                (None, Some(signal)) => format!("was ended by {}", signal_name(signal)),
                (None, None) => format!("ended with {status}"),
            },
        }
    }

    /// The signal that stopped it, if it is stopped and that was not told yet.
    pub(super) fn try_stopped(&self) -> Option<Signal> {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
        match waitid(Id::PIDFd(self.pidfd.as_fd()), flags) {
            Ok(WaitStatus::Stopped(_, signal)) => Some(signal),
            Ok(_) | Err(_) => None,
        }
    }
}
