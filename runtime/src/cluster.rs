//! Several actors of one type at once, and one function in an actor of its own: sugar on nurseries.
//!
//! Used by the user.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use crate::error::{CallError, Error, Result};
use crate::msg::shown;
use crate::rpc::{Actor, Function};
use crate::spawn::Backend;
use crate::supervise::{Nursery, nursery};

/// Runs one function in an actor of its own, named after it, and returns its value when the actor has been reaped.
///
/// # Errors
/// As [`Portal::call`](crate::Portal::call), and what the start failed with. [`Error::NoRuntime`] outside an actor.
///
/// # Cancel safety
/// Dropping the future cancels the actor.
pub async fn to_actor<F: Function>(args: F::Args) -> Result<F::Output, CallError<F::Error>> {
    let nursery = Nursery::open()?;
    let path = shown(F::NAME);
    let name = path.rsplit("::").next().unwrap_or(path);
    let value = nursery.run_in_actor::<F>(name, args).await?.result().await;
    let ended = nursery.join().await;
    // A failure of the function is told by both.
    let value = value?;
    ended?;
    Ok(value)
}

/// How many actors there are to be, and how they are called. Default: one for each processor, named `0`, `1`, and so on.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    names: Option<Vec<String>>,
    backend: Option<Backend>,
    end: ClusterEnd,
}

/// What becomes of the actors of a cluster when its body has ended well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClusterEnd {
    /// They are cancelled.
    #[default]
    Cancel,
    /// They are killed.
    Kill,
}

impl Cluster {
    /// The default one.
    pub fn new() -> Cluster {
        Cluster::default()
    }

    /// So many, with numbers for names.
    pub fn count(self, count: usize) -> Cluster {
        self.named((0..count).map(|number| number.to_string()))
    }

    /// One of each name. Names are the keys by which the actors are found.
    pub fn named(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Cluster {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// How they come to be. Default: as this actor did; for a root, as its configuration says.
    pub fn backend(mut self, backend: Backend) -> Cluster {
        self.backend = Some(backend);
        self
    }

    /// How they end. Default: they are cancelled.
    pub fn end(mut self, end: ClusterEnd) -> Cluster {
        self.end = end;
        self
    }

    /// Starts the actors, all at the same time, with what `init` makes for each number from 0; then runs `body` with their
    /// handles, by name; then ends them. A scope, like a [`nursery`], in all else.
    ///
    /// # Errors
    /// What [`nursery`] fails with. [`Error::Supervision`] if two have one name, or there are none.
    ///
    /// # Cancel safety
    /// As [`nursery`].
    pub async fn run<A, T, B>(self, init: impl Fn(usize) -> A::Init, body: B) -> Result<T>
    where
        A: Actor,
        B: AsyncFnOnce(&BTreeMap<String, A::Handle>) -> Result<T>,
    {
        let Cluster { names, backend, end } = self;
        let names = checked(names.unwrap_or_else(one_for_each_processor))?;
        nursery(async |n| {
            let starts = names.iter().enumerate().map(|(number, name)| {
                let start = n.start::<A>(name.clone()).with(init(number));
                match backend {
                    Some(backend) => start.backend(backend).into_future(),
                    None => start.into_future(),
                }
            });
            let handles = all(starts.collect()).await?;
            let value = body(&names.iter().cloned().zip(handles).collect()).await?;
            match end {
                ClusterEnd::Cancel => n.cancel().await,
                ClusterEnd::Kill => n.kill().await,
            }
            Ok(value)
        })
        .await
    }
}

fn one_for_each_processor() -> Vec<String> {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (0..count).map(|number| number.to_string()).collect()
}

fn checked(names: Vec<String>) -> Result<Vec<String>> {
    let refused = |name: &str, reason: &str| {
        Err(Error::Supervision { child: name.to_owned(), reason: reason.to_owned() })
    };
    let twice = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
    match (twice, names.is_empty()) {
        (Some((_, name)), _) => refused(name, "there are two of that name"),
        (None, true) => refused("(none)", "a cluster has at least one actor"),
        (None, false) => Ok(names),
    }
}

/// The values of all, in order; or the first error, and the rest is dropped.
async fn all<T, F>(futures: Vec<Pin<Box<F>>>) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + ?Sized,
{
    let mut slots: Vec<Slot<T, F>> = futures.into_iter().map(Slot::Running).collect();
    poll_fn(|cx| {
        let mut is_done = true;
        for slot in &mut slots {
            if let Slot::Running(future) = slot {
                match future.as_mut().poll(cx) {
                    Poll::Ready(Ok(value)) => *slot = Slot::Done(value),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await?;
    let value = |slot| match slot {
        Slot::Done(value) => Some(value),
        Slot::Running(_) => None,
    };
    Ok(slots.into_iter().filter_map(value).collect())
}

enum Slot<T, F: ?Sized> {
    Running(Pin<Box<F>>),
    Done(T),
}
