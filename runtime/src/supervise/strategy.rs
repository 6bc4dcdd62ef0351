//! What a supervisor does about the end of a child, in Erlang's words. Data only; `plan` acts on it.

use std::time::Duration;

/// Which children are started again when one has ended that is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// That one.
    OneForOne,
    /// That one and those that were started after it: they are stopped first, in reverse order of their starts.
    RestForOne,
    /// All: the others are stopped first, in reverse order of their starts.
    OneForAll,
}

/// Whether a child that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// If it failed. Not if it ended as it should: its only function returned a value, or somebody cancelled it.
    Transient,
    /// Never, also not when it was stopped for the sake of another: it is forgotten.
    Temporary,
}

/// How many restarts a supervisor makes before it gives up: one more than `at_most` within any such time is too many. Children
/// that are stopped for the sake of another do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Restarts {
    /// So many are made.
    pub at_most: u32,
    /// In so long.
    pub within: Duration,
}

impl Default for Restarts {
    /// One in five seconds, as in Erlang.
    fn default() -> Restarts {
        Restarts { at_most: 1, within: Duration::from_secs(5) }
    }
}

/// How a supervisor stops a child. What is left to the actor itself, when it is told to end, bounds all of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// Without asking, as [`Portal::kill`](crate::Portal::kill) does.
    BrutalKill,
    /// It is asked, and given so long, as by [`Portal::cancel_within`](crate::Portal::cancel_within).
    Within(Duration),
    /// It is asked, and given as long as it takes, once it has acknowledged. For children that have trees of their own to end.
    Infinity,
}

/// Whether a supervisor ends by itself when *significant* children have ended for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AutoShutdown {
    /// It does not.
    #[default]
    Never,
    /// When the first of them has.
    AnySignificant,
    /// When the last of them has.
    AllSignificant,
}
