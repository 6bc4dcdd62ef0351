//! Recorded runs: `target/runner/runs/ID/events.jsonl` and the files beside it.
//!
//! The log is written line by line as things happen, so that what a killed runner had seen is
//! there; whoever reads it takes a torn end for what it is. Old runs are pruned before a new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use runner_core::event::{EVENT_VERSION, Event, Finished};
use serde::{Deserialize, Serialize};

use crate::durations::Durations;
use crate::history::History;

/// All runs of a workspace.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A run that is being recorded.
pub struct Log {
    /// The run's id, also the name of its folder.
    pub id: String,
    /// The run's folder.
    pub folder: PathBuf,
    file: File,
    path: PathBuf,
    started: Instant,
    /// Told once; the run goes on without its log.
    failure: Option<StoreError>,
}

/// A run that was recorded.
#[derive(Debug)]
pub struct Recording {
    /// The run's id.
    pub id: String,
    /// The run's folder.
    pub folder: PathBuf,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What is missing, if something is: a line that is no event, or the end.
    pub torn: Option<StoreError>,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Runs older than this go.
    pub age: Duration,
    /// The oldest go until so many bytes are left.
    pub bytes: u64,
    /// The oldest go until so many are left.
    pub runs: usize,
}

/// What is wrong with a recorded run; always names the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is nothing to read.
    #[error("no recorded run in {}", root.display())]
    NoRun {
        /// Where runs would be.
        root: PathBuf,
    },
    /// Another runner's events.
    #[error(
        "{} was recorded by another version of the runner (events of version {theirs}, this one reads {EVENT_VERSION})",
        path.display()
    )]
    Version {
        /// The log.
        path: PathBuf,
        /// What it says.
        theirs: u64,
    },
    /// A line that is no event.
    #[error("{}:{line} is no event: {source}", path.display())]
    Garbage {
        /// The log.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The log stops before the run did.
    #[error("{} stops before the end of its run", path.display())]
    Unfinished {
        /// The log.
        path: PathBuf,
    },
}

/// A month, a quarter of a gibibyte, a hundred runs.
pub const KEEP: Keep =
    Keep { age: Duration::from_secs(30 * 24 * 60 * 60), bytes: 256 << 20, runs: 100 };

const LOG_NAME: &str = "events.jsonl";

/// So many of the last runs are history …
const HISTORY_RUNS: usize = 50;

/// … and no more once so many bytes were read.
const HISTORY_BYTES: u64 = 128 << 20;

/// So many of the last runs are asked how long cases took: not each runs every case …
const DURATION_RUNS: usize = 8;

/// … and no more once so many bytes were read: a run waits for that.
const DURATION_BYTES: usize = 16 << 20;

/// A run that was touched so recently may still be going on beside us.
const FRESH: Duration = Duration::from_secs(60 * 60);

/// One line of the log.
#[derive(Serialize, Deserialize)]
struct Line<E> {
    /// Seconds since the log was opened.
    at: f64,
    #[serde(flatten)]
    event: E,
}

impl Recording {
    /// Every attempt that came to its end, in that order.
    pub fn attempts(&self) -> impl Iterator<Item = &Finished> {
        self.events.iter().filter_map(|event| {
            let Event::AttemptFinished(finished) = event else { return None };
            Some(finished.as_ref())
        })
    }
}

/// What of a log's lines says how long cases took.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Timed {
    AttemptFinished { case: TimedCase, outcome: TimedOutcome, duration: Duration },
}

#[derive(Deserialize)]
struct TimedCase {
    suite: String,
    id: String,
}

#[derive(Deserialize)]
struct TimedOutcome {
    outcome: String,
}

impl TimedOutcome {
    /// Whether the attempt came to an end of its own or to its deadline.
    fn tells_duration(&self) -> bool {
        !matches!(self.outcome.as_str(), "interrupted" | "runner-fault" | "setup-error")
    }
}

impl Store {
    /// The runs below the runner's folder in the target folder.
    pub fn new(state_dir: &Path) -> Self {
        Self { root: state_dir.join("runs") }
    }

    /// Makes the folder of a new run and opens its log.
    ///
    /// # Errors
    /// The file system says no.
    pub fn create(&self) -> Result<Log, StoreError> {
        let id = new_id(SystemTime::now());
        let folder = self.root.join(&id);
        fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
        let path = folder.join(LOG_NAME);
        let file = File::create_new(&path).map_err(io_error("make", &path))?;
        Ok(Log { id, folder, file, path, started: Instant::now(), failure: None })
    }

