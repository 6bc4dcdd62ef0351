//! A program cut off at every point where it waits, and run under schedules not its usual ones.
//!
//! A *point* is one poll of the program's future that returns pending: between two of them nobody
//! can interfere. [`at_every_point`] runs a program once for each, each time in a root of its own,
//! and does there what an [`Interference`] says: drops the future, cancels the nursery around it,
//! or kills one of its actors. After each, nothing is left of the program, and the next run works.
//!
//! A point is counted, not named: how often a future is polled depends on what was ready together.
//! So a program's points are those that were met, from the first on, until a run ended before the
//! next one came. A point may last long, when what is waited for is another actor's work; so it is
//! interfered with at each a second time, up to a thousand rounds of the scheduler later, as the
//! case's seed decides.
//!
//! [`jittered`] leaves a program whole and delays it: now and then a poll is put off until all else
//! that is ready has run. When, the case's seed decides.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use runner::{Case, TestResult};
use runtime::{Error, Exit, Nursery, RemoteError, RootConfig};
use tokio::sync::Notify;

use crate::actors::Refused;
use crate::attempt::root_config;
use crate::process::{self, Process};

/// More than any program has: one that never ends is a failure, not a loop.
pub(crate) const MOST_POINTS: u64 = 2000;

/// A run with nobody in it who resists: on an idle machine it takes a hundredth of this.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is run again and again.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// Left alone it returns `Ok`, and leaves the nursery it is given without children.
    pub(crate) body: Body,
}

/// A program's future, in the nursery it is given.
pub(crate) type Body = for<'n> fn(&'n Nursery) -> Running<'n>;

pub(crate) type Running<'n> = Pin<Box<dyn Future<Output = runtime::Result<()>> + 'n>>;

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interference {
    /// The program's future is dropped, its nursery's with it.
    Drop,
    /// The nursery around it is cancelled, and the program goes on to see it.
    Cancel,
    /// One of the actors below is killed: which, the seed decides.
    Kill,
}

/// Interferes with `program` at every point, and says at how many that was.
///
/// # Errors
/// What was left, took too long, or failed otherwise than the interference explains, with the point's number.
pub(crate) fn at_every_point(
    case: &Case,
    program: Program,
    interference: Interference,
) -> TestResult<u64> {
    let config = root_config(case)?;
    run_whole(&config, program)?;
    make_what_a_process_keeps(&config)?;
    let before = Footprint::now()?;
    let mut choices = Choices::new(case.seed());
    for number in 1..=MOST_POINTS {
        let late = Point::late(number, choices.next());
        for point in [late, Point::exactly(number)] {
            let subject = format!("{}, {interference:?} at {point}", program.name);
            let is_exact = point.rounds == 0;
            let started = Instant::now();
            let run = run_until(&config, program, interference, point, choices.next())?;
            let took = started.elapsed();
            if took > PATIENCE {
                return Err(format!("{subject}: took {took:?}").into());
            }
            before.is_restored(&subject)?;
            match run {
                Run::Met(outcome) => interference.explains(&subject, outcome)?,
                Run::Whole(outcome) => {
                    outcome.map_err(|error| format!("{subject}: {error:?}"))?;
                    if is_exact {
                        return reached(program, interference, number - 1);
                    }
                }
            }
        }
    }
    Err(format!("{}: more than {MOST_POINTS} points", program.name).into())
}

/// Runs `program` undisturbed, and says how many points it met.
pub(crate) fn count_points(config: &RootConfig, program: Program) -> TestResult<u64> {
    let (outcome, points) = runtime::block_on_root(config.clone(), async {
        let mut points = 0;
        let outcome = counting(scope(program), &mut points).await;
        (outcome, points)
    })?;
    outcome?;
    Ok(points)
}

/// Its spawner, tokio's own descriptors, the thread that kills subtrees: each comes with its first
/// use, and stays. A start that is killed at its deadline uses them all.
fn make_what_a_process_keeps(config: &RootConfig) -> TestResult {
    let killed = runtime::nursery(async |n| {
        let start = n.start::<NeverReady>("late").boot_deadline(Duration::from_millis(1)).await;
        assert!(matches!(start, Err(Error::BootDeadline { .. })), "{start:?}");
        Ok(())
    });
    Ok(runtime::block_on_root(config.clone(), killed)??)
}

struct NeverReady;

#[runtime::actor]
impl NeverReady {
    async fn new() -> NeverReady {
        std::future::pending().await
    }
}

fn run_whole(config: &RootConfig, program: Program) -> TestResult {
    Ok(runtime::block_on_root(config.clone(), scope(program))??)
}

