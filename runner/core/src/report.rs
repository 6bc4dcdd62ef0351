//! What an attempt left, as text for a person: its attributed output and its hang report.
//!
//! Called by the runner for the files in a run's folder and by the other faces for the text of a
//! failure; both show the same.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use crate::memory::{Output, Record, Stream};
use crate::protocol::{Hang, Process, Stack, Stacks, Thread};
use crate::symbols::{Frame, Symboliser};

/// Output line by line, in the order in which lines were begun. As soon as more than one thread
/// wrote, each line says who: `name[pid] | line`. What was lost or torn is said at the end.
pub fn attributed(output: &Output) -> Vec<u8> {
    let lines = lines(&output.records);
    let writers: HashSet<(i32, i32)> = lines.iter().map(|line| (line.pid, line.tid)).collect();
    let mut text = Vec::new();
    for line in &lines {
        if writers.len() > 1 {
            text.extend_from_slice(format!("{}[{}] | ", line.name, line.pid).as_bytes());
        }
        text.extend_from_slice(&line.bytes);
        text.push(b'\n');
    }
    text.extend_from_slice(losses(output).as_bytes());
    text
}

/// The hang report: every process with its threads and fds, and the stacks that were taken.
pub fn hang(case_id: &str, hang: &Hang, symboliser: &mut Symboliser) -> String {
    let mut text = format!("hang report of {case_id}\n");
    let mut stacks = Symbolised::new(&hang.stacks, symboliser);
    for (index, process) in hang.processes.iter().enumerate() {
        let stacks = (index == 0).then_some(&mut stacks);
        write_process(&mut text, process, stacks);
    }
    if let Stacks::Missing(why) = &hang.stacks {
        let _ = writeln!(text, "\nno stacks of the first process: {why}");
    }
    text
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
    bytes: Vec<u8>,
}

/// Joins the pieces of each thread's lines: another thread's line may come between them.
fn lines(records: &[Record]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut open: HashMap<(i32, i32, Stream), usize> = HashMap::new();
    for record in records {
        let writer = (record.pid, record.tid, record.stream);
        for piece in record.bytes.split_inclusive(|byte| *byte == b'\n') {
            let index = *open.entry(writer).or_insert_with(|| {
                let Record { pid, tid, name, .. } = record;
                lines.push(Line { pid: *pid, tid: *tid, name, bytes: Vec::new() });
                lines.len() - 1
            });
            lines[index].bytes.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            if piece.ends_with(b"\n") {
                open.remove(&writer);
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

/// The stacks of the first process, each with its frames described.
struct Symbolised<'a> {
    threads: Vec<(&'a Stack, Vec<Frame>)>,
}

impl<'a> Symbolised<'a> {
    fn new(stacks: &'a Stacks, symboliser: &mut Symboliser) -> Self {
        let Stacks::Taken { maps, threads } = stacks else {
            return Self { threads: Vec::new() };
        };
        let mut describe = |stack: &Stack| -> Vec<Frame> {
            stack.frames.iter().flat_map(|frame| symboliser.describe(maps, *frame)).collect()
        };
        Self { threads: threads.iter().map(|stack| (stack, describe(stack))).collect() }
    }

    fn of(&self, tid: i32) -> Option<&[Frame]> {
        let (_, frames) = self.threads.iter().find(|(stack, _)| stack.tid == tid)?;
        Some(frames)
    }
}

fn write_process(text: &mut String, process: &Process, stacks: Option<&mut Symbolised<'_>>) {
    let Process { pid, parent, name, command, state, age, threads, fds } = process;
    let age = age.as_secs_f64();
    let _ = writeln!(text, "\nprocess {pid} {name}: {command}");
    let _ = writeln!(text, "  state {state}, parent {parent}, {age:.1} s old");
    for thread in threads {
        write_thread(text, thread);
        if let Some(frames) = stacks.as_ref().and_then(|stacks| stacks.of(thread.tid)) {
            write_stack(text, frames);
        }
    }
    if !fds.is_empty() {
        let _ = writeln!(text, "  fds: {}", fds.join(", "));
    }
}

fn write_thread(text: &mut String, thread: &Thread) {
    let Thread { tid, name, state, wait_channel } = thread;
    let _ = write!(text, "  thread {tid} {name}: {}", state_word(*state));
    if !wait_channel.is_empty() {
        let _ = write!(text, " in {wait_channel}");
    }
    text.push('\n');
}

fn write_stack(text: &mut String, frames: &[Frame]) {
    if frames.is_empty() {
        text.push_str("      (did not answer)\n");
    }
    for frame in meaningful(frames) {
        let _ = write!(text, "      {}", frame.function);
        if let (Some(file), Some(line)) = (&frame.file, frame.line) {
            let _ = write!(text, "  {file}:{line}");
        }
        text.push('\n');
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
        String::from_utf8(attributed(&Output { records, lost_bytes: 0, torn: 0 })).unwrap()
    }

    #[test]
    fn one_writer_needs_no_names() {
        assert_eq!(shown(vec![record(1, "a", "x\ny"), record(1, "a", "z\n")]), "x\nyz\n");
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
        let output = Output { records: Vec::new(), lost_bytes: 7, torn: 2 };
        let text = String::from_utf8(attributed(&output)).unwrap();
        assert!(text.contains("7 bytes") && text.contains("2 torn"), "{text}");
    }
}
