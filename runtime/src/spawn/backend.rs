//! The closed list of spawn backends: names, aliases, what each can do, and whether it works here.
//!
//! Everybody who names a backend comes here: the spawner, users, suites. How a backend makes a child is in the
//! file of that backend.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{forkserver, kernel, main_loop, quiesce};

/// How a child actor comes to be.
///
/// # A task that never yields
/// It cannot be cancelled, here as in any async program, and while it runs its actor reads nothing: not even the order to end. Its
/// parent never waits for it without bound, and says in the error which rung it took:
/// - a process that has not acknowledged in [`Timings::ack`](crate::Timings) gets SIGTERM, and after [`Timings::terminate`](crate::Timings)
///   it and all below it SIGKILL;
/// - a thread, which nothing can end, is *abandoned* after [`Timings::abandon`](crate::Timings): named and counted by
///   [`abandoned`](super::abandoned), every wait for it ended, while it runs on in its process. What it holds stays held.
///
/// A root that never yields does not read its interrupts either: the third SIGINT ends its process, and its tree sees that.
///
/// # What a forked child cannot rely on
/// On `fork` and `thread_forkserver` the child is a copy in which only the forking thread exists. Locks that other
/// threads held at that moment stay locked in it. This crate holds std's locks on standard output, standard error and
/// the environment while it forks, libc sees to its own, and tokio's process-wide descriptors are made anew. Left are:
/// - locks in statics of the program and its libraries, where other threads take them;
/// - std's lock on standard input, if another thread was reading, and the one on backtraces: a forked child's panics
///   are reported without one, and `Backtrace::capture` in it can hang;
/// - signals for which the parent had a tokio listener: the child starts with default handlers, and tokio believes
///   that its own is installed;
/// - `atexit` handlers: an actor that returns does not run those it inherited.
///
/// Because the fork waits for standard output and error, a task that holds `std::io::stdout().lock()` while it awaits
/// a spawn waits for itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Backend {
    /// A fresh image of the same binary (or of another program), its spec over an inherited socket.
    Exec,
    /// A side-car process, started early and single-threaded, forks warm children on request.
    Forkserver,
    /// This process forks, without exec, from a dedicated thread that never ran the async runtime.
    Fork,
    /// An OS thread of this process with a scheduler and an actor state of its own.
    Thread,
    /// This process's main thread, kept free of async work, forks.
    ThreadForkserver,
}

impl Backend {
    /// Every backend, in the order in which they are listed to users.
    pub const ALL: [Backend; 5] = [
        Backend::Exec,
        Backend::Forkserver,
        Backend::Fork,
        Backend::Thread,
        Backend::ThreadForkserver,
    ];

    /// The name users write, and the one printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Backend::Exec => "exec",
            Backend::Forkserver => "forkserver",
            Backend::Fork => "fork",
            Backend::Thread => "thread",
            Backend::ThreadForkserver => "thread_forkserver",
        }
    }

    /// Other accepted names: tractor's keys for the same mechanism.
    #[must_use]
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Backend::Exec => &["trio", "mp_spawn"],
            Backend::Forkserver => &["mp_forkserver"],
            Backend::Fork => &["main_thread_forkserver", "subint_fork"],
            Backend::Thread => &["subint"],
            Backend::ThreadForkserver => &["subint_forkserver"],
        }
    }

    /// What a child of this backend can do, or have done to it.
    #[must_use]
    pub fn capabilities(self) -> Capabilities {
        use Capability::{InheritsHeap, Killable, OwnStdio, ParentDeath, Process, SubtreeKill};
        Capabilities(match self {
            Backend::Exec | Backend::Forkserver => {
                &[Process, Killable, SubtreeKill, ParentDeath, OwnStdio]
            }
            Backend::Fork | Backend::ThreadForkserver => {
                &[Process, Killable, SubtreeKill, ParentDeath, InheritsHeap, OwnStdio]
            }
            Backend::Thread => &[],
        })
    }

    /// Whether a child is a process of its own.
    #[must_use]
    pub fn is_process(self) -> bool {
        self.capabilities().has(Capability::Process)
    }

    /// Whether the backend works in this process, on this kernel.
    ///
    /// Asks the kernel (a few system calls), so call it when listing, not before each spawn: a spawn that cannot
    /// work fails with the same reason.
    ///
    /// # Errors
    /// [`Unavailable`] says what is missing, by name.
    pub fn check(self) -> Result<(), Unavailable> {
        match self {
            Backend::Exec => kernel::check(),
            Backend::Forkserver => kernel::check().and_then(|()| forkserver::check()),
            Backend::Fork => kernel::check().and_then(|()| quiesce::check()),
            Backend::Thread => check_unwinds(),
            Backend::ThreadForkserver => {
                kernel::check().and_then(|()| quiesce::check()).and_then(|()| main_loop::check())
            }
        }
    }
}

/// A panic that aborts cannot end one thread only.
pub(super) fn check_unwinds() -> Result<(), Unavailable> {
    if cfg!(panic = "abort") { Err(Unavailable::PanicAborts) } else { Ok(()) }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    /// Accepts names and aliases, exactly as written.
    fn from_str(text: &str) -> Result<Backend, UnknownBackend> {
        Backend::ALL
            .into_iter()
            .find(|backend| backend.names().any(|name| name == text))
            .ok_or_else(|| UnknownBackend { text: text.to_owned(), nearest: nearest(text) })
    }
}

