//! Many children that fail at once, as a whole program.

use std::io::Read;

use super::{Child, exec};
use crate::error::{Result, Trying};

/// Starts so many, hears of all, reaps all.
pub(crate) fn run(count: usize) -> Result<()> {
    let mut children = (0..count).map(|_| exec(Child::Failing)).collect::<Result<Vec<_>>>()?;
    for (_, socket) in &mut children {
        socket.read_exact(&mut [0]).trying("hearing of a child")?;
    }
    for (mut child, _) in children {
        child.wait().trying("waiting for a child")?;
    }
    Ok(())
}
