//! `[profile.NAME]` and its overrides: nextest's keys, with `default` and `ci` built in.
//!
//! A profile says only what differs; the rest it inherits, from `default` in the end. What both
//! built-in profiles say is in [`Profile::built_in`].

use std::sync::Arc;
use std::time::Duration;

use super::backend::{check_known, known_group};
use super::clocks::{SaidLeak, SaidSlow, leak_timeout, slow_timeout};
use super::schedule::{
    SaidFailFast, arguments, fail_fast, flaky_result, leak_allow, max_processes, priority, retries,
    threads_required,
};
use super::threads;
use crate::filter::{Filter, Position};
use crate::manifest::read::{Located, Reader, Table, Value};
use crate::manifest::{
    LeakTimeout, Manifest, Override, Profile, Retries, SlowTimeout, Threads, ThreadsRequired,
};
use crate::outcome::{FlakyPolicy, LeakPolicy, TimeoutPolicy};
use crate::protocol::MAX_PROCESSES;
use crate::test::{Mark, MarkKind};

/// The profile that all others inherit from in the end.
const ROOT_PROFILE: &str = "default";

/// nextest's keys that nothing here obeys yet.
const REFUSED: &[&str] = &[
    "archive",
    "bench",
    "failure-output",
    "final-status-level",
    "junit",
    "scripts",
    "status-level",
    "success-output",
];

/// The same, within an override.
const REFUSED_IN_OVERRIDE: &[&str] =
    &["bench", "default-filter", "failure-output", "junit", "platform", "success-output"];

/// What a profile of the file says itself.
struct Said {
    name: Located<String>,
    inherits: Option<Located<String>>,
    slow: Option<SaidSlow>,
    leak: Option<SaidLeak>,
    threads: Option<Threads>,
    fail_fast: Option<SaidFailFast>,
    global_timeout: Option<Duration>,
    default_filter: Option<Filter>,
    schedule: SaidSchedule,
    overrides: Vec<SaidOverride>,
}

/// What a profile says about all cases and an override about some.
#[derive(Clone)]
struct SaidSchedule {
    retries: Option<Retries>,
    flaky: Option<FlakyPolicy>,
    threads_required: Option<ThreadsRequired>,
    max_processes: Option<u32>,
    leak_allow: Option<Arc<[String]>>,
    extra_args: Option<Arc<[String]>>,
}

struct SaidOverride {
    filter: Filter,
    marks: Vec<Mark>,
    slow: Option<SaidSlow>,
    leak: Option<SaidLeak>,
    schedule: SaidSchedule,
    priority: Option<i8>,
}

/// Reads all profiles and fills in what they inherit.
pub(super) fn profiles(
    section: Option<Value<'_>>,
    reader: &Reader,
    manifest: &Manifest,
) -> Vec<Profile> {
    let mut said = Vec::new();
    if let Some(table) = section.and_then(|value| value.table("[profile]")) {
        for (name, value) in table.entries() {
            name.check_name(reader, "a profile");
            let title = format!("[profile.{}]", name.value);
            if let Some(table) = value.table_at(title, &name.span) {
                said.push(profile(name, table, manifest));
            }
        }
    }
    inherit(reader, &said)
}

fn profile(name: Located<String>, table: Table<'_>, manifest: &Manifest) -> Said {
    table.refuse(REFUSED);
    let title = format!("[[profile.{}.overrides]]", name.value);
    let overrides = table.get("overrides").and_then(|value| value.tables(&title));
    let said = Said {
        inherits: table.get("inherits").and_then(|value| value.word()),
        slow: table.get("slow-timeout").and_then(|value| slow_timeout(&value)),
        leak: table.get("leak-timeout").and_then(|value| leak_timeout(&value)),
        threads: table.get("test-threads").and_then(|value| threads(&value)),
        fail_fast: table.get("fail-fast").and_then(|value| fail_fast(&value)),
        global_timeout: table.get("global-timeout").and_then(|value| value.period()),
        schedule: SaidSchedule::read(&table),
        default_filter: table
            .get("default-filter")
            .and_then(|value| filter(&value, Position::DefaultFilter, manifest)),
        overrides: overrides
            .unwrap_or_default()
            .into_iter()
            .filter_map(|table| said_override(table, manifest))
            .collect(),
        name,
    };
    table.close();
    said
}

