//! The dialogues of one channel: those that this end opened, whose answers come, and those that the other end opened, which are
//! served. Each call or context that is served is a task of its own, so that none, and no clean-up, stalls the channel.
//!
//! Whoever drives a channel has one [`Dialogues`] and gives it every [`Dialogue`] message that comes; there is nothing in it of
//! parent and child. A one-shot's parent, which needs to know of its only call, looks at that one first.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use super::function::{Exposure, Running};
use super::host::{Host, Served, Table, cancel_all};
use super::panic::{Panic, catch};
use crate::actor::collect;
use crate::error::{ActorId, Error, RemoteError};
use crate::line::{Cut, Ended, Last, Line, NoValue, Strand};
use crate::log;
use crate::msg::{Dialogue, Failure, Life, Payload, Side, Terms, shown};

/// All dialogues of one channel.
pub(crate) struct Dialogues {
    line: Arc<Line>,
    server: Server,
}

impl Dialogues {
    /// For the channel behind `line`. The other end may call what the actor exposes to all, and what is `offered` to it.
    pub(crate) fn new(host: Rc<Host>, line: Arc<Line>, offered: Exposure) -> Dialogues {
        host.know(&line);
        let server = Server::new(host, Arc::clone(&line), offered);
        Dialogues { line, server }
    }

