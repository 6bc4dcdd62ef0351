//! The commands: each ties the parts together and ends in an exit code.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::CommandFactory;
use nix::sys::signal::{SigSet, Signal};
use runner_core::diagnostic::{Diagnostic, Style};
use runner_core::event::{EVENT_VERSION, Event};
use runner_core::expand::{Case, Plan};
use runner_core::manifest::{CaptureMode, Manifest};
use runner_core::memory::CAPTURE_LIMIT_BYTES;
use runner_core::run_folder::RunFolder;

use crate::again::{Again, quoted};
use crate::cargo::Workspace;
use crate::choice::{Bounds, Choice, Setting};
use crate::cli::{Cli, Command, ListFlags, ListFormat, ReapFlags, RunFlags, TriageFlags};
use crate::discover::{Discovered, discover};
use crate::durations::Durations;
use crate::execute::{self, KeepOutput, Limits, RawOutput, RunEnd, Summary};
use crate::exit::{Exit, Failure, warn};
use crate::headroom::{self, Proposal, Signs};
use crate::keys::KeySource;
use crate::report::{Context, Reporter, Tally, View};
use crate::store::{KEEP, Log, Store, StoreError};
use crate::{catalogue, contain, debugger, triage};

/// Under a bar, what goes to fds 1 and 2 past the capture lies here, in the run's folder.
const RAW_LOG: &str = "raw.log";

/// Does what was asked for.
pub fn execute(cli: Cli) -> ExitCode {
    match cli.color {
        clap::ColorChoice::Auto => anstream::ColorChoice::Auto,
        clap::ColorChoice::Always => anstream::ColorChoice::Always,
        clap::ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    let done = match cli.into_command() {
        Command::Run(flags) => run(&flags),
        Command::List(flags) => list(&flags),
        Command::Triage(flags) => triage(&flags),
        Command::Contain(flags) => return contain::contain(&flags.contain()).end(),
        Command::Reap(flags) => Ok(reap(&flags)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "runner", &mut io::stdout());
            Ok(Exit::Success)
        }
    };
    done.map_or_else(|failure| failure.report(), ExitCode::from)
}

fn run(flags: &RunFlags) -> Result<Exit, Failure> {
    // It asks what everything is doing that runs. As long as nothing runs it must not end this.
    let _ = SigSet::from(Signal::SIGUSR1).thread_block();
    let manifest = manifest(flags.select.manifest.as_deref())?;
    let mut choice = Choice::of_run(&manifest, flags, Setting::here())?;
    let workspace = Workspace::load(&root_of(&manifest))?;
    let store = Store::new(&workspace.state_dir());
    if flags.select.last_failed {
        choice.selection.words = last_failed(&store, &flags.select.words)?;
    }
    let found = discover(&manifest, &workspace, &choice, flags.select.cargo_profile())?;
    choice.check_capture(&manifest, &found.harnesses(), Setting::here())?;
    let faults = Faults::report(&found);
    let to_run = count_to_run(&found.cases);
    if to_run == 0 {
        tell_nothing_runs(&found.cases, &flags.select.words);
        return Ok(faults.unless(Exit::NoTests));
    }
    if let Some(debugger) = &flags.debugger {
        return debug(debugger, &found, flags.seed.unwrap_or_else(random));
    }
    let bounds = choice.bounds(&manifest, flags);
    let again = Again::new(&manifest, found.shared_ids.clone());
    recorded(flags, &choice, &store, found, (bounds, again), faults)
}

/// The one selected case, under a debugger.
fn debug(debugger: &str, found: &Discovered, seed: u64) -> Result<Exit, Failure> {
    let mut to_run = found.cases.iter().filter(|case| case.plan == Plan::Run);
    let (Some(case), None) = (to_run.next(), to_run.next()) else {
        let message = "a debugger takes one case: name it by its whole id";
        return Err(Failure::because(Exit::Usage, message));
    };
    let Some(binary) = found.binaries.iter().find(|binary| binary.name == case.suite) else {
        return Err(Failure::because(Exit::List, format!("no binary for suite {}", case.suite)));
    };
    let folder = RunFolder::create().map_err(|error| no_run(&error))?;
    let place = debugger::Place { temp_dir: folder.path().join("1"), seed };
    let ending = contain::contain(&debugger::contained(debugger, case, binary, place));
    if let Err(error) = folder.remove() {
        warn(format!("cannot remove {}: {error}", folder.path().display()));
    }
    Ok(match ending {
        contain::Ending::Code(0) => Exit::Success,
        contain::Ending::Code(_) | contain::Ending::Signal(_) => Exit::TestFailure,
    })
}

