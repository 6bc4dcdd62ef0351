//! The text of a hang report: what every process of an attempt did when its deadline passed.
//!
//! Pure: addresses are put into words by whoever calls. Written to its file by `scribe`.

use std::fmt::Write;
use std::time::Duration;

use runner_core::protocol::{Hang, Process, Stack, Stacks, Thread};
use runner_core::symbols::Frame;

/// Everything a report is made from.
#[derive(Clone, Debug)]
pub(super) struct HangFacts {
    /// The case.
    pub(super) case: String,
    /// The suite of the manifest.
    pub(super) suite: String,
    /// What passed.
    pub(super) deadline: Duration,
    /// What the supervisor saw.
    pub(super) hang: Hang,
    /// The last lines of every writer, as `output` renders them.
    pub(super) last_lines: Vec<u8>,
}

/// Puts an address of a process with these maps into words, innermost inlined function first.
pub(super) type Describe<'a> = &'a mut dyn FnMut(&str, u64) -> Vec<Frame>;

/// A stack in words.
struct Told<'a> {
    stack: &'a Stack,
    /// An address and what stands there, innermost first.
    frames: Vec<(u64, Vec<Frame>)>,
}

/// The whole report: first in short what each thread was in, then everything.
pub(super) fn render(facts: &HangFacts, describe: Describe<'_>) -> Vec<u8> {
    let mut text = String::new();
    let seconds = facts.deadline.as_secs_f64();
    line(&mut text, format_args!("hang report: {}", facts.case));
    line(&mut text, format_args!("suite {}, deadline {seconds:.3} s", facts.suite));
    let stacks = tell_stacks(&facts.hang.stacks, describe);
    write_in_short(&mut text, &facts.hang, &stacks);
    for process in &facts.hang.processes {
        write_process(&mut text, process, &stacks);
    }
    write_stray_stacks(&mut text, &facts.hang.processes, &stacks);
    if !facts.last_lines.is_empty() {
        text.push_str("\nlast output\n");
    }
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&facts.last_lines);
    bytes
}

fn tell_stacks<'a>(stacks: &'a Stacks, describe: Describe<'_>) -> Vec<Told<'a>> {
    let mut told = Vec::new();
    match stacks {
        Stacks::Missing(_) => {}
        Stacks::Taken { maps, threads } => {
            for stack in threads {
                let addresses = stack.frames.iter();
                let frames = addresses.map(|&address| (address, describe(maps, address))).collect();
                told.push(Told { stack, frames });
            }
        }
    }
    told
}

/// A line for each thread of the first process, and for every other process.
fn write_in_short(text: &mut String, hang: &Hang, stacks: &[Told<'_>]) {
    let mut processes = hang.processes.iter();
    let first = processes.next();
    match &hang.stacks {
        Stacks::Taken { .. } => stacks.iter().for_each(|told| told.write_gist(text)),
        Stacks::Missing(reason) => {
            line(text, format_args!("no stacks: {reason}"));
            for thread in first.iter().flat_map(|process| &process.threads) {
                line(text, format_args!("{}", thread_in_words(thread)));
            }
        }
    }
    for process in processes {
        line(text, format_args!("{}", process_in_words(process)));
    }
}

impl Told<'_> {
    fn write_gist(&self, text: &mut String) {
        let Stack { tid, name, .. } = self.stack;
        match self.gist() {
            Some(Frame { function, file: Some(file), line: Some(row) }) => {
                line(text, format_args!("thread {tid} `{name}` in {function} at {file}:{row}"));
            }
            Some(Frame { function, .. }) => {
                line(text, format_args!("thread {tid} `{name}` in {function}"));
            }
            None => line(text, format_args!("thread {tid} `{name}` did not answer")),
        }
    }

    /// The innermost function of somebody's workspace, else the innermost of all.
    fn gist(&self) -> Option<&Frame> {
        let mut all = self.frames.iter().flat_map(|(_, frames)| frames);
        let own = |frame: &&Frame| frame.file.as_deref().is_some_and(|file| !is_foreign(file));
        all.clone().find(own).or_else(|| all.next())
    }
}

/// A source file of the standard library or of a crate from a registry.
fn is_foreign(file: &str) -> bool {
    file.starts_with("/rustc/") || file.contains("/registry/src/")
}

