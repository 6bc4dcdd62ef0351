//! Panics as values: caught around each poll of a user's future, with the place they came from.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::Poll;

use crate::error::{ActorId, Error, PanicLocation, PanicPlace, RemoteError, capture_backtrace};

/// A panic that was caught.
pub(crate) struct Panic {
    pub(crate) message: String,
    pub(crate) place: PanicPlace,
    pub(crate) payload: Box<dyn Any + Send>,
}

/// Awaits `future`, and catches a panic of it. The future is not polled again then.
pub(crate) async fn catch<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Result<F::Output, Panic> {
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(payload) => Poll::Ready(Err(Panic::new(payload))),
    })
    .await
}

/// Calls `work`, and catches a panic of it.
pub(crate) fn catch_call(work: impl FnOnce()) -> Result<(), Panic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(Panic::new)
}

impl Panic {
    /// The failure it is of the actor `here`.
    pub(crate) fn into_error(self, here: &ActorId) -> Error {
        Error::Remote(RemoteError::panicked(here, self.message, self.place))
    }

    fn new(payload: Box<dyn Any + Send>) -> Panic {
        let place = LATEST.take().unwrap_or_default();
        Panic { message: message_of(&*payload), place, payload }
    }
}

/// What a panic says.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "a panic without a message".to_owned(),
    }
}

thread_local! {
    /// Where the latest panic of this thread began; only the hook is told.
    static LATEST: RefCell<Option<PanicPlace>> = const { RefCell::new(None) };
}

/// Puts a hook before the one that is there, once per process. A forked child inherits it; an exec'd one installs its own.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            note(info);
            previous(info);
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let location = info.location().map(|at| PanicLocation {
        file: at.file().to_owned(),
        line: at.line(),
        column: at.column(),
    });
    let place = PanicPlace { location, backtrace: capture_backtrace() };
    // A thread that is being torn down has no place for it any more; its panic is reported without.
    let _noted = LATEST.try_with(|latest| latest.replace(Some(place)));
}
