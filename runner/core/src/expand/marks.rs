//! Which mark decides: function, then modules from the innermost outwards, then overrides.
//!
//! A mark *matches* a case if it has something to say about it: `needs` if the backend lacks one
//! of the capabilities, `skip_on_backend` and `xfail_on_backend` if they name the backend, the
//! others always. Kind by kind, the first match ends the search. So a `needs` of a function does
//! not lift the `needs` of its module, but its `timeout` replaces the module's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Plan;
use crate::manifest::{Backend, Manifest, Override};
use crate::outcome::Expectation;
use crate::protocol::Listing;
use crate::test::{Mark, MarkKind, Test};

/// Marks by module.
pub(super) struct Modules<'a> {
    marks: BTreeMap<&'a str, Vec<&'a Mark>>,
}

/// The marks on a test, nearest first.
pub(super) struct Layers<'a> {
    marks: Vec<(Layer, &'a Mark)>,
}

/// The same, asked about one backend.
pub(super) struct OnBackend<'a> {
    layers: &'a Layers<'a>,
    manifest: &'a Manifest,
    backend: &'a Backend,
}

/// Where a mark was written, which decides how it is quoted.
#[derive(Clone, Copy)]
enum Layer {
    Function,
    Module,
    Override,
}

impl<'a> Modules<'a> {
    pub(super) fn new(listing: &'a Listing) -> Self {
        let mut marks: BTreeMap<&str, Vec<&Mark>> = BTreeMap::new();
        for module in &listing.modules {
            marks.entry(&module.module).or_default().extend(&module.marks);
        }
        Self { marks }
    }

    /// Of the test's module and all around it, innermost first.
    pub(super) fn of(&self, test: &Test) -> Vec<&'a Mark> {
        let around = std::iter::successors(Some(test.module.as_str()), |module| match *module {
            "" => None,
            nested => Some(nested.rsplit_once("::").map_or("", |(outer, _)| outer)),
        });
        around.filter_map(|module| self.marks.get(module)).flatten().copied().collect()
    }
}

impl<'a> Layers<'a> {
    pub(super) fn new(
        function: &'a [Mark],
        modules: Vec<&'a Mark>,
        overrides: &[&'a Override],
    ) -> Self {
        let function = function.iter().map(|mark| (Layer::Function, mark));
        let modules = modules.into_iter().map(|mark| (Layer::Module, mark));
        let overrides = overrides.iter().flat_map(|rule| &rule.marks);
        let overrides = overrides.map(|mark| (Layer::Override, mark));
        Self { marks: function.chain(modules).chain(overrides).collect() }
    }

    pub(super) fn on(&'a self, manifest: &'a Manifest, backend: &'a Backend) -> OnBackend<'a> {
        OnBackend { layers: self, manifest, backend }
    }
}

impl OnBackend<'_> {
    /// What the marks make of the case; nothing if they let it run.
    pub(super) fn plan(&self) -> Option<Plan> {
        self.lacking().or_else(|| self.skipped()).or_else(|| self.ignored())
    }

    pub(super) fn expectation(&self) -> Expectation {
        let expected = self.first(|layer, mark| match &mark.kind {
            MarkKind::XfailOnBackend { backends, reason, strict } if self.is_among(backends) => {
                let reason = reason.clone().unwrap_or_else(|| self.quote(layer, mark));
                Some(Expectation::Fail { reason, strict: *strict })
            }
            MarkKind::XfailOnBackend { .. }
            | MarkKind::Needs(_)
            | MarkKind::SkipOnBackend { .. }
            | MarkKind::Timeout(_)
            | MarkKind::Group(_)
            | MarkKind::Ignore { .. } => None,
        });
        expected.unwrap_or(Expectation::Pass)
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.first(|_, mark| match mark.kind {
            MarkKind::Timeout(timeout) => Some(timeout),
            MarkKind::Needs(_)
            | MarkKind::SkipOnBackend { .. }
            | MarkKind::XfailOnBackend { .. }
            | MarkKind::Group(_)
            | MarkKind::Ignore { .. } => None,
        })
    }

    /// The group a mark names; `@global` takes a case out of its backend's group.
    pub(super) fn group(&self) -> Option<String> {
        self.first(|_, mark| match &mark.kind {
            MarkKind::Group(group) => Some(group.clone()),
            MarkKind::Needs(_)
            | MarkKind::SkipOnBackend { .. }
            | MarkKind::XfailOnBackend { .. }
            | MarkKind::Timeout(_)
            | MarkKind::Ignore { .. } => None,
        })
    }

    /// The kinds of the marks that apply to the case, whether or not they hold it back.
    pub(super) fn kinds(&self) -> BTreeSet<&'static str> {
        let applies = |mark: &Mark| match &mark.kind {
            MarkKind::SkipOnBackend { backends, .. }
            | MarkKind::XfailOnBackend { backends, .. } => self.is_among(backends),
            MarkKind::Needs(_)
            | MarkKind::Timeout(_)
            | MarkKind::Group(_)
            | MarkKind::Ignore { .. } => true,
        };
        let marks = self.layers.marks.iter().map(|(_, mark)| *mark);
        marks.filter(|mark| applies(mark)).map(|mark| word(&mark.kind)).collect()
    }

