//! Bytes and descriptors over a stream socket.
//!
//! Descriptors arrive with the first byte they were sent with, or after none of it: the kernel does not merge what different writes
//! sent along. Reference: unix(7), `SCM_RIGHTS`.
#![expect(unsafe_code, reason = "what the kernel hands over is a number that nobody owns yet")]

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Room for what one message may bring along: a header, and the most that the kernel takes. In words, which is how the kernel
/// aligns it.
const CONTROL_WORDS: usize = (16 + 253 * size_of::<RawFd>()).div_ceil(size_of::<u64>());

/// The buffer that [`recv`] needs.
pub(super) fn control_buffer() -> Vec<u64> {
    vec![0; CONTROL_WORDS]
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
/// By libc's call: of a message that was cut nix tells nothing, and the descriptors in it would stay open.
///
/// # Errors
/// Also `EMFILE`, if this process had no room for the descriptors: those are lost then, all of them.
pub(super) fn recv(
    socket: &OwnedFd,
    room: &mut [u8],
    control: &mut [u64],
    arrived: &mut VecDeque<OwnedFd>,
    flags: MsgFlags,
) -> Result<usize, Errno> {
    let mut room = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    let mut message = MaybeUninit::<libc::msghdr>::zeroed();
    // SAFETY: a header of zeros is valid. Both buffers are borrowed for the call and as long as is said here.
    let (received, message) = unsafe {
        let header = message.assume_init_mut();
        header.msg_iov = &raw mut room;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(control);
        let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
        (libc::recvmsg(socket.as_raw_fd(), header, flags.bits()), &*header)
    };
    let count = Errno::result(received)?;
    // SAFETY: the kernel has just filled it in, and this is the one time that it is looked into.
    let came = unsafe { descriptors(message) };
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(Errno::EMFILE);
    }
    arrived.extend(came);
    Ok(count.cast_unsigned())
}

/// The descriptors that came with a message.
///
/// # Safety
/// The message was received, its control buffer is still there, and nobody has taken them before.
unsafe fn descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut came = Vec::new();
    // SAFETY: as promised by the caller: headers and what follows them lie within the control buffer, which is aligned for them.
    // The kernel has made the descriptors for this process, and nobody else knows of them.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(message);
        while let Some(header) = next.as_ref() {
            if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let bytes = header.cmsg_len - libc::CMSG_LEN(0) as usize;
                let first = libc::CMSG_DATA(next).cast::<RawFd>();
                let numbers = (0..bytes / size_of::<RawFd>()).map(|at| first.add(at).read());
                came.extend(numbers.map(|number| OwnedFd::from_raw_fd(number)));
            }
            next = libc::CMSG_NXTHDR(message, next);
        }
    }
    came
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    /// Sends three writers of a pipe; what was received with so much room, and the pipe's reader.
    fn three(control: &mut [u64]) -> (Result<usize, Errno>, VecDeque<OwnedFd>, io::PipeReader) {
        let (ours, theirs) = pair();
        let (reader, writer) = io::pipe().unwrap();
        let ends =
            [writer.try_clone().unwrap(), writer.try_clone().unwrap(), writer].map(OwnedFd::from);
        assert_eq!(send(&ours, b"three", &ends, MsgFlags::empty()), Ok(5));
        let mut arrived = VecDeque::new();
        let received = recv(&theirs, &mut [0; 16], control, &mut arrived, MsgFlags::empty());
        (received, arrived, reader)
    }

    #[test]
    fn what_arrives_is_closed_on_exec() {
        let (received, arrived, _reader) = three(&mut control_buffer());
        assert_eq!((received, arrived.len()), (Ok(5), 3));
        for end in &arrived {
            let flags = nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, libc::FD_CLOEXEC);
        }
    }

    #[test]
    fn what_arrives_cut_is_not_left_open() {
        // A header and two numbers.
        let (received, arrived, mut reader) = three(&mut [0; 3]);
        assert_eq!((received, arrived.len()), (Err(Errno::EMFILE), 0));
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "nobody has a writer any more");
    }

    #[test]
    fn without_descriptors_there_is_nothing_to_take() {
        let (ours, theirs) = pair();
        assert_eq!(send(&ours, b"none", &[], MsgFlags::empty()), Ok(4));
        drop(ours);
        let (mut arrived, mut control) = (VecDeque::new(), control_buffer());
        let mut receive =
            || recv(&theirs, &mut [0; 16], &mut control, &mut arrived, MsgFlags::empty());
        assert_eq!((receive(), receive()), (Ok(4), Ok(0)));
        assert!(arrived.is_empty());
    }
}
