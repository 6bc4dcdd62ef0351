//! Actors whose parent is gone without a word: they end, with all below them, by themselves.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use runner::{Case, TestResult};
use runtime::{Error, Nursery, Portal, shield};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::actors::{pid, stick};
use crate::gate::{self, Gate};
use crate::process::{self, Process};
use crate::shape;

runner::marks! { timeout = "30s", needs("process", "parent-death") }

/// What the runtime promises.
const ORPHANS_LIVE: Duration = Duration::from_secs(2);

/// An actor with so many levels below it, each with two children.
struct Tree {
    _nursery: Nursery,
    branches: Vec<TreeHandle>,
    leaves: Vec<Portal>,
}

#[runtime::actor]
impl Tree {
    async fn new(levels: u32) -> runtime::Result<Tree> {
        let nursery = Nursery::open()?;
        let (mut branches, mut leaves) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            if levels > 1 {
                branches.push(nursery.start::<Tree>("branch").with((levels - 1,)).await?);
            } else {
                let leaf = nursery.actor("leaf").expose::<pid>().expose::<stick>();
                leaves.push(leaf.expose::<linger>().await?);
            }
        }
        Ok(Tree { _nursery: nursery, branches, leaves })
    }

    /// Its own first, then those below.
    async fn pids(&self) -> runtime::Result<Vec<u32>> {
        let mut pids = vec![std::process::id()];
        for branch in &self.branches {
            pids.extend(branch.pids().await?);
        }
        for leaf in &self.leaves {
            pids.push(leaf.call::<pid>(()).await?);
        }
        Ok(pids)
    }

    /// Has all leaves below it do what does not end.
    async fn keep_leaves(&self, gate: PathBuf, keeps: Keeps) -> runtime::Result<()> {
        let mut calls: JoinSet<runtime::Result<()>> = JoinSet::new();
        for branch in self.branches.clone() {
            let gate = gate.clone();
            let call = async move { Ok(branch.keep_leaves(gate, keeps).await?) };
            calls.spawn_local(call);
        }
        for leaf in self.leaves.clone() {
            let gate = gate.clone();
            calls.spawn_local(async move {
                let call = match keeps {
                    Keeps::Spinning => leaf.call::<stick>((gate,)).await,
                    Keeps::Shielded => leaf.call::<linger>((gate,)).await,
                };
                call.map_err(Error::from)
            });
        }
        while let Some(call) = calls.join_next().await {
            call.map_err(Error::user)??;
        }
        Ok(())
    }
}

/// What keeps a leaf from its end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Keeps {
    /// It never yields.
    Spinning,
    /// It waits in a shield.
    Shielded,
}

/// Waits where no cancel reaches it.
#[runtime::remote]
async fn linger(gate: PathBuf) -> runtime::Result<()> {
    gate::arrive(&gate).map_err(Error::user)?;
    shield(Duration::from_secs(60), std::future::pending()).await
}

fn open_all(pids: &[u32]) -> TestResult<Vec<Process>> {
    Ok(pids.iter().map(|pid| Process::open(*pid)).collect::<Result<_, _>>()?)
}

async fn assert_all_end(processes: &[Process]) -> TestResult {
    let started = Instant::now();
    for process in processes {
        let left = ORPHANS_LIVE.saturating_sub(started.elapsed());
        assert!(process.ends_within(left).await?, "{} lives", process.pid());
    }
    Ok(())
}

#[runner::test]
async fn a_middle_that_is_killed_takes_its_tree_along() -> TestResult {
    let before = process::descendants(process::own_pid());
    let n = Nursery::open()?;
    let top = n.start::<Tree>("top").with((2,)).await?;
    let processes = open_all(&top.pids().await?)?;
    assert_eq!(processes.len(), 7);
    processes[0].send(Signal::SIGKILL)?;
    assert_all_end(&processes).await?;
    let error = n.join().await.expect_err("top was killed");
    assert_eq!(shape::of(&error), "top†signal 9 (SIGKILL)");
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// The grandparent is stopped, so that nobody is left who could do it for the orphans.
#[runner::test]
async fn orphans_end_by_themselves() -> TestResult {
    let before = process::descendants(process::own_pid());
    let n = Nursery::open()?;
    let top = n.start::<Tree>("top").with((3,)).await?;
    let pids = top.pids().await?;
    assert_eq!(pids.len(), 15);
    let processes = open_all(&pids)?;
    // Depth first: top, a branch, and the six below that branch.
    let (top_process, branch, orphans) = (&processes[0], &processes[1], &processes[2..8]);
    top_process.stop()?;
    branch.send(Signal::SIGKILL)?;
    let outcome = assert_all_end(orphans).await;
    let others_live = processes[8..].iter().all(Process::is_listed);
    top_process.send(Signal::SIGKILL)?;
    outcome?;
    assert!(others_live, "the other branch is nobody's orphan");
    assert!(n.join().await.is_err());
    assert_all_end(&processes).await?;
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// An end of file reaches only what reads; the second line reaches what never yields.
#[runner::test]
async fn orphans_that_never_yield_end_by_themselves_too(case: Case) -> TestResult {
    orphans_that_are_kept_end(&case, Keeps::Spinning).await
}

/// A shield lasts no longer than an orphan.
#[runner::test]
async fn orphans_that_wait_in_a_shield_end_by_themselves_too(case: Case) -> TestResult {
    orphans_that_are_kept_end(&case, Keeps::Shielded).await
}

async fn orphans_that_are_kept_end(case: &Case, keeps: Keeps) -> TestResult {
    let mut gate = Gate::closed(case, "gate")?;
    let before = process::descendants(process::own_pid());
    let n = Nursery::open()?;
    let top = n.start::<Tree>("top").with((2,)).await?;
    let processes = open_all(&top.pids().await?)?;
    let (top_process, branch, orphans) = (&processes[0], &processes[1], &processes[2..4]);
    let (call, outcome) = tokio::join!(top.keep_leaves(gate.path(), keeps), async {
        gate.arrived(4).await?;
        top_process.stop()?;
        branch.send(Signal::SIGKILL)?;
        let outcome = assert_all_end(orphans).await;
        top_process.send(Signal::SIGKILL)?;
        outcome
    });
    outcome?;
    assert!(call.is_err());
    assert!(n.join().await.is_err());
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}
