//! What a parent asks for, what a child is told, and the way from one to the other.

use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use uuid::Uuid;

use super::error::Failed;
use super::globals::globals;
use super::{
    Backend, Child, SpawnError, Step, Unavailable, descriptors, environment, init, main_loop,
    thread, title,
};

/// The child's end of the bond between parent and child. This layer only carries it over.
pub enum Link {
    /// A connected stream socket, for the process backends.
    Socket(OwnedFd),
    /// Anything at all, for `thread`.
    Memory(Box<dyn Any + Send>),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Link::Socket(socket) => f.debug_tuple("Socket").field(socket).finish(),
            Link::Memory(_) => f.write_str("Memory"),
        }
    }
}

/// What a new actor knows of itself when its entry begins.
#[derive(Debug)]
pub struct Boot {
    /// Its end of the bond with its parent.
    pub link: Link,
    /// How it came to be.
    pub backend: Backend,
    /// Its name, as the parent gave it.
    pub name: String,
    /// Its identity.
    pub uuid: Uuid,
}

/// What an actor runs, on a thread named after it. Returns the exit code. A panic that leaves it is caught: the
/// exit is code 101 for a process, [`Exit::Panicked`](super::Exit::Panicked) for a thread.
///
/// In a process, the main thread is meanwhile the fork server of the actor's own `thread_forkserver` children.
pub type Entry = fn(Boot) -> i32;

/// What a parent asks for.
#[derive(Debug)]
pub struct Request {
    /// Name of the actor: its thread's and its process's name too.
    pub name: String,
    /// Identity of the actor.
    pub uuid: Uuid,
    /// The child's end of the bond. Of the kind the backend takes.
    pub link: Link,
    /// What the child runs. `exec` and `forkserver` start from another image than the caller's and run what that
    /// image registered with [`set_entry`](super::set_entry).
    pub entry: Entry,
    /// Changes to the environment the child gets: a value sets, `None` removes. Refused on `thread`.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Another program than this one and its worker, on `exec` only. Not searched for in `PATH`, started without arguments. To
    /// become an actor it calls [`divert`](super::divert).
    pub program: Option<PathBuf>,
}

/// Makes a child.
///
/// The child exists when this returns; whether it ever says a word is seen on the link and by [`Child::wait`].
///
/// # Errors
/// [`SpawnError`] names the step that failed. Nothing of the child is left then.
///
/// # Cancel safety
/// A dropped future leaves no child: one that was already on its way is killed with its subtree and reaped as soon
/// as it exists.
pub async fn spawn(backend: Backend, request: Request) -> Result<Child, SpawnError> {
    let name = request.name.clone();
    let again = match backend {
        Backend::Fork | Backend::ThreadForkserver => request.again(),
        Backend::Exec | Backend::Forkserver | Backend::Thread => None,
    };
    let made = match backend {
        Backend::Thread => thread::spawn(request),
        Backend::Exec | Backend::Fork | Backend::Forkserver => match Order::new(backend, request) {
            Ok(order) => globals().spawner.spawn(order).await,
            Err(failed) => Err(failed),
        },
        Backend::ThreadForkserver => match Order::new(backend, request) {
            Ok(order) => main_loop::spawn(order).await,
            Err(failed) => Err(failed),
        },
    };
    made.map(|child| child.keeping(again)).map_err(|failed| failed.named(&name, backend))
}

impl Request {
    /// The same again, with a second handle on the link. `None` where there is no descriptor left for it: then there is no
    /// second try.
    fn again(&self) -> Option<Request> {
        let Link::Socket(link) = &self.link else { return None };
        Some(Request {
            name: self.name.clone(),
            uuid: self.uuid,
            link: Link::Socket(link.try_clone().ok()?),
            entry: self.entry,
            env: self.env.clone(),
            program: self.program.clone(),
        })
    }
}

/// A request to a process backend, checked, with all that must be known before the process is made.
pub(super) struct Order {
    pub(super) backend: Backend,
    pub(super) name: String,
    pub(super) uuid: Uuid,
    /// Of its process.
    pub(super) title: String,
    pub(super) link: OwnedFd,
    pub(super) entry: Entry,
    pub(super) env: Vec<(OsString, Option<OsString>)>,
    pub(super) program: Option<PathBuf>,
    /// Descriptors the child keeps besides its standard streams and its link.
    pub(super) keep: Vec<RawFd>,
}

impl Order {
    fn new(backend: Backend, request: Request) -> Result<Order, Failed> {
        let Link::Socket(link) = request.link else { return Err(Unavailable::WrongLink.into()) };
        if request.program.is_some() && backend != Backend::Exec {
            return Err(Unavailable::OtherProgram.into());
        }
        if !init::is_done() {
            return Err(Unavailable::NotInitialised.into());
        }
        check_owner(backend)?;
        check_name(&request.name)?;
        check_environment(&request.env)?;
        Ok(Order {
            backend,
            title: title::of(&request.name, request.uuid),
            name: request.name,
            uuid: request.uuid,
            link,
            entry: request.entry,
            env: request.env,
            program: request.program,
            keep: descriptors::kept(),
        })
    }
}

fn check_owner(backend: Backend) -> Result<(), Unavailable> {
    match backend {
        Backend::Fork | Backend::ThreadForkserver if init::worker().is_some() => {
            Err(Unavailable::ForeignMain)
        }
        Backend::Exec
        | Backend::Forkserver
        | Backend::Fork
        | Backend::Thread
        | Backend::ThreadForkserver => Ok(()),
    }
}

/// A thread's name is a C string.
pub(super) fn check_name(name: &str) -> Result<(), Failed> {
    if name.contains('\0') {
        return Err(invalid("an actor's name cannot contain a NUL".into()));
    }
    Ok(())
}

fn check_environment(changes: &[(OsString, Option<OsString>)]) -> Result<(), Failed> {
    match changes.iter().find(|(name, value)| !environment::is_settable(name, value.as_deref())) {
        Some((name, _)) => {
            Err(invalid(format!("`{}` cannot be set in an environment", name.display())))
        }
        None => Ok(()),
    }
}

fn invalid(why: String) -> Failed {
    Failed::at(Step::Prepare)(io::Error::new(io::ErrorKind::InvalidInput, why))
}
