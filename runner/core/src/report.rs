//! What an attempt left, as text for a person: its attributed output and its hang report.
//!
//! Called by the runner for the files in a run's folder and by the other faces for the text of a
//! failure; both show the same.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Write};

use crate::memory::{Output, Record, Stream};
use crate::protocol::{Hang, Process, ProcessHang, Stack, Thread, Trace, TraceEvent};
use crate::symbols::{Frame, Maps, Symboliser};

/// Name of the thread that an attempt's body runs on.
pub const BODY_THREAD: &str = "body";

/// Of one line of output so much is repeated in a hang report, in bytes.
const REPORTED_LINE_BYTES: usize = 2 << 10;

/// Output line by line, in the order in which lines were begun. Unless all of it is the body's
/// own, each line says whose it is: `name[pid] | line`. What was lost or torn is said at the end, and
/// the last words of trace points follow.
pub fn attributed(output: &Output) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = write_attributed(output, &mut text);
    text
}

/// The same, to wherever it is to go: a flood need not be in memory once more.
///
/// # Errors
/// Those of `text`.
pub fn write_attributed(output: &Output, text: &mut impl Write) -> io::Result<()> {
    let lines = lines(&output.records);
    let writers: HashSet<(i32, i32)> = lines.iter().map(|line| (line.pid, line.tid)).collect();
    let named = writers.len() > 1 || lines.iter().any(|line| line.name != BODY_THREAD);
    for line in &lines {
        if named {
            line.write_writer(text)?;
        }
        line.write(text)?;
    }
    text.write_all(losses(output).as_bytes())?;
    if !output.last_events.is_empty() {
        write!(text, "--- last events\n{}", last_events(&output.last_events))?;
    }
    Ok(())
}

/// The last `count` lines of each writer, `name[pid] | line`, in the order in which the writers
/// began; of a line that is too long for a report its beginning and end.
pub fn last_lines(output: &Output, count: usize) -> Vec<u8> {
    let mut places: HashMap<(i32, &str), usize> = HashMap::new();
    let mut writers: Vec<VecDeque<Line<'_>>> = Vec::new();
    for line in lines(&output.records) {
        let place = *places.entry((line.pid, line.name)).or_insert_with(|| {
            writers.push(VecDeque::with_capacity(count + 1));
            writers.len() - 1
        });
        let kept = &mut writers[place];
        kept.push_back(line);
        if kept.len() > count {
            kept.pop_front();
        }
    }
    let mut text = Vec::new();
    for line in writers.iter().flatten() {
        let bytes = excerpt(&line.bytes, REPORTED_LINE_BYTES);
        let line = Line { bytes, ..*line };
        // Writing to memory cannot fail.
        let _ = line.write_writer(&mut text).and_then(|()| line.write(&mut text));
    }
    text
}

/// The hang report. Its first paragraph says in short what each thread of the first process was in
/// and which other processes there are; then comes every process with its threads, their stacks,
/// its sockets and fds, then the actors and tasks, then the last words of trace points.
pub fn hang(case_id: &str, hang: &Hang, symboliser: &mut Symboliser) -> String {
    let mut text = format!("hang report: {case_id}\n");
    let processes: Vec<Symbolised<'_>> =
        hang.processes.iter().map(|process| Symbolised::new(process, symboliser)).collect();
    write_in_short(&mut text, hang, &processes);
    processes.iter().for_each(|process| write_process(&mut text, process));
    if let Some(tree) = &hang.task_tree {
        let _ = write!(text, "\nactors and tasks\n{}", indented(tree));
    }
    if !hang.last_events.is_empty() {
        let _ = write!(text, "\nlast events\n{}", indented(&last_events(&hang.last_events)));
    }
    text
}

/// A process that was left and may be.
pub fn left_on_purpose(Process { pid, name, command, age, .. }: &Process) -> String {
    format!("left on purpose: {name} `{command}` (pid {pid}, {:.1} s old)", age.as_secs_f64())
}

