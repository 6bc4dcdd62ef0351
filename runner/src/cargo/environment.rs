//! The environment cargo gives a test process, set for the package it belongs to.
//!
//! What a surrounding `cargo run`, `cargo test` or nextest left for this program is about this
//! program and its package: it is taken out first.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cargo_metadata::Package;

/// What a package's build made that its tests may want to find.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) out_dir: Option<PathBuf>,
    /// By the build script, for the compiler; cargo hands them to tests as well.
    pub(super) variables: Vec<(String, String)>,
    pub(super) binaries: BTreeMap<String, PathBuf>,
    /// By build scripts of the whole graph.
    pub(super) linked_paths: Vec<PathBuf>,
}

/// Where rustc keeps its libraries: being asked for, then known.
pub(super) struct Libraries<State> {
    state: State,
    target_dir: PathBuf,
}

impl Libraries<Option<Child>> {
    /// Asks in the background: the answer takes as long as a start of rustc.
    pub(super) fn ask() -> Self {
        let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let child = Command::new(program)
            .args(["--print", "target-libdir"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self { state: child.ok(), target_dir: PathBuf::new() }
    }

    /// No answer is no error: only what links std dynamically needs one.
    pub(super) fn wait(self, target_dir: &Path) -> Libraries<PathBuf> {
        let output = self.state.and_then(|child| child.wait_with_output().ok());
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let state = PathBuf::from(text.unwrap_or_default());
        Libraries { state, target_dir: target_dir.to_owned() }
    }
}

/// The whole environment of a package's test processes.
pub(super) fn of(
    package: &Package,
    made: &Made,
    executable: &Path,
    libraries: &Libraries<PathBuf>,
) -> Vec<(OsString, OsString)> {
    let mut variables: BTreeMap<OsString, OsString> =
        std::env::vars_os().filter(|(name, _)| !is_about_this_process(name)).collect();
    let mut set = |name: &str, value: &OsStr| {
        variables.insert(name.into(), value.to_owned());
    };
    for (name, value) in about_package(package) {
        set(name, value.as_ref());
    }
    for (name, value) in &made.variables {
        set(name, value.as_ref());
    }
    if let Some(out_dir) = &made.out_dir {
        set("OUT_DIR", out_dir.as_os_str());
    }
    for (name, path) in &made.binaries {
        set(&format!("CARGO_BIN_EXE_{name}"), path.as_os_str());
    }
    if let Some(path) = library_path(made, executable, libraries) {
        set(LIBRARY_PATH, &path);
    }
    variables.into_iter().collect()
}

/// Whether a variable tells a process about itself, by cargo, nextest or a runner around it.
pub(super) fn is_about_this_process(name: &OsStr) -> bool {
    const NAMES: [&str; 9] = [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_MANIFEST_LINKS",
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_TMPDIR",
        "OUT_DIR",
        runner_core::protocol::variable::BACKEND,
    ];
    const PREFIXES: [&str; 5] = ["CARGO_PKG_", "CARGO_BIN_EXE_", "NEXTEST", "RUNNER_", "__NEXTEST"];
    let Some(name) = name.to_str() else { return false };
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// `native=/some/where` without the kind of library that is there.
pub(super) fn without_kind(path: &str) -> PathBuf {
    const KINDS: [&str; 5] = ["native", "dependency", "crate", "framework", "all"];
    match path.split_once('=') {
        Some((kind, path)) if KINDS.contains(&kind) => path.into(),
        Some(_) | None => path.into(),
    }
}

const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

fn about_package(package: &Package) -> Vec<(&'static str, String)> {
    let root = package.manifest_path.parent().map(ToString::to_string).unwrap_or_default();
    let version = &package.version;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let path = |value: &Option<cargo_metadata::camino::Utf8PathBuf>| {
        value.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    vec![
        ("CARGO_MANIFEST_DIR", root),
        ("CARGO_MANIFEST_PATH", package.manifest_path.to_string()),
        ("CARGO_PKG_NAME", package.name.to_string()),
        ("CARGO_PKG_VERSION", version.to_string()),
        ("CARGO_PKG_VERSION_MAJOR", version.major.to_string()),
        ("CARGO_PKG_VERSION_MINOR", version.minor.to_string()),
        ("CARGO_PKG_VERSION_PATCH", version.patch.to_string()),
        ("CARGO_PKG_VERSION_PRE", version.pre.to_string()),
        ("CARGO_PKG_AUTHORS", package.authors.join(":")),
        ("CARGO_PKG_DESCRIPTION", text(&package.description)),
        ("CARGO_PKG_HOMEPAGE", text(&package.homepage)),
        ("CARGO_PKG_REPOSITORY", text(&package.repository)),
        ("CARGO_PKG_LICENSE", text(&package.license)),
        ("CARGO_PKG_LICENSE_FILE", path(&package.license_file)),
        ("CARGO_PKG_README", path(&package.readme)),
        (
            "CARGO_PKG_RUST_VERSION",
            package.rust_version.as_ref().map(ToString::to_string).unwrap_or_default(),
        ),
    ]
}

/// As cargo builds it: what build scripts link to below the target folder, `deps`, the profile's
/// folder, rustc's libraries; then what the user had, less what a cargo around us put there.
fn library_path(
    made: &Made,
    executable: &Path,
    libraries: &Libraries<PathBuf>,
) -> Option<OsString> {
    let deps = executable.parent();
    let profile = deps.and_then(Path::parent);
    let linked = made.linked_paths.iter().filter(|path| path.starts_with(&libraries.target_dir));
    let mut paths: Vec<PathBuf> = linked.cloned().collect();
    paths.extend(deps.into_iter().chain(profile).map(Path::to_owned));
    paths.push(libraries.state.clone());
    let inherited = std::env::var_os(LIBRARY_PATH).unwrap_or_default();
    paths.extend(
        std::env::split_paths(&inherited).filter(|path| !path.starts_with(&libraries.target_dir)),
    );
    let mut seen = std::collections::BTreeSet::new();
    paths.retain(|path| !path.as_os_str().is_empty() && seen.insert(path.clone()));
    // A path with a colon in it cannot be said; then the user's own is left alone.
    std::env::join_paths(paths).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_the_outer_process_is_told_from_what_is_the_users() {
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "RUNNER_ROLE", "NEXTEST", "OUT_DIR"] {
            assert!(is_about_this_process(name.as_ref()), "{name}");
        }
        for name in ["PATH", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_JOBS", "RUSTFLAGS"] {
            assert!(!is_about_this_process(name.as_ref()), "{name}");
        }
    }

    #[test]
    fn the_kind_of_a_linked_path_is_dropped() {
        assert_eq!(without_kind("native=/a/b"), PathBuf::from("/a/b"));
        assert_eq!(without_kind("/a=b"), PathBuf::from("/a=b"));
    }
}
