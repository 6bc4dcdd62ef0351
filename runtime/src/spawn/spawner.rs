//! The one thread of a process that makes its child processes.
//!
//! It never ends, because the parent-death signal follows the *thread* that forked, and tokio's blocking threads end
//! when idle. It never runs the async runtime, so what it forks carries none of it. Started by the first spawn:
//! leaves pay nothing.

use std::io;
use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::oneshot;

use super::child::Life;
use super::error::Failed;
use super::lock::lock;
use super::process::Process;
use super::request::Order;
use super::{Backend, Child, Step, exec, fork, forkserver};

/// The way to the thread.
#[derive(Default)]
pub(super) struct Spawner {
    /// Unbounded, because it holds one job for each `spawn` that is being awaited (or was dropped since the thread
    /// last looked).
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

/// Where a child goes. A child that nobody takes is dropped on the way, and dropping it kills it.
pub(super) type Reply = oneshot::Sender<Result<Child, Failed>>;

/// A request on its way to whoever forks.
pub(super) struct Job {
    pub(super) order: Order,
    pub(super) reply: Reply,
}

impl Spawner {
    pub(super) async fn spawn(&self, order: Order) -> Result<Child, Failed> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job { order, reply }).map_err(Failed::at(Step::Request))?;
        answer.await.unwrap_or_else(|_| {
            Err(Failed::at(Step::Request)(io::Error::other("the spawner panicked")))
        })
    }

    fn submit(&self, job: Job) -> io::Result<()> {
        let mut jobs = lock(&self.jobs);
        let sender = match &*jobs {
            Some(sender) => sender,
            None => jobs.insert(start()?),
        };
        sender.send(job).map_err(|_| io::Error::other("the spawner has ended"))
    }
}

fn start() -> io::Result<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel();
    std::thread::Builder::new().name("spawner".into()).spawn(move || run(&jobs))?;
    Ok(sender)
}

fn run(jobs: &mpsc::Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        job.serve(|order| match order.backend {
            Backend::Exec => exec::spawn(order),
            Backend::Fork => fork::spawn(order),
            Backend::Forkserver => forkserver::spawn(&order),
            Backend::Thread | Backend::ThreadForkserver => {
                unreachable!("{} is not the spawner's", order.backend)
            }
        });
    }
}

impl Job {
    /// Makes the child and hands it over.
    pub(super) fn serve(self, make: impl FnOnce(Order) -> Result<Process, Failed>) {
        if self.reply.is_closed() {
            return;
        }
        let (backend, name, uuid) = (self.order.backend, self.order.name.clone(), self.order.uuid);
        let child = make(self.order)
            .map(|process| Child::new(backend, name, uuid, Life::Process(Arc::new(process))));
        // A child that comes back was asked for by a future dropped meanwhile: dropping it kills and reaps it.
        drop(self.reply.send(child));
    }
}