    /// Reads a run by its id, or the last one.
    ///
    /// # Errors
    /// There is none, it cannot be read, or it is of another version.
    pub fn read(&self, id: Option<&str>) -> Result<Recording, StoreError> {
        let id = match id {
            Some(id) => id.to_owned(),
            None => self.last()?.ok_or_else(|| StoreError::NoRun { root: self.root.clone() })?,
        };
        let folder = self.root.join(&id);
        let path = folder.join(LOG_NAME);
        let text = fs::read(&path).map_err(io_error("read", &path))?;
        let (events, torn) = parse(&path, &text)?;
        Ok(Recording { id, folder, events, torn })
    }

    /// What became of cases in the last runs, and how many runs could not be read.
    ///
    /// # Errors
    /// The folder of runs cannot be read.
    pub fn history(&self) -> Result<(History, usize), StoreError> {
        let mut history = History::default();
        let (mut unread, mut bytes) = (0, 0);
        for run in self.runs()?.iter().rev().take(HISTORY_RUNS) {
            match self.read(Some(run)) {
                Ok(recording) => history.add(run, recording.attempts()),
                Err(_) => unread += 1,
            }
            bytes += fs::metadata(self.root.join(run).join(LOG_NAME)).map_or(0, |it| it.len());
            if bytes > HISTORY_BYTES {
                break;
            }
        }
        Ok((history, unread))
    }

    /// How long cases took in the last runs. A run that cannot be read tells nothing, and is
    /// nobody's error: durations only make a run shorter.
    pub fn durations(&self) -> Durations {
        let mut durations = Durations::default();
        let Ok(runs) = self.runs() else {
            return durations;
        };
        let mut bytes = 0;
        for run in runs.iter().rev().take(DURATION_RUNS) {
            let Ok(text) = fs::read(self.root.join(run).join(LOG_NAME)) else { continue };
            bytes += text.len();
            durations.add_older(durations_of(&text));
            if bytes > DURATION_BYTES {
                break;
            }
        }
        durations
    }

    /// Removes what is too old or too much. The newest run and those that may be going on stay.
    ///
    /// # Errors
    /// The first thing that could not be removed; the rest was tried.
    pub fn prune(&self, keep: Keep, now: SystemTime) -> Result<(), StoreError> {
        let mut runs = self.runs()?;
        // By name is by time: newest first from here.
        runs.reverse();
        let mut bytes = 0;
        let mut failure = Ok(());
        for (index, run) in runs.iter().enumerate() {
            let folder = self.root.join(run);
            let age = age_of(&folder, now);
            bytes += size_of(&folder);
            let is_spared = index == 0 || age < FRESH;
            let is_too_much = age > keep.age || bytes > keep.bytes || index >= keep.runs;
            if is_too_much && !is_spared {
                let removed = fs::remove_dir_all(&folder).map_err(io_error("remove", &folder));
                failure = failure.and(removed);
            }
        }
        failure
    }

    fn last(&self) -> Result<Option<String>, StoreError> {
        let mut runs = self.runs()?;
        runs.retain(|run| self.root.join(run).join(LOG_NAME).is_file());
        Ok(runs.pop())
    }

    /// Ids, oldest first.
    fn runs(&self) -> Result<Vec<String>, StoreError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("read", &self.root)(error)),
        };
        let mut runs: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| self.root.join(name).is_dir())
            .collect();
        runs.sort();
        Ok(runs)
    }
}

impl Log {
    /// Records one event. A log that cannot be written does not end the run: see [`Log::close`].
    pub fn write(&mut self, event: &Event) {
        if matches!(event, Event::Tick | Event::StatusAsked) || self.failure.is_some() {
            return;
        }
        if let Err(source) = self.try_write(event) {
            let path = self.path.clone();
            self.failure = Some(StoreError::Io { action: "write", path, source });
        }
    }

    /// Ends the log.
    ///
    /// # Errors
    /// The first thing that could not be written.
    pub fn close(self) -> Result<(), StoreError> {
        self.failure.map_or(Ok(()), Err)
    }

    /// Whole lines by one call each: a reader beside us, or after our death, sees no half events
    /// but at most the last.
    fn try_write(&mut self, event: &Event) -> io::Result<()> {
        let line = Line { at: self.started.elapsed().as_secs_f64(), event };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }
}

