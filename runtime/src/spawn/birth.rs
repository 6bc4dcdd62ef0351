//! The child's side of a spawn: from a process that has just come to be, by whatever backend, to a running actor.
//!
//! All processes of actors end up the same: the main thread serves fork requests, the entry runs on a thread named
//! after the actor.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::descriptors::{self, Inherited};
use super::globals::{globals, renew};
use super::request::Order;
use super::summons::{self, Role, Summons};
use super::{
    Backend, Boot, Entry, Link, environment, family, forkserver, init, kernel, lineage, panics,
    signals, title,
};

/// Exit code of an actor whose entry panicked, as of a Rust program whose `main` did.
const PANICKED: i32 = 101;

/// Exit code of a process that could not become an actor (`EX_OSERR` of sysexits.h).
const STILLBORN: i32 = 71;

/// Exit code of a forked child whose actor could not begin (`EX_TEMPFAIL`).
pub(super) const STUCK: i32 = 75;

static ENTRY: OnceLock<Entry> = OnceLock::new();

/// Registers what actors of this program run when they start from a fresh image or from the fork server. The first
/// call counts. Belongs before [`divert`].
pub fn set_entry(entry: Entry) {
    ENTRY.get_or_init(|| entry);
}

pub(super) fn has_entry() -> bool {
    ENTRY.get().is_some()
}

/// To be called first in `main`. In a process that was started as an actor (or as the fork server of one) it becomes
/// that and never returns; in any other it returns at once.
pub fn divert() {
    signals::remember_std_handlers();
    let Some(text) = std::env::var_os(summons::VARIABLE) else { return };
    environment::remove_alone(summons::VARIABLE);
    match text.to_str().and_then(Summons::parse) {
        Some(summons) => take_up(summons),
        None => stillborn("this process was not told what it is", &text.display()),
    }
}

/// Whether [`divert`] would not return.
pub(crate) fn is_summoned() -> bool {
    std::env::var_os(summons::VARIABLE).is_some()
}

fn take_up(summons: Summons) -> ! {
    let (socket, lineage) = (adopt(summons.socket), adopt(summons.lineage));
    if let Err(error) = lineage::join(lineage).and_then(|()| init::prepare(summons.tokio)) {
        stillborn("cannot prepare", &error);
    }
    match summons.role {
        Role::Actor { uuid, name } => live(
            &title::of(&name, uuid),
            Boot { link: Link::Socket(socket), backend: Backend::Exec, name, uuid },
            entry(),
            Ending::Exit,
        ),
        Role::Forkserver => forkserver::serve(socket),
    }
}

fn adopt(fd: RawFd) -> OwnedFd {
    match descriptors::set_inherited(fd, Inherited::No) {
        Ok(()) => descriptors::own(fd),
        Err(error) => stillborn("a descriptor given to this process is not open", &error),
    }
}

/// The entry this program registered.
pub(super) fn entry() -> Entry {
    match ENTRY.get() {
        Some(entry) => *entry,
        None => stillborn(
            "this program was started as an actor",
            &"it registered no entry before `divert`",
        ),
    }
}

/// Sets a new process apart from its parent: adopter of its own orphans, and killed when the thread that made it ends
/// (the second line: the first is the end of file on its link). Async-signal-safe.
///
/// Its birth is entered first of all. Whoever adopts it, should it and its parent die at any moment of this, knows it by
/// its parent's group before, and by the entry after.
///
/// # Errors
/// `ESRCH` if the parent is dead already, in which case no signal would come.
pub(super) fn settle(parent: Pid, group: Group) -> Result<(), Errno> {
    lineage::enter(parent);
    match group {
        Group::Own => nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?,
        Group::Parents => (),
    }
    prctl::set_child_subreaper(true)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if Pid::parent() == parent { Ok(()) } else { Err(Errno::ESRCH) }
}

/// Which process group a new process is in.
#[derive(Clone, Copy)]
pub(super) enum Group {
    /// It leads one, as every actor.
    Own,
    /// The one it was born into, as a side-car.
    Parents,
}

