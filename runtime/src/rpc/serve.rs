//! The dialogues of one channel: those that this end opened, whose answers come, and those that the other end opened, which are
//! served. Each call that is served is a task of its own, so that no call and no clean-up stalls the channel.
//!
//! Whoever drives a channel has one [`Dialogues`] and gives it every [`Dialogue`] message that comes; there is nothing in it of
//! parent and child. A one-shot's parent, which needs to know of its only call, looks at that one first.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::function::{Exposure, Running};
use super::host::{Host, Table, abort_all};
use super::panic::catch;
use crate::error::RemoteError;
use crate::ipc::Sender;
use crate::line::{Ended, Line, NoValue};
use crate::msg::{Dialogue, Failure, Life, Payload};

/// All dialogues of one channel.
pub(crate) struct Dialogues {
    line: Arc<Line>,
    server: Server,
}

impl Dialogues {
    /// For the channel behind `line`. The other end may call what the actor exposes to all, and what is `offered` to it.
    pub(crate) fn new(host: Rc<Host>, line: Arc<Line>, offered: Exposure) -> Dialogues {
        let server = Server::new(host, line.out.clone(), offered);
        Dialogues { line, server }
    }

    /// What the other end said.
    pub(crate) fn on(&self, dialogue: Dialogue) {
        match dialogue {
            Dialogue::Call { id, function, args } => self.server.on_call(id, &function, args),
            Dialogue::CancelCall { id } => self.server.on_cancel_call(id),
            Dialogue::Return { id, value } => self.line.calls.answer(id, Ok(value)),
            Dialogue::Failed { id, failure } => {
                self.line.calls.answer(id, Err(NoValue::Failed(failure)));
            }
        }
    }

    /// The other end is gone: what it opened is ended, and what was opened here is told so. The first telling counts.
    pub(crate) fn end(&self, ended: &Ended) {
        self.server.end();
        self.line.calls.close(ended);
    }

    /// Returns when an actor that lives so long has answered all it was made for; never for a daemon. Cancel safe.
    pub(crate) async fn wait_done(&self, life: Life) {
        match life {
            Life::Daemon => std::future::pending().await,
            Life::OneShot => self.server.answered.notified().await,
        }
    }
}

/// Serves the calls that come over one channel. The ids are the channel's, so only who started a call can cancel it.
struct Server {
    host: Rc<Host>,
    out: Sender,
    offered: Exposure,
    running: Rc<Table>,
    /// A call was answered.
    answered: Rc<Notify>,
}

impl Server {
    fn new(host: Rc<Host>, out: Sender, offered: Exposure) -> Server {
        let running = host.admit();
        Server { host, out, offered, running, answered: Rc::default() }
    }

    /// Begins a call; it is answered when it has run, or now if it cannot.
    fn on_call(&self, id: u64, function: &str, args: Payload) {
        match self.host.begin(&self.offered, function, args, self.out.form()) {
            Ok(running) => self.run(id, running),
            Err(failure) => self.refuse(id, failure),
        }
    }

    /// Ends a call, if it still runs. No answer: nobody waits for one.
    fn on_cancel_call(&self, id: u64) {
        if let Some(task) = self.running.borrow_mut().remove(&id) {
            task.abort();
        }
    }

    /// Nobody is left to answer.
    fn end(&self) {
        abort_all(&self.running);
    }

    fn refuse(&self, id: u64, failure: Failure) {
        // Small, and one for each call that came. A caller that is gone needs no answer.
        let _pushed = self.out.push(Dialogue::Failed { id, failure });
        self.answered.notify_one();
    }

    fn run(&self, id: u64, mut running: Running) {
        let (this, out) = (Arc::clone(&self.host.this), self.out.clone());
        let (table, answered) = (Rc::clone(&self.running), Rc::clone(&self.answered));
        let task = self.host.this.tasks.spawn(async move {
            let answer = match catch(running.as_mut()).await {
                Ok(Ok(value)) => Dialogue::Return { id, value },
                Ok(Err(failure)) => Dialogue::Failed { id, failure },
                Err(panic) => Dialogue::Failed {
                    id,
                    failure: Failure::Panicked(RemoteError::panicked(
                        &this.id,
                        panic.message,
                        panic.location,
                    )),
                },
            };
            table.borrow_mut().remove(&id);
            // From here on a cancel comes too late: the table no longer names the task.
            let _sent = out.send(answer).await;
            answered.notify_one();
        });
        self.running.borrow_mut().insert(id, task);
    }
}
