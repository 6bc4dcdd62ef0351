//! Portals that go from actor to actor: calls, deaths and cancels between actors that are neither parent nor child.

use std::cell::Cell;
use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use runtime::{Backend, CallError, Error, Exit, Nursery, Portal, Rung, Timings, current, nursery};
use tokio::sync::{Notify, Semaphore};

use crate::gate::{self, Gate};
use crate::{Need, PATIENT};

crate::cases![
    Some(Need::Process) => [
        a_peer_that_is_killed_ends_what_waits_for_it,
        a_sibling_holds_no_end_of_others_channels,
        threads_and_processes_are_peers_alike,
    ],
    None, SHORT_ACK => [a_peer_that_is_stuck_does_not_answer],
    None => [
        the_peers_of_a_thread_that_is_given_up_are_told,
        who_is_introduced_to_one_that_was_told_to_end_is_told_so,
        a_portal_goes_as_an_argument,
        a_handle_goes_as_a_result,
        many_portals_go_in_one_value,
        an_actor_gives_its_own_portal_away,
        a_root_is_called_from_two_levels_down,
        a_portal_that_comes_home_is_used_at_home,
        two_peers_call_each_other_at_once,
        a_call_to_a_peer_is_cancelled_when_dropped,
        a_thousand_calls_to_a_peer_get_each_its_own_answer,
        what_a_peer_does_not_expose_is_refused,
        there_is_one_channel_for_a_pair_however_often_a_portal_is_sent,
        a_cancel_by_a_third_party_names_it_to_everybody,
        a_cancel_of_one_leaves_the_channels_of_others_alone,
        a_root_is_not_its_peers_to_end,
        a_peer_is_not_killed_from_afar,
        a_call_of_a_peer_does_not_keep_an_actor,
        the_peers_of_an_actor_that_ended_are_told,
        a_portal_is_for_actors_only,
    ],
];

const SHORT_ACK: Timings = Timings { ack: Duration::from_millis(100), ..PATIENT };

/// An actor that is asked things.
struct Desk {
    total: Cell<u64>,
    /// One for each that waits for ever.
    arrived: Semaphore,
    dropped: Notify,
}

#[runtime::actor]
impl Desk {
    fn new() -> Desk {
        Desk { total: Cell::new(0), arrived: Semaphore::new(0), dropped: Notify::new() }
    }

    async fn add(&self, n: u64) -> u64 {
        self.total.set(self.total.get() + n);
        self.total.get()
    }

    async fn twice(&self, n: u64) -> u64 {
        tokio::task::yield_now().await;
        2 * n
    }

    async fn wait_for_ever(&self) {
        let _told = Told(&self.dropped);
        self.arrived.add_permits(1);
        std::future::pending::<()>().await;
    }

    async fn wait_arrived(&self) {
        self.arrived.acquire().await.expect("it stays open").forget();
    }

    async fn wait_dropped(&self) {
        self.dropped.notified().await;
    }

    async fn own_portal(&self) -> runtime::Result<DeskHandle> {
        Ok(DeskHandle::from(current()?.portal()?))
    }

    /// Blocks the whole actor until the gate opens.
    async fn pass(&self, gate: PathBuf) {
        gate::pass(gate);
    }

    async fn kill_itself(&self) {
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).expect("it can be raised");
    }

    async fn descriptors(&self) -> usize {
        std::fs::read_dir("/proc/self/fd").expect("proc").count()
    }
}

struct Told<'a>(&'a Notify);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// An actor that asks others.
#[derive(Default)]
struct Clerk {
    kept: Option<DeskHandle>,
    nursery: Option<Nursery>,
}

#[runtime::actor]
impl Clerk {
    async fn add_at(&self, desk: Portal, n: u64) -> runtime::Result<u64> {
        Ok(DeskHandle::from(desk).add(n).await?)
    }

    async fn keep(&mut self, desk: DeskHandle) {
        self.kept = Some(desk);
    }

    async fn add_at_kept(&self, n: u64) -> runtime::Result<u64> {
        Ok(self.desk()?.add(n).await?)
    }