/// Only lines that may matter are parsed, and of these only what matters.
fn durations_of(text: &[u8]) -> Durations {
    let mut durations = Durations::default();
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(Timed::AttemptFinished { case, outcome, duration }) = serde_json::from_slice(line)
        else {
            continue;
        };
        if outcome.tells_duration() {
            durations.note(&case.suite, &case.id, duration);
        }
    }
    durations
}

fn parse(path: &Path, text: &[u8]) -> Result<(Vec<Event>, Option<StoreError>), StoreError> {
    let mut events = Vec::new();
    let mut garbage = None;
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let parsed = if index == 0 { check_version(path, line) } else { Ok(()) };
        parsed?;
        match serde_json::from_slice::<Line<Event>>(line) {
            Ok(line) => events.push(line.event),
            // What comes after it is no worse for it.
            Err(source) => {
                garbage.get_or_insert((index + 1, source));
            }
        }
    }
    let path = path.to_owned();
    let torn = match (garbage, events.last()) {
        (Some((line, source)), _) => Some(StoreError::Garbage { path, line, source }),
        (None, Some(Event::RunFinished { .. })) => None,
        (None, Some(_) | None) => Some(StoreError::Unfinished { path }),
    };
    Ok((events, torn))
}

/// Looked at before anything else is: events of another version need not have our shape.
fn check_version(path: &Path, line: &[u8]) -> Result<(), StoreError> {
    let value: serde_json::Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        // The caller says what is wrong with the line.
        Err(_) => return Ok(()),
    };
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(theirs) if theirs != u64::from(EVENT_VERSION) => {
            Err(StoreError::Version { path: path.to_owned(), theirs })
        }
        Some(_) | None => Ok(()),
    }
}

/// Sorts by time, reads as a time, and is a name on every file system.
fn new_id(now: SystemTime) -> String {
    let time = humantime::format_rfc3339_millis(now).to_string().replace([':', '.'], "-");
    let unique = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}", time.trim_end_matches('Z'), &unique[..6])
}

fn age_of(folder: &Path, now: SystemTime) -> Duration {
    let modified = fs::metadata(folder.join(LOG_NAME))
        .or_else(|_| fs::metadata(folder))
        .and_then(|metadata| metadata.modified());
    modified.ok().and_then(|time| now.duration_since(time).ok()).unwrap_or_default()
}

