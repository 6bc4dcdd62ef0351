//! From tests and backends to cases: the matrix, as a list.
//!
//! Pure and total: the same manifest, listing and options give the same cases in the same order
//! in every face of a suite. Nothing is started, probed or read here.

mod check;
mod deadlines;
mod marks;
mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::event::CaseName;
use crate::filter::{GLOBAL_GROUP, Subject};
use crate::manifest::{
    Axis, Backend, CaptureMode, Manifest, Override, Profile, Retries, Suite, ThreadsRequired,
};
use crate::outcome::{Expectation, FlakyPolicy, LeakPolicy, Policy};
use crate::protocol::{
    Attempt, Capture, Clocks, HarnessKind, LeakAllowance, Listing, Resources, Work, variable,
};
use crate::test::{Place, Test};

use deadlines::Deadlines;
use marks::{Layers, Modules};

pub use select::{DefaultFilter, RunIgnored, Selection, select};

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
    /// What is held against it.
    pub policy: Policy,
    /// How often it is tried again when it fails.
    pub retries: Retries,
    /// How much of the slots it takes.
    pub threads_required: ThreadsRequired,
    /// The higher is started first.
    pub priority: i8,
    /// How many processes an attempt may have at once.
    pub max_processes: u32,
    /// Patterns of what may be left behind.
    pub leak_allow: Arc<[String]>,
    /// Whether what it leaves beside processes is counted.
    pub resources: Resources,
    /// Arguments for the program, where it is one.
    pub extra_args: Arc<[String]>,
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

/// What of an attempt is not the case's: see the fields of [`Attempt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptPlace {
    /// Which try, from 1.
    pub attempt: u32,
    /// Place among the slots, from 0.
    pub slot: u32,
    /// For whatever the body randomises.
    pub seed: u64,
    /// The package's root.
    pub cwd: PathBuf,
    /// A folder not yet made.
    pub temp_dir: PathBuf,
}

/// What a face knows beyond manifest and listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Canonical names of the backends asked for; see [`Manifest::select_backends`].
    pub backends: BTreeSet<String>,
    /// Backends that cannot run here, and why; see [`Manifest::probe`].
    pub unavailable: BTreeMap<String, String>,
    /// Multiplies every deadline; 1 where nothing was said.
    pub timeout_scale: f64,
    /// Overrules what manifest and suite say.
    pub capture: Option<CaptureMode>,
    /// Overrules what the profile says.
    pub leak: Option<LeakPolicy>,
    /// Overrules what profile and overrides say.
    pub flaky: Option<FlakyPolicy>,
    /// Overrules what profile and overrides say, backoff included.
    pub retries: Option<u32>,
    /// Whether what attempts leave beside processes is counted.
    pub resources: Resources,
}

impl Case {
    /// What a supervisor is told to run it, at this place.
    pub fn attempt(&self, place: AttemptPlace) -> Attempt {
        let AttemptPlace { attempt, slot, seed, cwd, temp_dir } = place;
        Attempt {
            case_id: self.id.clone(),
            work: Work::Test { name: self.test.clone() },
            backend: self.backend.clone(),
            axes: self.axes.clone(),
            attempt,
            slot,
            seed,
            env: self.env.clone(),
            cwd,
            temp_dir,
            capture: self.capture,
            clocks: Clocks {
                slow_after: self.slow_after,
                deadline: Some(self.timeout),
                grace: self.grace,
                leak_after: self.leak_after,
            },
            max_processes: self.max_processes,
            leak_allow: self
                .leak_allow
                .iter()
                .map(|pattern| LeakAllowance { pattern: pattern.clone() })
                .collect(),
            resources: self.resources,
        }
    }

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
/// No tests; a name or an id that is there twice; every mark that names an unknown backend,
/// capability or group, with its file and line; every unknown axis.
pub fn expand(
    manifest: &Manifest,
    profile: &Profile,
    suite: &str,
    listing: &Listing,
    options: &Options,
) -> Result<Vec<Case>, Diagnostics> {
    let Some(suite) = manifest.suite(suite) else {
        let known = manifest.suites.iter().map(|suite| suite.name.as_str());
        let unknown = Diagnostic::new(format!("the manifest has no suite `{suite}`"));
        return Err(unknown.suggest(suite, known).into());
    };
    check::listing(manifest, suite, listing)?;
    let matrix = Matrix {
        manifest,
        profile,
        suite,
        modules: Modules::new(listing),
        harness: listing.harness,
        options,
    };
    let mut tests: Vec<&Test> = listing.tests.iter().collect();
    tests.sort_by(|left, right| left.name.cmp(&right.name));
    let cases: Vec<Case> = tests.into_iter().flat_map(|test| matrix.cases(test)).collect();
    check::ids(&cases)?;
    Ok(cases)
}

/// What all cases of a suite have in common.
struct Matrix<'a> {
    manifest: &'a Manifest,
    profile: &'a Profile,
    suite: &'a Suite,
    modules: Modules<'a>,
    harness: HarnessKind,
    options: &'a Options,
}