impl Backend {
    fn names(self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name()).chain(self.aliases().iter().copied())
    }
}

/// The known name closest to `text`, when it is close enough to have been meant.
fn nearest(text: &str) -> Option<&'static str> {
    Backend::ALL
        .into_iter()
        .flat_map(Backend::names)
        .map(|name| (strsim::damerau_levenshtein(text, name), name))
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3))
        .min()
        .map(|(_, name)| name)
}

/// A backend name nobody knows.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("unknown spawn backend `{text}`{}", Suggestion(*.nearest))]
pub struct UnknownBackend {
    text: String,
    nearest: Option<&'static str>,
}

impl UnknownBackend {
    /// The known name that was probably meant.
    #[must_use]
    pub fn nearest(&self) -> Option<&'static str> {
        self.nearest
    }
}

struct Suggestion(Option<&'static str>);

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ", did you mean `{name}`?"),
            None => write!(f, "; known are {}", Backend::ALL.map(Backend::name).join(", ")),
        }
    }
}

/// One thing that not every backend's children can do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Capability {
    /// A child is an operating system process of its own.
    Process,
    /// A child can be ended against its will.
    Killable,
    /// Ending a child can take all its descendants with it.
    SubtreeKill,
    /// A child notices when its parent's process dies without a word.
    ParentDeath,
    /// A child starts with a copy of the parent's heap as it is at the spawn.
    InheritsHeap,
    /// A child can have other standard streams than its parent.
    OwnStdio,
}

impl Capability {
    /// Every capability.
    pub const ALL: [Capability; 6] = [
        Capability::Process,
        Capability::Killable,
        Capability::SubtreeKill,
        Capability::ParentDeath,
        Capability::InheritsHeap,
        Capability::OwnStdio,
    ];

    /// The name suites write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Capability::Process => "process",
            Capability::Killable => "killable",
            Capability::SubtreeKill => "subtree_kill",
            Capability::ParentDeath => "parent_death",
            Capability::InheritsHeap => "inherits_heap",
            Capability::OwnStdio => "own_stdio",
        }
    }
}

/// The set of things a backend's children can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities(&'static [Capability]);

impl Capabilities {
    /// Whether `capability` is in the set.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }

    /// Everything in the set.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        self.0.iter().copied()
    }
}

/// Why a backend cannot work in this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Unavailable {
    /// `thread` ends an actor by unwinding it.
    #[error(
        "this binary is built with `panic = \"abort\"`, so a panicking actor would end the whole process"
    )]
    PanicAborts,
    /// A system call that every process backend needs.
    #[error("this kernel does not offer {call} (Linux {since} does)")]
    Kernel {
        /// The system call.
        call: &'static str,
        /// The first Linux release that has it, and what it must be built with.
        since: &'static str,
    },
    /// The environment lock cannot be held across a fork.
    #[error(
        "`setenv` cannot be intercepted in this binary, so std's environment lock cannot be held while forking"
    )]
    EnvironmentLock,
    /// Nobody serves fork requests on the main thread.
    #[error(
        "the main thread of this process does not serve fork requests (no `MainLoop` was taken from the init guard, or it was stopped)"
    )]
    NoMainLoop,
    /// `init` has not run, so nothing is known of what a fork would inherit.
    #[error("`init` has not run in this process")]
    NotInitialised,
    /// A fresh image would not know what to run.
    #[error(
        "no actor entry is registered (`set_entry` and `divert` belong at the start of `main`)"
    )]
    NoEntry,
    /// `thread` shares the one environment of its process.
    #[error("an actor on a thread shares its parent's environment and cannot have one of its own")]
    SharedEnvironment,
    /// Only `exec` starts another program.
    #[error("only the exec backend can start another program")]
    OtherProgram,
    /// A fork is a copy of this process, whose `main` belongs to somebody else.
    #[error(
        "this program named a worker binary because its `main` is not its own: actors are started from that, on exec or \
         forkserver, or are threads"
    )]
    ForeignMain,
    /// The link given does not reach a child of this kind.
    #[error("the link is of the wrong kind: processes take a socket, threads take memory")]
    WrongLink,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_alias_is_accepted_and_belongs_to_one_backend() {
        let mut seen = Vec::new();
        for backend in Backend::ALL {
            for name in backend.names() {
                assert_eq!(name.parse(), Ok(backend));
                assert!(!seen.contains(&name), "{name} names two backends");
                seen.push(name);
            }
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let meant = |text: &str| text.parse::<Backend>().map_err(|error| error.nearest());
        assert_eq!(meant("frok"), Err(Some("fork")));
        assert_eq!(meant("thread-forkserver"), Err(Some("thread_forkserver")));
        assert_eq!(meant("subin"), Err(Some("subint")));
        assert_eq!(meant("zebra"), Err(None));
    }

    #[test]
    fn an_unknown_name_lists_what_is_known() {
        let error = "zebra".parse::<Backend>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown spawn backend `zebra`; known are exec, forkserver, fork, thread, thread_forkserver"
        );
        let error = "frok".parse::<Backend>().unwrap_err();
        assert_eq!(error.to_string(), "unknown spawn backend `frok`, did you mean `fork`?");
    }
}
