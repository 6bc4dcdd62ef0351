//! Reference programs, interfered with at every point where they wait.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use runner::{Case, TestResult};
use runtime::{
    CancelScope, ChildSpec, Context, Error, Nursery, Portal, Provide, Restarts, Sender, Strategy,
    Supervisor, maybe_open_context, publish,
};

use crate::actors::{Refused, pid, refuse};
use crate::attempt::root_config;
use crate::points::{
    Interference, MOST_POINTS, Point, Program, Running, at_every_point, count_points, cut, is_own,
    scope,
};
use crate::process;

runner::marks! { timeout = "120s" }

pub(crate) const PROGRAMS: [Program; 11] = [
    CALLS, NESTED, ONE_SHOTS, FAILING, SUPERVISED, CONTEXTS, STREAMS, SCOPES, PEERS, PUBSUB,
    RESOURCES,
];

/// Those in which an actor has to do with its parent and its children, and nobody shares anything.
const OF_A_FAMILY: Range<usize> = 0..8;

/// Those with somebody else in them, or something that several use.
const SHARED: Range<usize> = 8..PROGRAMS.len();

/// A daemon, a few calls of it side by side, its end.
const CALLS: Program = Program { name: "calls", body: calls };

fn calls(n: &Nursery) -> Running<'_> {
    Box::pin(async move {
        let daemon = n.actor("daemon").expose::<pid>().await?;
        let call = || daemon.call::<pid>(());
        let (one, two, three) = tokio::join!(call(), call(), call());
        assert_eq!((one?, two?), (daemon.call::<pid>(()).await?, three?));
        daemon.cancel().await
    })
}

/// Actors with actors of their own, two levels down, in nurseries inside each other.
const NESTED: Program = Program { name: "nested", body: nested };

fn nested(n: &Nursery) -> Running<'_> {
    Box::pin(async move {
        let outer = n.start::<Branch>("outer").await?;
        runtime::nursery(async |n| {
            let inner = n.start::<Branch>("inner").await?;
            outer.ask().await?;
            inner.ask().await?;
            inner.cancel().await
        })
        .await?;
        outer.ask().await?;
        outer.cancel().await
    })
}

/// Has one below it.
struct Branch {
    _nursery: Nursery,
    leaf: Portal,
}

#[runtime::actor]
impl Branch {
    async fn new() -> runtime::Result<Branch> {
        let nursery = Nursery::open()?;
        let leaf = nursery.actor("leaf").expose::<pid>().await?;
        Ok(Branch { _nursery: nursery, leaf })
    }

    async fn ask(&self) -> runtime::Result<u32> {
        Ok(self.leaf.call::<pid>(()).await?)
    }
}

/// Three functions, each in an actor of its own.
const ONE_SHOTS: Program = Program { name: "one-shots", body: one_shots };

fn one_shots(n: &Nursery) -> Running<'_> {
    Box::pin(async move {
        let (one, two) = tokio::join!(async { n.run_in_actor::<pid>("one", ()).await }, async {
            n.run_in_actor::<pid>("two", ()).await
        });
        let (one, two) = (one?, two?);
        two.result().await?;
        n.run_in_actor::<pid>("three", ()).await?.await?;
        one.result().await?;
        Ok(())
    })
}

/// One fails beside a daemon; that is what was expected, and then there is more to do.
const FAILING: Program = Program { name: "failing", body: failing };

fn failing(n: &Nursery) -> Running<'_> {
    Box::pin(async move {
        let outcome = runtime::nursery(async |n| {
            n.actor("daemon").await?;
            n.run_in_actor::<refuse>("one", (1,)).await?.await?;
            Ok(())
        })
        .await;
        match outcome {
            Err(Error::Remote(remote)) if remote.downcast() == Some(Refused(1)) => {}
            Err(other) => return Err(other),
            Ok(()) => return Err(Error::message("the failure was lost")),
        }
        n.run_in_actor::<pid>("after", ()).await?.await?;
        Ok(())
    })
}

