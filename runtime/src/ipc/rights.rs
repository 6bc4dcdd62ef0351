//! Bytes and descriptors over a stream socket.
//!
//! Descriptors arrive with the first byte they were sent with, or after none of it: the kernel does not merge what different writes
//! sent along. Reference: unix(7), `SCM_RIGHTS`.
#![expect(unsafe_code, reason = "what the kernel hands over is a number that nobody owns yet")]

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Room for what one message may bring along: a header, and the most that the kernel takes.
const CONTROL_BYTES: usize = 16 + 253 * size_of::<RawFd>() + 12;

/// The buffer that [`recv`] needs.
pub(super) fn control_buffer() -> Vec<u8> {
    vec![0; CONTROL_BYTES]
}

/// Writes some of `bytes`, with `ends` at the first of them.
pub(super) fn send(
    socket: &OwnedFd,
    bytes: &[u8],
    ends: &[OwnedFd],
    flags: MsgFlags,
) -> Result<usize, Errno> {
    let numbers: Vec<RawFd> = ends.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], &rights, flags, None)
}

/// Reads what is there; descriptors go to `arrived`.
///
/// # Errors
/// Also `EMFILE`, if this process had no room for the descriptors: those are lost then.
pub(super) fn recv(
    socket: &OwnedFd,
    room: &mut [u8],
    control: &mut [u8],
    arrived: &mut VecDeque<OwnedFd>,
    flags: MsgFlags,
) -> Result<usize, Errno> {
    let mut room = [IoSliceMut::new(room)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut room, Some(control), flags)?;
    if received.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(Errno::EMFILE);
    }
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows of them.
            arrived.extend(numbers.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(received.bytes)
}
