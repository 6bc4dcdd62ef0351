//! Which of the cases a person asked for.

use super::{Case, Plan};
use crate::filter::{Filter, Subject};
use crate::manifest::{Backend, Manifest, Profile, Suite};

/// What was asked for. What says nothing asks for everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Plain words; a case is meant by any of them. One that is the whole name of a test or the
    /// whole id of a case means just that, any other means every id it is part of.
    pub words: Vec<String>,
    /// Expressions; a case is meant by any of them.
    pub filters: Vec<Filter>,
    /// Whether the profile's `default-filter` cuts the rest.
    pub default_filter: DefaultFilter,
    /// Which of the ignored and other tests.
    pub ignored: RunIgnored,
}

/// Whether the profile's `default-filter` cuts a selection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultFilter {
    /// It does.
    #[default]
    Apply,
    /// It does not.
    Ignore,
}

/// Which of the ignored and other tests to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunIgnored {
    /// Those that are not ignored.
    #[default]
    Default,
    /// Those that are.
    Only,
    /// Both.
    All,
}

/// The cases that are meant, in the order they came in, with ignored ones made to run where that
/// was asked for.
pub fn select(
    manifest: &Manifest,
    profile: &Profile,
    cases: Vec<Case>,
    selection: &Selection,
) -> Vec<Case> {
    let words: Vec<Word<'_>> = selection.words.iter().map(|word| Word::new(word, &cases)).collect();
    let default = match selection.default_filter {
        DefaultFilter::Apply => profile.default_filter.as_ref(),
        DefaultFilter::Ignore => None,
    };
    cases
        .into_iter()
        .filter(|case| words.is_empty() || words.iter().any(|word| word.means(case)))
        .filter(|case| {
            with_subject(manifest, profile, case, |subject| {
                let filters = &selection.filters;
                let is_meant = filters.is_empty() || filters.iter().any(|it| it.matches(subject));
                is_meant && default.is_none_or(|default| default.matches(subject))
            })
        })
        .filter_map(|case| selection.ignored.apply(case))
        .collect()
}

enum Word<'a> {
    Whole(&'a str),
    Part(&'a str),
}

impl<'a> Word<'a> {
    fn new(word: &'a str, cases: &[Case]) -> Self {
        if cases.iter().any(|case| case.id == word || case.test == word) {
            Self::Whole(word)
        } else {
            Self::Part(word)
        }
    }

    fn means(&self, case: &Case) -> bool {
        match self {
            Self::Whole(word) => case.id == *word || case.test == *word,
            Self::Part(word) => case.id.contains(word),
        }
    }
}

impl RunIgnored {
    fn apply(self, case: Case) -> Option<Case> {
        let is_ignored = matches!(case.plan, Plan::Ignored { .. });
        match (self, is_ignored) {
            (Self::Default, _) | (Self::All, false) => Some(case),
            (Self::Only, false) => None,
            (Self::Only | Self::All, true) => Some(Case { plan: Plan::Run, ..case }),
        }
    }
}

fn with_subject<T>(
    manifest: &Manifest,
    profile: &Profile,
    case: &Case,
    ask: impl FnOnce(&Subject<'_>) -> T,
) -> T {
    let suite = manifest.suite(&case.suite);
    let binary_id = suite.map(Suite::binary_id).unwrap_or_default();
    let names: Vec<&str> =
        manifest.backend(&case.backend).into_iter().flat_map(Backend::names).collect();
    ask(&Subject {
        test: &case.test,
        id: &case.id,
        binary: suite.map_or("", Suite::binary),
        binary_id: &binary_id,
        package: suite.map_or("", |suite| &suite.package),
        backend: &names,
        group: case.group.as_deref(),
        marks: &case.marks,
        default: profile.default_filter.as_ref(),
    })
}
