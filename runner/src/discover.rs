//! From a manifest to cases and the binaries they are in: build, list, expand.

use std::fs::File;

use runner_core::diagnostic::{Diagnostic, Diagnostics};
use runner_core::expand::{Case, Options, expand, select};
use runner_core::manifest::{Manifest, Suite};

use crate::cargo::{Built, Purpose, Workspace};
use crate::choice::Choice;
use crate::execute::SuiteBinary;
use crate::exit::Failure;
use crate::list::{Cache, ListError, Listed, list};

/// What can be run, and what went wrong on the way to it.
pub struct Discovered {
    /// One for each suite that answered.
    pub binaries: Vec<SuiteBinary>,
    /// The selected cases of those, suite by suite.
    pub cases: Vec<Case>,
    /// What kept suites out; the others run all the same.
    pub faults: Diagnostics,
}

/// Builds all suites of the manifest, lists them and selects cases.
///
/// # Errors
/// Nothing could be built. A suite that cannot be listed is a fault, not an error.
pub fn discover(
    manifest: &Manifest,
    workspace: &Workspace,
    choice: &Choice<'_>,
    cargo_profile: Option<&str>,
) -> Result<Discovered, Failure> {
    let built = workspace
        .build(&manifest.suites, Purpose { profile: &choice.profile.name, cargo_profile })?;
    let listed = list(&built, &Cache::new(&workspace.state_dir()));
    let mut faults = Diagnostics::default();
    let mut binaries = Vec::new();
    let mut cases = Vec::new();
    for ((suite, built), listed) in manifest.suites.iter().zip(built).zip(listed) {
        match expanded(manifest, choice, &choice.options, suite, &built, listed) {
            Ok((file, of_suite)) => {
                cases.extend(of_suite);
                binaries.push(binary(built, file));
            }
            Err(wrong) => faults.append(wrong),
        }
    }
    let cases = select(manifest, choice.profile, cases, &choice.selection);
    Ok(Discovered { binaries, cases, faults })
}

fn expanded(
    manifest: &Manifest,
    choice: &Choice<'_>,
    options: &Options,
    suite: &Suite,
    built: &Built,
    listed: Result<Listed, ListError>,
) -> Result<(File, Vec<Case>), Diagnostics> {
    let listed = listed.map_err(|error| {
        let path = built.executable.display();
        Diagnostic::new(format!("suite `{}`: {path} {error}", suite.name))
    })?;
    let cases = expand(manifest, choice.profile, &suite.name, &listed.listing, options)?;
    Ok((listed.file, cases))
}

fn binary(built: Built, file: File) -> SuiteBinary {
    SuiteBinary {
        name: built.suite,
        file,
        path: built.executable,
        package_root: built.package_root,
        env: built.env,
    }
}
