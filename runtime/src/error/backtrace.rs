//! The way to where an error began, as text, if the environment asks for it as it asks std (`RUST_LIB_BACKTRACE`, or else
//! `RUST_BACKTRACE`, set to anything but `0`).
//!
//! In a process with an image of its own that is std's backtrace, with names and lines. In a forked one std's must not be used: it
//! takes a lock that a thread of the parent may have held at the fork, and is then closed for ever. There it is the bare addresses,
//! each as the file it is mapped from and its place in that, which `addr2line -f -e FILE PLACE` makes names of.
#![expect(unsafe_code, reason = "the unwinder's own interface: what std has above it takes a lock")]

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::{c_int, c_void};
use std::fmt::Write;

use crate::spawn;

/// What is kept of one, in bytes: it travels with its error.
const MOST_BYTES: usize = 32 << 10;

/// As many frames as are noted in a forked process.
const MOST_FRAMES: usize = 64;

/// From here. `None` if nobody asked for it.
pub(crate) fn capture() -> Option<String> {
    let mut text = if spawn::is_forked() { of_addresses()? } else { of_std()? };
    if text.len() > MOST_BYTES {
        text.truncate(text.floor_char_boundary(MOST_BYTES));
        text.push_str("…\n");
    }
    Some(text)
}

fn of_std() -> Option<String> {
    let backtrace = Backtrace::capture();
    (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string())
}

fn of_addresses() -> Option<String> {
    is_asked_for().then(|| describe(&addresses(), &Mapping::all()))
}

fn is_asked_for() -> bool {
    let set = |name| std::env::var_os(name).map(|value| value != "0");
    set("RUST_LIB_BACKTRACE").or_else(|| set("RUST_BACKTRACE")).unwrap_or(false)
}

fn describe(addresses: &[usize], mappings: &[Mapping]) -> String {
    let mut text = String::new();
    for (number, address) in addresses.iter().enumerate() {
        let place = mappings.iter().find(|mapping| mapping.holds(*address));
        let _written = match place {
            Some(Mapping { base, file, .. }) => {
                writeln!(text, "{number:4}: {file} {:#x}", address - base)
            }
            None => writeln!(text, "{number:4}: {address:#x}"),
        };
    }
    text
}

/// Memory that code is mapped into.
struct Mapping {
    start: usize,
    end: usize,
    /// Where its file begins.
    base: usize,
    file: String,
}

impl Mapping {
    /// As the kernel lists them: no lock is taken.
    fn all() -> Vec<Mapping> {
        let mut mappings: Vec<Mapping> = Vec::new();
        for line in std::fs::read_to_string("/proc/self/maps").unwrap_or_default().lines() {
            let Some((start, end, file)) = Mapping::parse(line) else { continue };
            let first = mappings.iter().find(|earlier| earlier.file == file);
            let base = first.map_or(start, |first| first.base);
            mappings.push(Mapping { start, end, base, file: file.to_owned() });
        }
        mappings
    }

    /// `start-end permissions offset device inode file`
    fn parse(line: &str) -> Option<(usize, usize, &str)> {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let file = rest.split_whitespace().nth(4).filter(|file| file.starts_with('/'))?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        Some((number(start)?, number(end)?, file))
    }

    fn holds(&self, address: usize) -> bool {
        (self.start..self.end).contains(&address)
    }
}

unsafe extern "C" {
    fn _Unwind_Backtrace(visit: Visit, noted: *mut c_void) -> c_int;
    fn _Unwind_GetIP(frame: *mut c_void) -> usize;
}

type Visit = extern "C" fn(frame: *mut c_void, noted: *mut c_void) -> c_int;

/// `_URC_NO_REASON`: go on; anything else ends the walk.
const GO_ON: c_int = 0;
const ENOUGH: c_int = 5;

/// The unwinder's walk up this stack. What it uses a panic uses too, so it is as safe as the panic it is called for.
fn addresses() -> Vec<usize> {
    let mut noted: Vec<usize> = Vec::with_capacity(MOST_FRAMES);
    // SAFETY: `visit` gets back the vector it is given here, which outlives the walk and is used by nobody else meanwhile.
    unsafe { _Unwind_Backtrace(visit, (&raw mut noted).cast()) };
    noted
}

extern "C" fn visit(frame: *mut c_void, noted: *mut c_void) -> c_int {
    // SAFETY: `addresses` passes its vector, and the unwinder a frame that is valid during this call.
    let (noted, address) = unsafe { (&mut *noted.cast::<Vec<usize>>(), _Unwind_GetIP(frame)) };
    if noted.len() == MOST_FRAMES {
        return ENOUGH;
    }
    // The address is where the call returns to, which may be the next line's.
    noted.push(address.saturating_sub(1));
    GO_ON
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_as_places_in_their_files() {
        let text = describe(&addresses(), &Mapping::all());
        let own = std::env::current_exe().unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.contains(&format!("{} 0x", own.display())), "{text}");
    }

    #[test]
    fn what_is_mapped_from_no_file_is_told_as_it_is() {
        assert_eq!(describe(&[0x10], &[]), "   0: 0x10\n");
        assert!(Mapping::parse("7ff0-7fff rw-p 00000000 00:00 0 [stack]").is_none());
        assert_eq!(
            Mapping::parse("10-20 r-xp 00001000 fd:01 7 /bin/a"),
            Some((0x10, 0x20, "/bin/a"))
        );
    }
}
