//! Figures of runs: our runner, cargo-nextest, and cargo itself; by the wall clock, but for a line
//! inside a case and the runner's memory.
//!
//! What a run costs whatever it runs (cargo, listing, the start) is measured by a run of one case,
//! and taken off.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{BenchError, Result, Trying};
use crate::figure::Unit;
use crate::products::{Products, cargo, outside_of_cargo};

/// Attempts at once, on both sides.
pub(crate) const SLOTS: usize = 2;

/// A run, of which one side of a figure is the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// The runner over so many cases minus over one, per case.
    RunnerPerCase(Selection),
    /// The runner over one case.
    RunnerOnce,
    /// As [`Run::RunnerPerCase`], over the tests of a binary with the standard harness.
    RunnerPerPlainCase,
    /// posix_spawn and wait of that binary for one of its tests, per test.
    SpawnPerPlainCase,
    /// As [`Run::RunnerPerCase`], by cargo-nextest.
    NextestPerCase(Target, Spawning),
    /// As [`Run::RunnerOnce`], by cargo-nextest.
    NextestOnce(Target, Spawning),
    /// cargo finds that there is nothing to build.
    Freshness,
    /// The runner over cases of known durations: the wall of what comes after listing.
    MatrixWall,
    /// The least that the last such run could have taken.
    MatrixBound,
    /// A line in a case of a suite.
    Line(LineSide),
    /// The runner over many cases that print and fail: its memory, in bytes.
    RunnerMemory,
}

/// Cases of the suite `trivial`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    Sync,
    Async,
}

/// A test target that a peer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Ours, which is its own harness.
    Trivial,
    /// The same with the standard harness.
    Plain,
}

/// How cargo-nextest starts a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spawning {
    /// Through itself: its default.
    Double,
    /// Directly, as `NEXTEST_DOUBLE_SPAWN=0` asks for.
    Single,
}

/// Ways of a line out of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineSide {
    /// `println!`, captured, into fresh memory.
    Println,
    /// The same, into memory that was used before.
    PrintlnAfterFlood,
    /// write(2) into a pipe.
    PipeWrite,
    /// A copy and an atomic add.
    Copy,
}

impl Run {
    /// Its samples.
    pub(crate) fn samples(self, products: &Products) -> Result<Vec<f64>> {
        let one = |sample: Result<f64>| sample.map(|sample| vec![sample]);
        match self {
            Self::RunnerPerCase(selection) => one(runner_per_case(products, selection)),
            Self::RunnerOnce => one(runner_once(products, Selection::Sync)),
            Self::RunnerPerPlainCase => one(runner_per_plain_case(products)),
            Self::SpawnPerPlainCase => one(spawn_per_plain_case(products)),
            Self::NextestPerCase(target, spawning) => {
                one(nextest_per_case(products, target, spawning))
            }
            Self::NextestOnce(target, spawning) => one(nextest_once(products, target, spawning)),
            Self::Freshness => one(freshness()),
            Self::MatrixWall => one(matrix_wall(products)),
            Self::MatrixBound => one(Ok(last_run(products)?.bound())),
            Self::Line(side) => line(products, side),
            Self::RunnerMemory => one(runner_memory(products)),
        }
    }

    /// What its samples are.
    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::RunnerMemory => Unit::Bytes,
            Self::RunnerPerCase(_)
            | Self::RunnerOnce
            | Self::RunnerPerPlainCase
            | Self::SpawnPerPlainCase
            | Self::NextestPerCase(..)
            | Self::NextestOnce(..)
            | Self::Freshness
            | Self::MatrixWall
            | Self::MatrixBound
            | Self::Line(_) => Unit::Seconds,
        }
    }

    /// Whether it needs cargo-nextest.
    pub(crate) fn is_of_nextest(self) -> bool {
        match self {
            Self::NextestPerCase(..) | Self::NextestOnce(..) => true,
            Self::RunnerPerCase(_)
            | Self::RunnerOnce
            | Self::RunnerPerPlainCase
            | Self::SpawnPerPlainCase
            | Self::Freshness
            | Self::MatrixWall
            | Self::MatrixBound
            | Self::Line(_)
            | Self::RunnerMemory => false,
        }
    }
}

impl Selection {
    fn module(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "asynchronous",
        }
    }
}

/// Cases of each selection.
pub(crate) const CASES: usize = 1000;

/// What the first case of a module is called in it.
const FIRST: &str = "h0::a::t0";

/// How cargo builds test targets of this package. The runner asks for them in the same way: nothing
/// is built twice.
pub(crate) fn build_arguments<'a>(targets: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["test", "--no-run", "--release", "-p", "benches"];
    arguments.extend(targets.iter().flat_map(|target| ["--test", target]));
    arguments
}

