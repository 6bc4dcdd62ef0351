//! The course of a context, as one end of it sees it. Pure: messages and wishes come in, duties come out.
//!
//! ```text
//! PreStarted ── opened ──► Syncing ── started ──► Started ── ended ──► Over
//!      └──────────────────────┴──────────────── ended ─────────────────▲
//!
//! the stream:  Unopened ── opened, from Started on ──► Open ── closed ──► Finished
//! a wish to cancel:  None ── cancel ──► Said ── heard ──► Heard
//! ```
//!
//! The three stand beside each other: what came before the end of the task can still be read from the stream after it, and a task
//! that is to be cancelled may still end otherwise.

use crate::error::ActorId;
use crate::trace::ContextState;

/// Where one end of a context stands.
#[derive(Debug)]
pub(crate) struct Course {
    stage: Stage,
    stream: Stream,
    wish: Wish,
}

#[derive(Debug)]
enum Stage {
    PreStarted,
    Syncing,
    Started,
    Over(Over),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Unopened,
    Open,
    Finished,
}

/// How a context's task has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Returned,
    Failed,
    Cancelled {
        by: ActorId,
    },
    /// The other end's actor has ended, or the way to it.
    Lost,
}

/// Whether this end wants the context to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    None,
    /// It was said, and not yet acknowledged.
    Said,
    Heard,
}

/// What to do about a wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum OnCancel {
    /// Tell the other end.
    Say,
    /// The other end knows nothing of the context: this is its end.
    End,
    /// It was told, or has ended.
    Nothing,
}

/// What becomes of a request to open the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum OnOpen {
    Opened,
    /// There is one stream in a context.
    Again,
    /// It has not started, or was cancelled.
    Refused,
}

/// Whether a message of the other end makes sense now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Taken {
    Yes,
    No,
}

impl Course {
    /// At the opener, before anything was said.
    pub(crate) fn of_opener() -> Course {
        Course { stage: Stage::PreStarted, stream: Stream::Unopened, wish: Wish::None }
    }

    /// At the server, whose task is begun.
    pub(crate) fn of_server() -> Course {
        Course { stage: Stage::Syncing, stream: Stream::Unopened, wish: Wish::None }
    }

    /// The other end was asked to begin.
    pub(crate) fn on_opened(&mut self) {
        if matches!(self.stage, Stage::PreStarted) {
            self.stage = Stage::Syncing;
        }
    }

    /// `started` was said.
    pub(crate) fn on_started(&mut self) -> Taken {
        match self.stage {
            Stage::Syncing => {
                self.stage = Stage::Started;
                Taken::Yes
            }
            Stage::PreStarted | Stage::Started | Stage::Over(_) => Taken::No,
        }
    }

    pub(crate) fn open_stream(&mut self) -> OnOpen {
        match (&self.stage, self.stream) {
            (_, Stream::Open | Stream::Finished) => OnOpen::Again,
            (Stage::Started | Stage::Over(_), Stream::Unopened) => {
                self.stream = Stream::Open;
                OnOpen::Opened
            }
            (Stage::PreStarted | Stage::Syncing, Stream::Unopened) => OnOpen::Refused,
        }
    }

    /// This end, or the other, closed the stream.
    pub(crate) fn on_stream_end(&mut self) {
        if self.stream == Stream::Open {
            self.stream = Stream::Finished;
        }
    }

    /// This end wants the context to end.
    pub(crate) fn cancel(&mut self) -> OnCancel {
        match (&self.stage, self.wish) {
            (Stage::Over(_), _) | (_, Wish::Said | Wish::Heard) => OnCancel::Nothing,
            (Stage::PreStarted, Wish::None) => {
                self.wish = Wish::Said;
                OnCancel::End
            }
            (Stage::Syncing | Stage::Started, Wish::None) => {
                self.wish = Wish::Said;
                OnCancel::Say
            }
        }
    }

    /// The other end has read the wish.
    pub(crate) fn on_heard(&mut self) {
        if self.wish == Wish::Said {
            self.wish = Wish::Heard;
        }
    }

