//! From a manifest to cases and the binaries they are in: build, list, expand.

use std::collections::BTreeSet;

use runner_core::diagnostic::{Diagnostic, Diagnostics};
use runner_core::expand::{Case, Options, expand, select};
use runner_core::manifest::{Manifest, Suite};
use runner_core::protocol::{HarnessKind, Listing};
use runner_core::test::{MarkKind, Test};

use crate::again::shared_ids;
use crate::cargo::{Built, Purpose, Workspace};
use crate::choice::Choice;
use crate::execute::{Harness, SuiteBinary};
use crate::exit::Failure;
use crate::list::{Cache, ListError, Listed, list};

/// What can be run, and what went wrong on the way to it.
pub struct Discovered {
    /// One for each suite that answered.
    pub binaries: Vec<SuiteBinary>,
    /// The selected cases of those, suite by suite.
    pub cases: Vec<Case>,
    /// Ids that cases of several suites have, selected or not.
    pub shared_ids: BTreeSet<String>,
    /// What kept suites out; the others run all the same.
    pub faults: Diagnostics,
}

impl Discovered {
    /// The harness of each suite that answered.
    pub fn harnesses(&self) -> Vec<(String, HarnessKind)> {
        let kind = |harness: &Harness| match harness {
            Harness::Own => HarnessKind::Own,
            Harness::Plain { .. } => HarnessKind::Plain,
        };
        self.binaries.iter().map(|it| (it.name.clone(), kind(&it.harness))).collect()
    }
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
            Ok((listed, of_suite)) => {
                cases.extend(of_suite);
                binaries.push(binary(built, listed));
            }
            Err(wrong) => faults.append(wrong),
        }
    }
    let shared_ids = shared_ids(cases.iter());
    let cases = select(manifest, choice.profile, cases, &choice.selection);
    Ok(Discovered { binaries, cases, shared_ids, faults })
}

fn expanded(
    manifest: &Manifest,
    choice: &Choice<'_>,
    options: &Options,
    suite: &Suite,
    built: &Built,
    listed: Result<Listed, ListError>,
) -> Result<(Listed, Vec<Case>), Diagnostics> {
    let listed = listed.map_err(|error| {
        let path = built.executable.display();
        Diagnostic::new(format!("suite `{}`: {path} {error}", suite.name))
    })?;
    let cases = expand(manifest, choice.profile, &suite.name, &listed.listing, options)?;
    Ok((listed, cases))
}

fn binary(built: Built, Listed { file, listing }: Listed) -> SuiteBinary {
    SuiteBinary {
        name: built.suite,
        file,
        path: built.executable,
        package_root: built.package_root,
        env: built.env,
        harness: harness(&listing),
    }
}

fn harness(listing: &Listing) -> Harness {
    let is_ignored =
        |test: &&Test| test.marks.iter().any(|mark| matches!(mark.kind, MarkKind::Ignore { .. }));
    match listing.harness {
        HarnessKind::Own => Harness::Own,
        HarnessKind::Plain => {
            let ignored = listing.tests.iter().filter(is_ignored);
            Harness::Plain { ignored: ignored.map(|test| test.name.clone()).collect() }
        }
    }
}
