//! What nextest tells a test about its run, in the same variables: code that branches on them
//! finds what it looks for, whoever runs it.
//!
//! Pure. What holds for a binary is added to its environment where that is made (`cargo`), what
//! holds for one attempt where attempts of plain binaries are (`plain`). Every
//! variable that an outer nextest left was taken out before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The nextest whose variables these are.
const VERSION: &str = "0.9.143";

/// Whether a binary is listed or a test is run.
pub const PHASE: &str = "NEXTEST_TEST_PHASE";
/// A value of [`PHASE`].
pub const PHASE_LIST: &str = "list";
/// A value of [`PHASE`].
pub const PHASE_RUN: &str = "run";

/// The group of a test that has none.
const GLOBAL_GROUP: &str = "@global";

/// What all binaries of one invocation are told.
#[derive(Clone, Debug)]
pub struct Session {
    run: Uuid,
    profile: String,
    workspace_root: PathBuf,
}

/// What a test is told of the attempt it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptFacts<'a> {
    /// As the binary lists it.
    pub test: &'a str,
    /// Which try, from 1.
    pub attempt: u32,
    /// How many tries there may be.
    pub total_attempts: u32,
    /// The group, if the test has one.
    pub group: Option<&'a str>,
    /// Place among the slots, from 0.
    pub slot: u32,
    /// How many slots there are.
    pub slots: usize,
    /// The round of stress, from 1, and how many there will be if that is known; nothing where
    /// there is no stress.
    pub stress: Option<(u32, Option<u32>)>,
}

impl Session {
    /// Of a new run, under a profile of the manifest.
    pub fn new(profile: &str, workspace_root: &Path) -> Self {
        let (run, profile) = (Uuid::new_v4(), profile.to_owned());
        Self { run, profile, workspace_root: workspace_root.to_owned() }
    }

    /// Adds what every process of a binary is told, when it is listed and when it runs.
    pub fn with_binary(
        &self,
        env: Vec<(OsString, OsString)>,
        binary_id: &str,
    ) -> Vec<(OsString, OsString)> {
        let mut env: BTreeMap<OsString, OsString> = env.into_iter().collect();
        let copies = copies(&env);
        for (name, value) in [
            ("NEXTEST", "1"),
            ("NEXTEST_EXECUTION_MODE", "process-per-test"),
            ("NEXTEST_RUN_MODE", "test"),
            ("NEXTEST_PROFILE", &self.profile),
            ("NEXTEST_RUN_ID", &self.run.to_string()),
            ("NEXTEST_VERSION", VERSION),
            ("NEXTEST_REQUIRED_VERSION", "none"),
            ("NEXTEST_RECOMMENDED_VERSION", "none"),
            ("NEXTEST_BINARY_ID", binary_id),
        ] {
            env.insert(name.into(), value.into());
        }
        env.insert("NEXTEST_WORKSPACE_ROOT".into(), self.workspace_root.clone().into());
        env.extend(copies);
        env.into_iter().collect()
    }
}

/// The linker's variables and cargo's paths of binaries, which nextest also gives under names of
/// its own: the latter also in a form that a shell can spell.
fn copies(env: &BTreeMap<OsString, OsString>) -> Vec<(OsString, OsString)> {
    let mut copies = Vec::new();
    for (name, value) in env {
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("LD_") {
            copies.push((format!("NEXTEST_{name}").into(), value.clone()));
        }
        if let Some(binary) = name.strip_prefix("CARGO_BIN_EXE_") {
            copies.push((format!("NEXTEST_BIN_EXE_{binary}").into(), value.clone()));
            let spelt = binary.replace('-', "_");
            copies.push((format!("NEXTEST_BIN_EXE_{spelt}").into(), value.clone()));
        }
    }
    copies
}

