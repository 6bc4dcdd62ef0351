//! Supervisors: who lives again, with what, and what is told to those who call.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use runtime::{
    AutoShutdown, CallError, ChildSpec, ChildStatus, Death, Error, Exit, GaveUp, Nursery, Presence,
    Restart, Restarts, Shutdown, Strategy, Supervised, Supervisor, current, nursery,
};
use serde::{Deserialize, Serialize};

use crate::Need;
use crate::gate::{self, Gate};
use crate::lifetimes::{note, notes, said};

crate::cases![
    None => [
        a_permanent_child_lives_again_with_what_its_factory_makes,
        a_call_made_between_two_lives_waits_for_the_next,
        a_call_made_while_a_life_is_stopped_for_a_sibling_waits_for_the_next,
        starts_that_fail_at_once_keep_no_cancel_waiting,
        a_transient_child_lives_until_it_ends_well,
        a_temporary_child_lives_once_and_its_failure_is_remembered,
        one_for_one_restarts_that_one,
        rest_for_one_restarts_the_later_ones_too,
        one_for_all_restarts_all,
        children_are_stopped_in_reverse_order,
        beyond_the_limit_the_nursery_fails_with_the_history,
        a_call_that_waits_for_a_next_life_ends_when_there_is_none,
        a_child_that_cannot_be_started_stops_those_before_it,
        a_factory_that_panics_is_a_start_that_fails,
        children_come_and_go_by_hand,
        what_makes_no_sense_is_refused,
        a_failing_body_stops_the_supervised,
        a_dropped_start_of_a_supervisor_stops_what_was_started,
    ],
    Some(Need::Process) => [
        a_call_in_flight_at_a_death_ends_with_its_incarnation_and_is_not_repeated,
        the_next_life_begins_when_the_last_is_reaped,
        a_child_that_is_killed_brutally_runs_no_code_of_its_own,
        a_pool_survives_kills,
    ],
];

const MANY: Restarts = Restarts { at_most: 100, within: Duration::from_secs(5) };

/// Knows which life it was made for, and says when it is dropped.
struct Worker {
    made_for: u64,
    notes: Option<(PathBuf, String)>,
}

#[runtime::actor]
impl Worker {
    fn new(made_for: u64, notes: Option<(PathBuf, String)>) -> Worker {
        Worker { made_for, notes }
    }

    /// What it was made for, and what the runtime says.
    async fn lives(&self) -> runtime::Result<(u64, u64)> {
        Ok((self.made_for, current()?.incarnation()))
    }

    async fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Notes that it was called, and takes its process with it.
    async fn leave(&self, notes: PathBuf, code: i32) {
        note(&notes, "called");
        std::process::exit(code)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some((path, word)) = &self.notes {
            note(path, word);
        }
    }
}

struct Refusing;

#[runtime::actor]
impl Refusing {
    fn new() -> runtime::Result<Refusing> {
        Err(Error::message("it does not want to live"))
    }
    async fn never(&self) {}
}

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("life {0} failed")]
struct Failed(u64);

/// Fails, until it is given this life.
#[runtime::remote]
async fn fail_until(life: u64, good: u64) -> Result<(), Failed> {
    if life < good { Err(Failed(life)) } else { Ok(()) }
}

#[runtime::remote]
async fn fail_behind(life: u64, gate: PathBuf) -> Result<(), Failed> {
    gate::pass(gate);
    Err(Failed(life))
}

#[runtime::remote]
async fn stay() {
    std::future::pending::<()>().await;
}

/// Whether a life ended with that failure.
fn tells(death: &Death, failure: &Failed) -> bool {
    death.cause.as_ref().is_some_and(|cause| cause.ends_with(&failure.to_string()))
}

fn worker(name: &str) -> ChildSpec {
    ChildSpec::of::<Worker>(name, |life| (life, None))
}

fn noting_worker(name: &'static str, notes: &Path) -> ChildSpec {
    let notes = notes.to_owned();
    ChildSpec::of::<Worker>(name, move |life| (life, Some((notes.clone(), name.to_owned()))))
}

async fn lives(pool: &Supervised, name: &str) -> runtime::Result<u64> {
    let (made_for, said) = pool.portal::<Worker>(name)?.lives().await?;
    assert_eq!(made_for, said, "{name}");
    Ok(said)
}

