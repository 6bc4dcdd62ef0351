//! Captured records as text: lines, each with who wrote it and when.
//!
//! Pure. A record is one write of one thread and may hold part of a line or many; what one thread
//! wrote to one stream is put together to lines, whatever others wrote in between.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use runner_core::memory::{Output, Record, Stream};

/// One line of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// When its end was written, since the attempt started.
    time: Duration,
    pid: i32,
    /// The actor, else the thread.
    name: &'a str,
    stream: Stream,
    /// As written, without the line feed.
    text: Vec<u8>,
}

/// The whole output as it is kept in a file, last what is missing from it.
pub(super) fn render(output: &Output) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines(&output.records) {
        line.write_to(&mut text);
    }
    text.extend_from_slice(missing(output).as_bytes());
    text
}

/// The last `count` lines of each writer, writers in the order in which they first wrote.
pub(super) fn last_lines(output: &Output, count: usize) -> Vec<u8> {
    let mut writers: Vec<((i32, &str), Vec<Line<'_>>)> = Vec::new();
    for line in lines(&output.records) {
        let writer = (line.pid, line.name);
        match writers.iter_mut().find(|(known, _)| *known == writer) {
            Some((_, lines)) => lines.push(line),
            None => writers.push((writer, vec![line])),
        }
    }
    let mut text = Vec::new();
    for (_, lines) in &writers {
        for line in &lines[lines.len().saturating_sub(count)..] {
            line.write_to(&mut text);
        }
    }
    text
}

impl Line<'_> {
    fn write_to(&self, text: &mut Vec<u8>) {
        let stream = match self.stream {
            Stream::Stdout => "out",
            Stream::Stderr => "err",
        };
        let (time, name, pid) = (self.time.as_secs_f64(), self.name, self.pid);
        // Writing to a vector cannot fail.
        let _ = write!(text, "[{time:>8.3}s] {name} ({pid}) {stream}| ");
        text.extend_from_slice(&self.text);
        text.push(b'\n');
    }
}

/// Lines in the order in which they were ended; what never was comes last.
fn lines(records: &[Record]) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut open: HashMap<(i32, i32, Stream), Line<'_>> = HashMap::new();
    for record in records {
        let writer = (record.pid, record.tid, record.stream);
        for piece in record.bytes.split_inclusive(|&byte| byte == b'\n') {
            let mut line = open.remove(&writer).unwrap_or_else(|| Line::begin(record));
            line.time = record.time;
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    line.text.extend_from_slice(end);
                    lines.push(line);
                }
                None => {
                    line.text.extend_from_slice(piece);
                    open.insert(writer, line);
                }
            }
        }
    }
    let mut unended: Vec<Line<'_>> = open.into_values().collect();
    unended.sort_by_key(|line| (line.time, line.pid));
    lines.extend(unended);
    lines
}

impl<'a> Line<'a> {
    fn begin(record: &'a Record) -> Self {
        Self {
            time: record.time,
            pid: record.pid,
            name: &record.name,
            stream: record.stream,
            text: Vec::new(),
        }
    }
}

fn missing(output: &Output) -> String {
    let mut text = String::new();
    if output.lost_bytes > 0 {
        text += &format!(
            "runner: {} bytes in the middle exceeded the capture limit and are lost\n",
            output.lost_bytes
        );
    }
    if output.torn > 0 {
        text += &format!("runner: {} writes were cut off by their writer's death\n", output.torn);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(millis: u64, tid: i32, name: &str, stream: Stream, text: &str) -> Record {
        Record {
            time: Duration::from_millis(millis),
            pid: 7,
            tid,
            name: name.into(),
            stream,
            bytes: text.into(),
        }
    }

    fn output(records: Vec<Record>) -> Output {
        Output { records, lost_bytes: 0, torn: 0 }
    }

    fn rendered(records: Vec<Record>) -> String {
        String::from_utf8(render(&output(records))).unwrap()
    }

    #[test]
    fn lines_say_when_who_and_where() {
        let text = rendered(vec![
            record(1, 7, "root", Stream::Stdout, "one\ntwo\n"),
            record(1234, 8, "root/child", Stream::Stderr, "three\n"),
        ]);
        assert_eq!(
            text,
            "[   0.001s] root (7) out| one\n\
             [   0.001s] root (7) out| two\n\
             [   1.234s] root/child (7) err| three\n"
        );
    }

    #[test]
    fn pieces_of_a_line_are_put_together_across_other_writers() {
        let text = rendered(vec![
            record(1, 7, "a", Stream::Stderr, "be"),
            record(2, 8, "b", Stream::Stderr, "other\n"),
            record(3, 7, "a", Stream::Stdout, "elsewhere\n"),
            record(4, 7, "a", Stream::Stderr, "gin\nen"),
            record(5, 7, "a", Stream::Stderr, "d"),
        ]);
        assert_eq!(
            text,
            "[   0.002s] b (7) err| other\n\
             [   0.003s] a (7) out| elsewhere\n\
             [   0.004s] a (7) err| begin\n\
             [   0.005s] a (7) err| end\n"
        );
    }

    #[test]
    fn bytes_that_are_no_text_pass_unchanged() {
        let mut odd = record(0, 7, "a", Stream::Stdout, "");
        odd.bytes = vec![0xff, b'\n'];
        assert!(render(&output(vec![odd])).ends_with(b"| \xff\n"));
    }

    #[test]
    fn says_what_is_missing() {
        let text = render(&Output { records: Vec::new(), lost_bytes: 5, torn: 1 });
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("5 bytes") && text.contains("1 writes"), "{text}");
        assert_eq!(rendered(Vec::new()), "");
    }

    #[test]
    fn last_lines_are_told_by_writer() {
        let text = last_lines(
            &output(vec![
                record(1, 7, "a", Stream::Stdout, "1\n2\n3\n"),
                record(2, 8, "b", Stream::Stdout, "x\n"),
                record(3, 7, "a", Stream::Stdout, "4\n"),
            ]),
            2,
        );
        let text = String::from_utf8(text).unwrap();
        let told: Vec<&str> = text.lines().filter_map(|l| l.split("| ").nth(1)).collect();
        assert_eq!(told, ["3", "4", "x"]);
    }
}
