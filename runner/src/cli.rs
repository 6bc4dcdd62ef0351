//! The command line, parsed into useful types once.
//!
//! What needs the manifest to be understood (names of backends, filtersets, profiles) is still
//! text here; `choice` resolves it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};
use runner_core::event::Stress;
use runner_core::expand::{DefaultFilter, RunIgnored};
use runner_core::manifest::{CaptureMode, FailFast, Terminate, Threads};
use runner_core::outcome::{FlakyPolicy, LeakPolicy};
use runner_core::protocol::Resources;

use crate::again::quoted;
use crate::contain::{Contain, TakeTerminal};
use crate::keys::KeySource;
use crate::reap::{Look, Mode, Reap};

/// Runs every test of a suite once for every backend that the manifest names.
#[derive(Debug, Parser)]
#[command(
    name = "runner",
    version,
    args_conflicts_with_subcommands = true,
    after_help = EXAMPLES,
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunFlags,
    /// Colours.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: clap::ColorChoice,
}

const EXAMPLES: &str = "\
Examples:
  runner --spawn-backend=all              every test on every backend
  runner --backend fork,subint rpc::      tests with `rpc::` in their id, on two backends
  runner rpc::call_twice::fork            one case, by its whole id
  runner -E 'test(cancel) - backend(thread)'
  runner --last-failed --no-capture       what failed last time, with its output as it comes
  runner --stress-count 100 rpc::         each of these a hundred times, never twice at a time
  runner --retries 2 --flaky-result fail  flaky cases are told apart, and fail the run all the same
  runner list --format json               what there is
  runner triage                           what failed last time, by backend and place
  runner --debugger 'gdb --args' rpc::call_twice::fork
  runner contain --timeout 60 -- make check

While it runs: Ctrl-C once asks what runs to end, twice kills it; Ctrl-Z stops everything, clocks
too; `t`, or SIGUSR1, shows what everything is doing that runs; Enter shows how far the run is.

Filtersets (-E) know all() none() default() test() binary() binary_id() package() kind() group()
backend() mark(), matched by =equal ~contained /regex/ #glob, joined by and or not - ( ).

Exit codes: 0 ok, 100 a case failed or the run was cut short, 4 no tests, 2 usage, 94 filterset,
96 setup, 101 build, 102 metadata, 104 listing.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run tests; what is done when no command is named
    Run(Box<RunFlags>),
    /// List cases and what would be done with each
    List(Box<ListFlags>),
    /// Show what failed in the last recorded run: by backend and place, with the line that runs it again
    Triage(TriageFlags),
    /// Remove what killed runners could not: processes, temporary folders
    Reap(ReapFlags),
    /// Run any command so that nothing of it is left, with a bound and a hang report
    Contain(ContainFlags),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

// Headings of `--help`.
const CASES: &str = "Which cases";
const RUNNING: &str = "How they are run";
const MEANING: &str = "What counts, and when to stop";
const OUTPUT: &str = "Output";
const BUILD: &str = "Manifest and build";

