//! From the text to a [`Manifest`], all errors collected.
//!
//! Sections are read in the order of what they refer to: backends before what names backends.

mod backend;
mod clocks;
mod profile;
mod schedule;

use std::path::PathBuf;
use std::sync::Arc;

use toml::de::DeTable;

use super::read::{Located, Reader, Table, Value};
use super::{ALL_BACKENDS, Axis, Backend, CaptureMode, Group, Manifest, Suite, Target, Threads};
use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::protocol::variable;

/// Tables of a nextest configuration that nothing here obeys yet.
const REFUSED: &[&str] = &["nextest-version", "experimental", "store", "scripts"];

/// Parses a manifest.
pub(super) fn manifest(path: PathBuf, source: &Arc<Source>) -> Result<Manifest, Diagnostics> {
    let (root, syntax_errors) = DeTable::parse_recoverable(&source.text);
    if !syntax_errors.is_empty() {
        return Err(syntax(source, &syntax_errors));
    }
    let reader = Reader::new(source);
    let manifest = sections(path, &reader, root.get_ref());
    reader.into_errors().into_result(manifest)
}

/// A text that is no TOML is not judged further: what is left of it means nothing.
fn syntax(source: &Arc<Source>, errors: &[toml::de::Error]) -> Diagnostics {
    let mut diagnostics = Diagnostics::default();
    for error in errors {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let diagnostic = Diagnostic::new(message);
        diagnostics.push(match error.span() {
            Some(span) => diagnostic.at_span(source, span),
            None => diagnostic,
        });
    }
    diagnostics
}

fn sections(path: PathBuf, reader: &Reader, root: &DeTable<'_>) -> Manifest {
    let root = Table::new(reader, "the manifest", 0..0, root);
    root.refuse(REFUSED);
    let groups: Vec<Group> = named(&root, "test-groups", "a group", group);
    let backends =
        named(&root, "backends", "a backend", |name, table| backend::backend(name, table, &groups));
    backend::check_names(&root, &backends);
    let axes = named(&root, "axes", "an axis", axis);
    let suites = named(&root, "suites", "a suite", |name, table| suite(name, table, &backends));
    let mut manifest = Manifest { path, backends, axes, suites, groups, profiles: Vec::new() };
    manifest.profiles = profile::profiles(root.get("profile"), reader, &manifest);
    check_not_empty(&root, &manifest);
    root.close();
    manifest
}