/// The wall of a build that has nothing to do.
fn freshness() -> Result<f64> {
    let mut command = cargo();
    command.args(build_arguments(&["trivial"]));
    wall(&mut command)
}

/// Our runner over all cases of a module.
fn runner_per_case(products: &Products, selection: Selection) -> Result<f64> {
    let module = selection.module();
    let filterset = format!("binary(=trivial) and test(/^{module}::/)");
    let all = wall(&mut runner(products, "sys", &filterset))?;
    let one = runner_once(products, selection)?;
    Ok(per_case(all, one))
}

/// Our runner over one case.
fn runner_once(products: &Products, selection: Selection) -> Result<f64> {
    wall(&mut runner(
        products,
        "sys",
        &format!("binary(=trivial) and test(={}::{FIRST})", selection.module()),
    ))
}

/// Our runner over all tests of the binary with the standard harness.
fn runner_per_plain_case(products: &Products) -> Result<f64> {
    let all = wall(&mut runner(products, "fd", "binary(=plain) and test(/^sync::/)"))?;
    let one = format!("binary(=plain) and test(=sync::{FIRST})");
    Ok(per_case(all, wall(&mut runner(products, "fd", &one))?))
}

/// What cargo and every runner give to a test: the dynamic linker looks there first.
fn library_path(products: &Products) -> Result<OsString> {
    let libraries = Command::new("rustc").args(["--print", "target-libdir"]).output();
    let libraries = libraries.trying("asking rustc for its libraries")?.stdout;
    let libraries = PathBuf::from(String::from_utf8_lossy(&libraries).trim());
    let folders = products.plain.ancestors().skip(1).take(2).map(Path::to_owned);
    std::env::join_paths(folders.chain([libraries])).trying("joining paths")
}

/// As many starts of that binary at once as there are slots, each waited for: std starts a program
/// by posix_spawn where nothing is to be done between fork and exec.
fn spawn_per_plain_case(products: &Products) -> Result<f64> {
    let name = format!("sync::{FIRST}");
    let library_path = library_path(products)?;
    let slot = || -> Result<()> {
        for _ in 0..CASES / SLOTS {
            let mut command = Command::new(&products.plain);
            command
                .env("LD_LIBRARY_PATH", &library_path)
                .args(["--exact", &name, "--nocapture"])
                .stdin(Stdio::null());
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            let status = status.trying("starting a plain test")?;
            if !status.success() {
                return Err(BenchError::new("a plain test", status));
            }
        }
        Ok(())
    };
    let started = Instant::now();
    thread::scope(|scope| {
        let slots = [(); SLOTS].map(|()| scope.spawn(slot));
        slots.into_iter().try_for_each(|slot| {
            slot.join().unwrap_or_else(|_| Err(BenchError::new("a slot", "it panicked")))
        })
    })?;
    Ok(started.elapsed().as_secs_f64() / (CASES / SLOTS * SLOTS) as f64)
}

fn runner(products: &Products, capture: &str, filterset: &str) -> Command {
    let mut command = Command::new(&products.runner);
    outside_of_cargo(&mut command);
    command
        .args([
            "run",
            "--release",
            "--manifest",
            concat!(env!("CARGO_MANIFEST_DIR"), "/runner.toml"),
        ])
        .args([
            "-j",
            &SLOTS.to_string(),
            "--capture",
            capture,
            "--spawn-backend",
            "none",
            "-E",
            filterset,
        ]);
    command
}

/// A run that knows how long its cases took before: the first one is made for that.
fn matrix_wall(products: &Products) -> Result<f64> {
    for _ in 0..2 {
        wall(&mut runner(products, "sys", "binary(=matrix)"))?;
    }
    Ok(last_run(products)?.wall)
}

/// Cases of the suite `flood`.
pub(crate) const FLOOD_CASES: usize = 10_000;

/// How often the runner's memory is looked at: it says the most that there was until then.
const MEMORY_LOOK: Duration = Duration::from_millis(2);

