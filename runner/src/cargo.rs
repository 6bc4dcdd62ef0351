//! cargo, asked what the workspace is and told to build the suites.
//!
//! cargo draws its own progress and diagnostics on stderr; only its messages about artifacts are
//! read here. What a test process finds in its environment is `environment`'s business.

mod environment;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cargo_metadata::{Artifact, BuildScript, Message, Metadata, Package, TargetKind};
use runner_core::diagnostic::{Diagnostic, Diagnostics};
use runner_core::manifest::{Suite, Target};
use runner_core::test::Place;

use crate::exit::{Exit, Failure};
use crate::nextest;

use environment::Libraries;

/// The workspace of a manifest.
pub struct Workspace {
    root: PathBuf,
    metadata: Metadata,
}

/// A suite's test binary.
#[derive(Debug)]
pub struct Built {
    /// The suite's name in the manifest.
    pub suite: String,
    /// The binary.
    pub executable: PathBuf,
    /// Working directory of its processes.
    pub package_root: PathBuf,
    /// The whole environment of its processes.
    pub env: Vec<(OsString, OsString)>,
    /// What its package says about its harness.
    pub harness: Declared,
    /// Where the suite is declared.
    pub place: Place,
}

/// What a package's `Cargo.toml` says about the harness of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// libtest, by saying nothing.
    Standard,
    /// `harness = false`.
    Custom,
}

/// What a build is for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// The profile of the manifest, as the built binaries are told.
    pub profile: &'a str,
    /// The profile of cargo to build with, if it is not the usual one.
    pub cargo_profile: Option<&'a str>,
}

impl Workspace {
    /// Asks `cargo metadata` about the workspace that a folder belongs to.
    ///
    /// # Errors
    /// cargo cannot be started or refuses; what it says is on stderr.
    pub fn load(root: &Path) -> Result<Self, Failure> {
        let failed = |why: String| {
            let message = format!("cargo metadata in {}: {why}", root.display());
            Failure::because(Exit::Metadata, message)
        };
        let output = cargo(root)
            .args(["metadata", "--no-deps", "--format-version=1"])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(output.status.to_string()));
        }
        let metadata = serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(format!("unreadable answer: {error}")))?;
        Ok(Self { root: root.to_owned(), metadata })
    }

    /// Where the runner keeps its own files.
    pub fn state_dir(&self) -> PathBuf {
        self.metadata.target_directory.as_std_path().join("runner")
    }

    /// Builds the suites, all with one call of cargo.
    ///
    /// # Errors
    /// A suite that names no package or test target of the workspace; a build that fails.
    pub fn build(&self, suites: &[Suite], purpose: Purpose<'_>) -> Result<Vec<Built>, Failure> {
        let packages = self.packages(suites)?;
        let libraries = Libraries::ask();
        let products = self.compile(suites, purpose.cargo_profile)?;
        let libraries = libraries.wait(self.metadata.target_directory.as_std_path());
        let session = nextest::Session::new(purpose.profile, &self.root);
        let built = suites.iter().zip(packages).map(|(suite, package)| {
            let mut built = products.suite(suite, package, &libraries)?;
            built.env = session.with_binary(built.env, &suite.binary_id());
            Ok(built)
        });
        built.collect()
    }

    fn packages(&self, suites: &[Suite]) -> Result<Vec<&Package>, Failure> {
        let mut errors = Diagnostics::default();
        let mut packages = Vec::new();
        for suite in suites {
            match self.package(suite) {
                Ok(package) => packages.push(package),
                Err(error) => errors.push(error),
            }
        }
        errors.into_result(packages).map_err(|errors| Failure::new(Exit::Setup, errors))
    }

    fn package(&self, suite: &Suite) -> Result<&Package, Diagnostic> {
        let packages = &self.metadata.packages;
        let Some(package) = packages.iter().find(|package| package.name == suite.package) else {
            let message = format!("the workspace has no package `{}`", suite.package);
            let known = packages.iter().map(|package| package.name.as_str());
            return Err(Diagnostic::new(message)
                .at_line(&suite.place)
                .suggest(&suite.package, known));
        };
        let known = targets_like(package, &suite.target);
        if known.contains(&suite.binary()) || (suite.target == Target::Lib && !known.is_empty()) {
            return Ok(package);
        }
        let (kind, name) = (suite.target.kind(), suite.binary());
        let message = format!("package `{}` has no {kind} target `{name}`", suite.package);
        Err(Diagnostic::new(message).at_line(&suite.place).suggest(name, known))
    }

    fn compile(&self, suites: &[Suite], profile: Option<&str>) -> Result<Products, Failure> {
        let failed =
            |why: String| Failure::because(Exit::Build, format!("cargo test --no-run: {why}"));
        let mut command = cargo(&self.root);
        command.args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
        for suite in suites {
            command.args(["--package", &suite.package]);
            match &suite.target {
                Target::Lib => command.arg("--lib"),
                Target::Test(name) => command.args(["--test", name]),
                Target::Bin(name) => command.args(["--bin", name]),
                Target::Example(name) => command.args(["--example", name]),
            };
        }
        if let Some(profile) = profile {
            command.args(["--profile", profile]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let products = Products::read(&mut child).map_err(|error| failed(error.to_string()));
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        if !status.success() {
            return Err(failed(status.to_string()));
        }
        products
    }
}

/// What cargo says it made.
#[derive(Default)]
struct Products {
    artifacts: Vec<Artifact>,
    scripts: Vec<BuildScript>,
}

impl Products {
    /// Reads to the end, whatever comes: cargo would block on a full pipe.
    fn read(child: &mut Child) -> std::io::Result<Self> {
        let mut products = Self::default();
        let Some(stdout) = child.stdout.take() else { return Ok(products) };
        for message in Message::parse_stream(BufReader::new(stdout)) {
            // cargo's messages grow: a kind this version does not know is none that is needed.
            #[expect(clippy::wildcard_enum_match_arm, reason = "not our enum, and non-exhaustive")]
            match message? {
                Message::CompilerArtifact(artifact) if artifact.executable.is_some() => {
                    products.artifacts.push(artifact);
                }
                Message::BuildScriptExecuted(script) => products.scripts.push(script),
                _ => {}
            }
        }
        Ok(products)
    }

    fn suite(
        &self,
        suite: &Suite,
        package: &Package,
        libraries: &Libraries<PathBuf>,
    ) -> Result<Built, Failure> {
        let made = self.artifacts.iter().find(|artifact| {
            artifact.package_id == package.id
                && is_like(&artifact.target, &suite.target)
                && (suite.target == Target::Lib || artifact.target.name == suite.binary())
                && artifact.profile.test
        });
        let Some(executable) = made.and_then(|artifact| artifact.executable.as_ref()) else {
            let message = format!("cargo built no executable for suite `{}`", suite.name);
            return Err(Failure::because(Exit::Build, message));
        };
        let executable = executable.clone().into_std_path_buf();
        let root = package.manifest_path.parent();
        Ok(Built {
            suite: suite.name.clone(),
            env: environment::of(package, &self.about(package), &executable, libraries),
            package_root: root.map(|root| root.as_std_path().to_owned()).unwrap_or_default(),
            executable,
            harness: declared(package.manifest_path.as_std_path(), &suite.target),
            place: suite.place.clone(),
        })
    }

    /// What a package's build made that its tests may want to find.
    fn about(&self, package: &Package) -> environment::Made {
        let script = self.scripts.iter().find(|script| script.package_id == package.id);
        let binaries = self.artifacts.iter().filter(|artifact| {
            artifact.package_id == package.id && artifact.target.is_bin() && !artifact.profile.test
        });
        environment::Made {
            out_dir: script.map(|script| script.out_dir.clone().into_std_path_buf()),
            variables: script.map(|script| script.env.clone()).unwrap_or_default(),
            binaries: binaries
                .filter_map(|artifact| {
                    let path = artifact.executable.clone()?.into_std_path_buf();
                    Some((artifact.target.name.clone(), path))
                })
                .collect::<BTreeMap<_, _>>(),
            linked_paths: self
                .scripts
                .iter()
                .flat_map(|script| &script.linked_paths)
                .map(|path| environment::without_kind(path.as_str()))
                .collect(),
        }
    }
}

/// The names of a package's targets of the same kind.
fn targets_like<'a>(package: &'a Package, target: &Target) -> Vec<&'a str> {
    let like = package.targets.iter().filter(|known| is_like(known, target));
    like.map(|target| target.name.as_str()).collect()
}

