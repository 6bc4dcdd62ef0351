//! One cancels all, what is cancelled and what is not, and actors that will not end.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use runner::{Case, TestResult};
use runtime::{CallError, Error, Nursery, Portal, Rung, spawn};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::actors::{
    Refused, pid, refuse, refuse_at, release_stuck, spin_until_released, stay, stick,
};
use crate::attempt::{self, root_config};
use crate::gate::{self, Gate};
use crate::process::{self, Process};
use crate::shape;

runner::marks! { timeout = "30s" }

/// A teardown in which nobody is forced. The soft wait alone would be 1.6 s.
const HEALTHY: Duration = Duration::from_millis(1500);

/// A teardown in which one is forced, of whatever backend: a thread is given up after 3 s.
const FORCED: Duration = Duration::from_secs(6);

#[runner::test]
async fn twenty_five_children_that_fail_at_once_are_all_told(case: Case) -> TestResult {
    const COUNT: u32 = 25;
    let mut gate = Gate::closed(&case, "gate")?;
    let outcome = runtime::nursery(async |n| {
        for number in 0..COUNT {
            let name = format!("c{number}");
            n.run_in_actor::<refuse_at>(name, (gate.path(), number)).await?;
        }
        gate.arrived(COUNT as usize).await.map_err(Error::user)?;
        gate.open();
        Ok(())
    })
    .await;
    let expected: Vec<_> = (0..COUNT).map(|number| format!("c{number}:refused-{number}")).collect();
    let error = outcome.expect_err("all of them fail");
    assert_eq!(shape::of(&error), format!("({})", expected.join(" ")));
    Ok(())
}

#[runner::test]
async fn two_children_that_fail_are_a_group(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let outcome = runtime::nursery(async |n| {
        n.run_in_actor::<refuse_at>("one", (gate.path(), 1)).await?;
        n.run_in_actor::<refuse_at>("other", (gate.path(), 2)).await?;
        gate.arrived(2).await.map_err(Error::user)?;
        gate.open();
        Ok(())
    })
    .await;
    let error = outcome.expect_err("both fail");
    assert_eq!(shape::of(&error), "(one:refused-1 other:refused-2)");
    Ok(())
}

#[runner::test]
async fn children_that_fail_while_others_start_are_told_once() -> TestResult {
    const COUNT: u32 = 10;
    let before = process::descendants(process::own_pid());
    let outcome = runtime::nursery(async |n| {
        for number in 0..COUNT {
            n.run_in_actor::<refuse>(format!("c{number}"), (number,)).await?;
        }
        Ok(())
    })
    .await;
    let mut leaves = shape::leaves(outcome.expect_err("the first fails at once"));
    let possible: Vec<_> = (0..COUNT).map(|number| format!("c{number}:refused-{number}")).collect();
    // A start that the first failure came before is told so; it is the body's failure then.
    leaves.retain(|leaf| !leaf.ends_with("cancelled"));
    assert!(!leaves.is_empty());
    assert!(leaves.iter().all(|leaf| possible.contains(leaf)), "{leaves:?}");
    assert!(leaves.windows(2).all(|pair| pair[0] != pair[1]), "{leaves:?}");
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
async fn a_body_that_fails_cancels_the_children(case: Case) -> TestResult {
    let gate = Gate::closed(&case, "gate")?;
    let before = process::descendants(process::own_pid());
    let mut started = Instant::now();
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        n.run_in_actor::<stay>("one", (gate.path(),)).await?;
        n.actor("two").await?;
        let refused = Error::user(Refused(1));
        started = Instant::now();
        Err(refused)
    })
    .await;
    match outcome {
        Err(Error::User(user)) => assert_eq!(user.downcast_ref::<Refused>(), Some(&Refused(1))),
        other => panic!("{other:?}"),
    }
    assert!(started.elapsed() < HEALTHY, "took {:?}", started.elapsed());
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
async fn a_child_that_fails_cancels_the_siblings_and_the_body(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let elsewhere = Gate::closed(&case, "elsewhere")?;
    let before = process::descendants(process::own_pid());
    let mut started = Instant::now();
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        n.run_in_actor::<stay>("sibling", (elsewhere.path(),)).await?;
        n.run_in_actor::<refuse_at>("child", (gate.path(), 9)).await?;
        n.actor("daemon").await?;
        gate.arrived(1).await.map_err(Error::user)?;
        started = Instant::now();
        gate.open();
        std::future::pending().await
    })
    .await;
    assert_eq!(shape::of(&outcome.expect_err("the child fails")), "child:refused-9");
    assert!(started.elapsed() < HEALTHY, "took {:?}", started.elapsed());
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
async fn a_failure_seen_by_the_body_too_is_one_failure() -> TestResult {
    let outcome = runtime::nursery(async |n| {
        n.run_in_actor::<refuse>("child", (4,)).await?.await?;
        Ok(())
    })
    .await;
    assert_eq!(shape::of(&outcome.expect_err("the child fails")), "child:refused-4");
    Ok(())
}