    fn lacking(&self) -> Option<Plan> {
        self.first(|_, mark| match &mark.kind {
            MarkKind::Needs(capabilities) => {
                let mut needed = capabilities.iter();
                let lacking = needed.find(|needed| !self.backend.provides.contains(*needed))?;
                let name = &self.backend.name;
                let reason = format!("needs `{lacking}`, which `{name}` does not provide");
                Some(Plan::Lacking { reason, place: mark.place.clone() })
            }
            MarkKind::SkipOnBackend { .. }
            | MarkKind::XfailOnBackend { .. }
            | MarkKind::Timeout(_)
            | MarkKind::Group(_)
            | MarkKind::Ignore { .. } => None,
        })
    }

    fn skipped(&self) -> Option<Plan> {
        self.first(|layer, mark| match &mark.kind {
            MarkKind::SkipOnBackend { backends, reason } if self.is_among(backends) => {
                let reason = reason.clone().unwrap_or_else(|| self.quote(layer, mark));
                Some(Plan::Skip { reason, place: mark.place.clone() })
            }
            MarkKind::SkipOnBackend { .. }
            | MarkKind::Needs(_)
            | MarkKind::XfailOnBackend { .. }
            | MarkKind::Timeout(_)
            | MarkKind::Group(_)
            | MarkKind::Ignore { .. } => None,
        })
    }

    fn ignored(&self) -> Option<Plan> {
        self.first(|layer, mark| match &mark.kind {
            MarkKind::Ignore { reason } => {
                let reason = reason.clone().unwrap_or_else(|| self.quote(layer, mark));
                Some(Plan::Ignored { reason, place: mark.place.clone() })
            }
            MarkKind::Needs(_)
            | MarkKind::SkipOnBackend { .. }
            | MarkKind::XfailOnBackend { .. }
            | MarkKind::Timeout(_)
            | MarkKind::Group(_) => None,
        })
    }

    fn first<T>(&self, matches: impl Fn(Layer, &Mark) -> Option<T>) -> Option<T> {
        self.layers.marks.iter().find_map(|(layer, mark)| matches(*layer, mark))
    }

    fn is_among(&self, names: &[String]) -> bool {
        let resolved = names.iter().filter_map(|name| self.manifest.backend(name));
        resolved.into_iter().any(|backend| backend.name == self.backend.name)
    }

    /// The mark as a person would look for it; said where it gives no reason.
    fn quote(&self, layer: Layer, mark: &Mark) -> String {
        let word = word(&mark.kind);
        let names = match &mark.kind {
            MarkKind::SkipOnBackend { backends, .. }
            | MarkKind::XfailOnBackend { backends, .. } => {
                backends.iter().map(|name| format!("{name:?}")).collect()
            }
            MarkKind::Needs(capabilities) => capabilities.clone(),
            MarkKind::Timeout(_) | MarkKind::Group(_) | MarkKind::Ignore { .. } => Vec::new(),
        };
        let call = if names.is_empty() {
            word.to_owned()
        } else {
            format!("{word}({})", names.join(", "))
        };
        match layer {
            Layer::Function => format!("`#[{call}]` at {}", mark.place),
            Layer::Module => format!("`marks! {{ {call} }}` at {}", mark.place),
            Layer::Override => format!("`{}` at {}", word.replace('_', "-"), mark.place),
        }
    }
}

/// The kind's word, as `mark()` knows it: one of [`crate::filter::MARKS`].
fn word(kind: &MarkKind) -> &'static str {
    match kind {
        MarkKind::Needs(_) => "needs",
        MarkKind::SkipOnBackend { .. } => "skip_on_backend",
        MarkKind::XfailOnBackend { .. } => "xfail_on_backend",
        MarkKind::Timeout(_) => "timeout",
        MarkKind::Group(_) => "group",
        MarkKind::Ignore { .. } => "ignore",
    }
}