/// The last words of trace points, a line each.
pub fn last_events(events: &[TraceEvent]) -> String {
    events
        .iter()
        .map(|TraceEvent { time, pid, tid, text }| {
            format!("{:8.3}s [{pid}/{tid}] {}\n", time.as_secs_f64(), text.trim_end())
        })
        .collect()
}

/// The beginning and the end of a text that is longer than `limit_bytes`, cut between lines
/// where lines are short enough, and between them how much is missing.
pub fn excerpt(text: &[u8], limit_bytes: usize) -> Cow<'_, [u8]> {
    if text.len() <= limit_bytes {
        return Cow::Borrowed(text);
    }
    let half = limit_bytes / 2;
    let newline = |byte: &u8| *byte == b'\n';
    let head = &text[..half];
    let head = &head[..head.iter().rposition(newline).map_or(half, |at| at + 1)];
    let tail = &text[text.len() - half..];
    let tail = &tail[tail.iter().position(newline).map_or(0, |at| at + 1)..];
    let missing = text.len() - head.len() - tail.len();
    let note = format!("… {missing} bytes are not shown here …\n");
    Cow::Owned([head, note.as_bytes(), tail].concat())
}

struct Line<'a> {
    pid: i32,
    tid: i32,
    name: &'a str,
    /// Where it lies, if one record has all of it.
    bytes: Cow<'a, [u8]>,
}

impl Line<'_> {
    fn write_writer(&self, text: &mut impl Write) -> io::Result<()> {
        write!(text, "{}[{}] | ", self.name, self.pid)
    }

    fn write(&self, text: &mut impl Write) -> io::Result<()> {
        text.write_all(&self.bytes)?;
        text.write_all(b"\n")
    }
}

/// Joins the pieces of each thread's lines: another thread's line may come between them.
fn lines(records: &[Record]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut open: HashMap<(i32, i32, Stream), usize> = HashMap::new();
    for record in records {
        let writer = (record.pid, record.tid, record.stream);
        for piece in record.bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let begun = open.remove(&writer);
            let index = begun.unwrap_or(lines.len());
            match begun {
                Some(index) => lines[index].bytes.to_mut().extend_from_slice(text),
                None => {
                    let Record { pid, tid, name, .. } = record;
                    lines.push(Line { pid: *pid, tid: *tid, name, bytes: text.into() });
                }
            }
            if !piece.ends_with(b"\n") {
                open.insert(writer, index);
            }
        }
    }
    lines
}

fn losses(output: &Output) -> String {
    let mut text = String::new();
    if output.lost_bytes > 0 {
        let lost = output.lost_bytes;
        let _ = writeln!(text, "({lost} bytes in the middle were lost: capture-limit)");
    }
    if output.torn > 0 {
        let torn = output.torn;
        let _ = writeln!(text, "({torn} torn records: their writers ended while writing)");
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// A process, and what its stacks mean.
struct Symbolised<'a> {
    hang: &'a ProcessHang,
    stacks: Vec<(&'a Stack, Frames<'a>)>,
}

/// What a raw stack means.
enum Frames<'a> {
    Known(Vec<Frame>),
    /// Why there are none.
    Missing(&'a str),
}

impl<'a> Symbolised<'a> {
    fn new(hang: &'a ProcessHang, symboliser: &mut Symboliser) -> Self {
        let maps = Maps::parse(&hang.maps);
        let mut frames = |stack: &'a Stack| match &stack.trace {
            Trace::Calls(calls) => Frames::Known(symboliser.describe(&maps, calls)),
            Trace::Copied(copy) => {
                let calls = symboliser.unwind(&maps, copy);
                Frames::Known(symboliser.describe(&maps, &calls))
            }
            Trace::Missing(why) => Frames::Missing(why),
        };
        let stacks = hang.stacks.iter().map(|stack| (stack, frames(stack))).collect();
        Self { hang, stacks }
    }

    fn of(&self, tid: i32) -> Option<&Frames<'a>> {
        self.stacks.iter().find(|(stack, _)| stack.tid == tid).map(|(_, frames)| frames)
    }

    /// Stacks of threads that began after `/proc` was read.
    fn strays(&self) -> impl Iterator<Item = &(&'a Stack, Frames<'a>)> {
        let known = |tid| self.hang.process.threads.iter().any(|thread| thread.tid == tid);
        self.stacks.iter().filter(move |(stack, _)| !known(stack.tid))
    }
}