fn reached(program: Program, interference: Interference, points: u64) -> TestResult<u64> {
    println!("{}, {interference:?}: {points} points", program.name);
    if points == 0 {
        return Err(format!("{} never waits: nothing was tested", program.name).into());
    }
    Ok(points)
}

/// How one run went.
enum Run {
    /// It ended before its point came.
    Whole(runtime::Result<()>),
    /// It was interfered with, and this came of it. What was dropped says nothing, that is `Ok`.
    Met(runtime::Result<()>),
}

fn run_until(
    config: &RootConfig,
    program: Program,
    interference: Interference,
    point: Point,
    choice: u64,
) -> TestResult<Run> {
    let body = async {
        match interference {
            Interference::Drop => dropped_at(program, point).await,
            Interference::Cancel => cancelled_at(program, point).await,
            Interference::Kill => killed_at(program, point, choice).await,
        }
    };
    Ok(runtime::block_on_root(config.clone(), body)?)
}

async fn dropped_at(program: Program, point: Point) -> Run {
    match cut(scope(program), point).await {
        Some(outcome) => Run::Whole(outcome),
        None => Run::Met(Ok(())),
    }
}

async fn cancelled_at(program: Program, point: Point) -> Run {
    let met = Met::default();
    let outcome = runtime::nursery(async |n| {
        let cancelled = async {
            met.wait().await;
            n.cancel().await;
        };
        let program = met.at((program.body)(n), point);
        let (outcome, ()) = tokio::join!(async { met.over(program.await) }, cancelled);
        outcome
    })
    .await;
    met.run(outcome)
}

async fn killed_at(program: Program, point: Point, choice: u64) -> Run {
    let met = Met::default();
    let killed = async {
        if met.wait().await {
            kill_one(choice);
        }
    };
    let program = async { met.over(met.at(scope(program), point).await) };
    let (outcome, ()) = tokio::join!(program, killed);
    met.run(outcome)
}

/// Kills one of the actors below, if there is one just now.
fn kill_one(choice: u64) {
    let processes = process::actors_below(process::own_pid());
    let count = processes.len() as u64;
    if let Some(pid) = choice.checked_rem(count).and_then(|index| processes.get(index as usize)) {
        // It may have ended since it was listed; then this point has nothing to kill.
        let killed = Process::open(pid.cast_unsigned()).and_then(|it| it.send(Signal::SIGKILL));
        drop(killed);
    }
}

/// The program in a nursery of its own.
pub(crate) async fn scope(program: Program) -> runtime::Result<()> {
    runtime::nursery(async |n| (program.body)(n).await).await
}

/// A point that is to be met, or the end of the program, whichever comes first.
#[derive(Default)]
struct Met {
    is_met: Cell<bool>,
    is_decided: Notify,
}

impl Met {
    /// Passes `program` on, and notes when it comes to its point.
    async fn at<F: Future>(&self, program: F, mut point: Point) -> F::Output {
        let mut program = pin!(program);
        poll_fn(|cx| {
            let polled = program.as_mut().poll(cx);
            if polled.is_pending() && !self.is_met.get() && point.is_met(cx) {
                self.is_met.set(true);
                self.is_decided.notify_one();
            }
            polled
        })
        .await
    }

    /// The program ended; whoever waits for the point need not any more.
    fn over<T>(&self, outcome: T) -> T {
        self.is_decided.notify_one();
        outcome
    }

    /// Whether the point came before the end.
    async fn wait(&self) -> bool {
        self.is_decided.notified().await;
        self.is_met.get()
    }

    fn run(&self, outcome: runtime::Result<()>) -> Run {
        if self.is_met.get() { Run::Met(outcome) } else { Run::Whole(outcome) }
    }
}