/// One cell of the matrix, before anything is decided about it.
struct Cell<'a> {
    id: String,
    test: &'a Test,
    backend: &'a Backend,
    axes: BTreeMap<String, String>,
}

impl Matrix<'_> {
    fn cases(&self, test: &Test) -> Vec<Case> {
        let combinations = self.axis_values(test);
        let backends = self.manifest.backends.iter().filter(|backend| self.has(backend));
        backends
            .flat_map(|backend| combinations.iter().map(move |axes| (backend, axes)))
            .map(|(backend, axes)| self.case(cell(test, backend, axes)))
            .collect()
    }

    fn has(&self, backend: &Backend) -> bool {
        self.suite.backends.contains(&backend.name) && self.options.backends.contains(&backend.name)
    }

    /// Every combination of the values of the axes that a test opted in to, the last axis of the
    /// manifest varying fastest.
    fn axis_values(&self, test: &Test) -> Vec<Vec<(&Axis, &str)>> {
        let opted_in = self.manifest.axes.iter().filter(|axis| test.axes.contains(&axis.name));
        opted_in.fold(vec![Vec::new()], |combinations, axis| {
            combinations
                .iter()
                .flat_map(|before| {
                    axis.values.iter().map(|value| {
                        let mut with = before.clone();
                        with.push((axis, value.as_str()));
                        with
                    })
                })
                .collect()
        })
    }

    fn case(&self, cell: Cell<'_>) -> Case {
        let rules = Rules { profile: self.profile, overrides: self.overrides(&cell) };
        let layers = Layers::new(&cell.test.marks, self.modules.of(cell.test), &rules.overrides);
        let judge = layers.on(self.manifest, cell.backend);
        let slow = rules.first(|rule| rule.slow).unwrap_or(self.profile.slow);
        let leak = rules.first(|rule| rule.leak).unwrap_or(self.profile.leak);
        let clocks = Deadlines {
            mark: judge.timeout(),
            slow,
            multiplier: cell.backend.timeout_multiplier,
            scale: self.options.timeout_scale,
        };
        Case {
            suite: self.suite.name.clone(),
            test: cell.test.name.clone(),
            place: cell.test.place.clone(),
            backend: cell.backend.name.clone(),
            plan: self.plan(&judge, cell.backend),
            expectation: judge.expectation(),
            timeout: clocks.deadline(),
            slow_after: clocks.slow_after(),
            grace: slow.grace,
            leak_after: leak.period,
            group: judge
                .group()
                .or_else(|| cell.backend.group.clone())
                .filter(|group| group != GLOBAL_GROUP),
            policy: Policy {
                leak: self.options.leak.unwrap_or(leak.policy),
                timeout: slow.policy,
                flaky: self.options.flaky.unwrap_or_else(|| rules.flaky()),
            },
            retries: self.options.retries.map_or_else(|| rules.retries(), Retries::immediate),
            threads_required: rules.threads_required(),
            priority: rules.first(|rule| rule.priority).unwrap_or(0),
            max_processes: rules.max_processes(),
            leak_allow: rules.leak_allow(),
            resources: self.options.resources,
            extra_args: rules.extra_args(),
            capture: self.capture(),
            env: self.env(&cell),
            marks: judge.kinds(),
            id: cell.id,
            axes: cell.axes,
        }
    }

    /// What a mark says outranks what the machine lacks: it is the steadier of the two reasons.
    fn plan(&self, judge: &marks::OnBackend<'_>, backend: &Backend) -> Plan {
        let unavailable = || {
            let reason = self.options.unavailable.get(&backend.name)?.clone();
            Some(Plan::Unavailable { reason })
        };
        judge.plan().or_else(unavailable).unwrap_or(Plan::Run)
    }

    fn capture(&self) -> Capture {
        self.suite.capture_with(self.harness, self.options.capture).in_protocol()
    }

    fn overrides(&self, cell: &Cell<'_>) -> Vec<&Override> {
        if self.profile.overrides.is_empty() {
            return Vec::new();
        }
        let names: Vec<&str> = cell.backend.names().collect();
        let binary_id = self.suite.binary_id();
        let subject = Subject {
            test: &cell.test.name,
            id: &cell.id,
            binary: self.suite.binary(),
            binary_id: &binary_id,
            package: &self.suite.package,
            backend: &names,
            group: None,
            marks: &BTreeSet::new(),
            default: self.profile.default_filter.as_ref(),
        };
        self.profile.overrides.iter().filter(|rule| rule.filter.matches(&subject)).collect()
    }

    fn env(&self, cell: &Cell<'_>) -> Vec<(String, String)> {
        let axes = self.manifest.axes.iter().filter_map(|axis| {
            let value = cell.axes.get(&axis.name).or(axis.default.as_ref())?;
            Some((axis.env.clone()?, value.clone()))
        });
        let backend = cell.backend.env.clone().into_iter();
        let name = (variable::BACKEND.to_owned(), cell.backend.name.clone());
        backend.chain(axes).chain([name]).collect()
    }
}

