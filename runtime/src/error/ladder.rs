//! The record of a teardown: which rungs of the ladder it took.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One step in making an actor end, from asking to forcing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rung {
    /// It was asked, and has not yet acknowledged.
    Request,
    /// It has acknowledged, and is tearing down.
    Soft,
    /// SIGTERM.
    Terminate,
    /// SIGKILL of it and all below it.
    Kill,
    /// A thread that would not stop was left alone, and counted.
    Abandon,
}

impl Rung {
    /// Whether the actor was made to end rather than asked.
    pub fn is_force(self) -> bool {
        match self {
            Rung::Request | Rung::Soft => false,
            Rung::Terminate | Rung::Kill | Rung::Abandon => true,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rung::Request => "request",
            Rung::Soft => "soft wait",
            Rung::Terminate => "SIGTERM",
            Rung::Kill => "SIGKILL of its subtree",
            Rung::Abandon => "abandoned",
        })
    }
}

/// A rung and how long it was stood on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungTaken {
    /// Which.
    pub rung: Rung,
    /// Until the next, or the end.
    pub took: Duration,
}

/// How an actor was torn down: each rung in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teardown {
    /// In the order they were taken; empty if the actor ended unasked.
    pub rungs: Vec<RungTaken>,
}

impl Teardown {
    /// The last rung it needed.
    pub fn rung(&self) -> Option<Rung> {
        self.rungs.last().map(|taken| taken.rung)
    }

    /// From the request to the end.
    pub fn took(&self) -> Duration {
        self.rungs.iter().map(|taken| taken.took).sum()
    }

    /// Whether asking was not enough.
    pub fn is_forced(&self) -> bool {
        self.rung().is_some_and(Rung::is_force)
    }
}

impl fmt::Display for Teardown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, RungTaken { rung, took }) in self.rungs.iter().enumerate() {
            write!(f, "{}{rung} ({} ms)", if index == 0 { "" } else { ", " }, took.as_millis())?;
        }
        Ok(())
    }
}
