//! Ctrl-C and the actors of a tree: only the root listens. A process actor does nothing on SIGINT while its parent lives, for
//! its parent is who ends it; once orphaned, SIGINT ends it again.
//!
//! Nothing is done by a handler that does nothing, not by ignoring: an ignored signal stays ignored in programs the actor
//! executes, a handled one does not.

#![expect(unsafe_code, reason = "sigaction has no safe form: a handler could do anything")]

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::actor::{Origin, ThisActor};
use crate::spawn::Backend;

/// For the process of an actor, once. A thread's process belongs to another actor.
pub(super) fn ignore_in_process(backend: Backend) {
    if backend.is_process() {
        set(SigHandler::Handler(do_nothing));
    }
}

/// For an actor whose parent is gone.
pub(super) fn restore_in_process(this: &ThisActor) {
    match &this.origin {
        Origin::Child { backend, .. } if backend.is_process() => set(SigHandler::SigDfl),
        Origin::Child { .. } | Origin::Root => {}
    }
}

extern "C" fn do_nothing(_signal: i32) {}

fn set(handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler touches nothing, so it may run at any instruction of any thread.
    let set = unsafe { sigaction(Signal::SIGINT, &action) };
    debug_assert!(set.is_ok(), "SIGINT can be handled");
}
