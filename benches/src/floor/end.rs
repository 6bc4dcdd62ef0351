//! An end's floor: a parent that waits for its child and says so.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use nix::sys::wait::waitpid;
use nix::unistd::ForkResult;
use runner_core::memory::{Memory, now_ns};
use runner_core::protocol::Done;

use super::fork;
use crate::error::{Result, Trying};

/// Says when it ends, and ends.
pub(crate) fn end_now(memory: &Memory) -> ! {
    memory.finish(&Done::Failed { message: now_ns().to_string() });
    fork::exit(0)
}

/// A parent that starts a child for each byte it is sent.
pub(crate) struct Waiter {
    socket: UnixStream,
    memory: Memory,
}

impl Waiter {
    /// Called while there is one thread.
    pub(crate) fn start() -> Result<Self> {
        let memory = Memory::create(0).trying("making memory")?;
        let (ours, theirs) = UnixStream::pair().trying("a socket pair")?;
        match fork::fork().trying("forking a parent")? {
            ForkResult::Parent { .. } => Ok(Self { socket: ours, memory }),
            ForkResult::Child => {
                drop(ours);
                fork::exit(i32::from(wait_for_each(theirs, &memory).is_err()))
            }
        }
    }

    /// Has a child end, and waits until that is said. The memory says when it was.
    pub(crate) fn one(&mut self) -> Result<&Memory> {
        self.memory.reset();
        let said = self.socket.write_all(&[0]).and_then(|()| self.socket.read_exact(&mut [0]));
        said.trying("the end of a child")?;
        Ok(&self.memory)
    }
}

/// Until nobody asks for more.
fn wait_for_each(mut socket: UnixStream, memory: &Memory) -> Result<()> {
    while socket.read(&mut [0]).trying("reading")? > 0 {
        memory.begin();
        match fork::fork().trying("forking a child")? {
            ForkResult::Parent { child } => waitpid(child, None).trying("waiting")?,
            ForkResult::Child => end_now(memory),
        };
        socket.write_all(&[0]).trying("writing")?;
    }
    Ok(())
}
