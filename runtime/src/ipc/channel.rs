//! One channel, whatever it runs over.

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use nix::sys::socket::{Shutdown, shutdown};

use super::queue::{Queue, Sender};
use super::socket::Socket;
use crate::msg::{Form, Garbage, Message};

/// An end of a channel, owned by the task that drives it: polling it for messages also writes what was pushed into its
/// [`Sender`]. Dropping it closes the channel.
pub(crate) struct Channel {
    sender: Sender,
    wire: Wire,
}

enum Wire {
    Socket(Box<Socket>),
    Memory { incoming: Arc<Queue>, outgoing: Arc<Queue> },
}

/// Why no more messages come.
#[derive(Debug)]
pub(crate) enum Closed {
    /// The other end was closed, between two messages.
    Ended,
    /// The other end was closed within a message.
    Torn,
    /// The other end sent what no peer of ours sends.
    Garbage(Garbage),
    /// The operating system says no.
    Refused(io::Error),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closed::Ended => f.write_str("the other end closed it"),
            Closed::Torn => f.write_str("the other end closed it in the middle of a message"),
            Closed::Garbage(garbage) => write!(f, "the other end sent garbage: {garbage}"),
            Closed::Refused(error) => write!(f, "{error}"),
        }
    }
}

/// The other end of an in-memory channel, on its way to the thread whose it is to be, as
/// [`Link::Memory`](crate::spawn::Link) carries it. One that never arrives is closed.
pub(crate) struct MemoryEnd(Channel);

impl MemoryEnd {
    /// From what a link carried. `None` if it is something else.
    pub(crate) fn from_link(link: Box<dyn Any + Send>) -> Option<MemoryEnd> {
        link.downcast().ok().map(|end| *end)
    }
}

impl Channel {
    /// Over a connected stream socket that does not block. Needs the actor's runtime around it.
    pub(crate) fn over_socket(fd: OwnedFd) -> io::Result<Channel> {
        let queue = Queue::new();
        let sender = queue.sender(Form::Bytes);
        Ok(Channel { sender, wire: Wire::Socket(Box::new(Socket::new(fd, queue)?)) })
    }

    /// Between two threads: one end to drive, the other to send along.
    pub(crate) fn in_memory() -> (Channel, MemoryEnd) {
        let (there, back) = (Queue::new(), Queue::new());
        let end = |incoming: &Arc<Queue>, outgoing: &Arc<Queue>| Channel {
            sender: outgoing.sender(Form::Value),
            wire: Wire::Memory { incoming: Arc::clone(incoming), outgoing: Arc::clone(outgoing) },
        };
        (end(&back, &there), MemoryEnd(end(&there, &back)))
    }

    /// The end that was sent along.
    pub(crate) fn over_memory(end: MemoryEnd) -> Channel {
        end.0
    }

    /// Where to push what is to be sent.
    pub(crate) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The next message; meanwhile, writes what was pushed. After [`Closed`] it is not to be polled again.
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Closed>> {
        match &mut self.wire {
            Wire::Socket(socket) => socket.poll_recv(cx),
            Wire::Memory { incoming, .. } => {
                Poll::Ready(ready!(incoming.poll_pop(cx)).ok_or(Closed::Ended))
            }
        }
    }

    /// The next message, if it has come already and need only be taken. Nothing is written, and nobody will be woken by this.
    pub(crate) fn next_at_hand(&mut self) -> Option<Result<Message, Closed>> {
        match &mut self.wire {
            Wire::Socket(socket) => socket.decoded(),
            Wire::Memory { incoming, .. } => {
                match incoming.poll_pop(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(popped) => Some(popped.ok_or(Closed::Ended)),
                    Poll::Pending => None,
                }
            }
        }
    }

    /// Like [`Channel::poll_recv`]. Cancel safety: a dropped future loses no message.
    pub(crate) async fn recv(&mut self) -> Result<Message, Closed> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next message of a peer that is known to be dead: `None` when it said no more. Asks the channel itself, because
    /// the scheduler need not have looked since the peer's last words. After [`Closed`] it is not to be called again.
    pub(crate) fn recv_left(&mut self) -> Option<Result<Message, Closed>> {
        match &mut self.wire {
            Wire::Socket(socket) => socket.recv_left(),
            Wire::Memory { incoming, .. } => {
                match incoming.poll_pop(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(popped) => Some(popped.ok_or(Closed::Ended)),
                    Poll::Pending => None,
                }
            }
        }
    }

