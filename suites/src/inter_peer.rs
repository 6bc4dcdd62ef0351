//! Actors that were introduced to each other: what a child can be asked, any actor can; who cancels
//! whom is told to everybody whom it concerns, and to nobody else.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use runner::{Case, TestResult};
use runtime::{CallError, Context, Error, Exit, Nursery, Portal, Sender, current};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::actors::{Refused, pid, stay};
use crate::gate::Gate;
use crate::process::{self, Process};
use crate::shape;

runner::marks! { timeout = "20s" }

/// The runtime promises half a second; a loaded machine gets more.
const SOON: Duration = Duration::from_secs(5);

#[runtime::remote]
async fn own_name() -> runtime::Result<String> {
    Ok(current()?.name().to_owned())
}

/// Asks another for its name.
#[runtime::remote]
async fn ask_name(other: Portal) -> runtime::Result<String> {
    Ok(other.call::<own_name>(()).await?)
}

/// This actor, for whoever asks.
#[runtime::remote]
async fn introduce() -> runtime::Result<Portal> {
    current()?.portal()
}

async fn named(n: &Nursery, name: &str) -> runtime::Result<Portal> {
    let actor = n.actor(name).expose::<own_name>().expose::<ask_name>().expose::<introduce>();
    actor.expose::<pid>().expose::<stay>().expose::<tick>().expose::<hold_on_to>().await
}

/// Starts, and sends for as long as somebody reads.
#[runtime::context]
async fn tick(cx: Context<String, u32, u32>) -> runtime::Result<()> {
    let stream = cx.started(current()?.name().to_owned()).await?.open_stream()?;
    for number in 0.. {
        stream.send(number).await?;
    }
    Ok(())
}

/// What is not one's own child can be asked to end, a parent not even that.
#[runtime::remote]
async fn end_the_parent() -> runtime::Result<()> {
    let parent = current()?.parent_portal().ok_or(Error::message("no parent"))?;
    for outcome in [parent.cancel().await, parent.kill().await] {
        if !matches!(outcome, Err(Error::NotExposed { .. })) {
            return Err(Error::message(format!("{outcome:?}")));
        }
    }
    Ok(())
}

#[runner::test]
async fn a_parent_is_not_ended_by_its_child() -> TestResult {
    runtime::nursery(async |n| {
        n.run_in_actor::<end_the_parent>("child", ()).await?.await?;
        Ok(())
    })
    .await?;
    Ok(())
}

/// Nor is a root by anybody who was introduced to it.
#[runner::test]
async fn a_root_is_not_ended_by_whom_it_is_introduced_to() -> TestResult {
    #[runtime::remote]
    async fn end_it(root: Portal) -> runtime::Result<()> {
        match root.cancel().await {
            Err(Error::NotExposed { .. }) => Ok(()),
            other => Err(Error::message(format!("{other:?}"))),
        }
    }
    #[runtime::remote]
    async fn have_it_ended(root: Portal) -> runtime::Result<()> {
        runtime::nursery(async |n| {
            n.run_in_actor::<end_it>("grandchild", (root,)).await?.await?;
            Ok(())
        })
        .await
    }
    let own = current()?.portal()?;
    runtime::nursery(async |n| {
        n.run_in_actor::<have_it_ended>("child", (own,)).await?.await?;
        Ok(())
    })
    .await?;
    Ok(())
}

/// What came of a context with another actor, as whoever had it tells a third.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Outcome {
    /// The subject, and the canceller.
    Cancelled(String, String),
    Died(Exit),
    Other(String),
}

impl Outcome {
    fn of<T>(outcome: Result<T, CallError<Error>>) -> Self {
        match outcome.map_err(Error::from) {
            Err(Error::Cancelled { subject, canceller }) => {
                Self::Cancelled(subject.name, canceller.name)
            }
            Err(Error::ActorDied { exit, .. }) => Self::Died(exit),
            Err(error) => Self::Other(shape::of(&error)),
            Ok(_) => Self::Other("it went well".to_owned()),
        }
    }
}