/// Which manifest, how to build, which cases.
#[derive(Clone, Debug, Args)]
pub struct SelectFlags {
    /// Whole ids or names, or parts of ids; any of them
    #[arg(value_name = "FILTERS")]
    pub words: Vec<String>,
    /// A filterset expression; any of them, and together with FILTERS
    #[arg(short = 'E', long = "filterset", value_name = "EXPRESSION", help_heading = CASES)]
    pub filtersets: Vec<String>,
    /// Backends by name or alias, comma-separated, or `all`
    #[arg(
        long = "backend",
        visible_alias = "spawn-backend",
        value_name = "LIST",
        value_delimiter = ',', help_heading = CASES)]
    pub backends: Vec<String>,
    /// Which of the ignored and other tests
    #[arg(long, value_name = "WHICH", default_value = "default", help_heading = CASES)]
    run_ignored: RunIgnoredFlag,
    /// Do not let the profile's `default-filter` cut the selection
    #[arg(long, help_heading = CASES)]
    ignore_default_filter: bool,
    /// Only what failed in the last recorded run
    #[arg(long, help_heading = CASES)]
    pub last_failed: bool,
    /// Profile of the manifest
    #[arg(short = 'P', long, default_value = "default", help_heading = BUILD)]
    pub profile: String,
    /// Manifest, instead of the nearest `runner.toml` upwards
    #[arg(long, value_name = "PATH", help_heading = BUILD)]
    pub manifest: Option<PathBuf>,
    /// Build in release mode
    #[arg(short = 'r', long, conflicts_with = "cargo_profile", help_heading = BUILD)]
    release: bool,
    /// Build with this cargo profile
    #[arg(long, value_name = "NAME", help_heading = BUILD)]
    cargo_profile: Option<String>,
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunFlags {
    /// Which cases
    #[command(flatten)]
    pub select: SelectFlags,
    /// Attempts at once: a number, negative for so many less than CPUs, or `num-cpus`
    #[arg(short = 'j', long, value_name = "N", value_parser = threads, allow_hyphen_values = true, help_heading = RUNNING)]
    pub test_threads: Option<Threads>,
    /// Let output through as it comes, one case at a time
    #[arg(long, visible_alias = "nocapture", conflicts_with = "capture", help_heading = OUTPUT)]
    no_capture: bool,
    /// Where output is taken: sys, tee-sys, fd or no
    #[arg(long, value_name = "MODE", value_parser = capture, help_heading = OUTPUT)]
    capture: Option<CaptureMode>,
    /// Multiply every deadline
    #[arg(long, value_name = "X", default_value = "1", value_parser = factor, help_heading = RUNNING)]
    pub timeout_scale: f64,
    /// Start nothing more after the first failure
    #[arg(long, visible_alias = "ff", conflicts_with = "max_fail", help_heading = MEANING)]
    fail_fast: bool,
    /// Start everything, whatever fails
    #[arg(long, visible_alias = "nff", conflicts_with_all = ["fail_fast", "max_fail"], help_heading = MEANING)]
    no_fail_fast: bool,
    /// Start nothing more after so many failures; with `:immediate` what runs is ended too. Or `all`
    #[arg(long, value_name = "N[:wait|:immediate]", value_parser = max_fail, help_heading = MEANING)]
    max_fail: Option<MaxFail>,
    /// Try a failed case so many times more, without a wait, whatever the manifest says
    #[arg(long, value_name = "N", help_heading = RUNNING)]
    pub retries: Option<u32>,
    /// What it means that a case passed only when it was tried again
    #[arg(long, value_name = "MEANING", help_heading = MEANING)]
    flaky_result: Option<FlakyFlag>,
    /// Run each case so many times, or `infinite`; never one twice at a time
    #[arg(long, value_name = "N", value_parser = stress_count, conflicts_with = "stress_duration", help_heading = RUNNING)]
    stress_count: Option<Stress>,
    /// Run each case again and again until this has passed: `10m`
    #[arg(long, value_name = "TIME", value_parser = stress_duration, help_heading = RUNNING)]
    stress_duration: Option<Stress>,
    /// Show threads, fds, processes, shared memory and sockets that attempts leave
    #[arg(long, help_heading = OUTPUT)]
    resource_deltas: bool,
    /// What it means that a case passed but left processes
    #[arg(long, value_name = "MEANING", help_heading = MEANING)]
    leak: Option<LeakFlag>,
    /// Run the one selected case under this debugger, with the terminal, without clocks and capture
    #[arg(
        long,
        value_name = "CMD",
        conflicts_with_all = ["test_threads", "capture", "no_capture", "max_fail"], help_heading = RUNNING)]
    pub debugger: Option<String>,
    /// Do not read keys: `t` shows what everything is doing that runs, Enter how far the run is
    #[arg(long, help_heading = RUNNING)]
    no_input_handler: bool,
    /// Derive every random choice from this; a run prints its own
    #[arg(long, value_name = "N", help_heading = RUNNING)]
    pub seed: Option<u64>,
}