/// Two children, one of which has a second life.
const SUPERVISED: Program = Program { name: "supervised", body: supervised };

fn supervised(n: &Nursery) -> Running<'_> {
    Box::pin(async move {
        let limit = Restarts { at_most: 10, within: Duration::from_secs(60) };
        let pool = Supervisor::new(Strategy::RestForOne)
            .limit(limit)
            .child(ChildSpec::of::<Branch>("first", |_| ()))
            .child(ChildSpec::of::<Branch>("second", |_| ()));
        let pool = n.supervise(pool).await?;
        let (first, second) = (pool.portal::<Branch>("first")?, pool.portal::<Branch>("second")?);
        first.ask().await?;
        second.cancel().await?;
        second.ask().await?;
        first.ask().await?;
        pool.shutdown().await;
        Ok(())
    })
}

/// Contexts one after the other, side by side, and cancelled.
const CONTEXTS: Program = Program { name: "contexts", body: contexts };

fn contexts(n: &Nursery) -> Running<'_> {
    Box::pin(async move {
        let actor = n.actor("actor").expose::<double>().await?;
        let double = async |number| {
            let opened = actor.context::<double>((number,)).open(async |cx| {
                assert_eq!(*cx.first(), number);
                Ok(cx.result().await?)
            });
            opened.await
        };
        assert_eq!(double(1).await?, 2);
        let (one, two) = tokio::join!(double(2), double(3));
        assert_eq!((one?, two?), (4, 6));
        let cancelled = actor.context::<double>((4,)).open(async |cx| {
            cx.cancel().await;
            Ok(())
        });
        cancelled.await?;
        actor.cancel().await
    })
}

#[runtime::context]
async fn double(cx: Context<u32>, number: u32) -> runtime::Result<u32> {
    cx.started(number).await?;
    tokio::task::yield_now().await;
    Ok(2 * number)
}

/// Items both ways, more than wait at a time, and a stream in one direction that is dropped.
const STREAMS: Program = Program { name: "streams", body: streams };

fn streams(n: &Nursery) -> Running<'_> {
    Box::pin(async move {
        let actor = n.actor("actor").expose::<echo>().expose::<count>().await?;
        let opened = actor.context::<echo>(()).capacity(4).open(async |cx| {
            let (sender, mut receiver) = cx.open_stream()?.split();
            let send = async move {
                for number in 0..30 {
                    sender.send(number).await?;
                }
                Ok::<_, Error>(sender)
            };
            let receive = async move {
                for number in 0..30 {
                    assert_eq!(receiver.recv().await?, Some(number));
                }
                Ok::<_, Error>(receiver)
            };
            drop(tokio::try_join!(send, receive)?);
            Ok(cx.result().await?)
        });
        opened.await?;
        let mut numbers = actor.stream::<count>(()).capacity(2).await?;
        for number in 0..10 {
            assert_eq!(numbers.recv().await?, Some(number));
        }
        drop(numbers);
        actor.cancel().await
    })
}

#[runtime::context]
async fn echo(cx: Context<(), u32, u32>) -> runtime::Result<()> {
    let mut stream = cx.started(()).await?.open_stream()?;
    while let Some(number) = stream.recv().await? {
        stream.send(number).await?;
    }
    Ok(())
}

#[runtime::stream]
async fn count(out: Sender<u32>) -> runtime::Result<()> {
    for number in 0.. {
        out.send(number).await?;
    }
    Ok(())
}

/// A body that is cut, in a scope of its own, and a last word that is not.
const SCOPES: Program = Program { name: "scopes", body: scopes };

