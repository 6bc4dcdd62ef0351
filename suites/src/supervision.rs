//! Supervised children: who lives again, who is stopped for whom, what is told to those who call.
//!
//! Erlang's words and rules. Where a process can be killed, lives end by SIGKILL; where it cannot,
//! by the function that was to run for ever returning, or failing.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::future::poll_fn;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Barrier;
use std::task::Poll;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use runner::{Case, TestResult};
use runtime::{
    AutoShutdown, Backend, CallError, ChildSpec, Error, Exit, GaveUp, Nursery, Presence, Restart,
    Restarts, Shutdown, Strategy, Supervised, Supervisor, current,
};

use crate::actors::{Refused, refuse};
use crate::attempt::root_config;
use crate::gate::{self, Gate};
use crate::process::{self, Process};
use crate::shape;

runner::marks! { timeout = "30s" }

/// More than any of the tests needs: where there is a limit, the test names it.
const MANY: Restarts = Restarts { at_most: 1000, within: Duration::from_secs(5) };

/// The runtime promises half a second; a loaded machine gets more.
const SOON: Duration = Duration::from_secs(3);

/// Knows which life it is, and notes its begin and its end.
struct Worker {
    life: u64,
    notes: PathBuf,
    name: String,
    done: u64,
}

#[runtime::actor]
impl Worker {
    fn new(life: u64, notes: PathBuf) -> runtime::Result<Worker> {
        let name = current()?.name().to_owned();
        note(&notes, &format!("+{name}"));
        Ok(Worker { life, notes, name, done: 0 })
    }

    /// Its life, its process, and how many calls this life has served.
    async fn work(&mut self) -> (u64, u32, u64) {
        self.done += 1;
        (self.life, std::process::id(), self.done)
    }

    async fn work_for_ever(&self, gate: PathBuf) -> runtime::Result<()> {
        gate::arrive(&gate).map_err(Error::user)?;
        std::future::pending().await
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        note(&self.notes, &format!("-{}", self.name));
    }
}

fn note(notes: &Path, word: &str) {
    let file = OpenOptions::new().create(true).append(true).open(notes);
    drop(file.and_then(|mut file| file.write_all(format!("{word}\n").as_bytes())));
}

