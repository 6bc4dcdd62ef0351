//! Several contexts under one body.

use std::pin::Pin;
use std::task::Poll;

use super::opening::{Hold, Opened, Opening, with_failures};
use super::outcome::{Body, outcome};
use crate::actor::collect;
use crate::error::{CallError, Error, Result};
use crate::rpc::ContextFunction;

/// Opens contexts of one function, all at the same time, and when all have [started](crate::Context::started), runs `body` with them, in
/// the order of `openings`. Returns when the body and all functions have ended.
///
/// They are linked as by [`Opening::open`]: whichever fails, the body or a function, ends all the others.
///
/// # Errors
/// [`Error::Misuse`] if there are none. Otherwise as [`Opening::open`]; several failures come as one [`Group`](crate::Group), the
/// body's first, then in the order of `openings`.
///
/// # Cancel safety
/// As [`Opening::open`].
pub async fn gather_contexts<'p, C, T, B>(
    openings: impl IntoIterator<Item = Opening<'p, C>>,
    body: B,
) -> Result<T, CallError<C::Error>>
where
    C: ContextFunction,
    B: AsyncFnOnce(Vec<Opened<C>>) -> Result<T>,
{
    let begun = begin_all(openings.into_iter().collect()).await?;
    if begun.is_empty() {
        return Err(Error::Misuse("no contexts to gather".to_owned()).into());
    }
    let (holds, opened): (Vec<Hold>, Vec<Opened<C>>) = begun
        .into_iter()
        .map(|(hold, first)| {
            let opened = hold.opened(first);
            (hold, opened)
        })
        .unzip();
    let mut body = linked(&holds, Box::pin(async { Some(body(opened).await) }));
    let ended = body.as_mut().await;
    let left = collect(|| drop(body));
    holds.iter().for_each(|hold| hold.part(&ended));
    let ended = with_failures(ended, left.wait().await);
    finish_all::<C, T>(&holds, ended).await
}

/// What runs under contexts: `None` if it was cut short by one of them.
type Linked<'h, T> = Pin<Box<dyn Future<Output = Option<Result<T>>> + 'h>>;

fn linked<'h, T: 'h>(holds: &'h [Hold], body: Linked<'h, T>) -> Linked<'h, T> {
    holds.iter().fold(body, |mut inner, hold| {
        Box::pin(async move { hold.strand.drive(inner.as_mut()).await.flatten() })
    })
}

/// Begins all. The first that fails ends the others, and is told when they have ended.
async fn begin_all<C: ContextFunction>(
    openings: Vec<Opening<'_, C>>,
) -> Result<Vec<(Hold, C::Started)>, CallError<C::Error>> {
    let mut beginning: Vec<_> =
        openings.into_iter().map(|opening| Slot::Waiting(Box::pin(opening.begin()))).collect();
    let failed = std::future::poll_fn(|cx| {
        let mut is_waiting = false;
        for slot in &mut beginning {
            let Slot::Waiting(begin) = slot else { continue };
            match begin.as_mut().poll(cx) {
                Poll::Pending => is_waiting = true,
                Poll::Ready(Ok(begun)) => *slot = Slot::Done(begun),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(error)),
            }
        }
        if is_waiting { Poll::Pending } else { Poll::Ready(None) }
    })
    .await;
    if let Some(error) = failed {
        let failures = collect(|| drop(beginning)).wait().await;
        return Err(match Error::from_failures(failures) {
            Some(beside) => join(error.into(), beside).into(),
            None => error,
        });
    }
    Ok(beginning.into_iter().filter_map(Slot::into_done).collect())
}

fn join(first: Error, second: Error) -> Error {
    Error::from_failures([first, second])
        .unwrap_or_else(|| Error::Bug("two failures came to none".to_owned()))
}

/// One of several futures.
enum Slot<F: Future<Output = Result<T, E>>, T, E> {
    Waiting(Pin<Box<F>>),
    Done(T),
}

impl<F: Future<Output = Result<T, E>>, T, E> Slot<F, T, E> {
    fn into_done(self) -> Option<T> {
        match self {
            Slot::Waiting(_) => None,
            Slot::Done(value) => Some(value),
        }
    }
}

/// Waits until all have ended, or one has, and not well: that ends the others, also when the body had ended well by then.
async fn wait_first_setback(holds: &[Hold]) {
    let all_went_well = std::future::poll_fn(|cx| {
        let mut is_waiting = false;
        for Hold { strand, .. } in holds {
            match strand.poll_over(cx) {
                Poll::Ready(()) if strand.is_set_back() => return Poll::Ready(false),
                Poll::Ready(()) => {}
                Poll::Pending => is_waiting = true,
            }
        }
        if is_waiting { Poll::Pending } else { Poll::Ready(true) }
    });
    if !all_went_well.await {
        holds.iter().for_each(|hold| hold.strand.cancel());
    }
}

async fn finish_all<C: ContextFunction, T>(
    holds: &[Hold],
    ended: Option<Result<T>>,
) -> Result<T, CallError<C::Error>> {
    wait_first_setback(holds).await;
    let mut setbacks = Vec::new();
    // One after the other, and all have been told: it takes as long as the slowest.
    for hold in holds {
        setbacks.extend(hold.wait_setback::<C>().await);
    }
    let body = ended.map_or(Body::Cut, Body::Ended);
    outcome(body, setbacks).map_err(|error| {
        let whose = holds.iter().find(|hold| hold.has_failed_with(&error));
        match whose {
            Some(hold) => hold.retyped::<C>(error),
            None => error.into(),
        }
    })
}
