//! Packets over a socket of their own: each is written and read at once or not at all.
//!
//! So neither end keeps half of one in its memory, and an end can be given to another process at any moment: what was sent and
//! not read is the kernel's to keep. Nothing drives it; whoever sends or receives does so itself. Used by `channel`.
//! Reference: unix(7), `SOCK_SEQPACKET`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::{self, ThreadId};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, send, setsockopt, socketpair, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::rights::{self, control_buffer};
use crate::watch::watch;

/// The largest packet.
pub(crate) const PACKET_BYTES: usize = 32 << 10;

/// What the kernel is asked to hold of what was sent and not read, for an end in use; it takes twice that, as it is by default.
const HELD_BYTES: usize = 104 << 10;

/// And for a last word, when as much is held already.
const LAST_BYTES: usize = 2 * HELD_BYTES;

/// Never waits; a peer that is gone is an error and not a signal.
const AT_ONCE: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// Two connected ends. Both close on exec and do not block, from birth.
pub(crate) fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// One end.
pub(crate) struct Packets {
    fd: Watched,
    control: Vec<u64>,
    room: Vec<u8>,
}

/// What came at once.
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<OwnedFd>,
}

/// A descriptor in the care of the scheduler of the thread that last waited for it.
enum Watched {
    By(ThreadId, AsyncFd<OwnedFd>),
    Nobody(OwnedFd),
    /// It was given away, or the scheduler has refused it.
    Lost,
}

impl Packets {
    pub(crate) fn new(fd: OwnedFd) -> Packets {
        Packets { fd: Watched::Nobody(fd), control: Vec::new(), room: Vec::new() }
    }

    /// To be given to somebody else.
    pub(crate) fn into_fd(self) -> Option<OwnedFd> {
        match self.fd {
            Watched::By(_, fd) => Some(fd.into_inner()),
            Watched::Nobody(fd) => Some(fd),
            Watched::Lost => None,
        }
    }

    /// Sends a packet, waiting until the kernel takes it. Cancel safety: a dropped future has sent it or not.
    pub(crate) async fn send(&mut self, packet: &[u8], ends: &[OwnedFd]) -> io::Result<()> {
        let fd = self.fd.here()?;
        let sent = |fd: &OwnedFd| write(fd, packet, ends).map_err(io::Error::from);
        fd.async_io(Interest::WRITABLE, sent).await
    }

    /// Sends a packet if the kernel takes it now.
    pub(crate) fn try_send(&self, packet: &[u8]) -> Result<(), Errno> {
        write(self.fd.get().ok_or(Errno::EBADF)?, packet, &[])
    }

    /// Sends the last packet of whoever holds this end: there is room for one when there is none for others.
    pub(crate) fn send_last(&self, packet: &[u8]) -> Result<(), Errno> {
        match self.try_send(packet) {
            Err(Errno::EAGAIN) => {
                self.hold(LAST_BYTES)?;
                self.try_send(packet)
            }
            sent => sent,
        }
    }

    /// Makes room for a last word again, at an end whose former holder has said his.
    pub(crate) fn renew(&self) {
        // Where it fails, the end is lost instead of closed if its peer has read nothing by then.
        let _held = self.hold(HELD_BYTES);
    }

    /// The next packet; `None` when the other end is closed and all was read. Cancel safe.
    pub(crate) async fn recv(&mut self) -> io::Result<Option<Packet>> {
        let Packets { fd, control, room } = self;
        let received = |fd: &OwnedFd| read(fd, room, control).map_err(io::Error::from);
        fd.here()?.async_io(Interest::READABLE, received).await
    }

    /// As [`Packets::recv`], of what has come already.
    pub(crate) fn try_recv(&mut self) -> Result<Option<Packet>, Errno> {
        let Packets { fd, control, room } = self;
        read(fd.get().ok_or(Errno::EBADF)?, room, control)
    }

    fn hold(&self, bytes: usize) -> Result<(), Errno> {
        setsockopt(self.fd.get().ok_or(Errno::EBADF)?, sockopt::SndBuf, &bytes)
    }
}

impl Watched {
    fn get(&self) -> Option<&OwnedFd> {
        match self {
            Watched::By(_, fd) => Some(fd.get_ref()),
            Watched::Nobody(fd) => Some(fd),
            Watched::Lost => None,
        }
    }

    /// Watched by this thread's scheduler: the one that watched it before may be that of an actor that has ended.
    fn here(&mut self) -> io::Result<&AsyncFd<OwnedFd>> {
        let here = thread::current().id();
        let fd = match std::mem::replace(self, Watched::Lost) {
            Watched::By(thread, fd) if thread == here => fd,
            Watched::By(_, fd) => watch(fd.into_inner(), BOTH)?,
            Watched::Nobody(fd) => watch(fd, BOTH)?,
            Watched::Lost => return Err(Errno::EBADF.into()),
        };
        *self = Watched::By(here, fd);
        match self {
            Watched::By(_, fd) => Ok(fd),
            Watched::Nobody(_) | Watched::Lost => Err(Errno::EBADF.into()),
        }
    }
}

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

fn write(fd: &OwnedFd, packet: &[u8], ends: &[OwnedFd]) -> Result<(), Errno> {
    loop {
        let sent = match ends {
            [] => send(fd.as_raw_fd(), packet, AT_ONCE),
            ends => rights::send(fd, packet, ends, AT_ONCE),
        };
        match sent {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn read(fd: &OwnedFd, room: &mut Vec<u8>, control: &mut Vec<u64>) -> Result<Option<Packet>, Errno> {
    if room.is_empty() {
        *room = vec![0; PACKET_BYTES];
        *control = control_buffer();
    }
    let mut arrived = VecDeque::new();
    loop {
        match rights::recv(fd, room, control, &mut arrived, AT_ONCE) {
            // The peer is gone and left packets of ours unread. That is told once, before what it sent, which is then read.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(error) => return Err(error),
            Ok(0) => return Ok(None),
            Ok(count) => {
                let bytes = room.get(..count).unwrap_or_default().to_vec();
                return Ok(Some(Packet { bytes, ends: arrived.into() }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Packets, Packets) {
        let (one, other) = packet_pair().unwrap();
        (Packets::new(one), Packets::new(other))
    }

    #[test]
    fn there_is_room_for_a_last_word_of_each_who_holds_a_full_end() {
        let (one, mut other) = pair();
        let mut sent = 0;
        for holder in 0..3_u8 {
            one.renew();
            while one.try_send(&[0; PACKET_BYTES]).is_ok() {
                sent += 1;
            }
            // The first has filled it; those after him find it so.
            assert!(sent > 0);
            assert_eq!(one.send_last(&[holder]), Ok(()), "{holder}");
            while let Ok(Some(packet)) = other.try_recv() {
                if packet.bytes == [holder] {
                    break;
                }
            }
        }
    }

    #[test]
    fn what_the_gone_have_said_is_read_before_their_end() {
        let (one, mut other) = pair();
        other.try_send(b"unread").unwrap();
        one.try_send(b"first").unwrap();
        one.try_send(b"second").unwrap();
        drop(one);
        assert_eq!(other.try_recv().unwrap().unwrap().bytes, b"first");
        assert_eq!(other.try_recv().unwrap().unwrap().bytes, b"second");
        assert!(other.try_recv().unwrap().is_none());
        assert_eq!(other.try_send(b"more"), Err(Errno::EPIPE));
    }
}