fn write_process(text: &mut String, process: &Process, stacks: &[Told<'_>]) {
    text.push('\n');
    line(text, format_args!("{}", process_in_words(process)));
    for thread in &process.threads {
        line(text, format_args!("  {}", thread_in_words(thread)));
        if let Some(told) = stacks.iter().find(|told| told.stack.tid == thread.tid) {
            write_stack(text, told);
        }
    }
    for fd in &process.fds {
        line(text, format_args!("  fd {fd}"));
    }
}

fn process_in_words(process: &Process) -> String {
    let Process { pid, parent, name, command, state, age, .. } = process;
    let (state, age) = (state_in_words(*state), age.as_secs_f64());
    format!("process {pid} `{name}` {state}, {age:.1} s old, child of {parent}: {command}")
}

fn thread_in_words(thread: &Thread) -> String {
    let Thread { tid, name, state, wait_channel } = thread;
    let place = if wait_channel.is_empty() { String::new() } else { format!(" in {wait_channel}") };
    format!("thread {tid} `{name}` {}{place}", state_in_words(*state))
}

/// Stacks of threads that began after `/proc` was read.
fn write_stray_stacks(text: &mut String, processes: &[Process], stacks: &[Told<'_>]) {
    let known = |tid| processes.iter().flat_map(|p| &p.threads).any(|thread| thread.tid == tid);
    for told in stacks.iter().filter(|told| !known(told.stack.tid)) {
        line(text, format_args!("\nthread {} `{}`", told.stack.tid, told.stack.name));
        write_stack(text, told);
    }
}

fn write_stack(text: &mut String, told: &Told<'_>) {
    if told.frames.is_empty() {
        text.push_str("       (did not answer)\n");
    }
    for (depth, (address, frames)) in told.frames.iter().enumerate() {
        write_frames(text, depth, *address, frames);
    }
}

fn write_frames(text: &mut String, depth: usize, address: u64, frames: &[Frame]) {
    if frames.is_empty() {
        line(text, format_args!("    {depth:>3}  {address:#x}"));
    }
    for Frame { function, file, line: row } in frames {
        line(text, format_args!("    {depth:>3}  {function}"));
        match (file, row) {
            (Some(file), Some(row)) => line(text, format_args!("           at {file}:{row}")),
            (Some(file), None) => line(text, format_args!("           at {file}")),
            (None, _) => {}
        }
    }
}

/// The letters of `proc_pid_stat(5)`.
fn state_in_words(state: char) -> String {
    match state {
        'R' => "running".into(),
        'S' => "sleeping".into(),
        'D' => "uninterruptible".into(),
        'T' | 't' => "stopped".into(),
        'Z' => "zombie".into(),
        other => other.to_string(),
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{words}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(tid: i32, state: char, wait_channel: &str) -> Thread {
        Thread { tid, name: format!("t{tid}"), state, wait_channel: wait_channel.into() }
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
            fds: vec!["3 socket:[5]".into()],
        }
    }

    fn report(hang: Hang) -> String {
        let facts = HangFacts {
            case: "area::stuck::fork".into(),
            suite: "suites".into(),
            deadline: Duration::from_secs(10),
            hang,
            last_lines: b"[   0.001s] a (7) out| x\n".to_vec(),
        };
        let mut describe = |_: &str, address: u64| match address {
            50 => vec![Frame {
                function: "park".into(),
                file: Some("/rustc/1/std.rs".into()),
                line: Some(1),
            }],
            100 => vec![
                Frame { function: "inlined".into(), file: Some("a.rs".into()), line: Some(3) },
                Frame { function: "spin".into(), file: Some("a.rs".into()), line: Some(9) },
            ],
            200 => vec![Frame { function: "body".into(), file: None, line: None }],
            _ => Vec::new(),
        };
        String::from_utf8(render(&facts, &mut describe)).unwrap()
    }

    #[test]
    fn tells_processes_threads_stacks_fds_and_last_lines() {
        let stacks = vec![
            Stack { tid: 11, name: "t11".into(), frames: vec![50, 100, 200, 300] },
            Stack { tid: 12, name: "new".into(), frames: vec![200] },
            Stack { tid: 10, name: "t10".into(), frames: Vec::new() },
        ];
        let text = report(Hang {
            processes: vec![
                process(10, vec![thread(10, 'S', "futex_wait_queue"), thread(11, 'R', "")]),
                process(20, vec![thread(20, 'T', "")]),
            ],
            stacks: Stacks::Taken { maps: String::new(), threads: stacks },
        });
        let expected = "\
hang report: area::stuck::fork
suite suites, deadline 10.000 s
thread 11 `t11` in inlined at a.rs:3
thread 12 `new` in body
thread 10 `t10` did not answer
process 20 `suite` running, 10.1 s old, child of 1: suite --exact

process 10 `suite` running, 10.1 s old, child of 1: suite --exact
  thread 10 `t10` sleeping in futex_wait_queue
       (did not answer)
  thread 11 `t11` running
      0  park
           at /rustc/1/std.rs:1
      1  inlined
           at a.rs:3
      1  spin
           at a.rs:9
      2  body
      3  0x12c
  fd 3 socket:[5]

process 20 `suite` running, 10.1 s old, child of 1: suite --exact
  thread 20 `t20` stopped
  fd 3 socket:[5]

thread 12 `new`
      0  body

last output
[   0.001s] a (7) out| x
";
        assert_eq!(text, expected);
    }

    #[test]
    fn says_why_there_are_no_stacks() {
        let stacks = Stacks::Missing("the watchdog did not answer".into());
        let processes = vec![process(10, vec![thread(10, 'D', "")])];
        let text = report(Hang { processes, stacks });
        let short = "\nno stacks: the watchdog did not answer\nthread 10 `t10` uninterruptible\n";
        assert!(text.contains(short), "{text}");
    }
}