/// Goes on as the actor of `order`, in a child that was just forked and has one thread.
pub(super) fn after_fork(order: Order, parent: Pid) -> ! {
    panics::never_trace();
    renew();
    match settle(parent, Group::Own) {
        Ok(()) => (),
        // Nobody wants this child any more, and nobody wants to read of it.
        Err(Errno::ESRCH) => kernel::leave(STILLBORN),
        Err(error) => stillborn("cannot set this process apart from its parent", &error),
    }
    if let Err(error) = grant(&order) {
        stillborn("cannot close what this process was not given", &error);
    }
    fresh_signals(order.backend);
    environment::apply_alone(&order.env);
    let Order { backend, name, uuid, title, link, entry, .. } = order;
    live(&title, Boot { link: Link::Socket(link), backend, name, uuid }, entry, Ending::Leave)
}

fn grant(order: &Order) -> io::Result<()> {
    let mut granted = order.keep.clone();
    granted.push(order.link.as_raw_fd());
    granted.extend(lineage::descriptor());
    descriptors::scrub(granted)
}

fn fresh_signals(backend: Backend) {
    match backend {
        // The side-car did, once for all its children.
        Backend::Forkserver => (),
        Backend::Exec | Backend::Fork | Backend::Thread | Backend::ThreadForkserver => {
            signals::reset_in_fork();
        }
    }
    signals::unblock();
}

/// How a process ends.
#[derive(Clone, Copy)]
enum Ending {
    /// As a program does: exit handlers run.
    Exit,
    /// As a forked copy does: the exit handlers it inherited are its parent's, and may wait for threads and locks
    /// that are not there.
    Leave,
}

fn live(title: &str, boot: Boot, entry: Entry, ending: Ending) -> ! {
    title::set(title, &boot.name);
    globals().fork_requests.open();
    let name = boot.name.clone();
    let backend = boot.backend;
    let begun = Arc::new(AtomicBool::new(false));
    let has_begun = Arc::clone(&begun);
    let actor = move || {
        has_begun.store(true, Ordering::Release);
        end(catch_unwind(AssertUnwindSafe(|| entry(boot))).unwrap_or(PANICKED), ending);
    };
    match std::thread::Builder::new().name(name).spawn(actor) {
        Ok(_runs_to_the_end_of_the_process) => serve_beside(backend, &begun),
        Err(error) => stillborn("cannot start the actor's thread", &error),
    }
}

/// What the main thread does.
fn serve_beside(backend: Backend, begun: &AtomicBool) -> ! {
    match backend {
        Backend::Fork | Backend::ThreadForkserver => watch_over(begun),
        // Forked from a process with one thread, or not at all.
        Backend::Exec | Backend::Forkserver | Backend::Thread => (),
    }
    globals().fork_requests.serve_for_ever()
}

/// How often the main thread looks after an actor that has not begun.
const LOOK: Duration = Duration::from_millis(20);

/// Serves fork requests until the actor's thread has begun. It never does if it needs a lock that another thread of the parent
/// held at the fork (std's on its table of threads, for one): then it sleeps, and nobody is there who could wake it. To see that
/// twice is enough. A machine too busy to run it shows another state.
fn watch_over(begun: &AtomicBool) {
    let mut sleeps = 0;
    loop {
        globals().fork_requests.serve_for(LOOK);
        if begun.load(Ordering::Acquire) {
            return;
        }
        sleeps = if family::others_sleep() { sleeps + 1 } else { 0 };
        if sleeps == 2 && !begun.load(Ordering::Acquire) {
            kernel::leave(STUCK);
        }
    }
}

fn end(code: i32, ending: Ending) {
    globals().sidecars.stop();
    match ending {
        Ending::Exit => std::process::exit(code),
        Ending::Leave => {
            // Nobody is left to hear that this failed.
            let _ = io::stdout().flush();
            kernel::leave(code)
        }
    }
}

/// Ends a process that cannot become what it should, with its last words.
pub(super) fn stillborn(what: &str, why: &dyn fmt::Display) -> ! {
    let _ = writeln!(io::stderr(), "runtime: {what}: {why}");
    kernel::leave(STILLBORN)
}
