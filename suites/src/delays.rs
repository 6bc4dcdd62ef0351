//! What the suites do at the runtime's trace point: keep its last words, and put it off.
//!
//! Every transition becomes a line in the attempt's memory, so that a case that hangs or is killed
//! tells its last events. Where a case asks for it, a transition that others race with also takes
//! up to a few milliseconds longer than it would: which, and by how much, comes from a seed, the
//! transition's kind and the actor's name. All cases ask for it under `SUITES_DELAYS=1`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use runner::Case;
use runtime::trace::{Step, Transition, Wait};

use crate::points::Choices;
use crate::{attempt, process};

/// Has all cases delayed.
const FOR_ALL: &str = "SUITES_DELAYS";

/// Hands the seed to actors with a fresh image.
const SEED: &str = "SUITES_DELAYS_SEED";

/// The areas whose cases always are.
const DELAYED: &str = "schedules::";

/// One in so many transitions waits.
const RARITY: u64 = 4;

/// The longest delay: enough for another actor to come to be meanwhile.
const LONGEST: Duration = Duration::from_millis(4);

/// Of this process and those forked from it; zero is none.
static CHOSEN: AtomicU64 = AtomicU64::new(0);

/// How many transitions have been asked about: the same one twice is not the same choice.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// For `main`, before it is known what this process is to be.
pub(crate) fn install() {
    if let Some(seed) = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()) {
        CHOSEN.store(seed, Ordering::Relaxed);
    }
    runtime::trace::install(listen);
}

/// For the attempt's first process, while it has one thread.
pub(crate) fn choose(case: &Case) {
    if case.id().starts_with(DELAYED) || std::env::var_os(FOR_ALL).is_some() {
        let seed = case.seed().max(1);
        CHOSEN.store(seed, Ordering::Relaxed);
        process::set_variable(SEED, &seed.to_string());
    }
}

fn listen(transition: &Transition<'_>) {
    attempt::keep_transition(transition);
    let seed = CHOSEN.load(Ordering::Relaxed);
    if let (true, Some(kind)) = (seed != 0, kind(&transition.step)) {
        wait(seed, kind, &transition.about.name);
    }
}

/// A number for what others race with; `None` for what nobody does.
fn kind(step: &Step<'_>) -> Option<u64> {
    match step {
        Step::Start(_) => Some(1),
        Step::Ready => Some(2),
        Step::Serving => Some(3),
        Step::CancelSent { .. } => Some(4),
        Step::CancelAcked => Some(5),
        Step::Ending { .. } => Some(6),
        Step::Context { .. } => Some(7),
        Step::Blocked(Wait::Credit { .. }) | Step::Unblocked(Wait::Credit { .. }) => Some(8),
        Step::Exit(_) => Some(9),
        _ => None,
    }
}

/// Takes no lock and allocates nothing: it may be a forked child's first moment.
fn wait(seed: u64, kind: u64, name: &str) {
    let asked = ASKED.fetch_add(1, Ordering::Relaxed);
    let named = name.bytes().fold(kind, |hash, byte| (hash ^ u64::from(byte)).rotate_left(7));
    let mut choices = Choices::new(seed ^ named ^ (asked << 32));
    if choices.next().is_multiple_of(RARITY) {
        let most = LONGEST.as_micros() as u64;
        // Short ones are as likely as long ones.
        thread::sleep(Duration::from_micros((choices.next() % most) >> (choices.next() % 8)));
    }
}
