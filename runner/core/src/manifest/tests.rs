//! Texts in, manifests or errors out.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::diagnostic::{Source, Style};
use crate::outcome::{FlakyPolicy, TimeoutPolicy};
use crate::protocol::MAX_PROCESSES;
use crate::test::MarkKind;

fn parse(text: &str) -> Result<Manifest, Diagnostics> {
    let source = Source { name: "runner.toml".into(), text: text.into() };
    Manifest::parse(PathBuf::from("/w/runner.toml"), &Arc::new(source))
}

fn good(text: &str) -> Manifest {
    parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Each error in one line: `LINE:COLUMN message | hint`.
fn bad(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err(text);
    errors
        .into_iter()
        .map(|error| {
            let rendered = Diagnostics::from(error).render(Style::Plain);
            let after = |mark: &str| {
                let line = rendered.lines().find_map(|line| line.split_once(mark));
                line.map_or_else(String::new, |(_, rest)| rest.trim().to_owned())
            };
            let place = after("--> runner.toml:");
            let hint = after("= help: ");
            format!("{place} {} | {hint}", after("error: "))
        })
        .collect()
}

const SMALL: &str = r#"
[backends.fork]
aliases = ["subint_fork"]
provides = ["process"]
[backends.thread]
[suites.s]
package = "p"
test = "t"
"#;

fn small(more: &str) -> String {
    format!("{SMALL}{more}")
}

#[test]
fn what_is_not_said_has_a_default() {
    let manifest = good(SMALL);
    let [fork, thread] = manifest.backends.as_slice() else { panic!("{manifest:?}") };
    assert_eq!(fork.names().collect::<Vec<_>>(), ["fork", "subint_fork"]);
    assert_eq!(thread.timeout_multiplier, 1.0);
    assert_eq!(thread.capture, CaptureMode::ALL);
    assert_eq!(thread.presence, Presence::Required);
    assert_eq!(fork.place.to_string(), "runner.toml:2");
    let suite = manifest.suite("s").expect("declared");
    assert_eq!(suite.backends, ["fork", "thread"]);
    assert_eq!(suite.binary_id(), "p::t");
    for name in ["default", "ci"] {
        let profile = manifest.profile(name).expect("built in");
        assert_eq!(profile.slow.deadline, Duration::from_secs(60));
        assert_eq!(profile.fail_fast, None);
        assert_eq!(profile.retries, Retries::NONE);
        assert_eq!(profile.max_processes, MAX_PROCESSES);
        assert_eq!(profile.leak.policy, LeakPolicy::Fail);
    }
}

#[test]
fn the_order_is_the_files() {
    let manifest = good(
        "[suites.s]\npackage='p'\ntest='t'\nbackends=['a', 'z']\n[backends.z]\n[backends.a]\n[backends.m]\n",
    );
    let names: Vec<_> = manifest.backends.iter().map(|backend| backend.name.as_str()).collect();
    assert_eq!(names, ["z", "a", "m"]);
    assert_eq!(manifest.suites[0].backends, ["z", "a"]);
}

#[test]
fn a_suite_is_one_target_of_any_kind() {
    let suite = |target: &str| {
        let text = format!("[backends.fork]\n[suites.s]\npackage = \"p\"\n{target}");
        let suite = good(&text).suites.remove(0);
        (suite.binary_id(), suite.binary().to_owned())
    };
    let named = |id: &str, binary: &str| (id.to_owned(), binary.to_owned());
    assert_eq!(suite("test = \"t\""), named("p::t", "t"));
    assert_eq!(suite("lib = true"), named("p", "p"));
    assert_eq!(suite("bin = \"b\""), named("p::bin/b", "b"));
    assert_eq!(suite("example = \"e\""), named("p::example/e", "e"));
    let two = bad("[backends.fork]\n[suites.s]\npackage = \"p\"\ntest = \"t\"\nlib = true\n");
    assert_eq!(two, ["5:7 a suite is one target: this is another | "]);
    let none = bad("[backends.fork]\n[suites.s]\npackage = \"p\"\nlib = false\n");
    assert_eq!(none, ["2:9 [suites.s] says no `test` | "]);
}

#[test]
fn no_span_of_time_is_so_long_that_clocks_overflow() {
    let age = "500000000000years";
    let manifest = good(&small(&format!(
        r#"
        [profile.default]
        slow-timeout = {{ period = "{age}", grace-period = "{age}" }}
        leak-timeout = "{age}"
        "#,
    )));
    let profile = manifest.profile("default").expect("there");
    let SlowTimeout { period, grace, .. } = profile.slow;
    assert_eq!((period, grace, profile.leak.period), (LONGEST, LONGEST, LONGEST));
}

#[test]
fn a_profile_inherits_what_it_does_not_say() {
    let manifest = good(&small(
        r#"
        [profile.default]
        slow-timeout = { period = "5s", terminate-after = 2, grace-period = "3s" }
        fail-fast = true
        [[profile.default.overrides]]
        filter = "test(a)"
        ignore = { reason = "slow" }
        [profile.nightly]
        inherits = "ci"
        slow-timeout = "40s"
        [profile.ci]
        leak-timeout = { period = "300ms", result = "pass" }
        fail-fast = { max-fail = "all" }
        test-threads = -1
        [[profile.ci.overrides]]
        filter = "test(b)"
        slow-timeout = "2m"
        "#,
    ));
    let nightly = manifest.profile("nightly").expect("declared");
    assert_eq!(nightly.slow.period, Duration::from_secs(40));
    // Not as long as the period would mean a deadline before the first slow line.
    assert_eq!(nightly.slow.deadline, Duration::from_secs(40));
    assert_eq!(nightly.slow.grace, Duration::from_secs(3));
    assert_eq!(nightly.leak.policy, LeakPolicy::Warn);
    assert_eq!(nightly.leak.period, Duration::from_millis(300));
    assert_eq!(nightly.threads, Threads::CpusLess(1));
    assert_eq!(nightly.fail_fast, None);
    let [own, inherited] = nightly.overrides.as_slice() else { panic!("{nightly:?}") };
    assert_eq!(own.slow.map(|slow| slow.deadline), Some(Duration::from_secs(120)));
    assert_eq!(inherited.marks[0].kind, MarkKind::Ignore { reason: Some("slow".into()) });
    let limit = FailFast { max_fail: 1, terminate: Terminate::Wait };
    assert_eq!(manifest.profile("default").expect("there").fail_fast, Some(limit));
}

#[test]
fn scheduling_is_said_as_nextest_says_it() {
    let manifest = good(&small(
        r#"
        [test-groups.serial]
        max-threads = 1
        [test-groups.wide]
        max-threads = "num-cpus"
        [profile.default]
        retries = { backoff = "exponential", count = 3, delay = "1s", max-delay = "10s", jitter = true }
        flaky-result = "fail"
        threads-required = 2
        fail-fast = { max-fail = 5, terminate = "immediate" }
        global-timeout = "1h"
        max-processes = 64
        leak.allow = ["gpg-agent *"]
        run-extra-args = ["--x", "", "--x"]
        slow-timeout = { period = "5s", on-timeout = "pass" }
        [profile.nightly]
        retries = 2
        [[profile.nightly.overrides]]
        filter = "test(a)"
        retries = { backoff = "fixed", count = 1, delay = "500ms" }
        flaky-result = "pass"
        threads-required = "num-test-threads"
        priority = -3
        test-group = "serial"
        max-processes = 8
        leak = { allow = [] }
        "#,
    ));
    let limits: Vec<_> = manifest.groups.iter().map(|group| group.max_threads).collect();
    assert_eq!(limits, [Threads::Count(1), Threads::Cpus]);
    let default = manifest.profile("default").expect("built in");
    let backoff = Backoff::Exponential {
        first: Duration::from_secs(1),
        longest: Some(Duration::from_secs(10)),
    };
    assert_eq!(default.retries, Retries { count: 3, backoff, jitter: Jitter::Half });
    assert_eq!(default.flaky, FlakyPolicy::Fail);
    assert_eq!(default.slow.policy, TimeoutPolicy::Warn);
    let nightly = manifest.profile("nightly").expect("declared");
    assert_eq!(nightly.retries, Retries::immediate(2));
    assert_eq!(nightly.threads_required, ThreadsRequired::Count(2));
    let limit = FailFast { max_fail: 5, terminate: Terminate::Immediate };
    assert_eq!(nightly.fail_fast, Some(limit));
    assert_eq!(nightly.global_timeout, Some(Duration::from_secs(3600)));
    assert_eq!((nightly.max_processes, nightly.leak_allow.len()), (64, 1));
    assert_eq!(*nightly.extra_args, ["--x", "", "--x"]);
    assert_eq!(nightly.slow.policy, TimeoutPolicy::Warn);
    let [rule] = nightly.overrides.as_slice() else { panic!("{nightly:?}") };
    let backoff = Backoff::Fixed(Duration::from_millis(500));
    assert_eq!(rule.retries, Some(Retries { count: 1, backoff, jitter: Jitter::None }));
    assert_eq!(rule.flaky, Some(FlakyPolicy::Pass));
    assert_eq!(rule.threads_required, Some(ThreadsRequired::TestThreads));
    assert_eq!((rule.priority, rule.max_processes), (Some(-3), Some(8)));
    assert_eq!(rule.marks[0].kind, MarkKind::Group("serial".into()));
    assert_eq!(rule.leak_allow.as_deref(), Some(&[][..]));
}

#[test]
fn an_override_without_backends_means_all_of_them() {
    let manifest = good(&small(
        "[[profile.default.overrides]]\nfilter = 'backend(thread)'\nskip-on-backend = { reason = 'r' }",
    ));
    let profile = manifest.profile("ci").expect("built in");
    let mark = &profile.overrides[0].marks[0];
    assert_eq!(mark.place.to_string(), "runner.toml:11");
    assert_eq!(
        mark.kind,
        MarkKind::SkipOnBackend {
            backends: vec!["fork".into(), "thread".into()],
            reason: Some("r".into())
        }
    );
}

#[test]
fn every_error_is_found_in_one_pass() {
    let errors = bad(r#"
[backends.fork]
alias = ["x"]
aliases = ["subint_fork", "thread"]
provides = "process"
requires = ["pdfd", "port:99999"]
[backends.thread]
aliases = ["subint_fork"]
timeout-multiplier = 0
build = ["f"]
[suites.s]
package = "p"
backends = ["frok"]
capture = "sis"
[profile.default]
slow-timeout = "10 parsecs"
archive = {}
[[profile.default.overrides]]
filter = "test(x) and backend(frok)"
skip-on-backend = { raeson = "" }
[profil.ci]
"#);
    let expected = [
        "3:1 [backends.fork] has no key `alias` | did you mean `aliases`?",
        "4:27 alias `thread` is already the name of the backend at runner.toml:7 | ",
        "5:12 `provides` must be a list of strings | ",
        "6:13 nobody knows how to probe for `pdfd` | did you mean `pidfd`?",
        "6:21 `99999` is no port | ",
        "8:12 alias `subint_fork` is already an alias at runner.toml:4 | ",
        "9:22 `timeout-multiplier` must be above 0 | ",
        "10:9 `build` cannot be done yet | ",
        "11:9 [suites.s] says no `test` | ",
        "13:13 no backend is called `frok` | did you mean `fork`?",
        "14:11 `capture` cannot be `sis` | did you mean `sys`?",
        "16:16 `10 parsecs` is no span of time | write `\"60s\"`, `\"1m 30s\"`, `\"100ms\"`",
        "17:1 `archive` is known to nextest and not obeyed here | take it out: a key that does nothing is a trap",
        "19:31 no backend matches `frok` | did you mean `fork`?",
        "20:21 `skip-on-backend` has no key `raeson` | did you mean `reason`?",
        "21:2 the manifest has no key `profil` | did you mean `profile`?",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn an_error_shows_its_line_underlined() {
    let errors = parse(&small("[profile.default]\nfail-fst = true\n")).expect_err("a typo");
    let expected = "\
error: [profile.default] has no key `fail-fst`
  --> runner.toml:10:1
   |
10 | fail-fst = true
   | ^^^^^^^^
   |
   = help: did you mean `fail-fast`?";
    assert_eq!(errors.render(Style::Plain), expected);
}

#[test]
fn what_is_no_toml_is_said_with_its_place() {
    let errors = bad("x = 1 2\n[backends.fork]\ny =\n");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("1:"), "{errors:?}");
    assert!(errors[1].starts_with("3:"), "{errors:?}");
}

#[test]
fn single_errors() {
    let table = [
        ("", "1:1 the manifest names no backend | add a `[backends.NAME]`"),
        ("[backends.'a b']", "1:11 `a b` is no name for a backend"),
        ("backends = 3", "1:12 `backends` must be a table"),
        ("[backends.all]", "1:11 `all` is the word for every backend"),
        ("[axes.t]\nvalues = []", "2:10 `values` is empty"),
        ("[axes.t]\nvalues = ['a']\ndefault = 'b'", "3:11 `b` is none of the values"),
        ("[axes.t]\nvalues = ['a', 'a']", "2:16 `a` is said twice"),
        (
            "[backends.a.env]\nSPAWN_BACKEND = 'x'",
            "2:1 `SPAWN_BACKEND` is set by the runner itself",
        ),
        (
            "[backends.a]\ngroup = 'gpu'",
            "2:9 no `[test-groups.gpu]` says what this group's limit is",
        ),
        ("[test-groups.gpu]", "1:14 [test-groups.gpu] says no `max-threads`"),
        ("[test-groups.gpu]\nmax-threads = 0", "2:15 no threads run no tests"),
        ("[test-groups.'@gpu']\nmax-threads = 1", "1:14 `@gpu` is no name for a group"),
        ("[profile.default]\ntest-threads = 0", "2:16 no threads run no tests"),
        ("[profile.default]\ntest-threads = 'cpus'", "2:16 `test-threads` cannot be `cpus`"),
        ("[profile.default]\ninherits = 'ci'", "2:12 `default` inherits from nobody"),
        (
            "[profile.a]\ninherits = 'b'\n[profile.b]\ninherits = 'a'",
            "2:12 `a` inherits from itself",
        ),
        (
            "[profile.a]\ninherits = 'defualt'",
            "2:12 no profile is called `defualt` | did you mean `default`?",
        ),
        ("[profile.a]\nslow-timeout = '0s'", "2:16 `slow-timeout` must be above 0"),
        (
            "[profile.a]\nslow-timeout = { period = '1s', on-timeout = 'skip' }",
            "2:46 `on-timeout` cannot be `skip`",
        ),
        ("[profile.a]\nretries = -1", "2:11 `retries` must be a number from 0 on"),
        ("[profile.a]\nretries = 'two'", "2:11 `retries` must be an integer"),
        ("[profile.a]\nretries = {}", "2:11 `retries` says no `backoff`"),
        (
            "[profile.a]\nretries = { backoff = 'fixd', count = 1, delay = '1s' }",
            "2:23 `backoff` cannot be `fixd` | did you mean `fixed`?",
        ),
        (
            "[profile.a]\nretries = { backoff = 'fixed', count = 1, max-delay = '1s' }",
            "2:43 `retries` has no key `max-delay`",
        ),
        (
            "[profile.a]\nretries = { backoff = 'fixed', count = 1, jitter = true }",
            "2:11 `retries`: `jitter` of no delay is no delay",
        ),
        (
            "[profile.a]\nretries = { backoff = 'exponential', count = 1 }",
            "2:11 `retries` says no `delay`",
        ),
        (
            "[profile.a]\nretries = { backoff = 'exponential', count = 1, delay = '2s', max-delay = '1s' }",
            "2:11 `retries`: `max-delay` is shorter than `delay`",
        ),
        ("[profile.a]\nflaky-result = 'warn'", "2:16 `flaky-result` cannot be `warn`"),
        ("[profile.a]\nthreads-required = 0", "2:20 `threads-required` must be above 0"),
        (
            "[profile.a]\nthreads-required = 'num-test-thread'",
            "2:20 `threads-required` cannot be `num-test-thread` | did you mean `num-test-threads`?",
        ),
        (
            "[profile.a]\nfail-fast = { max-fail = 1, terminate = 'now' }",
            "2:41 `terminate` cannot be `now`",
        ),
        ("[profile.a]\nglobal-timeout = '0s'", "2:18 `global-timeout` must be above 0"),
        ("[profile.a]\nmax-processes = 0", "2:17 `max-processes` must be a number from 1 on"),
        ("[profile.a]\nleak.allow = 'x'", "2:14 `allow` must be a list of strings"),
        ("[profile.a]\nleak.alow = []", "2:1 `leak` says no `allow`"),
        ("[profile.a]\npriority = 1", "2:1 [profile.a] has no key `priority`"),
        (
            "[[profile.a.overrides]]\nfilter = 'all()'\npriority = 101",
            "3:12 `priority` must be between -100 and 100",
        ),
        ("[profile.a]\nrun-extra-args = 'x'", "2:18 `run-extra-args` must be a list of strings"),
        ("[profile.a]\ndefault-filter = 'default()'", "2:19 `default()` within the default filter"),
        (
            "[[profile.a.overrides]]\nslow-timeout = '1s'",
            "1:1 [[profile.a.overrides]] says no `filter`",
        ),
        ("[[profile.a.overrides]]\nfilter = \"test(\\\"x\"", "2:10 `(` without `)`"),
        ("[scripts.setup.x]", "1:2 `scripts` is known to nextest"),
    ];
    for (text, expected) in table {
        let errors = bad(text);
        let is_found = errors.iter().any(|error| error.starts_with(expected));
        assert!(is_found, "{text}\n  wanted {expected}\n  found {errors:#?}");
    }
}

#[test]
fn backends_are_selected_by_name_alias_and_all() {
    let manifest = good(SMALL);
    let select = |asked: &[&str]| {
        manifest.select_backends(&asked.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    };
    let names = |selected: Selected| selected.names.into_iter().collect::<Vec<_>>();
    assert_eq!(names(select(&[]).expect("all")), ["fork", "thread"]);
    assert_eq!(names(select(&["all"]).expect("all")), ["fork", "thread"]);
    let both = select(&["subint_fork", "fork"]).expect("an alias");
    assert_eq!(both.by_name.iter().collect::<Vec<_>>(), ["fork"]);
    assert_eq!(names(both), ["fork"]);
    let error = select(&["frok", "theard"]).expect_err("two typos").to_string();
    assert!(error.contains("did you mean `fork`?"), "{error}");
    assert!(error.contains("did you mean `thread`?"), "{error}");
}

#[test]
fn the_manifest_of_this_repository_is_good() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runner.toml");
    let manifest = Manifest::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(manifest.backends.len(), 5);
    for (alias, backend) in [
        ("trio", "exec"),
        ("mp_spawn", "exec"),
        ("mp_forkserver", "forkserver"),
        ("main_thread_forkserver", "fork"),
        ("subint_fork", "fork"),
        ("subint", "thread"),
        ("subint_forkserver", "thread_forkserver"),
    ] {
        assert_eq!(manifest.backend(alias).map(|it| it.name.as_str()), Some(backend));
    }
}

#[test]
fn requirements_are_tried_on_the_machine() {
    assert_eq!(Requirement::Command("sh".into()).probe(), Ok(()));
    let reason = Requirement::Command("no-such-command".into()).probe();
    assert_eq!(reason, Err("no command `no-such-command` in PATH".into()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    assert_eq!(Requirement::Port(port).probe(), Ok(()));
    drop(listener);
    assert!(Requirement::Port(port).probe().is_err());
    assert_eq!(Requirement::Pidfd.probe(), Ok(()));

    let mut manifest = good(SMALL);
    manifest.backends[1].requires = vec![Requirement::Command("no-such-command".into())];
    let unavailable = manifest.probe();
    assert_eq!(unavailable.keys().collect::<Vec<_>>(), ["thread"]);
}