#[runner::test]
async fn a_failure_that_came_first_is_not_masked_by_the_cancel(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let outcome = runtime::nursery(async |n| {
        let child = n.run_in_actor::<refuse_at>("child", (gate.path(), 6)).await?;
        gate.arrived(1).await.map_err(Error::user)?;
        gate.open();
        n.cancel().await;
        drop(child);
        Ok(())
    })
    .await;
    assert_eq!(shape::of(&outcome.expect_err("the child had failed")), "child:refused-6");
    Ok(())
}

/// Where a tree of failures meets: the folder of its gates, one for each level.
fn level_gate(folder: &Path, level: u32) -> PathBuf {
    folder.join(format!("level-{level}"))
}

/// Two below, two below each of these, … down to leaves that fail when their gate opens. What
/// failed below a branch is kept until the gate of its own level opens.
#[runtime::remote]
async fn branch(level: u32, folder: PathBuf) -> runtime::Result<()> {
    let outcome = two_below(level - 1, &folder).await;
    gate::pass(&level_gate(&folder, level)).await.map_err(Error::user)?;
    outcome
}

/// As [`branch`], and keeps nothing.
#[runtime::remote]
async fn hasty_branch(level: u32, folder: PathBuf) -> runtime::Result<()> {
    runtime::nursery(async |n| {
        for number in 0..2 {
            let name = format!("l{}n{number}", level - 1);
            if level == 1 {
                n.run_in_actor::<refuse_at>(name, (level_gate(&folder, 0), number)).await?;
            } else {
                n.run_in_actor::<hasty_branch>(name, (level - 1, folder.clone())).await?;
            }
        }
        Ok(())
    })
    .await
}

async fn two_below(level: u32, folder: &Path) -> runtime::Result<()> {
    runtime::nursery(async |n| {
        for number in 0..2 {
            let name = format!("l{level}n{number}");
            if level == 0 {
                n.run_in_actor::<refuse_at>(name, (level_gate(folder, 0), number)).await?;
            } else {
                n.run_in_actor::<branch>(name, (level, folder.to_owned())).await?;
            }
        }
        Ok(())
    })
    .await
}

#[runner::test]
async fn failures_nested_three_deep_keep_their_shape(case: Case) -> TestResult {
    let folder = case.temp_dir()?;
    let gates: Result<Vec<_>, _> =
        (0..3).map(|level| Gate::closed(&case, &format!("level-{level}"))).collect();
    let open_level_by_level = async {
        for (mut gate, count) in gates?.into_iter().zip([8, 4, 2]) {
            gate.arrived(count).await?;
            gate.open();
        }
        TestResult::Ok(())
    };
    let (outcome, opened) = tokio::join!(two_below(2, &folder), open_level_by_level);
    opened?;
    let error = outcome.expect_err("all leaves fail");
    let leaves = "(l0n0:refused-0 l0n1:refused-1)";
    let branches = format!("(l1n0{leaves} l1n1{leaves})");
    assert_eq!(shape::of(&error), format!("(l2n0{branches} l2n1{branches})"));
    Ok(())
}

#[runner::test]
async fn failures_nested_one_deep_keep_their_shape(case: Case) -> TestResult {
    let folder = case.temp_dir()?;
    let (mut leaves, mut branches) =
        (Gate::closed(&case, "level-0")?, Gate::closed(&case, "level-1")?);
    let (outcome, opened) = tokio::join!(two_below(1, &folder), async {
        leaves.arrived(4).await?;
        leaves.open();
        branches.arrived(2).await?;
        branches.open();
        TestResult::Ok(())
    });
    opened?;
    let leaves = "(l0n0:refused-0 l0n1:refused-1)";
    let error = outcome.expect_err("all leaves fail");
    assert_eq!(shape::of(&error), format!("(l1n0{leaves} l1n1{leaves})"));
    Ok(())
}