fn noted(notes: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(notes).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn worker(name: &str, notes: &Path) -> ChildSpec {
    let notes = notes.to_owned();
    ChildSpec::of::<Worker>(name, move |life| (life, notes.clone()))
}

fn three_workers(strategy: Strategy, notes: &Path) -> Supervisor {
    let pool = Supervisor::new(strategy).limit(MANY);
    ["a", "b", "c"].into_iter().fold(pool, |pool, name| pool.child(worker(name, notes)))
}

async fn life_of(pool: &Supervised, name: &str) -> runtime::Result<u64> {
    let (life, ..) = pool.portal::<Worker>(name)?.work().await?;
    Ok(life)
}

fn presence(pool: &Supervised, name: &str) -> Option<Presence> {
    pool.children().into_iter().find(|child| child.name == name).map(|child| child.presence)
}

/// After the second of three was ended: who lives again, and in which order all of that went.
async fn second_of_three_ends(case: &Case, strategy: Strategy) -> TestResult<([u64; 3], String)> {
    let notes = case.temp_dir()?.join("notes");
    let lives = runtime::nursery(async |n| {
        let pool = n.supervise(three_workers(strategy, &notes)).await?;
        pool.portal::<Worker>("b")?.cancel().await?;
        let b = life_of(&pool, "b").await?;
        let lives = [life_of(&pool, "a").await?, b, life_of(&pool, "c").await?];
        pool.shutdown().await;
        Ok(lives)
    })
    .await?;
    Ok((lives, noted(&notes).concat()))
}

#[runner::test]
async fn one_for_one_restarts_who_ended(case: Case) -> TestResult {
    let (lives, notes) = second_of_three_ends(&case, Strategy::OneForOne).await?;
    assert_eq!(lives, [0, 1, 0]);
    assert_eq!(notes, "+a+b+c-b+b-c-b-a");
    Ok(())
}

#[runner::test]
async fn rest_for_one_restarts_who_was_started_later_too(case: Case) -> TestResult {
    let (lives, notes) = second_of_three_ends(&case, Strategy::RestForOne).await?;
    assert_eq!(lives, [0, 1, 1]);
    assert_eq!(notes, "+a+b+c-b-c+b+c-c-b-a");
    Ok(())
}

#[runner::test]
async fn one_for_all_restarts_everybody(case: Case) -> TestResult {
    let (lives, notes) = second_of_three_ends(&case, Strategy::OneForAll).await?;
    assert_eq!(lives, [1, 1, 1]);
    assert_eq!(notes, "+a+b+c-b-c-a+a+b+c-c-b-a");
    Ok(())
}

/// In flight at a death: an error with the life's number, and never carried out a second time.
#[runner::test]
#[needs("process")]
async fn a_call_in_flight_at_a_kill_is_told_which_life_it_was(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    let mut gate = Gate::closed(&case, "gate")?;
    runtime::nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne).limit(MANY).child(worker("w", &notes));
        let pool = n.supervise(pool).await?;
        let worker = pool.portal::<Worker>("w")?;
        for life in 0..5 {
            let (_, pid, _) = worker.work().await?;
            let (call, killed) = tokio::join!(worker.work_for_ever(gate.path()), async {
                gate.arrived(1).await?;
                let started = Instant::now();
                Process::open(pid)?.send(Signal::SIGKILL)?;
                std::io::Result::Ok(started)
            });
            assert!(killed.map_err(Error::user)?.elapsed() < SOON);
            match call {
                Err(CallError::Failed(Error::ActorDied { actor, exit, incarnation })) => {
                    assert_eq!((&actor, incarnation), (worker.id(), life));
                    assert_eq!(exit, Exit::Signal(libc::SIGKILL));
                }
                other => panic!("{other:?}"),
            }
            // A new life, with a state of its own.
            let (next, next_pid, served) = worker.work().await?;
            assert_eq!((next, served), (life + 1, 1));
            assert_ne!(next_pid, pid);
        }
        let told: Vec<u64> = pool.history().iter().map(|death| death.incarnation).collect();
        assert_eq!(told, [0, 1, 2, 3, 4]);
        pool.shutdown().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// Never two lives of one child at a time.
#[runner::test]
#[needs("process")]
async fn the_next_life_begins_when_the_last_is_reaped(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    runtime::nursery(async |n| {
        let last: Rc<Cell<Option<u32>>> = Rc::default();
        let (is_alive, seen) = (Rc::<Cell<bool>>::default(), Rc::clone(&last));
        let was_alive = Rc::clone(&is_alive);
        let at = notes.clone();
        let spec = ChildSpec::of::<Worker>("w", move |life| {
            // Called just before the life begins: the one before must not be there, not even dead.
            let listed = |pid: u32| process::stat(pid.cast_signed()).is_ok();
            was_alive.set(was_alive.get() || seen.get().is_some_and(listed));
            (life, at.clone())
        });
        let pool = Supervisor::new(Strategy::OneForOne).limit(MANY).child(spec);
        let pool = n.supervise(pool).await?;
        let worker = pool.portal::<Worker>("w")?;
        for _ in 0..10 {
            let (_, pid, _) = worker.work().await?;
            last.set(Some(pid));
            Process::open(pid).and_then(|it| it.send(Signal::SIGKILL)).map_err(Error::user)?;
            next_life(&worker, pid).await?;
        }
        assert!(!is_alive.get());
        pool.shutdown().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// Returns when another life than that of `pid` serves. Until it is known that this one has ended,
/// calls may still meet it.
async fn next_life(worker: &WorkerHandle, pid: u32) -> runtime::Result<()> {
    loop {
        match worker.work().await {
            Ok((_, now, _)) if now != pid => return Ok(()),
            Ok(_) | Err(CallError::Failed(Error::ActorDied { .. })) => {}
            Err(other) => return Err(other.into()),
        }
    }
}

/// What is called between two lives waits for the next, and there is only one it goes to.
#[runner::test]
async fn a_call_between_two_lives_goes_to_the_next(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    runtime::nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne).limit(MANY).child(worker("w", &notes));
        let pool = n.supervise(pool).await?;
        let worker = pool.portal::<Worker>("w")?;
        for life in 0..5 {
            assert_eq!(life_of(&pool, "w").await?, life);
            worker.cancel().await?;
            let (one, two, three) = tokio::join!(worker.work(), worker.work(), worker.work());
            let mut served = [one?, two?, three?].map(|(life, _, served)| (life, served));
            served.sort_unstable();
            assert_eq!(served, [(life + 1, 1), (life + 1, 2), (life + 1, 3)]);
        }
        pool.shutdown().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// A supervisor that gives up says on whom, after what, and what had happened until then.
#[runner::test]
async fn beyond_its_limit_a_supervisor_fails_its_nursery(case: Case) -> TestResult {
    const LIMIT: Restarts = Restarts { at_most: 3, within: Duration::from_secs(60) };
    let notes = case.temp_dir()?.join("notes");
    let before = process::descendants(process::own_pid());
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        let failing = ChildSpec::run::<refuse>("w", |life| (u32::try_from(life).unwrap_or(99),));
        let pool = Supervisor::new(Strategy::OneForOne).limit(LIMIT);
        n.supervise(pool.child(worker("sibling", &notes)).child(failing)).await?;
        std::future::pending().await
    })
    .await;
    let GaveUp { child, at_most, within, history, last } = match outcome {
        Err(Error::GaveUp(gave_up)) => *gave_up,
        other => panic!("{other:?}"),
    };
    assert_eq!((child.name.as_str(), at_most, within), ("w", LIMIT.at_most, LIMIT.within));
    assert_eq!(history.iter().map(|death| death.incarnation).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(last.as_ref().map(shape::of).as_deref(), Some("w:refused-3"));
    assert_eq!(noted(&notes), ["+sibling", "-sibling"]);
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// What is further back than the limit's time does not count.
#[runner::test]
async fn deaths_that_are_far_apart_are_not_too_many(case: Case) -> TestResult {
    const LIMIT: Restarts = Restarts { at_most: 1, within: Duration::from_millis(1) };
    let notes = case.temp_dir()?.join("notes");
    runtime::nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne).limit(LIMIT).child(worker("w", &notes));
        let pool = n.supervise(pool).await?;
        for life in 0..5 {
            assert_eq!(life_of(&pool, "w").await?, life);
            tokio::time::sleep(2 * LIMIT.within).await;
            pool.portal::<Worker>("w")?.cancel().await?;
        }
        assert_eq!(life_of(&pool, "w").await?, 5);
        pool.shutdown().await;
        Ok(())
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_transient_child_lives_again_only_if_it_failed(case: Case) -> TestResult {
    #[runtime::remote]
    async fn fail_twice(life: u64) -> Result<(), Refused> {
        if life < 2 { Err(Refused(u32::MAX)) } else { Ok(()) }
    }
    let notes = case.temp_dir()?.join("notes");
    runtime::nursery(async |n| {
        let spec = ChildSpec::run::<fail_twice>("w", |life| (life,)).restart(Restart::Transient);
        let pool = Supervisor::new(Strategy::OneForOne)
            .limit(MANY)
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(worker("sibling", &notes))
            .child(spec.significant());
        let pool = n.supervise(pool).await?;
        pool.wait_ended().await;
        let failed: Vec<bool> = pool.history().iter().map(|death| death.cause.is_some()).collect();
        assert_eq!(failed, [true, true, false]);
        Ok(())
    })
    .await?;
    assert_eq!(noted(&notes), ["+sibling", "-sibling"]);
    Ok(())
}

/// Ends well when the gate opens.
#[runtime::remote]
async fn leave_at(gate: PathBuf) -> runtime::Result<()> {
    gate::pass(&gate).await.map_err(Error::user)
}

/// The last of those that matter, and not the first.
#[runner::test]
async fn a_supervisor_ends_with_the_last_of_its_significant_children(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    let (mut first, mut last) = (Gate::closed(&case, "first")?, Gate::closed(&case, "last")?);
    runtime::nursery(async |n| {
        let significant = |name: &str, gate: &Gate| {
            let path = gate.path();
            let spec = ChildSpec::run::<leave_at>(name, move |_| (path.clone(),));
            spec.restart(Restart::Transient).significant()
        };
        let pool = Supervisor::new(Strategy::OneForOne)
            .auto_shutdown(AutoShutdown::AllSignificant)
            .child(worker("other", &notes))
            .child(significant("first", &first))
            .child(significant("last", &last));
        let pool = n.supervise(pool).await?;
        first.arrived(1).await.map_err(Error::user)?;
        last.arrived(1).await.map_err(Error::user)?;
        first.open();
        while presence(&pool, "first") != Some(Presence::Over) {
            tokio::task::yield_now().await;
        }
        assert_eq!(presence(&pool, "last"), Some(Presence::Up));
        assert_eq!(life_of(&pool, "other").await?, 0);
        last.open();
        pool.wait_ended().await;
        Ok(())
    })
    .await?;
    assert_eq!(noted(&notes), ["+other", "-other"]);
    Ok(())
}

/// Cannot be made.
struct Stillborn;

#[runtime::actor]
impl Stillborn {
    async fn new() -> Result<Stillborn, Refused> {
        Err(Refused(1))
    }
}

/// A supervisor one of whose children cannot be started is none: the error is the starter's.
#[runner::test]
async fn a_supervisor_that_cannot_begin_leaves_nobody(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    let before = process::descendants(process::own_pid());
    runtime::nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne)
            .child(worker("first", &notes))
            .child(ChildSpec::of::<Stillborn>("second", |_| ()))
            .child(worker("third", &notes));
        match n.supervise(pool).await {
            Err(Error::SpawnFailed(failure)) => assert_eq!(failure.actor.name, "second"),
            other => panic!("{:?}", other.map(drop)),
        }
        assert_eq!(noted(&notes), ["+first", "-first"]);
        assert_eq!(process::descendants(process::own_pid()), before);
        Ok(())
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_temporary_child_lives_once(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    runtime::nursery(async |n| {
        let spec = worker("w", &notes).restart(Restart::Temporary);
        let pool = Supervisor::new(Strategy::OneForAll).child(worker("other", &notes)).child(spec);
        let pool = n.supervise(pool).await?;
        let temporary = pool.portal::<Worker>("w")?;
        temporary.cancel().await?;
        assert!(temporary.work().await.is_err());
        assert_eq!(life_of(&pool, "other").await?, 0);
        assert!(pool.portal::<Worker>("w").is_err(), "it is forgotten");
        pool.shutdown().await;
        Ok(())
    })
    .await?;
    assert_eq!(noted(&notes).concat(), "+other+w-w-other");
    Ok(())
}

/// Asked for as long as it takes, or not asked at all.
#[runner::test]
#[needs("killable")]
async fn a_child_is_stopped_as_it_is_said(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    runtime::nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne)
            .child(worker("asked", &notes).shutdown(Shutdown::Infinity))
            .child(worker("in-time", &notes).shutdown(Shutdown::Within(SOON)))
            .child(worker("killed", &notes).shutdown(Shutdown::BrutalKill));
        let pool = n.supervise(pool).await?;
        pool.shutdown().await;
        Ok(())
    })
    .await?;
    assert_eq!(noted(&notes).concat(), "+asked+in-time+killed-in-time-asked");
    Ok(())
}

/// Dies of being told to end.
struct Fragile;

#[runtime::actor]
impl Fragile {
    fn new() -> Fragile {
        Fragile
    }

    async fn pid(&self) -> u32 {
        std::process::id()
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        drop(process::end_by(Signal::SIGKILL));
    }
}

/// Nobody is to run any more: one that died of it, or had just died, is no failure, but is told of.
#[runner::test]
#[needs("process")]
async fn who_dies_while_all_are_stopped_is_remembered_and_no_failure(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    let history = runtime::nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForAll)
            .child(worker("first", &notes))
            .child(worker("shot", &notes))
            .child(ChildSpec::of::<Fragile>("fragile", |_| ()))
            .child(worker("last", &notes));
        let pool = n.supervise(pool).await?;
        pool.portal::<Fragile>("fragile")?.pid().await?;
        let (_, pid, _) = pool.portal::<Worker>("shot")?.work().await?;
        // Nothing else of this actor runs before the shutdown is under way.
        Process::open(pid).and_then(|it| it.send(Signal::SIGKILL)).map_err(Error::user)?;
        pool.shutdown().await;
        Ok(pool.history())
    })
    .await?;
    let told = |name: &str| {
        let death = history.iter().find(|death| death.child.name == name);
        let cause = death.and_then(|death| death.cause.clone()).unwrap_or_default();
        assert!(cause.contains("signal 9"), "{name}: {history:?}");
        death.map(|death| death.incarnation)
    };
    assert_eq!((told("shot"), told("fragile"), history.len()), (Some(0), Some(0), 2));
    assert_eq!(noted(&notes).concat(), "+first+shot+last-last-first");
    Ok(())
}