fn list(flags: &ListFlags) -> Result<Exit, Failure> {
    let manifest = manifest(flags.select.manifest.as_deref())?;
    let mut choice = Choice::new(&manifest, &flags.select, Setting::here())?;
    let workspace = Workspace::load(&root_of(&manifest))?;
    if flags.select.last_failed {
        choice.selection.words =
            last_failed(&Store::new(&workspace.state_dir()), &flags.select.words)?;
    }
    let found = discover(&manifest, &workspace, &choice, flags.select.cargo_profile())?;
    let faults = Faults::report(&found);
    let is_terminal = io::stdout().is_terminal();
    let fallback = if is_terminal { ListFormat::Human } else { ListFormat::Oneline };
    let text = catalogue::text(&manifest, &found.cases, flags.format.unwrap_or(fallback));
    print(&text);
    Ok(faults.unless(if found.cases.is_empty() { Exit::NoTests } else { Exit::Success }))
}

fn triage(flags: &TriageFlags) -> Result<Exit, Failure> {
    let manifest = manifest(flags.manifest.as_deref())?;
    let workspace = Workspace::load(&root_of(&manifest))?;
    let store = Store::new(&workspace.state_dir());
    let recording = store.read(flags.run.as_deref()).map_err(unreadable)?;
    if let Some(torn) = &recording.torn {
        warn(format!("{torn}; what follows is what was recorded until then"));
    }
    let again = again(flags.manifest.as_deref(), None);
    let (history, unread) = store.history().map_err(unreadable)?;
    if unread > 0 {
        warn(format!("recorded runs that cannot be read are not counted: {unread}"));
    }
    let folder = shown(&recording.folder);
    let context = triage::Context { history: &history, folder: &folder, again: &again };
    print(&triage::report(&recording, &context));
    Ok(Exit::Success)
}

fn reap(flags: &ReapFlags) -> Exit {
    let report = flags.reap().reap();
    print(&report.to_string());
    if report.is_clean() { Exit::Success } else { Exit::Force }
}

/// Runs the cases under a log and a report, and says what to exit with.
fn recorded(
    flags: &RunFlags,
    choice: &Choice<'_>,
    store: &Store,
    found: Discovered,
    (bounds, again_of_case): (Bounds, Again),
    faults: Faults,
) -> Result<Exit, Failure> {
    if let Err(error) = store.prune(KEEP, SystemTime::now()) {
        warn(error);
    }
    let log = store.create().map_err(unreadable)?;
    let view =
        if flags.capture() == Some(CaptureMode::No) { View::Unfiltered } else { View::here() };
    let seed = flags.seed.unwrap_or_else(random);
    let limits = Limits {
        durations: store.durations(),
        again: again_of_case,
        keys: flags.keys(),
        ..limits(&log, bounds, view, seed)?
    };
    let context = Context {
        folder: shown(&log.folder),
        again: again(flags.select.manifest.as_deref(), Some(flags)),
    };
    let started = Event::RunStarted {
        version: EVENT_VERSION,
        run: log.id.clone(),
        profile: choice.profile.name.clone(),
        backends: columns(choice, flags, &found.cases),
        suites: found.binaries.len(),
        to_run: count_to_run(&found.cases),
        slots: limits.slots,
        seed,
        stress: limits.stress,
    };
    let reporter = Reporter::start(view, context).map_err(|error| no_run(&error))?;
    let mut audience =
        Audience { log, reporter, tally: Tally::of_counts(), stood_still: Duration::ZERO };
    audience.on_event(&started);
    if let Some(Proposal { percent, reasons }) =
        headroom::proposal(&Signs::take(limits.slots), flags.timeout_scale)
    {
        audience.on_event(&Event::ScaleProposed { percent, reasons });
    }
    let clock = Instant::now();
    execute::give_back_freed_memory();
    let ended = execute::run(&found.binaries, found.cases, &limits, &mut |event| {
        audience.on_event(event);
    });
    let (summary, failure) = match ended {
        Ok(summary) => (summary, None),
        Err(error) => (Summary::default(), Some(no_run(&error))),
    };
    let Summary { not_started, end, problems } = summary;
    let exit = faults.unless(audience.exit(not_started, end));
    audience.on_event(&Event::RunFinished {
        duration: clock.elapsed().saturating_sub(audience.stood_still),
        backends: audience.tally.backends().to_vec(),
        not_started,
        exit_code: failure.as_ref().map_or(exit, |failure| failure.exit).code(),
    });
    let folder = audience.log.folder.clone();
    audience.close();
    problems.iter().for_each(warn);
    name_raw_log(&folder);
    failure.map_or(Ok(exit), Err)
}