#[runner::test]
async fn failures_nested_three_deep_at_once_are_all_told(case: Case) -> TestResult {
    let folder = case.temp_dir()?;
    let mut gate = Gate::closed(&case, "level-0")?;
    let before = process::descendants(process::own_pid());
    let open = async {
        gate.arrived(8).await?;
        gate.open();
        TestResult::Ok(())
    };
    let (outcome, opened) = tokio::join!(hasty_branch(3, folder), open);
    opened?;
    let leaves = shape::leaves(outcome.expect_err("all leaves fail"));
    let expected = [["l0n0:refused-0"; 4], ["l0n1:refused-1"; 4]].concat();
    assert_eq!(leaves, expected);
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
async fn one_actor_is_cancelled_and_its_siblings_go_on(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    runtime::nursery(async |n| {
        let one = n.actor("one").expose::<pid>().expose::<stay>().await?;
        let other = n.actor("other").expose::<pid>().await?;
        let own = runtime::current()?.id().clone();
        let mut call = pin!(one.call::<stay>((gate.path(),)));
        arrived_from(&mut gate, call.as_mut()).await?;
        let (call, cancelled) = tokio::join!(call, one.cancel());
        cancelled?;
        match call {
            Err(CallError::Failed(Error::Cancelled { subject, canceller })) => {
                assert_eq!((&subject, &canceller), (one.id(), &own));
            }
            other => panic!("{other:?}"),
        }
        assert!(one.wait_ended().await.is_some());
        other.call::<pid>(()).await?;
        // Once more changes nothing.
        one.cancel().await?;
        other.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_nursery_is_cancelled_and_ends_well(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let before = process::descendants(process::own_pid());
    runtime::nursery(async |n| {
        let daemons = [n.actor("a").await?, n.actor("b").await?, n.actor("c").await?];
        let one = n.run_in_actor::<stay>("one-shot", (gate.path(),)).await?;
        gate.arrived(1).await.map_err(Error::user)?;
        let started = Instant::now();
        n.cancel().await;
        assert!(started.elapsed() < HEALTHY, "took {:?}", started.elapsed());
        assert_eq!(process::descendants(process::own_pid()), before);
        for daemon in daemons {
            assert_eq!(daemon.teardown().map(|teardown| teardown.is_forced()), Some(false));
        }
        let result = one.result().await;
        assert!(matches!(result, Err(CallError::Failed(Error::Cancelled { .. }))));
        Ok(())
    })
    .await?;
    Ok(())
}

/// A nursery that is a part of something.
struct Service {
    nursery: Nursery,
    worker: Portal,
}

impl Service {
    async fn open() -> runtime::Result<Self> {
        let nursery = Nursery::open()?;
        let worker = nursery.actor("worker").expose::<pid>().await?;
        Ok(Self { nursery, worker })
    }
}

#[runner::test]
async fn an_owned_nursery_is_shut_down() -> TestResult {
    let before = process::descendants(process::own_pid());
    let service = Service::open().await?;
    service.worker.call::<pid>(()).await?;
    service.nursery.shutdown().await?;
    assert_eq!(process::descendants(process::own_pid()), before);
    assert!(matches!(service.worker.call::<pid>(()).await, Err(CallError::Failed(_))));
    Ok(())
}

#[runner::test]
async fn an_owned_nursery_that_is_dropped_cancels_its_children() -> TestResult {
    let Service { nursery, worker } = Service::open().await?;
    let before = process::descendants(process::own_pid());
    drop(nursery);
    let started = Instant::now();
    assert!(worker.wait_ended().await.is_some());
    assert!(started.elapsed() < HEALTHY, "took {:?}", started.elapsed());
    assert_eq!(worker.teardown().map(|teardown| teardown.is_forced()), Some(false));
    let now = process::descendants(process::own_pid());
    assert!(now.is_subset(&before));
    Ok(())
}

#[runner::test]
fn a_root_does_not_end_before_the_children_of_a_dropped_nursery(case: Case) -> TestResult {
    let before = process::descendants(process::own_pid());
    let worker = runtime::block_on_root(root_config(&case)?, async {
        let Service { nursery, worker } = Service::open().await?;
        drop(nursery);
        Ok::<_, Error>(worker)
    })??;
    assert!(worker.teardown().is_some());
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
fn a_nursery_whose_future_is_dropped_is_cancelled(case: Case) -> TestResult {
    let before = process::descendants(process::own_pid());
    let portal = runtime::block_on_root(root_config(&case)?, async {
        let (started_tx, started_rx) = tokio::sync::oneshot::channel();
        let scope = runtime::nursery(async |n| -> runtime::Result<()> {
            let child = n.actor("child").await?;
            drop(started_tx.send(child));
            std::future::pending().await
        });
        tokio::select! {
            outcome = scope => panic!("{outcome:?}"),
            child = started_rx => child,
        }
    })??;
    assert!(portal.teardown().is_some());
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// An actor with children of its own, for as long as it lives.
struct Middle {
    nursery: Nursery,
    leaves: Vec<Portal>,
}

#[runtime::actor]
impl Middle {
    async fn new(leaves: usize) -> runtime::Result<Middle> {
        let nursery = Nursery::open()?;
        let mut middle = Middle { nursery, leaves: Vec::new() };
        for number in 0..leaves {
            let start = middle.nursery.actor(format!("leaf-{number}"));
            let leaf = start.expose::<pid>().expose::<stick>().await?;
            middle.leaves.push(leaf);
        }
        Ok(middle)
    }

    async fn pids(&self) -> runtime::Result<Vec<u32>> {
        let mut pids = vec![std::process::id()];
        for leaf in &self.leaves {
            pids.push(leaf.call::<pid>(()).await?);
        }
        Ok(pids)
    }

    /// Has every leaf never yield again, and then itself.
    async fn stick_all(&self, gate: PathBuf) -> runtime::Result<()> {
        for leaf in self.leaves.clone() {
            let gate = gate.clone();
            tokio::task::spawn_local(async move { leaf.call::<stick>((gate,)).await });
        }
        // They are on their way when all that is ready has run.
        tokio::task::yield_now().await;
        gate::arrive(&gate).map_err(Error::user)?;
        spin_until_released();
        Ok(())
    }

    /// Has the first leaf never yield again.
    async fn stick_leaf(&self, gate: PathBuf) -> runtime::Result<()> {
        Ok(self.leaves[0].call::<stick>((gate,)).await?)
    }
}

#[runner::test]
async fn a_healthy_tree_of_three_by_three_is_cancelled_without_force() -> TestResult {
    let before = process::descendants(process::own_pid());
    runtime::nursery(async |n| {
        let mut middles = Vec::new();
        for number in 0..3 {
            middles.push(n.start::<Middle>(format!("middle-{number}")).with((3,)).await?);
        }
        for middle in &middles {
            assert_eq!(middle.pids().await?.len(), 4);
        }
        let started = Instant::now();
        n.cancel().await;
        assert!(started.elapsed() < HEALTHY, "took {:?}", started.elapsed());
        assert_eq!(process::descendants(process::own_pid()), before);
        for middle in &middles {
            let teardown = middle.teardown().unwrap_or_default();
            assert_eq!(teardown.rung(), Some(Rung::Soft), "{teardown}");
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// Two levels up, where nobody knows the leaf, the body fails.
#[runner::test]
async fn a_leaf_stuck_below_another_does_not_keep_a_failing_root(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let before = process::descendants(process::own_pid());
    let mut started = Instant::now();
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        let middle = n.start::<Middle>("middle").with((2,)).await?;
        tokio::select! {
            outcome = middle.stick_leaf(gate.path()) => panic!("{outcome:?}"),
            arrived = gate.arrived(1) => arrived.map_err(Error::user)?,
        }
        // Its backtrace takes time, if one is asked for.
        let refused = Error::user(Refused(8));
        started = Instant::now();
        Err(refused)
    })
    .await;
    let took = started.elapsed();
    let names: Vec<_> = spawn::abandoned().into_iter().map(|thread| thread.name).collect();
    release_stuck();
    assert!(took < FORCED, "took {took:?}");
    let shape = shape::of(&outcome.expect_err("the body fails"));
    if case_is_killable(&case)? {
        let shape = shape.replace("forced:Kill", "forced:Terminate");
        assert_eq!(shape, "(refused-8 middle[leaf-0 forced:Terminate])");
        assert_eq!(names, [""; 0]);
    } else {
        assert_eq!(shape, "(refused-8 middle[leaf-0 forced:Abandon])");
        assert_eq!(names, ["leaf-0"]);
    }
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// Nobody in the tree is left who could cooperate, not even those whose duty it is.
#[runner::test]
async fn a_stuck_middle_above_stuck_leaves_goes_with_all_of_them(case: Case) -> TestResult {
    const LEAVES: usize = 3;
    let mut gate = Gate::closed(&case, "gate")?;
    let before = process::descendants(process::own_pid());
    let mut started = Instant::now();
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        let middle = n.start::<Middle>("middle").with((LEAVES,)).await?;
        tokio::select! {
            outcome = middle.stick_all(gate.path()) => panic!("{outcome:?}"),
            arrived = gate.arrived(LEAVES + 1) => arrived.map_err(Error::user)?,
        }
        // Its backtrace takes time, if one is asked for.
        let refused = Error::user(Refused(8));
        started = Instant::now();
        Err(refused)
    })
    .await;
    let took = started.elapsed();
    let abandoned = spawn::abandoned().len();
    release_stuck();
    assert!(took < FORCED, "took {took:?}");
    let shape = shape::of(&outcome.expect_err("the body fails"));
    if case_is_killable(&case)? {
        // On a busy machine SIGTERM may not have ended it in its time.
        let shape = shape.replace("forced:Kill", "forced:Terminate");
        assert_eq!(shape, "(refused-8 middle forced:Terminate)");
        assert_eq!(abandoned, 0);
    } else {
        // The leaves are the middle's to end, and it cannot; they run on for as long as it does.
        assert_eq!(shape, "(refused-8 middle forced:Abandon)");
        assert_eq!(abandoned, 1);
    }
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// So many below each, so many levels down; each leaf is stuck.
struct Tree {
    _nursery: Nursery,
    branches: Vec<TreeHandle>,
    leaves: Vec<Portal>,
}

#[runtime::actor]
impl Tree {
    async fn new(levels: u32, breadth: u32) -> runtime::Result<Tree> {
        let nursery = Nursery::open()?;
        let (mut branches, mut leaves) = (Vec::new(), Vec::new());
        for _ in 0..breadth {
            if levels > 1 {
                let branch = nursery.start::<Tree>("branch").with((levels - 1, breadth));
                branches.push(branch.await?);
            } else {
                leaves.push(nursery.actor("leaf").expose::<stick>().await?);
            }
        }
        Ok(Tree { _nursery: nursery, branches, leaves })
    }

    async fn stick_leaves(&self, gate: PathBuf) -> runtime::Result<()> {
        let mut calls = JoinSet::new();
        for branch in self.branches.clone() {
            let gate = gate.clone();
            calls.spawn_local(async move { branch.stick_leaves(gate).await.map_err(Error::from) });
        }
        for leaf in self.leaves.clone() {
            let gate = gate.clone();
            calls.spawn_local(async move { Ok(leaf.call::<stick>((gate,)).await?) });
        }
        while let Some(call) = calls.join_next().await {
            call.map_err(Error::user)??;
        }
        Ok(())
    }
}

/// How long a tree of stuck leaves takes to end; `None` if the machine was so busy that others than
/// the leaves, or more than a SIGTERM, had to be resorted to.
async fn time_to_end(gate: &mut Gate, levels: u32, breadth: u32) -> TestResult<Option<Duration>> {
    let before = process::descendants(process::own_pid());
    let leaves = breadth.pow(levels) as usize;
    let mut took = Duration::ZERO;
    let outcome = runtime::nursery(async |n| {
        let top = n.start::<Tree>("top").with((levels, breadth)).await?;
        tokio::select! {
            outcome = top.stick_leaves(gate.path()) => panic!("{outcome:?}"),
            arrived = gate.arrived(leaves) => arrived.map_err(Error::user)?,
        }
        let started = Instant::now();
        top.cancel().await?;
        took = started.elapsed();
        Ok(())
    })
    .await;
    let told = shape::of(&outcome.expect_err("every leaf is forced"));
    assert_eq!(process::descendants(process::own_pid()), before);
    println!("{levels} levels of {breadth}: {took:?}, {told}");
    let forced = told.matches("leaf forced:Terminate").count();
    Ok((forced == leaves && told.matches("forced").count() == leaves).then_some(took))
}

/// Others' work only ever adds to what it takes: the least of some trials, up to one of `enough`.
async fn least_time_to_end(
    case: &Case,
    (levels, breadth): (u32, u32),
    enough: Duration,
) -> TestResult<Duration> {
    let mut least = Duration::MAX;
    for trial in 0..5 {
        let mut gate = Gate::closed(case, &format!("gate-{levels}-{breadth}-{trial}"))?;
        let took = time_to_end(&mut gate, levels, breadth).await?;
        least = least.min(took.unwrap_or(Duration::MAX));
        if least < enough {
            break;
        }
    }
    Ok(least)
}

/// What one stuck leaf costs is a wait, and waits go on side by side. The rest is the work of the
/// levels between, which a loaded machine does slowly.
#[runner::test]
#[needs("killable")]
async fn a_teardown_costs_the_most_of_its_branches_and_not_their_sum(case: Case) -> TestResult {
    const PER_LEVEL: Duration = Duration::from_millis(200);
    let one = least_time_to_end(&case, (1, 1), Duration::MAX).await?;
    for (levels, breadth) in [(1, 8), (2, 3), (3, 2), (4, 1)] {
        let most = one.saturating_mul(3) / 2 + PER_LEVEL * levels;
        let took = least_time_to_end(&case, (levels, breadth), most).await?;
        assert!(took < most, "{levels} levels of {breadth} took {took:?}, and one leaf {one:?}");
    }
    Ok(())
}

fn case_is_killable(case: &Case) -> TestResult<bool> {
    let capabilities = attempt::backend(case)?.capabilities();
    Ok(capabilities.has(spawn::Capability::Killable))
}

#[runner::test]
async fn the_actor_above_a_stuck_leaf_is_cancelled_in_time(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let outcome = runtime::nursery(async |n| {
        let sibling = n.actor("sibling").expose::<pid>().await?;
        let middle = n.start::<Middle>("middle").with((1,)).await?;
        tokio::select! {
            outcome = middle.stick_leaf(gate.path()) => panic!("{outcome:?}"),
            arrived = gate.arrived(1) => arrived.map_err(Error::user)?,
        }
        let started = Instant::now();
        // It took force below it, and none against itself.
        middle.cancel().await?;
        assert!(started.elapsed() < FORCED, "took {:?}", started.elapsed());
        sibling.call::<pid>(()).await?;
        Ok(())
    })
    .await;
    release_stuck();
    let shape = shape::of(&outcome.expect_err("a leaf was forced"));
    let last = if case_is_killable(&case)? { "Terminate" } else { "Abandon" };
    assert_eq!(shape, format!("middle[leaf-0 forced:{last}]"));
    Ok(())
}

#[runner::test]
#[needs("killable")]
async fn what_spins_is_terminated(case: Case) -> TestResult {
    let rungs = forced_end(&case, Resistance::Spin).await?;
    assert_eq!(rungs, [Rung::Request, Rung::Terminate]);
    Ok(())
}

#[runner::test]
#[needs("killable")]
async fn what_spins_and_ignores_sigterm_is_killed(case: Case) -> TestResult {
    let rungs = forced_end(&case, Resistance::SpinDeaf).await?;
    assert_eq!(rungs, [Rung::Request, Rung::Terminate, Rung::Kill]);
    Ok(())
}

#[runner::test]
#[needs("killable")]
async fn what_is_stopped_is_killed(case: Case) -> TestResult {
    let rungs = forced_end(&case, Resistance::BeStopped).await?;
    assert_eq!(rungs, [Rung::Request, Rung::Terminate, Rung::Kill]);
    Ok(())
}

#[runner::test]
#[needs("killable")]
async fn what_never_finishes_its_clean_up_is_terminated(case: Case) -> TestResult {
    let rungs = forced_end(&case, Resistance::CleanUpForEver).await?;
    assert_eq!(rungs, [Rung::Request, Rung::Soft, Rung::Terminate]);
    Ok(())
}

/// What a thread can do instead of being killed: be given up, named, and be counted out again if
/// it ends after all.
#[runner::test]
#[needs("in-process")]
async fn a_thread_that_spins_is_given_up_and_named(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let mut portal = None;
    let outcome = runtime::nursery(async |n| {
        let stuck = n.actor("stuck").expose::<stick>().await?;
        let mut call = pin!(stuck.call::<stick>((gate.path(),)));
        arrived_from(&mut gate, call.as_mut()).await?;
        let (call, cancelled) = tokio::join!(call, stuck.cancel());
        assert!(matches!(call, Err(CallError::Failed(Error::Cancelled { .. }))), "{call:?}");
        match cancelled {
            Err(Error::Forced { actor, teardown }) => {
                assert_eq!(&actor, stuck.id());
                assert_eq!(teardown.rung(), Some(Rung::Abandon));
            }
            other => panic!("{other:?}"),
        }
        portal = Some(stuck.clone());
        Ok(())
    })
    .await;
    assert_eq!(shape::of(&outcome.expect_err("it was forced")), "stuck forced:Abandon");
    let uuid = portal.map(|portal| portal.id().uuid);
    let listed: Vec<_> = spawn::abandoned().into_iter().map(|thread| thread.uuid).collect();
    assert_eq!(listed, Vec::from_iter(uuid));
    release_stuck();
    assert!(process::comes_true(|| spawn::abandoned().is_empty()), "it has ended and is listed");
    Ok(())
}

/// How an actor resists its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Resistance {
    Spin,
    SpinDeaf,
    /// It need not do anything: it is stopped from outside.
    BeStopped,
    CleanUpForEver,
}

/// Has another below it, which does not resist.
struct Stubborn {
    _nursery: Nursery,
    below: Portal,
}

/// What is left to do when a task is cancelled.
struct EndlessCleanUp;

impl Drop for EndlessCleanUp {
    fn drop(&mut self) {
        spin_until_released();
    }
}

#[runtime::actor]
impl Stubborn {
    async fn new() -> runtime::Result<Stubborn> {
        let nursery = Nursery::open()?;
        let below = nursery.actor("below").expose::<pid>().await?;
        Ok(Stubborn { _nursery: nursery, below })
    }

    async fn pids(&self) -> runtime::Result<(u32, u32)> {
        Ok((std::process::id(), self.below.call::<pid>(()).await?))
    }

    async fn resist(&self, how: Resistance, gate: PathBuf) -> runtime::Result<()> {
        let _clean_up = (how == Resistance::CleanUpForEver).then(|| EndlessCleanUp);
        if how == Resistance::SpinDeaf {
            process::ignore_sigterm().map_err(Error::user)?;
        }
        gate::arrive(&gate).map_err(Error::user)?;
        match how {
            Resistance::Spin | Resistance::SpinDeaf => spin_until_released(),
            Resistance::BeStopped | Resistance::CleanUpForEver => std::future::pending().await,
        }
        Ok(())
    }
}

/// The rungs it takes to end an actor that resists. Checks what is the same however it does: the
/// time, the errors, and that nothing is left of it and of what is below it.
async fn forced_end(case: &Case, how: Resistance) -> TestResult<Vec<Rung>> {
    let mut gate = Gate::closed(case, "gate")?;
    let before = process::descendants(process::own_pid());
    let mut seen = None;
    let outcome = runtime::nursery(async |n| {
        let stubborn = n.start::<Stubborn>("stubborn").await?;
        let (own, below) = stubborn.pids().await?;
        let own = Process::open(own).map_err(Error::user)?;
        let below = Process::open(below).map_err(Error::user)?;
        let mut resisting = pin!(stubborn.resist(how, gate.path()));
        arrived_from(&mut gate, resisting.as_mut()).await?;
        let (call, cancelled) = tokio::join!(resisting, async {
            if how == Resistance::BeStopped {
                own.stop().map_err(Error::user)?;
            }
            let started = Instant::now();
            let cancelled = stubborn.cancel().await;
            assert!(started.elapsed() < FORCED, "took {:?}", started.elapsed());
            cancelled
        });
        assert!(matches!(call, Err(CallError::Failed(Error::Cancelled { .. }))), "{call:?}");
        assert!(!own.is_listed() && !below.is_listed(), "ended, and not reaped");
        match cancelled {
            Err(Error::Forced { actor, teardown }) => {
                assert_eq!(&actor, stubborn.id());
                seen = Some(teardown);
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await;
    let teardown = seen.ok_or_else(|| format!("{outcome:?}"))?;
    match outcome {
        Err(Error::Forced { actor, teardown: told }) => {
            assert_eq!((actor.name.as_str(), &told), ("stubborn", &teardown));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(teardown.rungs.iter().map(|taken| taken.rung).collect())
}

/// Returns when `call` has an actor at the gate, which it is not to leave. Who failed on its way
/// there never comes.
async fn arrived_from<C>(gate: &mut Gate, call: Pin<&mut C>) -> runtime::Result<()>
where
    C: Future<Output: Debug>,
{
    tokio::select! {
        outcome = call => panic!("nobody arrived: {outcome:?}"),
        arrived = gate.arrived(1) => arrived.map_err(Error::user),
    }
}