/// Meet when the one that calls has been told of a death, on a thread of this process.
static TOLD: Barrier = Barrier::new(2);

/// Calls a worker that dies of it, and then again: the life that the first call was told the end of,
/// and the one that answered the second.
#[runtime::remote]
async fn call_again(worker: WorkerHandle, gate: PathBuf) -> runtime::Result<(u64, u64)> {
    let first = worker.work_for_ever(gate).await;
    let mut second = pin!(worker.work());
    let at_once = poll_fn(|cx| match second.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Poll::Ready(None),
    });
    let at_once = at_once.await;
    TOLD.wait();
    let Err(CallError::Failed(Error::ActorDied { incarnation, .. })) = first else {
        return Err(Error::message(format!("{first:?}")));
    };
    let (life, ..) = match at_once {
        Some(answer) => answer?,
        None => second.await?,
    };
    Ok((incarnation, life))
}

/// Somebody else may be told of a death before the supervisor is. What they call then is the next
/// life, and not once more the one that is dead.
#[runner::test]
#[needs("process")]
async fn who_was_told_of_a_death_meets_the_next_life(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    let mut gate = Gate::closed(&case, "gate")?;
    runtime::nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne).limit(MANY).child(worker("w", &notes));
        let pool = n.supervise(pool).await?;
        let worker = pool.portal::<Worker>("w")?;
        let (_, pid, _) = worker.work().await?;
        let caller = n.actor("caller").backend(Backend::Thread).expose::<call_again>().await?;
        let mut calls = pin!(caller.call::<call_again>((worker, gate.path())));
        tokio::select! {
            outcome = calls.as_mut() => panic!("it was not killed yet: {outcome:?}"),
            arrived = gate.arrived(1) => arrived.map_err(Error::user)?,
        }
        Process::open(pid).and_then(|it| it.send(Signal::SIGKILL)).map_err(Error::user)?;
        // This thread is the supervisor's: until it goes on, only the caller is told.
        TOLD.wait();
        assert_eq!(calls.await?, (0, 1));
        pool.shutdown().await;
        caller.cancel().await
    })
    .await?;
    Ok(())
}

