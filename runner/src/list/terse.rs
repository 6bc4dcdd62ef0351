//! Libtest's list of tests: a line `NAME: test` or `NAME: benchmark` for each.
//!
//! Pure. As strict as nextest, with the line that is wrong in the error: what else stands in the
//! list could be a test that nobody would miss.

use crate::printable;

/// Names of tests (and of benchmarks, which are run once each), in the order of the list.
///
/// # Errors
/// The first line that is no test's, by number, for a person.
pub(super) fn names(list: &[u8]) -> Result<Vec<String>, String> {
    let lines = list.split_inclusive(|byte| *byte == b'\n').zip(1..);
    lines.map(|(line, number)| name(line, number)).collect()
}

fn name(line: &[u8], number: usize) -> Result<String, String> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(|_| format!("line {number} is not UTF-8"))?;
    let name = KINDS.iter().find_map(|kind| text.strip_suffix(kind)).unwrap_or_default();
    if name.is_empty() {
        let shown = printable::line(line);
        return Err(format!(
            "line {number} is neither `NAME: test` nor `NAME: benchmark`: {shown}"
        ));
    }
    Ok(name.to_owned())
}

const KINDS: [&str; 2] = [": test", ": benchmark"];

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_name_is_what_stands_before_its_kind() {
        for (list, expected) in [
            ("", &[][..]),
            ("a::b: test\n", &["a::b"]),
            ("a: test\nb: benchmark\n", &["a", "b"]),
            ("no newline: test", &["no newline"]),
            ("windows: test\r\n", &["windows"]),
            ("[slow] k(1, 2): test: test\n", &["[slow] k(1, 2): test"]),
            ("twice: test\ntwice: test\n", &["twice", "twice"]),
        ] {
            assert_eq!(names(list.as_bytes()).expect(list), expected, "{list}");
        }
    }

    #[test]
    fn any_other_line_is_wrong_and_named() {
        for (list, expected) in [
            (
                &b"a: test\nhello\n"[..],
                "line 2 is neither `NAME: test` nor `NAME: benchmark`: hello",
            ),
            (b"b1: bench\n", "line 1 is neither `NAME: test` nor `NAME: benchmark`: b1: bench"),
            (b"a: test\n\n", "line 2 is neither `NAME: test` nor `NAME: benchmark`: "),
            (b": test\n", "line 1 is neither `NAME: test` nor `NAME: benchmark`: : test"),
            (b"a: test\n\xff\xfe: test\n", "line 2 is not UTF-8"),
            (
                b"\x1b[31mred",
                "line 1 is neither `NAME: test` nor `NAME: benchmark`: \u{fffd}[31mred",
            ),
        ] {
            assert_eq!(names(list).expect_err(expected), expected);
        }
    }
}
