//! A channel over a stream socket.
//!
//! Writing coalesces: each write takes all messages that are ready, up to [`BATCH_BYTES`]. That bound is also how long a
//! control message waits behind what is already encoded. Descriptors go with the first byte of the message they belong to.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, sendmsg, socketpair};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::channel::Closed;
use super::queue::Queue;
use super::rights::{self, control_buffer};
use crate::msg::{Decoder, Garbage, Message, Unencodable, encode};
use crate::parcel::MOST_ENDS;
use crate::watch::watch;

/// No more messages are put into a write that has this much.
const BATCH_BYTES: usize = 64 << 10;

/// An output buffer that grew beyond this is given back once it is written.
const KEEP_BYTES: usize = 256 << 10;

/// Never waits; a peer that is gone is an error and not a signal.
const AT_ONCE: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// The two ends of a channel's stream. Both close on exec and do not block, from birth.
pub(crate) fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?)
}

pub(super) struct Socket {
    /// Watched for what comes.
    stream: AsyncFd<OwnedFd>,
    /// A second descriptor, watched for room to write, while there is none.
    full: Option<AsyncFd<OwnedFd>>,
    queue: Arc<Queue>,
    incoming: Incoming,
    out: Outgoing,
}

/// What has been read and not yet taken.
struct Incoming {
    decoder: Decoder,
    /// Descriptors that came with those bytes, in the order of the messages they belong to.
    arrived: VecDeque<OwnedFd>,
    control: Vec<u64>,
}

/// More descriptors than this are never waiting for their message: each comes with the first byte of it.
const MOST_ARRIVED: usize = 4 * MOST_ENDS;

/// What is encoded and not yet written.
enum Outgoing {
    Open {
        bytes: Vec<u8>,
        /// A large payload that follows them, from where it is.
        payload: Vec<u8>,
        /// Of both.
        written: usize,
        /// The descriptors that go with the byte at that place, the first byte of their message.
        ends: VecDeque<(usize, Vec<OwnedFd>)>,
    },
    /// The peer reads no more. What it wrote before is still read.
    Broken,
    /// A message of ours fits no frame: a bug, told as the channel's end.
    Unencodable(Unencodable),
}

impl Socket {
    pub(super) fn new(fd: OwnedFd, queue: Arc<Queue>) -> io::Result<Socket> {
        let stream = watch(fd, Interest::READABLE)?;
        let incoming = Incoming {
            decoder: Decoder::default(),
            arrived: VecDeque::new(),
            control: control_buffer(),
        };
        Ok(Socket { stream, full: None, queue, incoming, out: Outgoing::default() })
    }

    /// The same socket once more.
    pub(super) fn try_clone(&self) -> io::Result<OwnedFd> {
        self.stream.get_ref().try_clone()
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Closed>> {
        // Pending or not, reading goes on: only the wake-up was wanted.
        let _written = self.poll_flush(cx);
        if let Outgoing::Unencodable(error) = &self.out {
            return Poll::Ready(Err(Closed::Refused(io::Error::other(error.to_string()))));
        }
        loop {
            if let Some(received) = self.decoded() {
                return Poll::Ready(received);
            }
            let filled = ready!(self.poll_fill(cx));
            self.on_filled(filled)?;
        }
    }

    pub(super) fn recv_left(&mut self) -> Option<Result<Message, Closed>> {
        loop {
            if let Some(received) = self.decoded() {
                return Some(received);
            }
            let taken = self.incoming.fill(&self.stream).transpose()?;
            if let Err(closed) = self.on_filled(taken) {
                return Some(Err(closed));
            }
        }
    }

    pub(super) fn decoded(&mut self) -> Option<Result<Message, Closed>> {
        match self.incoming.next() {
            Ok(Some(message)) => Some(Ok(message)),
            Ok(None) => None,
            Err(garbage) => Some(Err(Closed::Garbage(garbage))),
        }
    }

    /// Whether there may be more.
    fn on_filled(&self, filled: io::Result<usize>) -> Result<(), Closed> {
        match filled {
            Ok(0) if self.incoming.decoder.is_mid_frame() => Err(Closed::Torn),
            Ok(0) => Err(Closed::Ended),
            Ok(_) => Ok(()),
            // The peer is gone and left bytes of ours unread; for the reader that is an end.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Closed::Ended),
            Err(error) => Err(Closed::Refused(error)),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Outgoing::Open { bytes, payload, written, ends } = &mut self.out else {
                return self.poll_discard(cx);
            };
            if *written < bytes.len() + payload.len() {
                match write(self.stream.get_ref(), bytes, payload, *written, ends) {
                    Ok(count) => *written += count,
                    Err(Errno::EAGAIN) => {
                        if ready!(self.poll_room(cx)).is_err() {
                            self.out = Outgoing::Broken;
                        }
                    }
                    Err(Errno::EINTR) => {}
                    Err(_) => self.out = Outgoing::Broken,
                }
                continue;
            }
            recycle(bytes, payload, written);
            self.full = None;
            match batch(&self.queue, bytes, payload, ends, cx) {
                Ok(()) if bytes.is_empty() => return Poll::Ready(()),
                Ok(()) => {}
                Err(error) => self.out = Outgoing::Unencodable(error),
            }
        }
    }

    /// Takes what is pushed and drops it, so that senders do not wait for a peer that is gone.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(Some(_)) = self.queue.poll_pop(cx) {}
        Poll::Ready(())
    }

