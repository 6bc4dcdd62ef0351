//! The loop: next wake-up → react → carry out what the plan says → tell.
//!
//! Every decision about cases and slots is `plan`'s; what a supervisor says or its death is turned
//! into a `Fact` here. Nothing here waits but [`Wakeups::wait`], and nothing blocks longer than a
//! file write.
//!
//! An attempt's life: `Start` is sent, its supervisor says `Finished`, the verdict goes to the
//! plan, the slot's next `Start` is sent, then the end is told. A supervisor that goes wrong in any
//! way is killed and nothing more of it is heard; its death is the one place where its slot learns
//! of it, and when nothing below it is left, the attempt ends as our fault.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use runner_core::event::{CaseName, Event, Finished, Interrupt, Stress};
use runner_core::expand::{AttemptPlace, Case};
use runner_core::memory::{Memory, Output};
use runner_core::outcome::{Outcome, Standing, judge};
use runner_core::protocol::{
    Attempt, Facts, FromSupervisor, Hang, PROTOCOL_VERSION, Process, ProcessHang, ProtocolError,
    ResourceDelta, ToSupervisor,
};
use runner_core::run_folder::RunFolder;

use intermission::Intermission;

use super::crew::Crew;
use super::image::Images;
use super::ledger::{Ended, Ledger};
use super::run::{ExecuteError, Harness, KeepOutput, Limits, RunEnd, SuiteBinary, Summary};
use super::supervisor::{Duty, Progress, SupervisorId};
use super::wakeup::{Source, Wakeup, Wakeups};
use crate::keys::Keys;
use crate::plain;
use crate::plan::{Action, Afterwards, Bounds, Ending, Fact, Job, Plan, Stage, StartFault, Turn};

mod intermission;

/// Between two [`Event::Tick`].
const TICK: Duration = Duration::from_millis(100);

/// A wait that took so much longer than asked for: the program was stopped or suspended.
const GAP: Duration = Duration::from_secs(1);

/// Chunks read from one supervisor before the others have their turn.
const CHUNKS_IN_A_ROW: usize = 8;

/// One run, from its first case to its last process.
pub(super) struct Executor<'a> {
    binaries: &'a [SuiteBinary],
    limits: &'a Limits,
    cases: Vec<Case>,
    /// The number of each case's binary.
    case_binaries: Vec<usize>,
    images: Images<'a>,
    plan: Plan,
    /// What the plan wants and has not got yet.
    actions: VecDeque<Action>,
    slots: Vec<Slot>,
    crew: Crew,
    /// Why an image's last supervisor could not be started, by image.
    start_faults: Vec<String>,
    ledger: Ledger<'a>,
    wakeups: Wakeups,
    /// Holds the temporary folders of attempts. Their supervisors remove these; what lost ones
    /// left goes with it.
    folder: RunFolder,
    next_tick: Instant,
    end: RunEnd,
    keys: Option<Keys>,
    /// Set while the run is about to stand still.
    intermission: Option<Intermission>,
}

/// What the executor has for a slot of the plan.
#[derive(Default)]
struct Slot {
    /// Made with the first supervisor, and anew when processes may still write into it.
    memory: Option<Memory>,
    supervisor: Option<SupervisorId>,
    work: Work,
}

#[derive(Default)]
enum Work {
    #[default]
    None,
    Running(Running),
    /// Its supervisor is dead; what is left of the attempt is being ended.
    Clearing(Option<Running>, Loss),
}

/// What there is to tell of an attempt that is over.
struct Verdict {
    outcome: Outcome,
    duration: Duration,
    output: Output,
    hang: Option<Hang>,
    allowed_leaks: Vec<Process>,
    resources: Option<ResourceDelta>,
}

impl Verdict {
    /// Nothing is known beside these.
    fn bare(outcome: Outcome, duration: Duration, output: Output, hang: Option<Hang>) -> Self {
        Self { outcome, duration, output, hang, allowed_leaks: Vec::new(), resources: None }
    }
}