fn scopes(n: &Nursery) -> Running<'_> {
    Box::pin(async move {
        let actor = n.actor("actor").expose::<pid>().await?;
        let scope = CancelScope::new();
        let cut = scope.run(runtime::nursery(async |n| -> runtime::Result<()> {
            n.start::<Branch>("branch").await?;
            scope.cancel();
            std::future::pending().await
        }));
        // What fails before the cut is no cut.
        if let Some(outcome) = cut.await? {
            outcome?;
        }
        let last = actor.clone();
        let last_word = async move { last.call::<pid>(()).await };
        runtime::shield(Duration::from_secs(5), last_word).await??;
        actor.cancel().await
    })
}

/// Actors that are introduced to each other: one is called, and has a context, by who was handed its
/// portal; and by a third, to whom that one handed it on.
const PEERS: Program = Program { name: "peers", body: peers };

fn peers(n: &Nursery) -> Running<'_> {
    Box::pin(async move {
        let desk = n.actor("desk").expose::<pid>().expose::<double>().await?;
        let clerk = n.actor("clerk").expose::<ask>().await?;
        let porter = n.actor("porter").expose::<hand_on>().await?;
        assert_eq!(clerk.call::<ask>((desk.clone(), 1)).await?, 2);
        let (one, other) = tokio::join!(
            clerk.call::<ask>((desk.clone(), 2)),
            porter.call::<hand_on>((desk.clone(), clerk.clone(), 3))
        );
        assert_eq!((one?, other?), (4, 6));
        for number in 4..7 {
            let doubled = porter.call::<hand_on>((desk.clone(), clerk.clone(), number)).await?;
            assert_eq!(doubled, 2 * number);
        }
        desk.cancel().await?;
        clerk.cancel().await?;
        porter.cancel().await
    })
}

#[runtime::remote]
async fn ask(desk: Portal, number: u32) -> runtime::Result<u32> {
    desk.call::<pid>(()).await?;
    let opened = desk.context::<double>((number,)).open(async |cx| Ok(cx.result().await?));
    Ok(opened.await?)
}

#[runtime::remote]
async fn hand_on(desk: Portal, to: Portal, number: u32) -> runtime::Result<u32> {
    Ok(to.call::<ask>((desk, number)).await?)
}

/// Two subscribers of one producer, one of whom leaves before the other.
const PUBSUB: Program = Program { name: "pubsub", body: pubsub };

fn pubsub(n: &Nursery) -> Running<'_> {
    Box::pin(async move {
        let publisher = n.actor("publisher").expose::<parity>().await?;
        let subscribe = async |topics: &[&str]| {
            let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
            publisher.stream::<parity>((topics,)).capacity(2).await
        };
        let mut even = subscribe(&["even"]).await?;
        let mut all = subscribe(&["even", "odd"]).await?;
        for _ in 0..3 {
            let (one, other) = tokio::join!(even.recv(), all.recv());
            assert!(one?.is_some_and(|(topic, number)| topic == "even" && number % 2 == 0));
            assert!(other?.is_some());
        }
        drop(even);
        for _ in 0..20 {
            assert!(all.recv().await?.is_some());
        }
        drop(all);
        publisher.cancel().await
    })
}