    /// Ready when the peer has read something of what it was sent.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let watched = match &mut self.full {
            Some(watched) => watched,
            none => {
                let second = self.stream.get_ref().try_clone()?;
                none.insert(watch(second, Interest::WRITABLE)?)
            }
        };
        // Whether there is enough is for the next write to find out, and if not, to wait for more.
        ready!(watched.poll_write_ready(cx))?.clear_ready();
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.stream.poll_read_ready(cx))?;
            let offered = self.incoming.decoder.room().len();
            match self.incoming.fill(&self.stream)? {
                None => ready.clear_ready(),
                Some(count) => {
                    // A read that got less than it asked for got all there was, unless it stopped at descriptors.
                    if (1..offered).contains(&count) && self.incoming.arrived.is_empty() {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
            }
        }
    }
}

impl Incoming {
    /// Reads what is there, without asking the scheduler. `None`: nothing is.
    fn fill(&mut self, stream: &AsyncFd<OwnedFd>) -> io::Result<Option<usize>> {
        let Incoming { decoder, arrived, control } = self;
        let count = loop {
            match rights::recv(stream.get_ref(), decoder.room(), control, arrived, AT_ONCE) {
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                received => break received?,
            }
        };
        decoder.filled(count);
        Ok(Some(count))
    }

    fn next(&mut self) -> Result<Option<Message>, Garbage> {
        let Some(mut message) = self.decoder.next()? else {
            return if self.arrived.len() > MOST_ARRIVED { Err(Garbage::Bare) } else { Ok(None) };
        };
        message.put_ends(&mut self.arrived)?;
        Ok(Some(message))
    }
}

impl Default for Outgoing {
    fn default() -> Outgoing {
        let (bytes, payload) = (Vec::new(), Vec::new());
        Outgoing::Open { bytes, payload, written: 0, ends: VecDeque::new() }
    }
}

/// Encodes what is ready into `bytes`, up to a large payload.
fn batch(
    queue: &Queue,
    bytes: &mut Vec<u8>,
    payload: &mut Vec<u8>,
    ends: &mut VecDeque<(usize, Vec<OwnedFd>)>,
    cx: &mut Context<'_>,
) -> Result<(), Unencodable> {
    while bytes.len() < BATCH_BYTES && payload.is_empty() {
        let Poll::Ready(Some(mut message)) = queue.poll_pop(cx) else { break };
        let (place, beside) = (bytes.len(), message.take_ends());
        *payload = encode(message, bytes)?.unwrap_or_default();
        if !beside.is_empty() {
            ends.push_back((place, beside));
        }
    }
    Ok(())
}

/// Writes some of `bytes` and the `payload` behind them, from `written` on; not beyond the place where the next descriptors go along.
fn write(
    socket: &OwnedFd,
    bytes: &[u8],
    payload: &[u8],
    written: usize,
    ends: &mut VecDeque<(usize, Vec<OwnedFd>)>,
) -> Result<usize, Errno> {
    match ends.front() {
        None => write_plain(socket, bytes, payload, written),
        Some((place, _)) if *place > written => {
            send(socket.as_raw_fd(), &bytes[written..*place], AT_ONCE)
        }
        Some((_, beside)) => {
            let stop = ends.get(1).map_or(bytes.len(), |(next, _)| *next);
            let count = rights::send(socket, &bytes[written..stop], beside, AT_ONCE)?;
            ends.pop_front();
            Ok(count)
        }
    }
}

/// When no descriptors go along.
fn write_plain(
    socket: &OwnedFd,
    bytes: &[u8],
    payload: &[u8],
    written: usize,
) -> Result<usize, Errno> {
    let (first, second) = match written.checked_sub(bytes.len()) {
        Some(of_payload) => (&payload[of_payload..], [].as_slice()),
        None => (&bytes[written..], payload),
    };
    if second.is_empty() {
        return send(socket.as_raw_fd(), first, AT_ONCE);
    }
    let parts = [IoSlice::new(first), IoSlice::new(second)];
    sendmsg::<()>(socket.as_raw_fd(), &parts, &[], AT_ONCE, None)
}

fn recycle(bytes: &mut Vec<u8>, payload: &mut Vec<u8>, written: &mut usize) {
    *written = 0;
    bytes.clear();
    *payload = Vec::new();
    if bytes.capacity() > KEEP_BYTES {
        *bytes = Vec::new();
    }
}
