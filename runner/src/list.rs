//! Asks binaries what tests they have: all at once, each within limits.
//!
//! A binary of ours answers the role in its environment with one JSON line. Any other that
//! understands libtest's arguments sees only those, and answers with a line for each test; it is
//! then asked once more, for the ignored ones. Neither question can run a test.
//!
//! What a binary said is kept for the next time (`cache`). A binary that answers badly is that
//! binary's error; the others are listed all the same.

mod cache;
mod conversation;
mod terse;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use runner_core::protocol::{HarnessKind, Listing, PROTOCOL_VERSION, Panics};
use runner_core::test::{Mark, MarkKind, Test};
use serde::{Deserialize, Serialize};

use crate::cargo::{Built, Declared};

pub use cache::Cache;
use cache::Identity;
use conversation::{Conversation, Printed, Question};

/// How long a binary may take for all its answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much a binary may print, in bytes, on each of stdout and stderr.
const OUTPUT_LIMIT_BYTES: u64 = 64 << 20;

/// A binary that was listed.
#[derive(Debug)]
pub struct Listed {
    /// The binary as it was: a rebuild does not change it.
    pub file: File,
    /// What it said.
    pub listing: Listing,
}

/// Why a binary could not be listed; the subject is its path.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It cannot be opened or started.
    #[error("cannot be started: {0}")]
    Start(#[from] io::Error),
    /// It took too long.
    #[error("did not list its tests within {} s", PATIENCE.as_secs())]
    Hang,
    /// It printed too much.
    #[error("printed more than {} MiB while listing", OUTPUT_LIMIT_BYTES >> 20)]
    Flood,
    /// It did not exit with 0.
    #[error("{how} while listing{quote}")]
    Crash {
        /// How it ended.
        how: String,
        /// What it said on stderr.
        quote: String,
    },
    /// It was linked with another version of the harness.
    #[error("speaks protocol {theirs}, this runner {PROTOCOL_VERSION}: rebuild")]
    Version {
        /// What it said.
        theirs: u64,
    },
    /// What it printed is no listing.
    #[error("printed something that is no listing: {why}{quote}")]
    Garbage {
        /// Where reading failed.
        why: String,
        /// What it printed.
        quote: String,
    },
}

/// Lists them, in their order. Blocks until all have answered or are out of time.
pub fn list(binaries: &[Built], cache: &Cache) -> Vec<Result<Listed, ListError>> {
    list_within(binaries, cache, PATIENCE)
}

fn list_within(
    binaries: &[Built],
    cache: &Cache,
    patience: Duration,
) -> Vec<Result<Listed, ListError>> {
    let deadline = Instant::now() + patience;
    // Each of these goes through all of them before the next does: they answer side by side.
    let asked: Vec<_> = binaries.iter().map(|binary| Inquiry::start(binary, cache)).collect();
    let heard: Vec<_> = asked.into_iter().map(|it| it?.hear_tests(deadline)).collect();
    let whole: Vec<_> = heard.into_iter().map(|it| it?.hear_ignored(deadline)).collect();
    let is_news = whole.iter().flatten().any(|inquiry| inquiry.keep(cache));
    if is_news {
        cache.prune();
    }
    whole.into_iter().map(|it| it.and_then(Inquiry::into_listed)).collect()
}

/// A binary, and how far it has been heard.
struct Inquiry<'a> {
    binary: &'a Built,
    file: File,
    identity: Identity,
    stage: Stage,
}

enum Stage {
    /// It was asked for its tests.
    Asked(Conversation),
    /// It named its tests as libtest does, and was asked for the ignored ones.
    AskedAgain(Vec<String>, Conversation),
    /// It has said everything.
    Heard(Answer),
    /// It had said everything in an earlier run.
    Known(Answer),
}

/// What a binary said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    /// In our own words.
    Own(Listing),
    /// As libtest does.
    Plain {
        /// Every test, ignored ones too if it lists them.
        tests: Vec<String>,
        /// Those that only run when they are asked for.
        ignored: Vec<String>,
    },
}

impl<'a> Inquiry<'a> {
    fn start(binary: &'a Built, cache: &Cache) -> Result<Self, ListError> {
        let file = File::open(&binary.executable)?;
        let identity = Identity::of(&file)?;
        let stage = match cache.find(&binary.executable, identity) {
            Some(answer) => Stage::Known(answer),
            None => Stage::Asked(Conversation::start(binary, Question::Tests)?),
        };
        Ok(Self { binary, file, identity, stage })
    }