/// Why a suite has no supervisor.
struct Unstarted {
    suite: usize,
    words: String,
    fault: StartFault,
}

/// How a supervisor was lost.
struct Loss {
    /// What it was a supervisor of.
    image: String,
    message: String,
    /// What was there when it went wrong, if it did not simply die.
    evidence: Vec<Process>,
}

struct Running {
    case: usize,
    turn: Turn,
    started: Instant,
}

impl<'a> Executor<'a> {
    pub(super) fn new(
        binaries: &'a [SuiteBinary],
        cases: Vec<Case>,
        limits: &'a Limits,
        sink: &'a mut dyn FnMut(&Event),
    ) -> Result<Self, ExecuteError> {
        let images = Images::new(binaries)
            .map_err(|error| ExecuteError::new("list the plain binaries", error))?;
        let case_binaries = case_binaries(&cases, binaries)?;
        let jobs = jobs(&cases, &case_binaries, &images, limits);
        let plan = Plan::new(jobs, bounds(limits));
        let wakeups =
            Wakeups::new().map_err(|error| ExecuteError::new("wait for signals", error))?;
        let crew =
            Crew::new().map_err(|error| ExecuteError::new("become a child subreaper", error))?;
        let ledger = Ledger::new(&limits.run_dir, binaries, sink)?;
        wakeups
            .watch(ledger.bell(), Source::Report)
            .map_err(|error| ExecuteError::new("wait for hang reports", error))?;
        Ok(Self {
            binaries,
            limits,
            cases,
            case_binaries,
            actions: VecDeque::new(),
            slots: std::iter::repeat_with(Slot::default).take(plan.slot_count()).collect(),
            plan,
            crew,
            start_faults: vec![String::new(); images.count()],
            images,
            ledger,
            wakeups,
            folder: make_folder()?,
            next_tick: Instant::now(),
            end: RunEnd::ByItself,
            keys: Keys::of(limits.keys),
            intermission: None,
        })
    }

    /// Runs until nothing is left to do, to end or to tell.
    pub(super) fn run(mut self) -> Result<Summary, ExecuteError> {
        let result = self.run_loop();
        if let Err(error) = self.folder.remove() {
            let folder = self.folder.path().display();
            self.ledger.note_problem(format!("cannot remove {folder}: {error}"));
        }
        result?;
        Ok(Summary {
            not_started: self.plan.not_started(),
            end: self.end,
            problems: self.ledger.into_problems(),
        })
    }

    fn run_loop(&mut self) -> Result<(), ExecuteError> {
        self.enter_keys();
        self.step(Fact::Clock, Instant::now());
        self.ledger.settle();
        while !self.is_over() {
            let until = self.next_clock();
            let wakeups = self.wakeups.wait(until);
            let wakeups = wakeups.map_err(|error| ExecuteError::new("wait for events", error))?;
            let now = Instant::now();
            self.forgive_gap(until, now);
            for wakeup in wakeups {
                self.on_wakeup(wakeup, now);
            }
            self.ledger.settle();
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.plan.is_over() && self.crew.is_gone() && self.ledger.is_settled()
    }

    fn next_clock(&self) -> Instant {
        let pause = self.intermission.as_ref().map(|intermission| intermission.until);
        let clocks = [self.plan.next_clock(), self.crew.next_clock(), pause];
        clocks.into_iter().flatten().fold(self.next_tick, Instant::min)
    }

    fn forgive_gap(&mut self, until: Instant, now: Instant) {
        let late = now.saturating_duration_since(until);
        if late > GAP {
            self.plan.postpone(late);
        }
    }

    fn on_wakeup(&mut self, wakeup: Wakeup, now: Instant) {
        match wakeup {
            Wakeup::Interrupt(signal) => self.on_interrupt(signal, now),
            Wakeup::Stop => self.on_stop(now),
            Wakeup::Continue => self.on_continue(),
            Wakeup::Inspect => self.on_inspect(now),
            Wakeup::Keys => self.on_keys(now),
            Wakeup::Child => self.on_child(now),
            Wakeup::Control(id) => self.on_control(id, now),
            Wakeup::Exit(id) => self.on_exit(id, now),
            Wakeup::Report => self.ledger.on_report(),
            Wakeup::Clock => self.on_clock(now),
        }
    }

    fn on_interrupt(&mut self, signal: i32, now: Instant) {
        self.end = RunEnd::Interrupted;
        let answer = match self.plan.stage() {
            Stage::Full | Stage::Draining => Interrupt::Ask,
            Stage::Asked | Stage::Killed | Stage::GivenUp => Interrupt::Kill,
        };
        self.ledger.note(Event::InterruptRequested { signal, answer });
        match answer {
            Interrupt::Ask => {}
            Interrupt::Kill => self.ledger.give_up_reports(),
        }
        self.step(Fact::Interrupted, now);
    }

    fn on_child(&mut self, now: Instant) {
        for (id, signal) in self.crew.try_stopped() {
            self.crew.condemn(id, format!("was stopped by {signal}"), now);
        }
        self.sweep(now);
    }

    fn on_clock(&mut self, now: Instant) {
        for id in self.crew.on_clock(now) {
            self.on_gone(id, now);
        }
        if !self.crew.is_clean() {
            self.sweep(now);
        }
        self.try_stop(now);
        self.step(Fact::Clock, now);
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            self.ledger.tick();
        }
    }

