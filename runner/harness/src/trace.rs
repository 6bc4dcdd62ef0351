//! Trace points of the program under test: their last words are kept in the attempt's memory.
//!
//! Shown as "last events" in hang reports and beside failures, with process and thread; there also
//! after SIGKILL. Written by every process of an attempt: forked ones inherit it, an exec'd image
//! of the suite binary finds it at the start of [`Harness::main`](crate::Harness::main), before
//! its `divert`.
//!
//! A suite wires a runtime's own trace point to it by a function of its own:
//!
//! ```no_run
//! # mod runtime {
//! #     pub struct Transition;
//! #     impl std::fmt::Display for Transition {
//! #         fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) }
//! #     }
//! #     pub fn install(_: fn(&Transition)) {}
//! #     pub fn divert() {}
//! # }
//! # extern crate runner_harness as runner;
//! fn listen(transition: &runtime::Transition) {
//!     runner::trace_line(format_args!("{transition}"));
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     runtime::install(listen);
//!     runner::harness!().divert(runtime::divert).main()
//! }
//! ```

use std::fmt::{self, Write};

use runner_core::memory::TRACE_EVENT_BYTES;

use crate::capture;

/// Keeps one event: text, cut after [`TRACE_EVENT_BYTES`] bytes. Of many events the last ones are
/// kept. Outside of an attempt it does nothing.
///
/// No lock, no allocation, no system call (but for the first of a thread): fit for a signal handler
/// and for any moment of a forked child's life.
pub fn trace(event: &[u8]) {
    if let Some(memory) = capture::memory() {
        memory.trace(&capture::writer(), event);
    }
}

/// As [`trace`], for what knows how to print itself; printing must not allocate for what is said
/// there to hold.
pub fn trace_line(event: fmt::Arguments<'_>) {
    if capture::memory().is_none() {
        return;
    }
    let mut line = Line { bytes: [0; TRACE_EVENT_BYTES], length: 0 };
    // Fails when the line is full: what was said until then is kept.
    let _ = line.write_fmt(event);
    trace(&line.bytes[..line.length]);
}

struct Line {
    bytes: [u8; TRACE_EVENT_BYTES],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let count = text.len().min(room.len());
        room[..count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count;
        if count == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_its_place_ends() {
        let mut line = Line { bytes: [0; TRACE_EVENT_BYTES], length: 0 };
        assert!(write!(line, "{}é", "x".repeat(TRACE_EVENT_BYTES - 1)).is_err());
        assert_eq!(line.length, TRACE_EVENT_BYTES);
        assert_eq!(&line.bytes[..2], b"xx");
    }
}