fn inherit(reader: &Reader, said: &[Said]) -> Vec<Profile> {
    let mut profiles = vec![Profile::built_in(ROOT_PROFILE), Profile::built_in("ci")];
    if let Some(root) = said.iter().find(|said| said.name.value == ROOT_PROFILE) {
        if let Some(inherits) = &root.inherits {
            reader.wrong(&inherits.span, "`default` inherits from nobody");
        }
        profiles[0] = root.over(&profiles[0]);
        profiles[1] = Profile { name: "ci".into(), ..profiles[0].clone() };
    }
    let mut waiting: Vec<&Said> =
        said.iter().filter(|said| said.name.value != ROOT_PROFILE).collect();
    // A name that stands in the file is not ready before its own turn.
    profiles.retain(|built_in| !waiting.iter().any(|said| said.name.value == built_in.name));
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|said| match profiles.iter().find(|known| known.name == said.parent()) {
            Some(parent) => {
                let profile = said.over(parent);
                profiles.push(profile);
                false
            }
            None => true,
        });
        if waiting.len() == before {
            waiting.iter().for_each(|said| orphan(reader, said, &profiles, &waiting));
            break;
        }
    }
    profiles
}

/// Says why a profile's parent was never found: it does not exist, or it is its own descendant.
fn orphan(reader: &Reader, said: &Said, known: &[Profile], waiting: &[&Said]) {
    let Some(inherits) = &said.inherits else { return };
    if waiting.iter().any(|other| other.name.value == inherits.value) {
        reader.wrong(&inherits.span, format!("`{}` inherits from itself", said.name.value));
    } else {
        let message = format!("no profile is called `{}`", inherits.value);
        reader.typo(inherits, message, known.iter().map(|profile| profile.name.as_str()));
    }
}

impl Profile {
    /// What `default` and `ci` say when the file says nothing about them: a deadline of one
    /// minute, a slow line every quarter of it, leaks fail, and no failure stops the run, because
    /// a matrix with holes cannot be read.
    pub fn built_in(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            slow: SlowTimeout {
                period: Duration::from_secs(15),
                deadline: Duration::from_secs(60),
                grace: Duration::from_secs(2),
                policy: TimeoutPolicy::Fail,
            },
            leak: LeakTimeout { period: Duration::from_millis(100), policy: LeakPolicy::Fail },
            threads: Threads::Cpus,
            fail_fast: None,
            global_timeout: None,
            retries: Retries::NONE,
            flaky: FlakyPolicy::Pass,
            threads_required: ThreadsRequired::Count(1),
            max_processes: MAX_PROCESSES,
            leak_allow: Arc::default(),
            extra_args: Arc::default(),
            default_filter: None,
            overrides: Vec::new(),
        }
    }
}

impl Said {
    fn parent(&self) -> &str {
        self.inherits.as_ref().map_or(ROOT_PROFILE, |inherits| inherits.value.as_str())
    }

    fn over(&self, parent: &Profile) -> Profile {
        let slow = self.slow.map_or(parent.slow, |said| said.over(parent.slow));
        let leak = self.leak.map_or(parent.leak, |said| said.over(parent.leak));
        let own = self.overrides.iter().map(|said| said.over(slow, leak));
        let SaidSchedule {
            retries,
            flaky,
            threads_required,
            max_processes,
            leak_allow,
            extra_args,
        } = self.schedule.clone();
        Profile {
            name: self.name.value.clone(),
            slow,
            leak,
            threads: self.threads.unwrap_or(parent.threads),
            fail_fast: self.fail_fast.map_or(parent.fail_fast, SaidFailFast::limit),
            global_timeout: self.global_timeout.or(parent.global_timeout),
            retries: retries.unwrap_or(parent.retries),
            flaky: flaky.unwrap_or(parent.flaky),
            threads_required: threads_required.unwrap_or(parent.threads_required),
            max_processes: max_processes.unwrap_or(parent.max_processes),
            leak_allow: leak_allow.unwrap_or_else(|| Arc::clone(&parent.leak_allow)),
            extra_args: extra_args.unwrap_or_else(|| Arc::clone(&parent.extra_args)),
            default_filter: self.default_filter.clone().or_else(|| parent.default_filter.clone()),
            overrides: own.chain(parent.overrides.iter().cloned()).collect(),
        }
    }
}

impl SaidSchedule {
    fn read(table: &Table<'_>) -> Self {
        Self {
            retries: table.get("retries").and_then(|value| retries(&value)),
            flaky: table.get("flaky-result").and_then(|value| flaky_result(&value)),
            threads_required: table
                .get("threads-required")
                .and_then(|value| threads_required(&value)),
            max_processes: table.get("max-processes").and_then(|value| max_processes(&value)),
            leak_allow: table.get("leak").and_then(|value| leak_allow(&value)),
            extra_args: table.get("run-extra-args").and_then(|value| arguments(&value)),
        }
    }
}

