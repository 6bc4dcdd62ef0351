//! Start to ready: a child with a scheduler of its own, until its first message is here.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid};

use super::boot::{self, Then};
use super::{Birth, Child, exec, fork};
use crate::error::{BenchError, Result, Trying};

/// Seconds from the start of a child to its first message, one child after the other.
pub(crate) fn samples(birth: Birth, count: usize) -> Result<Vec<f64>> {
    match birth {
        Birth::Exec => (0..count).map(|_| by_exec()).collect(),
        Birth::Fork => (0..count).map(|_| by_fork()).collect(),
        Birth::Thread => (0..count).map(|_| by_thread()).collect(),
        Birth::Zygote => {
            let zygote = Zygote::start()?;
            (0..count).map(|_| zygote.sample()).collect()
        }
    }
}

fn by_exec() -> Result<f64> {
    let started = Instant::now();
    let (mut child, mut socket) = exec(Child::Leaf)?;
    let took = ready(&mut socket, started)?;
    drop(socket);
    child.wait().trying("waiting for an exec'd child")?;
    Ok(took)
}

fn by_fork() -> Result<f64> {
    let started = Instant::now();
    let (mut ours, theirs) = UnixStream::pair().trying("a socket pair")?;
    match fork::fork().trying("forking")? {
        ForkResult::Child => {
            drop(ours);
            fork::exit(i32::from(boot::say_ready(theirs, Then::WaitForEnd).is_err()))
        }
        ForkResult::Parent { child } => {
            drop(theirs);
            let took = ready(&mut ours, started)?;
            drop(ours);
            waitpid(child, None).trying("waiting for a forked child")?;
            Ok(took)
        }
    }
}

fn by_thread() -> Result<f64> {
    let started = Instant::now();
    let (ready_tx, ready_rx) = mpsc::sync_channel(1);
    let (end_tx, end_rx) = tokio::sync::oneshot::channel::<()>();
    let body = move || -> Result<()> {
        boot::scheduler()?.block_on(async {
            ready_tx.send(()).trying("saying that it is there")?;
            let _end = end_rx.await;
            Ok(())
        })
    };
    let thread = thread::Builder::new().name("floor".to_owned()).spawn(body).trying("a thread")?;
    ready_rx.recv().trying("hearing of a thread")?;
    let took = started.elapsed().as_secs_f64();
    drop(end_tx);
    thread.join().map_err(|_| BenchError::new("a floor's thread", "it panicked"))??;
    Ok(took)
}

fn ready(socket: &mut UnixStream, started: Instant) -> Result<f64> {
    socket.read_exact(&mut [0]).trying("hearing of a child")?;
    Ok(started.elapsed().as_secs_f64())
}

/// A process that forks on request. It ends when nobody can ask any more.
struct Zygote {
    requests: UnixStream,
}

impl Zygote {
    fn start() -> Result<Self> {
        let (requests, theirs) = UnixStream::pair().trying("a socket pair")?;
        match fork::fork().trying("forking a zygote")? {
            ForkResult::Parent { .. } => Ok(Self { requests }),
            ForkResult::Child => {
                drop(requests);
                fork::exit(i32::from(Self::serve(&theirs).is_err()))
            }
        }
    }

    fn sample(&self) -> Result<f64> {
        let started = Instant::now();
        let (mut ours, theirs) = UnixStream::pair().trying("a socket pair")?;
        let fds = [theirs.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(
            self.requests.as_raw_fd(),
            &[IoSlice::new(b"f")],
            &rights,
            MsgFlags::empty(),
            None,
        )
        .trying("asking the zygote")?;
        drop(theirs);
        let took = ready(&mut ours, started)?;
        let mut pid = [0; 4];
        (&self.requests).read_exact(&mut pid).trying("the zygote's answer")?;
        drop(ours);
        waitpid(Pid::from_raw(i32::from_le_bytes(pid)), None)
            .trying("waiting for a zygote's child")?;
        Ok(took)
    }

    /// In the zygote, until end of file.
    fn serve(requests: &UnixStream) -> Result<()> {
        while let Some(socket) = receive(requests)? {
            match fork::fork_sibling().trying("forking a sibling")? {
                ForkResult::Child => {
                    fork::exit(i32::from(boot::say_ready(socket, Then::WaitForEnd).is_err()))
                }
                ForkResult::Parent { child } => {
                    drop(socket);
                    let pid = child.as_raw().to_le_bytes();
                    (&mut &*requests).write_all(&pid).trying("answering")?;
                }
            }
        }
        Ok(())
    }
}

fn receive(requests: &UnixStream) -> Result<Option<UnixStream>> {
    let mut byte = [0];
    let mut pieces = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!([RawFd; 1]);
    let message = recvmsg::<()>(
        requests.as_raw_fd(),
        &mut pieces,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .trying("hearing a request")?;
    if message.bytes == 0 {
        return Ok(None);
    }
    let fds = message.cmsgs().trying("a request's fd")?.find_map(|part| match part {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    let fd = fds.ok_or_else(|| BenchError::new("a request", "it has no fd"))?;
    Ok(Some(UnixStream::from(fork::own(fd))))
}
