//! Children that are started again when they end: what they are, and the handle on them while they run.
//!
//! What is done about an end is decided in `plan` and carried out by the crew's task, in `crew`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::draft::{Draft, Role};
use super::options::{Options, setters};
use super::plan::{Terms, Weight};
use super::strategy::{AutoShutdown, Restart, Restarts, Shutdown, Strategy};
use crate::actor::ThisActor;
use crate::error::{Death, Error, Result};
use crate::line::{Bond, Manner, Order, Post, Presence};
use crate::msg::{Form, LONGEST};
use crate::rpc::{Actor, Function, Portal};
use crate::trace::{self, Wait};

/// Children and the rules by which they are started again, in Erlang's words; given to [`Nursery::supervise`](crate::Nursery::supervise).
///
/// ```no_run
/// # use runtime::{ChildSpec, Nursery, Restarts, Shutdown, Strategy, Supervisor};
/// # use std::time::Duration;
/// # struct Worker;
/// # #[runtime::actor]
/// # impl Worker { fn new(lives: u64) -> Worker { Worker } async fn work(&self) -> u64 { 1 } }
/// # async fn pool(n: &Nursery) -> runtime::Result<()> {
/// let pool = Supervisor::new(Strategy::OneForOne)
///     .limit(Restarts { at_most: 3, within: Duration::from_secs(5) })
///     .child(ChildSpec::of::<Worker>("worker-0", |lives| (lives,)))
///     .child(ChildSpec::of::<Worker>("worker-1", |lives| (lives,)).shutdown(Shutdown::BrutalKill));
/// let pool = n.supervise(pool).await?;
/// let worker = pool.portal::<Worker>("worker-0")?;
/// worker.work().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Lives
/// A child is one actor with several lives, its *incarnations*, counted from 0: name, uuid and portal stay, process, state and
/// channel do not. The next is started when the last has been reaped, with what its factory makes for it. A start that does not
/// come to *ready* is a life too.
///
/// - A call in flight when its life ends is answered [`Error::ActorDied`] with that incarnation; [`Error::Cancelled`] if the life was
///   ended for the sake of a sibling, or by somebody's cancel. It is never repeated: whether it was carried out is not known.
/// - A call made while no life is ready waits for the next one, and is sent to that one only. It ends with the supervisor's
///   giving up, if there is no next one. Dropping it takes it back.
/// - Who was told of the end of a life meets it no more: the next call through that portal waits for the next life.
/// - Cancelling a child through its portal ends its life as it should: a permanent child is started again.
/// - A portal that is sent to an actor in another process names one life: the current one, or between two lives the one that has
///   ended. Once that is over, all calls through it end with [`Error::ActorDied`] and its incarnation, or with
///   [`Error::Cancelled`], and whoever has it needs a new one. Between actors on threads of one process a portal names the child
///   through all of its lives, wherever it goes.
///
/// # Ends
/// An end that was not asked for starts children again, as the [`Strategy`], the child's [`Restart`] and the [`Restarts`] say.
/// Beyond the limit the supervisor stops all children and fails the nursery with [`Error::GaveUp`]. What a child fails with that is
/// then restarted, or that is temporary, is in the [history](Supervised::history), and is no failure of the nursery.
///
/// While the supervisor stops its children for good, nothing is started again. That one of them dies meanwhile is in the history
/// too, and in the log: the end wins. What one returns as an error then, or that it had to be [forced](Error::Forced), is the
/// nursery's failure.
///
/// Children are stopped one at a time, the last started first, each as its [`Shutdown`] says. When the actor itself was told to
/// end, and its time is over, all that are left are stopped at once.
#[must_use = "a supervisor does nothing until it is given to a nursery"]
pub struct Supervisor {
    pub(super) strategy: Strategy,
    pub(super) limit: Restarts,
    pub(super) auto_shutdown: AutoShutdown,
    pub(super) children: Vec<ChildSpec>,
}

