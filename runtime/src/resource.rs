//! Things that several tasks of an actor use and one has to open and close: opened by the first who comes, closed after the last has
//! left.
//!
//! ```text
//! (nothing) ── first user ──► Opening ── provided ──► Open ── last user left ──► Closing ── ended ──► (nothing)
//!                                └──────── failed, or all left ────────────────────▲
//! ```
//!
//! Each such course is a generation. Who comes while one is closing waits, and begins the next. What opens and closes runs as a task
//! that the actor owns, so no user that is cancelled takes it along.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::actor::{self, Remnant, ThisActor, leave};
use crate::error::{Error, RemoteError, Result};
use crate::line::Cut;
use crate::rpc::catch;

/// Runs `body` with what `open` provides under `key`: shared with all in this actor who use the same key, of the same types, at the
/// same time.
///
/// The first to come has `open` run, which makes the value, gives it to [`Provide::until_unused`], and closes it when that returns.
/// Others wait until it is there. The last to leave waits until `open` has returned; who comes meanwhile waits too, and has its own
/// `open` run.
///
/// # Errors
/// The body's. What `open` fails with before it has provided a value, to all who wait for it: the error itself to the first, to the
/// others as an [`Error::Remote`] of this actor. What it fails with afterwards, to the last who leaves. [`Error::NoRuntime`] outside
/// an actor.
///
/// # Cancel safety
/// Dropping the future leaves. If it is the last, the scope it was dropped from, or the actor, waits until `open` has returned, and
/// has its error.
pub async fn maybe_open_context<K, V, O, T, B>(key: K, open: O, body: B) -> Result<T>
where
    K: Eq + Hash + Clone + 'static,
    V: 'static,
    O: AsyncFnOnce(Provide<V>) -> Result<()> + 'static,
    B: AsyncFnOnce(Lease<V>) -> Result<T>,
{
    let user = enter(key, open).await?;
    let lease = user.wait_open().await?;
    let outcome = body(lease).await;
    let closed = user.leave().await;
    match (outcome, closed) {
        (Ok(value), Ok(())) => Ok(value),
        (Err(error), Ok(())) | (Ok(_), Err(error)) => Err(error),
        (Err(own), Err(closing)) => Err(Error::from_failures([own, closing])
            .unwrap_or_else(|| Error::Bug("two failures came to none".to_owned()))),
    }
}

/// What the one who opens a resource gives it to.
pub struct Provide<V> {
    generation: Rc<Generation<V>>,
}

impl<V> Provide<V> {
    /// Lets the users have `value`, and returns when the last has left.
    pub async fn until_unused(self, value: V) {
        self.generation.set(Phase::Open(Rc::new(value)));
        self.generation.wait_unused().await;
        self.generation.set(Phase::Closing);
    }
}

/// A shared resource, in use. Derefs to its value.
pub struct Lease<V> {
    value: Rc<V>,
    generation: u64,
    is_first: bool,
}

impl<V> Lease<V> {
    /// Whether it was there already, or being opened, when this user came.
    pub fn was_cached(&self) -> bool {
        !self.is_first
    }

    /// Which time this is that a resource of this actor was opened: a number that grows.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl<V> Deref for Lease<V> {
    type Target = V;
    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V: fmt::Debug> fmt::Debug for Lease<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.value).finish()
    }
}

impl<V> fmt::Debug for Provide<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provide(generation {})", self.generation.number)
    }
}

/// What one course of a resource shares with its users.
struct Generation<V> {
    number: u64,
    phase: RefCell<Phase<V>>,
    users: Cell<usize>,
    changed: Notify,
    /// Ends an opening that nobody waits for any more.
    cut: Cut,
}

enum Phase<V> {
    Opening,
    Open(Rc<V>),
    Closing,
    Ended(Ended),
}

/// How `open` returned.
enum Ended {
    Well,
    /// The error, for the first who asks, and as the others see it.
    Failed {
        error: RefCell<Option<Error>>,
        told: RemoteError,
    },
}

impl<V> Generation<V> {
    fn set(&self, phase: Phase<V>) {
        self.phase.replace(phase);
        self.changed.notify_waiters();
    }