/// Everybody who hears of events.
struct Audience {
    log: Log,
    reporter: Reporter,
    tally: Tally,
    /// How long the run stood still.
    stood_still: Duration,
}

impl Audience {
    /// The log first: it is the truth, even of what a person never saw.
    fn on_event(&mut self, event: &Event) {
        self.log.write(event);
        self.reporter.on_event(event, &self.tally);
        self.tally.on_event(event);
        if let Event::RunResumed { after } = event {
            self.stood_still += *after;
        }
    }

    fn exit(&self, not_started: usize, end: RunEnd) -> Exit {
        let is_whole = not_started == 0 && self.tally.interrupted() == 0;
        match end {
            RunEnd::ByItself if is_whole && self.tally.failed() == 0 => Exit::Success,
            RunEnd::ByItself | RunEnd::Interrupted => Exit::TestFailure,
        }
    }

    fn close(self) {
        self.reporter.finish();
        if let Err(error) = self.log.close() {
            warn(error);
        }
    }
}

/// Whether some suite could not be listed; the others run, but the run is not a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Faults {
    None,
    Listing,
}

impl Faults {
    fn report(found: &Discovered) -> Self {
        if found.faults.is_empty() {
            return Self::None;
        }
        anstream::eprintln!("{}", found.faults.render(Style::Coloured));
        Self::Listing
    }

    /// A failed case is worse, everything else is not.
    fn unless(self, exit: Exit) -> Exit {
        match (self, exit) {
            (Self::None, exit) | (Self::Listing, exit @ Exit::TestFailure) => exit,
            (
                Self::Listing,
                Exit::Success
                | Exit::Force
                | Exit::NoTests
                | Exit::Usage
                | Exit::Filterset
                | Exit::Setup
                | Exit::Build
                | Exit::Metadata
                | Exit::List,
            ) => Exit::List,
        }
    }
}

fn manifest(path: Option<&Path>) -> Result<Manifest, Failure> {
    let found = match path {
        Some(path) => Manifest::load(path),
        None => {
            let here = std::env::current_dir().map_err(|error| {
                Failure::because(Exit::Setup, format!("no current folder: {error}"))
            })?;
            Manifest::find(&here)
        }
    };
    found.map_err(|errors| Failure::new(Exit::Setup, errors))
}

fn root_of(manifest: &Manifest) -> PathBuf {
    manifest.path.parent().map(Path::to_owned).unwrap_or_default()
}

/// Whole ids, of which each is meant alone; of those, what the words mean if there are any.
fn last_failed(store: &Store, words: &[String]) -> Result<Vec<String>, Failure> {
    let recording = store.read(None).map_err(unreadable)?;
    if let Some(torn) = &recording.torn {
        warn(format!("{torn}; failures after that are not known"));
    }
    let mut failed = triage::failed_ids(&recording);
    failed.retain(|id| words.is_empty() || words.iter().any(|word| id.contains(word)));
    if failed.is_empty() {
        let message = format!("nothing like that failed in the last run ({})", recording.id);
        return Err(Failure::because(Exit::NoTests, message));
    }
    Ok(failed)
}

