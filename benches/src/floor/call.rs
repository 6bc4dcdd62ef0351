//! A call's floor: 64 bytes there and back between two schedulers.

use std::os::unix::net::UnixStream as Socket;
use std::thread;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::{Child, boot, exec};
use crate::error::{BenchError, Result, Trying};

/// What a call carries, in bytes.
pub(crate) const PAYLOAD_BYTES: usize = 64;
/// On a socket with its length before it.
const FRAME_BYTES: usize = 4 + PAYLOAD_BYTES;

/// Seconds of each round trip over a socket, to an exec'd child.
pub(crate) fn over_socket(count: usize) -> Result<Vec<f64>> {
    let (mut child, socket) = exec(Child::Echo)?;
    let samples = boot::scheduler()?.block_on(async {
        let mut socket = boot::adopt(socket)?;
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            samples.push(round_trip(&mut socket).await.trying("a round trip")?);
        }
        Ok(samples)
    });
    child.wait().trying("waiting for the echo")?;
    samples
}

async fn round_trip(socket: &mut UnixStream) -> std::io::Result<f64> {
    let mut frame = [7; FRAME_BYTES];
    let started = Instant::now();
    socket.write_all(&frame).await?;
    socket.read_exact(&mut frame).await?;
    Ok(started.elapsed().as_secs_f64())
}

/// The other end, until end of file.
pub(super) fn echo(socket: Socket) -> Result<()> {
    boot::scheduler()?.block_on(async {
        let mut socket = boot::adopt(socket)?;
        let mut frame = [0; FRAME_BYTES];
        while socket.read_exact(&mut frame).await.is_ok() {
            socket.write_all(&frame).await.trying("sending back")?;
        }
        Ok(())
    })
}

/// Seconds of each round trip to a thread with a scheduler of its own, through channels.
pub(crate) fn across_threads(count: usize) -> Result<Vec<f64>> {
    let (request_tx, mut request_rx) = mpsc::channel::<Vec<u8>>(1);
    let (reply_tx, mut reply_rx) = mpsc::channel::<Vec<u8>>(1);
    let echo = move || -> Result<()> {
        boot::scheduler()?.block_on(async {
            while let Some(payload) = request_rx.recv().await {
                reply_tx.send(payload).await.trying("sending back")?;
            }
            Ok(())
        })
    };
    let thread = thread::Builder::new().name("echo".to_owned()).spawn(echo).trying("a thread")?;
    let samples = boot::scheduler()?.block_on(async {
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            request_tx.send(vec![7; PAYLOAD_BYTES]).await.trying("sending")?;
            reply_rx
                .recv()
                .await
                .ok_or_else(|| BenchError::new("a round trip", "the echo ended"))?;
            samples.push(started.elapsed().as_secs_f64());
        }
        Ok(samples)
    });
    drop(request_tx);
    thread.join().map_err(|_| BenchError::new("the echo", "it panicked"))??;
    samples
}