async fn a_permanent_child_lives_again_with_what_its_factory_makes() -> runtime::Result<()> {
    nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne).limit(MANY).child(worker("worker"));
        let pool = n.supervise(pool).await?;
        let portal = pool.portal::<Worker>("worker")?;
        let id = portal.id().clone();
        for life in 0..3 {
            assert_eq!(portal.lives().await?, (life, life));
            portal.cancel().await?;
        }
        assert_eq!(portal.lives().await?, (3, 3));
        assert_eq!(*portal.id(), id);
        assert_eq!(pool.history().len(), 3);
        pool.shutdown().await;
        let late = portal.lives().await.map_err(Error::from);
        assert!(matches!(late, Err(Error::Cancelled { .. })), "{late:?}");
        Ok(())
    })
    .await
}

async fn a_call_made_between_two_lives_waits_for_the_next() -> runtime::Result<()> {
    nursery(async |n| {
        let gate = Gate::closed();
        let path = gate.path();
        // The second life is not ready before the gate opens.
        let child =
            ChildSpec::of::<Gated>("worker", move |life| (life, (life == 1).then(|| path.clone())));
        let pool = n.supervise(Supervisor::new(Strategy::OneForOne).child(child)).await?;
        let portal = pool.portal::<Gated>("worker")?;
        portal.cancel().await?;
        let (life, ()) = tokio::join!(portal.life(), async {
            assert_eq!(pool.children()[0].presence, Presence::Between);
            gate.open_for(1).await;
        });
        assert_eq!(life?, 1);
        pool.shutdown().await;
        Ok(())
    })
    .await
}

struct Gated(u64);

#[runtime::actor]
impl Gated {
    fn new(life: u64, gate: Option<PathBuf>) -> Gated {
        if let Some(gate) = gate {
            gate::pass(gate);
        }
        Gated(life)
    }

    async fn life(&self) -> u64 {
        self.0
    }
}

/// Its first life does not end before the gate opens.
struct Reluctant {
    life: u64,
    gate: PathBuf,
}

#[runtime::actor]
impl Reluctant {
    fn new(life: u64, gate: PathBuf) -> Reluctant {
        Reluctant { life, gate }
    }

    async fn life(&self) -> u64 {
        self.life
    }
}

impl Drop for Reluctant {
    fn drop(&mut self) {
        if self.life == 0 {
            gate::pass(self.gate.clone());
        }
    }
}

async fn a_call_made_while_a_life_is_stopped_for_a_sibling_waits_for_the_next()
-> runtime::Result<()> {
    nursery(async |n| {
        let gate = Gate::closed();
        let path = gate.path();
        let pool = Supervisor::new(Strategy::OneForAll)
            .child(worker("falling"))
            .child(ChildSpec::of::<Reluctant>("sibling", move |life| (life, path.clone())));
        let pool = n.supervise(pool).await?;
        let sibling = pool.portal::<Reluctant>("sibling")?;
        pool.portal::<Worker>("falling")?.cancel().await?;
        let stopping = gate.wait_for(1).await;
        let (life, ()) = tokio::join!(sibling.life(), async { stopping.open() });
        assert_eq!(life?, 1);
        pool.shutdown().await;
        Ok(())
    })
    .await
}

async fn starts_that_fail_at_once_keep_no_cancel_waiting() -> runtime::Result<()> {
    nursery(async |n| {
        let panics_again = |life| match life {
            0 => (0, None),
            _ => panic!("as it should"),
        };
        let pool = Supervisor::new(Strategy::OneForOne)
            .limit(Restarts { at_most: u32::MAX, within: Duration::from_secs(60) })
            .child(ChildSpec::of::<Worker>("worker", panics_again));
        let pool = n.supervise(pool).await?;
        pool.portal::<Worker>("worker")?.cancel().await?;
        while pool.history().len() < 10 {
            tokio::task::yield_now().await;
        }
        pool.shutdown().await;
        Ok(())
    })
    .await
}

async fn a_transient_child_lives_until_it_ends_well() -> runtime::Result<()> {
    nursery(async |n| {
        let child = ChildSpec::run::<fail_until>("worker", |life| (life, 2))
            .restart(Restart::Transient)
            .significant();
        let pool = Supervisor::new(Strategy::OneForOne)
            .limit(MANY)
            .auto_shutdown(AutoShutdown::AllSignificant)
            .child(child)
            .child(worker("ordinary"));
        let pool = n.supervise(pool).await?;
        pool.wait_ended().await;
        let [first, second, third] = &pool.history()[..] else { panic!("{:?}", pool.history()) };
        assert!(tells(first, &Failed(0)) && tells(second, &Failed(1)), "{first}; {second}");
        assert_eq!((third.incarnation, &third.cause), (2, &None));
        Ok(())
    })
    .await
}

