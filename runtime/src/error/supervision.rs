//! The failure of a supervisor.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ActorId, Error};

/// A supervisor that gave up: a child ended once too often.
#[derive(Debug, Serialize, Deserialize)]
pub struct GaveUp {
    /// The child whose end was one too many.
    pub child: ActorId,
    /// So many restarts are made,
    pub at_most: u32,
    /// in so long.
    pub within: Duration,
    /// Every end of a child that was not asked for, the latest last, and of those not more than the latest hundred.
    pub history: Vec<Death>,
    /// What the child failed with in its last life. `None` if it ended well, and was to go on.
    #[serde(with = "super::group::nested")]
    pub last: Option<Error>,
}

/// The end of one life of a supervised child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Whose.
    pub child: ActorId,
    /// Which of its lives, from 0.
    pub incarnation: u64,
    /// What it failed with, as text. `None` if it ended as it should.
    pub cause: Option<String>,
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GaveUp { child, at_most, within, history, last } = self;
        write!(f, "gave up on {child}: more than {at_most} restarts in {within:?}, ")?;
        match last {
            Some(last) => write!(f, "the last after: {last}")?,
            None => f.write_str("the last after it ended well")?,
        }
        write!(f, " ({} ends in all)", history.len())
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Death { child, incarnation, cause } = self;
        let cause = cause.as_deref().unwrap_or("ended as it should");
        write!(f, "{child}, incarnation {incarnation}: {cause}")
    }
}