impl Supervisor {
    /// One without children.
    pub fn new(strategy: Strategy) -> Supervisor {
        Supervisor {
            strategy,
            limit: Restarts::default(),
            auto_shutdown: AutoShutdown::default(),
            children: Vec::new(),
        }
    }

    /// How many restarts are made. Default: one in five seconds.
    pub fn limit(mut self, limit: Restarts) -> Supervisor {
        self.limit = limit;
        self
    }

    /// Whether it ends with its [significant](ChildSpec::significant) children. Default: never.
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Supervisor {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// One more child, started after those before it. Names are unique.
    pub fn child(mut self, child: ChildSpec) -> Supervisor {
        self.children.push(child);
        self
    }

    /// Whether names are unique, and significance makes sense.
    pub(super) fn check(&self) -> Result<()> {
        let mut names = Vec::new();
        for child in &self.children {
            if names.contains(&child.name()) {
                return Err(refused(child.name(), "there are two of that name"));
            }
            names.push(child.name());
            child.check()?;
        }
        Ok(())
    }
}

/// A child of a supervisor: how each of its lives is made, and when there is another.
#[must_use = "a child does nothing until it is given to a supervisor"]
pub struct ChildSpec {
    pub(super) options: Options,
    recipe: Recipe,
    /// The registered name of its type, if it has one.
    kind: Option<&'static str>,
    restart: Restart,
    shutdown: Option<Shutdown>,
    weight: Weight,
}

/// Makes what one life is to be.
type Recipe = Box<dyn Fn(u64, Form) -> Result<Role>>;

impl ChildSpec {
    /// An actor of type `A`. Before each life `factory` is called in the supervising actor, with the number of the incarnation from
    /// 0, for the arguments of its constructor. A panic of it counts as a failed start.
    pub fn of<A: Actor>(
        name: impl Into<String>,
        factory: impl Fn(u64) -> A::Init + 'static,
    ) -> ChildSpec {
        let recipe = move |incarnation, form| Role::actor::<A>(factory(incarnation), form);
        ChildSpec::new(name.into(), Box::new(recipe), Some(A::NAME))
    }

    /// An actor that runs one function, with the arguments that `factory` makes for each life. A value it returns is dropped: it
    /// has ended as it should. It failed if it returned an error or panicked.
    pub fn run<F: Function>(
        name: impl Into<String>,
        factory: impl Fn(u64) -> F::Args + 'static,
    ) -> ChildSpec {
        let recipe = move |incarnation, form| Role::once::<F>(factory(incarnation), form, None);
        ChildSpec::new(name.into(), Box::new(recipe), None)
    }

    /// An actor that serves the free function `F`, and those that are [added](ChildSpec::expose).
    pub fn serving<F: Function>(name: impl Into<String>) -> ChildSpec {
        ChildSpec::new(name.into(), Box::new(|_, _| Ok(Role::daemon(&[F::NAME]))), None)
    }

    fn new(name: String, recipe: Recipe, kind: Option<&'static str>) -> ChildSpec {
        ChildSpec {
            options: Options::new(name),
            recipe,
            kind,
            restart: Restart::default(),
            shutdown: None,
            weight: Weight::Ordinary,
        }
    }

    /// Lets the child serve `F` too.
    pub fn expose<F: Function>(mut self) -> ChildSpec {
        let recipe = self.recipe;
        self.recipe = Box::new(move |incarnation, form| {
            recipe(incarnation, form).map(|role| role.exposing(F::NAME))
        });
        self
    }

    /// When it is started again. Default: always.
    pub fn restart(mut self, restart: Restart) -> ChildSpec {
        self.restart = restart;
        self
    }

    /// How it is stopped. Default: it is asked, and has the time that the tree's [`Timings`](crate::Timings) give it.
    pub fn shutdown(mut self, shutdown: Shutdown) -> ChildSpec {
        self.shutdown = Some(shutdown);
        self
    }

