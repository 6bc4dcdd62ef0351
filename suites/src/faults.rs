//! Actors that die: whatever waited for one is told how, soon, and never that all is well.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{Shutdown, shutdown};
use runner::{Case, TestResult};
use runtime::{CallError, Context, Error, Exit, Nursery, Portal, Sender};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::actors::{crash, exit_with, kill_self, pid, stay, stick};
use crate::gate::{self, Gate};
use crate::process::{self, Process};
use crate::shape;

runner::marks! { timeout = "20s", needs("process") }

/// The runtime promises half a second; a loaded machine gets more.
const SOON: Duration = Duration::from_secs(5);

/// How an actor is made to die.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Death {
    Killed,
    Crashes,
    Exits(i32),
}

impl Death {
    fn exit(self) -> Exit {
        match self {
            Self::Killed => Exit::Signal(libc::SIGKILL),
            Self::Crashes => Exit::Signal(libc::SIGSEGV),
            Self::Exits(code) => Exit::Code(code),
        }
    }

    /// From outside, or by a call of the actor's own.
    async fn comes_to(self, actor: &Portal) -> TestResult {
        match self {
            Self::Killed => {
                let pid = actor.call::<pid>(()).await?;
                Process::open(pid)?.send(Signal::SIGKILL)?;
            }
            Self::Crashes => {
                let outcome = actor.call::<crash>(()).await;
                assert!(is_death(&outcome, self), "{outcome:?}");
            }
            Self::Exits(code) => {
                let outcome = actor.call::<exit_with>((code,)).await;
                assert!(is_death(&outcome, self), "{outcome:?}");
            }
        }
        Ok(())
    }
}

fn is_death<T, E>(outcome: &Result<T, CallError<E>>, death: Death) -> bool {
    match outcome {
        Err(CallError::Failed(Error::ActorDied { actor, exit, incarnation: 0 })) => {
            actor.name == "mortal" && *exit == death.exit()
        }
        Ok(_) | Err(CallError::Returned(..) | CallError::Failed(_)) => false,
    }
}

async fn mortal(n: &Nursery) -> runtime::Result<Portal> {
    let mortal = n.actor("mortal").expose::<pid>().expose::<stay>();
    mortal.expose::<crash>().expose::<exit_with>().await
}

/// Ten calls wait in an actor that dies.
async fn calls_in_flight(case: &Case, death: Death) -> TestResult {
    const COUNT: usize = 10;
    let mut gate = Gate::closed(case, "gate")?;
    let before = process::descendants(process::own_pid());
    let n = Nursery::open()?;
    let mortal = mortal(&n).await?;
    let mut calls = JoinSet::new();
    for _ in 0..COUNT {
        let (mortal, path) = (mortal.clone(), gate.path());
        calls.spawn_local(async move { mortal.call::<stay>((path,)).await });
    }
    gate.arrived(COUNT).await?;
    let started = Instant::now();
    death.comes_to(&mortal).await?;
    while let Some(call) = calls.join_next().await {
        let call = call?;
        assert!(is_death(&call, death), "{call:?}");
    }
    assert!(started.elapsed() < SOON, "took {:?}", started.elapsed());
    let late = mortal.call::<pid>(()).await;
    assert!(is_death(&late, death), "{late:?}");
    assert_eq!(mortal.wait_ended().await, Some(death.exit()));
    let error = n.join().await.expect_err("a daemon died");
    assert_eq!(shape::of(&error), format!("mortal†{}", death.exit()));
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
async fn calls_in_flight_at_a_sigkill_are_told(case: Case) -> TestResult {
    calls_in_flight(&case, Death::Killed).await
}

#[runner::test]
async fn calls_in_flight_at_a_sigsegv_are_told(case: Case) -> TestResult {
    calls_in_flight(&case, Death::Crashes).await
}

#[runner::test]
async fn calls_in_flight_at_an_exit_3_are_told(case: Case) -> TestResult {
    calls_in_flight(&case, Death::Exits(3)).await
}

/// Whoever exits without being asked to has died, also with a code that means success elsewhere.
#[runner::test]
async fn calls_in_flight_at_an_exit_0_are_told(case: Case) -> TestResult {
    calls_in_flight(&case, Death::Exits(0)).await
}

/// Nobody calls the actor that dies; the body waits for something else.
async fn idle(death: Death) -> TestResult {
    let mut started = Instant::now();
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        let mortal = mortal(n).await?;
        n.actor("sibling").await?;
        started = Instant::now();
        death.comes_to(&mortal).await.map_err(|error| Error::message(error.to_string()))?;
        std::future::pending().await
    })
    .await;
    assert!(started.elapsed() < SOON, "took {:?}", started.elapsed());
    let error = outcome.expect_err("a daemon died");
    assert_eq!(shape::of(&error), format!("mortal†{}", death.exit()));
    Ok(())
}

