//! Clusters: many actors of one type at once; and functions in an actor of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runner::{Case, TestResult};
use runtime::{
    CallError, CancelScope, Cluster, ClusterEnd, Context, Error, Portal, current, to_actor,
};

use crate::actors::{Refused, identity, refuse};
use crate::gate::{self, Gate};
use crate::process;
use crate::shape;

runner::marks! { timeout = "30s" }

/// Knows its number, and adds up what it is sent.
struct Worker(usize);

#[runtime::actor]
impl Worker {
    fn new(number: usize) -> Worker {
        Worker(number)
    }

    async fn number(&self) -> runtime::Result<(usize, String)> {
        Ok((self.0, current()?.name().to_owned()))
    }

    async fn fail(&self) -> Result<(), Refused> {
        Err(Refused(u32::try_from(self.0).unwrap_or(99)))
    }

    #[runtime::context]
    async fn add_up(&self, cx: Context<usize, u64, u64>) -> runtime::Result<u64> {
        let mut stream = cx.started(self.0).await?.open_stream()?;
        let mut sum = 0;
        while let Some(number) = stream.recv().await? {
            sum += number;
            stream.send(sum).await?;
        }
        Ok(sum)
    }
}

#[runner::test]
async fn a_cluster_of_nobody_is_refused() -> TestResult {
    let before = process::descendants(process::own_pid());
    let outcome =
        Cluster::new().count(0).run::<Worker, (), _>(|number| (number,), async |_| Ok(()));
    let outcome = outcome.await;
    assert!(matches!(outcome, Err(Error::Supervision { .. })), "{outcome:?}");
    let twins = Cluster::new().named(["one", "one"]);
    let outcome = twins.run::<Worker, (), _>(|number| (number,), async |_| Ok(())).await;
    assert!(matches!(outcome, Err(Error::Supervision { .. })), "{outcome:?}");
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
async fn everybody_in_a_cluster_is_found_by_name() -> TestResult {
    let before = process::descendants(process::own_pid());
    let names = ["anna", "bert", "carl"];
    let seen = Cluster::new()
        .named(names)
        .run::<Worker, _, _>(
            |number| (number,),
            async |workers: &BTreeMap<String, WorkerHandle>| {
                let mut seen = Vec::new();
                for (name, worker) in workers {
                    let (number, own_name) = worker.number().await?;
                    assert_eq!((name, names[number]), (&own_name, own_name.as_str()));
                    seen.push(number);
                }
                Ok(seen)
            },
        )
        .await?;
    assert_eq!(seen, [0, 1, 2]);
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// Is made when all others are being made.
struct Punctual;

#[runtime::actor]
impl Punctual {
    async fn new(gate: PathBuf) -> runtime::Result<Punctual> {
        gate::pass(&gate).await.map_err(Error::user)?;
        Ok(Punctual)
    }
}

#[runner::test]
async fn the_actors_of_a_cluster_are_started_side_by_side(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let path = gate.path();
    let cluster = Cluster::new()
        .count(4)
        .run::<Punctual, _, _>(|_| (path.clone(),), async |all| Ok(all.len()));
    let (count, arrived) = tokio::join!(cluster, async {
        let arrived = gate.arrived(4).await;
        gate.open();
        arrived
    });
    arrived?;
    assert_eq!(count?, 4);
    Ok(())
}

/// Round and round, as fast as each answers, until there was enough; then all end.
#[runner::test]
async fn numbers_stream_to_a_cluster_until_it_is_cancelled() -> TestResult {
    const ENOUGH: u64 = 300;
    let before = process::descendants(process::own_pid());
    let scope = CancelScope::new();
    let sent = std::cell::Cell::new(0_u64);
    let body = Cluster::new().count(3).run::<Worker, (), _>(
        |number| (number,),
        async |workers: &BTreeMap<String, WorkerHandle>| {
            let dialogue = async |worker: &WorkerHandle| {
                let opened = worker.add_up().open(async |cx| {
                    let mut stream = cx.open_stream()?;
                    let mut sum = 0;
                    for number in 0.. {
                        stream.send(number).await?;
                        sum += number;
                        assert_eq!(stream.recv().await?, Some(sum));
                        sent.set(sent.get() + 1);
                        if sent.get() == ENOUGH {
                            scope.cancel();
                        }
                    }
                    Ok(())
                });
                opened.await.map_err(Error::from)
            };
            let [one, two, three] = ["0", "1", "2"].map(|name| &workers[name]);
            tokio::try_join!(dialogue(one), dialogue(two), dialogue(three)).map(drop)
        },
    );
    assert!(scope.run(body).await?.is_none());
    assert!(sent.get() >= ENOUGH, "{}", sent.get());
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
async fn a_cluster_whose_body_fails_is_gone_with_it() -> TestResult {
    let before = process::descendants(process::own_pid());
    let outcome: runtime::Result<()> = Cluster::new()
        .count(4)
        .run::<Worker, _, _>(
            |number| (number,),
            async |workers: &BTreeMap<String, WorkerHandle>| Ok(workers["2"].fail().await?),
        )
        .await;
    assert_eq!(shape::of(&outcome.expect_err("one fails")), "2:refused-2");
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
#[needs("killable")]
async fn a_cluster_can_be_killed_at_its_end() -> TestResult {
    let before = process::descendants(process::own_pid());
    let portals = Cluster::new()
        .count(3)
        .end(ClusterEnd::Kill)
        .run::<Worker, _, _>(
            |number| (number,),
            async |workers: &BTreeMap<String, WorkerHandle>| {
                Ok(workers.values().map(|worker| (**worker).clone()).collect::<Vec<Portal>>())
            },
        )
        .await?;
    for portal in portals {
        let rungs = portal.teardown().map(|teardown| teardown.rungs).unwrap_or_default();
        assert_eq!(rungs.first().map(|taken| taken.rung), Some(runtime::Rung::Kill), "{rungs:?}");
    }
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
async fn a_function_in_an_actor_of_its_own_is_one_call() -> TestResult {
    let before = process::descendants(process::own_pid());
    let seen = to_actor::<identity>(()).await?;
    assert_eq!(seen.name, "identity");
    assert_eq!(process::descendants(process::own_pid()), before);
    let refused = to_actor::<refuse>((5,)).await;
    assert_eq!(refused.err().and_then(CallError::returned), Some(Refused(5)));
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}
