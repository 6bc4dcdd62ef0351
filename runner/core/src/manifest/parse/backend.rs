//! `[backends.NAME]`.

use std::collections::{BTreeMap, BTreeSet};

use super::check_variable;
use crate::manifest::read::{Located, Reader, Table, Value};
use crate::manifest::{ALL_BACKENDS, Backend, CaptureMode, Group, Presence, Requirement};

/// Keys whose time has not come.
const REFUSED_YET: [&str; 2] = ["build", "service"];

/// Reads one.
pub(super) fn backend(
    name: &Located<String>,
    table: Table<'_>,
    groups: &[Group],
) -> Option<Backend> {
    if name.value == ALL_BACKENDS {
        let message = "`all` is the word for every backend, not the name of one";
        table.reader().wrong(&name.span, message);
    }
    for key in REFUSED_YET {
        if let Some(value) = table.get(key) {
            value.reader().wrong(&value.span, format!("`{key}` cannot be done yet"));
        }
    }
    let provides = table.get("provides").and_then(|value| value.words()).unwrap_or_default();
    let group = table.get("group").and_then(|value| known_group(&value, groups));
    let backend = Backend {
        name: name.value.clone(),
        aliases: values(table.get("aliases").and_then(|value| value.words()).unwrap_or_default()),
        description: table
            .get("description")
            .and_then(|value| value.string())
            .map(|text| text.value)
            .unwrap_or_default(),
        env: environment(table.get("env")),
        provides: values(provides).into_iter().collect::<BTreeSet<_>>(),
        requires: requirements(table.get("requires")),
        presence: presence(table.get("optional")),
        capture: table
            .get("capture")
            .map_or_else(|| CaptureMode::ALL.to_vec(), |value| capture_modes(&value)),
        timeout_multiplier: table
            .get("timeout-multiplier")
            .and_then(|value| value.factor())
            .unwrap_or(1.0),
        group,
        place: table.place(),
    };
    table.close();
    Some(backend)
}

/// Names and aliases are one namespace, and each of them means one backend.
pub(super) fn check_names(root: &Table<'_>, backends: &[Backend]) {
    let mut owners: BTreeMap<String, String> =
        BTreeMap::from([(ALL_BACKENDS.to_owned(), "the word for every backend".to_owned())]);
    for backend in backends {
        let owner = format!("the name of the backend at {}", backend.place);
        owners.insert(backend.name.clone(), owner);
    }
    for alias in all_aliases(root) {
        alias.check_name(root.reader(), "a backend");
        match owners.get(&alias.value) {
            Some(owner) => root
                .reader()
                .wrong(&alias.span, format!("alias `{}` is already {owner}", alias.value)),
            None => {
                let owner = format!("an alias at {}", root.reader().place(&alias.span));
                owners.insert(alias.value, owner);
            }
        }
    }
}

/// Notes an error unless some backend answers to the word.
pub(super) fn check_known(reader: &Reader, word: &Located<String>, backends: &[Backend]) {
    if !backends.iter().any(|backend| backend.answers_to(&word.value)) {
        let known = backends.iter().flat_map(Backend::names);
        reader.typo(word, format!("no backend is called `{}`", word.value), known);
    }
}

/// The group, if it is declared.
pub(super) fn known_group(value: &Value<'_>, groups: &[Group]) -> Option<String> {
    let word = value.word()?;
    if groups.iter().any(|group| group.name == word.value) {
        return Some(word.value);
    }
    let message = format!("no `[test-groups.{}]` says what this group's limit is", word.value);
    value.reader().typo(&word, message, groups.iter().map(|group| group.name.as_str()));
    None
}

fn all_aliases(root: &Table<'_>) -> Vec<Located<String>> {
    let Some(backends) = root.get("backends") else { return Vec::new() };
    backends.quiet_lists("aliases")
}

fn environment(value: Option<Value<'_>>) -> BTreeMap<String, String> {
    let Some(value) = value else { return BTreeMap::new() };
    let Some(table) = value.table("`env`") else { return BTreeMap::new() };
    let mut environment = BTreeMap::new();
    for (name, value) in table.entries() {
        check_variable(value.reader(), &name);
        if let Some(text) = value.string() {
            environment.insert(name.value, text.value);
        }
    }
    environment
}

fn requirements(value: Option<Value<'_>>) -> Vec<Requirement> {
    let Some(value) = value else { return Vec::new() };
    let words = value.words().unwrap_or_default();
    words.iter().filter_map(|word| requirement(value.reader(), word)).collect()
}

fn requirement(reader: &Reader, word: &Located<String>) -> Option<Requirement> {
    let (kind, argument) = match word.value.split_once(':') {
        Some((kind, argument)) => (kind, Some(argument)),
        None => (word.value.as_str(), None),
    };
    match (kind, argument) {
        ("pidfd", None) => return Some(Requirement::Pidfd),
        ("userns", None) => return Some(Requirement::Userns),
        ("command", Some(name)) if !name.is_empty() => {
            return Some(Requirement::Command(name.to_owned()));
        }
        ("port", Some(number)) => match number.parse() {
            Ok(port) => return Some(Requirement::Port(port)),
            Err(_) => reader.wrong(&word.span, format!("`{number}` is no port")),
        },
        _ => reader.typo(
            word,
            format!("nobody knows how to probe for `{}`", word.value),
            ["pidfd", "userns", "command:NAME", "port:NUMBER"],
        ),
    }
    None
}

fn presence(value: Option<Value<'_>>) -> Presence {
    match value.and_then(|value| value.boolean()) {
        Some(true) => Presence::Optional,
        Some(false) | None => Presence::Required,
    }
}

fn capture_modes(value: &Value<'_>) -> Vec<CaptureMode> {
    let words = value.words().unwrap_or_default();
    words.iter().filter_map(|word| capture_mode(value.reader(), word)).collect()
}

fn capture_mode(reader: &Reader, word: &Located<String>) -> Option<CaptureMode> {
    let mode = CaptureMode::ALL.into_iter().find(|mode| mode.word() == word.value);
    if mode.is_none() {
        let known = CaptureMode::ALL.map(CaptureMode::word);
        reader.typo(word, format!("no capture mode is called `{}`", word.value), known);
    }
    mode
}

fn values(words: Vec<Located<String>>) -> Vec<String> {
    words.into_iter().map(|word| word.value).collect()
}
