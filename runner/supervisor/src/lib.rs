//! The supervisor: the small single-threaded process that owns a slot's attempts. It forks their
//! first processes, watches them, answers whoever plays the runner, and leaves nothing of them.
//!
//! What the forked process then does is its user's, a [`FirstProcess`]. There are three: the
//! harness of a suite binary runs a test in it; the runner's own image executes a plain test
//! binary; `contain` executes any command. The runner starts a supervisor as a process of its own
//! and hands it two fds ([`inherited`]); the other faces and `contain` fork one before their first
//! thread ([`fork_supervisor`]). Either way [`serve`] is all it does from then on:
//!
//! ```no_run
//! use std::os::unix::net::UnixStream;
//! use runner_core::memory::Memory;
//! use runner_core::protocol::{Attempt, Done, ProtocolError};
//! use runner_supervisor::{FirstProcess, serve};
//!
//! struct Nothing;
//!
//! impl FirstProcess for Nothing {
//!     fn run(&self, _: Attempt, memory: &'static Memory) -> ! {
//!         memory.finish(&Done::Passed);
//!         std::process::exit(0)
//!     }
//! }
//!
//! fn supervise(control: UnixStream, memory: Memory) -> Result<(), ProtocolError> {
//!     serve(control, memory, Nothing)
//! }
//! ```
//!
//! `serve` is the loop, `life` decides what happens next by the attempt's `clock`, `subtree` knows,
//! stops and ends processes, `census` counts them, `hang` says what they do, from `outside` where
//! they do not say it themselves, `fork` forks, `redirect` is capture by fds. Not here: what a test is, capture where the program writes, the outcome
//! (`runner_core::outcome::judge` makes it of the facts), and symbols: facts hold raw addresses only.
//! This crate never defines a symbol of libc's.
//!
//! # What holds
//! - A supervisor has one thread whenever it forks, and runs at most one attempt.
//! - Everything below it belongs to that attempt: it is a session of its own and a subreaper.
//! - It signals nothing that may have been replaced by another process with the same id.
//! - If whoever plays the runner ends, it ends its subtree and exits.

mod census;
mod clock;
mod fork;
mod hang;
mod launch;
mod leftovers;
mod life;
mod outside;
mod redirect;
mod serve;
mod subtree;
mod terminal;

use std::os::fd::RawFd;

use runner_core::memory::Memory;
use runner_core::protocol::Attempt;

pub use fork::inherited;
pub use launch::Launch;
pub use serve::{fork_supervisor, serve};
pub use terminal::set_foreground;

/// What a supervisor's attempts have to do with the terminal of whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Nothing: the supervisor is a session of its own, which has none.
    None,
    /// It is theirs: the supervisor stays in the session, in a process group of its own. When the
    /// terminal stops the first process, that counts as [`ToSupervisor::Pause`], so
    /// [`FromSupervisor::Paused`] comes without having been asked for; at
    /// [`ToSupervisor::Resume`] the first process is the foreground job again if the group of
    /// whoever started the supervisor is.
    ///
    /// [`ToSupervisor::Pause`]: runner_core::protocol::ToSupervisor::Pause
    /// [`ToSupervisor::Resume`]: runner_core::protocol::ToSupervisor::Resume
    /// [`FromSupervisor::Paused`]: runner_core::protocol::FromSupervisor::Paused
    Shared,
}

/// What the first process of an attempt does: the part of a supervisor that is its user's.
pub trait FirstProcess {
    /// Called once, in the supervisor, before its first fork: for what every attempt would do
    /// again. Threads that it starts have ended when it returns.
    fn prepare(&mut self, memory: &'static Memory) {
        let _ = memory;
    }

    /// What the attempts have to do with the terminal.
    fn terminal(&self) -> Terminal {
        Terminal::None
    }

    /// fds above 2 that the first process keeps; all others are closed in it.
    fn kept_fds(&self, attempt: &Attempt) -> Vec<RawFd> {
        let _ = attempt;
        Vec::new()
    }

    /// The program that the first process is to be, if that can be said beforehand. It is started
    /// without a fork's copy of the supervisor, with nothing above fd 2, and a process group,
    /// signals and stdin as [`FirstProcess::run`] finds them, which is not called then.
    fn launch(&self, attempt: &Attempt) -> Option<Launch<'_>> {
        let _ = attempt;
        None
    }

    /// Called in the forked process, which has one thread, a process group of its own, no signal
    /// blocked, nothing on stdin (unless a program is to inherit it), and dies with the
    /// supervisor. Environment and working directory are still the supervisor's.
    ///
    /// A test writes its own *done* into the memory; a program's exit code is taken for it. What
    /// cannot be run at all is *done* too: [`runner_core::protocol::Done::NotSetUp`].
    fn run(&self, attempt: Attempt, memory: &'static Memory) -> !;
}