/// Flags of `list`.
#[derive(Clone, Debug, Args)]
pub struct ListFlags {
    /// Which cases
    #[command(flatten)]
    pub select: SelectFlags,
    /// How; without it `human` on a terminal, else `oneline`
    #[arg(short = 'T', long, value_name = "FORMAT")]
    pub format: Option<ListFormat>,
}

/// Flags of `triage`.
#[derive(Clone, Debug, Args)]
pub struct TriageFlags {
    /// A recorded run by its id; the last one if none is named
    pub run: Option<String>,
    /// Manifest, instead of the nearest `runner.toml` upwards
    #[arg(long, value_name = "PATH")]
    pub manifest: Option<PathBuf>,
}

/// Flags of `contain`.
#[derive(Clone, Debug, Args)]
#[command(after_help = CONTAIN_HELP)]
pub struct ContainFlags {
    /// End it after so many seconds, with a hang report
    #[arg(short = 't', long, value_name = "S", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Between the request to end (SIGINT) and SIGKILL, in seconds
    #[arg(short = 'g', long, value_name = "S", default_value = "5", value_parser = seconds)]
    grace: Duration,
    /// What it means that it succeeded but left processes
    #[arg(long, value_name = "MEANING", default_value = "warn")]
    leak: LeakFlag,
    /// What is alive so many seconds after its first process ended is left behind
    #[arg(long, value_name = "S", default_value = "0.1", value_parser = seconds)]
    leak_timeout: Duration,
    /// End it if it has more processes than this at one time; 0 is no limit
    #[arg(long, value_name = "N", default_value = "0")]
    max_processes: u32,
    /// Write hang reports into this file, not to stderr
    #[arg(long, value_name = "PATH")]
    report: Option<PathBuf>,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<OsString>,
}

const CONTAIN_HELP: &str = "\
When the command's first process ends, everything else that it started is listed and ended, whatever
it did to its session, its group or its fds. When time is over, or at SIGTERM, there is a hang report
first: every process and what each of its threads was doing; SIGUSR1 asks for one in between.
Whoever kills `contain` itself kills all of it. stdin, stdout and stderr are the command's own; as
a job of its own in a terminal, so are Ctrl-C and Ctrl-Z.

Examples:
  runner contain -- make check
  runner contain --timeout 60 --leak fail -- ./integration-tests
  CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='runner contain --' cargo test

As a wrapper script of nextest, in .config/nextest.toml:
  experimental = [\"wrapper-scripts\"]
  [scripts.wrapper.contain]
  command = \"runner contain --leak fail --\"
  [[profile.default.scripts]]
  filter = \"all()\"
  run-wrapper = \"contain\"

Exit codes: the command's own, or, if it was ended by a signal, that signal; 124 it took too long,
123 it succeeded but left processes and --leak is fail, 122 it had too many processes, 127 there is
no such program, 126 it cannot be executed, 125 contain itself failed.";

/// Flags of `reap`.
#[derive(Clone, Debug, Args)]
#[command(after_help = REAP_HELP)]
pub struct ReapFlags {
    /// Shared memory, too: segments in /dev/shm that nobody has open
    #[arg(long)]
    shm: bool,
    /// Sockets, too: files that no socket is bound to, in the temporary and the runtime folder
    #[arg(long)]
    uds: bool,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// From SIGINT (and, half-way, SIGTERM) to SIGKILL, in seconds
    #[arg(short = 'g', long, value_name = "S", default_value = "3", value_parser = seconds)]
    grace: Duration,
    /// Only processes below this one, as of a CI job
    #[arg(short = 'p', long, value_name = "PID")]
    parent: Option<i32>,
}

const REAP_HELP: &str = "\
A run that is SIGKILLed leaves nothing: its supervisors end what is below them. Only if one of
these is SIGKILLed as well can something be left; it is found here by the mark that it carries.

Touched is only what is proved to be left: processes whose runner is gone, run folders that no
run holds a lock on, and, if they are older than every run that lives, segments that nobody has
open and socket files that nobody is bound to. What is left alone is said, with the reason.

Examples:
  runner reap -n --shm --uds      what is there
  runner reap --grace 0           at once

Exit codes: 0 nothing is left, 1 SIGKILL was needed or something could not be removed.";

/// How cases are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Grouped by suite, with what is not run and why.
    Human,
    /// `BINARY_ID CASE_ID`, one line a case.
    Oneline,
    /// For programs.
    Json,
}