async fn a_temporary_child_lives_once_and_its_failure_is_remembered() -> runtime::Result<()> {
    nursery(async |n| {
        let child = ChildSpec::run::<fail_until>("worker", |life| (life, 9))
            .restart(Restart::Temporary)
            .significant();
        let pool = Supervisor::new(Strategy::OneForAll)
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(worker("ordinary"))
            .child(child);
        let pool = n.supervise(pool).await?;
        pool.wait_ended().await;
        let [death] = &pool.history()[..] else { panic!("{:?}", pool.history()) };
        assert!(death.child.name == "worker" && tells(death, &Failed(0)), "{death}");
        Ok(())
    })
    .await
}

/// In which lives three are, when the second of them was ended.
async fn lives_after(strategy: Strategy) -> runtime::Result<[u64; 3]> {
    nursery(async |n| {
        let mut pool = Supervisor::new(strategy);
        for name in ["a", "b", "c"] {
            pool = pool.child(worker(name));
        }
        let pool = n.supervise(pool).await?;
        pool.portal::<Worker>("b")?.cancel().await?;
        // That it lives again is known when those before it have been stopped, and before those after it are started.
        let b = lives(&pool, "b").await?;
        let told = [lives(&pool, "a").await?, b, lives(&pool, "c").await?];
        pool.shutdown().await;
        Ok(told)
    })
    .await
}

async fn one_for_one_restarts_that_one() -> runtime::Result<()> {
    assert_eq!(lives_after(Strategy::OneForOne).await?, [0, 1, 0]);
    Ok(())
}

async fn rest_for_one_restarts_the_later_ones_too() -> runtime::Result<()> {
    assert_eq!(lives_after(Strategy::RestForOne).await?, [0, 1, 1]);
    Ok(())
}

async fn one_for_all_restarts_all() -> runtime::Result<()> {
    assert_eq!(lives_after(Strategy::OneForAll).await?, [1, 1, 1]);
    Ok(())
}

async fn children_are_stopped_in_reverse_order() -> runtime::Result<()> {
    let notes = notes();
    nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne)
            .child(noting_worker("first", &notes))
            .child(noting_worker("second", &notes).shutdown(Shutdown::Infinity))
            .child(noting_worker("third", &notes).shutdown(Shutdown::Within(MANY.within)));
        let pool = n.supervise(pool).await?;
        n.cancel().await;
        assert!(pool.children().iter().all(|child| child.presence == Presence::Over));
        Ok(())
    })
    .await?;
    assert_eq!(said(notes), "third\nsecond\nfirst\n");
    Ok(())
}

async fn beyond_the_limit_the_nursery_fails_with_the_history() -> runtime::Result<()> {
    let notes = notes();
    let ended: runtime::Result<()> = nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne)
            .limit(Restarts { at_most: 2, within: Duration::from_secs(60) })
            .child(noting_worker("sibling", &notes))
            .child(ChildSpec::run::<fail_until>("failing", |life| (life, 9)));
        n.supervise(pool).await?;
        std::future::pending().await
    })
    .await;
    let Err(Error::GaveUp(gave_up)) = ended else { panic!("{ended:?}") };
    let GaveUp { child, at_most: 2, history, last, .. } = *gave_up else { panic!("{gave_up}") };
    assert_eq!(child.name, "failing");
    let lives: Vec<_> = history.iter().map(|death| death.incarnation).collect();
    assert_eq!(lives, [0, 1, 2]);
    let Some(Error::Remote(last)) = last else { panic!("{last:?}") };
    assert_eq!(last.downcast(), Some(Failed(2)));
    assert_eq!(said(notes), "sibling\n");
    Ok(())
}

async fn a_call_that_waits_for_a_next_life_ends_when_there_is_none() -> runtime::Result<()> {
    let mut told = None;
    let ended: runtime::Result<()> = nursery(async |n| {
        let gate = Gate::closed();
        let path = gate.path();
        let pool = Supervisor::new(Strategy::OneForOne)
            .limit(Restarts { at_most: 0, within: Duration::from_secs(60) })
            .child(ChildSpec::run::<fail_behind>("failing", move |life| (life, path.clone())));
        let pool = n.supervise(pool).await?;
        let portal = pool.actor("failing")?;
        gate.open_for(1).await;
        told = Some(portal.call::<stay>(()).await.map_err(Error::from));
        Ok(())
    })
    .await;
    assert!(matches!(ended, Err(Error::GaveUp(_))), "{ended:?}");
    if let Some(Ok(())) = told {
        panic!("it was called")
    }
    Ok(())
}