/// Has the portal of a worker, whichever it was given last.
struct Client {
    worker: WorkerHandle,
}

#[runtime::actor]
impl Client {
    fn new(worker: WorkerHandle) -> Client {
        Client { worker }
    }

    async fn take(&mut self, worker: WorkerHandle) {
        self.worker = worker;
    }

    async fn life(&self) -> runtime::Result<u64> {
        let (life, ..) = self.worker.work().await?;
        Ok(life)
    }
}

/// What another process was given is the way to one life. It is told when that is over, however
/// often it calls, and meets the next with the next portal.
#[runner::test]
#[needs("process")]
async fn a_portal_that_was_sent_on_names_the_life_it_had(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    runtime::nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne).limit(MANY).child(worker("w", &notes));
        let pool = n.supervise(pool).await?;
        let worker = pool.portal::<Worker>("w")?;
        let client = n.start::<Client>("client").with((worker.clone(),)).await?;
        assert_eq!(client.life().await?, 0);
        let (_, pid, _) = worker.work().await?;
        Process::open(pid).and_then(|it| it.send(Signal::SIGKILL)).map_err(Error::user)?;
        next_life(&worker, pid).await?;
        for _ in 0..3 {
            match client.life().await {
                Err(CallError::Returned(Error::ActorDied { actor, incarnation, .. }, _)) => {
                    assert_eq!((&actor, incarnation), (worker.id(), 0));
                }
                other => panic!("{other:?}"),
            }
        }
        client.take(worker).await?;
        assert_eq!(client.life().await?, 1);
        client.cancel().await?;
        pool.shutdown().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// Passes a gate before it has ended.
