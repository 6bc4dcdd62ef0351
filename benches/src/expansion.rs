//! From a listing to a hundred thousand cases, filtered and listed: what the runner does before it
//! starts anything, without cargo and the suite's own listing.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use runner_core::diagnostic::Source;
use runner_core::expand::{Options, Selection, expand, select};
use runner_core::filter::{Filter, Position};
use runner_core::manifest::Manifest;
use runner_core::protocol::{HarnessKind, Listing, PROTOCOL_VERSION, Panics, Resources};
use runner_core::test::{Mark, MarkKind, Place, Test};

use crate::error::{BenchError, Result, Trying};

/// Cases of an expansion.
pub(crate) const CASES: usize = 100_000;

const BACKENDS: usize = 5;

const MANIFEST: &str = r#"
[backends.exec]
provides = ["process", "killable"]
[backends.forkserver]
provides = ["process", "killable"]
[backends.fork]
provides = ["process"]
[backends.thread]
[backends.thread_forkserver]
provides = ["process"]
[suites.s]
package = "p"
test = "t"
[profile.default]
retries = 1
[[profile.default.overrides]]
filter = "test(/net::.*slow/) and backend(thread)"
skip-on-backend = { reason = "too slow there" }
[[profile.default.overrides]]
filter = "backend(fork)"
slow-timeout = "20s"
"#;

/// CPU seconds of so many expansions: it is one thread that only computes, and what others do to
/// the machine is no part of it.
pub(crate) fn samples(count: usize) -> Result<Vec<f64>> {
    let wrong = |error: &dyn std::fmt::Display| BenchError::new("expanding", error);
    let source = Source { name: "runner.toml".into(), text: MANIFEST.into() };
    let manifest = Manifest::parse(PathBuf::from("runner.toml"), &Arc::new(source))
        .map_err(|errors| wrong(&errors))?;
    let listing = listing();
    let expression = "not (test(/net::/) and backend(thread)) or mark(skip_on_backend)";
    (0..count)
        .map(|_| {
            let started = cpu_time()?;
            let lines = lines(&manifest, &listing, expression)?;
            let took = (cpu_time()? - started).as_secs_f64();
            if lines == 0 { Err(wrong(&"nothing is left")) } else { Ok(took) }
        })
        .collect()
}

/// How many lines the list has.
fn lines(manifest: &Manifest, listing: &Listing, expression: &str) -> Result<usize> {
    let wrong = |error: &dyn std::fmt::Display| BenchError::new("expanding", error);
    let profile = manifest.profile("default").map_err(|errors| wrong(&errors))?;
    let selected = manifest.select_backends(&[]).map_err(|errors| wrong(&errors))?;
    let options = Options {
        backends: selected.names,
        unavailable: BTreeMap::new(),
        timeout_scale: 1.0,
        capture: None,
        leak: None,
        flaky: None,
        retries: None,
        resources: Resources::Ignore,
    };
    let cases =
        expand(manifest, profile, "s", listing, &options).map_err(|errors| wrong(&errors))?;
    let filter = Filter::parse(expression, Position::CommandLine, &manifest.vocabulary())
        .map_err(|errors| wrong(&format!("{errors:?}")))?;
    let selection = Selection { filters: vec![filter], ..Selection::default() };
    let cases = select(manifest, profile, cases, &selection);
    let mut text = String::new();
    for case in &cases {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "p::t {}", case.id);
    }
    Ok(text.lines().count())
}

fn cpu_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    Ok(time.trying("asking for the CPU's clock")?.into())
}

fn listing() -> Listing {
    let modules = ["net", "disk", "actors::cancel", "actors::streams"];
    let tests = (0..CASES / BACKENDS).map(|number| {
        let module = modules[number % modules.len()];
        let speed = if number % 7 == 0 { "slow" } else { "plain" };
        test(module, format!("{module}::{speed}_test_{number}"), number % 11 == 0)
    });
    Listing {
        protocol: PROTOCOL_VERSION,
        tests: tests.collect(),
        modules: Vec::new(),
        harness: HarnessKind::Own,
        panics: Panics::Unwind,
    }
}

fn test(module: &str, name: String, is_marked: bool) -> Test {
    let place = Place { file: "src/lib.rs".into(), line: 1 };
    let mark = Mark { kind: MarkKind::Needs(vec!["killable".into()]), place: place.clone() };
    let marks = if is_marked { vec![mark] } else { Vec::new() };
    Test { name, module: module.into(), place, axes: Vec::new(), marks }
}