impl SaidOverride {
    fn over(&self, slow: SlowTimeout, leak: LeakTimeout) -> Override {
        let SaidSchedule {
            retries,
            flaky,
            threads_required,
            max_processes,
            leak_allow,
            extra_args,
        } = self.schedule.clone();
        Override {
            filter: self.filter.clone(),
            marks: self.marks.clone(),
            slow: self.slow.map(|said| said.over(slow)),
            leak: self.leak.map(|said| said.over(leak)),
            retries,
            flaky,
            threads_required,
            priority: self.priority,
            max_processes,
            leak_allow,
            extra_args,
        }
    }
}

fn filter(value: &Value<'_>, position: Position, manifest: &Manifest) -> Option<Filter> {
    let text = value.string()?;
    let errors = match Filter::parse(&text.value, position, &manifest.vocabulary()) {
        Ok(filter) => return Some(filter),
        Err(errors) => errors,
    };
    for error in errors {
        let source = value.reader().source();
        value.reader().note(match value.text_offset() {
            Some(offset) => error.into_diagnostic(source, offset),
            None => error.into_diagnostic_about(source, &text.span),
        });
    }
    None
}

fn said_override(table: Table<'_>, manifest: &Manifest) -> Option<SaidOverride> {
    table.refuse(REFUSED_IN_OVERRIDE);
    let filter =
        table.demand("filter").and_then(|value| filter(&value, Position::Override, manifest));
    let marks = marks(&table, manifest);
    let slow = table.get("slow-timeout").and_then(|value| slow_timeout(&value));
    let leak = table.get("leak-timeout").and_then(|value| leak_timeout(&value));
    let schedule = SaidSchedule::read(&table);
    let priority = table.get("priority").and_then(|value| priority(&value));
    table.close();
    Some(SaidOverride { filter: filter?, marks, slow, leak, schedule, priority })
}

fn marks(table: &Table<'_>, manifest: &Manifest) -> Vec<Mark> {
    let kinds: [(&'static str, MarkReader); 5] = [
        ("needs", needs),
        ("skip-on-backend", skip_on_backend),
        ("xfail-on-backend", xfail_on_backend),
        ("ignore", ignore),
        ("test-group", test_group),
    ];
    kinds
        .into_iter()
        .filter_map(|(key, read)| {
            let value = table.get(key)?;
            let place = value.reader().place(&value.span);
            Some(Mark { kind: read(&value, manifest)?, place })
        })
        .collect()
}

type MarkReader = fn(&Value<'_>, &Manifest) -> Option<MarkKind>;

fn needs(value: &Value<'_>, manifest: &Manifest) -> Option<MarkKind> {
    let words = value.some_words()?;
    let known = manifest.capabilities();
    for word in words.iter().filter(|word| !known.contains(word.value.as_str())) {
        let message = format!("no backend provides `{}`", word.value);
        value.reader().typo(word, message, known.iter().copied());
    }
    Some(MarkKind::Needs(words.into_iter().map(|word| word.value).collect()))
}

fn skip_on_backend(value: &Value<'_>, manifest: &Manifest) -> Option<MarkKind> {
    let table = value.table("`skip-on-backend`")?;
    let kind = MarkKind::SkipOnBackend {
        backends: marked_backends(&table, manifest),
        reason: reason(&table),
    };
    table.close();
    Some(kind)
}

fn xfail_on_backend(value: &Value<'_>, manifest: &Manifest) -> Option<MarkKind> {
    let table = value.table("`xfail-on-backend`")?;
    let kind = MarkKind::XfailOnBackend {
        backends: marked_backends(&table, manifest),
        reason: reason(&table),
        strict: table.get("strict").and_then(|value| value.boolean()).unwrap_or(false),
    };
    table.close();
    Some(kind)
}

fn ignore(value: &Value<'_>, _: &Manifest) -> Option<MarkKind> {
    let table = value.table("`ignore`")?;
    let kind = MarkKind::Ignore { reason: reason(&table) };
    table.close();
    Some(kind)
}

fn test_group(value: &Value<'_>, manifest: &Manifest) -> Option<MarkKind> {
    known_group(value, &manifest.groups).map(MarkKind::Group)
}

/// Those it names, or every one: then the filter alone says which.
fn marked_backends(table: &Table<'_>, manifest: &Manifest) -> Vec<String> {
    let named = table.get("backends").and_then(|value| value.some_words());
    let Some(words) = named else {
        return manifest.backends.iter().map(|backend| backend.name.clone()).collect();
    };
    for word in &words {
        check_known(table.reader(), word, &manifest.backends);
    }
    words.into_iter().map(|word| word.value).collect()
}

fn reason(table: &Table<'_>) -> Option<String> {
    table.get("reason").and_then(|value| value.word()).map(|reason| reason.value)
}