struct Slow(PathBuf);

#[runtime::actor]
impl Slow {
    fn new(gate: PathBuf) -> Slow {
        Slow(gate)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        drop(gate::pass_blocking(&self.0));
    }
}

/// Stops a supervised child that ends when the gate opens, in a tree that gives `usual` for an end. The gate opens after
/// `opens_after`, or not at all.
fn stop_slowly(
    case: &Case,
    usual: Duration,
    shutdown: Shutdown,
    opens_after: Option<Duration>,
) -> TestResult<(runtime::Result<()>, Duration)> {
    let mut config = root_config(case)?;
    config.timings.soft = usual;
    config.timings.abandon = usual;
    runtime::block_on_root(config, async {
        let mut gate = Gate::closed(case, &format!("{shutdown:?}"))?;
        let path = gate.path();
        let mut held = None;
        let mut started = Instant::now();
        let outcome = runtime::nursery(async |n| {
            let slow = ChildSpec::of::<Slow>("slow", move |_| (path.clone(),)).shutdown(shutdown);
            let pool = n.supervise(Supervisor::new(Strategy::OneForOne).child(slow)).await?;
            started = Instant::now();
            let ((), arrived) = tokio::join!(pool.shutdown(), async {
                gate.arrived(1).await?;
                match opens_after {
                    Some(time) => {
                        tokio::time::sleep(time).await;
                        gate.open();
                    }
                    None => held = Some(gate),
                }
                std::io::Result::Ok(())
            });
            arrived.map_err(Error::user)
        })
        .await;
        drop(held);
        TestResult::Ok((outcome, started.elapsed()))
    })?
}