    fn on_control(&mut self, id: SupervisorId, now: Instant) {
        if let Err(error) = self.converse(id, now) {
            self.on_conversation_error(id, &error, now);
        }
    }

    fn on_conversation_error(&mut self, id: SupervisorId, error: &ProtocolError, now: Instant) {
        match error {
            ProtocolError::Closed => self.crew.on_closed(id, now),
            ProtocolError::Version { .. } => self.on_other_version(id, error, now),
            ProtocolError::TooLong(_) | ProtocolError::Garbage(_) | ProtocolError::Io(_) => {
                self.crew.condemn(id, error.to_string(), now);
            }
        }
    }

    /// Nothing that this suite's supervisors say will ever be understood.
    fn on_other_version(&mut self, id: SupervisorId, error: &ProtocolError, now: Instant) {
        let Some(member) = self.crew.get(id) else {
            return;
        };
        if let Duty::Greeting { slot } = member.duty {
            let (suite, words) = (member.suite, error.to_string());
            self.slots[slot].supervisor = None;
            self.crew.dismiss_now(id, now);
            self.on_unopened(slot, Unstarted { suite, words, fault: StartFault::Lasting }, now);
        }
    }

    fn converse(&mut self, id: SupervisorId, now: Instant) -> Result<(), ProtocolError> {
        self.crew.flush(id, &self.wakeups)?;
        for _ in 0..CHUNKS_IN_A_ROW {
            let Some(member) = self.crew.get(id) else {
                return Ok(());
            };
            let progress = member.read()?;
            self.take_messages(id, now)?;
            match progress {
                Progress::All => return Ok(()),
                Progress::Part => {}
            }
        }
        Ok(())
    }

    fn take_messages(&mut self, id: SupervisorId, now: Instant) -> Result<(), ProtocolError> {
        while let Some(member) = self.crew.get(id).filter(|member| member.fault.is_none()) {
            let duty = member.duty;
            let Some(message) = member.next()? else {
                return Ok(());
            };
            match duty {
                Duty::Greeting { slot } => self.on_greeting(id, slot, message, now)?,
                Duty::Serving { slot } => self.on_message(id, slot, message, now),
                Duty::Leaving => {}
            }
        }
        Ok(())
    }

