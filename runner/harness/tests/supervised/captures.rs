//! What is taken of what a case writes, in each mode.

use runner_core::memory::{Output, Stream};
use runner_core::outcome::{Expectation, Outcome, judge};
use runner_core::protocol::{Attempt, Capture};

use crate::Test;
use crate::bench::Bench;
use crate::bodies::writers::is_root;

pub(crate) const TESTS: &[Test] = &[
    ("parts_of_lines_and_bytes_that_are_no_text_are_kept", parts_of_lines),
    ("threads_stand_in_the_order_they_wrote_in", threads_in_turn),
    ("what_goes_into_a_pipe_is_not_taken", pipes_are_left_alone),
    ("a_switch_of_fd_1_is_seen_and_its_way_back", the_switch),
    ("what_libc_answers_is_kept", answers_of_libc),
    ("an_image_that_may_not_open_the_memory_has_it_kept_open", an_image_without_rights),
    ("the_fd_that_is_kept_is_named_after_those_of_others", the_kept_fd),
    ("by_fd_everything_is_taken_also_what_no_symbol_sees", by_fd),
    ("tee_sys_takes_and_passes_on", tee_sys),
];

/// Its output, whatever the case came to.
fn output(bench: &mut Bench, attempt: Attempt) -> Output {
    let facts = bench.run(attempt);
    let outcome = judge(&facts, &Expectation::Pass);
    let output = bench.memory.output();
    assert!(matches!(outcome, Outcome::Pass | Outcome::Skipped { .. }), "{outcome:?}: {output:?}");
    output
}

fn of(bench: &Bench, name: &str, capture: Capture) -> Attempt {
    Attempt { capture, ..bench.attempt(&format!("writers::{name}")) }
}

/// What was taken of one test.
fn taken(name: &str, capture: Capture) -> Output {
    let mut bench = Bench::start();
    let attempt = of(&bench, name, capture);
    output(&mut bench, attempt)
}

fn text(output: &Output) -> String {
    let bytes: Vec<u8> = output.records.iter().flat_map(|it| it.bytes.clone()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parts_of_lines() {
    let output = taken("writes_parts_of_lines", Capture::Sys);
    let stream = |wanted: Stream| -> Vec<u8> {
        let records = output.records.iter().filter(|record| record.stream == wanted);
        records.flat_map(|record| record.bytes.clone()).collect()
    };
    assert_eq!(stream(Stream::Stdout), b"one line \xff\xfe\nno newline");
    assert_eq!(stream(Stream::Stderr), b"other stream\n");
    assert_eq!((output.torn, output.lost_bytes), (0, 0));
}

fn threads_in_turn() {
    let expected: String = (1..=100).map(|number| format!("{number}\n")).collect();
    for capture in [Capture::Sys, Capture::Fd] {
        assert_eq!(text(&taken("writes_from_threads_in_turn", capture)), expected);
    }
}

fn pipes_are_left_alone() {
    for capture in [Capture::Sys, Capture::Fd] {
        let text = text(&taken("reads_what_a_child_wrote_through_a_pipe", capture));
        assert_eq!(text, "read \"through a pipe\\n\"\ninherited\n", "{capture:?}");
    }
}

fn the_switch() {
    assert_eq!(text(&taken("switches_its_own_stdout_and_back", Capture::Sys)), "before\nafter\n");
}

fn answers_of_libc() {
    taken("finds_errno_as_libc_leaves_it", Capture::Sys);
}

fn an_image_without_rights() {
    let text = text(&taken("writes_from_an_image_without_rights", Capture::Sys));
    assert_eq!(text, if is_root() { "without rights\n" } else { "" });
}

fn the_kept_fd() {
    let mut bench = Bench::start();
    let mut attempt = of(&bench, "tells_the_fd_that_is_kept", Capture::Sys);
    attempt.env.push(("SPAWN_KEEP_FDS".into(), "7".into()));
    let text = text(&output(&mut bench, attempt));
    assert!(text.starts_with("7,") && text.contains(" /memfd:runner-attempt"), "{text}");
}

fn by_fd() {
    let text = text(&taken("writes_to_its_real_stdout", Capture::Fd));
    assert_eq!(text, "taken\nnot taken\n");
}

fn tee_sys() {
    let mut bench = Bench::start_with_stdout();
    let attempt = of(&bench, "writes_to_its_real_stdout", Capture::TeeSys);
    assert_eq!(text(&output(&mut bench, attempt)), "taken\n");
    assert_eq!(bench.stdout(), "taken\nnot taken\n");
}
