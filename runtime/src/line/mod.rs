//! What there is between this actor and another: where to say something to it, the calls and contexts that wait for its answers,
//! and its end.
//!
//! Both ends of a channel have a [`Line`], and use it alike: who is the parent of whom makes no difference here. Used by `rpc`
//! (which calls along it), by `supervise` and `boot` (which drive its channel), and by `actor`, which keeps the one to the
//! parent. What comes along a line is dealt with in `rpc`.

mod bond;
mod calls;
mod course;
mod credit;
mod cut;
mod post;
mod strand;
mod wakers;

pub(crate) use bond::{Bond, End, Manner, Order};
pub(crate) use calls::{Calls, Ended, NoValue, Reply};
pub(crate) use course::OnOpen;
pub(crate) use cut::{Cut, note_shielded};
pub(crate) use post::Post;
pub use post::Presence;
pub(crate) use strand::{Last, NoResult, Room, Strand};

use std::sync::Arc;

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
}

/// What the actor at the other end is to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// This one owns it: an order to end is carried out by its supervisor here.
    Child,
    /// It owns this one.
    Parent,
}

impl Line {
    pub(crate) fn new(actor: ActorId, out: Sender, relation: Relation) -> Arc<Line> {
        Line::of_incarnation(actor, out, relation, 0)
    }

    pub(crate) fn of_incarnation(
        actor: ActorId,
        out: Sender,
        relation: Relation,
        incarnation: u64,
    ) -> Arc<Line> {
        let (calls, bond) = (Calls::default(), Bond::default());
        Arc::new(Line { actor, out, calls, bond, relation, incarnation })
    }
}