fn write_in_short(text: &mut String, hang: &Hang, processes: &[Symbolised<'_>]) {
    for note in &hang.notes {
        let _ = writeln!(text, "{note}");
    }
    let mut processes = processes.iter();
    if let Some(first) = processes.next() {
        for thread in first.hang.process.threads.iter().filter(|t| first.of(t.tid).is_none()) {
            write_thread(text, "", thread);
        }
        first.stacks.iter().for_each(|(stack, frames)| write_gist(text, stack, frames));
    }
    for process in processes {
        let _ = writeln!(text, "{}", process_in_words(&process.hang.process));
    }
}

fn write_gist(text: &mut String, stack: &Stack, frames: &Frames<'_>) {
    let Stack { tid, name, .. } = stack;
    let gist = match frames {
        Frames::Known(frames) => gist(frames).map(frame_in_words),
        Frames::Missing(why) => Some(format!("an unknown place: {why}")),
    };
    let gist = gist.unwrap_or_else(|| "an unknown place".into());
    let _ = writeln!(text, "thread {tid} `{name}` in {gist}");
}

/// The innermost function of somebody's workspace, else of which the source is known, else of all.
fn gist(frames: &[Frame]) -> Option<&Frame> {
    let is_own = |frame: &&Frame| frame.file.as_deref().is_some_and(|file| !is_foreign(file));
    let frames = meaningful(frames);
    let known = || frames.iter().find(|frame| frame.file.is_some());
    frames.iter().find(is_own).or_else(known).or_else(|| frames.first())
}

/// A source file of the standard library or of a crate from a registry.
fn is_foreign(file: &str) -> bool {
    file.starts_with("/rustc/") || file.contains("/registry/src/")
}

fn write_process(text: &mut String, symbolised: &Symbolised<'_>) {
    let ProcessHang { process, sockets, .. } = symbolised.hang;
    let _ = writeln!(text, "\n{}", process_in_words(process));
    for thread in &process.threads {
        write_thread(text, "  ", thread);
        if let Some(frames) = symbolised.of(thread.tid) {
            write_frames(text, frames);
        }
    }
    for (stack, frames) in symbolised.strays() {
        let _ = writeln!(text, "  thread {} `{}`", stack.tid, stack.name);
        write_frames(text, frames);
    }
    for (what, list) in [("sockets", sockets), ("fds", &process.fds)] {
        if !list.is_empty() {
            let _ = writeln!(text, "  {what}: {}", list.join(", "));
        }
    }
}

fn process_in_words(process: &Process) -> String {
    let Process { pid, parent, name, command, .. } = process;
    let (state, age) = (state_in_words(process), process.age.as_secs_f64());
    format!("process {pid} `{name}` {state}, {age:.1} s old, child of {parent}: {command}")
}

/// The kernel's state of a process is its first thread's, which mostly waits. What a person looks
/// for is a thread that runs.
fn state_in_words(process: &Process) -> String {
    match process.threads.iter().find(|thread| thread.state == 'R') {
        Some(thread) => format!("running in thread {} `{}`", thread.tid, thread.name),
        None => state_word(process.state).to_owned(),
    }
}

fn write_thread(text: &mut String, indent: &str, thread: &Thread) {
    let Thread { tid, name, state, wait_channel, syscall } = thread;
    let _ = write!(text, "{indent}thread {tid} `{name}` {}", state_word(*state));
    if !wait_channel.is_empty() {
        let _ = write!(text, " in {wait_channel}");
    }
    if let Some(number) = syscall {
        let _ = write!(text, " (system call {number})");
    }
    text.push('\n');
}

fn write_frames(text: &mut String, frames: &Frames<'_>) {
    match frames {
        Frames::Missing(why) => {
            let _ = writeln!(text, "      ({why})");
        }
        Frames::Known(frames) => {
            for frame in meaningful(frames) {
                let _ = writeln!(text, "      {}", frame_in_words(frame));
            }
        }
    }
}

fn frame_in_words(Frame { function, file, line }: &Frame) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("{function} at {file}:{line}"),
        (Some(file), None) => format!("{function} at {file}"),
        (None, _) => function.clone(),
    }
}