    fn on_greeting(
        &mut self,
        id: SupervisorId,
        slot: usize,
        message: FromSupervisor,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        match message {
            FromSupervisor::Hello { protocol: PROTOCOL_VERSION } => {
                if let Some(member) = self.crew.get(id) {
                    member.duty = Duty::Serving { slot };
                }
                self.step(Fact::Opened { slot }, now);
                Ok(())
            }
            FromSupervisor::Hello { protocol: theirs } => Err(ProtocolError::Version { theirs }),
            FromSupervisor::Fault { message } => {
                self.crew.condemn(id, format!("gave up: {message}"), now);
                Ok(())
            }
            FromSupervisor::Slow { .. }
            | FromSupervisor::Debugged
            | FromSupervisor::Finished(_)
            | FromSupervisor::Paused
            | FromSupervisor::Inspected(_) => {
                self.crew.condemn(id, "did not greet first".into(), now);
                Ok(())
            }
        }
    }

    fn on_message(&mut self, id: SupervisorId, slot: usize, message: FromSupervisor, now: Instant) {
        match (message, &self.slots[slot].work) {
            (FromSupervisor::Slow { elapsed }, Work::Running(running)) => {
                let case = self.cases[running.case].name();
                let Turn { round, attempt } = running.turn;
                self.ledger.note(Event::AttemptSlow { case, attempt, round, elapsed });
            }
            (FromSupervisor::Finished(facts), Work::Running(_)) => {
                self.on_finished(id, slot, *facts, now);
            }
            (FromSupervisor::Fault { message }, _) => {
                self.crew.condemn(id, format!("gave up: {message}"), now);
            }
            (FromSupervisor::Debugged, _) => self.step(Fact::Debugged { slot }, now),
            (FromSupervisor::Paused, _) => self.on_paused(id, now),
            (FromSupervisor::Inspected(hang), _) => self.on_inspected(slot, *hang, now),
            (
                FromSupervisor::Hello { .. }
                | FromSupervisor::Slow { .. }
                | FromSupervisor::Finished(_),
                Work::None | Work::Running(_) | Work::Clearing(..),
            ) => self.crew.condemn(id, "spoke out of turn".into(), now),
        }
    }

    fn on_finished(&mut self, id: SupervisorId, slot: usize, facts: Facts, now: Instant) {
        let Work::Running(running) = std::mem::take(&mut self.slots[slot].work) else {
            return;
        };
        let case = &self.cases[running.case];
        let outcome = judge(&facts, &case.expectation);
        let output = Output { last_events: facts.last_events, ..self.output(slot, &outcome) };
        let outcome = match &self.binaries[self.case_binaries[running.case]].harness {
            Harness::Own => outcome,
            Harness::Plain { .. } => plain::explained(outcome, &case.test, &output),
        };
        let verdict = Verdict {
            allowed_leaks: facts.allowed_leaks,
            resources: facts.resources,
            ..Verdict::bare(outcome, facts.duration, output, facts.hang)
        };
        let ending = self.note_end(&running, slot, verdict);
        let supervisor = if facts.unkillable.is_empty() {
            self.fitness(id, slot)
        } else {
            self.retire(id, slot, now);
            Afterwards::Gone
        };
        self.step(Fact::Ended { slot, ending, supervisor }, now);
    }

    /// Whether a supervisor that has just finished an attempt can have another.
    fn fitness(&mut self, id: SupervisorId, slot: usize) -> Afterwards {
        match self.crew.get(id) {
            Some(member) if member.is_fit() => Afterwards::Ready,
            Some(member) => {
                member.duty = Duty::Leaving;
                self.slots[slot].supervisor = None;
                Afterwards::Gone
            }
            None => Afterwards::Gone,
        }
    }

    /// Processes of its attempt are still there and may write for ever.
    fn retire(&mut self, id: SupervisorId, slot: usize, now: Instant) {
        self.crew.dismiss(id, now);
        self.slots[slot].supervisor = None;
        self.slots[slot].memory = None;
    }

    fn on_exit(&mut self, id: SupervisorId, now: Instant) {
        let Some(member) = self.crew.get(id) else {
            return;
        };
        // Waited for before its last words are heard: they must not get it more work.
        match member.try_reap() {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => member.fault = Some(format!("cannot be waited for: {error}")),
        }
        self.hear_last_words(id, now);
        self.on_gone(id, now);
    }