/// The most memory that the runner has had, of what is its own or mapped by it.
fn runner_memory(products: &Products) -> Result<f64> {
    let mut command = runner(products, "sys", "binary(=flood)");
    let what = "the runner over cases that print and fail";
    let mut process = command
        .args(["--no-fail-fast", "--retries", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .trying(what)?;
    let mut most = 0.0;
    while process.try_wait().trying(what)?.is_none() {
        most = most_resident(process.id()).unwrap_or(most);
        thread::sleep(MEMORY_LOOK);
    }
    match last_run(products)?.cases.len() {
        FLOOD_CASES => Ok(most),
        cases => Err(BenchError::new(what, format!("it recorded {cases} cases"))),
    }
}

/// `VmHWM` of a process that has not ended, in bytes (`proc_pid_status(5)`).
fn most_resident(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// What a recorded run of the matrix says of time.
struct Recorded {
    wall: f64,
    cases: Vec<f64>,
}

impl Recorded {
    /// No schedule is shorter than its longest case, nor than the slots' share of all.
    fn bound(&self) -> f64 {
        let longest = self.cases.iter().copied().fold(0.0, f64::max);
        longest.max(self.cases.iter().sum::<f64>() / SLOTS as f64)
    }
}

/// The last run that the runner recorded for this workspace.
fn last_run(products: &Products) -> Result<Recorded> {
    let runs = products.scratch.with_file_name("runner").join("runs");
    let what = format!("the last run in {}", runs.display());
    let mut folders: Vec<PathBuf> =
        fs::read_dir(&runs).trying(&what)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    let last = folders.pop().ok_or_else(|| BenchError::new(&what, "there is none"))?;
    let text = fs::read_to_string(last.join("events.jsonl")).trying(&what)?;
    let mut recorded = Recorded { wall: f64::NAN, cases: Vec::new() };
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).trying(&what)?;
        match event["event"].as_str() {
            Some("attempt-finished") => recorded.cases.push(seconds(&event["duration"])),
            Some("run-finished") => recorded.wall = seconds(&event["duration"]),
            Some(_) | None => {}
        }
    }
    Ok(recorded)
}

/// As a `Duration` is recorded.
fn seconds(duration: &Value) -> f64 {
    let of = |name: &str| duration[name].as_f64().unwrap_or(f64::NAN);
    of("secs") + of("nanos") * 1e-9
}

/// Whether cargo-nextest is installed.
pub(crate) fn has_nextest() -> bool {
    wall(cargo().args(["nextest", "--version"])).is_ok()
}

/// cargo-nextest over the same cases.
fn nextest_per_case(products: &Products, target: Target, spawning: Spawning) -> Result<f64> {
    let all = wall(&mut nextest(products, target, spawning, "test(/^sync::/)")?)?;
    let one = nextest_once(products, target, spawning)?;
    Ok(per_case(all, one))
}

/// cargo-nextest over one case.
fn nextest_once(products: &Products, target: Target, spawning: Spawning) -> Result<f64> {
    let filterset = match target {
        Target::Trivial => format!("test(=sync::{FIRST}::none)"),
        Target::Plain => format!("test(=sync::{FIRST})"),
    };
    wall(&mut nextest(products, target, spawning, &filterset)?)
}

/// With its defaults: no configuration of the workspace or the user.
fn nextest(
    products: &Products,
    target: Target,
    spawning: Spawning,
    filterset: &str,
) -> Result<Command> {
    let config = products.scratch.join("nextest.toml");
    fs::write(&config, "").trying("writing an empty nextest.toml")?;
    let name = match target {
        Target::Trivial => "trivial",
        Target::Plain => "plain",
    };
    let mut command = cargo();
    match spawning {
        Spawning::Double => {}
        Spawning::Single => drop(command.env("NEXTEST_DOUBLE_SPAWN", "0")),
    }
    command
        .args([
            "nextest",
            "run",
            "--release",
            "-p",
            "benches",
            "--test",
            name,
            "--user-config-file",
            "none",
        ])
        .arg("--config-file")
        .arg(config)
        .args(["-j", &SLOTS.to_string(), "--no-fail-fast", "--status-level", "none"])
        .args(["--final-status-level", "none", "-E", filterset]);
    Ok(command)
}

fn per_case(all: f64, one: f64) -> f64 {
    (all - one) / (CASES - 1) as f64
}

/// Seconds that a command takes; its output is kept for the case that it fails.
fn wall(command: &mut Command) -> Result<f64> {
    let what = format!("{command:?}");
    let started = Instant::now();
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().trying(&what)?;
    let took = started.elapsed().as_secs_f64();
    if output.status.success() {
        return Ok(took);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(3).collect();
    let why =
        format!("{}: {}", output.status, last.into_iter().rev().collect::<Vec<_>>().join(" | "));
    Err(BenchError::new(what, why))
}

/// Seconds per line of each batch, in a case of our runner that captures.
fn line(products: &Products, side: LineSide) -> Result<Vec<f64>> {
    let test = match side {
        LineSide::Println => "println",
        LineSide::PrintlnAfterFlood => "println_after_flood",
        LineSide::PipeWrite => "pipe_write",
        LineSide::Copy => "copy",
    };
    let answer = products.scratch.join("line.json");
    let what = format!("the answer of case {test}");
    let mut command = runner(products, "sys", &format!("binary(=line) and test(={test})"));
    wall(command.env("BENCHES_ANSWER", &answer))?;
    let text = fs::read(&answer).trying(&what)?;
    fs::remove_file(&answer).trying(&what)?;
    serde_json::from_slice(&text).trying(&what)
}
