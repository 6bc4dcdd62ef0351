//! What has to be built before anything can be measured: the runner and the suites it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::{BenchError, Result, Trying};
use crate::suite;

/// Where it is.
#[derive(Debug)]
pub(crate) struct Products {
    /// The release runner.
    pub(crate) runner: PathBuf,
    /// The test binary with the standard harness.
    pub(crate) plain: PathBuf,
    /// A folder for files of a run.
    pub(crate) scratch: PathBuf,
}

impl Products {
    /// Builds all of it, in release mode. cargo shows its progress.
    ///
    /// # Errors
    /// If something does not build, or cargo does not say where it is.
    pub(crate) fn build() -> Result<Self> {
        eprintln!("building the runner and its suites, release");
        let runner =
            executable("runner", &["build", "--release", "-p", "runner", "--bin", "runner"])?;
        let plain = executable(
            "plain",
            &suite::build_arguments(&["trivial", "line", "matrix", "flood", "plain"]),
        )?;
        let scratch = scratch(&runner)?;
        Ok(Self { runner, plain, scratch })
    }
}

/// A folder of our own in the target directory.
fn scratch(runner: &Path) -> Result<PathBuf> {
    let target = runner.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let folder = target.join("benches");
    fs::create_dir_all(&folder).trying(&format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Has cargo build something; where the executable of that name is.
fn executable(name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let what = format!("cargo {}", arguments.join(" "));
    let output = cargo()
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .trying(&what)?;
    if !output.status.success() {
        return Err(BenchError::new(what, output.status));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let found = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| {
            let ours = message["target"]["name"] == name;
            message["executable"].as_str().filter(|_| ours).map(PathBuf::from)
        });
    found.ok_or_else(|| BenchError::new(what, format!("it says of no executable `{name}`")))
}

/// cargo in the workspace, as from a shell: what the cargo that runs this program told it is of no
/// concern to another.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    outside_of_cargo(&mut command);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command
}

/// Takes from the environment what cargo gives to a program it runs, and what would change how
/// others behave.
pub(crate) fn outside_of_cargo(command: &mut Command) {
    let given =
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "NEXTEST", "RUNNER_"];
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if given.iter().any(|prefix| text.starts_with(prefix))
            || text == "LD_LIBRARY_PATH"
            || text == "CARGO"
        {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null());
}