/// When to stop starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxFail {
    /// After so many failures.
    After(FailFast),
    /// Never.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LeakFlag {
    Fail,
    Warn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FlakyFlag {
    Pass,
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RunIgnoredFlag(RunIgnored);

impl Cli {
    /// What was asked for; `run` if no command was named.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or_else(|| Command::Run(Box::new(self.run)))
    }
}

impl SelectFlags {
    /// Which of the ignored and other tests.
    pub fn run_ignored(&self) -> RunIgnored {
        self.run_ignored.0
    }

    /// Whether the profile's `default-filter` counts.
    pub fn default_filter(&self) -> DefaultFilter {
        if self.ignore_default_filter { DefaultFilter::Ignore } else { DefaultFilter::Apply }
    }

    /// The cargo profile to build with, if one was named.
    pub fn cargo_profile(&self) -> Option<&str> {
        if self.release { Some("release") } else { self.cargo_profile.as_deref() }
    }
}

impl RunFlags {
    /// Where keys come from.
    pub fn keys(&self) -> KeySource {
        if self.no_input_handler { KeySource::Nowhere } else { KeySource::Terminal }
    }

    /// The capture mode, if one was asked for.
    pub fn capture(&self) -> Option<CaptureMode> {
        if self.no_capture { Some(CaptureMode::No) } else { self.capture }
    }

    /// What must be said again for one case to be run as it was by these flags.
    pub fn repeated(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.select.profile != "default" {
            words.push(format!("--profile {}", quoted(&self.select.profile)));
        }
        if let Some(profile) = self.select.cargo_profile() {
            words.push(format!("--cargo-profile {}", quoted(profile)));
        }
        match self.select.default_filter() {
            DefaultFilter::Apply => {}
            DefaultFilter::Ignore => words.push("--ignore-default-filter".to_owned()),
        }
        match self.select.run_ignored() {
            RunIgnored::Default => {}
            RunIgnored::Only | RunIgnored::All => words.push("--run-ignored all".to_owned()),
        }
        if let Some(mode) = self.capture() {
            words.push(format!("--capture {}", mode.word()));
        }
        if self.timeout_scale != 1.0 {
            words.push(format!("--timeout-scale {}", self.timeout_scale));
        }
        words
    }

    /// When to stop starting, if anything was said about it.
    pub fn max_fail(&self) -> Option<MaxFail> {
        match (self.fail_fast, self.no_fail_fast) {
            (true, _) => Some(MaxFail::After(FailFast { max_fail: 1, terminate: Terminate::Wait })),
            (_, true) => Some(MaxFail::Never),
            (false, false) => self.max_fail,
        }
    }

    /// What a pass at a later try means, if anything was said about it.
    pub fn flaky(&self) -> Option<FlakyPolicy> {
        self.flaky_result.map(|flag| match flag {
            FlakyFlag::Pass => FlakyPolicy::Pass,
            FlakyFlag::Fail => FlakyPolicy::Fail,
        })
    }

    /// How often each case is run, if more than once.
    pub fn stress(&self) -> Option<Stress> {
        self.stress_count.or(self.stress_duration)
    }

    /// Whether what attempts leave beside processes is of interest.
    pub fn resources(&self) -> Resources {
        if self.resource_deltas { Resources::Count } else { Resources::Ignore }
    }

    /// What a leak means, if anything was said about it.
    pub fn leak(&self) -> Option<LeakPolicy> {
        self.leak.map(LeakFlag::policy)
    }
}

