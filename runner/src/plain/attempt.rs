//! What an attempt of a plain binary is: libtest's arguments for one test, and nextest's variables
//! about it. Pure.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;

use runner_core::protocol::{Attempt, Program, Stdin, Work};

use crate::execute::{Harness, SuiteBinary};
use crate::nextest::{self, AttemptFacts};

/// What of an attempt only the executor knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances<'a> {
    /// The test, as the binary lists it.
    pub test: &'a str,
    /// How many tries there may be.
    pub total_attempts: u32,
    /// The group, if the test has one.
    pub group: Option<&'a str>,
    /// How many slots there are.
    pub slots: usize,
    /// The round of stress, from 1, and how many there will be if that is known.
    pub stress: Option<(u32, Option<u32>)>,
    /// Arguments after ours, by `run-extra-args`.
    pub extra_args: &'a [String],
}

/// The attempt as the supervisor of plain binaries is told it; one of a binary of ours is left as
/// it is.
pub fn attempt(
    mut attempt: Attempt,
    binary: &SuiteBinary,
    circumstances: Circumstances<'_>,
) -> Attempt {
    let Harness::Plain { ignored } = &binary.harness else {
        return attempt;
    };
    let Circumstances { test, total_attempts, group, slots, stress, extra_args } = circumstances;
    let facts = AttemptFacts {
        test,
        attempt: attempt.attempt,
        total_attempts,
        group,
        slot: attempt.slot,
        slots,
        stress,
    };
    let mut arguments: Vec<OsString> = vec![binary.path.clone().into_os_string()];
    arguments.extend(["--exact", test, "--nocapture"].map(OsString::from));
    if ignored.contains(test) {
        arguments.push("--ignored".into());
    }
    arguments.extend(extra_args.iter().map(OsString::from));
    let program = Program { image: image(binary.file.as_raw_fd()), arguments, stdin: Stdin::Null };
    attempt.work = Work::Program(program);
    attempt.env.extend(nextest::attempt(&facts, &binary.env));
    attempt.env.push((nextest::PHASE.into(), nextest::PHASE_RUN.into()));
    attempt
}

const FDS: &str = "/proc/self/fd";

/// A file by the number it has in the supervisor.
fn image(fd: RawFd) -> PathBuf {
    PathBuf::from(format!("{FDS}/{fd}"))
}

/// The number in such a path.
pub(super) fn fd_of(image: &std::path::Path) -> Option<RawFd> {
    image.strip_prefix(FDS).ok()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_an_image_is_known_by_its_number() {
        assert_eq!(fd_of(&image(17)), Some(17));
        for other in ["/proc/self/fd", "/proc/self/fd/x", "/proc/1/fd/3", "/bin/true"] {
            assert_eq!(fd_of(other.as_ref()), None, "{other}");
        }
    }
}