/// Every crate type of a library is a kind of its own for cargo.
fn is_like(known: &cargo_metadata::Target, target: &Target) -> bool {
    match target {
        Target::Test(_) => known.is_test(),
        Target::Bin(_) => known.is_bin(),
        Target::Example(_) => known.is_example(),
        Target::Lib => known.kind.iter().any(|kind| {
            const LIBRARIES: [TargetKind; 6] = [
                TargetKind::Lib,
                TargetKind::RLib,
                TargetKind::DyLib,
                TargetKind::CDyLib,
                TargetKind::StaticLib,
                TargetKind::ProcMacro,
            ];
            LIBRARIES.contains(kind)
        }),
    }
}

/// `cargo metadata` does not tell. A manifest that cannot be read says nothing.
fn declared(manifest: &Path, target: &Target) -> Declared {
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let section = manifest.get(target.kind());
    let is_custom =
        |table: &toml::Value| table.get("harness") == Some(&toml::Value::Boolean(false));
    let is_custom = match target {
        Target::Lib => section.is_some_and(is_custom),
        Target::Test(name) | Target::Bin(name) | Target::Example(name) => {
            let tables = section.and_then(toml::Value::as_array).into_iter().flatten();
            let mut named = tables
                .filter(|table| table.get("name").and_then(toml::Value::as_str) == Some(name));
            named.any(is_custom)
        }
    };
    if is_custom { Declared::Custom } else { Declared::Standard }
}

/// The cargo that started this program, else the one in `PATH`; without what it or a test runner
/// around it left in the environment for this program.
fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        if environment::is_about_this_process(&name) {
            command.env_remove(name);
        }
    }
    command
}
