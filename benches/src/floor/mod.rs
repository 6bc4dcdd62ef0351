//! Floors: the same work done with the least that the machine allows, by hand, for one purpose.
//!
//! A floor gives no guarantee: no watchdog that watches, no protocol, no kill ladder. Each runs in
//! a process of its own, with one thread until it says otherwise.

pub(crate) mod burst;
pub(crate) mod call;
pub(crate) mod case;
pub(crate) mod end;
pub(crate) mod start;
pub(crate) mod stream;
pub(crate) mod tree;

mod boot;
mod fork;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child as Process, Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::error::{Result, Trying};
use crate::job;

/// How a floor makes its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Birth {
    /// This program again.
    Exec,
    /// By a process forked early, on request, as the requester's child.
    Zygote,
    /// libc's `fork`, from a process with one thread.
    Fork,
    /// A thread.
    Thread,
}

/// What an exec'd child of a floor does. Its socket is its stdin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Child {
    /// Says that it is there, and ends when its parent does not listen any more.
    Leaf,
    /// Says that it is there, and fails.
    Failing,
    /// Sends back what it is sent.
    Echo,
    /// Sends so many items of so many bytes.
    Pour { bytes: usize, count: usize },
    /// A [`Child::Leaf`] with so many levels below it.
    Branch { depth: u32 },
}

/// Is the child, on the socket it was started with.
pub(crate) fn run_child(child: Child) -> Result<()> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().trying("taking stdin")?;
    let socket = UnixStream::from(socket);
    match child {
        Child::Leaf => boot::say_ready(socket, boot::Then::WaitForEnd),
        Child::Failing => boot::say_ready(socket, boot::Then::Fail),
        Child::Echo => call::echo(socket),
        Child::Pour { bytes, count } => stream::pour(&socket, bytes, count),
        Child::Branch { depth } => tree::branch(depth, socket),
    }
}

/// Starts an exec'd child; the other end of its socket comes back.
fn exec(child: Child) -> Result<(Process, UnixStream)> {
    let (ours, theirs) = UnixStream::pair().trying("a socket pair")?;
    let process = Command::new("/proc/self/exe")
        .args(job::Job::Child(child).arguments()?)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .trying("starting this program again")?;
    Ok((process, ours))
}