/// What the profile and those of its overrides that match a case say about it: the first one that
/// says something is heard.
struct Rules<'a> {
    profile: &'a Profile,
    overrides: Vec<&'a Override>,
}

impl Rules<'_> {
    fn first<T>(&self, said: impl Fn(&Override) -> Option<T>) -> Option<T> {
        self.overrides.iter().find_map(|rule| said(rule))
    }

    fn flaky(&self) -> FlakyPolicy {
        self.first(|rule| rule.flaky).unwrap_or(self.profile.flaky)
    }

    fn retries(&self) -> Retries {
        self.first(|rule| rule.retries).unwrap_or(self.profile.retries)
    }

    fn threads_required(&self) -> ThreadsRequired {
        self.first(|rule| rule.threads_required).unwrap_or(self.profile.threads_required)
    }

    fn max_processes(&self) -> u32 {
        self.first(|rule| rule.max_processes).unwrap_or(self.profile.max_processes)
    }

    fn extra_args(&self) -> Arc<[String]> {
        let said = self.first(|rule| rule.extra_args.clone());
        said.unwrap_or_else(|| Arc::clone(&self.profile.extra_args))
    }

    fn leak_allow(&self) -> Arc<[String]> {
        let said = self.first(|rule| rule.leak_allow.clone());
        said.unwrap_or_else(|| Arc::clone(&self.profile.leak_allow))
    }
}

fn cell<'a>(test: &'a Test, backend: &'a Backend, axes: &[(&Axis, &str)]) -> Cell<'a> {
    let mut id = format!("{}::{}", test.name, backend.name);
    for (_, value) in axes {
        id.push_str("::");
        id.push_str(value);
    }
    let axes = axes.iter().map(|(axis, value)| (axis.name.clone(), (*value).to_owned())).collect();
    Cell { id, test, backend, axes }
}

#[cfg(test)]
mod tests;
