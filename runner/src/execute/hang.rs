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

/// The whole report.
pub(super) fn render(facts: &HangFacts, describe: Describe<'_>) -> Vec<u8> {
    let mut text = String::new();
    let seconds = facts.deadline.as_secs_f64();
    line(&mut text, format_args!("hang report: {}", facts.case));
    line(&mut text, format_args!("suite {}, deadline {seconds:.3} s", facts.suite));
    for (place, process) in facts.hang.processes.iter().enumerate() {
        // Stacks are those of the attempt's first process.
        let stacks = (place == 0).then_some(&facts.hang.stacks);
        write_process(&mut text, process, stacks, describe);
    }
    if facts.hang.processes.is_empty() {
        write_stray_stacks(&mut text, &facts.hang.stacks, &[], describe);
    }
    if !facts.last_lines.is_empty() {
        text.push_str("\nlast output\n");
    }
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&facts.last_lines);
    bytes
}

fn write_process(
    text: &mut String,
    process: &Process,
    stacks: Option<&Stacks>,
    describe: Describe<'_>,
) {
    let Process { pid, parent, name, command, state, age, threads, fds } = process;
    let age = age.as_secs_f64();
    text.push('\n');
    line(
        text,
        format_args!(
            "process {pid} `{name}` {state}, {age:.1} s old, child of {parent}: {command}"
        ),
    );
    for thread in threads {
        write_thread(text, thread);
        if let Some(Stacks::Taken { maps, threads: stacks }) = stacks {
            let stack = stacks.iter().find(|stack| stack.tid == thread.tid);
            write_stack(text, stack, maps, describe);
        }
    }
    if let Some(stacks) = stacks {
        write_stray_stacks(text, stacks, threads, describe);
    }
    for fd in fds {
        line(text, format_args!("  fd {fd}"));
    }
}

fn write_thread(text: &mut String, thread: &Thread) {
    let Thread { tid, name, state, wait_channel } = thread;
    let place = if wait_channel.is_empty() { String::new() } else { format!(" in {wait_channel}") };
    line(text, format_args!("  thread {tid} `{name}` {}{place}", state_in_words(*state)));
}

/// Stacks of threads that `/proc` did not show, and why there are none.
fn write_stray_stacks(
    text: &mut String,
    stacks: &Stacks,
    known: &[Thread],
    describe: Describe<'_>,
) {
    match stacks {
        Stacks::Missing(reason) => line(text, format_args!("  no stacks: {reason}")),
        Stacks::Taken { maps, threads } => {
            let stray = |stack: &&Stack| known.iter().all(|thread| thread.tid != stack.tid);
            for stack in threads.iter().filter(stray) {
                line(text, format_args!("  thread {} `{}`", stack.tid, stack.name));
                write_stack(text, Some(stack), maps, describe);
            }
        }
    }
}

fn write_stack(text: &mut String, stack: Option<&Stack>, maps: &str, describe: Describe<'_>) {
    let frames = stack.map_or(&[][..], |stack| &stack.frames);
    if frames.is_empty() {
        text.push_str("       (did not answer)\n");
    }
    for (depth, &address) in frames.iter().enumerate() {
        write_frames(text, depth, address, &describe(maps, address));
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
            Stack { tid: 11, name: "t11".into(), frames: vec![100, 200, 300] },
            Stack { tid: 12, name: "gone".into(), frames: Vec::new() },
        ];
        let text = report(Hang {
            processes: vec![
                process(10, vec![thread(10, 'S', "futex_wait_queue"), thread(11, 'R', "")]),
                process(20, vec![thread(20, 'T', "")]),
            ],
            stacks: Stacks::Taken { maps: String::new(), threads: stacks },
        });
        assert_eq!(
            text,
            "hang report: area::stuck::fork\n\
             suite suites, deadline 10.000 s\n\
             \n\
             process 10 `suite` R, 10.1 s old, child of 1: suite --exact\n  \
             thread 10 `t10` sleeping in futex_wait_queue\n       \
             (did not answer)\n  \
             thread 11 `t11` running\n      \
             0  inlined\n           at a.rs:3\n      \
             0  spin\n           at a.rs:9\n      \
             1  body\n      \
             2  0x12c\n  \
             thread 12 `gone`\n       \
             (did not answer)\n  \
             fd 3 socket:[5]\n\
             \n\
             process 20 `suite` R, 10.1 s old, child of 1: suite --exact\n  \
             thread 20 `t20` stopped\n  \
             fd 3 socket:[5]\n\
             \n\
             last output\n\
             [   0.001s] a (7) out| x\n"
        );
    }

    #[test]
    fn says_why_there_are_no_stacks() {
        let stacks = Stacks::Missing("the watchdog did not answer".into());
        let processes = vec![process(10, vec![thread(10, 'D', "")])];
        let text = report(Hang { processes, stacks: stacks.clone() });
        assert!(text.contains("  no stacks: the watchdog did not answer\n"), "{text}");
        assert!(text.contains("thread 10 `t10` uninterruptible\n"), "{text}");
        let text = report(Hang { processes: Vec::new(), stacks });
        assert!(text.contains("  no stacks: the watchdog did not answer\n"), "{text}");
    }
}
