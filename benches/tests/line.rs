//! Ways of a line out of a process, timed inside a captured case.
//!
//! Each test answers with seconds per line of every batch, in the file that `BENCHES_ANSWER` names;
//! without one it is skipped.

use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use nix::fcntl::OFlag;
use runner::TestResult;

fn main() -> ExitCode {
    runner::harness!().main()
}

/// 80 with the newline.
const LINE: &str =
    "a line of eighty bytes as a test might print it: 0123456789 0123456789 012345678";
const BATCHES: usize = 40;
/// Fits into a pipe of the default size.
const LINES: usize = 500;
/// More than there is room for in a slot's memory.
const FLOOD: usize = 1 << 19;

/// Into memory that nothing was written to before: the kernel has to find each page of it.
#[runner::test]
fn println() -> TestResult {
    answer(|| batches(print_line, || Ok(())))
}

/// Into memory that was written to before.
#[runner::test]
fn println_after_flood() -> TestResult {
    answer(|| {
        (0..FLOOD).for_each(|_| print_line());
        batches(print_line, || Ok(()))
    })
}

/// What capture through pipes costs at least. Nobody reads while the clock runs: a reader that is
/// woken up costs more.
#[runner::test]
fn pipe_write() -> TestResult {
    answer(|| {
        let (from, into) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let line = format!("{LINE}\n");
        let mut sink = vec![0; LINES * line.len()];
        let one = || {
            let _count = nix::unistd::write(&into, black_box(line.as_bytes()));
        };
        // Every line of the batch is waited for: one that was not taken would be missed here.
        let drain = || {
            let mut read = 0;
            while read < sink.len() {
                read += nix::unistd::read(&from, &mut sink)?;
            }
            Ok(())
        };
        batches(one, drain)
    })
}

/// The least that could be called capture.
#[runner::test]
fn copy() -> TestResult {
    answer(|| {
        let cursor = AtomicUsize::new(0);
        let line = format!("{LINE}\n");
        let mut room = vec![0_u8; LINES * line.len()];
        let one = || {
            let bytes = black_box(line.as_bytes());
            let at = cursor.fetch_add(bytes.len(), Ordering::Relaxed) % room.len();
            room[at..at + bytes.len()].copy_from_slice(bytes);
        };
        batches(one, || Ok(()))
    })
}

fn print_line() {
    println!("{}", black_box(LINE));
}

/// Seconds of `one`, in each of the batches. `between` is not timed.
fn batches(
    mut one: impl FnMut(),
    mut between: impl FnMut() -> nix::Result<()>,
) -> nix::Result<Vec<f64>> {
    let mut samples = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let started = Instant::now();
        for _ in 0..LINES {
            one();
        }
        samples.push(started.elapsed().as_secs_f64() / LINES as f64);
        between()?;
    }
    Ok(samples)
}

fn answer(measure: impl FnOnce() -> nix::Result<Vec<f64>>) -> TestResult {
    let Some(path) = std::env::var_os("BENCHES_ANSWER") else {
        runner::skip!("nobody asks for a figure");
    };
    Ok(fs::write(path, serde_json::to_vec(&measure()?)?)?)
}
