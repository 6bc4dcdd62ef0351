//! One stream read by several tasks of this actor.
//!
//! There is no task between them: a reader that has seen all there is fetches the next item itself, for all. All that wait are
//! woken by an item, so none is lost when one of them is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use serde::de::DeserializeOwned;

use super::ends::{Ends, unpack};
use crate::error::{Error, Result};
use crate::line::Strand;

/// One of several readers of a stream, from [`Receiver::subscribe`](crate::Receiver::subscribe). Dropping it leaves the others.
pub struct Subscription<R> {
    ends: Arc<Ends>,
    reader: Reader<R>,
    on_lag: OnLag,
}

/// What a reader that fell behind is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnLag {
    Tell,
    GoOn,
}

impl<R: DeserializeOwned + Send + 'static> Subscription<R> {
    /// The next item; `None` at the end of the stream, again each time.
    ///
    /// # Errors
    /// [`Error::Lagged`] if items were dropped before this reader came to them; the next call goes on at the oldest that is kept.
    /// Otherwise as [`Receiver::recv`](crate::Receiver::recv).
    ///
    /// # Cancel safety
    /// A dropped future loses no item.
    pub async fn recv(&mut self) -> Result<Option<R>> {
        loop {
            match self.reader.recv(&self.ends.strand).await {
                Err(Error::Lagged { .. }) if self.on_lag == OnLag::GoOn => {}
                told => return told,
            }
        }
    }
}

impl<R> Subscription<R> {
    pub(super) fn new(ends: Arc<Ends>, reader: Reader<R>) -> Subscription<R> {
        Subscription { ends, reader, on_lag: OnLag::Tell }
    }

    /// Another reader, from where this one is.
    #[must_use]
    pub fn resubscribe(&self) -> Subscription<R> {
        let reader = Reader { fan: Arc::clone(&self.reader.fan), next: self.reader.next };
        Subscription { ends: Arc::clone(&self.ends), reader, on_lag: self.on_lag }
    }

    /// Is not told when it falls behind: it goes on at the oldest item that is kept.
    #[must_use]
    pub fn skipping(mut self) -> Subscription<R> {
        self.on_lag = OnLag::GoOn;
        self
    }
}

impl<R> fmt::Debug for Subscription<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({})", self.ends)
    }
}

/// What the readers share.
pub(super) struct Fan<R> {
    kept: Mutex<Kept<R>>,
    copy: fn(&R) -> R,
}

/// The last items of a stream, numbered from its subscription on.
struct Kept<R> {
    items: VecDeque<R>,
    /// The number of the oldest.
    first: u64,
    capacity: usize,
}

impl<R: Clone> Fan<R> {
    /// Its first reader.
    pub(super) fn open(capacity: u32) -> Reader<R> {
        let kept = Kept { items: VecDeque::new(), first: 0, capacity: capacity as usize };
        Reader { fan: Arc::new(Fan { kept: Mutex::new(kept), copy: R::clone }), next: 0 }
    }
}

/// One reader's place.
pub(super) struct Reader<R> {
    fan: Arc<Fan<R>>,
    next: u64,
}

impl<R> Reader<R> {
    /// One that begins with the next item that is fetched.
    pub(super) fn another(&self) -> Reader<R> {
        Reader { fan: Arc::clone(&self.fan), next: self.fan.lock().end() }
    }
}

impl<R: DeserializeOwned + Send + 'static> Reader<R> {
    pub(super) async fn recv(&mut self, strand: &Strand) -> Result<Option<R>> {
        std::future::poll_fn(|cx| self.poll_recv(strand, cx)).await
    }

    fn poll_recv(&mut self, strand: &Strand, cx: &Context<'_>) -> Poll<Result<Option<R>>> {
        let mut kept = self.fan.lock();
        match kept.read(self.next) {
            Read::Lagged(missed) => {
                self.next += missed;
                return Poll::Ready(Err(Error::Lagged { missed }));
            }
            Read::Item(item) => {
                self.next += 1;
                return Poll::Ready(Ok(Some((self.fan.copy)(item))));
            }
            Read::Nothing => {}
        }
        // Under the lock: two readers must not put what they fetch in the wrong order.
        let Some(item) = ready!(strand.poll_item(cx))? else { return Poll::Ready(Ok(None)) };
        let item: R = unpack(strand, item)?;
        let own = (self.fan.copy)(&item);
        kept.keep(item);
        self.next += 1;
        Poll::Ready(Ok(Some(own)))
    }
}

impl<R> Fan<R> {
    /// A panic while the lock is held (in a user's `clone`) leaves what is kept as it was.
    fn lock(&self) -> MutexGuard<'_, Kept<R>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What there is for a reader.
enum Read<'k, R> {
    Item(&'k R),
    /// So many were dropped before it came.
    Lagged(u64),
    Nothing,
}

impl<R> Kept<R> {
    fn read(&self, next: u64) -> Read<'_, R> {
        if let Some(missed) = self.first.checked_sub(next).filter(|missed| *missed > 0) {
            return Read::Lagged(missed);
        }
        let place = usize::try_from(next - self.first).ok();
        place.and_then(|place| self.items.get(place)).map_or(Read::Nothing, Read::Item)
    }

    fn keep(&mut self, item: R) {
        if self.items.len() == self.capacity {
            self.items.pop_front();
            self.first += 1;
        }
        self.items.push_back(item);
    }

    /// The number of the next item.
    fn end(&self) -> u64 {
        self.first + self.items.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(capacity: usize, count: u32) -> Kept<u32> {
        let mut kept = Kept { items: VecDeque::new(), first: 0, capacity };
        (0..count).for_each(|item| kept.keep(item));
        kept
    }

    /// All that a reader who begins at `next` is told: numbers, and lags as negative ones.
    fn told(kept: &Kept<u32>, mut next: u64) -> Vec<i64> {
        let mut told = Vec::new();
        loop {
            match kept.read(next) {
                Read::Item(item) => {
                    told.push(i64::from(*item));
                    next += 1;
                }
                Read::Lagged(missed) => {
                    told.push(-i64::try_from(missed).unwrap());
                    next += missed;
                }
                Read::Nothing => return told,
            }
        }
    }

    #[test]
    fn a_reader_that_keeps_up_sees_all() {
        assert_eq!(told(&kept(4, 4), 0), [0, 1, 2, 3]);
        assert_eq!(told(&kept(4, 4), 4), [] as [i64; 0]);
    }

    #[test]
    fn a_reader_that_fell_behind_is_told_by_how_much_and_goes_on_at_the_oldest() {
        assert_eq!(told(&kept(4, 10), 0), [-6, 6, 7, 8, 9]);
        assert_eq!(told(&kept(4, 10), 5), [-1, 6, 7, 8, 9]);
        assert_eq!(told(&kept(4, 10), 6), [6, 7, 8, 9]);
        assert_eq!(told(&kept(1, 3), 0), [-2, 2]);
    }
}
