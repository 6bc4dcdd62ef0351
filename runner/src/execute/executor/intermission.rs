//! A run that stands still for a while (Ctrl-Z), and one that is only looked at.
//!
//! Attempts are sessions of their own: the terminal's SIGTSTP does not reach them. So supervisors
//! are told to stop what is theirs, and when all have answered this process stops itself with
//! SIGSTOP, for whoever waits for it. It goes on behind that call: everything that has a time is
//! put off by what was lost, and supervisors are told to go on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use runner_core::event::Event;
use runner_core::memory::Memory;
use runner_core::protocol::{Hang, ToSupervisor};

use super::{Executor, SupervisorId, Turn, Work, label};
use crate::execute::ledger::Inspected;
use crate::execute::wakeup::Source;
use crate::keys::{Key, Keys};
use crate::plan::Action;

/// So long supervisors may take to stop what is theirs.
const LIMIT: Duration = Duration::from_secs(1);

/// A run that is about to stop.
pub(super) struct Intermission {
    since: Instant,
    /// This process stops then, whoever has not answered.
    pub(super) until: Instant,
    told: Vec<SupervisorId>,
    unanswered: BTreeSet<SupervisorId>,
    /// Attempts that are started afterwards.
    held: Vec<Action>,
}

impl Executor<'_> {
    /// Somebody wants the run to stand still.
    pub(super) fn on_stop(&mut self, now: Instant) {
        if self.intermission.is_some() {
            return;
        }
        let told = self.crew.serving();
        for id in &told {
            self.say(*id, &ToSupervisor::Pause, now);
        }
        let unanswered = told.iter().copied().collect();
        let (until, held) = (now + LIMIT, Vec::new());
        self.intermission = Some(Intermission { since: now, until, told, unanswered, held });
        self.try_stop(now);
    }

    /// A supervisor has stopped what is its, or is gone.
    pub(super) fn on_paused(&mut self, id: SupervisorId, now: Instant) {
        if let Some(intermission) = &mut self.intermission {
            intermission.unanswered.remove(&id);
            self.try_stop(now);
        }
    }

    /// Stops if everybody has, or it is late enough.
    pub(super) fn try_stop(&mut self, now: Instant) {
        let is_time = |it: &Intermission| it.unanswered.is_empty() || it.until <= now;
        if self.intermission.as_ref().is_some_and(is_time) {
            self.stop();
        }
    }

    /// An attempt that is to be started while everything stops is started afterwards.
    pub(super) fn hold(&mut self, action: Action) -> Option<Action> {
        match &mut self.intermission {
            None => Some(action),
            Some(intermission) => {
                intermission.held.push(action);
                None
            }
        }
    }

    /// Somebody wants the run to go on; or it was only moved between foreground and background.
    pub(super) fn on_continue(&mut self) {
        self.resume();
        self.enter_keys();
    }

    fn stop(&mut self) {
        let running = self.slots.iter().filter(|slot| matches!(slot.work, Work::Running(_)));
        self.ledger.note(Event::RunPaused { running: running.count() });
        self.ledger.settle();
        self.leave_keys();
        // Stops all threads, and returns when somebody sends SIGCONT.
        let _ = raise(Signal::SIGSTOP);
        self.resume();
        self.enter_keys();
    }

    fn resume(&mut self) {
        let Some(Intermission { since, told, held, .. }) = self.intermission.take() else {
            return;
        };
        let now = Instant::now();
        let after = now.saturating_duration_since(since);
        self.plan.postpone(after);
        self.crew.postpone(after);
        self.next_tick += after;
        for id in told {
            self.say(id, &ToSupervisor::Resume, now);
        }
        self.ledger.note(Event::RunResumed { after });
        self.actions.extend(held);
        self.carry_out(now);
    }

    fn say(&mut self, id: SupervisorId, message: &ToSupervisor, now: Instant) {
        if let Err(error) = self.crew.send(id, message, &self.wakeups) {
            self.on_conversation_error(id, &error, now);
        }
    }

    /// Somebody wants to know what everything does that runs.
    pub(super) fn on_inspect(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            if matches!(self.slots[slot].work, Work::Running(_)) {
                self.tell(slot, &ToSupervisor::Inspect, now);
            }
        }
    }

    /// A supervisor answered that.
    pub(super) fn on_inspected(&mut self, slot: usize, hang: Hang, now: Instant) {
        // It may have ended in between.
        let Work::Running(running) = &self.slots[slot].work else {
            return;
        };
        let Turn { round, attempt } = running.turn;
        let output = self.slots[slot].memory.as_ref().map(Memory::output);
        self.ledger.note_inspected(Inspected {
            label: label(running),
            case: self.cases[running.case].name(),
            attempt,
            round,
            elapsed: now.saturating_duration_since(running.started),
            output: output.unwrap_or_default(),
            hang,
        });
    }

    /// Begins to hear keys, if there is a terminal that is ours.
    pub(super) fn enter_keys(&mut self) {
        let Some(keys) = &mut self.keys else {
            return;
        };
        // What is watched already is no error worth telling.
        if keys.enter() {
            let _ = self.wakeups.watch(keys.fd(), Source::Keys);
        }
    }

    fn leave_keys(&mut self) {
        if let Some(keys) = &mut self.keys {
            let _ = self.wakeups.forget(keys.fd());
            keys.leave();
        }
    }

    pub(super) fn on_keys(&mut self, now: Instant) {
        let Some(pressed) = self.keys.as_mut().map(Keys::read) else {
            return;
        };
        let Some(pressed) = pressed else {
            return self.leave_keys();
        };
        for key in pressed {
            match key {
                Key::Inspect => self.on_inspect(now),
                Key::Status => self.ledger.note(Event::StatusAsked),
            }
        }
    }
}