#[runner::test]
async fn the_death_of_an_idle_actor_by_sigkill_ends_its_nursery() -> TestResult {
    idle(Death::Killed).await
}

#[runner::test]
async fn the_death_of_an_idle_actor_by_sigsegv_ends_its_nursery() -> TestResult {
    idle(Death::Crashes).await
}

#[runner::test]
async fn the_death_of_an_idle_actor_by_exit_3_ends_its_nursery() -> TestResult {
    idle(Death::Exits(3)).await
}

#[runner::test]
async fn the_death_of_an_idle_actor_by_exit_0_ends_its_nursery() -> TestResult {
    idle(Death::Exits(0)).await
}

#[runtime::remote]
async fn die_at(gate: PathBuf, death: Death) -> runtime::Result<()> {
    gate::pass(&gate).await.map_err(Error::user)?;
    match death {
        Death::Killed => kill_self().await,
        Death::Crashes => crash().await,
        Death::Exits(code) => {
            exit_with(code).await;
            Ok(())
        }
    }
}

/// The nursery fails, whether or not the result is read.
async fn one_shot(case: &Case, death: Death) -> TestResult {
    for is_read in [true, false] {
        let mut gate = Gate::closed(case, &format!("gate-{is_read}"))?;
        let mut started = Instant::now();
        let outcome = runtime::nursery(async |n| {
            let one = n.run_in_actor::<die_at>("mortal", (gate.path(), death)).await?;
            gate.arrived(1).await.map_err(Error::user)?;
            started = Instant::now();
            gate.open();
            if is_read {
                let result = one.result().await;
                assert!(is_death(&result, death), "{result:?}");
            }
            Ok(())
        })
        .await;
        assert!(started.elapsed() < SOON, "took {:?}", started.elapsed());
        let error = outcome.expect_err("the one-shot died");
        assert_eq!(shape::of(&error), format!("mortal†{}", death.exit()));
    }
    Ok(())
}

#[runner::test]
async fn a_one_shot_that_is_killed_fails_its_nursery(case: Case) -> TestResult {
    one_shot(&case, Death::Killed).await
}

#[runner::test]
async fn a_one_shot_that_crashes_fails_its_nursery(case: Case) -> TestResult {
    one_shot(&case, Death::Crashes).await
}

#[runner::test]
async fn a_one_shot_that_exits_with_3_fails_its_nursery(case: Case) -> TestResult {
    one_shot(&case, Death::Exits(3)).await
}

#[runner::test]
async fn a_one_shot_that_exits_with_0_fails_its_nursery(case: Case) -> TestResult {
    one_shot(&case, Death::Exits(0)).await
}

/// Says that it is there, and waits.
#[runtime::context]
async fn linger(cx: Context<(), u32, u32>, gate: PathBuf) -> runtime::Result<()> {
    let _cx = cx.started(()).await?;
    gate::arrive(&gate).map_err(Error::user)?;
    std::future::pending().await
}

/// The same before it has started.
#[runtime::context]
async fn linger_before_the_start(cx: Context<()>, gate: PathBuf) -> runtime::Result<()> {
    let _cx = cx;
    gate::arrive(&gate).map_err(Error::user)?;
    std::future::pending().await
}

/// Sends a few items, and waits.
#[runtime::stream]
async fn trickle(out: Sender<u32>, gate: PathBuf) -> runtime::Result<()> {
    for item in 0..10 {
        out.send(item).await?;
    }
    gate::arrive(&gate).map_err(Error::user)?;
    std::future::pending().await
}

/// What of a context waits for the actor that dies.
#[derive(Clone, Copy, Debug)]
enum Waits {
    ForStarted,
    ForResult,
    ForItem,
    ForCredit,
    /// The body waits for something else: it is cut.
    InBody,
    OneWay,
}

async fn wait_in_a_context(
    mortal: &Portal,
    waits: Waits,
    gate: PathBuf,
) -> Result<(), CallError<Error>> {
    let linger = |gate| mortal.context::<linger>((gate,));
    match waits {
        Waits::ForStarted => {
            mortal.context::<linger_before_the_start>((gate,)).open(async |_| Ok(())).await
        }
        Waits::ForResult => linger(gate).open(async |cx| Ok(cx.result().await?)).await,
        Waits::ForItem => {
            let opened = linger(gate).open(async |cx| cx.open_stream()?.recv().await.map(drop));
            opened.await
        }
        Waits::ForCredit => {
            let opened = linger(gate).open(async |cx| {
                let stream = cx.open_stream()?;
                loop {
                    stream.send(1).await?;
                }
            });
            opened.await
        }
        Waits::InBody => linger(gate).open(async |_| std::future::pending().await).await,
        Waits::OneWay => {
            let mut items = mortal.stream::<trickle>((gate,)).await?;
            while items.recv().await?.is_some() {}
            Ok(())
        }
    }
}