    fn hear_tests(self, deadline: Instant) -> Result<Self, ListError> {
        let Self { binary, file, identity, stage } = self;
        let stage = match stage {
            Stage::Asked(conversation) => heard_tests(binary, &conversation.finish(deadline)?)?,
            Stage::AskedAgain(..) | Stage::Heard(_) | Stage::Known(_) => stage,
        };
        Ok(Self { binary, file, identity, stage })
    }

    fn hear_ignored(self, deadline: Instant) -> Result<Self, ListError> {
        let Self { binary, file, identity, stage } = self;
        let stage = match stage {
            Stage::AskedAgain(tests, conversation) => {
                let ignored = plain_names(&conversation.finish(deadline)?)?;
                Stage::Heard(Answer::Plain { tests, ignored })
            }
            Stage::Asked(_) | Stage::Heard(_) | Stage::Known(_) => stage,
        };
        Ok(Self { binary, file, identity, stage })
    }

    /// Keeps what was said just now, and says whether there was something to keep.
    ///
    /// Ours and libtest's tests are linked into the binary. Another harness may find its tests
    /// somewhere else, in a folder of files for instance: it is asked every time.
    fn keep(&self, cache: &Cache) -> bool {
        let Stage::Heard(answer) = &self.stage else {
            return false;
        };
        let is_linked = match answer {
            Answer::Own(_) => true,
            Answer::Plain { .. } => self.binary.harness == Declared::Standard,
        };
        if is_linked {
            cache.keep(&self.binary.executable, self.identity, answer);
        }
        is_linked
    }

    fn into_listed(self) -> Result<Listed, ListError> {
        let listing = match self.stage {
            Stage::Heard(answer) | Stage::Known(answer) => answer.into_listing(self.binary),
            // Both were heard out by `list_within`.
            Stage::Asked(_) | Stage::AskedAgain(..) => return Err(ListError::Hang),
        };
        Ok(Listed { file: self.file, listing })
    }
}

fn heard_tests(binary: &Built, printed: &Printed) -> Result<Stage, ListError> {
    if printed.bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(Stage::Heard(Answer::Own(own_listing(printed)?)));
    }
    let tests = plain_names(printed)?;
    Ok(Stage::AskedAgain(tests, Conversation::start(binary, Question::Ignored)?))
}

fn own_listing(printed: &Printed) -> Result<Listing, ListError> {
    let garbage = |error: serde_json::Error| printed.garbage(error.to_string());
    // Two steps: another version's listing need not have our shape.
    let value: serde_json::Value = serde_json::from_slice(&printed.bytes).map_err(garbage)?;
    match value.get("protocol").and_then(serde_json::Value::as_u64) {
        Some(theirs) if theirs == u64::from(PROTOCOL_VERSION) => {}
        Some(theirs) => return Err(ListError::Version { theirs }),
        None => return Err(printed.garbage("it names no protocol".into())),
    }
    serde_json::from_value(value).map_err(garbage)
}

fn plain_names(printed: &Printed) -> Result<Vec<String>, ListError> {
    terse::names(&printed.bytes).map_err(|why| printed.garbage(why))
}

impl Answer {
    fn into_listing(self, binary: &Built) -> Listing {
        match self {
            Self::Own(listing) => listing,
            Self::Plain { tests, ignored } => plain_listing(&tests, &ignored, binary),
        }
    }
}

/// A test may be in both lists (libtest) or in one of them. Of where it stands in its source
/// nothing is known: its place is that of its suite.
fn plain_listing(tests: &[String], ignored: &[String], binary: &Built) -> Listing {
    let known: HashSet<&String> = tests.iter().collect();
    let is_ignored: HashSet<&String> = ignored.iter().collect();
    let only_ignored = ignored.iter().filter(|name| !known.contains(name));
    let test = |name: &String| Test {
        name: name.clone(),
        module: name.rsplit_once("::").map_or_else(String::new, |(module, _)| module.to_owned()),
        place: binary.place.clone(),
        axes: Vec::new(),
        marks: is_ignored.contains(name).then(|| ignore(binary)).into_iter().collect(),
    };
    Listing {
        protocol: PROTOCOL_VERSION,
        tests: tests.iter().chain(only_ignored).map(test).collect(),
        modules: Vec::new(),
        harness: HarnessKind::Plain,
        // Each of its tests is alone in its process.
        panics: Panics::Unwind,
    }
}

