//! The line that runs one case again.
//!
//! Made for every attempt by `execute`; what stands before it (the program, the manifest, the
//! profile) is `session`'s.

use std::collections::BTreeSet;

use runner_core::expand::Case;
use runner_core::manifest::Manifest;

/// What must be known of all cases to name one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// Ids that cases of several suites have.
    shared: BTreeSet<String>,
    /// Suites and their binary ids.
    suites: Vec<(String, String)>,
}

impl Again {
    /// For the suites of a manifest, some of whose cases share ids.
    pub fn new(manifest: &Manifest, shared: BTreeSet<String>) -> Self {
        let suites = manifest.suites.iter().map(|it| (it.name.clone(), it.binary_id())).collect();
        Self { shared, suites }
    }

    /// The arguments of `runner` that repeat an attempt of this case that had this seed.
    pub fn arguments(&self, case: &Case, seed: u64) -> String {
        format!("--seed {seed} {}", self.selection(&case.suite, &case.id))
    }

    fn selection(&self, suite: &str, id: &str) -> String {
        let binary_id = self.suites.iter().find(|(name, _)| name == suite);
        match binary_id {
            Some((_, binary_id)) if self.shared.contains(id) => {
                let (binary, test) = (matcher(binary_id), matcher(id));
                format!("-E {}", quoted(&format!("binary_id(={binary}) & test(={test})")))
            }
            Some(_) | None if id.starts_with('-') => format!("-- {}", quoted(id)),
            Some(_) | None => quoted(id),
        }
    }
}

/// Ids that occur in more than one suite.
pub fn shared_ids<'a>(cases: impl Iterator<Item = &'a Case>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    cases.filter(|case| !seen.insert(case.id.as_str())).map(|case| case.id.clone()).collect()
}

/// As the filterset grammar reads it back.
fn matcher(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, '\\' | ')' | ',') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// As a shell reads it back.
pub fn quoted(text: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || ":_-./@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_safe) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_named_so_that_only_it_is_meant() {
        let again = Again {
            shared: ["a::b::fork".to_owned(), "odd (1, 2)".to_owned()].into(),
            suites: vec![("s".into(), "p::t".into())],
        };
        for (suite, id, expected) in [
            ("s", "a::c::fork", "a::c::fork"),
            ("s", "a::b::fork", "-E 'binary_id(=p::t) & test(=a::b::fork)'"),
            ("s", "odd (1, 2)", r"-E 'binary_id(=p::t) & test(=odd (1\, 2\))'"),
            ("s", "it's", r"'it'\''s'"),
            ("s", "--help", "-- --help"),
            ("gone", "a::b::fork", "a::b::fork"),
        ] {
            assert_eq!(again.selection(suite, id), expected);
        }
    }
}