/// However a context waits for an actor that dies, it is told how, soon; and so is the nursery.
async fn in_a_context(case: &Case, death: Death) -> TestResult {
    for waits in [
        Waits::ForStarted,
        Waits::ForResult,
        Waits::ForItem,
        Waits::ForCredit,
        Waits::InBody,
        Waits::OneWay,
    ] {
        let mut gate = Gate::closed(case, &format!("gate-{waits:?}"))?;
        let path = gate.path();
        let n = Nursery::open()?;
        let mortal = n.actor("mortal").expose::<pid>().expose::<crash>().expose::<exit_with>();
        let mortal = mortal.expose::<linger>().expose::<linger_before_the_start>();
        let mortal = mortal.expose::<trickle>().await?;
        let (outcome, died) = tokio::join!(wait_in_a_context(&mortal, waits, path), async {
            gate.arrived(1).await?;
            let started = Instant::now();
            death.comes_to(&mortal).await?;
            mortal.wait_ended().await;
            TestResult::Ok(started.elapsed())
        });
        assert!(is_death(&outcome, death), "{waits:?}: {outcome:?}");
        let took = died?;
        assert!(took < SOON, "{waits:?} took {took:?}");
        let error = n.join().await.expect_err("a daemon died");
        assert_eq!(shape::of(&error), format!("mortal†{}", death.exit()), "{waits:?}");
    }
    Ok(())
}

#[runner::test]
async fn a_context_with_who_is_killed_is_told(case: Case) -> TestResult {
    in_a_context(&case, Death::Killed).await
}

#[runner::test]
async fn a_context_with_who_crashes_is_told(case: Case) -> TestResult {
    in_a_context(&case, Death::Crashes).await
}

#[runner::test]
async fn a_context_with_who_exits_with_3_is_told(case: Case) -> TestResult {
    in_a_context(&case, Death::Exits(3)).await
}

#[runner::test]
async fn a_context_with_who_exits_with_0_is_told(case: Case) -> TestResult {
    in_a_context(&case, Death::Exits(0)).await
}

/// How the channel between the two ends of a stream breaks, in the midst of it.
#[derive(Clone, Copy, Debug)]
enum Break {
    /// Here, in the actor, or in both, for good.
    Here,
    There,
    Both,
    /// One direction only: what is sent here arrives no more, or what is sent there.
    Outgoing,
    Incoming,
}

/// The descriptor of the channel to an actor is the one that came with it: shut down, nothing goes
/// through any more, as when what is in between has broken.
fn shut_down_new(before: &BTreeMap<i32, String>, pid: i32, how: Shutdown) -> io::Result<usize> {
    let sockets = process::descriptors(pid)?;
    let new = sockets
        .into_iter()
        .filter(|(fd, target)| target.starts_with("socket:") && before.get(fd) != Some(target));
    let mut count = 0;
    for (fd, _) in new {
        if shutdown(fd, how).is_ok() {
            count += 1;
        }
    }
    Ok(count)
}

/// Breaks its own side of the channel to its parent: every stream socket it has.
#[runtime::remote]
async fn break_own_side() -> runtime::Result<usize> {
    shut_down_new(&BTreeMap::new(), process::own_pid(), Shutdown::Both).map_err(Error::user)
}

/// Sends back what it is sent.
#[runtime::context]
async fn echo(cx: Context<(), u32, u32>) -> runtime::Result<()> {
    let mut stream = cx.started(()).await?.open_stream()?;
    while let Some(item) = stream.recv().await? {
        stream.send(item).await?;
    }
    Ok(())
}

