//! Tables: tests and marks against one small manifest.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::diagnostic::Source;
use crate::filter::{Filter, Position};
use crate::manifest::LONGEST;
use crate::protocol::{HarnessKind, PROTOCOL_VERSION, Panics};
use crate::test::{Mark, MarkKind, ModuleMarks};

const BACKENDS: &str = r#"
[backends.fork]
aliases = ["subint_fork"]
provides = ["process", "killable"]
env = { MODE = "warm" }

[test-groups.serial]
max-threads = 1

[backends.exec]
provides = ["process"]
timeout-multiplier = 2
group = "serial"

[backends.thread]
aliases = ["subint"]
provides = ["in-process"]

[axes.transport]
values = ["uds", "tcp"]
default = "uds"
env = "TRANSPORT"

[axes.size]
values = ["small", "big"]

[suites.s]
package = "p"
test = "t"

[profile.default]
slow-timeout = { period = "10s", terminate-after = 3, grace-period = "1s" }
"#;

fn manifest(more: &str) -> Manifest {
    let source = Source { name: "runner.toml".into(), text: format!("{BACKENDS}{more}") };
    Manifest::parse(PathBuf::from("/w/runner.toml"), &Arc::new(source))
        .unwrap_or_else(|errors| panic!("{errors}"))
}

fn options(manifest: &Manifest) -> Options {
    Options {
        backends: manifest.select_backends(&[]).expect("all").names,
        unavailable: BTreeMap::new(),
        timeout_scale: 1.0,
        capture: None,
        leak: None,
        flaky: None,
        retries: None,
        resources: Resources::Ignore,
    }
}

fn place(line: u32) -> Place {
    Place { file: "src/a.rs".into(), line }
}

fn mark(line: u32, kind: MarkKind) -> Mark {
    Mark { kind, place: place(line) }
}

fn test(name: &str, marks: Vec<Mark>) -> Test {
    let module = name.rsplit_once("::").map_or("", |(module, _)| module);
    Test { name: name.into(), module: module.into(), place: place(1), axes: Vec::new(), marks }
}

fn module(module: &str, marks: Vec<Mark>) -> ModuleMarks {
    ModuleMarks { module: module.into(), marks }
}

fn listing(tests: Vec<Test>, modules: Vec<ModuleMarks>) -> Listing {
    Listing {
        protocol: PROTOCOL_VERSION,
        tests,
        modules,
        harness: HarnessKind::Own,
        panics: Panics::Unwind,
    }
}

fn skip(backend: &str, reason: Option<&str>) -> MarkKind {
    MarkKind::SkipOnBackend { backends: vec![backend.into()], reason: reason.map(str::to_owned) }
}

fn needs(capability: &str) -> MarkKind {
    MarkKind::Needs(vec![capability.into()])
}

fn timeout(seconds: u64) -> MarkKind {
    MarkKind::Timeout(Duration::from_secs(seconds))
}

fn cases(manifest: &Manifest, listing: &Listing) -> Vec<Case> {
    let profile = manifest.profile("default").expect("built in");
    expand(manifest, profile, "s", listing, &options(manifest))
        .unwrap_or_else(|errors| panic!("{errors}"))
}

fn on<'a>(cases: &'a [Case], backend: &str) -> &'a Case {
    cases.iter().find(|case| case.backend == backend).expect(backend)
}

fn errors(manifest: &Manifest, listing: &Listing) -> String {
    let profile = manifest.profile("default").expect("built in");
    expand(manifest, profile, "s", listing, &options(manifest)).expect_err("wrong").to_string()
}

fn reason(plan: &Plan) -> &str {
    match plan {
        Plan::Run => "",
        Plan::Lacking { reason, .. }
        | Plan::Skip { reason, .. }
        | Plan::Ignored { reason, .. }
        | Plan::Unavailable { reason } => reason,
    }
}

#[test]
fn every_test_on_every_backend_in_order() {
    let manifest = manifest("");
    let listing = listing(vec![test("b::y", vec![]), test("a::x", vec![])], vec![]);
    let ids: Vec<_> = cases(&manifest, &listing).into_iter().map(|case| case.id).collect();
    let expected =
        ["a::x::fork", "a::x::exec", "a::x::thread", "b::y::fork", "b::y::exec", "b::y::thread"];
    assert_eq!(ids, expected);
}

