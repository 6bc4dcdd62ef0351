//! `runner.toml`, parsed once into what everything downstream reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::diagnostic::Diagnostics;
use crate::outcome::LeakPolicy;
use crate::protocol::Capture;
use crate::test::{Mark, Place};

/// A manifest without errors. Lists are in the order the file has.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file.
    pub path: PathBuf,
    /// The main axis.
    pub backends: Vec<Backend>,
    /// Axes a test can opt in to.
    pub axes: Vec<Axis>,
    /// Where the tests are.
    pub suites: Vec<Suite>,
    /// At least `default` and `ci`.
    pub profiles: Vec<Profile>,
}

/// One value of the main axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Canonical name.
    pub name: String,
    /// Other names it answers to.
    pub aliases: Vec<String>,
    /// For a person.
    pub description: String,
    /// Added to the environment of its cases.
    pub env: BTreeMap<String, String>,
    /// Capabilities, for `needs`.
    pub provides: BTreeSet<String>,
    /// What must hold on this machine.
    pub requires: Vec<Requirement>,
    /// May be missing without failing the run.
    pub optional: bool,
    /// Capture modes it tolerates.
    pub capture: Vec<CaptureMode>,
    /// Multiplies the deadlines of its cases.
    pub timeout_multiplier: f64,
    /// Group of its cases where no mark says another.
    pub group: Option<String>,
    /// Its header in the file.
    pub place: Place,
}

/// What a backend wants of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// `pidfd_open` works.
    Pidfd,
    /// An unprivileged user namespace can be made.
    Userns,
    /// A command is in `PATH`.
    Command(String),
    /// Something listens on this port of the loopback interface.
    Port(u16),
}

/// A way of taking output. The protocol knows fewer: see [`CaptureMode::in_protocol`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CaptureMode {
    /// Where the program writes.
    Sys,
    /// Where the program writes, and passed through.
    TeeSys,
    /// By redirecting fds 1 and 2.
    Fd,
    /// Not at all.
    No,
}

/// Another dimension a test can opt in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: Vec<String>,
    /// The value of cases that did not opt in.
    pub default: Option<String>,
    /// The variable that carries the value.
    pub env: Option<String>,
}

/// A test target of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Its name in messages.
    pub name: String,
    /// Cargo package.
    pub package: String,
    /// Test target of the package.
    pub test: String,
    /// Canonical names of its backends, in manifest order.
    pub backends: Vec<String>,
    /// Where output goes, if not to the default.
    pub capture: Option<CaptureMode>,
    /// Its header in the file.
    pub place: Place,
}

/// How to run, all defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// A slow line each time this has passed.
    pub slow_after: Duration,
    /// Wall-clock deadline of an attempt.
    pub deadline: Duration,
    /// Between SIGINT and the kill of the subtree.
    pub grace: Duration,
    /// What is alive this long after the first process ended is a leak.
    pub leak_after: Duration,
    /// What a leak means.
    pub leak: LeakPolicy,
    /// How many attempts at once.
    pub threads: Threads,
    /// Stop starting after so many failures.
    pub max_fail: Option<usize>,
    /// First match wins, kind by kind; its own first, then the inherited.
    pub overrides: Vec<Override>,
}

/// A number of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// As many as there are CPUs.
    Cpus,
    /// As many as there are CPUs, less so many, at least one.
    CpusLess(usize),
    /// This many.
    Count(usize),
}

/// What a profile says about the cases that a filter matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Marks, placed in the manifest.
    pub marks: Vec<Mark>,
}

impl CaptureMode {
    /// What is told to a supervisor, for the modes one can do.
    pub fn in_protocol(self) -> Option<Capture> {
        match self {
            Self::Sys => Some(Capture::Sys),
            Self::No => Some(Capture::No),
            Self::TeeSys | Self::Fd => None,
        }
    }
}

impl Manifest {
    /// Finds the manifest of a folder: the file `RUNNER_MANIFEST` names, else the nearest
    /// `runner.toml` upwards.
    ///
    /// # Errors
    /// None found, unreadable, or anything wrong in it.
    pub fn find(from: &Path) -> Result<Self, Diagnostics> {
        let _ = from;
        Err(Diagnostics::default())
    }

    /// The profile of that name.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }
}