/// The stream is at item `at` when its channel breaks, with the stream closed just before or not.
async fn a_channel_breaks(how_it_breaks: Break, at: u32, is_closed_before: bool) -> TestResult {
    let subject = format!("{how_it_breaks:?} at {at}, closed before: {is_closed_before}");
    let below = process::descendants(process::own_pid());
    let started = Cell::new(Instant::now());
    let outcome = runtime::nursery(async |n| {
        let before = process::descriptors(process::own_pid()).map_err(Error::user)?;
        let actor = n.actor("mortal").expose::<echo>().expose::<break_own_side>().await?;
        let here = |how| {
            let own = process::own_pid();
            let count = shut_down_new(&before, own, how).map_err(Error::user)?;
            let is_there = count > 0 || matches!(how_it_breaks, Break::Both);
            assert!(is_there, "{subject}: no channel was found");
            Ok::<(), Error>(())
        };
        let opened = actor.context::<echo>(()).open(async |cx| {
            let mut stream = Some(cx.open_stream()?);
            for item in 0..at {
                let Some(stream) = &mut stream else { break };
                stream.send(item).await?;
                assert_eq!(stream.recv().await?, Some(item));
            }
            if is_closed_before {
                stream = None;
            }
            started.set(Instant::now());
            match how_it_breaks {
                Break::Here => here(Shutdown::Both)?,
                Break::Outgoing => here(Shutdown::Write)?,
                Break::Incoming => here(Shutdown::Read)?,
                Break::There => drop(actor.call::<break_own_side>(()).await),
                Break::Both => {
                    drop(actor.call::<break_own_side>(()).await);
                    here(Shutdown::Both)?;
                }
            }
            if let Some(stream) = &mut stream {
                for item in at.. {
                    stream.send(item).await?;
                    stream.recv().await?;
                }
            }
            Ok(())
        });
        opened.await?;
        // The channel is of no use any more: who needs it is told so.
        actor.call::<break_own_side>(()).await?;
        Ok(())
    })
    .await;
    let took = started.get().elapsed();
    assert!(took < SOON, "{subject}: took {took:?}");
    let error = outcome.expect_err("the channel broke");
    let is_loss = |leaf: &Error| match leaf {
        Error::ChannelLost { actor, .. }
        | Error::ActorDied { actor, .. }
        | Error::Forced { actor, .. } => actor.name == "mortal",
        _ => false,
    };
    let told = format!("{error:?}");
    assert!(error.into_leaves().iter().all(is_loss), "{subject}: {told}");
    assert_eq!(process::descendants(process::own_pid()), below, "{subject}");
    Ok(())
}

async fn a_channel_breaks_in_every_way(is_closed_before: bool) -> TestResult {
    for how in [Break::Here, Break::There, Break::Both, Break::Outgoing, Break::Incoming] {
        for at in [0, 50] {
            a_channel_breaks(how, at, is_closed_before).await?;
        }
    }
    Ok(())
}

#[runner::test]
async fn a_channel_that_breaks_in_a_stream_ends_the_actor() -> TestResult {
    a_channel_breaks_in_every_way(false).await
}

#[runner::test]
async fn a_channel_that_breaks_after_a_stream_ends_the_actor() -> TestResult {
    a_channel_breaks_in_every_way(true).await
}

/// An actor that does not see that its channel has broken is made to end.
#[runner::test]
async fn a_channel_that_breaks_ends_an_actor_that_is_stuck(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let below = process::descendants(process::own_pid());
    let n = Nursery::open()?;
    let before = process::descriptors(process::own_pid())?;
    let mortal = n.actor("mortal").expose::<stick>().await?;
    let (call, broken) = tokio::join!(mortal.call::<stick>((gate.path(),)), async {
        gate.arrived(1).await?;
        shut_down_new(&before, process::own_pid(), Shutdown::Both)
    });
    assert!(broken? > 0, "no channel was found");
    assert!(call.is_err());
    let error = n.join().await.expect_err("its channel broke");
    let is_told = |leaf: &Error| match leaf {
        Error::ChannelLost { actor, .. } | Error::Forced { actor, .. } => actor.name == "mortal",
        _ => false,
    };
    let told = format!("{error:?}");
    assert!(error.into_leaves().iter().all(is_told), "{told}");
    assert_eq!(process::descendants(process::own_pid()), below);
    Ok(())
}

/// What was never answered was not done: the actor dies in the midst of never yielding.
#[runner::test]
async fn a_stuck_actor_that_is_killed_is_told(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let n = Nursery::open()?;
    let mortal = n.actor("mortal").expose::<pid>().expose::<stick>().await?;
    let process = Process::open(mortal.call::<pid>(()).await?)?;
    let (call, killed) = tokio::join!(mortal.call::<stick>((gate.path(),)), async {
        gate.arrived(1).await?;
        let started = Instant::now();
        process.send(Signal::SIGKILL)?;
        io::Result::Ok(started)
    });
    assert!(is_death(&call, Death::Killed), "{call:?}");
    let took = killed?.elapsed();
    assert!(took < SOON, "took {took:?}");
    assert_eq!(shape::of(&n.join().await.expect_err("it died")), "mortal†signal 9 (SIGKILL)");
    Ok(())
}

/// By its call, and as a child.
#[runner::test]
async fn a_death_that_two_ways_report_is_one_death(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        let mortal = mortal(n).await?;
        let (call, killed) = tokio::join!(mortal.call::<stay>((gate.path(),)), async {
            gate.arrived(1).await?;
            Death::Killed.comes_to(&mortal).await
        });
        killed.map_err(|error| Error::message(error.to_string()))?;
        call?;
        Ok(())
    })
    .await;
    let error = outcome.expect_err("it died");
    assert_eq!(shape::of(&error), format!("mortal†{}", Death::Killed.exit()));
    Ok(())
}
