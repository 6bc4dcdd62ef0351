//! A channel over a stream socket.
//!
//! Writing coalesces: each write takes all messages that are ready, up to [`BATCH_BYTES`]. That bound is also how long a
//! control message waits behind what is already encoded.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::channel::Closed;
use super::queue::Queue;
use crate::msg::{Decoder, Message, Unencodable, encode};

/// No more messages are put into a write that has this much.
const BATCH_BYTES: usize = 64 << 10;

/// An output buffer that grew beyond this is given back once it is written.
const KEEP_BYTES: usize = 256 << 10;

pub(super) struct Socket {
    stream: UnixStream,
    queue: Arc<Queue>,
    decoder: Decoder,
    out: Outgoing,
}

/// What is encoded and not yet written.
enum Outgoing {
    Open {
        bytes: Vec<u8>,
        written: usize,
    },
    /// The peer reads no more. What it wrote before is still read.
    Broken,
    /// A message of ours fits no frame: a bug, told as the channel's end.
    Unencodable(Unencodable),
}

impl Socket {
    pub(super) fn new(fd: OwnedFd, queue: Arc<Queue>) -> io::Result<Socket> {
        let stream = UnixStream::from_std(fd.into())?;
        Ok(Socket { stream, queue, decoder: Decoder::default(), out: Outgoing::EMPTY })
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Closed>> {
        // Pending or not, reading goes on: only the wake-up was wanted.
        let _written = self.poll_flush(cx);
        if let Outgoing::Unencodable(error) = &self.out {
            return Poll::Ready(Err(Closed::Refused(io::Error::other(error.to_string()))));
        }
        loop {
            match self.decoder.next() {
                Ok(Some(message)) => return Poll::Ready(Ok(message)),
                Ok(None) => {}
                Err(garbage) => return Poll::Ready(Err(Closed::Garbage(garbage))),
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) if self.decoder.is_mid_frame() => return Poll::Ready(Err(Closed::Torn)),
                Ok(0) => return Poll::Ready(Err(Closed::Ended)),
                Ok(_) => {}
                // The peer is gone and left bytes of ours unread; for the reader that is an end.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Poll::Ready(Err(Closed::Ended));
                }
                Err(error) => return Poll::Ready(Err(Closed::Refused(error))),
            }
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Outgoing::Open { bytes, written } = &mut self.out else {
                return self.poll_discard(cx);
            };
            if *written < bytes.len() {
                match ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[*written..])) {
                    Ok(count) => *written += count,
                    Err(_) => self.out = Outgoing::Broken,
                }
                continue;
            }
            recycle(bytes, written);
            match batch(&self.queue, bytes, cx) {
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

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(self.decoder.room());
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.decoder.filled(count);
        Poll::Ready(Ok(count))
    }
}

impl Outgoing {
    const EMPTY: Outgoing = Outgoing::Open { bytes: Vec::new(), written: 0 };
}

/// Encodes what is ready into `bytes`.
fn batch(queue: &Queue, bytes: &mut Vec<u8>, cx: &mut Context<'_>) -> Result<(), Unencodable> {
    while bytes.len() < BATCH_BYTES {
        let Poll::Ready(Some(message)) = queue.poll_pop(cx) else { break };
        encode(&message, bytes)?;
    }
    Ok(())
}

fn recycle(bytes: &mut Vec<u8>, written: &mut usize) {
    *written = 0;
    bytes.clear();
    if bytes.capacity() > KEEP_BYTES {
        *bytes = Vec::new();
    }
}