    /// Makes it one of those with which the supervisor [ends](Supervisor::auto_shutdown). Not for a permanent child, which has no
    /// end.
    pub fn significant(mut self) -> ChildSpec {
        self.weight = Weight::Significant;
        self
    }

    setters!();

    pub(super) fn name(&self) -> &str {
        &self.options.name
    }

    pub(super) fn kind(&self) -> Option<&'static str> {
        self.kind
    }

    pub(super) fn terms(&self) -> Terms {
        Terms { restart: self.restart, weight: self.weight }
    }

    pub(super) fn check(&self) -> Result<()> {
        match (self.weight, self.restart) {
            (Weight::Significant, Restart::Permanent) => {
                Err(refused(self.name(), "it is permanent, and so cannot be significant"))
            }
            (Weight::Significant, Restart::Transient | Restart::Temporary)
            | (Weight::Ordinary, _) => Ok(()),
        }
    }

    /// How it is to be told to end.
    pub(super) fn manner(&self) -> Manner {
        match self.shutdown {
            None => Manner::Ask,
            Some(Shutdown::BrutalKill) => Manner::Kill,
            Some(Shutdown::Within(limit)) => Manner::AskFor(limit),
            Some(Shutdown::Infinity) => Manner::AskFor(LONGEST),
        }
    }

    pub(super) fn role(&self, incarnation: u64, draft: &Draft) -> Result<Role> {
        (self.recipe)(incarnation, draft.form())
    }
}

pub(super) fn refused(child: &str, reason: &str) -> Error {
    Error::Supervision { child: child.to_owned(), reason: reason.to_owned() }
}

/// Children that are being supervised. The nursery owns them: dropping this ends nothing. Clones are the same.
#[derive(Clone)]
pub struct Supervised {
    pub(super) this: Arc<ThisActor>,
    pub(super) roster: Arc<Roster>,
    pub(super) bond: Arc<Bond>,
    pub(super) requests_tx: mpsc::Sender<Request>,
}

/// What is asked of a crew.
pub(super) enum Request {
    Start(Box<ChildSpec>, Answer),
    Terminate(String, Answer),
    Restart(String, Answer),
    Delete(String, Answer),
}

pub(super) type Answer = oneshot::Sender<Result<()>>;

/// What a crew and the handles on it share.
#[derive(Default)]
pub(super) struct Roster {
    state: Mutex<RosterState>,
}

#[derive(Default)]
struct RosterState {
    entries: BTreeMap<String, Entry>,
    history: Vec<Death>,
}

/// One child as seen from outside.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) post: Arc<Post>,
    pub(super) kind: Option<&'static str>,
}

/// More ends than these are forgotten.
const REMEMBERED: usize = 100;

impl Roster {
    pub(super) fn enter(&self, name: &str, entry: Entry) {
        self.lock().entries.insert(name.to_owned(), entry);
    }

    pub(super) fn strike(&self, name: &str) {
        self.lock().entries.remove(name);
    }

    pub(super) fn note(&self, death: Death) {
        let mut state = self.lock();
        if state.history.len() == REMEMBERED {
            state.history.remove(0);
        }
        state.history.push(death);
    }

    pub(super) fn history(&self) -> Vec<Death> {
        self.lock().history.clone()
    }

    fn find(&self, name: &str) -> Result<Entry> {
        let entry = self.lock().entries.get(name).cloned();
        entry.ok_or_else(|| refused(name, "there is no such child"))
    }

    fn lock(&self) -> MutexGuard<'_, RosterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A supervised child at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildStatus {
    /// Its name.
    pub name: String,
    /// Which life it is in, or was in last. `None` if it never was ready.
    pub incarnation: Option<u64>,
    /// Whether it runs.
    pub presence: Presence,
}