/// A child is not forced before its own time is over, whatever the tree gives the others.
#[runner::test]
fn a_child_has_the_time_that_is_its_own(case: Case) -> TestResult {
    let usual = Duration::from_millis(50);
    for shutdown in [Shutdown::Infinity, Shutdown::Within(Duration::from_secs(20))] {
        let (outcome, _) = stop_slowly(&case, usual, shutdown, Some(6 * usual))?;
        outcome?;
    }
    Ok(())
}

/// Nor later than that.
#[runner::test]
#[needs("killable")]
fn a_child_that_is_too_slow_is_forced_when_its_time_is_over(case: Case) -> TestResult {
    let usual = Duration::from_secs(15);
    let (outcome, took) =
        stop_slowly(&case, usual, Shutdown::Within(Duration::from_millis(200)), None)?;
    let told = shape::of(&outcome.expect_err("it is forced"));
    assert!(told.starts_with("slow forced:"), "{told}");
    assert!(took < usual / 2, "took {took:?}");
    Ok(())
}

/// What one wants to do by hand to a supervisor that runs.
#[runner::test]
async fn children_come_and_go_by_hand(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    runtime::nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne).child(worker("first", &notes));
        let pool = n.supervise(pool).await?;
        pool.start_child(worker("second", &notes)).await?;
        assert_eq!(life_of(&pool, "second").await?, 0);
        let twice = pool.start_child(worker("second", &notes)).await;
        assert!(matches!(twice, Err(Error::Supervision { .. })), "{twice:?}");
        pool.terminate_child("second").await?;
        assert!(presence(&pool, "second").is_some_and(|presence| presence != Presence::Up));
        pool.restart_child("second").await?;
        assert_eq!(presence(&pool, "second"), Some(Presence::Up));
        assert_eq!(life_of(&pool, "second").await?, 1);
        let early = pool.delete_child("second").await;
        assert!(matches!(early, Err(Error::Supervision { .. })), "{early:?}");
        pool.terminate_child("second").await?;
        pool.delete_child("second").await?;
        assert_eq!(presence(&pool, "second"), None);
        pool.shutdown().await;
        Ok(())
    })
    .await?;
    assert_eq!(noted(&notes).concat(), "+first+second-second+second-second-first");
    Ok(())
}