async fn a_child_that_cannot_be_started_stops_those_before_it() -> runtime::Result<()> {
    let notes = notes();
    nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne)
            .child(noting_worker("first", &notes))
            .child(ChildSpec::of::<Refusing>("second", |_| ()))
            .child(noting_worker("third", &notes));
        let Err(Error::SpawnFailed(failure)) = n.supervise(pool).await.map(|_| ()) else {
            panic!("it was started")
        };
        assert_eq!(failure.actor.name, "second");
        Ok(())
    })
    .await?;
    assert_eq!(said(notes), "first\n");
    Ok(())
}

async fn a_factory_that_panics_is_a_start_that_fails() -> runtime::Result<()> {
    nursery(async |n| {
        let child = ChildSpec::of::<Worker>("worker", |life| {
            assert!(life != 1, "no second life");
            (life, None)
        });
        let pool = Supervisor::new(Strategy::OneForOne).limit(MANY).child(child);
        let pool = n.supervise(pool).await?;
        pool.portal::<Worker>("worker")?.cancel().await?;
        assert_eq!(lives(&pool, "worker").await?, 2);
        let cause = pool.history()[1].cause.clone().expect("it failed");
        assert!(cause.contains("no second life"), "{cause}");
        pool.shutdown().await;
        Ok(())
    })
    .await
}

async fn children_come_and_go_by_hand() -> runtime::Result<()> {
    nursery(async |n| {
        let pool = n.supervise(Supervisor::new(Strategy::OneForOne)).await?;
        assert_eq!(pool.children(), []);
        pool.start_child(worker("late")).await?;
        let portal = pool.portal::<Worker>("late")?;
        assert_eq!(portal.lives().await?, (0, 0));
        let status = |presence, incarnation| ChildStatus {
            name: "late".to_owned(),
            incarnation: Some(incarnation),
            presence,
        };
        pool.terminate_child("late").await?;
        assert_eq!(pool.children(), [status(Presence::Over, 0)]);
        let between = portal.lives().await.map_err(Error::from);
        assert!(matches!(between, Err(Error::Cancelled { .. })), "{between:?}");
        pool.restart_child("late").await?;
        assert_eq!(portal.lives().await?, (1, 1));
        assert_eq!(pool.children(), [status(Presence::Up, 1)]);
        for refused in [
            pool.start_child(worker("late")).await,
            pool.restart_child("late").await,
            pool.delete_child("late").await,
            pool.terminate_child("nobody").await,
        ] {
            assert!(matches!(refused, Err(Error::Supervision { .. })), "{refused:?}");
        }
        let failed = pool.start_child(ChildSpec::of::<Refusing>("refusing", |_| ())).await;
        assert!(matches!(failed, Err(Error::SpawnFailed(_))), "{failed:?}");
        pool.terminate_child("late").await?;
        pool.delete_child("late").await?;
        assert_eq!(pool.children(), []);
        pool.shutdown().await;
        let late = pool.start_child(worker("too late")).await;
        assert!(matches!(late, Err(Error::Cancelled { .. })), "{late:?}");
        Ok(())
    })
    .await
}

async fn what_makes_no_sense_is_refused() -> runtime::Result<()> {
    nursery(async |n| {
        let twins = Supervisor::new(Strategy::OneForOne).child(worker("a")).child(worker("a"));
        let for_ever = Supervisor::new(Strategy::OneForOne).child(worker("a").significant());
        for supervisor in [twins, for_ever] {
            let refused = n.supervise(supervisor).await.map(|_| ());
            assert!(matches!(refused, Err(Error::Supervision { .. })), "{refused:?}");
        }
        let pool = n.supervise(Supervisor::new(Strategy::OneForOne).child(worker("a"))).await?;
        let other = pool.portal::<Refusing>("a").map(|_| ());
        assert!(matches!(other, Err(Error::Supervision { .. })), "{other:?}");
        pool.shutdown().await;
        Ok(())
    })
    .await
}

async fn a_failing_body_stops_the_supervised() -> runtime::Result<()> {
    let notes = notes();
    let ended: runtime::Result<()> = nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne).child(noting_worker("worker", &notes));
        n.supervise(pool).await?;
        Err(Error::message("the body's own"))
    })
    .await;
    assert_eq!(ended.expect_err("it fails").to_string(), "the body's own");
    assert_eq!(said(notes), "worker\n");
    Ok(())
}