impl Supervised {
    /// The handle of a child of type `A`, through all of its lives.
    ///
    /// # Errors
    /// [`Error::Supervision`] if there is no child of that name, or it is not an `A`.
    pub fn portal<A: Actor>(&self, name: &str) -> Result<A::Handle> {
        let Entry { post, kind } = self.roster.find(name)?;
        if kind != Some(A::NAME) {
            return Err(refused(name, "it is an actor of another type"));
        }
        Ok(A::Handle::from(Portal::at(post)))
    }

    /// The portal of a child, whatever it is, through all of its lives.
    ///
    /// # Errors
    /// [`Error::Supervision`] if there is no child of that name.
    pub fn actor(&self, name: &str) -> Result<Portal> {
        self.roster.find(name).map(|entry| Portal::at(entry.post))
    }

    /// The children, by their names.
    pub fn children(&self) -> Vec<ChildStatus> {
        let state = self.roster.lock();
        let status = |(name, Entry { post, .. }): (&String, &Entry)| ChildStatus {
            name: name.clone(),
            incarnation: post.latest().map(|line| line.incarnation),
            presence: post.presence(),
        };
        state.entries.iter().map(status).collect()
    }

    /// The ends of lives that were not asked for, the latest last; the latest hundred of them.
    pub fn history(&self) -> Vec<Death> {
        self.roster.history()
    }

    /// Starts one more child, the last in order, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Start`](crate::Start): the child is forgotten then. [`Error::Supervision`] if there is one of that name;
    /// [`Error::Cancelled`] if the supervisor ends.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing back.
    pub async fn start_child(&self, child: ChildSpec) -> Result<()> {
        self.ask(|answer| Request::Start(Box::new(child), answer)).await
    }

    /// Stops a child, as its [`Shutdown`] says, and waits until it is reaped. It is not started again by its own end, but by
    /// [`restart_child`](Supervised::restart_child), or for the sake of a sibling. A temporary child is forgotten.
    ///
    /// # Errors
    /// [`Error::Supervision`] if there is no child of that name; [`Error::Cancelled`] if the supervisor ends.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing back.
    pub async fn terminate_child(&self, name: &str) -> Result<()> {
        self.ask(|answer| Request::Terminate(name.to_owned(), answer)).await
    }

    /// Starts a child that does not run, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Start`](crate::Start). [`Error::Supervision`] if there is no child of that name, or it runs; [`Error::Cancelled`] if the
    /// supervisor ends.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing back.
    pub async fn restart_child(&self, name: &str) -> Result<()> {
        self.ask(|answer| Request::Restart(name.to_owned(), answer)).await
    }

    /// Forgets a child that does not run.
    ///
    /// # Errors
    /// [`Error::Supervision`] if there is no child of that name, or it runs; [`Error::Cancelled`] if the supervisor ends.
    pub async fn delete_child(&self, name: &str) -> Result<()> {
        self.ask(|answer| Request::Delete(name.to_owned(), answer)).await
    }

    /// Stops all children, in reverse order of their starts, and returns when all have been reaped. What one returns as an error
    /// in that, or that it had to be forced, is the nursery's failure; that one died is in the [history](Supervised::history).
    ///
    /// # Cancel safety
    /// The order is given at once; dropping the future does not take it back.
    pub async fn shutdown(&self) {
        let within = self.this.remaining(Instant::now());
        self.bond.order(Order { by: self.this.id.clone(), within, manner: Manner::Ask });
        self.wait_ended().await;
    }

    /// Returns when the supervisor has ended, and all its children have been reaped. Cancel safe.
    pub async fn wait_ended(&self) {
        let _blocked = trace::blocked(&self.this.id, Wait::Nursery);
        self.bond.wait_end().await;
    }

    async fn ask(&self, request: impl FnOnce(Answer) -> Request) -> Result<()> {
        let (answer_tx, answer_rx) = oneshot::channel();
        let ended =
            || Error::Cancelled { subject: self.this.id.clone(), canceller: self.this.id.clone() };
        self.requests_tx.send(request(answer_tx)).await.map_err(|_| ended())?;
        answer_rx.await.unwrap_or_else(|_| Err(ended()))
    }
}
