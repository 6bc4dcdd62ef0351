//! What can be wrong with a listing: all of it is found before the first case is made.

use std::collections::BTreeSet;

use super::Case;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::filter::GLOBAL_GROUP;
use crate::manifest::{Backend, Manifest, Suite};
use crate::protocol::{HarnessKind, Listing, Panics};
use crate::test::{Mark, MarkKind, Test};

/// The capability of backends whose actors share the process of the case.
const IN_PROCESS: &str = "in-process";

/// Names that nobody declared, names that are there twice, and no names at all.
pub(super) fn listing(
    manifest: &Manifest,
    suite: &Suite,
    listing: &Listing,
) -> Result<(), Diagnostics> {
    let mut errors = Diagnostics::default();
    // A library without unit tests is nothing to complain of.
    if listing.tests.is_empty() && listing.harness == HarnessKind::Own {
        errors.push(no_tests(suite));
    }
    if listing.panics == Panics::Abort {
        in_process(manifest, suite).for_each(|backend| errors.push(aborts(suite, backend)));
    }
    twice(listing, &mut errors);
    let mut checker = Checker { manifest, capabilities: manifest.capabilities(), errors };
    for module in &listing.modules {
        module.marks.iter().for_each(|mark| checker.mark(mark));
    }
    for test in &listing.tests {
        test.marks.iter().for_each(|mark| checker.mark(mark));
        checker.axes(test);
    }
    checker.errors.sort();
    checker.errors.into_result(())
}

/// Two tests can still meet in one id, through the names of backends and axis values.
pub(super) fn ids(cases: &[Case]) -> Result<(), Diagnostics> {
    let mut seen = BTreeSet::new();
    let mut errors = Diagnostics::default();
    for case in cases.iter().filter(|case| !seen.insert(case.id.as_str())) {
        let message = format!("two cases are called `{}`", case.id);
        errors.push(Diagnostic::new(message).at_line(&case.place));
    }
    errors.into_result(())
}

fn no_tests(suite: &Suite) -> Diagnostic {
    Diagnostic::new(format!("suite `{}` has no tests", suite.name)).at_line(&suite.place).hint(
        "a test target that names nothing of the library its tests are in is linked without them",
    )
}

/// The backends of a suite whose actors are in the process of the case.
fn in_process<'a>(manifest: &'a Manifest, suite: &'a Suite) -> impl Iterator<Item = &'a Backend> {
    let backends = manifest.backends.iter().filter(|it| suite.backends.contains(&it.name));
    backends.filter(|backend| backend.provides.contains(IN_PROCESS))
}

/// There a panic of one actor would end all of them and the case.
fn aborts(suite: &Suite, backend: &Backend) -> Diagnostic {
    let (suite, backend_name) = (&suite.name, &backend.name);
    Diagnostic::new(format!(
        "suite `{suite}` is built with `panic = \"abort\"`: on backend `{backend_name}`, which is \
         `{IN_PROCESS}`, a panic of one actor would end them all"
    ))
    .at_line(&backend.place)
    .hint("build it with `panic = \"unwind\"`, or take the backend out of the suite")
}

fn twice(listing: &Listing, errors: &mut Diagnostics) {
    let mut seen = BTreeSet::new();
    for test in listing.tests.iter().filter(|test| !seen.insert(test.name.as_str())) {
        let message = format!("two tests are called `{}`", test.name);
        errors.push(Diagnostic::new(message).at_line(&test.place));
    }
}

struct Checker<'a> {
    manifest: &'a Manifest,
    capabilities: BTreeSet<&'a str>,
    errors: Diagnostics,
}

impl Checker<'_> {
    fn mark(&mut self, mark: &Mark) {
        match &mark.kind {
            MarkKind::Needs(capabilities) => {
                capabilities.iter().for_each(|capability| self.capability(capability, mark));
            }
            MarkKind::SkipOnBackend { backends, .. }
            | MarkKind::XfailOnBackend { backends, .. } => {
                backends.iter().for_each(|backend| self.backend(backend, mark));
            }
            MarkKind::Group(group) => self.group(group, mark),
            MarkKind::Timeout(_) | MarkKind::Ignore { .. } => {}
        }
    }

    fn capability(&mut self, name: &str, mark: &Mark) {
        if !self.capabilities.contains(name) {
            let unknown = Diagnostic::new(format!("no backend provides `{name}`"));
            let known = self.capabilities.iter().copied();
            self.errors.push(unknown.at_line(&mark.place).suggest(name, known));
        }
    }

    fn backend(&mut self, name: &str, mark: &Mark) {
        if self.manifest.backend(name).is_none() {
            let unknown = Diagnostic::new(format!("no backend is called `{name}`"));
            let known = self.manifest.backend_names();
            self.errors.push(unknown.at_line(&mark.place).suggest(name, known));
        }
    }

    fn group(&mut self, name: &str, mark: &Mark) {
        let mut known = self.manifest.groups.iter().map(|group| group.name.as_str());
        if name != GLOBAL_GROUP && !known.clone().any(|group| group == name) {
            let message = format!("no `[test-groups.{name}]` says what this group's limit is");
            let unknown = Diagnostic::new(message).at_line(&mark.place);
            self.errors.push(unknown.suggest(name, known.by_ref()));
        }
    }

    fn axes(&mut self, test: &Test) {
        let known = self.manifest.axes.iter().map(|axis| axis.name.as_str());
        for axis in test.axes.iter().filter(|axis| !known.clone().any(|name| name == **axis)) {
            let unknown = Diagnostic::new(format!("no axis is called `{axis}`"));
            self.errors.push(unknown.at_line(&test.place).suggest(axis, known.clone()));
        }
    }
}
