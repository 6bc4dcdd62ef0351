//! `forkserver`: a small side-car process with one thread forks warm children on request.
//!
//! The root's is forked by `init`, before there are threads; any other process (and a root that did not ask for one)
//! starts its own by exec when it first spawns on this backend. It lives in its owner's process group and dies with
//! its owner. What it forks are its owner's children, not its own (`CLONE_PARENT`), made with the environment its
//! owner has at the time, but with the working directory, standard streams and heap of its own start.
//!
//! The two talk over a stream socket, one request at a time, in frames: length, then postcard; the child's link goes
//! along with the request, its pidfd with the answer.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::descriptors;
use super::error::Failed;
use super::globals::{globals, renew};
use super::kernel::{self, Parentage, RawFork};
use super::lock::lock;
use super::process::Process;
use super::quiesce::warm_up;
use super::request::Order;
use super::signals::{self, Blocked};
use super::summons::Role;
use super::{Backend, Step, Unavailable, birth, exec, lineage, panics, title};

/// The side-car's command name, and its command line where it has one of its own.
const NAME: &str = "forkserver";

pub(super) fn check() -> Result<(), Unavailable> {
    kernel::check_fork_raw()?;
    if birth::has_entry() { Ok(()) } else { Err(Unavailable::NoEntry) }
}

/// To be called on the spawner, whose end would take a side-car along that it started.
pub(super) fn spawn(order: &Order) -> Result<Process, Failed> {
    check()?;
    globals().sidecars.spawn(order)
}

/// Forks the side-car. To be called while this is the only thread.
pub(super) fn start_early() -> io::Result<()> {
    let sidecar = Sidecar::fork()?;
    globals().sidecars.put(sidecar);
    Ok(())
}

/// The side-car of this process, if it has one.
#[derive(Default)]
pub(super) struct Sidecars {
    /// Locked for as long as a request takes.
    current: Mutex<Option<Sidecar>>,
    /// The process of the current one, so that it can be ended in the midst of a request.
    process: Mutex<Option<Arc<Process>>>,
}

impl Sidecars {
    fn put(&self, sidecar: Sidecar) {
        *lock(&self.process) = Some(Arc::clone(&sidecar.process));
        *lock(&self.current) = Some(sidecar);
    }

    fn spawn(&self, order: &Order) -> Result<Process, Failed> {
        if lock(&self.current).is_none() {
            self.put(Sidecar::exec()?);
        }
        let mut current = lock(&self.current);
        let Some(sidecar) = current.as_mut() else {
            return Err(Failed::at(Step::Request)(io::ErrorKind::BrokenPipe.into()));
        };
        match sidecar.ask(order) {
            Ok(Answer::Born { pid, pidfd }) => Ok(Process::new(pid, pidfd)),
            Ok(Answer::Refused(errno)) => Err(Failed::at(Step::Fork)(errno.into())),
            Err(error) => {
                // It is gone, or no longer in step: the next spawn gets another.
                drop(current.take());
                Err(Failed::at(Step::Request)(error))
            }
        }
    }

    /// Ends the side-car, if there is one, and with it a request that is under way. Its children live on: they are
    /// this process's.
    pub(super) fn stop(&self) {
        if let Some(process) = lock(&self.process).take() {
            // Killed rather than asked: it has nothing to put in order, and it may have been stopped.
            let _ = process.signal(libc::SIGKILL);
        }
        drop(lock(&self.current).take());
    }
}

/// The owner's side of a side-car.
struct Sidecar {
    process: Arc<Process>,
    socket: UnixStream,
    /// What its children start with, unless told otherwise.
    environment: HashMap<OsString, OsString>,
}

impl Sidecar {
    fn fork() -> io::Result<Sidecar> {
        let (socket, theirs) = UnixStream::pair()?;
        let environment = std::env::vars_os().collect();
        let owner = Pid::this();
        warm_up();
        let blocked = Blocked::all();
        match kernel::fork_raw(Parentage::Child)? {
            RawFork::Parent { child, pidfd } => {
                Ok(Sidecar { process: Arc::new(Process::new(child, pidfd)), socket, environment })
            }
            RawFork::Child => {
                blocked.keep();
                become_sidecar(theirs, owner)
            }
        }
    }

    fn exec() -> Result<Sidecar, Failed> {
        let (socket, theirs) = UnixStream::pair().map_err(Failed::at(Step::Prepare))?;
        let environment = std::env::vars_os().collect();
        let process = exec::spawn_role(Role::Forkserver, theirs.as_raw_fd(), NAME)?;
        Ok(Sidecar { process: Arc::new(process), socket, environment })
    }

