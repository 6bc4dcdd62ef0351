//! What is starting while something else goes wrong: the root cause comes out, and nothing of the
//! start's own making.

use std::path::PathBuf;
use std::time::Duration;

use runner::{Case, TestResult};
use runtime::{CallError, Error, StartStep};
use serde::{Deserialize, Serialize};

use crate::actors::{Refused, pid, refuse_at};
use crate::attempt::root_config;
use crate::gate::{self, Gate};
use crate::process;
use crate::shape;

runner::marks! { timeout = "20s" }

/// Arrives at a gate while it is being made, and goes on as it was told.
struct Slow {
    greeting: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Goes {
    On,
    Nowhere,
    Wrong,
}

#[runtime::actor]
impl Slow {
    async fn new(gate: PathBuf, goes: Goes, greeting: String) -> Result<Slow, Refused> {
        gate::arrive(&gate).map_err(|_| Refused(u32::MAX))?;
        match goes {
            Goes::On => Ok(Slow { greeting }),
            Goes::Nowhere => std::future::pending().await,
            Goes::Wrong => Err(Refused(5)),
        }
    }

    async fn greet(&self, whom: String) -> String {
        format!("{}, {whom}", self.greeting)
    }
}

#[runner::test]
async fn what_the_constructor_was_given_is_there_when_the_start_returns(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    runtime::nursery(async |n| {
        let arguments = (gate.path(), Goes::On, "good day".to_owned());
        let slow = n.start::<Slow>("slow").with(arguments).await?;
        // It had to pass by there to be ready.
        gate.arrived(1).await.map_err(Error::user)?;
        assert_eq!(slow.greet("Ann".to_owned()).await?, "good day, Ann");
        slow.cancel().await
    })
    .await?;
    Ok(())
}

/// A sibling fails while the body waits for a start: the sibling's failure alone.
#[runner::test]
async fn the_failure_of_a_sibling_is_not_masked_by_the_start_it_cancels(case: Case) -> TestResult {
    let before = process::descendants(process::own_pid());
    let (mut starting, mut failing) =
        (Gate::closed(&case, "starting")?, Gate::closed(&case, "failing")?);
    let (failing_at, starting_at) = (failing.path(), starting.path());
    let scope = runtime::nursery(async |n| {
        n.run_in_actor::<refuse_at>("sibling", (failing_at, 3)).await?;
        let arguments = (starting_at, Goes::Nowhere, String::new());
        n.start::<Slow>("slow").with(arguments).await?;
        Ok(())
    });
    let (outcome, opened) = tokio::join!(scope, async {
        failing.arrived(1).await?;
        starting.arrived(1).await?;
        failing.open();
        TestResult::Ok(())
    });
    opened?;
    assert_eq!(shape::of(&outcome.expect_err("the sibling fails")), "sibling:refused-3");
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// The same, with the start in a task beside the body, as a program would start many.
#[runner::test]
async fn the_failure_of_a_sibling_cancels_every_start_beside_it(case: Case) -> TestResult {
    let (mut starting, mut failing) =
        (Gate::closed(&case, "starting")?, Gate::closed(&case, "failing")?);
    let (failing_at, starting_at) = (failing.path(), starting.path());
    let scope = runtime::nursery(async |n| {
        n.run_in_actor::<refuse_at>("sibling", (failing_at, 3)).await?;
        let start = || async {
            let arguments = (starting_at.clone(), Goes::Nowhere, String::new());
            n.start::<Slow>("slow").with(arguments).await
        };
        let (one, two, three) = tokio::join!(start(), start(), start());
        one.and(two).and(three).map(drop)
    });
    let (outcome, opened) = tokio::join!(scope, async {
        failing.arrived(1).await?;
        starting.arrived(3).await?;
        failing.open();
        TestResult::Ok(())
    });
    opened?;
    assert_eq!(shape::of(&outcome.expect_err("the sibling fails")), "sibling:refused-3");
    Ok(())
}

/// A cancel is no failure: who was starting is told, and the scope ends well.
#[runner::test]
async fn a_start_that_is_cancelled_says_so_and_nothing_else(case: Case) -> TestResult {
    let own = runtime::current()?.id().clone();
    let mut gate = Gate::closed(&case, "gate")?;
    runtime::nursery(async |n| {
        let arguments = (gate.path(), Goes::Nowhere, String::new());
        let start = async { n.start::<Slow>("slow").with(arguments).await.map(drop) };
        let (started, ()) = tokio::join!(start, async {
            gate.arrived(1).await.expect("the gate is there");
            n.cancel().await;
        });
        match started {
            Err(Error::Cancelled { canceller, .. }) => assert_eq!(canceller, own),
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// A start that fails by itself is told as that, also in a scope that is about to be cancelled.
#[runner::test]
async fn a_start_that_fails_is_no_cancel(case: Case) -> TestResult {
    let gate = Gate::closed(&case, "gate")?;
    let outcome = runtime::nursery(async |n| {
        let sibling = n.actor("sibling").expose::<pid>().await?;
        let arguments = (gate.path(), Goes::Wrong, String::new());
        let failed = n.start::<Slow>("slow").with(arguments).await.map(drop);
        sibling.call::<pid>(()).await?;
        n.cancel().await;
        failed
    })
    .await;
    match outcome {
        Err(Error::SpawnFailed(failure)) => {
            assert_eq!(failure.step, StartStep::Construct);
            let cause = failure.cause.and_then(|cause| cause.downcast());
            assert_eq!(cause, Some(Refused(5)));
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// A start in a child that fails there is the child's own error, whoever cancels it afterwards.
#[runtime::remote]
async fn start_a_wrong_one(gate: PathBuf) -> runtime::Result<()> {
    runtime::nursery(async |n| {
        let arguments = (gate, Goes::Wrong, String::new());
        n.start::<Slow>("slow").with(arguments).await?;
        Ok(())
    })
    .await
}

#[runner::test]
async fn a_start_that_fails_in_a_child_is_not_demoted_to_a_cancel(case: Case) -> TestResult {
    let gate = Gate::closed(&case, "gate")?;
    let mut told = None;
    let outcome = runtime::nursery(async |n| {
        let one = n.run_in_actor::<start_a_wrong_one>("middle", (gate.path(),)).await?;
        told = Some(one.result().await);
        n.cancel().await;
        Ok(())
    })
    .await;
    match told {
        Some(Err(CallError::Returned(Error::SpawnFailed(failure), remote))) => {
            assert_eq!((failure.actor.name.as_str(), failure.step), ("slow", StartStep::Construct));
            assert_eq!(remote.source_actor().name, "middle");
        }
        other => panic!("{other:?}"),
    }
    let Err(Error::Remote(remote)) = outcome else { panic!("{outcome:?}") };
    let failure = match remote.downcast::<Error>() {
        Some(Error::SpawnFailed(failure)) => failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(failure.cause.and_then(|cause| cause.downcast()), Some(Refused(5)));
    Ok(())
}

/// Fails behind a gate, without yielding before.
struct Stubborn;

#[runtime::actor]
impl Stubborn {
    async fn new(gate: PathBuf) -> Result<Stubborn, Refused> {
        drop(gate::pass_blocking(&gate));
        Err(Refused(6))
    }
}

/// A start that was dropped, and fails by itself before it hears of that: nobody else is left to be told but the nursery.
#[runner::test]
fn a_start_that_fails_when_nobody_awaits_it_is_the_nurserys_failure(case: Case) -> TestResult {
    // Nobody is to be forced while the gate is closed.
    let patient = Duration::from_secs(10);
    let mut config = root_config(&case)?;
    config.timings.ack = patient;
    config.timings.soft = patient;
    config.timings.abandon = patient;
    let outcome = runtime::block_on_root(config, async {
        let mut gate = Gate::closed(&case, "gate").map_err(Error::user)?;
        runtime::nursery(async |n| {
            let start = n.start::<Stubborn>("stubborn").with((gate.path(),)).into_future();
            let is_under_way = async {
                gate.arrived(1).await.map_err(Error::user)?;
                // Whoever starts them has heard of the first one's begin when the next one is ready.
                n.actor("sibling").await.map(drop)
            };
            tokio::select! {
                outcome = start => panic!("{:?}", outcome.map(drop)),
                outcome = is_under_way => outcome?,
            }
            gate.open();
            Ok(())
        })
        .await
    })?;
    match outcome {
        Err(Error::SpawnFailed(failure)) => {
            let cause = failure.cause.and_then(|cause| cause.downcast());
            assert_eq!(cause, Some(Refused(6)));
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}