    async fn wait_unused(&self) {
        self.wait(|_| (self.users.get() == 0).then_some(())).await;
    }

    async fn wait_ended(&self) -> Result<()> {
        self.wait(|phase| match phase {
            Phase::Opening | Phase::Open(_) | Phase::Closing => None,
            Phase::Ended(Ended::Well) => Some(Ok(())),
            Phase::Ended(Ended::Failed { error, told }) => {
                Some(Err(error.take().unwrap_or_else(|| Error::Remote(told.clone()))))
            }
        })
        .await
    }

    async fn wait<T>(&self, look: impl Fn(&Phase<V>) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = look(&self.phase.borrow()) {
                return found;
            }
            changed.await;
        }
    }
}

/// The generations of one type of key and value that have not ended.
type Table<K, V> = HashMap<K, Rc<Generation<V>>>;

thread_local! {
    /// An actor has its thread for itself, so what hangs on the thread is the actor's. Empty when nothing is in use.
    static TABLES: RefCell<HashMap<(TypeId, TypeId), Box<dyn Any>>> = RefCell::default();
    static NUMBERS: Cell<u64> = const { Cell::new(0) };
}

fn with_table<K: 'static, V: 'static, T>(look: impl FnOnce(&mut Table<K, V>) -> T) -> Option<T> {
    TABLES.with_borrow_mut(|tables| {
        let table = tables
            .entry((TypeId::of::<K>(), TypeId::of::<V>()))
            .or_insert_with(|| Box::new(Table::<K, V>::new()));
        table.downcast_mut().map(look)
    })
}

/// One that uses a resource, or waits for it.
struct User<V: 'static> {
    this: Arc<ThisActor>,
    generation: Rc<Generation<V>>,
    is_first: bool,
    presence: Presence,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Here,
    Gone,
}

/// Joins the generation that there is, or begins one.
async fn enter<K, V, O>(key: K, open: O) -> Result<User<V>>
where
    K: Eq + Hash + Clone + 'static,
    V: 'static,
    O: AsyncFnOnce(Provide<V>) -> Result<()> + 'static,
{
    let this = actor::this()?;
    loop {
        let found = with_table(|table: &mut Table<K, V>| table.get(&key).cloned()).flatten();
        let Some(generation) = found else {
            let generation = begin(&this, key, open);
            return Ok(User { this, generation, is_first: true, presence: Presence::Here });
        };
        if generation.is_joinable() {
            generation.users.set(generation.users.get() + 1);
            return Ok(User { this, generation, is_first: false, presence: Presence::Here });
        }
        generation.wait_over().await;
    }
}

impl<V> Generation<V> {
    /// Whether a new user would find it open, or still being opened for somebody.
    fn is_joinable(&self) -> bool {
        match &*self.phase.borrow() {
            Phase::Opening | Phase::Open(_) => self.users.get() > 0,
            Phase::Closing | Phase::Ended(_) => false,
        }
    }

    async fn wait_over(&self) {
        self.wait(|phase| matches!(phase, Phase::Ended(_)).then_some(())).await;
    }
}

fn begin<K, V, O>(this: &Arc<ThisActor>, key: K, open: O) -> Rc<Generation<V>>
where
    K: Eq + Hash + Clone + 'static,
    V: 'static,
    O: AsyncFnOnce(Provide<V>) -> Result<()> + 'static,
{
    let number = NUMBERS.get() + 1;
    NUMBERS.set(number);
    let generation = Rc::new(Generation {
        number,
        phase: RefCell::new(Phase::Opening),
        users: Cell::new(1),
        changed: Notify::new(),
        cut: Cut::default(),
    });
    with_table(|table: &mut Table<K, V>| table.insert(key.clone(), Rc::clone(&generation)));
    let (task, owner) = (Rc::clone(&generation), Arc::clone(this));
    this.tasks.spawn(async move {
        let ended = run(&owner, &task, open).await;
        with_table(|table: &mut Table<K, V>| table.remove(&key));
        task.set(Phase::Ended(ended));
    });
    generation
}

