//! The part of a file that is shown in place: the end of an output, the beginning of a report.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::printable;

/// Lines of a file, and how many are not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) lines: Vec<String>,
    pub(super) omitted: Omitted,
}

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omitted {
    /// Nothing.
    Nothing,
    /// So many lines before or after.
    Lines(usize),
    /// More than was worth counting.
    Much,
}

/// Only so much of a file is looked at, in bytes.
const WINDOW_BYTES: u64 = 256 << 10;

/// The last lines of a file.
pub(super) fn end_of(path: &Path, count: usize) -> io::Result<Excerpt> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(WINDOW_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut lines = lines(file)?;
    let more = lines.len().saturating_sub(count);
    lines.drain(..more);
    Ok(Excerpt { lines, omitted: Omitted::new(more, skipped) })
}

/// The first lines of a file, up to the first empty one.
pub(super) fn first_paragraph_of(path: &Path, count: usize) -> io::Result<Excerpt> {
    let file = File::open(path)?;
    let beyond = file.metadata()?.len().saturating_sub(WINDOW_BYTES);
    let mut lines = lines(file)?;
    let end = lines.iter().position(String::is_empty).unwrap_or(lines.len()).min(count);
    let more = lines.len() - end;
    lines.truncate(end);
    Ok(Excerpt { lines, omitted: Omitted::new(more, beyond) })
}

impl Omitted {
    fn new(lines: usize, bytes: u64) -> Self {
        match (lines, bytes) {
            (0, 0) => Self::Nothing,
            (lines, 0) => Self::Lines(lines),
            (_, _) => Self::Much,
        }
    }
}

fn lines(file: File) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    file.take(WINDOW_BYTES).read_to_end(&mut bytes)?;
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    Ok(text.split(|byte| *byte == b'\n').map(printable::line).collect())
}
