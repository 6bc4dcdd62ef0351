//! Clusters, one function in an actor of its own, and scopes that bring their root along.

use std::collections::BTreeSet;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use runtime::{
    Backend, CallError, Cluster, ClusterEnd, Error, RootConfig, current, nursery, to_actor,
};
use serde::{Deserialize, Serialize};

crate::cases![None => [
    a_cluster_has_one_actor_for_each_name,
    a_cluster_ends_with_its_body,
    a_cluster_of_none_or_of_twins_is_refused,
    one_that_cannot_be_started_ends_the_cluster,
    a_function_runs_in_an_actor_of_its_own,
    a_second_root_is_refused_anywhere_in_the_tree,
]];

pub(crate) fn trials() -> Vec<Trial> {
    Backend::ALL
        .into_iter()
        .flat_map(|backend| {
            ["guest", "host", "late"].map(|way| {
                let name = format!("{backend}::a_nursery_brings_its_root_along_as_{way}");
                Trial::test(name, move || is_a_root(backend, way))
            })
        })
        .collect()
}

#[derive(Default)]
struct Worker(usize);

#[runtime::actor]
impl Worker {
    fn new(number: usize) -> runtime::Result<Worker> {
        if number == 13 { Err(Error::message("not this one")) } else { Ok(Worker(number)) }
    }

    async fn number(&self) -> usize {
        self.0
    }

    async fn own_name(&self) -> runtime::Result<String> {
        Ok(current()?.name().to_owned())
    }
}

async fn a_cluster_has_one_actor_for_each_name() -> runtime::Result<()> {
    let names = ["red", "green", "blue"];
    Cluster::new()
        .named(names)
        .run::<Worker, _, _>(
            |number| (number,),
            async |workers| {
                let keys: BTreeSet<&str> = workers.keys().map(String::as_str).collect();
                assert_eq!(keys, BTreeSet::from(names));
                for (number, name) in names.iter().enumerate() {
                    assert_eq!(workers[*name].number().await?, number);
                    assert_eq!(workers[*name].own_name().await?, *name);
                }
                Ok(())
            },
        )
        .await?;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count =
        Cluster::new().run::<Worker, _, _>(|n| (n,), async |workers| Ok(workers.len())).await?;
    assert_eq!(count, processors);
    Ok(())
}

async fn a_cluster_ends_with_its_body() -> runtime::Result<()> {
    for end in [ClusterEnd::Cancel, ClusterEnd::Kill] {
        let cluster = Cluster::new().count(3).end(end);
        let workers = cluster
            .run::<Worker, _, _>(|number| (number,), async |workers| Ok(workers.clone()))
            .await?;
        assert!(workers.values().all(|worker| worker.teardown().is_some()));
    }
    let failed: runtime::Result<()> = Cluster::new()
        .count(2)
        .run::<Worker, _, _>(|number| (number,), async |_| Err(Error::message("the body's own")))
        .await;
    assert_eq!(failed.expect_err("it fails").to_string(), "the body's own");
    Ok(())
}

async fn a_cluster_of_none_or_of_twins_is_refused() -> runtime::Result<()> {
    for cluster in [Cluster::new().count(0), Cluster::new().named(["a", "a"])] {
        let refused = cluster.run::<Worker, _, _>(|n| (n,), async |_| Ok(())).await;
        assert!(matches!(refused, Err(Error::Supervision { .. })), "{refused:?}");
    }
    Ok(())
}

async fn one_that_cannot_be_started_ends_the_cluster() -> runtime::Result<()> {
    let cluster = Cluster::new().count(3);
    let failed = cluster.run::<Worker, _, _>(|n| (n + 11,), async |_| Ok(())).await;
    assert!(matches!(failed, Err(Error::SpawnFailed(_))), "{failed:?}");
    Ok(())
}

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{0} is odd")]
struct Odd(u64);

#[runtime::remote]
async fn halve(n: u64) -> Result<(u64, String), Odd> {
    let name = current().map(|this| this.name().to_owned()).unwrap_or_default();
    if n.is_multiple_of(2) { Ok((n / 2, name)) } else { Err(Odd(n)) }
}

async fn a_function_runs_in_an_actor_of_its_own() -> runtime::Result<()> {
    assert_eq!(to_actor::<halve>((4,)).await?, (2, "halve".to_owned()));
    let odd = to_actor::<halve>((3,)).await;
    assert!(matches!(odd, Err(CallError::Returned(Odd(3), _))), "{odd:?}");
    Ok(())
}

/// What comes of a second root on this actor's thread, on another of its process, and as options of a nursery.
#[runtime::remote]
async fn try_roots() -> Vec<bool> {
    let is_refused = |tried: runtime::Result<()>| matches!(tried, Err(Error::SecondRoot(_)));
    let block = || runtime::block_on_root(RootConfig::default(), async {});
    let elsewhere = std::thread::Builder::new().spawn(block).expect("a thread");
    vec![
        is_refused(block()),
        is_refused(elsewhere.join().expect("it returns")),
        is_refused(tokio::task::spawn_blocking(block).await.expect("it returns")),
        is_refused(RootConfig::default().nursery(async |_| Ok(())).await),
    ]
}

async fn a_second_root_is_refused_anywhere_in_the_tree() -> runtime::Result<()> {
    assert_eq!(try_roots().await, [true; 4]);
    assert_eq!(to_actor::<try_roots>(()).await?, [true; 4]);
    Ok(())
}

/// The program: a scope that nobody gave an actor.
pub(crate) fn stand_alone(way: &str) {
    let scope = || {
        nursery(async |n| {
            let this = current()?;
            assert!(this.is_root());
            let child = n.run_in_actor::<halve>("child", (8,)).await?;
            assert_eq!(child.await?, (4, "child".to_owned()));
            Ok(this.id().clone())
        })
    };
    match way {
        "guest" => {
            let scheduler =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
            scheduler.block_on(async {
                let first = scope().await.expect("a root");
                let second = scope().await.expect("another");
                assert_ne!(first, second);
                // Beside each other, there is one too many.
                let (one, other) = tokio::join!(scope(), scope());
                assert!(one.is_ok() && matches!(other, Err(Error::SecondRoot(_))), "{other:?}");
                assert!(current().is_err());
            });
        }
        // No scheduler at all: it brings its own.
        "host" => drop(poll_once(scope()).expect("a root")),
        // Cut short, it leaves nothing.
        _ => {
            let scheduler =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
            let (up_tx, up_rx) = tokio::sync::oneshot::channel();
            let for_ever = nursery(async move |n| {
                n.actor("child").await?;
                up_tx.send(()).expect("it is awaited");
                std::future::pending::<runtime::Result<()>>().await
            });
            scheduler.block_on(async {
                tokio::select! {
                    ended = for_ever => panic!("{ended:?}"),
                    up = up_rx => up.expect("it stands"),
                }
            });
        }
    }
}

fn poll_once<F: Future>(future: F) -> F::Output {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut cx) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("it does not block"),
    }
}

fn is_a_root(backend: Backend, way: &str) -> Result<(), Failed> {
    let output = Command::new("timeout")
        .args(["--kill-after=5", "30"])
        .arg(std::env::current_exe()?)
        .args(["--alone", way])
        .env("RUNTIME_BACKEND", backend.name())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{}\n{said}", output.status).into()) }
}