    fn hear_last_words(&mut self, id: SupervisorId, now: Instant) {
        while let Some(member) = self.crew.get(id).filter(|member| member.fault.is_none()) {
            let progress = member.read();
            let heard = self.take_messages(id, now);
            match (progress, heard) {
                (Ok(Progress::Part), Ok(())) => {}
                (Ok(Progress::All), Ok(())) | (Err(ProtocolError::Closed), Ok(())) => return,
                (Err(error), _) | (Ok(_), Err(error)) => {
                    return self.on_conversation_error(id, &error, now);
                }
            }
        }
    }

    /// A supervisor is dead, or as good as dead.
    fn on_gone(&mut self, id: SupervisorId, now: Instant) {
        let Some(member) = self.crew.remove(id, now) else {
            return;
        };
        self.on_paused(id, now);
        match member.duty {
            Duty::Leaving => {}
            Duty::Greeting { slot } => {
                self.slots[slot].supervisor = None;
                let words = format!("its supervisor {}", member.end_in_words());
                let (suite, fault) = (member.suite, StartFault::Passing);
                self.on_unopened(slot, Unstarted { suite, words, fault }, now);
            }
            Duty::Serving { slot } => {
                let message = format!("supervisor {} {}", member.pid(), member.end_in_words());
                let image = self.images.get(member.suite).name();
                self.on_lost(slot, Loss { image, message, evidence: member.evidence }, now);
            }
        }
        self.sweep(now);
    }

    fn on_lost(&mut self, slot: usize, loss: Loss, now: Instant) {
        self.slots[slot].supervisor = None;
        let running = match std::mem::take(&mut self.slots[slot].work) {
            Work::Running(running) => Some(running),
            // It waited for a case that is held back.
            Work::None => None,
            Work::Clearing(running, _) => running,
        };
        self.slots[slot].work = Work::Clearing(running, loss);
        self.step(Fact::Lost { slot }, now);
    }

    fn sweep(&mut self, now: Instant) {
        for survivor in self.crew.sweep(now) {
            self.ledger.note_problem(survivor);
        }
        if self.crew.is_clean() {
            for slot in 0..self.slots.len() {
                self.try_clear(slot, now);
            }
        }
    }

    /// The attempt of a lost supervisor ends here: nothing of it is left.
    fn try_clear(&mut self, slot: usize, now: Instant) {
        let work = std::mem::take(&mut self.slots[slot].work);
        let Work::Clearing(running, loss) = work else {
            self.slots[slot].work = work;
            return;
        };
        let suite = match &running {
            Some(running) => self.cases[running.case].suite.clone(),
            None => loss.image.clone(),
        };
        let (slot_number, message) = (number(slot), loss.message.clone());
        self.ledger.note(Event::SupervisorLost { slot: slot_number, suite, message });
        if let Some(running) = running {
            self.note_loss(&running, slot, loss, now);
        }
        // Whoever survived SIGKILL may still write into it.
        self.slots[slot].memory = None;
        self.step(Fact::Cleared { slot }, now);
    }

    fn note_loss(&mut self, running: &Running, slot: usize, loss: Loss, now: Instant) {
        let Loss { message, evidence, .. } = loss;
        let hang = (!evidence.is_empty()).then(|| Hang {
            processes: evidence.into_iter().map(ProcessHang::bare).collect(),
            notes: vec![message.clone()],
            ..Hang::default()
        });
        let outcome = match self.plan.stage() {
            Stage::GivenUp => Outcome::Interrupted,
            Stage::Full | Stage::Draining | Stage::Asked | Stage::Killed => {
                Outcome::RunnerFault { message }
            }
        };
        let output = self.output(slot, &outcome);
        let duration = now.saturating_duration_since(running.started);
        self.note_end(running, slot, Verdict::bare(outcome, duration, output, hang));
    }