    /// Writes what was pushed; ready when nothing is left to write, or nobody to read it.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.wire {
            Wire::Socket(socket) => socket.poll_flush(cx),
            Wire::Memory { .. } => Poll::Ready(()),
        }
    }

    /// What closes this end from another thread, if the one that drives it cannot.
    pub(crate) fn severer(&self) -> io::Result<Severer> {
        Ok(Severer(match &self.wire {
            Wire::Socket(socket) => Cord::Socket(socket.try_clone()?),
            Wire::Memory { incoming, outgoing } => {
                Cord::Memory { incoming: Arc::clone(incoming), outgoing: Arc::clone(outgoing) }
            }
        }))
    }

    /// Like [`Channel::poll_flush`].
    pub(crate) async fn flush(&mut self) {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await;
    }
}

/// Closes an end of a channel that somebody else owns.
pub(crate) struct Severer(Cord);

enum Cord {
    Socket(OwnedFd),
    Memory { incoming: Arc<Queue>, outgoing: Arc<Queue> },
}

impl Severer {
    /// Both ends see that the channel has ended.
    pub(crate) fn sever(self) {
        match self.0 {
            // One that is not connected any more has ended.
            Cord::Socket(fd) => drop(shutdown(fd.as_raw_fd(), Shutdown::Both)),
            Cord::Memory { incoming, outgoing } => {
                incoming.discard();
                outgoing.close();
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        match &self.wire {
            Wire::Socket(_) => self.sender.discard(),
            Wire::Memory { incoming, outgoing } => {
                incoming.discard();
                outgoing.close();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::{Dialogue, End, Payload, encode};
    use crate::spawn::Link;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn sockets() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (ours, theirs)
    }

    fn pair(form: Form) -> (Channel, Channel) {
        match form {
            Form::Bytes => {
                let (ours, theirs) = sockets();
                (
                    Channel::over_socket(ours.into()).unwrap(),
                    Channel::over_socket(theirs.into()).unwrap(),
                )
            }
            Form::Value => {
                let (ours, end) = Channel::in_memory();
                (ours, Channel::over_memory(end))
            }
        }
    }

    /// Drives `sender_end` for its writes while `receiver_end` is awaited.
    async fn carried(
        sender_end: &mut Channel,
        receiver_end: &mut Channel,
    ) -> Result<Message, Closed> {
        tokio::select! {
            message = receiver_end.recv() => message,
            _ = sender_end.recv() => panic!("nothing was sent this way"),
        }
    }

    #[test]
    fn both_kinds_carry_values_both_ways_and_end() {
        for form in [Form::Bytes, Form::Value] {
            run(async {
                let (mut a, mut b) = pair(form);
                let value = Payload::pack(41_u32, a.sender().form()).unwrap();
                a.sender().send(Dialogue::Return { id: 1, value }).await.unwrap();
                let Ok(Message::Dialogue(Dialogue::Return { id: 1, value })) =
                    carried(&mut a, &mut b).await
                else {
                    panic!("{form:?}")
                };
                assert_eq!(value.unpack::<u32>().unwrap(), 41);
                b.sender().push(Message::Ready).unwrap();
                assert!(matches!(carried(&mut b, &mut a).await, Ok(Message::Ready)));
                drop(b);
                assert!(matches!(a.recv().await, Err(Closed::Ended)), "{form:?}");
            });
        }
    }

    #[test]
    fn a_large_value_and_a_cancel_both_arrive() {
        run(async {
            let (mut a, mut b) = pair(Form::Bytes);
            let value = Payload::Bytes(vec![7; 8 << 20]);
            a.sender().send(Dialogue::Return { id: 1, value }).await.unwrap();
            a.sender().push(Dialogue::CancelCall { id: 9 }).unwrap();
            assert!(matches!(
                carried(&mut a, &mut b).await,
                Ok(Message::Dialogue(Dialogue::CancelCall { id: 9 }))
            ));
            let Ok(Message::Dialogue(Dialogue::Return { value, .. })) =
                carried(&mut a, &mut b).await
            else {
                panic!()
            };
            assert_eq!(value.weight_bytes(), 8 << 20);
        });
    }

    #[test]
    fn what_was_written_before_the_end_is_read_before_the_end() {
        run(async {
            let (mut a, b) = pair(Form::Bytes);
            let mut b = b;
            b.sender().push(Message::Ready).unwrap();
            b.flush().await;
            drop(b);
            // The end that is gone takes no writes; that must not hide what it said.
            a.sender().push(Message::CancelAck).unwrap();
            assert!(matches!(a.recv().await, Ok(Message::Ready)));
            assert!(matches!(a.recv().await, Err(Closed::Ended)));
        });
    }

    #[test]
    fn the_last_words_of_the_dead_are_heard_before_the_scheduler_has_looked() {
        for form in [Form::Bytes, Form::Value] {
            run(async {
                let (mut a, mut b) = pair(form);
                assert!(a.recv_left().is_none(), "{form:?}");
                b.sender().push(Message::Ready).unwrap();
                b.sender().push(Message::Farewell { failure: None }).unwrap();
                b.flush().await;
                drop(b);
                assert!(matches!(a.recv_left(), Some(Ok(Message::Ready))), "{form:?}");
                assert!(matches!(a.recv_left(), Some(Ok(Message::Farewell { .. }))), "{form:?}");
                assert!(matches!(a.recv_left(), Some(Err(Closed::Ended))), "{form:?}");
            });
        }
    }

    /// Two of them, amid other messages: each arrives with its own.
    #[test]
    fn descriptors_arrive_with_the_messages_they_were_sent_with() {
        run(async {
            let (mut a, mut b) = pair(Form::Bytes);
            for id in 0..4 {
                let (kept, sent) = io::pipe().unwrap();
                drop(kept);
                let value = Payload::Bytes(vec![0; 40_000]);
                a.sender().push(Dialogue::Return { id, value }).unwrap();
                let end = End::new(Link::Socket(sent.into()));
                a.sender().push(Dialogue::Introduce { end }).unwrap();
            }
            for expected in 0..4 {
                let Ok(Message::Dialogue(Dialogue::Return { id, .. })) =
                    carried(&mut a, &mut b).await
                else {
                    panic!("not in order")
                };
                assert_eq!(id, expected);
                let Ok(Message::Dialogue(Dialogue::Introduce { end })) =
                    carried(&mut a, &mut b).await
                else {
                    panic!("not in order")
                };
                let Some(Link::Socket(fd)) = end.into_link() else { panic!("it is bare") };
                // The pipe whose other end is gone, and nothing else.
                let refused = std::fs::File::from(fd).write(&[0]).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
            }
        });
    }

    /// Whoever has the other end of what was sent along sees that it never arrived, although the sender is kept.
    #[test]
    fn what_nobody_will_take_is_let_go_of_with_the_channel() {
        for form in [Form::Bytes, Form::Value] {
            run(async {
                let (a, b) = pair(form);
                let _kept = a.sender().clone();
                let (reader, writer) = io::pipe().unwrap();
                let end = End::new(Link::Socket(writer.into()));
                a.sender().push(Dialogue::Introduce { end }).unwrap();
                drop((a, b));
                let mut ended = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
                assert_eq!(poll(&mut ended, PollTimeout::ZERO), Ok(1), "{form:?}");
            });
        }
    }

    #[test]
    fn a_message_without_the_descriptor_it_speaks_of_is_garbage() {
        run(async {
            let (ours, mut theirs) = sockets();
            let mut channel = Channel::over_socket(ours.into()).unwrap();
            let (_, fd) = io::pipe().unwrap();
            let end = End::new(Link::Socket(fd.into()));
            let mut bytes = Vec::new();
            encode(Dialogue::Introduce { end }.into(), &mut bytes).unwrap();
            theirs.write_all(&bytes).unwrap();
            assert!(matches!(channel.recv().await, Err(Closed::Garbage(Garbage::Bare))));
        });
    }

    #[test]
    fn garbage_closes_the_channel_with_an_error() {
        run(async {
            let (ours, mut theirs) = sockets();
            let mut channel = Channel::over_socket(ours.into()).unwrap();
            theirs.write_all(&[0xff; 64]).unwrap();
            assert!(matches!(channel.recv().await, Err(Closed::Garbage(Garbage::TooLong(_)))));
        });
    }

    #[test]
    fn an_end_within_a_message_is_torn() {
        run(async {
            let (ours, mut theirs) = sockets();
            let mut channel = Channel::over_socket(ours.into()).unwrap();
            theirs.write_all(&[9, 0, 0, 0, 1]).unwrap();
            drop(theirs);
            assert!(matches!(channel.recv().await, Err(Closed::Torn)));
        });
    }
}