/// Without what starts every Rust thread and every case: it says nothing about the hang.
fn meaningful(frames: &[Frame]) -> &[Frame] {
    let starts = |frame: &Frame| {
        frame.function.contains("__rust_begin_short_backtrace")
            || frame.function.starts_with("runner_harness::attempt::")
            || frame.function.contains("::_::REGISTERED::")
    };
    &frames[..frames.iter().position(starts).unwrap_or(frames.len())]
}

fn state_word(state: char) -> &'static str {
    match state {
        'R' => "running",
        'S' => "sleeping",
        'D' => "waiting for a device (cannot be interrupted)",
        'T' => "stopped",
        't' => "stopped by a debugger",
        'Z' => "a zombie",
        'I' => "idle",
        _ => "in an unknown state",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn record(tid: i32, name: &str, text: &str) -> Record {
        let (time, stream) = (Duration::ZERO, Stream::Stdout);
        Record { time, pid: 5, tid, name: name.into(), stream, bytes: text.into() }
    }

    fn shown(records: Vec<Record>) -> String {
        String::from_utf8(attributed(&Output {
            records,
            lost_bytes: 0,
            torn: 0,
            last_events: Vec::new(),
        }))
        .unwrap()
    }

    #[test]
    fn the_body_alone_needs_no_names_and_anybody_else_does() {
        let alone = vec![record(1, "body", "x\ny"), record(1, "body", "z\n")];
        assert_eq!(shown(alone), "x\nyz\n");
        assert_eq!(shown(vec![record(1, "actor", "last words\n")]), "actor[5] | last words\n");
    }

    #[test]
    fn a_line_without_end_does_not_fill_a_report() {
        let records = vec![record(1, "a", &"x".repeat(1 << 20))];
        let text = last_lines(&Output { records, ..Output::default() }, 2);
        assert!(text.len() < 2 * REPORTED_LINE_BYTES, "{}", text.len());
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("bytes are not shown here"), "{text}");
    }

    #[test]
    fn last_lines_are_told_by_writer() {
        let records = vec![record(1, "a", "1\n2\n3\n"), record(2, "b", "x"), record(1, "a", "4\n")];
        let text =
            last_lines(&Output { records, lost_bytes: 0, torn: 0, last_events: Vec::new() }, 2);
        assert_eq!(String::from_utf8(text).unwrap(), "a[5] | 3\na[5] | 4\nb[5] | x\n");
    }

    fn thread(tid: i32, state: char, wait_channel: &str) -> Thread {
        Thread {
            tid,
            name: format!("t{tid}"),
            state,
            wait_channel: wait_channel.into(),
            syscall: None,
        }
    }

    fn process(pid: i32, threads: Vec<Thread>) -> Process {
        Process {
            pid,
            parent: 1,
            name: "suite".into(),
            command: "suite --exact".into(),
            state: 'R',
            age: Duration::from_millis(10_100),
            threads,
            fds: vec!["0 /dev/null".into(), "3 socket:[5]".into()],
        }
    }

    #[test]
    fn a_hang_report_tells_threads_in_short_then_everything() {
        let trace = || Trace::Missing("did not answer".into());
        let stack = |tid| Stack { tid, name: format!("t{tid}"), trace: trace() };
        let first = process(10, vec![thread(10, 'S', "futex_wait_queue"), thread(11, 'R', "")]);
        let event = TraceEvent {
            time: Duration::from_millis(1500),
            pid: 20,
            tid: 21,
            text: "root: closing\n".into(),
        };
        let report = Hang {
            processes: vec![
                ProcessHang { stacks: vec![stack(10), stack(12)], ..ProcessHang::bare(first) },
                ProcessHang {
                    sockets: vec!["3 unix /run/a (listening)".into()],
                    ..ProcessHang::bare(process(20, vec![thread(20, 'T', "")]))
                },
            ],
            notes: vec!["no stack of process 20: it may not be read".into()],
            task_tree: Some("root\n  leaf\n".into()),
            last_events: vec![event],
        };
        let expected = "\
hang report: a::b::fork
no stack of process 20: it may not be read
thread 11 `t11` running
thread 10 `t10` in an unknown place: did not answer
thread 12 `t12` in an unknown place: did not answer
process 20 `suite` running, 10.1 s old, child of 1: suite --exact

process 10 `suite` running in thread 11 `t11`, 10.1 s old, child of 1: suite --exact
  thread 10 `t10` sleeping in futex_wait_queue
      (did not answer)
  thread 11 `t11` running
  thread 12 `t12`
      (did not answer)
  fds: 0 /dev/null, 3 socket:[5]

process 20 `suite` running, 10.1 s old, child of 1: suite --exact
  thread 20 `t20` stopped
  sockets: 3 unix /run/a (listening)
  fds: 0 /dev/null, 3 socket:[5]

actors and tasks
  root
    leaf

last events
     1.500s [20/21] root: closing
";
        assert_eq!(hang("a::b::fork", &report, &mut Symboliser::new()), expected);
    }

    #[test]
    fn a_hang_report_without_stacks_says_why_and_what_threads_wait_for() {
        let first = process(10, vec![thread(10, 'T', "do_signal_stop")]);
        let report = Hang {
            processes: vec![ProcessHang::bare(first)],
            notes: vec!["the watchdog did not run".into()],
            ..Hang::default()
        };
        let text = hang("a::b::fork", &report, &mut Symboliser::new());
        let short = "\nthe watchdog did not run\nthread 10 `t10` stopped in do_signal_stop\n\n";
        assert!(text.contains(short), "{text}");
    }

    #[test]
    fn the_gist_of_a_stack_is_in_somebodys_workspace() {
        let frame = |function: &str, file: Option<&str>| Frame {
            function: function.into(),
            file: file.map(str::to_owned),
            line: Some(7),
        };
        let std = frame("park", Some("/rustc/1/std/thread.rs"));
        let own = frame("spin", Some("/home/me/src/a.rs"));
        let harness = frame("runner_harness::attempt::run", Some("/home/me/attempt.rs"));
        let libc = frame("futex", None);
        assert_eq!(gist(&[libc.clone(), std.clone(), own.clone(), harness.clone()]), Some(&own));
        assert_eq!(gist(&[libc.clone(), std.clone(), harness]), Some(&std));
        assert_eq!(gist(std::slice::from_ref(&libc)), Some(&libc));
        assert_eq!(gist(&[]), None);
    }

    #[test]
    fn pieces_of_interleaved_lines_find_each_other() {
        let records =
            vec![record(1, "a", "one "), record(2, "b", "other\n"), record(1, "a", "line\n")];
        assert_eq!(shown(records), "a[5] | one line\nb[5] | other\n");
    }

    #[test]
    fn an_excerpt_keeps_both_ends_and_counts_the_rest() {
        let text: String = (0..100).map(|i| format!("line {i:02}\n")).collect();
        let short = excerpt(text.as_bytes(), 40);
        let short = std::str::from_utf8(&short).unwrap();
        assert_eq!(short, "line 00\nline 01\n… 768 bytes are not shown here …\nline 98\nline 99\n");
        assert_eq!(&*excerpt(b"short\n", 40), b"short\n");
    }

    #[test]
    fn losses_are_said() {
        let output =
            Output { records: Vec::new(), lost_bytes: 7, torn: 2, last_events: Vec::new() };
        let text = String::from_utf8(attributed(&output)).unwrap();
        assert!(text.contains("7 bytes") && text.contains("2 torn"), "{text}");
    }
}