/// The entries of `[section.NAME]`, in the order of the file.
fn named<T>(
    root: &Table<'_>,
    section: &'static str,
    what: &str,
    read: impl Fn(&Located<String>, Table<'_>) -> Option<T>,
) -> Vec<T> {
    let Some(table) = root.get(section).and_then(|value| value.table(format!("[{section}]")))
    else {
        return Vec::new();
    };
    let entries = table.entries().into_iter();
    entries
        .filter_map(|(name, value)| {
            name.check_name(root.reader(), what);
            read(&name, value.table_at(format!("[{section}.{}]", name.value), &name.span)?)
        })
        .collect()
}

fn check_not_empty(root: &Table<'_>, manifest: &Manifest) {
    let whole = 0..0;
    if root.get("backends").is_none() {
        root.reader().note(
            Diagnostic::new("the manifest names no backend")
                .at_span(root.reader().source(), whole.clone())
                .hint("add a `[backends.NAME]`"),
        );
    }
    if root.get("suites").is_none() && manifest.suites.is_empty() {
        root.reader().note(
            Diagnostic::new("the manifest names no suite")
                .at_span(root.reader().source(), whole)
                .hint("add a `[suites.NAME]` with `package` and `test`, `lib` or `bin`"),
        );
    }
}

fn group(name: &Located<String>, table: Table<'_>) -> Option<Group> {
    let max_threads = table.demand("max-threads").and_then(|value| threads(&value));
    table.close();
    Some(Group { name: name.value.clone(), max_threads: max_threads? })
}

fn axis(name: &Located<String>, table: Table<'_>) -> Option<Axis> {
    let reader = table.reader();
    let values = table.demand("values").and_then(|value| value.some_words()).unwrap_or_default();
    for value in &values {
        value.check_name(reader, "an axis value");
    }
    let default = table.get("default").and_then(|value| value.word());
    if let Some(default) = &default
        && !values.iter().any(|value| value.value == default.value)
    {
        let message = format!("`{}` is none of the values", default.value);
        reader.typo(default, message, values.iter().map(|value| value.value.as_str()));
    }
    let env = table.get("env").and_then(|value| value.word());
    if let Some(env) = &env {
        check_variable(reader, env);
    }
    table.close();
    let values: Vec<String> = values.into_iter().map(|value| value.value).collect();
    Some(Axis {
        name: name.value.clone(),
        values,
        default: default.map(|default| default.value),
        env: env.map(|env| env.value),
    })
}

fn suite(name: &Located<String>, table: Table<'_>, backends: &[Backend]) -> Option<Suite> {
    let place = table.place();
    let package = table.demand("package").and_then(|value| value.word());
    let target = target(&table);
    let capture = table.get("capture").and_then(|value| suite_capture(&value));
    let backends = suite_backends(table.get("backends"), backends);
    table.close();
    Some(Suite {
        name: name.value.clone(),
        package: package?.value,
        target: target?,
        backends,
        capture,
        place,
    })
}

/// One of `test = "…"`, `lib = true`, `bin = "…"` and `example = "…"`.
fn target(table: &Table<'_>) -> Option<Target> {
    let named = |key, make: fn(String) -> Target| {
        let value = table.get(key)?;
        Some((value.span.clone(), value.word().map(|name| make(name.value))))
    };
    let library = || {
        let value = table.get("lib")?;
        match value.boolean() {
            Some(true) => Some((value.span.clone(), Some(Target::Lib))),
            Some(false) => None,
            None => Some((value.span.clone(), None)),
        }
    };
    let example = named("example", Target::Example);
    let targets = [named("test", Target::Test), library(), named("bin", Target::Bin), example];
    let mut targets = targets.into_iter().flatten();
    let Some((_, target)) = targets.next() else {
        table.demand("test");
        return None;
    };
    for (span, _) in targets {
        table.reader().wrong(&span, "a suite is one target: this is another");
    }
    target
}

/// In manifest order, whatever the order they were named in.
fn suite_backends(value: Option<Value<'_>>, backends: &[Backend]) -> Vec<String> {
    let everything = || backends.iter().map(|backend| backend.name.clone()).collect();
    let Some(value) = value else { return everything() };
    let Some(words) = value.some_words() else { return everything() };
    if words.iter().any(|word| word.value == ALL_BACKENDS) {
        return everything();
    }
    for word in &words {
        backend::check_known(value.reader(), word, backends);
    }
    let is_named = |backend: &&Backend| words.iter().any(|word| backend.answers_to(&word.value));
    backends.iter().filter(is_named).map(|backend| backend.name.clone()).collect()
}

fn suite_capture(value: &Value<'_>) -> Option<CaptureMode> {
    value.choice(&CaptureMode::ALL.map(|mode| (mode.word(), mode)))
}

/// `4`, `-1` (so many less than CPUs) or `"num-cpus"`, as nextest writes it.
fn threads(value: &Value<'_>) -> Option<Threads> {
    if value.is_string() {
        return value.choice(&[("num-cpus", Threads::Cpus)]);
    }
    let number = value.integer()?;
    let magnitude = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
    match number {
        0 => {
            value.reader().wrong(&value.span, "no threads run no tests");
            None
        }
        1.. => Some(Threads::Count(magnitude)),
        ..0 => Some(Threads::CpusLess(magnitude)),
    }
}

fn check_variable(reader: &Reader, name: &Located<String>) {
    let is_name = name.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.value.starts_with(|c: char| c.is_ascii_digit());
    if !is_name {
        reader.wrong(&name.span, format!("`{}` is no name for a variable", name.value));
    } else if name.value == variable::BACKEND || name.value.starts_with("RUNNER_") {
        reader.wrong(&name.span, format!("`{}` is set by the runner itself", name.value));
    }
}
