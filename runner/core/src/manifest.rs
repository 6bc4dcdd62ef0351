//! `runner.toml`, parsed once into what everything downstream reads.
//!
//! `parse` is pure: text in, a [`Manifest`] without errors or all of its errors out. `find` is
//! where the file comes from; `probe` asks the machine what backends require. Which cases follow
//! from a manifest is `expand`'s business.

mod find;
mod parse;
mod probe;
mod read;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::filter::{Filter, Vocabulary};
use crate::outcome::{FlakyPolicy, LeakPolicy, TimeoutPolicy};
use crate::protocol::{Capture, HarnessKind};
use crate::test::{Mark, Place};

pub use schedule::{Backoff, FailFast, Jitter, Retries, Terminate, ThreadsRequired};

/// No span of time that comes from a manifest is longer: clocks add them to each other and to
/// instants, which must not overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// A manifest without errors. Lists are in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file.
    pub path: PathBuf,
    /// The main axis; never empty.
    pub backends: Vec<Backend>,
    /// Axes a test can opt in to.
    pub axes: Vec<Axis>,
    /// Where the tests are; never empty.
    pub suites: Vec<Suite>,
    /// Groups with limits.
    pub groups: Vec<Group>,
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
    /// For a person; may be empty.
    pub description: String,
    /// Added to the environment of its cases.
    pub env: BTreeMap<String, String>,
    /// Capabilities, for `needs`.
    pub provides: BTreeSet<String>,
    /// What must hold on this machine.
    pub requires: Vec<Requirement>,
    /// What it means that it cannot run here.
    pub presence: Presence,
    /// Capture modes it tolerates.
    pub capture: Vec<CaptureMode>,
    /// Multiplies the deadlines of its cases; finite and above 0.
    pub timeout_multiplier: f64,
    /// Group of its cases where no mark says another.
    pub group: Option<String>,
    /// Its header in the file.
    pub place: Place,
}

/// What it means that a backend cannot run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// An error where it was asked for by name, or where `CI` is set.
    Required,
    /// Never an error.
    Optional,
}

/// What a backend wants of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// `pidfd_open(2)` works.
    Pidfd,
    /// A user namespace can be made without privilege.
    Userns,
    /// A command of this name is in `PATH`.
    Command(String),
    /// Something listens on this TCP port of the loopback interface.
    Port(u16),
}

/// A way of taking output.
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
    /// Its values; never empty.
    pub values: Vec<String>,
    /// The value of cases that did not opt in.
    pub default: Option<String>,
    /// The variable that carries the value.
    pub env: Option<String>,
}

/// A target of the workspace whose tests are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Its name in messages.
    pub name: String,
    /// Cargo package.
    pub package: String,
    /// Which of its targets.
    pub target: Target,
    /// Canonical names of its backends, in manifest order.
    pub backends: Vec<String>,
    /// Where output goes, if the manifest says it; else it follows from the harness, see
    /// [`Suite::capture_with`].
    pub capture: Option<CaptureMode>,
    /// Its header in the file.
    pub place: Place,
}

/// A target of a package that can hold tests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An integration test, by name.
    Test(String),
    /// The library.
    Lib,
    /// A binary, by name.
    Bin(String),
    /// An example, by name.
    Example(String),
}

/// Cases that share a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How many attempts of it at once.
    pub max_threads: Threads,
}

/// How to run, all defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Slow period, deadline and grace.
    pub slow: SlowTimeout,
    /// When what is left is a leak, and what that means.
    pub leak: LeakTimeout,
    /// How many attempts at once.
    pub threads: Threads,
    /// When too many failures end the run, if they ever do.
    pub fail_fast: Option<FailFast>,
    /// How long the whole run may take, from its first case on.
    pub global_timeout: Option<Duration>,
    /// How often a case that failed is tried again.
    pub retries: Retries,
    /// What it means that a case passed only when it was tried again.
    pub flaky: FlakyPolicy,
    /// How much of the slots a case takes.
    pub threads_required: ThreadsRequired,
    /// How many processes an attempt may have at once.
    pub max_processes: u32,
    /// What may be left behind; see [`Override::leak_allow`].
    pub leak_allow: Arc<[String]>,
    /// See [`Override::extra_args`].
    pub extra_args: Arc<[String]>,
    /// What `default()` means and every selection is cut with.
    pub default_filter: Option<Filter>,
    /// Its own first, then the inherited; the first match wins, kind by kind.
    pub overrides: Vec<Override>,
}

