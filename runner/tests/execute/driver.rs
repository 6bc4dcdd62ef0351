//! A process that runs a scenario by `runner::execute::run` and prints every event as a line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use runner::again::Again;
use runner::durations::Durations;
use runner::execute::{Harness, KeepOutput, Limits, RawOutput, RunEnd, SuiteBinary, Summary, run};
use runner::keys::KeySource;
use runner_core::event::{Event, Stress};
use runner_core::expand::{Case, Plan};
use runner_core::manifest::{Backoff, FailFast, Jitter, Retries, Terminate, ThreadsRequired};
use runner_core::outcome::{Expectation, FlakyPolicy, Policy};
use runner_core::protocol::{Capture, MAX_PROCESSES, Resources};
use runner_core::test::Place;
use serde::{Deserialize, Serialize};

/// Holds a [`Scenario`] as JSON and makes this binary a driver.
pub(crate) const SCENARIO: &str = "EXECUTE_SCENARIO";

/// In the environment of every process a scenario starts: what is left of it is found by that.
pub(crate) const MARK: &str = "EXECUTE_MARK";

/// What a driver does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Scenario {
    /// Suites; each is this very binary.
    pub(crate) suites: Vec<Suite>,
    pub(crate) slots: usize,
    /// How many failures end the run, and whether at once.
    pub(crate) fail_fast: Option<(usize, bool)>,
    pub(crate) groups: BTreeMap<String, usize>,
    pub(crate) global_timeout: Option<Duration>,
    pub(crate) stress: Option<Stress>,
    /// Tries after the first, and the wait before each.
    pub(crate) retries: (u32, Duration),
    pub(crate) flaky: FlakyPolicy,
    pub(crate) silence_limit: Duration,
    pub(crate) keep_all_output: bool,
    pub(crate) run_dir: PathBuf,
}

/// One suite of a scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Suite {
    pub(crate) name: String,
    /// Names of cases: what `fake` does for each.
    pub(crate) cases: Vec<String>,
    /// Added to its environment.
    pub(crate) env: Vec<(String, String)>,
    /// Run this instead.
    pub(crate) file: Option<PathBuf>,
}

/// The last line a driver prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Line {
    Event(Event),
    Over { not_started: usize, interrupted: bool, problems: Vec<String> },
    Error(String),
}

pub(crate) fn main() {
    let text = std::env::var(SCENARIO).unwrap();
    let scenario: Scenario = serde_json::from_str(&text).unwrap();
    let binaries: Vec<SuiteBinary> = scenario.suites.iter().map(binary).collect();
    let cases = scenario.suites.iter().flat_map(|suite| cases(&scenario, suite)).collect();
    let mut print = |event: &Event| match event {
        Event::Tick => {}
        event => say(&Line::Event(event.clone())),
    };
    say(&match run(&binaries, cases, &limits(&scenario), &mut print) {
        Ok(Summary { not_started, end, problems }) => {
            Line::Over { not_started, interrupted: end != RunEnd::ByItself, problems }
        }
        Err(error) => Line::Error(error.to_string()),
    });
}

fn say(line: &Line) {
    let text = serde_json::to_string(line).unwrap();
    let mut stdout = std::io::stdout().lock();
    // The test may have gone already.
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

fn limits(scenario: &Scenario) -> Limits {
    Limits {
        slots: scenario.slots,
        groups: scenario.groups.clone(),
        fail_fast: scenario.fail_fast.map(|(max_fail, immediate)| FailFast {
            max_fail,
            terminate: if immediate { Terminate::Immediate } else { Terminate::Wait },
        }),
        global_timeout: scenario.global_timeout,
        stress: scenario.stress,
        durations: Durations::default(),
        again: Again::default(),
        silence_limit: scenario.silence_limit,
        capture_limit_bytes: 1 << 20,
        seed: 42,
        run_dir: scenario.run_dir.clone(),
        keys: KeySource::Nowhere,
        raw_output: RawOutput::Inherit,
        keep_output: match scenario.keep_all_output {
            true => KeepOutput::Every,
            false => KeepOutput::Notable,
        },
    }
}

fn binary(suite: &Suite) -> SuiteBinary {
    let path = suite.file.clone().unwrap_or_else(|| std::env::current_exe().unwrap());
    let mut env = suite.env.clone();
    for name in [MARK, "PATH"] {
        env.push((name.into(), std::env::var(name).unwrap()));
    }
    SuiteBinary {
        name: suite.name.clone(),
        file: File::open(&path).unwrap(),
        path,
        package_root: env!("CARGO_MANIFEST_DIR").into(),
        env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        harness: Harness::Own,
    }
}

fn cases(scenario: &Scenario, suite: &Suite) -> Vec<Case> {
    suite.cases.iter().map(|name| case(scenario, &suite.name, name)).collect()
}

/// A case whose name begins with `in GROUP: ` is in that group.
fn case(scenario: &Scenario, suite: &str, name: &str) -> Case {
    let group = name.strip_prefix("in ").and_then(|rest| Some(rest.split_once(": ")?.0));
    let (count, wait) = scenario.retries;
    let plan = match name {
        "skipped" => Plan::Skip { reason: "by mark".into(), place: place() },
        _ => Plan::Run,
    };
    Case {
        id: format!("{name}::fork"),
        suite: suite.into(),
        test: name.into(),
        place: place(),
        backend: "fork".into(),
        axes: [("transport".to_owned(), "uds".to_owned())].into(),
        plan,
        expectation: Expectation::Pass,
        timeout: Duration::from_millis(100),
        slow_after: Duration::from_secs(60),
        grace: Duration::from_millis(100),
        leak_after: Duration::from_millis(10),
        group: group.map(str::to_owned),
        policy: Policy { flaky: scenario.flaky, ..Policy::STRICT },
        retries: Retries { count, backoff: Backoff::Fixed(wait), jitter: Jitter::None },
        threads_required: ThreadsRequired::Count(1),
        priority: 0,
        max_processes: MAX_PROCESSES,
        leak_allow: Default::default(),
        extra_args: Default::default(),
        resources: Resources::Ignore,
        capture: Capture::Sys,
        env: vec![("SPAWN_BACKEND".into(), "fork".into())],
        marks: Default::default(),
    }
}

fn place() -> Place {
    Place { file: "driver.rs".into(), line: 1 }
}
