//! The look-alike of libtest that `cargo nextest run` and `cargo test` drive.
//!
//! Cases are listed with their backends, skipped ones in the ignored list. libtest-mimic reads
//! the arguments and prints; every case is run by a supervisor (`player`) under the same rules
//! and judged by the same function as under the runner.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use runner_core::diagnostic::{Diagnostic, Diagnostics, Style};
use runner_core::expand::{self, Case, Options, Plan};
use runner_core::manifest::{CaptureMode, Manifest, Profile, Suite, Target as SuiteTarget};
use runner_core::outcome::{Outcome, Standing};
use runner_core::protocol::{Listing, ProtocolError, Resources};
use runner_core::report;
use runner_core::symbols::Symboliser;

use crate::player::{Played, Player};
use crate::{FAILED, Hooks, Target, failure, registry};

/// Of a failing case's output so much is shown, in bytes.
const SHOWN_BYTES: usize = 32 << 10;

/// Does what the command line asks for.
pub(crate) fn run(target: &Target, hooks: &'static Hooks) -> ExitCode {
    let arguments = Arguments::from_args();
    match cases(target, &arguments) {
        Err(errors) => {
            eprintln!("{}", errors.render(Style::Plain));
            ExitCode::from(FAILED)
        }
        Ok(_) if registry::TESTS.is_empty() => failure(&format!(
            "the test target `{}` of package `{}` registers no tests: does it name the modules \
             they are in?",
            target.name, target.package
        )),
        Ok(cases) if arguments.list => {
            let trials = cases.iter().map(listed).collect();
            libtest_mimic::run(&arguments, trials).exit_code()
        }
        Ok(cases) => match selected(cases, &arguments) {
            Ok(cases) => play(cases, arguments, target, hooks),
            Err(name) => failure(&format!(
                "there is no case `{name}` in the test target `{}`; `--list` shows all",
                target.name
            )),
        },
    }
}

/// Every case of this binary, by the manifest that lies above its package.
fn cases(target: &Target, arguments: &Arguments) -> Result<Vec<Case>, Diagnostics> {
    let manifest = Manifest::find(&PathBuf::from(target.package_root))?;
    let suite = own_suite(&manifest, target)?;
    let profile = profile(&manifest)?;
    let listing: Listing = registry::listing(target.panics);
    let options = Options {
        backends: manifest.select_backends(&[])?.names,
        unavailable: manifest.probe(),
        timeout_scale: 1.0,
        capture: arguments.nocapture.then_some(CaptureMode::No),
        leak: None,
        flaky: None,
        // Trying again is the business of whoever drives this process.
        retries: None,
        resources: Resources::Ignore,
    };
    expand::expand(&manifest, profile, &suite.name, &listing, &options)
}

fn own_suite<'a>(manifest: &'a Manifest, target: &Target) -> Result<&'a Suite, Diagnostics> {
    let own = |suite: &&Suite| match &suite.target {
        SuiteTarget::Test(name) => {
            suite.package == target.package && name.replace('-', "_") == target.name
        }
        SuiteTarget::Lib | SuiteTarget::Bin(_) | SuiteTarget::Example(_) => false,
    };
    manifest.suites.iter().find(own).ok_or_else(|| {
        let Target { package, name, .. } = target;
        let message = format!("no suite is the test target `{name}` of package `{package}`");
        let hint = format!("add [suites.{name}] with package = \"{package}\", test = \"{name}\"");
        let place = runner_core::test::Place { file: manifest.path.display().to_string(), line: 1 };
        Diagnostic::new(message).at_line(&place).hint(hint).into()
    })
}

/// The manifest's profile of the name that nextest's has, if there is one; else, as under the
/// runner, `default`.
fn profile(manifest: &Manifest) -> Result<&Profile, Diagnostics> {
    let outer = std::env::var("NEXTEST_PROFILE").ok();
    match outer.and_then(|name| manifest.profile(&name).ok()) {
        Some(profile) => Ok(profile),
        None => manifest.profile("default"),
    }
}

fn listed(case: &Case) -> Trial {
    Trial::test(case.id.clone(), || Ok(())).with_ignored_flag(not_run(case).is_some())
}

/// Why a case is in the ignored list.
fn not_run(case: &Case) -> Option<&str> {
    match &case.plan {
        Plan::Run => None,
        Plan::Lacking { reason, .. }
        | Plan::Skip { reason, .. }
        | Plan::Ignored { reason, .. }
        | Plan::Unavailable { reason } => Some(reason),
    }
}