    async fn add_at_all(&self, desks: Vec<(u64, DeskHandle)>) -> runtime::Result<u64> {
        let mut sum = 0;
        for (n, desk) in desks {
            sum += desk.add(n).await?;
        }
        Ok(sum)
    }

    async fn open_desk(&mut self, backend: Option<Backend>) -> runtime::Result<DeskHandle> {
        let nursery = Nursery::open()?;
        let start = nursery.start::<Desk>("desk_of_clerk");
        let desk = match backend {
            Some(backend) => start.backend(backend).await?,
            None => start.await?,
        };
        self.nursery = Some(nursery);
        Ok(desk)
    }

    async fn wait_at_kept(&self) -> runtime::Result<()> {
        Ok(self.desk()?.wait_for_ever().await?)
    }

    async fn leave_a_call_at_kept(&self) -> runtime::Result<()> {
        let desk = self.desk()?;
        tokio::select! {
            ended = desk.wait_for_ever() => ended?,
            arrived = desk.wait_arrived() => arrived?,
        }
        Ok(desk.wait_dropped().await?)
    }

    async fn cancel_kept(&self) -> runtime::Result<()> {
        self.desk()?.cancel().await
    }

    async fn kill_kept(&self) -> runtime::Result<()> {
        self.desk()?.kill().await
    }

    async fn many_at_kept(&self, count: u64) -> runtime::Result<bool> {
        let mut calls = tokio::task::JoinSet::new();
        for i in 0..count {
            let desk = self.desk()?.clone();
            calls.spawn_local(async move { (i, desk.twice(i).await) });
        }
        let mut right = true;
        for (i, twice) in calls.join_all().await {
            right &= twice? == 2 * i;
        }
        Ok(right)
    }

    async fn end(&self, actor: Portal) -> runtime::Result<()> {
        actor.cancel().await
    }

    /// Calls a function of a root that is not its parent.
    async fn ask_root(&self, root: Portal, n: u64) -> runtime::Result<u64> {
        Ok(root.call::<at_the_root>((n,)).await?)
    }

    async fn ask_root_from_below(&self, root: Portal, n: u64) -> runtime::Result<u64> {
        nursery(async |nursery| {
            let below = nursery.start::<Clerk>("below").await?;
            let asked = below.ask_root(root, n).await?;
            below.cancel().await?;
            Ok(asked)
        })
        .await
    }

    async fn play_with(&self, other: ClerkHandle, rounds: u64) -> runtime::Result<u64> {
        if rounds == 0 {
            return Ok(0);
        }
        let own = ClerkHandle::from(current()?.portal()?);
        Ok(1 + Box::pin(other.play_with(own, rounds - 1)).await?)
    }

    async fn portal_of_kept(&self) -> runtime::Result<DeskHandle> {
        Ok(self.desk()?.clone())
    }

    async fn ids(&self, portal: Portal) -> runtime::Result<bool> {
        Ok(portal.id() == current()?.id())
    }

    async fn descriptors(&self) -> usize {
        std::fs::read_dir("/proc/self/fd").expect("proc").count()
    }
}

impl Clerk {
    fn desk(&self) -> runtime::Result<&DeskHandle> {
        self.kept.as_ref().ok_or_else(|| Error::message("no desk was given"))
    }
}

#[runtime::remote]
async fn at_the_root(n: u64) -> runtime::Result<u64> {
    assert!(current()?.is_root());
    Ok(n + 1)
}

async fn clerk_and_desk(n: &Nursery) -> runtime::Result<(ClerkHandle, DeskHandle)> {
    let clerk = n.start::<Clerk>("clerk").await?;
    let desk = n.start::<Desk>("desk").await?;
    clerk.keep(desk.clone()).await?;
    Ok((clerk, desk))
}

async fn a_portal_goes_as_an_argument() -> runtime::Result<()> {
    nursery(async |n| {
        let clerk = n.start::<Clerk>("clerk").await?;
        let desk = n.start::<Desk>("desk").await?;
        assert_eq!(clerk.add_at((*desk).clone(), 3).await?, 3);
        assert_eq!(desk.add(4).await?, 7);
        assert_eq!(clerk.add_at((*desk).clone(), 1).await?, 8);
        clerk.cancel().await?;
        desk.cancel().await
    })
    .await
}

