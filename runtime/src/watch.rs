//! The scheduler's watch over a descriptor: wakes a task when it is worth another try.
//!
//! Used by `spawn` for the ends of processes and by `ipc` for sockets. tokio's own sockets are always watched for both
//! directions, and so wake their task again each time the peer has read something: one wake-up too many for each message.
#![expect(
    unsafe_code,
    reason = "the registration asks for what an owned descriptor is by its type"
)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the calling task's scheduler watch `fd` for `interest`.
///
/// # Panics
/// Outside a tokio runtime with I/O enabled.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, and always the same descriptor, for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