    fn ask(&mut self, order: &Order) -> io::Result<Answer> {
        let request =
            Request { name: order.name.clone(), uuid: order.uuid, env: self.changes(order) };
        send(&mut self.socket, &request, Some(order.link.as_fd()))?;
        let (reply, pidfd) =
            receive::<Reply>(&mut self.socket)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        match (reply, pidfd) {
            (Reply::Born(pid), Some(pidfd)) => Ok(Answer::Born { pid: Pid::from_raw(pid), pidfd }),
            (Reply::Refused(errno), None) => Ok(Answer::Refused(Errno::from_raw(errno))),
            (Reply::Born(_), None) | (Reply::Refused(_), Some(_)) => {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    /// What this process's environment, and then the order, have other than the side-car's.
    fn changes(&self, order: &Order) -> Vec<(OsString, Option<OsString>)> {
        let now: HashMap<_, _> = std::env::vars_os().collect();
        let gone = self
            .environment
            .keys()
            .filter(|name| !now.contains_key(*name))
            .map(|name| (name.clone(), None));
        let other = now
            .iter()
            .filter(|(name, value)| self.environment.get(*name) != Some(value))
            .map(|(name, value)| (name.clone(), Some(value.clone())));
        gone.chain(other).chain(order.env.iter().cloned()).collect()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if self.process.is_ours() {
            let _ = self.process.signal(libc::SIGKILL);
            self.process.wait_blocking();
        }
    }
}

/// What became of a request.
enum Answer {
    Born { pid: Pid, pidfd: OwnedFd },
    Refused(Errno),
}

#[derive(Serialize, Deserialize)]
struct Request {
    name: String,
    uuid: Uuid,
    env: Vec<(OsString, Option<OsString>)>,
}

#[derive(Serialize, Deserialize)]
enum Reply {
    /// The child's pid; its pidfd comes along.
    Born(i32),
    /// The error number of the fork.
    Refused(i32),
}

fn become_sidecar(socket: UnixStream, owner: Pid) -> ! {
    panics::never_trace();
    renew();
    let mut granted = descriptors::kept();
    granted.push(socket.as_raw_fd());
    granted.extend(lineage::descriptor());
    if let Err(error) = descriptors::scrub(granted) {
        birth::stillborn("the fork server cannot close what it was not given", &error);
    }
    signals::reset_in_fork();
    title::set_line(NAME);
    serve_owner(socket, owner)
}

/// The side-car, in a fresh image.
pub(super) fn serve(socket: OwnedFd) -> ! {
    // As a forked one: no terminal's signal ends it before its owner, and its children clear the mask.
    Blocked::all().keep();
    title::set_line(NAME);
    warm_up();
    serve_owner(UnixStream::from(socket), Pid::parent())
}

fn serve_owner(mut socket: UnixStream, owner: Pid) -> ! {
    // An owner that was gone before the signal was asked for is noticed as the end of the stream.
    if prctl::set_pdeathsig(Signal::SIGKILL).is_ok() {
        while let Ok(Some((request, Some(link)))) = receive(&mut socket) {
            if answer(&mut socket, request, link, owner).is_err() {
                break;
            }
        }
    }
    kernel::leave(0)
}

fn answer(socket: &mut UnixStream, request: Request, link: OwnedFd, owner: Pid) -> io::Result<()> {
    // Made here and not by each child: what it takes is in memory then.
    let order = request.order(link);
    match kernel::fork_raw(Parentage::Sibling) {
        Ok(RawFork::Child) => birth::after_fork(order, owner),
        Ok(RawFork::Parent { child, pidfd }) => {
            send(socket, &Reply::Born(child.as_raw()), Some(pidfd.as_fd()))
        }
        Err(error) => {
            send(socket, &Reply::Refused(error.raw_os_error().unwrap_or(libc::EIO)), None)
        }
    }
}

impl Request {
    fn order(self, link: OwnedFd) -> Order {
        Order {
            backend: Backend::Forkserver,
            title: title::of(&self.name, self.uuid),
            name: self.name,
            uuid: self.uuid,
            link,
            entry: birth::entry(),
            env: self.env,
            program: None,
            keep: descriptors::kept(),
        }
    }
}

/// Enough for nearly every frame, so that it takes one system call.
const USUAL_FRAME_BYTES: usize = 4096;

const LENGTH_BYTES: usize = size_of::<u32>();

fn send(
    socket: &mut UnixStream,
    value: &impl Serialize,
    with: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let body = postcard::to_allocvec(value).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let frame = [&length.to_le_bytes()[..], &body].concat();
    let numbers = with.map(|fd| [fd.as_raw_fd()]);
    let rights: Vec<_> = numbers.iter().map(|numbers| ControlMessage::ScmRights(numbers)).collect();
    let sent = loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&frame)],
            &rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(Errno::EINTR) => (),
            sent => break sent?,
        }
    };
    socket.write_all(&frame[sent..])
}

/// The next frame, with the descriptor that came along; `None` at the end of the stream.
fn receive<T: DeserializeOwned>(
    socket: &mut UnixStream,
) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut frame = vec![0; USUAL_FRAME_BYTES];
    let (mut received, descriptor) = receive_part(socket, &mut frame)?;
    if received == 0 {
        return Ok(None);
    }
    if received < LENGTH_BYTES {
        socket.read_exact(&mut frame[received..LENGTH_BYTES])?;
        received = LENGTH_BYTES;
    }
    let (length, _) =
        frame.split_first_chunk::<LENGTH_BYTES>().ok_or(io::ErrorKind::InvalidData)?;
    let end = LENGTH_BYTES + u32::from_le_bytes(*length) as usize;
    frame.resize(end.max(received), 0);
    if received < end {
        socket.read_exact(&mut frame[received..end])?;
    }
    let value = postcard::from_bytes(&frame[LENGTH_BYTES..end]).map_err(io::Error::other)?;
    Ok(Some((value, descriptor)))
}

fn receive_part(socket: &UnixStream, into: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut buffers = [IoSliceMut::new(into)];
    let message = loop {
        match recvmsg::<()>(
            socket.as_raw_fd(),
            &mut buffers,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(Errno::EINTR) => (),
            message => break message?,
        }
    };
    // All of them, also where one was expected: what is not owned is never closed.
    let mut came = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            came.extend(numbers.into_iter().map(descriptors::own));
        }
    }
    Ok((message.bytes, came.into_iter().next()))
}