/// An actor that supervises: its children are its own affair, until there are too many deaths.
struct Manager {
    _nursery: Nursery,
    pool: Supervised,
}

#[runtime::actor]
impl Manager {
    async fn new(notes: PathBuf) -> runtime::Result<Manager> {
        let nursery = Nursery::open()?;
        let pool = nursery.supervise(three_workers(Strategy::OneForOne, &notes)).await?;
        Ok(Manager { _nursery: nursery, pool })
    }

    /// The process of a worker, and its life.
    async fn ask(&self, name: String) -> runtime::Result<(u64, u32)> {
        let (life, pid, _) = self.pool.portal::<Worker>(&name)?.work().await?;
        Ok((life, pid))
    }
}

/// Two levels down somebody is killed; nobody above notices but by asking.
#[runner::test]
#[needs("process")]
async fn a_death_is_mended_where_it_happens(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    let before = process::descendants(process::own_pid());
    runtime::nursery(async |n| {
        let manager = n.start::<Manager>("manager").with((notes.clone(),)).await?;
        let (_, pid) = manager.ask("b".to_owned()).await?;
        Process::open(pid).and_then(|it| it.send(Signal::SIGKILL)).map_err(Error::user)?;
        loop {
            match manager.ask("b".to_owned()).await {
                Ok((1, now)) => {
                    assert_ne!(now, pid);
                    break;
                }
                // It meets the dying one.
                Ok((0, _)) | Err(CallError::Returned(Error::ActorDied { .. }, _)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(manager.ask("a".to_owned()).await?.0, 0);
        assert_eq!(manager.ask("c".to_owned()).await?.0, 0);
        manager.cancel().await
    })
    .await?;
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// A pool whose workers are killed all the time, and a program that gets its work done.
#[runner::test]
#[needs("process")]
async fn work_is_done_by_a_pool_that_is_shot_at(case: Case) -> TestResult {
    const JOBS: usize = 61;
    let notes = case.temp_dir()?.join("notes");
    let before = process::descendants(process::own_pid());
    let (done, lost) = runtime::nursery(async |n| {
        let pool = n.supervise(three_workers(Strategy::OneForOne, &notes)).await?;
        let (mut done, mut lost) = (0, 0);
        let names = ["a", "b", "c"];
        for job in 0.. {
            if done == JOBS {
                break;
            }
            let name = names[job % names.len()];
            let worker = pool.portal::<Worker>(name)?;
            match worker.work().await {
                Ok((_, pid, _)) => {
                    done += 1;
                    if job % 4 == 0 {
                        let shot = Process::open(pid).and_then(|it| it.send(Signal::SIGKILL));
                        shot.map_err(Error::user)?;
                    }
                }
                // Told, and done again by whoever knows that it may be.
                Err(CallError::Failed(Error::ActorDied { .. })) => lost += 1,
                Err(other) => return Err(other.into()),
            }
        }
        pool.shutdown().await;
        Ok((done, lost))
    })
    .await?;
    println!("{done} jobs done, {lost} of the calls met a death");
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// A scope that is cut takes a pool with it, whatever state of repair that is in.
#[runner::test]
async fn a_pool_in_the_midst_of_a_restart_goes_with_its_nursery(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    let before = process::descendants(process::own_pid());
    for rounds in 0..20 {
        let outcome: runtime::Result<()> = runtime::nursery(async |n| {
            let pool = n.supervise(three_workers(Strategy::OneForAll, &notes)).await?;
            pool.portal::<Worker>("a")?.cancel().await?;
            for _ in 0..1_u32 << (rounds / 2) {
                tokio::task::yield_now().await;
            }
            Err(Error::user(Refused(1)))
        })
        .await;
        assert_eq!(shape::of(&outcome.expect_err("the body fails")), "refused-1");
        assert_eq!(process::descendants(process::own_pid()), before);
    }
    Ok(())
}
