//! What there is between this actor and another: where to say something to it, the calls and contexts that wait for its answers,
//! and its end.
//!
//! Both ends of a channel have a [`Line`], and use it alike: who is the parent of whom makes no difference here. Used by `rpc`
//! (which calls along it), by `supervise` and `boot` (which drive its channel), and by `actor`, which keeps the one to the
//! parent. What comes along a line is dealt with in `rpc`.

mod answer;
mod bond;
mod calls;
mod course;
mod credit;
mod cut;
mod post;
mod strand;
mod wakers;

pub(crate) use answer::{Answer, AnswerSlot};
pub(crate) use bond::{Bond, End, Manner, Order};
pub(crate) use calls::{Calls, Ended, NoValue, Reply};
pub(crate) use course::OnOpen;
pub(crate) use cut::{Cut, note_shielded};
pub(crate) use post::Post;
pub use post::Presence;
pub(crate) use strand::{GivenUp, Last, NoResult, Room, Strand};

use std::sync::Arc;

use uuid::Uuid;

use crate::error::ActorId;
use crate::ipc::Sender;

/// One end of what is between two actors. Shared by whoever drives the channel and all who hold the portal.
pub(crate) struct Line {
    /// Who is at the other end.
    pub(crate) actor: ActorId,
    pub(crate) out: Sender,
    /// Those opened from this end.
    pub(crate) calls: Calls,
    pub(crate) bond: Bond,
    pub(crate) relation: Relation,
    /// Which of the lives of the actor this belongs to.
    pub(crate) incarnation: u64,
    /// Whose end this is. A portal may be used by another actor of the process, which then needs a line of its own.
    pub(crate) home: Uuid,
    /// What a peer says to being asked to end.
    pub(crate) answer: AnswerSlot,
}

/// What the actor at the other end is to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// This one owns it: an order to end is carried out by its supervisor here.
    Child,
    /// It owns this one.
    Parent,
    /// Neither; it may also be this one itself.
    Peer,
}

impl Line {
    pub(crate) fn new(actor: ActorId, out: Sender, relation: Relation, home: Uuid) -> Arc<Line> {
        Line::of_incarnation(actor, out, relation, home, 0)
    }

    pub(crate) fn of_incarnation(
        actor: ActorId,
        out: Sender,
        relation: Relation,
        home: Uuid,
        incarnation: u64,
    ) -> Arc<Line> {
        let (calls, bond, answer) = (Calls::default(), Bond::default(), AnswerSlot::default());
        Arc::new(Line { actor, out, calls, bond, relation, incarnation, home, answer })
    }

    /// Whether it belongs to a later life than that one.
    fn is_after(&self, life: Option<u64>) -> bool {
        life.is_none_or(|life| self.incarnation > life)
    }
}
