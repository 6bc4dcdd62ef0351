//! A cargo workspace of one package whose tests know nothing of the runner, made once for all tests.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

const PACKAGE: &str = r#"
[workspace]
[package]
name = "plain"
version = "1.2.3"
edition = "2024"
autotests = false

[lib]
path = "lib.rs"

[[test]]
name = "behaviour"
path = "behaviour.rs"

[[test]]
name = "mimic"
path = "mimic.rs"
harness = false

[dev-dependencies]
libtest-mimic = "0.8"

[profile.dev]
debug = false
"#;

const LIBRARY: &str = r#"
#[cfg(test)]
mod tests {
    #[test]
    fn adds() {
        assert_eq!(1 + 1, 2);
    }

    #[test]
    fn tells_its_parent() {
        panic!("parent {}", std::os::unix::process::parent_id());
    }
}
"#;

const MANIFEST: &str = r#"
[backends.warm]
env = { MODE = "warm" }

[backends.cold]
env = { MODE = "cold" }

[suites.lib]
package = "plain"
lib = true

[suites.behaviour]
package = "plain"
test = "behaviour"

[suites.mimic]
package = "plain"
test = "mimic"

[profile.default]
slow-timeout = { period = "20s", terminate-after = 1, grace-period = "200ms" }

[[profile.default.overrides]]
filter = "test(hangs)"
slow-timeout = { period = "300ms", terminate-after = 1, grace-period = "100ms" }

[[profile.default.overrides]]
filter = "test(exits_with_77) and backend(cold)"
xfail-on-backend = { reason = "77 is expected here" }
"#;

/// The folder of the workspace.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plain");
        fs::create_dir_all(&folder).expect("a folder");
        let folder = folder.canonicalize().expect("made");
        for (name, text) in [
            ("Cargo.toml", PACKAGE),
            ("lib.rs", LIBRARY),
            ("behaviour.rs", include_str!("tests/behaviour.rs")),
            ("mimic.rs", include_str!("tests/mimic.rs")),
            ("runner.toml", MANIFEST),
            // The same versions as here: nothing has to be fetched.
            ("Cargo.lock", include_str!("../../../Cargo.lock")),
        ] {
            write(&folder.join(name), text);
        }
        folder
    })
}

/// What has not changed keeps its time, and is not built again.
fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|known| known == text) {
        return;
    }
    fs::write(path, text).expect("written");
}

/// The built runner in that workspace.
pub(crate) fn runner(arguments: &[&str]) -> Run {
    runner_with(arguments, &[])
}

pub(crate) fn runner_with(arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(arguments)
        .current_dir(folder())
        .env_remove("CI")
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_NET_OFFLINE", "true")
        .env("NEXTEST_TEST_NAME", "outer")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the runner starts");
    Run {
        code: output.status.code().expect("it exits"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Run {
    /// How each case ended: `WORD suite test::backend`.
    pub(crate) fn ends(&self) -> Vec<String> {
        let mut ends: Vec<String> = self.stdout.lines().filter_map(end).collect();
        ends.sort();
        ends
    }

    /// The file that the first line with such a beginning names.
    pub(crate) fn file(&self, beginning: &str) -> Vec<u8> {
        let mut lines = self.stdout.lines();
        let line = lines.find_map(|line| line.trim().strip_prefix(beginning));
        let name = line.unwrap_or_else(|| panic!("no {beginning}: {self}"));
        let path = folder().join(name.split(',').next().expect("a name"));
        let bytes = fs::read(&path).expect("it was written");
        // Floods would add up from run to run.
        fs::remove_file(path).expect("it was there");
        bytes
    }

    /// What the only case wrote.
    pub(crate) fn output(&self) -> Vec<u8> {
        self.file("output: ")
    }
}

impl fmt::Display for Run {
    /// Not all of a flood.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.stderr.lines().chain(self.stdout.lines()) {
            writeln!(f, "{line:.200}")?;
        }
        Ok(())
    }
}

/// `WORD suite test::backend` of a line `WORD [ 0.004s] (1/2) suite test::backend`.
fn end(line: &str) -> Option<String> {
    let (word, rest) = line.split_once('[')?;
    let (_, rest) = rest.split_once("s] (")?;
    let (_, name) = rest.split_once(") ")?;
    Some(format!("{} {name}", word.trim()))
}