    /// What the other end said. What it says of a call or context that has ended crossed the end on its way.
    pub(crate) fn on(&self, dialogue: Dialogue) {
        match dialogue {
            Dialogue::Call { id, function, fingerprint, args } => {
                self.server.on_call(id, &function, fingerprint, args);
            }
            Dialogue::CancelCall { id } => self.server.on_cancel_call(id),
            Dialogue::Introduce { end } => self.server.host.accept(end),
            Dialogue::Return { id, value } => self.line.calls.answer(id, Ok(value)),
            Dialogue::Failed { id, failure } => {
                self.line.calls.answer(id, Err(NoValue::Failed(failure)));
            }
            Dialogue::Open { id, function, fingerprint, args, terms } => {
                self.server.on_open(id, &function, fingerprint, args, terms);
            }
            Dialogue::CancelContext { id, by } => self.server.on_cancel_context(id, &by),
            Dialogue::Started { id, value } => {
                self.with(id, Side::Server, |strand| strand.on_started(value));
            }
            Dialogue::CancelHeard { id } => self.with(id, Side::Server, Strand::on_heard),
            Dialogue::Item { id, from, item } => self.with(id, from, |strand| strand.on_item(item)),
            Dialogue::Credit { id, from, count } => {
                self.with(id, from, |strand| strand.on_credit(count));
            }
            Dialogue::EndOfStream { id, from } => self.with(id, from, Strand::on_end_of_stream),
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

    /// This end of the context of that number, about which the other end, the `from` of it, has spoken.
    fn with(&self, id: u64, from: Side, react: impl FnOnce(&Strand)) {
        let strand = match from {
            Side::Server => self.line.calls.context(id),
            Side::Opener => self.server.context(id),
        };
        if let Some(strand) = strand {
            react(&strand);
        }
    }
}

/// Serves what comes over one channel. The ids are the channel's, so only who started a call or context can cancel it.
struct Server {
    host: Rc<Host>,
    line: Arc<Line>,
    offered: Exposure,
    running: Rc<Table>,
    /// A call was answered.
    answered: Rc<Notify>,
}

impl Server {
    fn new(host: Rc<Host>, line: Arc<Line>, offered: Exposure) -> Server {
        let running = host.admit();
        Server { host, line, offered, running, answered: Rc::default() }
    }

    /// Begins a call; it is answered when it has run, or now if it cannot.
    fn on_call(&self, id: u64, function: &str, fingerprint: u64, args: Payload) {
        let begun = self.host.find(&self.offered, function, fingerprint).and_then(|found| {
            let form = self.line.out.form();
            found.entry.begin(found.state.as_ref(), args, form).ok_or(Failure::NotExposed)
        });
        match begun {
            Ok(running) => self.run_call(id, log::in_call(shown(function), id, running)),
            Err(failure) => self.refuse(id, failure),
        }
    }

    /// Ends a call, if it still runs. No answer: nobody waits for one.
    fn on_cancel_call(&self, id: u64) {
        if let Some(served) = self.running.borrow_mut().remove(&id) {
            served.cancel(&self.line.actor);
        }
    }

    /// Begins a context; what becomes of it is told when it has ended, or now if it cannot be.
    fn on_open(&self, id: u64, function: &str, fingerprint: u64, args: Payload, terms: Terms) {
        let begun = self.host.find(&self.offered, function, fingerprint).and_then(|found| {
            let strand = self.strand(id, found.entry.name(), terms);
            let running =
                found.entry.begin_context(found.state.as_ref(), Arc::clone(&strand), args);
            running.map(|running| (strand, running)).ok_or(Failure::NotExposed)
        });
        match begun {
            Ok((strand, running)) => {
                self.run_context(strand, log::in_context(shown(function), id, running));
            }
            Err(failure) => self.refuse(id, failure),
        }
    }

    fn strand(&self, id: u64, function: &'static str, terms: Terms) -> Arc<Strand> {
        let (here, peer) = (self.host.this.id.clone(), self.line.actor.clone());
        Strand::of_server(id, here, peer, function, terms, self.line.out.clone())
    }

    /// Asks a context's task to end. That this was read is said now; what became of the task, when it has ended.
    fn on_cancel_context(&self, id: u64, by: &ActorId) {
        let _pushed = self.line.out.push(Dialogue::CancelHeard { id });
        if let Some(strand) = self.context(id) {
            strand.on_cancel(by);
        }
    }

    fn context(&self, id: u64) -> Option<Arc<Strand>> {
        match self.running.borrow().get(&id) {
            Some(Served::Context(strand)) => Some(Arc::clone(strand)),
            Some(Served::Call(_)) | None => None,
        }
    }

    /// Nobody is left to answer.
    fn end(&self) {
        cancel_all(&self.running, &self.line.actor);
    }

    fn refuse(&self, id: u64, failure: Failure) {
        // Small, and one for each call that came. A caller that is gone needs no answer.
        let _pushed = self.line.out.push(Dialogue::Failed { id, failure });
        self.answered.notify_one();
    }

    fn run_call(&self, id: u64, mut running: Running) {
        let cut = Cut::default();
        self.running.borrow_mut().insert(id, Served::Call(cut.clone()));
        let task = self.task(id);
        self.host.this.tasks.spawn(async move {
            let mut caught = pin!(catch(running.as_mut()));
            let outcome = cut.run(caught.as_mut()).await;
            // From here on a cancel comes too late: the table no longer names the task.
            task.forget();
            // Whoever cancelled it waits for no answer, or is told by the actor's end.
            let Some(outcome) = outcome else { return };
            task.answer(task.told(outcome)).await;
        });
    }

    fn run_context(&self, strand: Arc<Strand>, mut running: Running) {
        let id = strand.id;
        self.running.borrow_mut().insert(id, Served::Context(Arc::clone(&strand)));
        let task = self.task(id);
        self.host.this.tasks.spawn(async move {
            let outcome = {
                let mut caught = pin!(catch(running.as_mut()));
                strand.drive(caught.as_mut()).await
            };
            // It has ended when nothing is left of it.
            let left = collect(|| drop(running)).wait().await;
            let told = match (outcome, Error::from_failures(left)) {
                (Some(Ok(Ok(_))), _) if !strand.is_started() => {
                    Dialogue::Failed { id, failure: Failure::NotStarted }
                }
                (Some(outcome), _) => task.told(outcome),
                (None, Some(error)) => {
                    let failure = RemoteError::returned(&task.host.this.id, error);
                    Dialogue::Failed { id, failure: Failure::Returned(failure) }
                }
                (None, None) => {
                    let by = strand.canceller().unwrap_or_else(|| task.host.this.id.clone());
                    Dialogue::Failed { id, failure: Failure::Cancelled { by } }
                }
            };
            strand.end(match &told {
                Dialogue::Failed { failure, .. } => Last::Failed(failure.clone()),
                _ => Last::Returned(None),
            });
            task.forget();
            task.answer(told).await;
        });
    }

    fn task(&self, id: u64) -> Task {
        Task {
            id,
            host: Rc::clone(&self.host),
            line: Arc::clone(&self.line),
            table: Rc::clone(&self.running),
            answered: Rc::clone(&self.answered),
        }
    }
}

/// One task that serves, and what it has to do with the server that began it.
struct Task {
    id: u64,
    host: Rc<Host>,
    line: Arc<Line>,
    table: Rc<Table>,
    answered: Rc<Notify>,
}

impl Task {
    fn forget(&self) {
        self.table.borrow_mut().remove(&self.id);
    }

    /// What the opener is told of how the function ended.
    fn told(&self, outcome: Result<Result<Payload, Failure>, Panic>) -> Dialogue {
        let id = self.id;
        match outcome {
            Ok(Ok(value)) => Dialogue::Return { id, value },
            Ok(Err(failure)) => Dialogue::Failed { id, failure },
            Err(panic) => {
                let here = &self.host.this.id;
                let panicked = RemoteError::panicked(here, panic.message, panic.place);
                Dialogue::Failed { id, failure: Failure::Panicked(panicked) }
            }
        }
    }

    async fn answer(&self, answer: Dialogue) {
        let _sent = self.line.out.send(answer).await;
        self.answered.notify_one();
    }
}
