//! What an attempt is doing: facts first, stacks then, each from whoever can tell.
//!
//! The facts of `/proc` are taken before anything touches a process: a thread that answers a signal
//! waits for nothing any more. Called by `serve` at a deadline and when somebody asks.

use runner_core::memory::{Memory, OwnStacks};
use runner_core::process;
use runner_core::protocol::{Hang, ProcessHang, Stack, Thread, Trace};

use crate::leftovers::Shared;
use crate::outside::{Manner, Reader};
use crate::subtree;

/// Name of the thread that takes stacks from inside; its own is no news.
const WATCHDOG: &str = "watchdog";

/// What a watchdog has told of the first process.
pub(crate) enum Inside {
    /// There is none.
    Nobody,
    /// Nothing: that would disturb.
    NotAsked,
    /// What it took, or why it took nothing.
    Asked(Result<OwnStacks, &'static str>),
}

/// Every process of the attempt, untouched.
pub(crate) fn facts(shared: &Shared) -> Vec<ProcessHang> {
    let described = |process| {
        let sockets = process::sockets(&process);
        ProcessHang { sockets, ..ProcessHang::bare(process) }
    };
    subtree::alive(shared).into_iter().map(described).collect()
}

/// Adds stacks to the facts, and what the attempt's memory has.
pub(crate) fn complete(
    mut processes: Vec<ProcessHang>,
    inside: Inside,
    manner: Manner,
    memory: &Memory,
) -> Hang {
    let mut notes = Vec::new();
    match (inside, processes.first_mut()) {
        (Inside::Asked(Ok(own)), Some(first)) => {
            forget_watchdog(first);
            first.maps = own.maps;
            first.stacks = own.threads;
        }
        (Inside::Asked(Err(why)), _) => notes.push(format!("{why}: stacks are from outside")),
        (Inside::NotAsked, Some(first)) => forget_watchdog(first),
        (Inside::Asked(Ok(_)) | Inside::NotAsked, None) | (Inside::Nobody, _) => {}
    }
    let mut reader = Reader::new(manner);
    processes.iter_mut().for_each(|process| read_rest(process, &mut reader));
    let (task_tree, last_events) = (memory.description(), memory.last_events());
    Hang { processes, notes, task_tree, last_events }
}

fn forget_watchdog(first: &mut ProcessHang) {
    first.process.threads.retain(|thread| thread.name != WATCHDOG);
}

/// Threads that said nothing of themselves.
fn read_rest(hang: &mut ProcessHang, reader: &mut Reader) {
    let is_known = |stack: &Stack| match stack.trace {
        Trace::Calls(_) | Trace::Copied(_) => true,
        Trace::Missing(_) => false,
    };
    let known: Vec<i32> =
        hang.stacks.iter().filter(|stack| is_known(stack)).map(|stack| stack.tid).collect();
    let silent = |thread: &&Thread| !known.contains(&thread.tid);
    let read = reader.read(&hang.process, hang.process.threads.iter().filter(silent));
    if read.is_empty() {
        return;
    }
    let replaced = |stack: &Stack| read.iter().any(|other| other.tid == stack.tid);
    hang.stacks.retain(|stack| !replaced(stack));
    hang.stacks.extend(read);
    if hang.maps.is_empty() {
        hang.maps = process::maps(hang.process.pid);
    }
}
