//! A stream's floor: items one way through a socket, as many in a write as fit.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::{Child, exec};
use crate::error::{Result, Trying};

/// An item has its length before it.
const HEADER_BYTES: usize = 4;
/// What is put into a write, if the items are smaller, and asked of a read.
const BATCH_BYTES: usize = 64 << 10;

/// Seconds of an item, from the first to the last of so many of so many bytes.
pub(crate) fn over_socket(bytes: usize, count: usize) -> Result<Vec<f64>> {
    let (mut child, mut socket) = exec(Child::Pour { bytes, count })?;
    let expected = count * (HEADER_BYTES + bytes);
    let mut buffer = vec![0; BATCH_BYTES.max(bytes)];
    let mut received = socket.read(&mut buffer).trying("reading the first items")?;
    let started = Instant::now();
    while received < expected {
        received += socket.read(&mut buffer).trying("reading items")?;
    }
    let per_item =
        started.elapsed().as_secs_f64() / f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    child.wait().trying("waiting for the sender")?;
    Ok(vec![per_item])
}

/// The sender.
pub(super) fn pour(mut socket: &UnixStream, bytes: usize, count: usize) -> Result<()> {
    let item = vec![7; HEADER_BYTES + bytes];
    let per_write = (BATCH_BYTES / item.len()).max(1);
    let mut left = count;
    let mut batch = Vec::with_capacity(per_write * item.len());
    while left > 0 {
        batch.clear();
        let now = per_write.min(left);
        (0..now).for_each(|_| batch.extend_from_slice(&item));
        socket.write_all(&batch).trying("writing items")?;
        left -= now;
    }
    Ok(())
}