#[runtime::stream]
async fn parity(out: Sender<(String, u32)>, topics: Vec<String>) -> runtime::Result<()> {
    let count = async |publisher: runtime::Publisher<u32>| {
        for number in 0.. {
            let topic = if number % 2 == 0 { "even" } else { "odd" };
            publisher.publish(topic, number).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    publish("parity", topics, out, count).await
}

/// A context that two tasks share, and another of its key after it.
const RESOURCES: Program = Program { name: "resources", body: resources };

fn resources(n: &Nursery) -> Running<'_> {
    Box::pin(async move {
        let actor = n.actor("actor").expose::<double>().await?;
        let use_it = async || {
            let actor = actor.clone();
            let open = async move |provide: Provide<u32>| {
                let opened = actor.context::<double>((5,)).open(async |cx| {
                    provide.until_unused(*cx.first()).await;
                    Ok(cx.result().await?)
                });
                assert_eq!(opened.await?, 10);
                Ok(())
            };
            let body = async |lease: runtime::Lease<u32>| {
                tokio::task::yield_now().await;
                assert_eq!(*lease, 5);
                Ok(lease.generation())
            };
            maybe_open_context("number", open, body).await
        };
        let (one, other) = tokio::join!(use_it(), use_it());
        let first = one?;
        assert_eq!(first, other?);
        assert_ne!(use_it().await?, first);
        actor.cancel().await
    })
}

fn each_of(programs: Range<usize>, case: &Case, interference: Interference) -> TestResult {
    for program in &PROGRAMS[programs] {
        at_every_point(case, *program, interference)?;
    }
    Ok(())
}

#[runner::test]
fn a_program_is_dropped(case: Case) -> TestResult {
    each_of(OF_A_FAMILY, &case, Interference::Drop)
}

#[runner::test]
fn a_program_is_cancelled(case: Case) -> TestResult {
    each_of(OF_A_FAMILY, &case, Interference::Cancel)
}

#[runner::test]
#[needs("process")]
fn an_actor_of_a_program_is_killed(case: Case) -> TestResult {
    each_of(OF_A_FAMILY, &case, Interference::Kill)
}

#[runner::test]
fn a_program_that_shares_is_dropped(case: Case) -> TestResult {
    each_of(SHARED, &case, Interference::Drop)
}

#[runner::test]
fn a_program_that_shares_is_cancelled(case: Case) -> TestResult {
    each_of(SHARED, &case, Interference::Cancel)
}

#[runner::test]
#[needs("process")]
fn an_actor_of_a_program_that_shares_is_killed(case: Case) -> TestResult {
    each_of(SHARED, &case, Interference::Kill)
}

/// Runs a program of [`PROGRAMS`] in this actor, and says whether its point was met.
#[runtime::remote]
async fn cut_here(program: usize, point: u64) -> runtime::Result<bool> {
    match cut(scope(PROGRAMS[program]), Point::exactly(point)).await {
        Some(outcome) => outcome.map(|()| false),
        None => Ok(true),
    }
}

/// An actor outlives what it drops: the teardowns of many are under way in it at a time. What had
/// failed in a nursery that was then dropped is the actor's failure; the teardowns add none.
#[runner::test]
async fn programs_are_dropped_in_an_actor_that_goes_on() -> TestResult {
    drop_in_one_actor(OF_A_FAMILY).await
}

#[runner::test]
async fn programs_that_share_are_dropped_in_an_actor_that_goes_on() -> TestResult {
    drop_in_one_actor(SHARED).await
}

async fn drop_in_one_actor(programs: Range<usize>) -> TestResult {
    let before = process::descendants(process::own_pid());
    let outcome = runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<cut_here>().await?;
        for index in programs {
            let name = PROGRAMS[index].name;
            let mut point = 1;
            while actor.call::<cut_here>((index, point)).await? {
                point += 1;
                assert!(point < MOST_POINTS);
            }
            println!("{name}, dropped in an actor: {} points", point - 1);
            assert!(point > 1, "{name} never waits");
        }
        actor.cancel().await?;
        assert_eq!(actor.teardown().map(|teardown| teardown.is_forced()), Some(false));
        Ok(())
    })
    .await;
    let failures = outcome.err().map(Error::into_leaves).unwrap_or_default();
    assert!(failures.iter().all(is_own), "{failures:?}");
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// An engine that met the same few points in each would not have looked at the programs.
#[runner::test]
fn the_count_of_points_is_the_programs_own(case: Case) -> TestResult {
    let config = root_config(&case)?;
    let counts = PROGRAMS.map(|program| count_points(&config, program));
    let counts = counts.into_iter().collect::<TestResult<Vec<u64>>>()?;
    println!("{:?}: {counts:?}", PROGRAMS.map(|program| program.name));
    assert!(!counts.contains(&0), "{counts:?}");
    assert!(BTreeSet::from_iter(&counts).len() > 1, "{counts:?}");
    Ok(())
}