async fn a_dropped_start_of_a_supervisor_stops_what_was_started() -> runtime::Result<()> {
    let (notes, n, gate) = (notes(), Nursery::open()?, Gate::closed());
    let path = gate.path();
    let pool = Supervisor::new(Strategy::OneForOne)
        .child(noting_worker("first", &notes))
        .child(ChildSpec::of::<Gated>("second", move |life| (life, Some(path.clone()))));
    tokio::select! {
        started = n.supervise(pool) => panic!("{:?}", started.map(|_| ())),
        () = gate.open_for(1) => {}
    }
    n.join().await?;
    assert_eq!(said(notes), "first\n");
    Ok(())
}

async fn a_call_in_flight_at_a_death_ends_with_its_incarnation_and_is_not_repeated()
-> runtime::Result<()> {
    let notes = notes();
    nursery(async |n| {
        let pool = Supervisor::new(Strategy::OneForOne).limit(MANY).child(worker("worker"));
        let pool = n.supervise(pool).await?;
        let portal = pool.portal::<Worker>("worker")?;
        for life in 0..3 {
            let died = portal.leave(notes.clone(), 3).await;
            let Err(CallError::Failed(Error::ActorDied { exit, incarnation, .. })) = died else {
                panic!("{died:?}")
            };
            assert_eq!((exit, incarnation), (Exit::Code(3), life));
        }
        assert_eq!(portal.lives().await?, (3, 3));
        pool.shutdown().await;
        Ok(())
    })
    .await?;
    assert_eq!(said(notes), "called\ncalled\ncalled\n");
    Ok(())
}

async fn the_next_life_begins_when_the_last_is_reaped() -> runtime::Result<()> {
    nursery(async |n| {
        let last: Rc<Cell<Option<u32>>> = Rc::default();
        let seen = Rc::clone(&last);
        let child = ChildSpec::of::<Worker>("worker", move |life| {
            let pid = seen.get();
            assert!(pid.is_none_or(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
            (life, None)
        });
        let pool = Supervisor::new(Strategy::OneForOne).limit(MANY).child(child);
        let pool = n.supervise(pool).await?;
        let portal = pool.portal::<Worker>("worker")?;
        for life in 0..5 {
            assert_eq!(portal.lives().await?, (life, life), "a factory has panicked");
            let pid = portal.pid().await?;
            last.set(Some(pid));
            crate::deaths::signal(pid, nix::sys::signal::Signal::SIGKILL);
            while !matches!(portal.pid().await, Ok(next) if next != pid) {}
        }
        pool.shutdown().await;
        Ok(())
    })
    .await
}

async fn a_child_that_is_killed_brutally_runs_no_code_of_its_own() -> runtime::Result<()> {
    let notes = notes();
    nursery(async |n| {
        let child = noting_worker("worker", &notes).shutdown(Shutdown::BrutalKill);
        let pool = n.supervise(Supervisor::new(Strategy::OneForOne).child(child)).await?;
        pool.shutdown().await;
        let teardown = pool.actor("worker")?.teardown().expect("it has ended");
        assert!(teardown.is_forced(), "{teardown}");
        Ok(())
    })
    .await?;
    assert_eq!(said(notes), "");
    Ok(())
}

/// Whatever is killed, every worker answers again.
async fn a_pool_survives_kills() -> runtime::Result<()> {
    nursery(async |n| {
        let mut pool = Supervisor::new(Strategy::OneForOne).limit(MANY);
        let names: Vec<String> = (0..4).map(|number| format!("worker-{number}")).collect();
        for name in &names {
            pool = pool.child(worker(name));
        }
        let pool = n.supervise(pool).await?;
        for _ in 0..3 {
            let mut pids = Vec::new();
            for name in &names {
                pids.push(pool.portal::<Worker>(name)?.pid().await?);
            }
            for pid in &pids {
                crate::deaths::signal(*pid, nix::sys::signal::Signal::SIGKILL);
            }
            for (name, pid) in names.iter().zip(&pids) {
                let begun = Instant::now();
                while !matches!(pool.portal::<Worker>(name)?.pid().await, Ok(now) if now != *pid) {
                    assert!(
                        begun.elapsed() < Duration::from_secs(10),
                        "{name} does not live again"
                    );
                }
            }
        }
        assert_eq!(pool.history().len(), 12);
        pool.shutdown().await;
        Ok(())
    })
    .await
}