impl ContainFlags {
    /// The command and its bounds.
    pub fn contain(&self) -> Contain {
        Contain {
            command: self.command.clone(),
            env: Vec::new(),
            cwd: None,
            timeout: self.timeout,
            grace: self.grace,
            leak_after: self.leak_timeout,
            leak: self.leak.policy(),
            max_processes: self.max_processes,
            report: self.report.clone(),
            terminal: TakeTerminal::IfAlone,
        }
    }
}

impl LeakFlag {
    fn policy(self) -> LeakPolicy {
        match self {
            Self::Fail => LeakPolicy::Fail,
            Self::Warn => LeakPolicy::Warn,
        }
    }
}

impl ReapFlags {
    /// What to look for.
    pub fn reap(&self) -> Reap {
        let look = |flag| if flag { Look::For } else { Look::Away };
        Reap {
            segments: look(self.shm),
            sockets: look(self.uds),
            mode: if self.dry_run { Mode::Tell } else { Mode::Act },
            grace: self.grace,
            below: self.parent,
        }
    }
}

impl ValueEnum for RunIgnoredFlag {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(RunIgnored::Default), Self(RunIgnored::Only), Self(RunIgnored::All)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self.0 {
            RunIgnored::Default => PossibleValue::new("default").help("Those that are not ignored"),
            RunIgnored::Only => {
                PossibleValue::new("only").alias("ignored-only").help("Those that are ignored")
            }
            RunIgnored::All => PossibleValue::new("all").help("Both"),
        })
    }
}

fn threads(text: &str) -> Result<Threads, String> {
    if text == "num-cpus" {
        return Ok(Threads::Cpus);
    }
    let wrong = || "a number but 0, or `num-cpus`".to_owned();
    let number: isize = text.parse().map_err(|_| wrong())?;
    match number {
        0 => Err(wrong()),
        1.. => Ok(Threads::Count(number.unsigned_abs())),
        ..0 => Ok(Threads::CpusLess(number.unsigned_abs())),
    }
}

fn capture(text: &str) -> Result<CaptureMode, String> {
    let mode = CaptureMode::ALL.into_iter().find(|mode| mode.word() == text);
    mode.ok_or_else(|| CaptureMode::ALL.map(|mode| format!("`{}`", mode.word())).join(", "))
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(factor),
        Ok(_) | Err(_) => Err("a number above 0".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    // More than that is no bound, and not every clock can count it.
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds <= 1e9);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "a number of seconds, at most 1e9".to_owned())
}

fn max_fail(text: &str) -> Result<MaxFail, String> {
    let wrong = || "a number above 0, with or without `:wait` or `:immediate`; or `all`".to_owned();
    if text == "all" {
        return Ok(MaxFail::Never);
    }
    let (count, terminate) = match text.split_once(':') {
        None | Some((_, "wait")) => (text.trim_end_matches(":wait"), Terminate::Wait),
        Some((count, "immediate")) => (count, Terminate::Immediate),
        Some(_) => return Err(wrong()),
    };
    let max_fail = count.parse().map_err(|_| wrong())?;
    if max_fail == 0 { Err(wrong()) } else { Ok(MaxFail::After(FailFast { max_fail, terminate })) }
}

fn stress_count(text: &str) -> Result<Stress, String> {
    match text.parse::<u32>() {
        Ok(count) if count > 0 => Ok(Stress::Count(count)),
        Err(_) if text == "infinite" => Ok(Stress::Endless),
        Ok(_) | Err(_) => Err("a number above 0, or `infinite`".to_owned()),
    }
}

