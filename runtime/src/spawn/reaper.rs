//! The thread that kills subtrees and waits for their ends, for owners that await it and for those that are gone.
//!
//! Any number of kills go on side by side: one that waits for a process stuck in the kernel holds up nobody. Started
//! by the first kill.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::oneshot;

use super::KillReport;
use super::lock::lock;
use super::process::Process;
use super::subtree::{Kill, Progress};

/// The way to the thread.
#[derive(Default)]
pub(super) struct Reaper {
    inbox: Mutex<Option<Inbox>>,
}

struct Inbox {
    /// Unbounded, because it holds at most a few jobs for each child this process has made.
    jobs: mpsc::Sender<Job>,
    /// Rung after each job.
    bell: Arc<EventFd>,
}

struct Job {
    root: Arc<Process>,
    report: Option<oneshot::Sender<KillReport>>,
}

impl Reaper {
    /// Kills and reaps the subtree of `root`.
    pub(super) async fn kill(&self, root: Arc<Process>) -> KillReport {
        let (report, answer) = oneshot::channel();
        self.submit(Job { root: Arc::clone(&root), report: Some(report) });
        match answer.await {
            Ok(report) => report,
            // No thread could be started: the child itself has been killed, and that is all that can be done.
            Err(_) => {
                root.wait().await;
                KillReport { killed: vec![root.pid()], strangers: Vec::new() }
            }
        }
    }

    /// Kills and reaps the subtree of `root`, which nobody owns any more.
    pub(super) fn kill_unobserved(&self, root: Arc<Process>) {
        self.submit(Job { root, report: None });
    }

    fn submit(&self, job: Job) {
        let mut inbox = lock(&self.inbox);
        let open = match &*inbox {
            Some(open) => Ok(open),
            None => Inbox::open().map(|open| &*inbox.insert(open)),
        };
        match open {
            Ok(open) => open.put(job),
            Err(_) => drop(job.root.signal(libc::SIGKILL)),
        }
    }
}

impl Inbox {
    fn open() -> io::Result<Inbox> {
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (jobs, inbox) = mpsc::channel();
        let heard = Arc::clone(&bell);
        std::thread::Builder::new().name("reaper".into()).spawn(move || run(&inbox, &heard))?;
        Ok(Inbox { jobs, bell })
    }

    fn put(&self, job: Job) {
        // Neither fails: the thread never ends, and a full counter has rung already.
        let _ = self.jobs.send(job);
        let _ = self.bell.write(1);
    }
}

fn run(inbox: &mpsc::Receiver<Job>, bell: &EventFd) {
    let mut kills = Vec::new();
    loop {
        kills.extend(inbox.try_iter().map(|job| (Kill::begin(job.root), job.report)));
        kills = kills.into_iter().filter_map(advance).collect();
        wait(bell, &kills);
    }
}

type Running = (Kill, Option<oneshot::Sender<KillReport>>);

fn advance((mut kill, report): Running) -> Option<Running> {
    match kill.step() {
        Progress::Waiting => Some((kill, report)),
        Progress::Done(done) => {
            if let Some(report) = report {
                // Whoever asked may not be interested any more.
                let _ = report.send(done);
            }
            None
        }
    }
}

/// Sleeps until there is a job, or somebody has ended.
fn wait(bell: &EventFd, kills: &[Running]) {
    let mut watched = vec![PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
    for (kill, _) in kills {
        let before = watched.len();
        watched.extend(kill.pending().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        if watched.len() == before {
            // Its last one ended since it was looked at, and would never wake this thread.
            return;
        }
    }
    match poll(&mut watched, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => (),
        // The kernel is out of memory for a moment: looking again is all there is to do.
        Err(_) => std::thread::yield_now(),
    }
    // Nothing to read: the wake-up was an end.
    let _ = bell.read();
}
