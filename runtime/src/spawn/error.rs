//! What can go wrong when spawning, with the subject attached.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::{Backend, Unavailable};

/// A child that could not be made. No trace of it is left: no process, no thread, no descriptor.
#[derive(Debug, Error)]
#[error("cannot spawn actor `{actor}` on {backend}, failed to {step}")]
pub struct SpawnError {
    /// The name of the actor that was to be.
    pub actor: String,
    /// The backend it was to run on.
    pub backend: Backend,
    /// How far it got.
    pub step: Step,
    /// Why it got no further.
    pub source: SpawnFailure,
}

/// Why a step of a spawn failed.
#[derive(Debug, Error)]
pub enum SpawnFailure {
    /// The backend does not work here, or not with what was asked.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The operating system refused.
    #[error(transparent)]
    Os(#[from] io::Error),
}

/// What was being done when a spawn failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Looking whether the backend can do what was asked.
    Check,
    /// Turning the request into what the kernel takes.
    Prepare,
    /// Handing the request to the thread or process that forks.
    Request,
    /// Making the new process.
    Fork,
    /// Getting a handle on the new process.
    Handle,
    /// Setting the new process up before its image is replaced.
    Setup,
    /// Replacing the image of the new process.
    Exec,
    /// Making the new thread.
    Thread,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Check => "find a way to do it here",
            Step::Prepare => "prepare the request",
            Step::Request => "reach the one who forks",
            Step::Fork => "fork",
            Step::Handle => "open a handle on the new process",
            Step::Setup => "set the new process up",
            Step::Exec => "execute the program",
            Step::Thread => "start a thread",
        })
    }
}

/// A step that failed, before the actor's name and backend are attached.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) step: Step,
    pub(super) source: SpawnFailure,
}

impl Failed {
    pub(super) fn at(step: Step) -> impl Fn(io::Error) -> Failed {
        move |error| Failed { step, source: SpawnFailure::Os(error) }
    }

    pub(super) fn named(self, actor: &str, backend: Backend) -> SpawnError {
        SpawnError { actor: actor.to_owned(), backend, step: self.step, source: self.source }
    }
}

impl From<Unavailable> for Failed {
    fn from(reason: Unavailable) -> Failed {
        Failed { step: Step::Check, source: SpawnFailure::Unavailable(reason) }
    }
}

/// Why `init` refused.
#[derive(Debug, Error)]
pub enum InitError {
    /// It is for the start of a program, and a program has one.
    #[error("`init` has already run in this process (an actor counts as initialised)")]
    Twice,
    /// Threads that already run may hold locks, descriptors and handlers `init` must see the birth of.
    #[error(
        "`init` must come before any other thread, and {threads} threads are running: call it first in `main`, as \
         #[runtime::main] and #[runtime::test] do; where `main` is not yours, name a worker binary (`Config::worker`)"
    )]
    Threads {
        /// How many, this one included.
        threads: u64,
    },
    /// What is named as the worker binary cannot be executed.
    #[error("the worker binary {} cannot be executed: {source}", path.display())]
    Worker {
        /// As it was given.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("`init` failed to {step}: {source}")]
    Os {
        /// What was being done.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}
