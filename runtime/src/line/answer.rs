//! What a peer answers to being asked to end.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It ends.
    Heard,
    /// It is not a peer's to end.
    Refused,
}

/// The place for it.
#[derive(Default)]
pub(crate) struct AnswerSlot {
    answer: Mutex<Option<Answer>>,
    came: Notify,
}

impl AnswerSlot {
    pub(crate) fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.came.notify_waiters();
    }

    /// Cancel safe.
    pub(crate) async fn wait(&self) -> Answer {
        loop {
            let came = self.came.notified();
            if let Some(answer) = *self.answer.lock().unwrap_or_else(PoisonError::into_inner) {
                return answer;
            }
            came.await;
        }
    }
}
