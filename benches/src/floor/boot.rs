//! What the child of a floor does: a scheduler of its own, a first message, the end.

use std::os::unix::net::UnixStream as Socket;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use crate::error::{BenchError, Result, Trying};

/// After the first message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// Until the parent does not listen any more.
    WaitForEnd,
    /// At once, as an error.
    Fail,
}

/// Makes a scheduler, says on the socket that it is there, and does what then is to be done.
pub(super) fn say_ready(socket: Socket, then: Then) -> Result<()> {
    scheduler()?.block_on(async {
        let mut socket = adopt(socket)?;
        socket.write_all(b"r").await.trying("saying that it is there")?;
        match then {
            Then::WaitForEnd => {
                let _end = socket.read(&mut [0]).await;
                Ok(())
            }
            Then::Fail => Err(BenchError::new("a failing child", "as it should")),
        }
    })
}

/// What every actor of ours has: everything on the calling thread, input, output and clocks.
pub(super) fn scheduler() -> Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().build().trying("making a scheduler")
}

/// A socket, for the scheduler of the calling thread.
pub(super) fn adopt(socket: Socket) -> Result<UnixStream> {
    socket.set_nonblocking(true).trying("a socket that does not block")?;
    UnixStream::from_std(socket).trying("giving a socket to the scheduler")
}