/// Of the files right in it: a run has no other.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::new(folder.path());
        (folder, store)
    }

    fn started() -> Event {
        Event::RunStarted {
            version: EVENT_VERSION,
            run: "x".into(),
            profile: "default".into(),
            backends: vec!["fork".into()],
            suites: 1,
            to_run: 1,
            slots: 1,
            seed: u64::MAX,
            stress: None,
        }
    }

    fn finished() -> Event {
        let duration = Duration::from_millis(1);
        Event::RunFinished { duration, backends: Vec::new(), not_started: 0, exit_code: 0 }
    }

    fn record(store: &Store, events: &[Event]) -> PathBuf {
        let mut log = store.create().expect("a new run");
        events.iter().for_each(|event| log.write(event));
        let path = log.folder.join(LOG_NAME);
        log.close().expect("written");
        path
    }

    fn append(path: &Path, text: &str) {
        let mut file = File::options().append(true).open(path).expect("there");
        file.write_all(text.as_bytes()).expect("written");
    }

    #[test]
    fn what_was_written_is_read_and_ticks_are_not_written() {
        let (_folder, store) = store();
        record(&store, &[started(), Event::Tick, finished()]);
        let recording = store.read(None).expect("a run");
        assert_eq!(recording.events, [started(), finished()]);
        assert!(recording.torn.is_none());
    }

    #[test]
    fn a_torn_log_gives_what_is_there_and_says_where_it_stops() {
        let (_folder, store) = store();
        let path = record(&store, &[started()]);
        let torn = store.read(None).expect("a run").torn.expect("no end").to_string();
        assert!(torn.ends_with("events.jsonl stops before the end of its run"), "{torn}");
        append(&path, "{\"at\":1.0,\"event\":\"attempt-fin");
        let recording = store.read(None).expect("a run");
        assert_eq!(recording.events, [started()]);
        let torn = recording.torn.expect("half a line").to_string();
        assert!(torn.contains("events.jsonl:2 is no event"), "{torn}");
    }

    #[test]
    fn garbage_in_the_middle_costs_its_own_line_only() {
        let (_folder, store) = store();
        let path = record(&store, &[started()]);
        append(&path, "\0\0\0 not an event\n");
        let mut line = serde_json::to_string(&Line { at: 1.0, event: finished() }).expect("JSON");
        line.push('\n');
        append(&path, &line);
        let recording = store.read(None).expect("a run");
        assert_eq!(recording.events, [started(), finished()]);
        let torn = recording.torn.expect("a bad line").to_string();
        assert!(torn.contains("events.jsonl:2 is no event"), "{torn}");
    }

    #[test]
    fn durations_are_those_of_the_last_run_that_knows_them() {
        let (_folder, store) = store();
        for (run, lines) in [
            ("2026-01-01", [("a", "pass", 5), ("b", "pass", 7), ("c", "interrupted", 9)]),
            ("2026-01-02", [("a", "timeout", 3), ("a", "fail", 2), ("d", "runner-fault", 1)]),
        ] {
            let folder = store.root.join(run);
            fs::create_dir_all(&folder).expect("made");
            let text: String = lines
                .iter()
                .map(|(id, outcome, seconds)| {
                    format!(
                        "{{\"at\":1.0,\"event\":\"attempt-finished\",\"case\":{{\"suite\":\"s\",\
                         \"id\":\"{id}\"}},\"outcome\":{{\"outcome\":\"{outcome}\"}},\
                         \"duration\":{{\"secs\":{seconds},\"nanos\":0}}}}\ngarbage\n"
                    )
                })
                .collect();
            fs::write(folder.join(LOG_NAME), text).expect("written");
        }
        let durations = store.durations();
        let of = |id| durations.of("s", id).map(|duration| duration.as_secs());
        assert_eq!([of("a"), of("b"), of("c"), of("d")], [Some(3), Some(7), None, None]);
    }

    #[test]
    fn a_newer_run_is_refused_in_one_sentence() {
        let (_folder, store) = store();
        let path = record(&store, &[]);
        append(&path, "{\"event\":\"run-began\",\"version\":99,\"shape\":\"unknown\"}\n");
        let error = store.read(None).expect_err("newer").to_string();
        assert!(error.contains("events of version 99, this one reads 2"), "{error}");
    }

    #[test]
    fn garbage_and_nothing_are_errors_not_panics() {
        let (_folder, store) = store();
        let error = store.read(None).expect_err("none").to_string();
        assert!(error.starts_with("no recorded run in "), "{error}");
        let error = store.read(Some("no-such-run")).expect_err("none").to_string();
        assert!(error.starts_with("cannot read "), "{error}");
        let path = record(&store, &[]);
        assert!(store.read(None).expect("a run").torn.is_some());
        fs::write(path, b"\xff\xfe\x00").expect("written");
        let torn = store.read(None).expect("a run").torn.expect("garbage").to_string();
        assert!(torn.contains("events.jsonl:1 is no event"), "{torn}");
    }

    #[test]
    fn old_runs_go_and_the_newest_and_fresh_ones_stay() {
        let (_folder, store) = store();
        let paths: Vec<PathBuf> = (0..3)
            .map(|number| {
                let folder = store.root.join(format!("2026-01-0{number}"));
                fs::create_dir_all(&folder).expect("made");
                let path = folder.join(LOG_NAME);
                fs::write(&path, vec![b'x'; 100]).expect("written");
                path
            })
            .collect();
        let now = SystemTime::now();
        let is_there =
            |paths: &[PathBuf]| paths.iter().map(|path| path.is_file()).collect::<Vec<_>>();
        let keep = Keep { age: Duration::from_secs(86_400), bytes: 250, runs: 10 };
        store.prune(keep, now).expect("pruned");
        assert_eq!(is_there(&paths), [true, true, true], "may still be going on");
        store.prune(keep, now + 2 * FRESH).expect("pruned");
        assert_eq!(is_there(&paths), [false, true, true], "too much");
        store.prune(keep, now + 48 * FRESH).expect("pruned");
        assert_eq!(is_there(&paths), [false, false, true], "too old, but for the newest");
    }

    #[test]
    fn ids_sort_by_time() {
        let earlier = new_id(SystemTime::UNIX_EPOCH + Duration::from_millis(999));
        let later = new_id(SystemTime::UNIX_EPOCH + Duration::from_millis(1000));
        assert!(earlier < later, "{earlier} {later}");
        assert!(earlier.starts_with("1970-01-01T00-00-00-999-"), "{earlier}");
    }
}