async fn a_handle_goes_as_a_result() -> runtime::Result<()> {
    nursery(async |n| {
        let clerk = n.start::<Clerk>("clerk").await?;
        let desk = clerk.open_desk(None).await?;
        assert_eq!(desk.name(), "desk_of_clerk");
        assert_eq!(desk.add(5).await?, 5);
        clerk.cancel().await?;
        // Its parent is gone, and so is it: with what it was told, or seen to be.
        match desk.add(1).await {
            Err(CallError::Failed(Error::Cancelled { .. } | Error::ActorDied { .. })) => Ok(()),
            other => panic!("{other:?}"),
        }
    })
    .await
}

async fn many_portals_go_in_one_value() -> runtime::Result<()> {
    nursery(async |n| {
        let clerk = n.start::<Clerk>("clerk").await?;
        let mut desks = Vec::new();
        for number in 0..3 {
            desks.push((number, n.start::<Desk>(format!("desk_{number}")).await?));
        }
        let doubled: Vec<_> = desks.iter().chain(&desks).cloned().collect();
        assert_eq!(clerk.add_at_all(doubled).await?, (1 + 2) + (2 + 4));
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn an_actor_gives_its_own_portal_away() -> runtime::Result<()> {
    nursery(async |n| {
        let (clerk, desk) = clerk_and_desk(n).await?;
        let given = desk.own_portal().await?;
        assert_eq!(given.id(), desk.id());
        assert_eq!(given.add(2).await?, 2);
        assert_eq!(clerk.add_at((*given).clone(), 2).await?, 4);
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_root_is_called_from_two_levels_down() -> runtime::Result<()> {
    nursery(async |n| {
        let clerk = n.start::<Clerk>("clerk").await?;
        let root = current()?.portal()?;
        // A root exposes nothing unless its configuration says so.
        match clerk.ask_root_from_below(root, 41).await {
            Err(CallError::Returned(error, _)) => {
                assert!(error.to_string().contains("does not expose"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        clerk.cancel().await
    })
    .await
}

async fn a_portal_that_comes_home_is_used_at_home() -> runtime::Result<()> {
    nursery(async |n| {
        let (clerk, desk) = clerk_and_desk(n).await?;
        assert!(clerk.ids((*clerk).clone()).await?);
        let back = clerk.portal_of_kept().await?;
        // The parent's own portal, with the parent's rights.
        assert_eq!(back.add(1).await?, 1);
        back.cancel().await?;
        assert!(desk.wait_ended().await.is_some());
        clerk.cancel().await
    })
    .await
}

async fn two_peers_call_each_other_at_once() -> runtime::Result<()> {
    nursery(async |n| {
        let (one, other) = (n.start::<Clerk>("one").await?, n.start::<Clerk>("other").await?);
        let (there, back) =
            tokio::join!(one.play_with(other.clone(), 20), other.play_with(one.clone(), 21));
        assert_eq!((there?, back?), (20, 21));
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_call_to_a_peer_is_cancelled_when_dropped() -> runtime::Result<()> {
    nursery(async |n| {
        let (clerk, _desk) = clerk_and_desk(n).await?;
        clerk.leave_a_call_at_kept().await?;
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_thousand_calls_to_a_peer_get_each_its_own_answer() -> runtime::Result<()> {
    nursery(async |n| {
        let (clerk, _desk) = clerk_and_desk(n).await?;
        assert!(clerk.many_at_kept(1000).await?);
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn what_a_peer_does_not_expose_is_refused() -> runtime::Result<()> {
    nursery(async |n| {
        let clerk = n.start::<Clerk>("clerk").await?;
        let desk = n.start::<Desk>("desk").await?;
        match clerk.ask_root((*desk).clone(), 1).await {
            Err(CallError::Returned(Error::Remote(remote), _)) => panic!("{remote:?}"),
            Err(CallError::Returned(Error::NotExposed { actor, .. }, _)) => {
                assert_eq!(&actor, desk.id());
            }
            other => panic!("{other:?}"),
        }
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn there_is_one_channel_for_a_pair_however_often_a_portal_is_sent() -> runtime::Result<()> {
    nursery(async |n| {
        let (clerk, desk) = clerk_and_desk(n).await?;
        clerk.add_at_kept(1).await?;
        let before = (clerk.descriptors().await?, desk.descriptors().await?);
        for _ in 0..50 {
            clerk.add_at((*desk).clone(), 1).await?;
        }
        let after = (clerk.descriptors().await?, desk.descriptors().await?);
        assert_eq!(before, after);
        assert_eq!(desk.add(0).await?, 51);
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_cancel_by_a_third_party_names_it_to_everybody() -> runtime::Result<()> {
    nursery(async |n| {
        let (clerk, desk) = clerk_and_desk(n).await?;
        let other = n.start::<Clerk>("other").await?;
        other.keep(desk.clone()).await?;
        let own = desk.wait_for_ever();
        let of_other = other.wait_at_kept();
        let cancel = async {
            desk.wait_arrived().await?;
            desk.wait_arrived().await?;
            clerk.cancel_kept().await?;
            Ok::<_, Error>(())
        };
        let (own, of_other, cancelled) = tokio::join!(own, of_other, cancel);
        cancelled?;
        let by_clerk = |error: &Error| match error {
            Error::Cancelled { subject, canceller } => {
                assert_eq!((subject, canceller), (desk.id(), clerk.id()));
            }
            other => panic!("{other:?}"),
        };
        match own {
            Err(CallError::Failed(error)) => by_clerk(&error),
            other => panic!("{other:?}"),
        }
        match of_other {
            Err(CallError::Returned(error, _)) => by_clerk(&error),
            other => panic!("{other:?}"),
        }
        assert!(desk.wait_ended().await.is_some());
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_cancel_of_one_leaves_the_channels_of_others_alone() -> runtime::Result<()> {
    nursery(async |n| {
        let (clerk, desk) = clerk_and_desk(n).await?;
        let doomed = n.start::<Desk>("doomed").await?;
        clerk.end((*doomed).clone()).await?;
        assert!(doomed.wait_ended().await.is_some());
        assert_eq!(clerk.add_at_kept(1).await?, 1);
        assert_eq!(desk.add(1).await?, 2);
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_root_is_not_its_peers_to_end() -> runtime::Result<()> {
    nursery(async |n| {
        let clerk = n.start::<Clerk>("clerk").await?;
        let below = clerk.open_desk(None).await?;
        drop(below);
        let root = current()?.portal()?;
        match clerk.end(root).await {
            Err(CallError::Returned(Error::NotExposed { actor, .. }, _)) => {
                assert_eq!(&actor, current()?.id());
            }
            other => panic!("{other:?}"),
        }
        clerk.cancel().await
    })
    .await
}

async fn a_peer_is_not_killed_from_afar() -> runtime::Result<()> {
    nursery(async |n| {
        let (clerk, desk) = clerk_and_desk(n).await?;
        let refused = clerk.kill_kept().await;
        assert!(
            matches!(refused, Err(CallError::Returned(Error::NotExposed { .. }, _))),
            "{refused:?}"
        );
        assert_eq!(desk.add(1).await?, 1);
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_call_of_a_peer_does_not_keep_an_actor() -> runtime::Result<()> {
    nursery(async |n| {
        let (clerk, desk) = clerk_and_desk(n).await?;
        let waiting = clerk.wait_at_kept();
        let cancel = async {
            desk.wait_arrived().await?;
            desk.cancel().await
        };
        let (ended, cancelled) = tokio::join!(waiting, cancel);
        cancelled?;
        match ended {
            Err(CallError::Returned(Error::Cancelled { subject, canceller }, _)) => {
                assert_eq!((&subject, &canceller), (desk.id(), current()?.id()));
            }
            other => panic!("{other:?}"),
        }
        clerk.cancel().await
    })
    .await
}

async fn the_peers_of_an_actor_that_ended_are_told() -> runtime::Result<()> {
    nursery(async |n| {
        let (clerk, desk) = clerk_and_desk(n).await?;
        clerk.add_at_kept(1).await?;
        desk.cancel().await?;
        let begun = Instant::now();
        let refused = clerk.add_at_kept(1).await;
        assert!(
            matches!(
                refused,
                Err(CallError::Returned(Error::Cancelled { .. } | Error::ActorDied { .. }, _))
            ),
            "{refused:?}"
        );
        assert!(begun.elapsed() < Duration::from_millis(500));
        clerk.cancel().await
    })
    .await
}

async fn a_peer_that_is_killed_ends_what_waits_for_it() -> runtime::Result<()> {
    let outcome = nursery(async |n| {
        let (clerk, desk) = clerk_and_desk(n).await?;
        let waiting = async {
            let ended = clerk.wait_at_kept().await;
            (ended, Instant::now())
        };
        let kill = async {
            desk.wait_arrived().await?;
            let killed = desk.kill_itself().await;
            assert!(
                matches!(killed, Err(CallError::Failed(Error::ActorDied { .. }))),
                "{killed:?}"
            );
            Ok::<_, Error>(Instant::now())
        };
        let ((ended, at), killed_at) = tokio::join!(waiting, kill);
        match ended {
            Err(CallError::Returned(Error::ActorDied { actor, .. }, _)) => {
                assert_eq!(&actor, desk.id());
            }
            other => panic!("{other:?}"),
        }
        assert!(at.saturating_duration_since(killed_at?) < Duration::from_millis(500));
        clerk.cancel().await
    })
    .await;
    assert!(matches!(outcome, Err(Error::ActorDied { .. })), "{outcome:?}");
    Ok(())
}

async fn a_sibling_holds_no_end_of_others_channels() -> runtime::Result<()> {
    nursery(async |n| {
        let first = n.start::<Desk>("first").await?;
        let alone = first.descriptors().await?;
        let (clerk, _desk) = clerk_and_desk(n).await?;
        clerk.add_at_kept(1).await?;
        let later = n.start::<Desk>("later").await?;
        assert_eq!((first.descriptors().await?, later.descriptors().await?), (alone, alone));
        n.cancel().await;
        Ok(())
    })
    .await
}

/// Whatever the backend under test: peers on it and on threads, each with a portal of the other.
async fn threads_and_processes_are_peers_alike() -> runtime::Result<()> {
    nursery(async |n| {
        let process = n.start::<Clerk>("process").await?;
        let thread = n.start::<Clerk>("thread").backend(Backend::Thread).await?;
        let second = n.start::<Clerk>("second").backend(Backend::Thread).await?;
        for (one, other) in [(&process, &thread), (&thread, &second), (&second, &process)] {
            assert_eq!(one.play_with(other.clone(), 5).await?, 5);
            assert_eq!(other.play_with(one.clone(), 4).await?, 4);
        }
        let desk_of_thread = thread.open_desk(None).await?;
        assert_eq!(process.add_at((*desk_of_thread).clone(), 2).await?, 2);
        assert_eq!(desk_of_thread.add(1).await?, 3);
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_peer_that_is_stuck_does_not_answer() -> runtime::Result<()> {
    nursery(async |n| {
        let (clerk, desk) = clerk_and_desk(n).await?;
        let gate = Gate::closed();
        let stuck = desk.pass(gate.path());
        let cancel = async {
            let gate = gate.wait_for(1).await;
            let refused = clerk.cancel_kept().await;
            gate.open();
            refused
        };
        let (_passed, refused) = tokio::join!(stuck, cancel);
        match refused {
            Err(CallError::Returned(Error::Unresponsive { actor, rung, after }, _)) => {
                assert_eq!((&actor, rung, after), (desk.id(), Rung::Request, SHORT_ACK.ack));
            }
            other => panic!("{other:?}"),
        }
        n.cancel().await;
        Ok(())
    })
    .await
}

/// Peers of every backend, with a call under way and without; the thread is stuck until all of them were told.
async fn the_peers_of_a_thread_that_is_given_up_are_told() -> runtime::Result<()> {
    const MOMENT: Duration = Duration::from_millis(100);
    let told = |outcome: Result<(), CallError<Error>>| match outcome {
        Err(CallError::Returned(Error::ActorDied { actor, exit: Exit::Unknown, .. }, _)) => {
            assert_eq!(actor.name, "desk");
        }
        other => panic!("{other:?}"),
    };
    nursery(async |n| {
        let clerk = n.start::<Clerk>("clerk").await?;
        let thread = n.start::<Clerk>("thread").backend(Backend::Thread).await?;
        let (known, gate) = (Notify::new(), Gate::closed());
        let (portal, path) = (Cell::new(None), gate.path());
        // What is given up fails its nursery, which is none of theirs.
        let given_up = nursery(async |n| {
            let desk = n.start::<Desk>("desk").backend(Backend::Thread).await?;
            clerk.keep(desk.clone()).await?;
            thread.keep(desk.clone()).await?;
            portal.set(Some((*desk).clone()));
            known.notify_one();
            desk.wait_arrived().await?;
            desk.wait_arrived().await?;
            let _stuck = desk.pass(path).await;
            Ok(())
        });
        let waiting = async {
            known.notified().await;
            tokio::join!(clerk.wait_at_kept(), thread.wait_at_kept())
        };
        let stuck = async {
            let crowd = gate.wait_for(1).await;
            let portal = portal.take().expect("it is stuck");
            (portal.cancel_within(MOMENT).await, portal, crowd)
        };
        let (given_up, (of_clerk, of_thread), (forced, desk, crowd)) =
            tokio::join!(given_up, waiting, stuck);
        for forced in [given_up, forced] {
            assert!(matches!(forced, Err(Error::Forced { .. })), "{forced:?}");
        }
        told(of_clerk);
        told(of_thread);
        told(clerk.add_at_kept(1).await.map(drop));
        told(thread.add_at_kept(1).await.map(drop));
        told(clerk.add_at(desk.clone(), 1).await.map(drop));
        told(thread.add_at(desk, 1).await.map(drop));
        crowd.open();
        n.cancel().await;
        Ok(())
    })
    .await
}

/// Blocks the whole actor until the gate opens.
#[runtime::remote]
async fn pass(gate: PathBuf) {
    gate::pass(gate);
}

/// A cancel overtakes what was said before it: that there is a peer is found when all else is over.
async fn who_is_introduced_to_one_that_was_told_to_end_is_told_so() -> runtime::Result<()> {
    nursery(async |n| {
        // Without a state, it has nothing to do when it ends.
        let desk = n.actor("desk").expose::<pass>().await?;
        let clerk = n.start::<Clerk>("clerk").await?;
        let gate = Gate::closed();
        let mut stuck = pin!(desk.call::<pass>((gate.path(),)));
        let crowd = tokio::select! {
            passed = stuck.as_mut() => panic!("{passed:?}"),
            crowd = gate.wait_for(1) => crowd,
        };
        let open = async {
            // By then both words to the desk are in its channel.
            for _ in 0..3 {
                clerk.ids((*clerk).clone()).await?;
            }
            crowd.open();
            Ok::<_, Error>(())
        };
        let (cancelled, asked, opened, _passed) =
            tokio::join!(desk.cancel(), clerk.add_at(desk.clone(), 1), open, stuck);
        opened?;
        cancelled?;
        match asked {
            Err(CallError::Returned(Error::Cancelled { subject, canceller }, _)) => {
                assert_eq!((&subject, &canceller), (desk.id(), current()?.id()));
            }
            other => panic!("{other:?}"),
        }
        clerk.cancel().await
    })
    .await
}

async fn a_portal_is_for_actors_only() -> runtime::Result<()> {
    nursery(async |n| {
        let desk = n.start::<Desk>("desk").await?;
        let refused = serde_json::to_string(&*desk).expect_err("it is no text").to_string();
        assert!(refused.contains("can only be sent to another actor"), "{refused}");
        assert!(refused.contains("desk@"), "{refused}");
        let made_up =
            r#"{"actor":{"name":"desk","uuid":"00000000-0000-0000-0000-000000000000"},"incarnation":0,"end":0}"#;
        let refused = serde_json::from_str::<Portal>(made_up).expect_err("it is made up");
        assert!(refused.to_string().contains("can only be sent"), "{refused}");
        desk.cancel().await
    })
    .await
}