/// The clocks of an attempt, before multipliers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowTimeout {
    /// A slow line each time this has passed.
    pub period: Duration,
    /// Wall-clock deadline.
    pub deadline: Duration,
    /// Between SIGINT and the kill of the subtree.
    pub grace: Duration,
    /// What it means that the deadline passed.
    pub policy: TimeoutPolicy,
}

/// When what is left is a leak, and what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakTimeout {
    /// What is alive this long after the first process ended is a leak.
    pub period: Duration,
    /// What a leak means.
    pub policy: LeakPolicy,
}

/// A number of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// As many as there are CPUs.
    Cpus,
    /// As many as there are CPUs, less so many, at least one.
    CpusLess(usize),
    /// This many; above 0.
    Count(usize),
}

/// What a profile says about the cases that a filter matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Which cases.
    pub filter: Filter,
    /// Marks on them, in the order of the file; `skip_on_backend` and `xfail_on_backend` name
    /// every backend where the file names none.
    pub marks: Vec<Mark>,
    /// Their clocks.
    pub slow: Option<SlowTimeout>,
    /// Their leaks.
    pub leak: Option<LeakTimeout>,
    /// How often they are tried again.
    pub retries: Option<Retries>,
    /// What it means that they passed only then.
    pub flaky: Option<FlakyPolicy>,
    /// How much of the slots they take.
    pub threads_required: Option<ThreadsRequired>,
    /// Which are started first: the higher, from -100 to 100; 0 where nobody says.
    pub priority: Option<i8>,
    /// How many processes an attempt may have at once.
    pub max_processes: Option<u32>,
    /// What may be left behind on purpose: patterns of command lines, `*` for anything.
    pub leak_allow: Option<Arc<[String]>>,
    /// Arguments of plain binaries, after those of the harness. A case of a suite of ours is
    /// forked, and has none.
    pub extra_args: Option<Arc<[String]>>,
}

/// Backends somebody asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// Canonical names of all of them.
    pub names: BTreeSet<String>,
    /// Those that were asked for by name or alias, not by `all`.
    pub by_name: BTreeSet<String>,
}

/// The word for every backend, on the command line and in `[suites.NAME] backends`.
pub const ALL_BACKENDS: &str = "all";

impl Manifest {
    /// The profile of that name.
    ///
    /// # Errors
    /// There is none; with a hint.
    pub fn profile(&self, name: &str) -> Result<&Profile, Diagnostics> {
        self.profiles.iter().find(|profile| profile.name == name).ok_or_else(|| {
            Diagnostic::new(format!("no profile is called `{name}`"))
                .suggest(name, self.profiles.iter().map(|profile| profile.name.as_str()))
                .into()
        })
    }

