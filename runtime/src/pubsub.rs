//! Publish and subscribe: one producer, any number of subscribers in other actors, each with topics of its own.
//!
//! A subscriber is a [`#[stream]`](macro@crate::stream) function of the publishing actor that calls [`publish`]. The first one begins the
//! producer, a task that the actor owns; later ones under the same name share it. A subscription ends with its stream: when its
//! reader is dropped, cancels, or dies with its actor. With the last the producer is ended.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::pin::pin;
use std::rc::Rc;

use serde::Serialize;
use tokio::sync::Notify;

use crate::actor;
use crate::error::{Error, RemoteError, Result};
use crate::line::Cut;
use crate::rpc::catch;
use crate::stream::Sender;

/// Sends what the producer called `name` publishes on `topics` into `out`, each item with its topic. To be called, and returned
/// from, by a function with a stream; returns when the producer has, and with its error.
///
/// `producer` is run if there is none of that name and item type in this actor, and dropped otherwise. When the last subscriber is
/// gone, it is ended: it is dropped where it waits.
///
/// # Errors
/// The producer's: the error itself to the first subscriber, an [`Error::Remote`] of this actor to the others; a panic of it.
/// [`Error::Misuse`] without topics. [`Error::NoRuntime`] outside an actor.
///
/// # Cancel safety
/// Dropping the future ends the subscription.
pub async fn publish<T, P>(
    name: &str,
    topics: impl IntoIterator<Item = String>,
    out: Sender<(String, T)>,
    producer: P,
) -> Result<()>
where
    T: Serialize + Clone + Send + 'static,
    P: AsyncFnOnce(Publisher<T>) -> Result<()> + 'static,
{
    let topics: BTreeSet<String> = topics.into_iter().collect();
    if topics.is_empty() {
        return Err(Error::Misuse(format!("a subscription to {name} without topics")));
    }
    let board = Board::join(name, producer)?;
    let subscription = Subscription::new(&board, topics, out);
    let ended = board.wait_ended().await;
    drop(subscription);
    ended
}

/// What a producer publishes with. Clones publish to the same subscribers.
pub struct Publisher<T> {
    board: Rc<Board<T>>,
}

impl<T: Serialize + Clone + Send + 'static> Publisher<T> {
    /// Sends `item` to each subscriber of `topic`, and returns how many there were. Waits for each whose stream is full, unless that
    /// was opened with another [`Overrun`](crate::Overrun): a subscriber whose stream has ended or overruns is left out.
    ///
    /// # Errors
    /// [`Error::Unsendable`].
    ///
    /// # Cancel safety
    /// A dropped future has sent the item to some of them.
    pub async fn publish(&self, topic: &str, item: T) -> Result<usize> {
        let mut count = 0;
        for out in self.board.readers_of(topic) {
            match out.send((topic.to_owned(), item.clone())).await {
                Ok(()) => count += 1,
                Err(error @ Error::Unsendable { .. }) => return Err(error),
                // It is gone, or about to be told so.
                Err(_) => {}
            }
        }
        Ok(count)
    }
}

impl<T> Publisher<T> {
    /// The topics that somebody subscribes to now.
    pub fn topics(&self) -> BTreeSet<String> {
        let subscribers = self.board.subscribers.borrow();
        subscribers.iter().flat_map(|(_, reader)| reader.topics.iter().cloned()).collect()
    }

    /// Returns when a subscriber has come or gone since this was called. Cancel safe.
    pub async fn wait_changed(&self) {
        self.board.changed.notified().await;
    }
}

impl<T> Clone for Publisher<T> {
    fn clone(&self) -> Publisher<T> {
        Publisher { board: Rc::clone(&self.board) }
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({})", self.board.name)
    }
}

/// What a producer shares with its subscribers.
struct Board<T> {
    name: String,
    /// With the number of each.
    subscribers: RefCell<Vec<(u64, Reader<T>)>>,
    last_number: Cell<u64>,
    changed: Notify,
    ended: RefCell<Option<Ended>>,
    has_ended: Notify,
    /// Ends the producer.
    cut: Cut,
}

struct Reader<T> {
    topics: BTreeSet<String>,
    out: Sender<(String, T)>,
}

/// How a producer returned.
enum Ended {
    Well,
    /// The error, for the first who asks, and as the others see it.
    Failed {
        error: Option<Error>,
        told: RemoteError,
    },
}

/// The producers that run, by the type of their items and their names.
type Table = HashMap<(TypeId, String), Box<dyn Any>>;

