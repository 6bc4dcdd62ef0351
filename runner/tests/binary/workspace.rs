//! A cargo workspace of one package, whose test target is a few lines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the suite binary answers when it is listed.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// `a::one` (skipped on `thread`) and `a::two`.
    Good,
    /// A test for each of some variables, named after its value.
    Environment,
    Garbage,
    Newer,
    Crash,
    /// A mark with a backend nobody has.
    Typo,
    /// No tests.
    Empty,
}

pub(crate) struct Workspace {
    folder: PathBuf,
}

pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

const MANIFEST: &str = r#"
[backends.fork]
provides = ["process"]

[backends.thread]
aliases = ["subint"]

[suites.fake]
package = "fake"
test = "fake"
"#;

const PACKAGE: &str = r#"
[workspace]
[package]
name = "fake"
version = "0.1.0"
edition = "2024"
autotests = false

[lib]
path = "lib.rs"

[[test]]
name = "fake"
path = "fake.rs"
harness = false

[profile.dev]
debug = false
"#;

/// Makes one; `name` must be this test's alone.
pub(crate) fn workspace(name: &str, answer: Answer) -> Workspace {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // What an earlier run left.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let folder = folder.canonicalize().expect("made");
    let workspace = Workspace { folder };
    workspace.write("Cargo.toml", PACKAGE);
    workspace.write("lib.rs", "");
    workspace.manifest(MANIFEST);
    workspace.source(&answer.source());
    workspace
}

impl Workspace {
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn manifest(&self, text: &str) {
        self.write("runner.toml", text);
    }

    pub(crate) fn source(&self, text: &str) {
        self.write("fake.rs", text);
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.folder.join(name)).expect("it was there");
    }

    pub(crate) fn record(&self, run: &str, events: &str) {
        let folder = format!("target/runner/runs/{run}");
        fs::create_dir_all(self.folder.join(&folder)).expect("a folder");
        self.write(&format!("{folder}/events.jsonl"), events);
    }

    pub(crate) fn runner(&self, arguments: &[&str]) -> Run {
        self.runner_with(arguments, &[])
    }

    /// In a workspace of its own and under what a test runner and a CI service leave around.
    pub(crate) fn runner_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_runner"))
            .args(arguments)
            .current_dir(&self.folder)
            .env_remove("CI")
            .env_remove("CARGO_TARGET_DIR")
            .env("NEXTEST_TEST_NAME", "outer")
            .env("RUNNER_MINE", "1")
            .env("CARGO_PKG_NAME", "around")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("the runner starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Run {
            code: output.status.code().expect("it exits"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("written");
    }
}

impl Answer {
    fn source(self) -> String {
        let body = match self {
            Self::Good => print(&listing(&two_tests("thread"))),
            Self::Typo => print(&listing(&two_tests("frok"))),
            Self::Empty => print(&listing("")),
            Self::Garbage => "println!(\"a::test: fest\");".to_owned(),
            Self::Newer => print(r#"{"protocol":4711}"#),
            Self::Crash => "panic!(\"while listing\");".to_owned(),
            Self::Environment => environment(),
        };
        format!("fn main() {{ {body} }}\n")
    }
}

fn print(line: &str) -> String {
    format!("println!(\"{{}}\", r#\"{line}\"#);")
}

fn listing(tests: &str) -> String {
    let protocol = runner_core::protocol::PROTOCOL_VERSION;
    format!(r#"{{"protocol":{protocol},"tests":[{tests}],"modules":[]}}"#)
}

fn two_tests(skipped_on: &str) -> String {
    let mark = format!(
        r#"{{"kind":{{"SkipOnBackend":{{"backends":["{skipped_on}"],"reason":"one address space"}}}},"place":{{"file":"src/a.rs","line":3}}}}"#
    );
    format!("{},{}", test("a::one", &mark), test("a::two", ""))
}

fn test(name: &str, marks: &str) -> String {
    format!(
        r#"{{"name":"{name}","module":"a","place":{{"file":"src/a.rs","line":1}},"axes":[],"marks":[{marks}]}}"#
    )
}

fn environment() -> String {
    let names = [
        "CARGO_MANIFEST_DIR",
        "CARGO_PKG_NAME",
        "RUNNER_ROLE",
        "NEXTEST_BINARY_ID",
        "NEXTEST_TEST_NAME",
        "RUNNER_MINE",
    ];
    let template = test("NAME", "");
    let whole = listing("TESTS");
    format!(
        r##"
        let mut found: Vec<String> = {names:?}.iter()
            .map(|name| format!("{{name}}={{}}", std::env::var(name).unwrap_or_default()))
            .collect();
        found.push(format!("PWD={{}}", std::env::current_dir().unwrap().display()));
        let tests: Vec<String> = found.iter()
            .map(|name| r#"{template}"#.replace("NAME", name))
            .collect();
        println!("{{}}", r#"{whole}"#.replace("TESTS", &tests.join(",")));
        "##
    )
}
