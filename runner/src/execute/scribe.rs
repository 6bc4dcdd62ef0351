//! Writes hang reports on a thread of its own: reading a large binary's debug information may take
//! longer than a person waits for an answer to Ctrl-C, and no other attempt's clock may wait for it.
//!
//! Owned by the executor. The thread exists from the first report on, touches nothing but the
//! files it reads and writes, and starts no process.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use runner_core::protocol::Hang;
use runner_core::report;
use runner_core::symbols::Symboliser;

use super::run::SuiteBinary;

/// A report that was asked for, by a number of the caller's.
pub(super) type Ticket = usize;

/// Everything a report is made from.
pub(super) struct HangFacts {
    /// The case's id.
    pub(super) case: String,
    /// What was seen.
    pub(super) hang: Hang,
    /// The last lines of every writer.
    pub(super) last_lines: Vec<u8>,
}

/// The writer of reports, and the thread it has or will have.
pub(super) struct Scribe {
    bell: UnixStream,
    /// Taken by the thread.
    idle: Option<Desk>,
    /// Unbounded: a message is an attempt that passed its deadline, so there are at most slots by
    /// deadline of them a second, each some kilobytes.
    jobs: Sender<Job>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    pending: usize,
}

/// What the thread works with.
struct Desk {
    jobs: Receiver<Job>,
    /// Unbounded: one answer for each job.
    done: Sender<Done>,
    bell: UnixStream,
    binaries: Vec<(PathBuf, File)>,
}

struct Job {
    ticket: Ticket,
    path: PathBuf,
    facts: HangFacts,
}

struct Done {
    ticket: Ticket,
    result: io::Result<()>,
}

impl Scribe {
    /// Functions are looked up in these files, even when a rebuild has replaced them since.
    pub(super) fn new(binaries: &[SuiteBinary]) -> io::Result<Self> {
        let (bell, their_bell) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        their_bell.set_nonblocking(true)?;
        let (jobs, their_jobs) = channel();
        let (their_done, done) = channel();
        let mut files = Vec::new();
        for binary in binaries {
            files.push((binary.path.clone(), binary.file.try_clone()?));
        }
        let desk = Desk { jobs: their_jobs, done: their_done, bell: their_bell, binaries: files };
        Ok(Self { bell, idle: Some(desk), jobs, done, thread: None, pending: 0 })
    }

    /// Readable when a report is written.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Asks for a report; `finished` tells of it later.
    pub(super) fn submit(
        &mut self,
        ticket: Ticket,
        path: PathBuf,
        facts: HangFacts,
    ) -> io::Result<()> {
        if let Some(desk) = self.idle.take() {
            let thread = Builder::new().name("hang reports".into()).spawn(|| desk.work())?;
            self.thread = Some(thread);
        }
        let job = Job { ticket, path, facts };
        self.jobs.send(job).map_err(|_| io::Error::other("its thread is gone"))?;
        self.pending += 1;
        Ok(())
    }

    /// Reports that came to an end since the last call, written or not.
    pub(super) fn try_finished(&mut self) -> Option<(Ticket, io::Result<()>)> {
        // The bell only wakes; what counts is the channel.
        let _ = self.bell.read(&mut [0; 64]);
        let Done { ticket, result } = self.done.try_recv().ok()?;
        self.pending -= 1;
        Some((ticket, result))
    }
}

impl Drop for Scribe {
    /// Waits for the thread only if it has nothing to do: whoever leaves in the middle of a
    /// report is in a hurry, and the process is about to end.
    fn drop(&mut self) {
        let (closed, _) = channel();
        self.jobs = closed;
        if let (Some(thread), 0) = (self.thread.take(), self.pending) {
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn work(mut self) {
        let mut symboliser = self.symboliser();
        while let Ok(job) = self.jobs.recv() {
            let written = catch_unwind(AssertUnwindSafe(|| job.write(&mut symboliser)));
            let result = written.unwrap_or_else(|_| {
                symboliser = self.symboliser();
                Err(io::Error::other("reading debug information panicked"))
            });
            if self.done.send(Done { ticket: job.ticket, result }).is_err() {
                return;
            }
            // A full socket has rung already.
            let _ = self.bell.write(&[0]);
        }
    }

    fn symboliser(&self) -> Symboliser {
        let mut symboliser = Symboliser::new();
        for (path, file) in &self.binaries {
            let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
            symboliser.substitute(path.clone(), opened.into());
        }
        symboliser
    }
}

impl Job {
    fn write(&self, symboliser: &mut Symboliser) -> io::Result<()> {
        let HangFacts { case, hang, last_lines } = &self.facts;
        let mut text = report::hang(case, hang, symboliser).into_bytes();
        if !last_lines.is_empty() {
            text.extend_from_slice(b"\nlast output\n");
            text.extend_from_slice(last_lines);
        }
        fs::write(&self.path, text)
    }
}