fn ignore(binary: &Built) -> Mark {
    Mark { kind: MarkKind::Ignore { reason: None }, place: binary.place.clone() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use runner_core::test::Place;

    use super::*;

    const GOOD: &str = r#"echo '{"protocol":PROTOCOL,"tests":[],"modules":[]}'"#;

    /// Scripts that are listed as suite binaries are.
    struct Scripts {
        folder: tempfile::TempDir,
    }

    impl Scripts {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("a temporary folder") }
        }

        fn script(&self, name: &str, body: &str) -> Built {
            let executable = self.folder.path().join(name);
            let body = body.replace("PROTOCOL", &PROTOCOL_VERSION.to_string());
            fs::write(&executable, format!("#!/bin/sh\n{body}\n")).expect("written");
            fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).expect("set");
            self.built(name)
        }

        fn built(&self, name: &str) -> Built {
            Built {
                suite: name.into(),
                executable: self.folder.path().join(name),
                package_root: self.folder.path().to_owned(),
                env: vec![("PATH".into(), std::env::var_os("PATH").unwrap_or_default())],
                harness: Declared::Standard,
                place: Place { file: "runner.toml".into(), line: 7 },
            }
        }

        fn cache(&self) -> Cache {
            Cache::new(self.folder.path())
        }

        fn list(&self, binaries: &[Built]) -> Vec<Result<Listed, ListError>> {
            list(binaries, &self.cache())
        }

        fn error(&self, name: &str, body: &str) -> String {
            let mut listed = self.list(&[self.script(name, body)]);
            listed.remove(0).expect_err(name).to_string()
        }
    }

    #[test]
    fn a_binary_says_what_it_has() {
        let scripts = Scripts::new();
        let listed = scripts.list(&[scripts.script("good", &format!("echo chatter >&2; {GOOD}"))]);
        assert_eq!(listed[0].as_ref().expect("a listing").listing.tests, []);
    }

    #[test]
    fn a_binary_is_told_its_role_and_folder_and_nothing_of_ours() {
        let scripts = Scripts::new();
        let check = "[ \"$RUNNER_ROLE\" = list ] && [ -z \"$CARGO_MANIFEST_DIR\" ] && [ \"$1\" = --list ] && [ -x ./aware ] || exit 9";
        let listed = scripts.list(&[scripts.script("aware", &format!("{check}; {GOOD}"))]);
        assert!(listed[0].is_ok(), "{:?}", listed[0]);
    }

    /// A script that answers as libtest does; `all` and `ignored` are what it prints.
    fn plain(all: &str, ignored: &str) -> String {
        format!("case \"$*\" in *--ignored) printf '{ignored}';; *) printf '{all}';; esac")
    }

    #[test]
    fn a_plain_binary_is_asked_twice_and_its_tests_stand_where_their_suite_does() {
        let scripts = Scripts::new();
        let body = plain("b: test\\na::slow: test\\n", "a::slow: test\\nz: benchmark\\n");
        let listed = scripts.list(&[scripts.script("plain", &body)]).remove(0).expect("listed");
        assert_eq!(listed.listing.harness, HarnessKind::Plain);
        let told: Vec<_> = listed
            .listing
            .tests
            .iter()
            .map(|test| (test.name.as_str(), test.module.as_str(), test.marks.len()))
            .collect();
        assert_eq!(told, [("b", "", 0), ("a::slow", "a", 1), ("z", "", 1)]);
        assert_eq!(listed.listing.tests[0].place.to_string(), "runner.toml:7");
    }

    #[test]
    fn what_does_not_change_is_not_asked_again() {
        let scripts = Scripts::new();
        let body = |list: &str| format!("echo asked >> asked; {}", plain(list, ""));
        let asked = || {
            let lines = fs::read_to_string(scripts.folder.path().join("asked"));
            lines.unwrap_or_default().lines().count()
        };
        let names = |binary: Built| -> Vec<String> {
            let listed = scripts.list(&[binary]).remove(0).expect("listed");
            listed.listing.tests.into_iter().map(|test| test.name).collect()
        };
        assert_eq!(names(scripts.script("plain", &body("one: test"))), ["one"]);
        assert_eq!(asked(), 2);
        assert_eq!(names(scripts.built("plain")), ["one"]);
        assert_eq!(asked(), 2);
        assert_eq!(names(scripts.script("plain", &body("another: test"))), ["another"]);
        assert_eq!(asked(), 4);
        // A harness of somebody's own may find its tests in files.
        let custom = || Built { harness: Declared::Custom, ..scripts.built("custom") };
        scripts.script("custom", &body("one: test"));
        names(custom());
        names(custom());
        assert_eq!(asked(), 8);
    }

    #[test]
    fn a_cache_that_cannot_be_read_is_no_cache() {
        let scripts = Scripts::new();
        let binary = scripts.script("plain", &plain("one: test", ""));
        assert!(scripts.list(std::slice::from_ref(&binary))[0].is_ok());
        let folder = scripts.folder.path().join("listings");
        for entry in fs::read_dir(folder).expect("made") {
            fs::write(entry.expect("readable").path(), "{").expect("written");
        }
        assert!(scripts.list(&[binary])[0].is_ok());
    }

    #[test]
    fn bad_answers_are_errors_of_their_binary_alone() {
        let scripts = Scripts::new();
        let binaries = [
            scripts.script("garbage", "echo 'a::test: fest'"),
            scripts.script("good", GOOD),
            scripts.script("crash", "echo why >&2; exit 3"),
        ];
        let [garbage, good, crash] = scripts.list(&binaries).try_into().expect("three");
        let garbage = garbage.expect_err("garbage").to_string();
        assert!(garbage.starts_with("printed something that is no listing: "), "{garbage}");
        assert!(garbage.ends_with("; its stdout:\n  a::test: fest"), "{garbage}");
        assert!(good.is_ok());
        let crash = crash.expect_err("crash").to_string();
        assert_eq!(crash, "exited with 3 while listing; its stderr:\n  why");
    }

    #[test]
    fn every_way_of_answering_badly_has_its_own_words() {
        let scripts = Scripts::new();
        for (name, body, expected) in [
            ("killed", "kill -SEGV $$", "was ended by SIGSEGV while listing"),
            ("newer", r#"echo '{"protocol":4711,"new":{}}'"#, "speaks protocol 4711, this runner"),
            ("cut", "printf '{'", "printed something that is no listing: EOF"),
            ("binary", r"printf '\377\376'", "printed something that is no listing: line 1 is not"),
            (
                "shape",
                r#"echo '{"protocol":PROTOCOL}'"#,
                "printed something that is no listing: missing field",
            ),
            ("twice", &format!("{GOOD}; {GOOD}"), "printed something that is no listing: trailing"),
            ("flood", "exec yes", "printed more than 64 MiB while listing"),
        ] {
            let error = scripts.error(name, body);
            assert!(error.starts_with(expected), "{name}: {error}");
        }
        let missing =
            Built { executable: PathBuf::from("/no/such/binary"), ..scripts.script("x", "") };
        let error = scripts.list(&[missing]).remove(0).expect_err("missing").to_string();
        assert!(error.starts_with("cannot be started: "), "{error}");
    }

    #[test]
    fn a_binary_that_hangs_is_ended_with_all_it_started() {
        let scripts = Scripts::new();
        let body = "sleep 1000 & echo $! > pid; wait";
        let binaries = [scripts.script("hang", body), scripts.script("good", GOOD)];
        let [hang, good] = list_within(&binaries, &scripts.cache(), Duration::from_millis(300))
            .try_into()
            .expect("two");
        assert!(matches!(hang, Err(ListError::Hang)), "{hang:?}");
        assert!(good.is_ok());
        let pid = fs::read_to_string(scripts.folder.path().join("pid")).expect("written");
        assert!(is_dead(pid.trim()), "the child of {pid} is still there");
    }

    #[test]
    fn what_a_listing_leaves_running_holds_nobody_up() {
        let scripts = Scripts::new();
        let body = format!("{GOOD}; sleep 1000 & echo $! > pid");
        let started = Instant::now();
        assert!(scripts.list(&[scripts.script("leaver", &body)])[0].is_ok());
        assert!(started.elapsed() < Duration::from_secs(20));
        let pid = fs::read_to_string(scripts.folder.path().join("pid")).expect("written");
        assert!(is_dead(pid.trim()), "what it left, {pid}, is still there");
    }

    /// SIGKILL was sent; whether init has reaped it is not our business.
    fn is_dead(pid: &str) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().unwrap_or_default().trim().chars().next();
            match state {
                None | Some('Z' | 'X') => return true,
                Some(_) if Instant::now() > deadline => return false,
                Some(_) => std::thread::yield_now(),
            }
        }
    }
}