    /// The task has ended. What comes first counts.
    pub(crate) fn on_over(&mut self, over: Over) -> Taken {
        match self.stage {
            Stage::Over(_) => Taken::No,
            Stage::PreStarted | Stage::Syncing | Stage::Started => {
                self.stage = Stage::Over(over);
                Taken::Yes
            }
        }
    }

    pub(crate) fn wish(&self) -> Wish {
        self.wish
    }

    /// Whether `started` was said, if the task still runs.
    pub(crate) fn is_started(&self) -> bool {
        matches!(self.stage, Stage::Started)
    }

    /// Whether its stream is open.
    pub(crate) fn has_stream(&self) -> bool {
        self.stream == Stream::Open
    }

    /// Whether the end is no more than what `me` at this end asked for on this very context. The acknowledgement plays no part
    /// in it: it may come before the end, after it, or too late.
    pub(crate) fn is_own_cancel(&self, me: &ActorId) -> bool {
        match (&self.stage, self.wish) {
            (Stage::Over(Over::Cancelled { by }), Wish::Said | Wish::Heard) => by == me,
            (Stage::PreStarted | Stage::Syncing | Stage::Started | Stage::Over(_), _) => false,
        }
    }

    /// By what name the state is shown to `me`, whose context is with `peer`.
    pub(crate) fn state(&self, me: &ActorId, peer: &ActorId) -> ContextState {
        match &self.stage {
            Stage::PreStarted => ContextState::PreStarted,
            Stage::Syncing => ContextState::Syncing,
            Stage::Started => match self.stream {
                Stream::Unopened => ContextState::Started,
                Stream::Open => ContextState::Streaming,
                Stream::Finished => ContextState::StreamFinished,
            },
            Stage::Over(Over::Returned) => ContextState::Returned,
            Stage::Over(Over::Failed | Over::Lost) => ContextState::Errored,
            Stage::Over(Over::Cancelled { .. }) if self.is_own_cancel(me) => {
                ContextState::SelfCancelled
            }
            Stage::Over(Over::Cancelled { by }) if by == peer => ContextState::PeerCancelled,
            Stage::Over(Over::Cancelled { .. }) => ContextState::ActorCancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn actor(number: u128) -> ActorId {
        ActorId { name: format!("a{number}"), uuid: Uuid::from_u128(number) }
    }

    const ME: u128 = 1;
    const PEER: u128 = 2;
    const THIRD: u128 = 3;

    fn state(course: &Course) -> ContextState {
        course.state(&actor(ME), &actor(PEER))
    }

    /// One course in each state that is not over, and its name.
    fn all() -> Vec<(Course, ContextState)> {
        let step = |count: usize| {
            let mut course = Course::of_opener();
            let steps: [fn(&mut Course); 4] = [
                Course::on_opened,
                |course| assert_eq!(course.on_started(), Taken::Yes),
                |course| assert_eq!(course.open_stream(), OnOpen::Opened),
                Course::on_stream_end,
            ];
            steps.iter().take(count).for_each(|step| step(&mut course));
            course
        };
        vec![
            (step(0), ContextState::PreStarted),
            (step(1), ContextState::Syncing),
            (step(2), ContextState::Started),
            (step(3), ContextState::Streaming),
            (step(4), ContextState::StreamFinished),
        ]
    }

    #[test]
    fn each_state_has_its_name() {
        for (course, name) in all() {
            assert_eq!(state(&course), name);
        }
        assert_eq!(state(&Course::of_server()), ContextState::Syncing);
    }

    #[test]
    fn started_is_taken_once_and_only_while_syncing() {
        for (mut course, name) in all() {
            let expected = if name == ContextState::Syncing { Taken::Yes } else { Taken::No };
            assert_eq!(course.on_started(), expected, "{name:?}");
            assert_eq!(course.on_started(), Taken::No, "{name:?}");
        }
    }

    #[test]
    fn a_stream_is_opened_once_from_started_on() {
        for (mut course, name) in all() {
            let expected = match name {
                ContextState::Started => OnOpen::Opened,
                ContextState::Streaming | ContextState::StreamFinished => OnOpen::Again,
                _ => OnOpen::Refused,
            };
            assert_eq!(course.open_stream(), expected, "{name:?}");
        }
    }

    #[test]
    fn what_came_before_the_end_can_be_read_after_it() {
        let mut course = Course::of_opener();
        course.on_opened();
        assert_eq!(course.on_started(), Taken::Yes);
        assert_eq!(course.on_over(Over::Returned), Taken::Yes);
        assert_eq!(course.open_stream(), OnOpen::Opened);
        assert_eq!(course.open_stream(), OnOpen::Again);
        assert_eq!(state(&course), ContextState::Returned);
    }

    #[test]
    fn whatever_ends_a_context_first_counts() {
        for (mut course, name) in all() {
            assert_eq!(course.on_over(Over::Failed), Taken::Yes, "{name:?}");
            assert_eq!(course.on_over(Over::Returned), Taken::No, "{name:?}");
            assert_eq!(state(&course), ContextState::Errored);
            course.on_stream_end();
            course.on_opened();
            assert_eq!(course.on_started(), Taken::No);
            assert_eq!(course.cancel(), OnCancel::Nothing);
            assert_eq!(state(&course), ContextState::Errored);
        }
    }

    #[test]
    fn a_cancel_is_said_once() {
        for (mut course, name) in all() {
            let expected =
                if name == ContextState::PreStarted { OnCancel::End } else { OnCancel::Say };
            assert_eq!(course.cancel(), expected, "{name:?}");
            assert_eq!(course.cancel(), OnCancel::Nothing);
            course.on_heard();
            assert_eq!(course.wish(), Wish::Heard);
            assert_eq!(course.cancel(), OnCancel::Nothing);
        }
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_nothing() {
        let mut course = Course::of_opener();
        course.on_heard();
        assert_eq!(course.wish(), Wish::None);
    }

    /// What the end of a context is called, by who asked for it on the context, and who did it.
    #[test]
    fn only_what_i_asked_for_on_this_context_is_my_own_cancel() {
        let cases = [
            (Wish::None, ME, ContextState::ActorCancelled),
            (Wish::None, PEER, ContextState::PeerCancelled),
            (Wish::None, THIRD, ContextState::ActorCancelled),
            (Wish::Said, ME, ContextState::SelfCancelled),
            (Wish::Said, PEER, ContextState::PeerCancelled),
            (Wish::Said, THIRD, ContextState::ActorCancelled),
            (Wish::Heard, ME, ContextState::SelfCancelled),
            (Wish::Heard, PEER, ContextState::PeerCancelled),
            (Wish::Heard, THIRD, ContextState::ActorCancelled),
        ];
        for (wish, by, expected) in cases {
            let mut course = Course::of_opener();
            course.on_opened();
            if wish != Wish::None {
                assert_eq!(course.cancel(), OnCancel::Say);
            }
            if wish == Wish::Heard {
                course.on_heard();
            }
            assert_eq!(course.on_over(Over::Cancelled { by: actor(by) }), Taken::Yes);
            assert_eq!(state(&course), expected, "{wish:?} by {by}");
            let is_own = expected == ContextState::SelfCancelled;
            assert_eq!(course.is_own_cancel(&actor(ME)), is_own, "{wish:?} by {by}");
        }
    }

    #[test]
    fn the_acknowledgement_may_come_after_the_end() {
        let mut course = Course::of_opener();
        course.on_opened();
        assert_eq!(course.cancel(), OnCancel::Say);
        assert_eq!(course.on_over(Over::Cancelled { by: actor(ME) }), Taken::Yes);
        assert!(course.is_own_cancel(&actor(ME)));
        course.on_heard();
        assert!(course.is_own_cancel(&actor(ME)));
    }

    #[test]
    fn a_task_that_ended_otherwise_was_not_cancelled() {
        for over in [Over::Returned, Over::Failed, Over::Lost] {
            let mut course = Course::of_opener();
            course.on_opened();
            assert_eq!(course.cancel(), OnCancel::Say);
            assert_eq!(course.on_over(over), Taken::Yes);
            assert!(!course.is_own_cancel(&actor(ME)));
        }
    }
}