fn limits(log: &Log, bounds: Bounds, view: View, seed: u64) -> Result<Limits, Failure> {
    let raw_output = match view {
        View::Plain | View::Unfiltered => RawOutput::Inherit,
        View::Bar => {
            let path = log.folder.join(RAW_LOG);
            let file = File::options().append(true).create(true).open(&path);
            let failed = |error| {
                let message = format!("cannot make {}: {error}", path.display());
                Failure::because(Exit::Setup, message)
            };
            RawOutput::File(file.map_err(failed)?)
        }
    };
    Ok(Limits {
        slots: bounds.slots,
        groups: bounds.groups,
        fail_fast: bounds.fail_fast,
        global_timeout: bounds.global_timeout,
        stress: bounds.stress,
        durations: Durations::default(),
        again: Again::default(),
        capture_limit_bytes: CAPTURE_LIMIT_BYTES,
        seed,
        run_dir: log.folder.clone(),
        raw_output,
        keep_output: KeepOutput::Notable,
        keys: KeySource::Nowhere,
        silence_limit: execute::SILENCE_LIMIT,
    })
}

/// An empty one is nothing to talk about.
fn name_raw_log(folder: &Path) {
    let path = folder.join(RAW_LOG);
    match path.metadata() {
        Ok(metadata) if metadata.len() > 0 => {
            let path = shown(&path);
            anstream::eprintln!("unattributed output of the run: {}", path.display());
        }
        // Nobody needs to know whether an empty file could be removed.
        Ok(_) => drop(std::fs::remove_file(&path)),
        Err(_) => {}
    }
}

/// What was asked for has a column, even an empty one. Where nothing was said, what has cases.
fn columns(choice: &Choice<'_>, flags: &RunFlags, cases: &[Case]) -> Vec<String> {
    let mut columns = choice.backends.clone();
    if flags.select.backends.is_empty() {
        columns.retain(|backend| cases.iter().any(|case| case.backend == *backend));
    }
    columns
}

fn count_to_run(cases: &[Case]) -> usize {
    cases.iter().filter(|case| case.plan == Plan::Run).count()
}

/// Why a selection runs nothing: because it is empty, or because of what the marks say; or because
/// a command was taken for a part of a test's name.
fn tell_nothing_runs(cases: &[Case], words: &[String]) {
    let mut diagnostic = Diagnostic::new("no tests to run");
    let cli = Cli::command();
    if let Some(word) = words.iter().find(|word| cli.find_subcommand(word.as_str()).is_some()) {
        diagnostic = diagnostic
            .hint(format!("`{word}` is a command only where it comes first: `runner {word} …`"));
    }
    for case in cases.iter().take(10) {
        if let Some(why) = catalogue::why_not(case) {
            diagnostic = diagnostic.hint(format!("{}: {why}", case.id));
        }
    }
    if cases.len() > 10 {
        diagnostic = diagnostic.hint(format!("… and {} more that are not run", cases.len() - 10));
    }
    Failure::new(Exit::NoTests, diagnostic).report();
}

/// The line that runs a case again, up to what names it. Nothing that changes what a case does
/// may be missing.
fn again(manifest: Option<&Path>, run: Option<&RunFlags>) -> String {
    // `cargo run` says so in the environment of what it runs.
    let is_cargo_run = std::env::var("CARGO_PKG_NAME").is_ok_and(|name| name == "runner");
    let program = if is_cargo_run { "cargo run -p runner --" } else { "runner" };
    let mut words = vec![program.to_owned()];
    if let Some(path) = manifest {
        words.push(format!("--manifest {}", quoted(&path.display().to_string())));
    }
    if let Some(flags) = run {
        words.extend(flags.repeated());
    }
    words.join(" ")
}

/// Relative to where the user stands, if it is below that.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}

/// From the generator of the standard library's hash maps: unpredictable enough for a seed.
fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` takes")]
fn unreadable(error: StoreError) -> Failure {
    Failure::because(Exit::Setup, error.to_string())
}

fn no_run(error: &dyn std::error::Error) -> Failure {
    Failure::because(Exit::Setup, error.to_string())
}

/// To stdout; a reader that went away has read enough.
fn print(text: &str) {
    let mut stdout = anstream::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
