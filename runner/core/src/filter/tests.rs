//! Tables: expressions against one subject, and what is said of broken ones.

use super::*;

fn vocabulary() -> Vocabulary {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Vocabulary {
        backends: set(&["fork", "main_thread_forkserver", "thread", "subint"]),
        packages: set(&["suites"]),
        binaries: set(&["suites"]),
        binary_ids: set(&["suites::suites"]),
    }
}

fn matches(text: &str) -> bool {
    let filter = Filter::parse(text, Position::CommandLine, &vocabulary())
        .unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let default = Filter::parse("backend(fork)", Position::DefaultFilter, &vocabulary()).unwrap();
    filter.matches(&Subject {
        test: "rpc::calls, twice",
        id: "rpc::calls, twice::fork",
        binary: "suites",
        binary_id: "suites::suites",
        package: "suites",
        backend: &["fork", "main_thread_forkserver"],
        group: None,
        marks: &BTreeSet::from(["needs", "timeout"]),
        default: Some(&default),
    })
}

fn errors(text: &str, position: Position) -> Vec<FilterError> {
    Filter::parse(text, position, &vocabulary()).expect_err(text)
}

#[test]
fn expressions_that_hold() {
    for text in [
        "all()",
        " all ( ) ",
        "default()",
        "not none()",
        "!none()",
        "not not all()",
        "test(calls)",
        "test(~calls)",
        "test( calls )",
        "test(=rpc::calls\\, twice)",
        "test(=rpc::calls\\, twice::fork)",
        "test(/^rpc::.*fork$/)",
        "test(#rpc::*)",
        "test(#rpc::call[st]*)",
        "test(#rpc::call[!x]*)",
        "test(#{rpc\\,local}::*)",
        "test(\\u{72}pc)",
        "binary(suites)",
        "binary(sui*)",
        "binary_id(suites::suites)",
        "package(=suites)",
        "kind(test)",
        "group(@global)",
        "backend(fork)",
        "backend(=main_thread_forkserver)",
        "backend(f*)",
        "mark(needs)",
        "mark(timeout) and mark(needs)",
        "test(calls) & backend(fork)",
        "test(calls) - backend(thread)",
        "none() or all()",
        "none() | all()",
        "none() + all()",
        // and binds tighter than or; not tighter than and.
        "all() or none() and none()",
        "not none() and all()",
        "(none() or all()) and not (none())",
        "all()and(all())",
    ] {
        assert!(matches(text), "{text}");
    }
}

#[test]
fn expressions_that_do_not_hold() {
    for text in [
        "none()",
        "not default()",
        "test(=calls)",
        "test(#calls*)",
        "test(/^calls/)",
        "backend(thread)",
        "mark(ignore)",
        "(all() or none()) and none()",
        "all() - all()",
        "group(gpu)",
    ] {
        assert!(!matches(text), "{text}");
    }
}

#[test]
fn a_broken_expression_is_pointed_at() {
    let table: &[(&str, Range<usize>, &str, Option<&str>)] = &[
        ("", 0..0, "an empty filterset", Some("all()")),
        ("tset(x)", 0..4, "`tset()` is no question", Some("test()")),
        ("deps(x)", 0..4, "`deps()` is nextest's, and not answered here", None),
        ("shm", 0..3, "`shm` is no expression", Some("test(shm)")),
        ("all() && all()", 6..8, "`&&` is no operator", Some("and")),
        ("all() || all()", 6..8, "`||` is no operator", Some("or")),
        ("all() AND all()", 6..9, "`AND` is no operator", Some("and")),
        ("NOT all()", 0..3, "`NOT` is no operator", Some("not")),
        ("(all()", 0..1, "`(` without `)`", None),
        ("all())", 5..6, "`)` without `(`", None),
        ("test(", 5..5, "`(` without `)`", None),
        ("test()", 5..6, "nothing to match against", None),
        ("test(a,b)", 6..7, "`,` must be escaped", Some("\\,")),
        ("test(/a)", 5..8, "a regular expression without its closing `/`", None),
        ("test(/(/)", 5..8, "not a regular expression", None),
        ("test(#[a)", 5..8, "not a glob", None),
        ("test(a\\q)", 6..8, "an escape nobody knows", None),
        ("all() test(x)", 6..7, "expected `and`, `or`, `-` or the end, found `t`", None),
        (
            "all() and",
            9..9,
            "expected a question such as `test(…)` or `backend(…)`, found the end",
            None,
        ),
        ("all(x)", 4..5, "expected `)`: this takes no argument, found `x`", None),
        (
            "test(é) or é",
            12..14,
            "expected a question such as `test(…)` or `backend(…)`, found `é`",
            None,
        ),
        ("backend(frok)", 8..12, "no backend matches `frok`", Some("fork")),
        ("mark(need)", 5..9, "no mark matches `need`", Some("needs")),
    ];
    for (text, span, message, meant) in table {
        let [error] = errors(text, Position::CommandLine).try_into().expect(text);
        assert_eq!(error.message, *message, "{text}");
        assert_eq!(error.span, *span, "{text}");
        let hint = meant.map(|meant| format!("did you mean `{meant}`?"));
        assert_eq!(error.hint, hint, "{text}");
    }
}

#[test]
fn all_typos_are_found_in_one_pass() {
    let found = errors("backend(frok) or package(suite) or backend(=x)", Position::CommandLine);
    let spans: Vec<_> = found.into_iter().map(|error| error.span).collect();
    assert_eq!(spans, [8..12, 25..30, 43..45]);
}

#[test]
fn a_circle_is_refused() {
    for (text, position) in [
        ("default()", Position::DefaultFilter),
        ("group(x)", Position::Override),
        ("all() and mark(needs)", Position::Override),
    ] {
        assert_eq!(errors(text, position).len(), 1, "{text}");
    }
}

#[test]
fn nesting_without_end_is_an_error_not_a_crash() {
    for text in ["(".repeat(100_000), "!".repeat(100_000)] {
        let [error] = errors(&text, Position::CommandLine).try_into().unwrap();
        assert_eq!(error.message, "nested deeper than 100");
    }
}