    /// Tells the plan, and carries out what it wants.
    fn step(&mut self, fact: Fact, now: Instant) {
        self.actions.extend(self.plan.step(fact, now));
        self.carry_out(now);
    }

    fn carry_out(&mut self, now: Instant) {
        while let Some(action) = self.actions.pop_front() {
            self.act(action, now);
        }
    }

    fn act(&mut self, action: Action, now: Instant) {
        match action {
            Action::Open { slot, suite } => self.open(slot, suite, now),
            Action::Close { slot } => self.close(slot, now),
            Action::Start { slot, case, turn } => {
                if self.hold(action).is_some() {
                    self.start(slot, (case, turn), now);
                }
            }
            Action::Ask { slot } => self.tell(slot, &ToSupervisor::Interrupt, now),
            Action::Kill { slot } => self.tell(slot, &ToSupervisor::Kill, now),
            Action::Reject { slot } => self.reject(slot, now),
            Action::GiveUp { slot } => self.give_up(slot, now),
            Action::Abandon { case, turn } => self.abandon(case, turn),
            Action::Forgo { case, turn: Turn { round, .. } } => {
                self.ledger.note(Event::RetryForgone { case: self.cases[case].name(), round });
            }
            Action::Announce(cause) => self.ledger.note(Event::RunCut { cause }),
        }
    }

    fn open(&mut self, slot: usize, suite: usize, now: Instant) {
        if let Err(error) = self.try_open(slot, suite) {
            let path = self.images.get(suite).path();
            let words = format!("cannot start {}: {error}", path.display());
            let fault = start_fault(&error);
            self.on_unopened(slot, Unstarted { suite, words, fault }, now);
        }
    }

    fn try_open(&mut self, slot: usize, suite: usize) -> io::Result<()> {
        let place = &mut self.slots[slot];
        let (memory, is_new) = match place.memory.take() {
            Some(memory) => (memory, false),
            None => (Memory::create(self.limits.capture_limit_bytes)?, true),
        };
        let memory = place.memory.insert(memory);
        if !is_new {
            // The last attempt may have written over what a supervisor looks for.
            memory.reset();
        }
        let image = self.images.get(suite);
        let hired = self.crew.hire((slot, suite), image, memory, self.limits, &self.wakeups)?;
        place.supervisor = Some(hired);
        if is_new {
            // Now, while the supervisor starts.
            memory.make_pages();
        }
        let hello = ToSupervisor::Hello { protocol: PROTOCOL_VERSION };
        // A failure shows on the socket or the pidfd.
        let _ = self.crew.send(hired, &hello, &self.wakeups);
        Ok(())
    }

    fn on_unopened(&mut self, slot: usize, unstarted: Unstarted, now: Instant) {
        let Unstarted { suite, words, fault } = unstarted;
        self.start_faults[suite] = format!("{}: {words}", self.images.get(suite).name());
        self.step(Fact::Unopened { slot, fault }, now);
    }

    fn close(&mut self, slot: usize, now: Instant) {
        let Some(id) = self.slots[slot].supervisor.take() else {
            return;
        };
        match self.crew.get(id).map(|member| member.duty) {
            Some(Duty::Serving { .. }) => self.crew.dismiss(id, now),
            Some(Duty::Greeting { .. } | Duty::Leaving) => self.crew.dismiss_now(id, now),
            None => {}
        }
    }

    fn reject(&mut self, slot: usize, now: Instant) {
        let Some(id) = self.slots[slot].supervisor.take() else {
            return;
        };
        let Some(suite) = self.crew.get(id).map(|member| member.suite) else {
            return;
        };
        self.crew.dismiss_now(id, now);
        let (name, limit) = (self.images.get(suite).name(), self.limits.silence_limit);
        self.start_faults[suite] = format!("{name}: its supervisor did not greet within {limit:?}");
    }

