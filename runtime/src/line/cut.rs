//! Cutting a future short, from elsewhere.
//!
//! A cut future is polled once more, and then dropped where it waits: what had already happened in it, an error above all, is not
//! lost to the cut.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Clones cut the same future.
#[derive(Clone, Default)]
pub(crate) struct Cut {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    waiting: Option<Waker>,
}

thread_local! {
    /// Whether what is being polled waits for something that is shielded from cuts.
    static IS_SHIELDED: Cell<bool> = const { Cell::new(false) };
}

/// To be called whenever shielded work is polled and is not ready: a cut of what waits for it comes after it.
pub(crate) fn note_shielded() {
    IS_SHIELDED.set(true);
}

impl Cut {
    pub(crate) fn cut(&self) {
        let mut state = self.lock();
        state.is_cut = true;
        let waiting = state.waiting.take();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Awaits `future`; `None` if it was cut. It is not polled again then, and is to be dropped.
    pub(crate) async fn run<F: Future + ?Sized>(
        &self,
        mut future: Pin<&mut F>,
    ) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            let outer = IS_SHIELDED.replace(false);
            let poll = future.as_mut().poll(cx);
            let is_shielded = IS_SHIELDED.replace(outer);
            if is_shielded {
                IS_SHIELDED.set(true);
            }
            let Poll::Pending = poll else { return poll.map(Some) };
            let mut state = self.lock();
            if state.is_cut && !is_shielded {
                return Poll::Ready(None);
            }
            if !state.waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.waiting = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
