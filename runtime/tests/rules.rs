//! The tables in `docs` name tests of the suites: each of those exists, and every rule has one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_test_that_the_tables_name_exists() {
    let tests = tests_of_the_suites();
    for table in ["rules.md", "ported.md", "broken-on-purpose.md"] {
        for (number, line) in lines(table) {
            for named in named_tests(&line) {
                assert!(tests.contains(&named), "docs/{table}:{number}: there is no test {named}");
            }
        }
    }
}

#[test]
fn every_rule_has_a_test() {
    let rules = lines("rules.md").into_iter().filter(|(_, line)| is_row(line));
    let mut count = 0;
    for (number, line) in rules {
        assert!(!named_tests(&line).is_empty(), "docs/rules.md:{number} has no proof: {line}");
        count += 1;
    }
    assert!(count > 40, "{count} rules: the table has been misread");
}

/// A row of a table, not its head.
fn is_row(line: &str) -> bool {
    line.starts_with("| ") && !line.starts_with("| rule ")
}

fn lines(table: &str) -> Vec<(usize, String)> {
    let path = workspace().join("docs").join(table);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect()
}

/// All `area::test` in backquotes.
fn named_tests(line: &str) -> Vec<String> {
    let quoted = line.split('`').skip(1).step_by(2);
    let is_word = |word: &str| {
        !word.is_empty()
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    quoted
        .filter(|name| {
            name.split_once("::").is_some_and(|(area, test)| is_word(area) && is_word(test))
        })
        .map(str::to_owned)
        .collect()
}

fn tests_of_the_suites() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    let folder = workspace().join("suites/src");
    for entry in fs::read_dir(folder).expect("there are suites") {
        let path = entry.expect("it can be listed").path();
        let area = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let text = fs::read_to_string(&path).unwrap_or_default();
        tests.extend(tests_in(&text).into_iter().map(|test| format!("{area}::{test}")));
    }
    tests
}

/// The functions behind `#[runner::test]`, whatever other attributes they have.
fn tests_in(text: &str) -> Vec<&str> {
    let mut tests = Vec::new();
    let mut is_test = false;
    for line in text.lines() {
        if line == "#[runner::test]" {
            is_test = true;
        } else if is_test && !line.starts_with("#[") {
            is_test = false;
            let name = line.trim_start_matches("async ").trim_start_matches("fn ");
            tests.extend(name.split('(').next());
        }
    }
    tests
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