    fn start(&mut self, slot: usize, (case, turn): (usize, Turn), now: Instant) {
        let place = &mut self.slots[slot];
        place.work = Work::Running(Running { case, turn, started: now });
        if let Some(memory) = &place.memory {
            memory.reset();
        }
        let attempt = self.attempt(slot, case, turn);
        let case = self.cases[case].name();
        self.ledger.note(started(case, turn, slot));
        self.tell(slot, &ToSupervisor::Start(Box::new(attempt)), now);
    }

    fn attempt(&self, slot: usize, number_of_case: usize, turn: Turn) -> Attempt {
        let binary = &self.binaries[self.case_binaries[number_of_case]];
        let case = &self.cases[number_of_case];
        let attempt = case.attempt(AttemptPlace {
            attempt: turn.attempt,
            slot: number(slot),
            seed: turn.seed(self.limits.seed),
            cwd: binary.package_root.clone(),
            temp_dir: self.temp_dir(number_of_case),
        });
        let circumstances = plain::Circumstances {
            test: &case.test,
            total_attempts: case.retries.count.saturating_add(1),
            group: case.group.as_deref(),
            slots: self.limits.slots,
            stress: self.limits.stress.map(|stress| (turn.round, rounds(stress))),
            extra_args: &case.extra_args,
        };
        plain::attempt(attempt, binary, circumstances)
    }

    fn tell(&mut self, slot: usize, message: &ToSupervisor, now: Instant) {
        let Some(id) = self.slots[slot].supervisor else {
            return;
        };
        if let Err(error) = self.crew.send(id, message, &self.wakeups) {
            self.on_conversation_error(id, &error, now);
        }
    }

    fn give_up(&mut self, slot: usize, now: Instant) {
        if let Some(id) = self.slots[slot].supervisor {
            let fault = "was silent beyond the attempt's deadline and grace";
            self.crew.condemn(id, fault.into(), now);
        }
    }

    /// A case whose suite cannot be started ends without having begun.
    fn abandon(&mut self, case: usize, turn: Turn) {
        let now = Instant::now();
        let outcome = Outcome::RunnerFault {
            message: self.start_faults[self.images.of_binary(self.case_binaries[case])].clone(),
        };
        self.ledger.note(started(self.cases[case].name(), turn, 0));
        let running = Running { case, turn, started: now };
        let duration = Duration::ZERO;
        let verdict = Verdict::bare(outcome, duration, Output::default(), None);
        self.note_end(&running, 0, verdict);
    }

    /// Returns what that means for the plan, which is still to be told.
    fn note_end(&mut self, running: &Running, slot: usize, verdict: Verdict) -> Ending {
        let Verdict { outcome, duration, output, hang, allowed_leaks, resources } = verdict;
        let case = &self.cases[running.case];
        let Turn { round, attempt } = running.turn;
        let seed = running.turn.seed(self.limits.seed);
        let mut finished = Finished {
            case: case.name(),
            attempt,
            attempts: case.retries.count.saturating_add(1),
            round,
            retry: None,
            slot: number(slot),
            outcome,
            policy: case.policy,
            duration,
            output: None,
            hang_report: None,
            allowed_leaks,
            resources,
            again: self.limits.again.arguments(case, seed),
            seed,
        };
        let ending = ending(&finished);
        finished.retry = self.plan.retry_after(slot, ending);
        let label = label(running);
        self.ledger.note_end(Ended { label, finished, output, hang });
        ending
    }

    /// What the slot's attempt wrote, if anybody will want to read it.
    fn output(&self, slot: usize, outcome: &Outcome) -> Output {
        let keep = match self.limits.keep_output {
            KeepOutput::Every => true,
            KeepOutput::Notable => is_notable(outcome),
        };
        match &self.slots[slot].memory {
            Some(memory) if keep => memory.output(),
            Some(_) | None => Output::default(),
        }
    }

    fn temp_dir(&self, case: usize) -> PathBuf {
        self.folder.path().join((case + 1).to_string())
    }
}