#[test]
fn axes_multiply_the_tests_that_opted_in() {
    let manifest = manifest("");
    let mut wide = test("a::x", vec![]);
    // In the order of the manifest, whatever the test says.
    wide.axes = vec!["size".into(), "transport".into()];
    let narrow = test("a::y", vec![]);
    let cases = cases(&manifest, &listing(vec![wide, narrow], vec![]));
    let ids: Vec<_> = cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(ids.len(), 3 * 4 + 3);
    assert_eq!(
        ids[..4],
        [
            "a::x::fork::uds::small",
            "a::x::fork::uds::big",
            "a::x::fork::tcp::small",
            "a::x::fork::tcp::big"
        ]
    );
    let variable = |case: &Case, name: &str| {
        let found = case.env.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(variable(&cases[2], "TRANSPORT").as_deref(), Some("tcp"));
    assert_eq!(cases[2].axes["size"], "small");
    assert_eq!(variable(&cases[12], "TRANSPORT").as_deref(), Some("uds"), "its default");
    assert_eq!(variable(&cases[12], "MODE").as_deref(), Some("warm"));
    assert_eq!(variable(&cases[12], "SPAWN_BACKEND").as_deref(), Some("fork"));
}

#[test]
fn the_nearest_mark_wins_kind_by_kind() {
    let manifest = manifest(
        "[[profile.default.overrides]]\nfilter = 'all()'\nslow-timeout = { period = '5s', terminate-after = 1 }\n",
    );
    let modules = vec![
        module("", vec![mark(90, timeout(90))]),
        module("a", vec![mark(40, timeout(40)), mark(41, skip("thread", Some("outer")))]),
        module("a::b", vec![mark(20, skip("fork", Some("inner")))]),
    ];
    let tests = vec![
        test("a::b::own", vec![mark(7, timeout(7))]),
        test("a::b::none", vec![]),
        test("a::b::c::d::deep", vec![]),
        test("c::x", vec![]),
    ];
    let cases = cases(&manifest, &listing(tests, modules));
    let of = |test: &str, backend: &str| {
        let found = cases.iter().find(|case| case.test == test && case.backend == backend);
        found.expect("expanded").clone()
    };
    assert_eq!(of("a::b::own", "fork").timeout, Duration::from_secs(7));
    assert_eq!(of("a::b::none", "fork").timeout, Duration::from_secs(40));
    assert_eq!(of("c::x", "fork").timeout, Duration::from_secs(90));
    assert_eq!(of("c::x", "fork").slow_after, Duration::from_secs(5));
    // The inner module says nothing about `thread`, so the outer one decides.
    assert_eq!(reason(&of("a::b::own", "fork").plan), "inner");
    assert_eq!(reason(&of("a::b::own", "thread").plan), "outer");
    assert_eq!(reason(&of("a::b::c::d::deep", "fork").plan), "inner");
    assert_eq!(of("c::x", "thread").plan, Plan::Run);
}

#[test]
fn an_override_outranks_the_profile_and_no_mark() {
    let manifest = manifest(
        r#"
        [[profile.default.overrides]]
        filter = "test(=a::x) and backend(subint)"
        skip-on-backend = { reason = "from the manifest" }
        [[profile.default.overrides]]
        filter = "test(a)"
        skip-on-backend = { reason = "too late", backends = ["thread"] }
        slow-timeout = { period = "1s", terminate-after = 4 }
        leak-timeout = { period = "1s", result = "pass" }
        "#,
    );
    let plain = listing(vec![test("a::x", vec![])], vec![]);
    let cases_plain = cases(&manifest, &plain);
    assert_eq!(reason(&on(&cases_plain, "thread").plan), "from the manifest");
    assert_eq!(on(&cases_plain, "fork").timeout, Duration::from_secs(4));
    assert_eq!(on(&cases_plain, "fork").policy.leak, LeakPolicy::Warn);
    let marked = test("a::x", vec![mark(5, skip("thread", Some("nearer"))), mark(6, timeout(9))]);
    let cases_marked = cases(&manifest, &listing(vec![marked], vec![]));
    assert_eq!(reason(&on(&cases_marked, "thread").plan), "nearer");
    assert_eq!(on(&cases_marked, "fork").timeout, Duration::from_secs(9));
}

#[test]
fn a_lacking_capability_is_named() {
    let manifest = manifest("");
    let tests = vec![test("a::x", vec![mark(3, needs("killable"))])];
    let modules = vec![module("a", vec![mark(2, needs("process"))])];
    let cases = cases(&manifest, &listing(tests, modules));
    assert_eq!(on(&cases, "fork").plan, Plan::Run);
    let lacking = |name: &str, line| Plan::Lacking {
        reason: format!("needs `killable`, which `{name}` does not provide"),
        place: place(line),
    };
    assert_eq!(on(&cases, "exec").plan, lacking("exec", 3));
    assert_eq!(on(&cases, "thread").plan, lacking("thread", 3));
}

#[test]
fn the_needs_of_a_module_stand_beside_those_of_its_tests() {
    let manifest = manifest("");
    let tests = vec![test("a::x", vec![mark(3, needs("process"))])];
    let modules = vec![module("a", vec![mark(2, needs("killable"))])];
    let cases = cases(&manifest, &listing(tests, modules));
    assert!(matches!(&on(&cases, "exec").plan, Plan::Lacking { place, .. } if place.line == 2));
}

#[test]
fn a_mark_without_a_reason_is_quoted() {
    let manifest =
        manifest("[[profile.default.overrides]]\nfilter = 'test(m)'\nskip-on-backend = {}\n");
    let ignored = mark(12, MarkKind::Ignore { reason: None });
    let tests = vec![
        test("a::f", vec![mark(5, skip("subint", None))]),
        test("a::i", vec![ignored]),
        test("a::m", vec![]),
    ];
    let modules = vec![module("a", vec![mark(2, skip("exec", None))])];
    let cases = cases(&manifest, &listing(tests, modules));
    let reasons: Vec<_> = cases.iter().map(|case| reason(&case.plan)).collect();
    let module = "`marks! { skip_on_backend(\"exec\") }` at src/a.rs:2";
    let file = "`skip-on-backend` at runner.toml:35";
    let ignore = "`#[ignore]` at src/a.rs:12";
    let expected = [
        "",
        module,
        "`#[skip_on_backend(\"subint\")]` at src/a.rs:5",
        ignore,
        module,
        ignore,
        file,
        module,
        file,
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn an_expected_failure_is_one_on_the_named_backends_only() {
    let manifest = manifest("");
    let kind = MarkKind::XfailOnBackend {
        backends: vec!["subint_fork".into()],
        reason: Some("issue 7".into()),
        strict: true,
    };
    let cases = cases(&manifest, &listing(vec![test("x", vec![mark(1, kind)])], vec![]));
    let expected = Expectation::Fail { reason: "issue 7".into(), strict: true };
    assert_eq!(on(&cases, "fork").expectation, expected);
    assert_eq!(on(&cases, "exec").expectation, Expectation::Pass);
    assert!(on(&cases, "fork").marks.contains("xfail_on_backend"));
    assert!(on(&cases, "exec").marks.is_empty());
}

#[test]
fn deadlines_are_multiplied_and_scaled() {
    let manifest = manifest("");
    let listing = listing(vec![test("x", vec![]), test("y", vec![mark(1, timeout(8))])], vec![]);
    let profile = manifest.profile("default").expect("built in");
    let expand_at = |timeout_scale: f64| {
        let options = Options { timeout_scale, ..options(&manifest) };
        expand(&manifest, profile, "s", &listing, &options).expect("good")
    };
    let seconds =
        |cases: &[Case]| cases.iter().map(|case| case.timeout.as_secs_f64()).collect::<Vec<_>>();
    assert_eq!(seconds(&expand_at(1.0)), [30.0, 60.0, 30.0, 8.0, 16.0, 8.0]);
    assert_eq!(seconds(&expand_at(0.5)), [15.0, 30.0, 15.0, 4.0, 8.0, 4.0]);
    let scaled = expand_at(3.0);
    assert_eq!(on(&scaled, "exec").slow_after, Duration::from_secs(60));
    assert_eq!(on(&scaled, "exec").grace, Duration::from_secs(1), "asking takes no longer");
    // Total: no factor makes a clock overflow.
    assert_eq!(expand_at(f64::MAX)[0].timeout, LONGEST);
}

#[test]
fn a_group_comes_from_the_mark_or_the_backend() {
    let manifest = manifest("");
    let tests = vec![
        test("global", vec![mark(1, MarkKind::Group("@global".into()))]),
        test("marked", vec![mark(1, MarkKind::Group("serial".into()))]),
        test("plain", vec![]),
    ];
    let cases = cases(&manifest, &listing(tests, vec![]));
    let groups: Vec<_> = cases.iter().map(|case| case.group.as_deref()).collect();
    let serial = Some("serial");
    let expected = [None, None, None, serial, serial, serial, None, serial, None];
    assert_eq!(groups, expected);
}

#[test]
fn what_the_marks_say_outranks_what_the_machine_lacks() {
    let manifest = manifest("");
    let listing = listing(
        vec![test("x", vec![]), test("y", vec![mark(1, skip("exec", Some("no")))])],
        vec![],
    );
    let unavailable = BTreeMap::from([("exec".to_owned(), "no pidfd".to_owned())]);
    let options = Options { unavailable, ..options(&manifest) };
    let profile = manifest.profile("default").expect("built in");
    let cases = expand(&manifest, profile, "s", &listing, &options).expect("good");
    let plans: Vec<_> =
        cases.iter().filter(|case| case.backend == "exec").map(|case| &case.plan).collect();
    assert_eq!(plans[0], &Plan::Unavailable { reason: "no pidfd".into() });
    assert_eq!(plans[1], &Plan::Skip { reason: "no".into(), place: place(1) });
}

#[test]
fn typos_are_errors_with_file_and_line() {
    let manifest = manifest("");
    let mut wide = test("a::x", vec![mark(5, skip("frok", None)), mark(6, needs("killabel"))]);
    wide.axes = vec!["transprot".into()];
    let modules = vec![
        module("a", vec![mark(3, MarkKind::Group("serail".into()))]),
        // No test is in it; a typo there is a typo all the same.
        module("z", vec![mark(9, skip("subnit", None))]),
    ];
    let errors = errors(&manifest, &listing(vec![wide], modules));
    let expected = "\
error: no axis is called `transprot`
--> src/a.rs:1
 = help: did you mean `transport`?

error: no `[test-groups.serail]` says what this group's limit is
--> src/a.rs:3
 = help: did you mean `serial`?

error: no backend is called `frok`
--> src/a.rs:5
 = help: did you mean `fork`?

error: no backend provides `killabel`
--> src/a.rs:6
 = help: did you mean `killable`?

error: no backend is called `subnit`
--> src/a.rs:9
 = help: did you mean `subint`?";
    assert_eq!(errors, expected);
}

#[test]
fn nothing_to_run_and_things_that_are_there_twice_are_errors() {
    let manifest = manifest("");
    let none = errors(&manifest, &listing(vec![], vec![]));
    assert!(none.contains("suite `s` has no tests"), "{none}");
    assert!(none.contains("runner.toml:"), "{none}");
    let twice = errors(&manifest, &listing(vec![test("x", vec![]), test("x", vec![])], vec![]));
    assert!(twice.contains("two tests are called `x`"), "{twice}");
    let mut wide = test("x", vec![]);
    wide.axes = vec!["size".into()];
    let odd = test("x::fork", vec![]);
    let meeting = manifest_with_fork_sized();
    let text = errors(&meeting, &listing(vec![wide, odd], vec![]));
    assert!(text.contains("two cases are called `x::fork::fork`"), "{text}");
}

fn manifest_with_fork_sized() -> Manifest {
    let text = BACKENDS.replace("\"small\", \"big\"", "\"fork\"");
    let source = Source { name: "runner.toml".into(), text };
    Manifest::parse(PathBuf::new(), &Arc::new(source)).expect("good")
}

fn chosen(selection: &Selection) -> Vec<String> {
    let manifest = manifest("default-filter = 'not test(hidden)'\n");
    let tests = vec![
        test("a::x", vec![]),
        test("a::xx", vec![mark(1, MarkKind::Ignore { reason: None })]),
        test("hidden", vec![]),
    ];
    let cases = cases(&manifest, &listing(tests, vec![]));
    let profile = manifest.profile("default").expect("built in");
    let cases = select(&manifest, profile, cases, selection);
    let runs = cases.into_iter().filter(|case| case.plan == Plan::Run);
    runs.map(|case| case.id).collect()
}

fn words(words: &[&str]) -> Selection {
    Selection { words: words.iter().map(|word| (*word).into()).collect(), ..Selection::default() }
}

fn filters(texts: &[&str]) -> Selection {
    let vocabulary = manifest("").vocabulary();
    let parse =
        |text: &&str| Filter::parse(text, Position::CommandLine, &vocabulary).expect("good");
    Selection { filters: texts.iter().map(parse).collect(), ..Selection::default() }
}

#[test]
fn words_and_filters_select() {
    let all = ["a::x::fork", "a::x::exec", "a::x::thread"];
    assert_eq!(chosen(&Selection::default()), all);
    assert_eq!(chosen(&words(&["x"])), all);
    assert_eq!(chosen(&words(&["::fork", "thread"])), ["a::x::fork", "a::x::thread"]);
    assert_eq!(
        chosen(&filters(&["backend(fork)", "backend(=subint)"])),
        ["a::x::fork", "a::x::thread"]
    );
    let both = Selection { words: vec!["a::x".into()], ..filters(&["backend(fork)"]) };
    assert_eq!(chosen(&both), ["a::x::fork"]);
    assert_eq!(chosen(&words(&["nothing"])), [] as [&str; 0]);
    assert_eq!(chosen(&filters(&["mark(ignore)"])), [] as [&str; 0]);
}

#[test]
fn a_whole_name_means_itself_and_not_what_begins_like_it() {
    let only = Selection { ignored: RunIgnored::All, ..words(&["a::x"]) };
    assert_eq!(chosen(&only).len(), 3);
    let part = Selection { ignored: RunIgnored::All, ..words(&["::x"]) };
    assert_eq!(chosen(&part).len(), 6);
    let case = Selection { ignored: RunIgnored::All, ..words(&["a::x::fork"]) };
    assert_eq!(chosen(&case), ["a::x::fork"]);
}

#[test]
fn ignored_tests_run_when_asked_for() {
    let only = Selection { ignored: RunIgnored::Only, ..Selection::default() };
    assert_eq!(chosen(&only), ["a::xx::fork", "a::xx::exec", "a::xx::thread"]);
    let all = Selection { ignored: RunIgnored::All, ..Selection::default() };
    assert_eq!(chosen(&all).len(), 6);
}

#[test]
fn the_default_filter_cuts_unless_told_not_to() {
    let selection = Selection { default_filter: DefaultFilter::Ignore, ..Selection::default() };
    assert_eq!(chosen(&selection).len(), 6);
    let asked = Selection { default_filter: DefaultFilter::Ignore, ..filters(&["default()"]) };
    assert_eq!(chosen(&asked).len(), 3);
}

#[test]
fn a_hundred_thousand_cases_are_the_same_twice() {
    let manifest = manifest("");
    let tests: Vec<Test> =
        (0..33_334).map(|number| test(&format!("a::t{number:05}"), vec![])).collect();
    let mut shuffled = tests.clone();
    shuffled.reverse();
    let first = cases(&manifest, &listing(tests, vec![]));
    assert_eq!(first.len(), 100_002);
    assert!(first == cases(&manifest, &listing(shuffled, vec![])));
}

#[test]
fn a_build_that_aborts_is_refused_where_actors_share_a_process() {
    let manifest = manifest("");
    let aborting =
        Listing { panics: Panics::Abort, ..listing(vec![test("a::one", Vec::new())], Vec::new()) };
    let text = errors(&manifest, &aborting);
    assert!(text.contains("suite `s` is built with `panic = \"abort\"`"), "{text}");
    assert!(text.contains("backend `thread`") && !text.contains("backend `fork`"), "{text}");
}

#[test]
fn only_our_harness_is_expected_to_have_tests() {
    let manifest = manifest("");
    let none = listing(Vec::new(), Vec::new());
    assert!(errors(&manifest, &none).contains("suite `s` has no tests"));
    assert_eq!(cases(&manifest, &Listing { harness: HarnessKind::Plain, ..none }), []);
}
