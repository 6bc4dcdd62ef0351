//! The handle on a child of any backend: its end, signals, and the killing of all that came from it.
//!
//! Given out by `spawn`; owned by `supervise`. How the end of a process is noticed is in `process`, of a thread in
//! `thread`, how a subtree is killed in `subtree`.

use std::fmt;
use std::sync::{Arc, Mutex};

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::birth::STUCK;
use super::globals::globals;
use super::lock::lock;
use super::process::Process;
use super::thread::Thread;
use super::{Backend, Request};

/// A child. Dropping one whose exit was not collected kills its subtree and reaps it, from a thread of this layer;
/// a child on a thread is abandoned.
pub struct Child {
    name: String,
    uuid: Uuid,
    backend: Backend,
    life: Life,
    /// As long as it can be asked for again.
    request: Mutex<Option<Request>>,
}

/// What carries the child.
pub(super) enum Life {
    Process(Arc<Process>),
    Thread(Arc<Thread>),
}

/// How a child ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Exit {
    /// It returned, or called `exit`, with this code (0 to 255 for a process).
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
    /// Its entry panicked, with this message (`thread` only: a process exits with code 101).
    Panicked(String),
    /// It would not end and could not be made to; it may still run.
    Abandoned,
    /// It has ended, and somebody else took the status: a wait for any child, or an ignored `SIGCHLD`.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "signal {number} ({signal})"),
                Err(_) => write!(f, "signal {number}"),
            },
            Exit::Panicked(message) => write!(f, "panic: {message}"),
            Exit::Abandoned => f.write_str("abandoned, perhaps still running"),
            Exit::Unknown => f.write_str("ended, status taken by somebody else"),
        }
    }
}

/// What became of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signalled {
    /// The kernel took it.
    Sent,
    /// The child has ended.
    Gone,
    /// A child on a thread takes no signals.
    Unsupported,
}

/// What a kill of a subtree did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KillReport {
    /// Every process that was killed, or found dead and reaped: the child first, then its descendants as found.
    pub killed: Vec<Pid>,
    /// Processes that became children of this one meanwhile and could not be told to belong to the subtree. They
    /// were left alone.
    pub strangers: Vec<Stranger>,
}

/// A process that was left alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stranger {
    /// Its pid, at the time of the report.
    pub pid: Pid,
    /// Its command name, empty if it was gone before it could be read.
    pub name: String,
}

impl Child {
    pub(super) fn new(backend: Backend, name: String, uuid: Uuid, life: Life) -> Child {
        Child { name, uuid, backend, life, request: Mutex::new(None) }
    }

    /// Keeps what the child was asked for with.
    pub(super) fn keeping(self, request: Option<Request>) -> Child {
        *lock(&self.request) = request;
        self
    }

    /// What to [`spawn`](super::spawn) again if the child has ended with `exit` because it was forked at a bad moment: another
    /// thread held a lock that every thread takes when it begins, so that the actor's could not begin in the copy. Such a
    /// child notices that, does nothing, and ends. Its link, with all that was written to it, is in the request.
    #[must_use]
    pub fn retry(&self, exit: &Exit) -> Option<Request> {
        let request = lock(&self.request).take();
        request.filter(|_| *exit == Exit::Code(STUCK))
    }

    /// The child was heard of: it will not have to be asked for again. Until then, or its [`retry`](Child::retry), this process
    /// holds the child's end of the link too, and so does not see it close.
    pub fn is_heard(&self) {
        drop(lock(&self.request).take());
    }

    /// The backend it runs on.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its identity.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Its process id; `None` on a thread. The number may be reused as soon as the exit has been collected.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        match &self.life {
            Life::Process(process) => Some(process.pid()),
            Life::Thread(_) => None,
        }
    }

    /// Waits until the child has ended, reaps it, and says how it ended. On a thread: until its entry has returned
    /// or it was abandoned.
    ///
    /// # Cancel safety
    /// Cancel safe, and callable by several at once: each gets the same answer.
    ///
    /// # Panics
    /// On a process, outside a tokio runtime with I/O enabled.
    pub async fn wait(&self) -> Exit {
        match &self.life {
            Life::Process(process) => process.wait().await,
            Life::Thread(thread) => thread.wait().await,
        }
    }

    /// How the child ended, if it has. Reaps it then. Never blocks.
    #[must_use]
    pub fn try_exit(&self) -> Option<Exit> {
        match &self.life {
            Life::Process(process) => process.try_exit(),
            Life::Thread(thread) => thread.try_exit(),
        }
    }

    /// Sends `SIGINT`.
    pub fn interrupt(&self) -> Signalled {
        self.signal(libc::SIGINT)
    }

    /// Sends `SIGTERM`.
    pub fn terminate(&self) -> Signalled {
        self.signal(libc::SIGTERM)
    }

    fn signal(&self, signal: i32) -> Signalled {
        match &self.life {
            Life::Process(process) => process.signal(signal),
            Life::Thread(_) => Signalled::Unsupported,
        }
    }

    /// Kills the child and every descendant of it, and reaps those that are, or thereby become, children of this
    /// process. Returns when all of them are gone. On a thread this is [`abandon`](Child::abandon): the report is
    /// empty.
    ///
    /// A child that has already ended is looked after too: what it left behind in its process group is killed.
    ///
    /// # Cancel safety
    /// Once polled, the kill goes on to its end even if this future is dropped.
    pub async fn kill_subtree(&self) -> KillReport {
        match &self.life {
            Life::Process(process) => globals().reaper.kill(Arc::clone(process)).await,
            Life::Thread(_) => {
                self.abandon();
                KillReport::default()
            }
        }
    }

    /// Gives a thread up: every [`wait`](Child::wait) ends with [`Exit::Abandoned`], and the thread is listed by
    /// [`abandoned`](super::abandoned) for as long as it runs. Does nothing to a process.
    pub fn abandon(&self) {
        match &self.life {
            Life::Process(_) => (),
            Life::Thread(thread) => thread.abandon(&self.name, self.uuid),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        match &self.life {
            Life::Process(process) => {
                if process.is_ours() && process.try_exit().is_none() {
                    globals().reaper.kill_unobserved(Arc::clone(process));
                }
            }
            Life::Thread(_) => {
                if self.try_exit().is_none() {
                    self.abandon();
                }
            }
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("name", &self.name)
            .field("uuid", &self.uuid)
            .field("backend", &self.backend)
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