async fn run<V, O>(this: &ThisActor, generation: &Rc<Generation<V>>, open: O) -> Ended
where
    O: AsyncFnOnce(Provide<V>) -> Result<()>,
{
    let provide = Provide { generation: Rc::clone(generation) };
    let mut opening = Box::pin(open(provide));
    let ended = {
        let mut caught = pin!(catch(opening.as_mut()));
        generation.cut.run(caught.as_mut()).await
    };
    drop(opening);
    let error = match ended {
        Some(Ok(Ok(()))) | None => match &*generation.phase.borrow() {
            // Nobody was there to provide it to; or it was not provided at all.
            Phase::Opening if generation.users.get() > 0 => {
                Error::Misuse("a resource was opened, and nothing provided".to_owned())
            }
            Phase::Opening | Phase::Open(_) | Phase::Closing | Phase::Ended(_) => {
                return Ended::Well;
            }
        },
        Some(Ok(Err(error))) => error,
        Some(Err(panic)) => panic.into_error(&this.id),
    };
    failed(this, error)
}

fn failed(this: &ThisActor, error: Error) -> Ended {
    let told = RemoteError::copy_of(&this.id, &error);
    Ended::Failed { error: RefCell::new(Some(error)), told }
}

impl<V> User<V> {
    async fn wait_open(&self) -> Result<Lease<V>> {
        let found = self.generation.wait(|phase| match phase {
            Phase::Opening => None,
            Phase::Open(value) => Some(Some(Rc::clone(value))),
            Phase::Closing | Phase::Ended(_) => Some(None),
        });
        match found.await {
            Some(value) => {
                let (generation, is_first) = (self.generation.number, self.is_first);
                Ok(Lease { value, generation, is_first })
            }
            None => {
                self.generation.wait_ended().await?;
                Err(Error::Misuse("a resource was opened, and nothing provided".to_owned()))
            }
        }
    }

    /// The last waits for the end.
    async fn leave(mut self) -> Result<()> {
        match self.go() {
            Left::Others => Ok(()),
            Left::Nobody => {
                let waiting = Waiting { left: Some(self.remnant()) };
                let ended = self.generation.wait_ended().await;
                waiting.done();
                ended
            }
        }
    }

    fn go(&mut self) -> Left {
        self.presence = Presence::Gone;
        let users = self.generation.users.get() - 1;
        self.generation.users.set(users);
        if users > 0 {
            return Left::Others;
        }
        self.generation.changed.notify_waiters();
        if matches!(*self.generation.phase.borrow(), Phase::Opening) {
            self.generation.cut.cut();
        }
        Left::Nobody
    }

    /// For the scope of a user that is dropped while the resource ends.
    fn remnant(&self) -> Leaving<V> {
        Leaving { this: Arc::clone(&self.this), generation: Rc::clone(&self.generation) }
    }
}

/// Who is there after one has gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Others,
    Nobody,
}

impl<V: 'static> Drop for User<V> {
    fn drop(&mut self) {
        if self.presence == Presence::Gone || self.go() == Left::Others {
            return;
        }
        // One that has ended has told its users how.
        if !matches!(*self.generation.phase.borrow(), Phase::Ended(_)) {
            self.remnant().go_on();
        }
    }
}

/// What a last user leaves behind that is dropped: the wait for the end.
struct Leaving<V: 'static> {
    this: Arc<ThisActor>,
    generation: Rc<Generation<V>>,
}

impl<V: 'static> Leaving<V> {
    fn go_on(self) {
        let remnant: Arc<Remnant> = leave(&self.this);
        let Leaving { this, generation } = self;
        this.tasks.spawn(async move {
            let ended = generation.wait_ended().await;
            remnant.end(ended.err().into_iter().collect());
        });
    }
}

/// A last user that waits for the end. Dropped, it leaves the wait behind.
struct Waiting<V: 'static> {
    left: Option<Leaving<V>>,
}

impl<V> Waiting<V> {
    fn done(mut self) {
        self.left = None;
    }
}

impl<V: 'static> Drop for Waiting<V> {
    fn drop(&mut self) {
        self.left.take().into_iter().for_each(Leaving::go_on);
    }
}
