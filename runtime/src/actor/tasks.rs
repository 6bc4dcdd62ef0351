//! The tasks an actor owns and does not end without.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::Span;

use crate::log;

/// Counts the tasks that run and wakes who waits for the last of them. The atomics are for the type's sake: an actor's tasks
/// run on one thread.
pub(crate) struct Tasks {
    shared: Arc<Shared>,
    /// Their log records are their actor's.
    span: Span,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    idle: Notify,
}

impl Tasks {
    pub(crate) fn new(span: Span) -> Tasks {
        Tasks { shared: Arc::default(), span }
    }

    /// In which the actor's own work runs too.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Starts `future` on this actor's thread.
    ///
    /// # Panics
    /// On a thread that runs no actor.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) -> AbortHandle {
        // Moved once, here: on its way into a task it would be copied from frame to frame.
        self.spawn_boxed(Box::pin(future))
    }

    /// As [`Tasks::spawn`], of what stays where it is.
    pub(crate) fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> AbortHandle {
        let running = Running::new(&self.shared);
        let future = log::boxed_within(self.span(), future);
        tokio::task::spawn_local(async move {
            let _running = running;
            future.await;
        })
        .abort_handle()
    }

    /// Returns when no task runs. Cancel safe.
    pub(crate) async fn wait_idle(&self) {
        loop {
            let idle = self.shared.idle.notified();
            if self.shared.running.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// One running task; also one that was aborted or panicked is counted out.
struct Running {
    shared: Arc<Shared>,
}

impl Running {
    fn new(shared: &Arc<Shared>) -> Running {
        shared.running.fetch_add(1, Ordering::AcqRel);
        Running { shared: Arc::clone(shared) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.shared.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.idle.notify_waiters();
        }
    }
}