fn stress_duration(text: &str) -> Result<Stress, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(Stress::For(time)),
        Ok(_) | Err(_) => Err("a time, like `90s` or `1h 30m`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(arguments: &[&str]) -> RunFlags {
        let all = std::iter::once("runner").chain(arguments.iter().copied());
        match Cli::try_parse_from(all).expect("a good command line").into_command() {
            Command::Run(flags) => *flags,
            _ => panic!("not a run: {arguments:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_decides_about_a_case_is_said_again_as_a_shell_reads_it() {
        let flags = run(&["--profile", "my profile", "--ignore-default-filter", "-r", "a::b"]);
        let expected =
            ["--profile 'my profile'", "--cargo-profile release", "--ignore-default-filter"];
        assert_eq!(flags.repeated(), expected);
    }

    #[test]
    fn no_command_means_run() {
        assert_eq!(run(&["a::b"]).select.words, ["a::b"]);
        assert_eq!(run(&["run", "a::b"]).select.words, ["a::b"]);
        assert_eq!(run(&["--", "list"]).select.words, ["list"]);
        assert!(run(&[]).select.words.is_empty());
    }

    #[test]
    fn backends_have_two_flags_and_many_forms() {
        for form in [
            &["--spawn-backend=fork,subint"][..],
            &["--backend", "fork,subint"],
            &["--backend=fork", "--spawn-backend", "subint"],
        ] {
            assert_eq!(run(form).select.backends, ["fork", "subint"]);
        }
    }

    #[test]
    fn values_are_useful_types() {
        let flags = run(&["-j", "-1", "--max-fail", "3", "--no-capture", "--leak=warn"]);
        assert_eq!(flags.test_threads, Some(Threads::CpusLess(1)));
        assert_eq!(flags.max_fail(), Some(after(3, Terminate::Wait)));
        assert_eq!(flags.capture(), Some(CaptureMode::No));
        assert_eq!(flags.leak(), Some(LeakPolicy::Warn));
        assert_eq!(run(&["--ff"]).max_fail(), Some(after(1, Terminate::Wait)));
        assert_eq!(run(&["--no-fail-fast"]).max_fail(), Some(MaxFail::Never));
        assert_eq!(run(&["--run-ignored", "only"]).select.run_ignored(), RunIgnored::Only);
    }

    fn after(max_fail: usize, terminate: Terminate) -> MaxFail {
        MaxFail::After(FailFast { max_fail, terminate })
    }

    #[test]
    fn scheduling_is_said_as_nextest_says_it() {
        let flags = run(&["--max-fail=2:immediate", "--retries=3", "--flaky-result=fail"]);
        assert_eq!(flags.max_fail(), Some(after(2, Terminate::Immediate)));
        assert_eq!((flags.retries, flags.flaky()), (Some(3), Some(FlakyPolicy::Fail)));
        assert_eq!(flags.stress(), None);
        assert_eq!(run(&["--max-fail=2:wait"]).max_fail(), Some(after(2, Terminate::Wait)));
        assert_eq!(run(&["--max-fail=all"]).max_fail(), Some(MaxFail::Never));
        assert_eq!(run(&["--stress-count=9"]).stress(), Some(Stress::Count(9)));
        assert_eq!(run(&["--stress-count=infinite"]).stress(), Some(Stress::Endless));
        let minute = Duration::from_secs(60);
        assert_eq!(run(&["--stress-duration", "1m"]).stress(), Some(Stress::For(minute)));
        assert_eq!(run(&["--resource-deltas"]).resources(), Resources::Count);
    }

    #[test]
    fn nonsense_is_refused() {
        for arguments in [
            &["-j", "0"][..],
            &["--timeout-scale", "nan"],
            &["--timeout-scale", "0"],
            &["--max-fail", "0"],
            &["--max-fail", "1:now"],
            &["--max-fail", ":wait"],
            &["--max-fail", "0:immediate"],
            &["--retries", "-1"],
            &["--flaky-result", "perhaps"],
            &["--stress-count", "0"],
            &["--stress-duration", "0s"],
            &["--stress-count", "1", "--stress-duration", "1s"],
            &["--capture", "fds"],
            &["--capture", "sys", "--no-capture"],
            &["--fail-fast", "--max-fail", "2"],
            &["--leak", "perhaps"],
        ] {
            let all = std::iter::once("runner").chain(arguments.iter().copied());
            assert!(Cli::try_parse_from(all).is_err(), "{arguments:?}");
        }
    }
}