/// What one attempt is told. `env` is its binary's: the id is made of what that says.
pub fn attempt(facts: &AttemptFacts<'_>, env: &[(OsString, OsString)]) -> Vec<(String, String)> {
    let AttemptFacts { test, attempt, total_attempts, group, slot, slots, stress } = *facts;
    let said = |name: &str| {
        let found = env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let nth = if attempt > 1 { format!("#{attempt}") } else { String::new() };
    // nextest counts rounds from 0.
    let current = stress.map(|(round, _)| round.saturating_sub(1).to_string());
    let stress_total = match stress {
        None => "none".to_owned(),
        Some((_, None)) => "unknown".to_owned(),
        Some((_, Some(total))) => total.to_string(),
    };
    let (run, binary) = (said("NEXTEST_RUN_ID"), said("NEXTEST_BINARY_ID"));
    let round = current.as_ref().map(|current| format!("@stress-{current}")).unwrap_or_default();
    let id = format!("{run}:{binary}{round}${test}{nth}");
    let stress_current = current.unwrap_or_else(|| "none".to_owned());
    [
        ("NEXTEST_TEST_NAME", test.to_owned()),
        ("NEXTEST_ATTEMPT", attempt.to_string()),
        ("NEXTEST_TOTAL_ATTEMPTS", total_attempts.to_string()),
        ("NEXTEST_ATTEMPT_ID", id),
        ("NEXTEST_STRESS_CURRENT", stress_current),
        ("NEXTEST_STRESS_TOTAL", stress_total),
        ("NEXTEST_TEST_GROUP", group.unwrap_or(GLOBAL_GROUP).to_owned()),
        ("NEXTEST_TEST_GROUP_SLOT", "none".to_owned()),
        ("NEXTEST_TEST_GLOBAL_SLOT", slot.to_string()),
        ("NEXTEST_TEST_THREADS", slots.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn value<'a>(env: &'a [(OsString, OsString)], name: &str) -> Option<&'a str> {
        env.iter().find(|(known, _)| known == name)?.1.to_str()
    }

    #[test]
    fn a_binary_is_told_what_it_is_and_where_others_are() {
        let session = Session::new("ci", Path::new("/w"));
        let before = [("LD_LIBRARY_PATH", "/w/deps"), ("CARGO_BIN_EXE_a-tool", "/w/a-tool")];
        let env = session.with_binary(environment(&before), "p::t");
        for (name, expected) in [
            ("NEXTEST", "1"),
            ("NEXTEST_EXECUTION_MODE", "process-per-test"),
            ("NEXTEST_PROFILE", "ci"),
            ("NEXTEST_BINARY_ID", "p::t"),
            ("NEXTEST_WORKSPACE_ROOT", "/w"),
            ("NEXTEST_LD_LIBRARY_PATH", "/w/deps"),
            ("NEXTEST_BIN_EXE_a-tool", "/w/a-tool"),
            ("NEXTEST_BIN_EXE_a_tool", "/w/a-tool"),
            ("CARGO_BIN_EXE_a-tool", "/w/a-tool"),
        ] {
            assert_eq!(value(&env, name), Some(expected), "{name}");
        }
        assert!(value(&env, "NEXTEST_RUN_ID").is_some_and(|id| Uuid::parse_str(id).is_ok()));
    }

    #[test]
    fn an_attempt_has_an_id_that_says_everything() {
        let env = environment(&[("NEXTEST_RUN_ID", "r"), ("NEXTEST_BINARY_ID", "p::t")]);
        let facts = AttemptFacts {
            test: "a::b",
            attempt: 1,
            total_attempts: 3,
            group: None,
            slot: 2,
            slots: 4,
            stress: None,
        };
        let told: BTreeMap<_, _> = attempt(&facts, &env).into_iter().collect();
        assert_eq!(told["NEXTEST_ATTEMPT_ID"], "r:p::t$a::b");
        assert_eq!(told["NEXTEST_TEST_GROUP"], "@global");
        assert_eq!(told["NEXTEST_TEST_GLOBAL_SLOT"], "2");
        let again = AttemptFacts { attempt: 2, group: Some("db"), ..facts };
        let told: BTreeMap<_, _> = attempt(&again, &env).into_iter().collect();
        assert_eq!(told["NEXTEST_ATTEMPT_ID"], "r:p::t$a::b#2");
        assert_eq!(told["NEXTEST_TEST_GROUP"], "db");
        assert_eq!(told["NEXTEST_STRESS_CURRENT"], "none");
        let stressed = AttemptFacts { stress: Some((3, Some(9))), ..again };
        let told: BTreeMap<_, _> = attempt(&stressed, &env).into_iter().collect();
        assert_eq!(told["NEXTEST_ATTEMPT_ID"], "r:p::t@stress-2$a::b#2");
        assert_eq!(told["NEXTEST_STRESS_CURRENT"], "2");
        assert_eq!(told["NEXTEST_STRESS_TOTAL"], "9");
        let endless = AttemptFacts { stress: Some((1, None)), ..stressed };
        let told: BTreeMap<_, _> = attempt(&endless, &env).into_iter().collect();
        assert_eq!(told["NEXTEST_STRESS_TOTAL"], "unknown");
    }
}