thread_local! {
    /// An actor has its thread for itself, so what hangs on the thread is the actor's. Empty when nothing is published.
    static BOARDS: RefCell<Table> = RefCell::default();
}

impl<T: 'static> Board<T> {
    /// The board of that name, with its producer.
    fn join<P>(name: &str, producer: P) -> Result<Rc<Board<T>>>
    where
        P: AsyncFnOnce(Publisher<T>) -> Result<()> + 'static,
    {
        let this = actor::this()?;
        let key = (TypeId::of::<T>(), name.to_owned());
        let found = BOARDS.with_borrow(|boards| {
            boards.get(&key).and_then(|board| board.downcast_ref::<Rc<Board<T>>>()).cloned()
        });
        if let Some(board) = found {
            return Ok(board);
        }
        let board = Rc::new(Board {
            name: name.to_owned(),
            subscribers: RefCell::default(),
            last_number: Cell::new(0),
            changed: Notify::new(),
            ended: RefCell::default(),
            has_ended: Notify::new(),
            cut: Cut::default(),
        });
        let entry: Box<dyn Any> = Box::new(Rc::clone(&board));
        BOARDS.with_borrow_mut(|boards| boards.insert(key, entry));
        let (task, id) = (Rc::clone(&board), this.id.clone());
        this.tasks.spawn(async move {
            let publisher = Publisher { board: Rc::clone(&task) };
            let mut producing = Box::pin(producer(publisher));
            let ended = {
                let mut caught = pin!(catch(producing.as_mut()));
                task.cut.run(caught.as_mut()).await
            };
            task.retire();
            drop(producing);
            let error = match ended {
                Some(Ok(Ok(()))) | None => None,
                Some(Ok(Err(error))) => Some(error),
                Some(Err(panic)) => Some(panic.into_error(&id)),
            };
            task.end(error.map_or(Ended::Well, |error| {
                let told = RemoteError::copy_of(&id, &error);
                Ended::Failed { error: Some(error), told }
            }));
        });
        Ok(board)
    }

    /// Whoever comes from now on has a producer of their own.
    fn retire(self: &Rc<Self>) {
        let key = (TypeId::of::<T>(), self.name.clone());
        BOARDS.with_borrow_mut(|boards| {
            let is_this = boards
                .get(&key)
                .and_then(|board| board.downcast_ref::<Rc<Board<T>>>())
                .is_some_and(|board| Rc::ptr_eq(board, self));
            if is_this {
                boards.remove(&key);
            }
        });
    }
}

impl<T> Board<T> {
    fn end(&self, ended: Ended) {
        self.ended.replace(Some(ended));
        self.has_ended.notify_waiters();
    }

    async fn wait_ended(&self) -> Result<()> {
        loop {
            let mut has_ended = pin!(self.has_ended.notified());
            has_ended.as_mut().enable();
            match &mut *self.ended.borrow_mut() {
                None => {}
                Some(Ended::Well) => return Ok(()),
                Some(Ended::Failed { error, told }) => {
                    return Err(error.take().unwrap_or_else(|| Error::Remote(told.clone())));
                }
            }
            has_ended.await;
        }
    }

    fn readers_of(&self, topic: &str) -> Vec<Sender<(String, T)>> {
        let subscribers = self.subscribers.borrow();
        let readers = subscribers.iter().filter(|(_, reader)| reader.topics.contains(topic));
        readers.map(|(_, reader)| reader.out.clone()).collect()
    }
}

/// A place on a board.
struct Subscription<T: 'static> {
    board: Rc<Board<T>>,
    number: u64,
}

impl<T> Subscription<T> {
    fn new(
        board: &Rc<Board<T>>,
        topics: BTreeSet<String>,
        out: Sender<(String, T)>,
    ) -> Subscription<T> {
        let number = board.last_number.get() + 1;
        board.last_number.set(number);
        board.subscribers.borrow_mut().push((number, Reader { topics, out }));
        board.changed.notify_waiters();
        Subscription { board: Rc::clone(board), number }
    }
}

impl<T: 'static> Drop for Subscription<T> {
    fn drop(&mut self) {
        let mut subscribers = self.board.subscribers.borrow_mut();
        subscribers.retain(|(number, _)| *number != self.number);
        let is_last = subscribers.is_empty();
        drop(subscribers);
        self.board.changed.notify_waiters();
        if is_last {
            self.board.retire();
            self.board.cut.cut();
        }
    }
}
