//! Why a plain test failed, as far as its output says it: the exit code knows nothing of that.
//!
//! Pure. Reads what std's panic hook prints, and is wrong where a program prints the like for
//! another reason: it only ever adds words to a failure, never makes or unmakes one.

use runner_core::memory::{Output, Record};
use runner_core::outcome::Outcome;

/// A test ends soon after it panics: what it wrote long before that says nothing.
const LOOKED_AT_BYTES: usize = 1 << 20;

/// The outcome with the words and the place of the panic that the test died of, if there is one.
pub fn explained(outcome: Outcome, test: &str, output: &Output) -> Outcome {
    match outcome {
        Outcome::Fail { message, location: None } => {
            match last_panic(&String::from_utf8_lossy(&end_of(output)), test) {
                Some((location, message)) => Outcome::Fail { message, location: Some(location) },
                None => Outcome::Fail { message, location: None },
            }
        }
        Outcome::Fail { location: Some(_), .. }
        | Outcome::Pass
        | Outcome::ExitedEarly { .. }
        | Outcome::Signalled { .. }
        | Outcome::Timeout
        | Outcome::Leak { .. }
        | Outcome::Skipped { .. }
        | Outcome::Xfail { .. }
        | Outcome::Xpass { .. }
        | Outcome::Unavailable { .. }
        | Outcome::SetupError { .. }
        | Outcome::Interrupted
        | Outcome::RunnerFault { .. } => outcome,
    }
}

/// The last [`LOOKED_AT_BYTES`] of it, and what is before them in the same record.
fn end_of(output: &Output) -> Vec<u8> {
    let mut length = 0;
    let is_wanted = |record: &&Record| {
        let wanted = length < LOOKED_AT_BYTES;
        length += record.bytes.len();
        wanted
    };
    let count = output.records.iter().rev().take_while(is_wanted).count();
    let end = &output.records[output.records.len() - count..];
    end.iter().flat_map(|record| &record.bytes).copied().collect()
}

/// Place and message of the last panic of the test's own thread, else of any. Earlier ones were
/// caught, or were somebody else's.
fn last_panic(text: &str, test: &str) -> Option<(String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let heads = || (0..lines.len()).rev().filter_map(|at| Some((at, head(lines[at])?)));
    let (at, (_, location)) =
        heads().find(|(_, (thread, _))| *thread == test).or_else(|| heads().next())?;
    let message = lines[at + 1..].iter().take_while(|line| !ends_message(line));
    let message: Vec<&str> = message.copied().collect();
    Some((location.to_owned(), message.join("\n")))
}

/// Thread and place of `thread 'NAME' (ID) panicked at PLACE:`, with or without the id.
fn head(line: &str) -> Option<(&str, &str)> {
    let (thread, location) = line.strip_prefix("thread '")?.split_once(" panicked at ")?;
    let (thread, _) = thread.rsplit_once('\'')?;
    Some((thread, location.strip_suffix(':')?))
}

fn ends_message(line: &str) -> bool {
    line.is_empty()
        || line.starts_with("note: run with `RUST_BACKTRACE")
        || line == "stack backtrace:"
}

#[cfg(test)]
mod tests {
    use super::last_panic;

    #[test]
    fn the_last_panic_of_the_test_is_the_reason() {
        let text = "\
running 1 test

thread 'a::b' (7) panicked at src/a.rs:1:2:
caught
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace

thread 'a::b' (7) panicked at src/a.rs:3:4:
assertion `left == right` failed
  left: 1
 right: 2
stack backtrace:
   0: rust_begin_unwind

thread 'helper' (8) panicked at src/c.rs:5:6:
because of it
";
        let expected = "assertion `left == right` failed\n  left: 1\n right: 2".to_owned();
        assert_eq!(last_panic(text, "a::b"), Some(("src/a.rs:3:4".to_owned(), expected)));
        let any = Some(("src/c.rs:5:6".to_owned(), "because of it".to_owned()));
        assert_eq!(last_panic(text, "another"), any);
    }

    #[test]
    fn other_output_is_no_panic() {
        for text in ["", "thread 'x' has overflowed its stack", "panicked at src/a.rs:1:2:\n"] {
            assert_eq!(last_panic(text, "x"), None, "{text}");
        }
        let old = "thread 'x' panicked at src/a.rs:1:2:\nno id";
        assert_eq!(last_panic(old, "x"), Some(("src/a.rs:1:2".into(), "no id".into())));
    }
}