/// Whether a person may want to see what was written.
fn is_notable(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Pass | Outcome::Skipped { .. } | Outcome::Unavailable { .. } => false,
        Outcome::Fail { .. }
        | Outcome::ExitedEarly { .. }
        | Outcome::Signalled { .. }
        | Outcome::Timeout
        | Outcome::Leak { .. }
        | Outcome::Xfail { .. }
        | Outcome::Xpass { .. }
        | Outcome::SetupError { .. }
        | Outcome::Interrupted
        | Outcome::RunnerFault { .. } => true,
    }
}

/// Whether the case is to be tried again, as far as this attempt decides it.
fn ending(finished: &Finished) -> Ending {
    match (finished.outcome.standing(finished.policy), finished.standing()) {
        (Standing::Good, Standing::Bad) => Ending::Doomed,
        (Standing::Bad, _) => Ending::Bad,
        (Standing::Cut, _) => Ending::Cut,
        (Standing::Good | Standing::Neutral, _) => Ending::Good,
    }
}

/// What an attempt's files are called: `012`, `012-try-2`, `012-round-7-try-2`.
fn label(running: &Running) -> String {
    let Turn { round, attempt } = running.turn;
    let number = running.case + 1;
    let round = if round == 1 { String::new() } else { format!("-round-{round}") };
    let attempt = if attempt == 1 { String::new() } else { format!("-try-{attempt}") };
    format!("{number:03}{round}{attempt}")
}

/// How many rounds there will be, if that is known.
fn rounds(stress: Stress) -> Option<u32> {
    match stress {
        Stress::Count(count) => Some(count),
        Stress::Endless | Stress::For(_) => None,
    }
}

fn started(case: CaseName, Turn { round, attempt }: Turn, slot: usize) -> Event {
    Event::AttemptStarted { case, attempt, round, slot: number(slot) }
}

fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        slots: limits.slots,
        groups: limits.groups.values().copied().collect(),
        fail_fast: limits.fail_fast,
        global_timeout: limits.global_timeout,
        stress: limits.stress,
        silence: limits.silence_limit,
        seed: limits.seed,
    }
}

/// The binary that each case is in.
fn case_binaries(cases: &[Case], binaries: &[SuiteBinary]) -> Result<Vec<usize>, ExecuteError> {
    let numbers = binaries.iter().zip(0..).map(|(binary, number)| (binary.name.as_str(), number));
    let numbers: HashMap<&str, usize> = numbers.collect();
    let of = |case: &Case| {
        numbers.get(case.suite.as_str()).copied().ok_or_else(|| {
            let action = format!("run {}: there is no binary for suite {}", case.id, case.suite);
            ExecuteError::new(action, io::Error::from(io::ErrorKind::NotFound))
        })
    };
    cases.iter().map(of).collect()
}

/// What the plan is told of each case. To it a suite is what one supervisor can serve.
fn jobs(cases: &[Case], case_binaries: &[usize], images: &Images<'_>, limits: &Limits) -> Vec<Job> {
    let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    let group_of = |group: &String| limits.groups.keys().position(|name| name == group);
    let job = |(case, binary): (&Case, &usize)| Job {
        suite: images.of_binary(*binary),
        group: case.group.as_ref().and_then(group_of),
        width: case.threads_required.resolve(limits.slots, cpus),
        priority: case.priority,
        expected: limits.durations.of(&case.suite, &case.id),
        retries: case.retries,
        limit: case.timeout.saturating_add(case.grace).saturating_add(case.leak_after),
        grace: case.grace.saturating_add(case.leak_after),
    };
    cases.iter().zip(case_binaries).map(job).collect()
}

fn make_folder() -> Result<RunFolder, ExecuteError> {
    RunFolder::create().map_err(|error| ExecuteError::new("make a temporary folder", error))
}

/// Whether starting a supervisor again may go better: the machine was short of something.
fn start_fault(error: &io::Error) -> StartFault {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => StartFault::Passing,
        Some(_) | None => StartFault::Lasting,
    }
}

/// As the protocol and the events count.
fn number(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(u32::MAX)
}
