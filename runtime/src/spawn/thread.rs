//! `thread`: the child is an OS thread of this process.
//!
//! It cannot be killed, only asked (over its link) and, when it will not end, given up: quarantined, counted, named.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use super::backend::check_unwinds;
use super::child::Life;
use super::error::Failed;
use super::globals::globals;
use super::lock::lock;
use super::request::check_name;
use super::{Backend, Boot, Child, Exit, Link, Request, Step, Unavailable};

pub(super) fn spawn(request: Request) -> Result<Child, Failed> {
    check_unwinds()?;
    check(&request)?;
    let Request { name, uuid, link, entry, .. } = request;
    let thread = Arc::new(Thread::default());
    let boot = Boot { link, backend: Backend::Thread, name: name.clone(), uuid };
    let carried = Arc::clone(&thread);
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            OWN.set(Some(Arc::clone(&carried)));
            carried.finish(run(|| entry(boot)));
        })
        .map_err(Failed::at(Step::Thread))?;
    Ok(Child::new(Backend::Thread, name, uuid, Life::Thread(thread)))
}

fn check(request: &Request) -> Result<(), Failed> {
    check_name(&request.name)?;
    if matches!(request.link, Link::Socket(_)) {
        return Err(Unavailable::WrongLink.into());
    }
    if request.program.is_some() {
        return Err(Unavailable::OtherProgram.into());
    }
    if !request.env.is_empty() {
        return Err(Unavailable::SharedEnvironment.into());
    }
    Ok(())
}

fn run(entry: impl FnOnce() -> i32) -> Exit {
    match catch_unwind(AssertUnwindSafe(entry)) {
        Ok(code) => Exit::Code(code),
        Err(payload) => Exit::Panicked(message(&*payload).to_owned()),
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(the panic's payload is not text)"
    }
}

/// The life of a child on a thread. The OS thread itself ends within its last few instructions after `exit` is set;
/// nobody joins it, because thread-local destructors of the user's could hang whoever did.
#[derive(Default)]
pub(super) struct Thread {
    exit: Mutex<Option<Exit>>,
    changed: Notify,
    /// What is done when it is given up, each with its number.
    reactions: Mutex<BTreeMap<u64, Reaction>>,
}

thread_local! {
    /// The life that this thread carries, if it is a child's.
    static OWN: RefCell<Option<Arc<Thread>>> = const { RefCell::new(None) };
}

/// What is done when a thread is given up, on the thread of whoever does that.
pub(crate) type Reaction = Box<dyn FnOnce() + Send>;

/// Has done what `make` returns when the child on this thread is given up, unless the guard is dropped first. `None` if this thread
/// is no child's, or `make` makes nothing.
pub(crate) fn if_abandoned(make: impl FnOnce() -> Option<Reaction>) -> Option<IfAbandoned> {
    let thread = OWN.with_borrow(Clone::clone)?;
    let reaction = make()?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    lock(&thread.reactions).insert(number, reaction);
    if thread.try_exit().is_some() {
        thread.react();
    }
    Some(IfAbandoned { thread, number })
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// While it lives, a [`Reaction`] is due.
pub(crate) struct IfAbandoned {
    thread: Arc<Thread>,
    number: u64,
}

impl Drop for IfAbandoned {
    fn drop(&mut self) {
        let taken_back = lock(&self.thread.reactions).remove(&self.number);
        drop(taken_back);
    }
}

impl Thread {
    fn react(&self) {
        let reactions = std::mem::take(&mut *lock(&self.reactions));
        reactions.into_values().for_each(|reaction| reaction());
    }

    pub(super) fn try_exit(&self) -> Option<Exit> {
        lock(&self.exit).clone()
    }

    pub(super) async fn wait(&self) -> Exit {
        loop {
            // Listens before it looks, so that an end between the two is not missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(exit) = self.try_exit() {
                return exit;
            }
            changed.await;
        }
    }

    pub(super) fn abandon(self: &Arc<Self>, name: &str, uuid: Uuid) {
        let mut exit = lock(&self.exit);
        if exit.is_none() {
            *exit = Some(Exit::Abandoned);
            globals().quarantine.put(Arc::clone(self), name, uuid);
            drop(exit);
            self.react();
            self.changed.notify_waiters();
        }
    }

    fn finish(self: &Arc<Self>, end: Exit) {
        let mut exit = lock(&self.exit);
        if exit.is_none() {
            *exit = Some(end);
            drop(exit);
            self.changed.notify_waiters();
        } else {
            globals().quarantine.take(self);
        }
    }
}

/// An actor on a thread that was given up and still runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Abandoned {
    /// Name of the actor and of its thread.
    pub name: String,
    /// Identity of the actor.
    pub uuid: Uuid,
    /// How long ago it was given up.
    pub since: Duration,
}

/// Every actor on a thread of this process that was given up and still runs, the oldest first.
#[must_use]
pub fn abandoned() -> Vec<Abandoned> {
    globals().quarantine.list()
}

/// The threads that were given up.
#[derive(Default)]
pub(super) struct Quarantine {
    threads: Mutex<Vec<Quarantined>>,
}

struct Quarantined {
    thread: Arc<Thread>,
    name: String,
    uuid: Uuid,
    at: Instant,
}

impl Quarantine {
    fn put(&self, thread: Arc<Thread>, name: &str, uuid: Uuid) {
        lock(&self.threads).push(Quarantined {
            thread,
            name: name.to_owned(),
            uuid,
            at: Instant::now(),
        });
    }

    fn take(&self, thread: &Arc<Thread>) {
        lock(&self.threads).retain(|quarantined| !Arc::ptr_eq(&quarantined.thread, thread));
    }

    fn list(&self) -> Vec<Abandoned> {
        lock(&self.threads)
            .iter()
            .map(|thread| Abandoned {
                name: thread.name.clone(),
                uuid: thread.uuid,
                since: thread.at.elapsed(),
            })
            .collect()
    }
}