/// With `--exact` the one case of that name, found without building the others; a name that
/// nobody has is an error, never "0 tests, ok".
fn selected(mut cases: Vec<Case>, arguments: &Arguments) -> Result<Vec<Case>, String> {
    let Some(name) = arguments.filter.as_ref().filter(|_| arguments.exact) else {
        return Ok(cases);
    };
    match cases.iter().position(|case| case.id == *name) {
        Some(index) => Ok(vec![cases.swap_remove(index)]),
        None => Err(name.clone()),
    }
}

fn play(
    cases: Vec<Case>,
    mut arguments: Arguments,
    target: &Target,
    hooks: &'static Hooks,
) -> ExitCode {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.test_threads.unwrap_or(cpus).clamp(1, cases.len().max(1));
    arguments.test_threads = Some(threads);
    let player = match Player::start(threads, target.package_root.into(), hooks) {
        Ok(player) => player,
        Err(error) => return failure(&start_failure(&error)),
    };
    let symboliser = Arc::new(Mutex::new(Symboliser::new()));
    let trial = |case: Case| trial(case, player, Arc::clone(&symboliser));
    let conclusion = libtest_mimic::run(&arguments, cases.into_iter().map(trial).collect());
    player.end();
    conclusion.exit_code()
}

fn start_failure(error: &ProtocolError) -> String {
    format!("cannot start the supervisors: one {error}")
}

fn trial(case: Case, player: &'static Player, symboliser: Arc<Mutex<Symboliser>>) -> Trial {
    let (id, ignored) = (case.id.clone(), not_run(&case).is_some());
    let run = move || match &case.plan {
        Plan::Run | Plan::Ignored { .. } => {
            let played = player.play(&case);
            conclude(&case, &played, &mut symboliser.lock().unwrap_or_else(PoisonError::into_inner))
        }
        // Forced by `--ignored`: there is nothing that could run.
        Plan::Lacking { reason, .. } | Plan::Skip { reason, .. } | Plan::Unavailable { reason } => {
            let outcome = Outcome::Skipped { reason: reason.clone() };
            say(line(&case, &outcome, &Played::skipped()));
            Ok(Completion::ignored_with(reason))
        }
    };
    Trial::ignorable_test(id, run).with_ignored_flag(ignored)
}

/// What libtest-mimic is told. Everything but a plain pass that leaves nothing also has our own
/// line, with the word that the runner would print.
fn conclude(
    case: &Case,
    played: &Played,
    symboliser: &mut Symboliser,
) -> Result<Completion, Failed> {
    let (own_line, left) = (line(case, &played.outcome, played), left_on_purpose(played));
    match played.outcome.standing(case.policy) {
        // Neither of the two faces has a word for what was cut short.
        Standing::Bad | Standing::Cut => {
            Err(failure_text(case, played, own_line + &left, symboliser).into())
        }
        Standing::Neutral => {
            say(own_line + &left);
            Ok(Completion::ignored_with(played.outcome.detail()))
        }
        Standing::Good => {
            if played.outcome != Outcome::Pass || !left.is_empty() {
                say(own_line + &left);
            }
            Ok(Completion::Completed)
        }
    }
}

/// To stderr in one piece: another thread prints verdicts, and both may go to one place.
fn say(mut line: String) {
    line.push('\n');
    eprint!("{line}");
}

/// What may outlive the case, a line each.
fn left_on_purpose(played: &Played) -> String {
    let left = played.facts.iter().flat_map(|facts| &facts.allowed_leaks);
    left.map(|process| format!("\n{:12} {}", "", report::left_on_purpose(process))).collect()
}

/// `   FAIL [   0.004s] case  what is known`, as the runner prints it.
fn line(case: &Case, outcome: &Outcome, played: &Played) -> String {
    let seconds = played.facts.as_ref().map_or(0.0, |facts| facts.duration.as_secs_f64());
    let (word, detail) = (outcome.word(), outcome.detail());
    let mut line = format!("{word:>12} [{seconds:8.3}s] {}", case.id);
    if !detail.is_empty() {
        let _ = write!(line, "  {detail}");
    }
    line
}

fn failure_text(
    case: &Case,
    played: &Played,
    own_line: String,
    symboliser: &mut Symboliser,
) -> String {
    let mut text = own_line;
    text.push('\n');
    let hang = played.facts.as_ref().and_then(|facts| facts.hang.as_ref());
    if let Some(hang) = hang {
        text.push_str(&report::hang(&case.id, hang, symboliser));
    }
    let output = report::attributed(&played.output);
    if !output.is_empty() {
        let _ = writeln!(text, "--- output of {}", case.id);
        text.push_str(&String::from_utf8_lossy(&report::excerpt(&output, SHOWN_BYTES)));
    }
    let seed = played.seed.map(|seed| format!("--seed {seed} ")).unwrap_or_default();
    let _ = write!(text, "{:>12} cargo run -p runner -- {seed}{}", "again:", case.id);
    text
}
