//! From tests and backends to cases: the matrix, as a list.
//!
//! Pure and total: the same manifest, listing and options give the same cases in the same order
//! in every face of a suite. Nothing is started, probed or read here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::diagnostic::Diagnostics;
use crate::event::CaseName;
use crate::manifest::{Manifest, Profile};
use crate::outcome::{Expectation, LeakPolicy};
use crate::protocol::{Capture, Listing};
use crate::test::Place;

/// A test crossed with a backend and the values of its axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// `area::test::backend[::axis…]`, unique in its suite.
    pub id: String,
    /// The suite of the manifest.
    pub suite: String,
    /// `area::test`, as the suite binary registered it.
    pub test: String,
    /// Where the test's function is.
    pub place: Place,
    /// The backend's canonical name.
    pub backend: String,
    /// Values of the axes the test opted in to.
    pub axes: BTreeMap<String, String>,
    /// What is to be done with it.
    pub plan: Plan,
    /// What it is expected to do.
    pub expectation: Expectation,
    /// Wall-clock deadline, after the backend's multiplier and the scale.
    pub timeout: Duration,
    /// The slow period, after the same.
    pub slow_after: Duration,
    /// Between SIGINT and the kill of the subtree.
    pub grace: Duration,
    /// What is alive this long after the first process ended is a leak.
    pub leak_after: Duration,
    /// The group whose limits apply.
    pub group: Option<String>,
    /// What a leak means.
    pub leak: LeakPolicy,
    /// Where its output goes.
    pub capture: Capture,
    /// Environment of the backend and the axes, and `SPAWN_BACKEND`.
    pub env: Vec<(String, String)>,
    /// The kinds of the marks in force on it (`needs`, `timeout`, …), for `mark()`.
    pub marks: BTreeSet<&'static str>,
}

/// What is to be done with a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Run it.
    Run,
    /// Not run: its backend lacks a capability it needs.
    Lacking {
        /// For every report.
        reason: String,
        /// Where the mark stands.
        place: Place,
    },
    /// Not run: a `skip_on_backend` mark.
    Skip {
        /// For every report.
        reason: String,
        /// Where the mark stands.
        place: Place,
    },
    /// Not run unless ignored tests are asked for.
    Ignored {
        /// For every report.
        reason: String,
        /// Where the mark stands.
        place: Place,
    },
    /// Not run: its backend cannot run here.
    Unavailable {
        /// For every report.
        reason: String,
    },
}

/// What a face knows beyond manifest and listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Canonical names of the backends asked for; see [`Manifest::select_backends`].
    pub backends: BTreeSet<String>,
    /// Backends that cannot run here, and why; see [`crate::manifest::probe`].
    pub unavailable: BTreeMap<String, String>,
    /// Multiplies every deadline; 1 where nothing was said.
    pub timeout_scale: f64,
    /// Overrules what manifest and suite say.
    pub capture: Option<Capture>,
    /// Overrules what the profile says.
    pub leak: Option<LeakPolicy>,
}

/// Which of the ignored and other tests to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunIgnored {
    /// Those that are not ignored.
    #[default]
    Default,
    /// Those that are.
    Only,
    /// Both.
    All,
}

impl Case {
    /// As messages name it.
    pub fn name(&self) -> CaseName {
        CaseName {
            suite: self.suite.clone(),
            id: self.id.clone(),
            test: self.test.clone(),
            backend: self.backend.clone(),
        }
    }
}

/// All cases of one suite: tests by name, backends and axis values in manifest order.
///
/// # Errors
/// Every mark that names an unknown backend, capability, group or axis, with its file and line.
pub fn expand(
    manifest: &Manifest,
    profile: &Profile,
    suite: &str,
    listing: &Listing,
    options: &Options,
) -> Result<Vec<Case>, Diagnostics> {
    let _ = (manifest, profile, suite, listing, options);
    Err(Diagnostics::default())
}