    /// The backend of that name or alias.
    pub fn backend(&self, name_or_alias: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.answers_to(name_or_alias))
    }

    /// The suite of that name.
    pub fn suite(&self, name: &str) -> Option<&Suite> {
        self.suites.iter().find(|suite| suite.name == name)
    }

    /// Names and aliases of all backends.
    pub fn backend_names(&self) -> impl Iterator<Item = &str> {
        self.backends.iter().flat_map(Backend::names)
    }

    /// Every capability that some backend provides.
    pub fn capabilities(&self) -> BTreeSet<&str> {
        self.backends.iter().flat_map(|backend| &backend.provides).map(String::as_str).collect()
    }

    /// Resolves what was asked for: `all`, names, aliases; nothing at all means `all`.
    ///
    /// # Errors
    /// Every name that no backend has; with a hint.
    pub fn select_backends(&self, asked: &[String]) -> Result<Selected, Diagnostics> {
        let mut errors = Diagnostics::default();
        let mut selected = Selected::default();
        let wants_all = asked.is_empty() || asked.iter().any(|name| name == ALL_BACKENDS);
        if wants_all {
            selected.names.extend(self.backends.iter().map(|backend| backend.name.clone()));
        }
        for name in asked.iter().filter(|name| *name != ALL_BACKENDS) {
            match self.backend(name) {
                Some(backend) => {
                    selected.names.insert(backend.name.clone());
                    selected.by_name.insert(backend.name.clone());
                }
                None => errors.push(
                    Diagnostic::new(format!("no backend is called `{name}`"))
                        .suggest(name, self.backend_names().chain([ALL_BACKENDS])),
                ),
            }
        }
        errors.into_result(selected)
    }

    /// The names that filters on the command line may ask for.
    pub fn vocabulary(&self) -> Vocabulary {
        Vocabulary {
            backends: self.backend_names().map(str::to_owned).collect(),
            packages: self.suites.iter().map(|suite| suite.package.clone()).collect(),
            binaries: self.suites.iter().map(|suite| suite.binary().to_owned()).collect(),
            binary_ids: self.suites.iter().map(Suite::binary_id).collect(),
        }
    }
}

impl Backend {
    /// Its name, then its aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(String::as_str)
    }

    /// Whether that is its name or one of its aliases.
    pub fn answers_to(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }
}

impl Suite {
    /// As nextest names its binary.
    pub fn binary_id(&self) -> String {
        let package = &self.package;
        match &self.target {
            Target::Lib => package.clone(),
            Target::Test(name) => format!("{package}::{name}"),
            Target::Bin(name) => format!("{package}::bin/{name}"),
            Target::Example(name) => format!("{package}::example/{name}"),
        }
    }

    /// The name of its target, which for a library is the package's.
    pub fn binary(&self) -> &str {
        match &self.target {
            Target::Lib => &self.package,
            Target::Test(name) | Target::Bin(name) | Target::Example(name) => name,
        }
    }

    /// Where its output goes: as `asked`, else as the manifest says, else where the program writes.
    /// In a binary with another harness than ours nothing could take it there: its fds are captured.
    pub fn capture_with(&self, harness: HarnessKind, asked: Option<CaptureMode>) -> CaptureMode {
        match (harness, asked.or(self.capture).unwrap_or(CaptureMode::Sys)) {
            (HarnessKind::Plain, CaptureMode::Sys | CaptureMode::TeeSys) => CaptureMode::Fd,
            (HarnessKind::Own | HarnessKind::Plain, mode) => mode,
        }
    }
}

impl Target {
    /// What cargo and its flags call this kind of target.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Test(_) => "test",
            Self::Lib => "lib",
            Self::Bin(_) => "bin",
            Self::Example(_) => "example",
        }
    }
}

impl CaptureMode {
    /// Every mode, in the order of how much is taken.
    pub const ALL: [Self; 4] = [Self::Sys, Self::TeeSys, Self::Fd, Self::No];

    /// The word of it in manifests and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sys => "sys",
            Self::TeeSys => "tee-sys",
            Self::Fd => "fd",
            Self::No => "no",
        }
    }

    /// As a supervisor is told it.
    pub fn in_protocol(self) -> Capture {
        match self {
            Self::Sys => Capture::Sys,
            Self::TeeSys => Capture::TeeSys,
            Self::Fd => Capture::Fd,
            Self::No => Capture::No,
        }
    }
}

impl Threads {
    /// The number, on a machine with so many CPUs; at least 1.
    pub fn resolve(self, cpus: usize) -> usize {
        match self {
            Self::Cpus => cpus,
            Self::CpusLess(less) => cpus.saturating_sub(less),
            Self::Count(count) => count,
        }
        .max(1)
    }
}

#[cfg(test)]
mod tests;