/// Polls `program` until it is done, or comes to a point: then it is dropped.
pub(crate) async fn cut<F: Future>(program: F, mut point: Point) -> Option<F::Output> {
    let mut program = Box::pin(program);
    poll_fn(|cx| match program.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending if point.is_met(cx) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// When to interfere.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    /// Polls that return pending, this one too, until the point.
    polls: u64,
    /// Rounds of the scheduler from there on.
    rounds: u64,
}

impl Point {
    /// The `number`-th.
    pub(crate) fn exactly(number: u64) -> Self {
        Self { polls: number, rounds: 0 }
    }

    /// So many rounds after the `number`-th as `choice` says, from one to a thousand: each order of
    /// magnitude is as likely as another.
    pub(crate) fn late(number: u64, choice: u64) -> Self {
        Self { polls: number, rounds: 1 + (choice >> 8) % (1 << (choice % 11)) }
    }

    /// Called after each poll that returned pending, until it says yes.
    fn is_met(&mut self, cx: &mut Context<'_>) -> bool {
        self.polls = self.polls.saturating_sub(1);
        if self.polls > 0 {
            return false;
        }
        if self.rounds == 0 {
            return true;
        }
        self.rounds -= 1;
        cx.waker().wake_by_ref();
        false
    }
}

async fn counting<F: Future>(program: F, pending: &mut u64) -> F::Output {
    let mut program = Box::pin(program);
    poll_fn(|cx| {
        let polled = program.as_mut().poll(cx);
        *pending += u64::from(polled.is_pending());
        polled
    })
    .await
}

impl Interference {
    /// Whether `outcome` is one that this could have led to.
    fn explains(self, subject: &str, outcome: runtime::Result<()>) -> TestResult {
        let Err(error) = outcome else { return Ok(()) };
        let text = format!("{error:?}");
        let is_explained = |leaf: &Error| match self {
            Interference::Drop => false,
            Interference::Cancel => is_cancel(leaf) || is_end_of_peer(leaf),
            Interference::Kill => is_cancel(leaf) || is_death(leaf) || is_own(leaf),
        };
        if error.into_leaves().iter().all(is_explained) {
            return Ok(());
        }
        Err(format!("{subject} ended with {text}").into())
    }
}

fn is_cancel(error: &Error) -> bool {
    match error {
        Error::Cancelled { .. } => true,
        Error::Remote(remote) => is_all(remote, is_cancel),
        _ => false,
    }
}

/// The error of [`refuse`](crate::actors::refuse): a program's own, which a death may come beside.
pub(crate) fn is_own(error: &Error) -> bool {
    matches!(error, Error::Remote(remote) if remote.downcast::<Refused>().is_some())
}

fn is_death(error: &Error) -> bool {
    const KILLED: Exit = Exit::Signal(libc::SIGKILL);
    match error {
        Error::ActorDied { exit, .. } => *exit == KILLED || is_end_of_peer(error),
        Error::SpawnFailed(failure) => {
            let cause = failure.cause.as_ref();
            failure.exit == Some(KILLED) || cause.is_some_and(|cause| is_all(cause, is_death))
        }
        Error::Remote(remote) => is_all(remote, |leaf| is_cancel(leaf) || is_death(leaf)),
        _ => false,
    }
}

/// Whether some actor is told that a peer is gone: how it ended is known to that one's parent only.
/// One that was cancelled says so, but not to whom it has not met when it goes.
fn is_end_of_peer(error: &Error) -> bool {
    match error {
        Error::ActorDied { exit, .. } => *exit == Exit::Unknown,
        Error::Remote(remote) => is_all(remote, |leaf| is_cancel(leaf) || is_end_of_peer(leaf)),
        _ => false,
    }
}

/// Whether `remote` is an error of the runtime's in another actor, and every leaf of it is so.
fn is_all(remote: &RemoteError, is_so: impl Fn(&Error) -> bool) -> bool {
    remote.downcast::<Error>().is_some_and(|inner| inner.into_leaves().iter().all(is_so))
}

/// What a process has, to be had again.
#[derive(Debug)]
struct Footprint {
    processes: BTreeSet<i32>,
    threads: BTreeSet<i32>,
    descriptors: BTreeMap<i32, String>,
}

impl Footprint {
    fn now() -> TestResult<Self> {
        let pid = process::own_pid();
        Ok(Self {
            processes: process::descendants(pid),
            threads: process::threads(pid)?,
            descriptors: process::descriptors(pid)?,
        })
    }

    /// Processes are gone when a root returns. An actor's thread goes on for its last few
    /// instructions after its end was noticed.
    fn is_restored(&self, subject: &str) -> TestResult {
        let left = process::descendants(process::own_pid());
        if left != self.processes {
            let new = left.difference(&self.processes).map(|pid| process::describe(*pid));
            return Err(format!("{subject} left {:?}", new.collect::<Vec<_>>()).into());
        }
        let has_settled = || {
            Footprint::now().is_ok_and(|now| {
                now.threads.len() <= self.threads.len()
                    && now.descriptors.len() <= self.descriptors.len()
            })
        };
        if process::comes_true(has_settled) {
            return Ok(());
        }
        let now = Footprint::now()?;
        Err(format!("{subject} left threads or descriptors: now {now:?}, before {self:?}").into())
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "point {}, {} rounds later", self.polls, self.rounds)
    }
}

/// Puts off about every fourth poll of `program` until all else that is ready has run.
pub(crate) async fn jittered<F: Future>(program: F, seed: u64) -> F::Output {
    let mut choices = Choices::new(seed);
    let mut program = Box::pin(program);
    poll_fn(|cx| {
        if choices.next().is_multiple_of(4) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        program.as_mut().poll(cx)
    })
    .await
}

/// A sequence of numbers that a seed decides (SplitMix64).
pub(crate) struct Choices(u64);

impl Choices {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
