//! Which descriptors a child gets: standard streams, its link, what its environment says to keep, and fresh ones in
//! place of tokio's process-wide pair.
//!
//! If anything in the program enables tokio's `signal` or `process` feature, the first runtime with I/O makes a
//! socket pair that lives as long as the process. A forked child that lost it could build no runtime, and one that
//! was given another descriptor of that number would have tokio read from it. So the numbers are learnt while
//! nothing else can open descriptors, never given to anybody, and filled anew in each forked child.
#![expect(unsafe_code, reason = "descriptors by number")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::kernel::close_range;
use super::summons::Tokio;

/// Names descriptors, separated by commas, that every process started from here shall keep: the program around the
/// runtime has given them to this process for its children's use.
const KEEP: &str = "SPAWN_KEEP_FDS";

static TOKIO: OnceLock<Vec<RawFd>> = OnceLock::new();

/// Descriptors that `SPAWN_KEEP_FDS` names. Anything in it that is not a number is not a descriptor.
pub(super) fn kept() -> Vec<RawFd> {
    let Some(list) = std::env::var_os(KEEP) else { return Vec::new() };
    list.to_string_lossy()
        .split(',')
        .filter_map(|number| number.trim().parse().ok())
        .filter(|fd| *fd > 2)
        .collect()
}

/// What is known of this image's tokio.
pub(super) fn tokio() -> Tokio {
    match TOKIO.get() {
        Some(kept) if kept.is_empty() => Tokio::KeepsNothing,
        Some(_) | None => Tokio::Unknown,
    }
}

/// Learns tokio's process-wide descriptors, unless that there are none is `known`. To be called while this is the
/// only thread.
pub(super) fn learn_tokio(known: Tokio) -> io::Result<()> {
    let kept = match known {
        Tokio::KeepsNothing => Vec::new(),
        Tokio::Unknown => find_tokio()?,
    };
    TOKIO.get_or_init(|| kept);
    Ok(())
}

fn find_tokio() -> io::Result<Vec<RawFd>> {
    let before = open_numbers()?;
    drop(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
    let mut new = open_numbers()?;
    new.retain(|fd| !before.contains(fd));
    Ok(new)
}

/// Closes all that a forked child was not given, and refills tokio's numbers. To be called while this is the only
/// thread of a new process.
pub(super) fn scrub(mut granted: Vec<RawFd>) -> io::Result<()> {
    let tokio = TOKIO.get().map_or(&[][..], Vec::as_slice);
    granted.extend_from_slice(tokio);
    close_all_but(granted)?;
    tokio.chunks(2).try_for_each(refill)
}

fn close_all_but(mut keep: Vec<RawFd>) -> io::Result<()> {
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().filter_map(|fd| u32::try_from(fd).ok()) {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX, 0)
}

/// Puts the ends of a fresh pair, which nobody shares, onto the numbers.
fn refill(numbers: &[RawFd]) -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (one, other) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
    for (end, number) in [one, other].iter().zip(numbers) {
        // SAFETY: what the number referred to was the parent's, and no thread of this process uses it.
        Errno::result(unsafe { libc::dup3(end.as_raw_fd(), *number, libc::O_CLOEXEC) })?;
    }
    Ok(())
}

/// Marks a descriptor to be closed (or kept) when the image is replaced. Async-signal-safe.
pub(super) fn set_inherited(fd: RawFd, inherited: Inherited) -> io::Result<()> {
    let flags = match inherited {
        Inherited::Yes => 0,
        Inherited::No => libc::FD_CLOEXEC,
    };
    // SAFETY: takes integers; a number that is not open is an error.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) })?;
    Ok(())
}

/// Whether a descriptor outlives the image.
#[derive(Clone, Copy)]
pub(super) enum Inherited {
    Yes,
    No,
}

/// Takes over a descriptor this process was started with.
///
/// The caller answers for being the only one to do so.
pub(super) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: passed by number to this image, of which nothing else has run yet.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn open_numbers() -> io::Result<Vec<RawFd>> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        if let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            open.push(fd);
        }
    }
    // The directory was open while it was read; its number is free again.
    open.retain(|fd| is_open(*fd));
    Ok(open)
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: takes integers; a number that is not open is an error.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}