/// Has a context with another actor, until that ends; starts when it has.
#[runtime::context]
async fn hold_on_to(cx: Context<String>, other: Portal) -> runtime::Result<Outcome> {
    let cx = Cell::new(Some(cx));
    let opened = other.context::<tick>(()).open(async |held| {
        if let Some(cx) = cx.take() {
            cx.started(held.first().clone()).await?;
        }
        let mut stream = held.open_stream()?;
        while stream.recv().await?.is_some() {}
        Ok(())
    });
    Ok(Outcome::of(opened.await))
}

#[runner::test]
async fn siblings_that_were_introduced_talk() -> TestResult {
    runtime::nursery(async |n| {
        let (one, other) = (named(n, "one").await?, named(n, "other").await?);
        assert_eq!(one.call::<ask_name>((other.clone(),)).await?, "other");
        assert_eq!(other.call::<ask_name>((one.clone(),)).await?, "one");
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// The one that is asked need not know that it is the one who asks.
#[runner::test]
async fn an_actor_that_is_introduced_to_itself_answers() -> TestResult {
    runtime::nursery(async |n| {
        let one = named(n, "one").await?;
        assert_eq!(one.call::<ask_name>((one.clone(),)).await?, "one");
        one.cancel().await
    })
    .await?;
    Ok(())
}

#[runtime::remote]
async fn open_a_context_with_oneself() -> runtime::Result<()> {
    let own = current()?.portal()?;
    own.context::<tick>(()).open(async |_| Ok(())).await?;
    Ok(())
}

#[runner::test]
async fn a_context_with_oneself_is_refused() -> TestResult {
    let refused = open_a_context_with_oneself().await;
    assert!(matches!(refused, Err(Error::Misuse(_))), "{refused:?}");
    runtime::nursery(async |n| {
        let one = n.actor("one").expose::<open_a_context_with_oneself>().expose::<tick>().await?;
        match one.call::<open_a_context_with_oneself>(()).await {
            Err(CallError::Returned(Error::Misuse(_), _)) => {}
            other => panic!("{other:?}"),
        }
        one.cancel().await
    })
    .await?;
    Ok(())
}

/// A portal that comes as a result is that actor, and no copy of it.
#[runner::test]
async fn a_portal_is_the_same_actor_wherever_it_came_by() -> TestResult {
    runtime::nursery(async |n| {
        let one = named(n, "one").await?;
        let again = one.call::<introduce>(()).await?;
        assert_eq!(again.id(), one.id());
        assert_eq!(again.call::<own_name>(()).await?, "one");
        one.cancel().await?;
        assert!(again.call::<own_name>(()).await.is_err());
        Ok(())
    })
    .await?;
    Ok(())
}

/// Knows some others, and asks them all.
struct Gossip {
    others: Vec<Portal>,
}

#[runtime::actor]
impl Gossip {
    fn new(others: Vec<Portal>) -> Gossip {
        Gossip { others }
    }

    async fn know(&mut self, other: Portal) {
        self.others.push(other);
    }

    async fn names(&self) -> runtime::Result<Vec<String>> {
        let mut names = Vec::new();
        for other in &self.others {
            names.push(other.call::<own_name>(()).await?);
        }
        Ok(names)
    }

    /// Sends whom it knows.
    #[runtime::stream]
    async fn everybody(&self, out: Sender<Portal>) -> runtime::Result<()> {
        for other in self.others.clone() {
            out.send(other).await?;
        }
        Ok(())
    }
}

#[runner::test]
async fn portals_go_to_constructors_and_come_in_streams() -> TestResult {
    runtime::nursery(async |n| {
        let (one, other) = (named(n, "one").await?, named(n, "other").await?);
        let gossip = n.start::<Gossip>("gossip").with((vec![one.clone()],)).await?;
        gossip.know(other.clone()).await?;
        gossip.know(one.clone()).await?;
        assert_eq!(gossip.names().await?, ["one", "other", "one"]);
        let mut everybody = gossip.everybody().await?;
        let mut came = Vec::new();
        while let Some(portal) = everybody.recv().await? {
            assert_eq!(portal.call::<own_name>(()).await?, portal.name());
            came.push(portal.id().clone());
        }
        assert_eq!(came, [one.id().clone(), other.id().clone(), one.id().clone()]);
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// Cousins, three levels apart: nobody between them is asked.
#[runner::test]
async fn actors_of_different_branches_talk() -> TestResult {
    #[runtime::remote]
    async fn ask_through_a_child(other: Portal) -> runtime::Result<String> {
        runtime::nursery(async |n| {
            Ok(n.run_in_actor::<ask_name>("grandchild", (other,)).await?.await?)
        })
        .await
    }
    runtime::nursery(async |n| {
        let other = named(n, "other").await?;
        let one = n.actor("one").expose::<ask_through_a_child>().await?;
        assert_eq!(one.call::<ask_through_a_child>((other.clone(),)).await?, "other");
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// What a peer is not served by its parent's word, it is not served.
#[runner::test]
async fn a_peer_is_served_what_was_exposed() -> TestResult {
    #[runtime::remote]
    async fn ask_pid(other: Portal) -> runtime::Result<u32> {
        Ok(other.call::<pid>(()).await?)
    }
    runtime::nursery(async |n| {
        let closed = n.actor("closed").expose::<own_name>().await?;
        let one = n.actor("one").expose::<ask_pid>().await?;
        match one.call::<ask_pid>((closed.clone(),)).await {
            Err(CallError::Returned(Error::NotExposed { actor, .. }, _)) => {
                assert_eq!(&actor, closed.id());
            }
            other => panic!("{other:?}"),
        }
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// Cancels another actor, and says what came of it.
#[runtime::remote]
async fn cancel_it(other: Portal) -> runtime::Result<()> {
    other.cancel().await
}

/// One sibling cancels another. All who had a context with that one are told which sibling it was;
/// who had one with somebody else is not told of anything.
#[runner::test]
async fn everybody_is_told_which_sibling_cancelled_the_peer() -> TestResult {
    runtime::nursery(async |n| {
        let (peer, bystander) = (named(n, "peer").await?, named(n, "bystander").await?);
        let (one, two) = (named(n, "one").await?, named(n, "two").await?);
        let canceller = n.actor("canceller").expose::<cancel_it>().await?;
        let of_bystander = bystander.context::<tick>(()).open(async |untouched| {
            let opened = peer.context::<tick>(()).open(async |own| {
                let held_by_one = one.context::<hold_on_to>((peer.clone(),)).open(async |first| {
                    assert_eq!(first.first(), "peer");
                    let held_by_two =
                        two.context::<hold_on_to>((peer.clone(),)).open(async |second| {
                            canceller.call::<cancel_it>((peer.clone(),)).await?;
                            let told = Outcome::Cancelled("peer".into(), "canceller".into());
                            assert_eq!(second.result().await?, told);
                            Ok(())
                        });
                    held_by_two.await?;
                    let told = Outcome::Cancelled("peer".into(), "canceller".into());
                    assert_eq!(first.result().await?, told);
                    Ok(())
                });
                held_by_one.await?;
                Ok(own.result().await?)
            });
            assert_eq!(
                Outcome::of(opened.await),
                Outcome::Cancelled("peer".into(), "canceller".into())
            );
            // The others go on as if nothing had been.
            assert_eq!(untouched.canceller(), None);
            let mut stream = untouched.open_stream()?;
            for expected in 0..200 {
                assert_eq!(stream.recv().await?, Some(expected));
            }
            untouched.cancel().await;
            Ok(())
        });
        of_bystander.await?;
        assert_eq!(one.call::<ask_name>((two.clone(),)).await?, "two");
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// While it is being told of the cancel something goes wrong here: that is what comes out.
/// A call, too: that it was a cancel, and whose, and no death.
#[runner::test]
async fn a_call_to_a_peer_that_is_cancelled_says_by_whom(case: Case) -> TestResult {
    #[runtime::remote]
    async fn wait_in(other: Portal, gate: PathBuf) -> runtime::Result<Outcome> {
        Ok(Outcome::of(other.call::<stay>((gate,)).await))
    }
    let mut gate = Gate::closed(&case, "gate")?;
    runtime::nursery(async |n| {
        let peer = named(n, "peer").await?;
        let waiting = n.actor("waiting").expose::<wait_in>().await?;
        let call = waiting.call::<wait_in>((peer.clone(), gate.path()));
        let (outcome, ended) = tokio::join!(call, async {
            gate.arrived(1).await.map_err(Error::user)?;
            peer.cancel().await
        });
        ended?;
        assert_eq!(outcome?, Outcome::Cancelled("peer".to_owned(), "root".to_owned()));
        waiting.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn an_error_while_a_peer_is_being_cancelled_wins() -> TestResult {
    runtime::nursery(async |n| {
        let peer = named(n, "peer").await?;
        let canceller = n.actor("canceller").expose::<cancel_it>().await?;
        let is_reading = Notify::new();
        // It is cut where it next waits; it does not wait any more.
        let opened = peer.context::<tick>(()).open(async |cx| {
            let mut stream = cx.open_stream()?;
            loop {
                match stream.recv().await {
                    Ok(Some(_)) => is_reading.notify_one(),
                    Ok(None) => panic!("a cancel is no end"),
                    Err(Error::Cancelled { .. }) => return Err::<(), _>(Error::user(Refused(8))),
                    Err(other) => panic!("{other:?}"),
                }
            }
        });
        let (outcome, cancelled) = tokio::join!(opened, async {
            is_reading.notified().await;
            canceller.call::<cancel_it>((peer.clone(),)).await
        });
        cancelled?;
        let error = Error::from(outcome.expect_err("the body fails"));
        assert_eq!(shape::of(&error), "refused-8");
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// A context inside a context, both about to start: the error of the body in between is not
/// replaced by the cancel that it causes further in.
#[runner::test]
async fn an_error_before_the_start_is_not_swallowed_by_the_cancel_it_causes() -> TestResult {
    /// Opens a context with another, and fails before it has started itself.
    #[runtime::context]
    async fn fail_in_between(cx: Context<()>, other: Portal) -> Result<(), Refused> {
        let outcome: Result<(), _> = other
            .context::<tick>(())
            .open(async |held| {
                let mut stream = held.open_stream()?;
                stream.recv().await?;
                held.cancel().await;
                Err(Error::user(Refused(4)))
            })
            .await;
        drop(cx);
        match outcome.map_err(Error::from) {
            Err(Error::User(user)) => {
                Err(user.downcast_ref::<Refused>().cloned().unwrap_or(Refused(100)))
            }
            Err(_) | Ok(()) => Err(Refused(101)),
        }
    }
    runtime::nursery(async |n| {
        let other = named(n, "other").await?;
        let middle = n.actor("middle").expose::<fail_in_between>().await?;
        let opening = middle.context::<fail_in_between>((other.clone(),));
        let outcome = opening.open(async |_| -> runtime::Result<()> { panic!("it started") }).await;
        assert_eq!(outcome.err().and_then(CallError::returned), Some(Refused(4)));
        assert_eq!(other.call::<own_name>(()).await?, "other");
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// The end of an actor is its own parent's business too: no failure, and no force.
#[runner::test]
async fn a_peer_that_is_cancelled_by_a_sibling_is_no_failure_of_its_nursery() -> TestResult {
    let before = process::descendants(process::own_pid());
    runtime::nursery(async |n| {
        let peer = named(n, "peer").await?;
        let canceller = n.actor("canceller").expose::<cancel_it>().await?;
        canceller.call::<cancel_it>((peer.clone(),)).await?;
        peer.wait_ended().await;
        assert_eq!(peer.teardown().map(|teardown| teardown.is_forced()), Some(false));
        canceller.cancel().await
    })
    .await?;
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// What is pending at a peer that dies ends soon, with a death.
#[runner::test]
#[needs("process")]
async fn who_waits_for_a_peer_that_dies_is_told(case: Case) -> TestResult {
    #[runtime::remote]
    async fn wait_for_it(other: Portal, gate: PathBuf) -> runtime::Result<Outcome> {
        Ok(Outcome::of(other.call::<stay>((gate,)).await))
    }
    let mut gate = Gate::closed(&case, "gate")?;
    // In a nursery of its own: its death cancels nobody who waits for it.
    let (n, of_doomed) = (Nursery::open()?, Nursery::open()?);
    let doomed = named(&of_doomed, "doomed").await?;
    let process = Process::open(doomed.call::<pid>(()).await?)?;
    let one = named(&n, "one").await?;
    let waiting = n.actor("waiting").expose::<wait_for_it>().await?;
    let path = gate.path();
    let held = one.context::<hold_on_to>((doomed.clone(),)).open(async |held| {
        let (call, killed) =
            tokio::join!(waiting.call::<wait_for_it>((doomed.clone(), path)), async {
                gate.arrived(1).await?;
                let started = Instant::now();
                process.send(Signal::SIGKILL)?;
                std::io::Result::Ok(started)
            });
        let started = killed.map_err(Error::user)?;
        assert!(matches!(call?, Outcome::Died(_)));
        let outcome = held.result().await?;
        assert!(matches!(outcome, Outcome::Died(_)), "{outcome:?}");
        Ok(started.elapsed())
    });
    let took = held.await?;
    assert!(took < SOON, "took {took:?}");
    let error = of_doomed.join().await.expect_err("a daemon died");
    assert_eq!(shape::of(&error), "doomed†signal 9 (SIGKILL)");
    n.shutdown().await?;
    Ok(())
}

/// A caller that goes away takes its calls along, and nothing else: who was called serves on.
#[runner::test]
#[needs("process")]
async fn a_peer_whose_caller_dies_serves_on(case: Case) -> TestResult {
    #[runtime::remote]
    async fn call_and_die(other: Portal, gate: PathBuf) -> runtime::Result<()> {
        tokio::task::spawn_local(async move { other.call::<stay>((gate,)).await });
        std::future::pending().await
    }
    let mut gate = Gate::closed(&case, "gate")?;
    let n = Nursery::open()?;
    let server = named(&n, "server").await?;
    for _ in 0..3 {
        let inner = Nursery::open()?;
        let caller = inner.actor("caller").expose::<pid>().expose::<call_and_die>().await?;
        let process = Process::open(caller.call::<pid>(()).await?)?;
        let call = caller.call::<call_and_die>((server.clone(), gate.path()));
        let (call, killed) = tokio::join!(call, async {
            gate.arrived(1).await?;
            process.send(Signal::SIGKILL)
        });
        killed?;
        assert!(matches!(call, Err(CallError::Failed(Error::ActorDied { .. }))), "{call:?}");
        assert_eq!(
            shape::of(&inner.join().await.expect_err("it died")),
            "caller†signal 9 (SIGKILL)"
        );
        assert_eq!(server.call::<own_name>(()).await?, "server");
    }
    server.cancel().await?;
    n.join().await?;
    Ok(())
}

/// One channel for each pair, however often they are introduced to each other.
#[runner::test]
#[needs("process")]
async fn a_pair_of_actors_has_one_channel() -> TestResult {
    runtime::nursery(async |n| {
        let (one, other) = (named(n, "one").await?, named(n, "other").await?);
        let pid = one.call::<pid>(()).await?.cast_signed();
        let sockets = || {
            let descriptors = process::descriptors(pid).unwrap_or_default();
            descriptors.values().filter(|target| target.starts_with("socket:")).count()
        };
        one.call::<ask_name>((other.clone(),)).await?;
        let first = sockets();
        for _ in 0..20 {
            one.call::<ask_name>((other.clone(),)).await?;
            other.call::<ask_name>((one.clone(),)).await?;
        }
        assert!(process::comes_true(|| sockets() <= first), "{} of {first}", sockets());
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// Everybody knows everybody, and asks at once.
#[runner::test]
async fn many_that_know_each_other_all_talk_at_once() -> TestResult {
    const COUNT: usize = 8;
    runtime::nursery(async |n| {
        let mut all = Vec::new();
        for number in 0..COUNT {
            all.push(named(n, &format!("peer-{number}")).await?);
        }
        let mut calls = JoinSet::new();
        for one in &all {
            for other in &all {
                let (one, other) = (one.clone(), other.clone());
                calls.spawn_local(async move {
                    let name = one.call::<ask_name>((other.clone(),)).await?;
                    assert_eq!(name, other.name());
                    Ok::<(), Error>(())
                });
            }
        }
        while let Some(call) = calls.join_next().await {
            call.map_err(Error::user)??;
        }
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}
