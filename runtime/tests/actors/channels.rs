//! Channels whose ends go from actor to actor.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use runtime::{
    CallError, ChannelReceiver, ChannelSender, Context, Error, Never, Nursery, channel, nursery,
};
use serde::{Deserialize, Serialize};

use crate::Need;

crate::cases![
    Some(Need::Process) => [
        a_sender_that_is_killed_is_no_end_of_the_channel,
        a_receiver_that_is_killed_fails_its_sender,
        descriptors_go_with_the_ends,
    ],
    None => [
        a_sender_goes_to_a_child,
        a_receiver_goes_to_a_child,
        both_ends_go_to_siblings,
        ends_go_on_from_actor_to_actor,
        an_end_that_was_used_goes_on_with_what_waits,
        both_ends_go_on_at_once,
        ends_come_as_results,
        ends_go_with_what_a_context_starts_with_and_as_items,
        ends_go_through_channels,
        a_channel_within_one_actor,
        a_slow_receiver_makes_its_sender_wait_and_nobody_else,
        the_end_of_a_channel_is_its_end_for_good,
        a_dropped_receiver_fails_the_sender,
        a_sender_that_waits_is_told_that_nobody_receives,
        a_cancelled_actor_does_not_end_its_channels_well,
        a_panic_does_not_end_a_channel_well,
        an_end_that_never_arrived_is_known_at_the_other,
        large_items_and_none_are_received_as_they_were_sent,
        an_item_that_was_not_sent_is_sent_by_nobody,
        an_end_is_for_actors_only,
    ],
];

/// What holds ends.
#[derive(Default)]
struct Worker {
    sent: Rc<Cell<u64>>,
    sender: Option<ChannelSender<u64>>,
    receiver: Option<ChannelReceiver<u64>>,
}

#[runtime::actor]
impl Worker {
    async fn count(&self, mut out: ChannelSender<u64>, from: u64, to: u64) -> runtime::Result<()> {
        for n in from..to {
            out.send(n).await?;
            self.sent.set(self.sent.get() + 1);
        }
        Ok(())
    }

    /// How many it has sent so far.
    async fn sent(&self) -> u64 {
        self.sent.get()
    }

    async fn sum(&self, mut from: ChannelReceiver<u64>) -> runtime::Result<u64> {
        let mut sum = 0;
        while let Some(n) = from.recv().await? {
            sum += n;
        }
        Ok(sum)
    }

    async fn double(
        &self,
        mut from: ChannelReceiver<u64>,
        mut to: ChannelSender<u64>,
    ) -> runtime::Result<()> {
        while let Some(n) = from.recv().await? {
            to.send(2 * n).await?;
        }
        Ok(())
    }

    async fn keep_sender(&mut self, sender: ChannelSender<u64>) {
        self.sender = Some(sender);
    }

    async fn keep_receiver(&mut self, receiver: ChannelReceiver<u64>) {
        self.receiver = Some(receiver);
    }

    async fn send_kept(&mut self, n: u64) -> runtime::Result<()> {
        self.sender.as_mut().ok_or_else(nothing_kept)?.send(n).await
    }

    async fn recv_kept(&mut self) -> runtime::Result<Option<u64>> {
        self.receiver.as_mut().ok_or_else(nothing_kept)?.recv().await
    }

    async fn hand_sender_to(&mut self, other: WorkerHandle) -> runtime::Result<()> {
        let sender = self.sender.take().ok_or_else(nothing_kept)?;
        Ok(other.keep_sender(sender).await?)
    }

    async fn hand_receiver_to(&mut self, other: WorkerHandle) -> runtime::Result<()> {
        let receiver = self.receiver.take().ok_or_else(nothing_kept)?;
        Ok(other.keep_receiver(receiver).await?)
    }

    async fn take_sender(&mut self) -> runtime::Result<ChannelSender<u64>> {
        self.sender.take().ok_or_else(nothing_kept)
    }

    async fn new_channel(&self) -> Ends {
        let (sender, receiver) = channel(3);
        Ends { what: "new".to_owned(), sender: Some(sender), receiver: vec![receiver] }
    }

    async fn drop_kept(&mut self) {
        self.sender = None;
        self.receiver = None;
    }

    async fn panic_with(&self, _sender: ChannelSender<u64>) {
        panic!("with a sender in hand");
    }

    async fn send_ends(&self, mut out: ChannelSender<Ends>) -> runtime::Result<()> {
        let (mut sender, receiver) = channel(8);
        sender.send(1).await?;
        let ends = Ends { what: "first".to_owned(), sender: None, receiver: vec![receiver] };
        out.send(ends).await?;
        sender.send(2).await
    }

    async fn blobs(
        &self,
        mut out: ChannelSender<Vec<u8>>,
        sizes: Vec<usize>,
    ) -> runtime::Result<()> {
        for size in sizes {
            out.send(blob(size)).await?;
        }
        Ok(())
    }

    #[runtime::context]
    async fn mirror(
        &self,
        cx: Context<ChannelReceiver<u64>, ChannelSender<u64>, Never>,
    ) -> runtime::Result<()> {
        let (mut sender, receiver) = channel(4);
        let cx = cx.started(receiver).await?;
        sender.send(7).await?;
        drop(sender);
        let mut stream = cx.open_stream()?;
        while let Some(mut sender) = stream.recv().await? {
            sender.send(8).await?;
        }
        Ok(())
    }

    async fn kill_itself(&self) {
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).expect("it can be raised");
    }

    async fn descriptors(&self) -> usize {
        std::fs::read_dir("/proc/self/fd").expect("proc").count()
    }
}

/// Ends within a value.
#[derive(Debug, Serialize, Deserialize)]
struct Ends {
    what: String,
    sender: Option<ChannelSender<u64>>,
    receiver: Vec<ChannelReceiver<u64>>,
}

fn nothing_kept() -> Error {
    Error::message("nothing is kept")
}

fn blob(size: usize) -> Vec<u8> {
    (0..size).map(|place| (place % 251) as u8).collect()
}

async fn all(receiver: &mut ChannelReceiver<u64>) -> runtime::Result<Vec<u64>> {
    let mut all = Vec::new();
    while let Some(n) = receiver.recv().await? {
        all.push(n);
    }
    Ok(all)
}

async fn worker(n: &Nursery, name: &str) -> runtime::Result<WorkerHandle> {
    n.start::<Worker>(name).await
}

async fn a_sender_goes_to_a_child() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let (sender, mut receiver) = channel(4);
        let (counted, received) = tokio::join!(child.count(sender, 0, 1000), all(&mut receiver));
        counted?;
        assert!(received?.into_iter().eq(0..1000));
        child.cancel().await
    })
    .await
}

async fn a_receiver_goes_to_a_child() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let (mut sender, receiver) = channel(4);
        let send = async {
            for n in 0..1000 {
                sender.send(n).await?;
            }
            drop(sender);
            Ok::<_, Error>(())
        };
        let (sum, sent) = tokio::join!(child.sum(receiver), send);
        sent?;
        assert_eq!(sum?, 499_500);
        child.cancel().await
    })
    .await
}

async fn both_ends_go_to_siblings() -> runtime::Result<()> {
    nursery(async |n| {
        let (one, two, three) =
            (worker(n, "one").await?, worker(n, "two").await?, worker(n, "three").await?);
        let (first, second) = (channel(64), channel(2));
        let (counted, doubled, sum) = tokio::join!(
            one.count(first.0, 0, 1000),
            two.double(first.1, second.0),
            three.sum(second.1),
        );
        counted?;
        doubled?;
        assert_eq!(sum?, 999_000);
        n.cancel().await;
        Ok(())
    })
    .await
}

/// Those it came through end, and it does not.
async fn ends_go_on_from_actor_to_actor() -> runtime::Result<()> {
    nursery(async |n| {
        let (one, two, three) =
            (worker(n, "one").await?, worker(n, "two").await?, worker(n, "three").await?);
        let (sender, mut receiver) = channel(4);
        one.keep_sender(sender).await?;
        one.hand_sender_to(two.clone()).await?;
        one.cancel().await?;
        two.hand_sender_to(three.clone()).await?;
        two.cancel().await?;
        three.send_kept(1).await?;
        assert_eq!(receiver.recv().await?, Some(1));
        let mut home = three.take_sender().await?;
        three.cancel().await?;
        home.send(2).await?;
        drop(home);
        assert_eq!(all(&mut receiver).await?, [2]);
        Ok(())
    })
    .await
}

async fn an_end_that_was_used_goes_on_with_what_waits() -> runtime::Result<()> {
    nursery(async |n| {
        let (one, two) = (worker(n, "one").await?, worker(n, "two").await?);
        let (mut sender, mut receiver) = channel(8);
        for n in 0..4 {
            sender.send(n).await?;
        }
        assert_eq!(receiver.recv().await?, Some(0));
        one.keep_receiver(receiver).await?;
        assert_eq!(one.recv_kept().await?, Some(1));
        for n in 4..8 {
            sender.send(n).await?;
        }
        one.hand_receiver_to(two.clone()).await?;
        for n in 2..8 {
            assert_eq!(two.recv_kept().await?, Some(n));
        }
        two.hand_receiver_to(one.clone()).await?;
        // No credit was lost or made on the way.
        let rest = two.count(sender, 100, 200);
        let receive = async {
            for n in 100..200 {
                assert_eq!(one.recv_kept().await?, Some(n));
            }
            assert_eq!(one.recv_kept().await?, None);
            Ok::<_, Error>(())
        };
        let (rest, received) = tokio::join!(rest, receive);
        rest?;
        received?;
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn both_ends_go_on_at_once() -> runtime::Result<()> {
    nursery(async |n| {
        let (one, two) = (worker(n, "one").await?, worker(n, "two").await?);
        let (three, four) = (worker(n, "three").await?, worker(n, "four").await?);
        for round in 0..20 {
            let (sender, receiver) = channel(4);
            one.keep_sender(sender).await?;
            two.keep_receiver(receiver).await?;
            let (there, back) =
                tokio::join!(one.hand_sender_to(three.clone()), two.hand_receiver_to(four.clone()));
            there?;
            back?;
            three.send_kept(round).await?;
            three.drop_kept().await?;
            assert_eq!(four.recv_kept().await?, Some(round));
            assert_eq!(four.recv_kept().await?, None);
        }
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn ends_come_as_results() -> runtime::Result<()> {
    nursery(async |n| {
        let (one, two) = (worker(n, "one").await?, worker(n, "two").await?);
        let mut ends = one.new_channel().await?;
        assert_eq!(ends.what, "new");
        let sender = ends.sender.take().expect("it came");
        let mut receiver = ends.receiver.pop().expect("it came");
        let (counted, received) = tokio::join!(two.count(sender, 0, 50), all(&mut receiver));
        counted?;
        assert!(received?.into_iter().eq(0..50));
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn ends_go_with_what_a_context_starts_with_and_as_items() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let opening = child.mirror();
        opening
            .open(async |mut cx| {
                let (sender, mut back) = channel(1);
                let stream = cx.open_stream()?;
                stream.send(sender).await?;
                stream.close();
                assert_eq!(all(&mut back).await?, [8]);
                let first = cx.first_mut();
                assert_eq!(all(first).await?, [7]);
                Ok(())
            })
            .await?;
        child.cancel().await
    })
    .await
}

async fn ends_go_through_channels() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let (sender, mut receiver) = channel(1);
        child.send_ends(sender).await?;
        let mut ends = receiver.recv().await?.expect("it was sent");
        assert_eq!(ends.what, "first");
        assert_eq!(all(&mut ends.receiver[0]).await?, [1, 2]);
        assert!(receiver.recv().await?.is_none());
        child.cancel().await
    })
    .await
}

async fn a_channel_within_one_actor() -> runtime::Result<()> {
    let (mut sender, mut receiver) = channel(2);
    let send = async {
        for n in 0..100 {
            sender.send(n).await?;
        }
        drop(sender);
        Ok::<_, Error>(())
    };
    let (sent, received) = tokio::join!(send, all(&mut receiver));
    sent?;
    assert!(received?.into_iter().eq(0..100));
    let (mut sender, receiver) = channel(1);
    drop(receiver);
    assert!(matches!(sender.send(1_u8).await, Err(Error::StreamEnded { .. })));
    Ok(())
}

async fn a_slow_receiver_makes_its_sender_wait_and_nobody_else() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let (slow, mut slow_end) = channel(5);
        let read = async {
            while child.sent().await? < 5 {}
            for _ in 0..100 {
                assert_eq!(child.sent().await?, 5);
            }
            // Another channel between the same two.
            let (quick, mut quick_end) = channel(5);
            let (counted, received) = tokio::join!(child.count(quick, 0, 100), all(&mut quick_end));
            counted?;
            assert_eq!(received?.len(), 100);
            for n in 0..100 {
                assert_eq!(slow_end.recv().await?, Some(n));
                assert!(child.sent().await? <= 100 + (n + 1) + 5);
            }
            assert_eq!(slow_end.recv().await?, None);
            Ok::<_, Error>(())
        };
        let (counted, read) = tokio::join!(child.count(slow, 0, 100), read);
        counted?;
        read?;
        child.cancel().await
    })
    .await
}

async fn the_end_of_a_channel_is_its_end_for_good() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let (sender, mut receiver) = channel(8);
        child.keep_sender(sender).await?;
        child.send_kept(1).await?;
        child.drop_kept().await?;
        assert_eq!(receiver.recv().await?, Some(1));
        for _ in 0..3 {
            assert_eq!(receiver.recv().await?, None);
        }
        // And goes on with the end.
        child.keep_receiver(receiver).await?;
        assert_eq!(child.recv_kept().await?, None);
        child.cancel().await
    })
    .await
}

async fn a_dropped_receiver_fails_the_sender() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let (mut sender, receiver) = channel(8);
        child.keep_receiver(receiver).await?;
        sender.send(1).await?;
        child.drop_kept().await?;
        for _ in 0..3 {
            match sender.send(2).await {
                Err(Error::StreamEnded { actor }) => assert_eq!(&actor, child.id()),
                other => panic!("{other:?}"),
            }
        }
        child.cancel().await
    })
    .await
}

async fn a_sender_that_waits_is_told_that_nobody_receives() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let (mut sender, receiver) = channel(1);
        child.keep_receiver(receiver).await?;
        sender.send(1).await?;
        let (told, dropped) = tokio::join!(sender.send(2), child.drop_kept());
        dropped?;
        assert!(matches!(told, Err(Error::StreamEnded { .. })), "{told:?}");
        child.cancel().await
    })
    .await
}

async fn a_cancelled_actor_does_not_end_its_channels_well() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let (there, mut receiver) = channel(4);
        let (mut sender, back) = channel(4);
        child.keep_sender(there).await?;
        child.keep_receiver(back).await?;
        child.send_kept(1).await?;
        child.cancel().await?;
        assert_eq!(receiver.recv().await?, Some(1));
        let own = runtime::current()?;
        for told in [receiver.recv().await.map(drop), sender.send(1).await] {
            match told {
                Err(Error::Cancelled { subject, canceller }) => {
                    assert_eq!((&subject, &canceller), (child.id(), own.id()));
                }
                other => panic!("{other:?}"),
            }
        }
        Ok(())
    })
    .await
}

async fn a_panic_does_not_end_a_channel_well() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let (sender, mut receiver) = channel::<u64>(4);
        assert!(matches!(child.panic_with(sender).await, Err(CallError::Failed(Error::Remote(_)))));
        match receiver.recv().await {
            Err(Error::ChannelLost { actor, reason }) => {
                assert_eq!(&actor, child.id());
                assert!(reason.contains("panicked"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        child.cancel().await
    })
    .await
}

async fn an_end_that_never_arrived_is_known_at_the_other() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        child.cancel().await?;
        let (sender, mut receiver) = channel(4);
        assert!(child.keep_sender(sender).await.is_err());
        // Packed, it is lost; a value is dropped like any other.
        match receiver.recv().await {
            Err(Error::ChannelLost { .. }) | Ok(None) => {}
            other => panic!("{other:?}"),
        }
        let (mut sender, receiver) = channel(4);
        assert!(child.keep_receiver(receiver).await.is_err());
        match sender.send(1).await {
            Err(Error::ChannelLost { .. } | Error::StreamEnded { .. }) => Ok(()),
            other => panic!("{other:?}"),
        }
    })
    .await
}

async fn large_items_and_none_are_received_as_they_were_sent() -> runtime::Result<()> {
    const SIZES: [usize; 9] = [0, 1, 32_766, 32_767, 32_768, 65_534, 65_535, 1 << 20, 9_999_999];
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let (sender, mut receiver) = channel(64);
        let receive = async {
            for size in SIZES {
                assert!(receiver.recv().await? == Some(blob(size)), "{size}");
            }
            assert!(receiver.recv().await?.is_none());
            Ok::<_, Error>(())
        };
        let (sent, received) = tokio::join!(child.blobs(sender, SIZES.to_vec()), receive);
        sent?;
        received?;
        child.cancel().await
    })
    .await
}

/// A send that is given up, in the midst of an item too, has sent nothing.
async fn an_item_that_was_not_sent_is_sent_by_nobody() -> runtime::Result<()> {
    nursery(async |n| {
        let child = worker(n, "child").await?;
        let (mut sender, receiver) = channel(1);
        child.keep_receiver(receiver).await?;
        sender.send(1).await?;
        let given_up = tokio::time::timeout(Duration::from_millis(20), sender.send(2)).await;
        assert!(given_up.is_err());
        assert_eq!(child.recv_kept().await?, Some(1));
        sender.send(3).await?;
        assert_eq!(child.recv_kept().await?, Some(3));
        drop(sender);
        assert_eq!(child.recv_kept().await?, None);
        child.cancel().await
    })
    .await
}

async fn an_end_is_for_actors_only() -> runtime::Result<()> {
    let (mut sender, mut receiver) = channel(1);
    let refused = serde_json::to_string(&sender).expect_err("it is no actor");
    assert!(refused.to_string().contains("to another actor"), "{refused}");
    assert!(serde_json::to_string(&receiver).is_err());
    // It is as good as before.
    sender.send(1_u8).await?;
    assert_eq!(receiver.recv().await?, Some(1));
    Ok(())
}

/// A sibling was started meanwhile: if it had the end too, nothing would be seen of the death.
async fn a_sender_that_is_killed_is_no_end_of_the_channel() -> runtime::Result<()> {
    let mut victim = None;
    let told = nursery(async |n| {
        let (child, other) = (worker(n, "child").await?, worker(n, "other").await?);
        victim = Some(child.id().clone());
        let (sender, mut receiver) = channel(4);
        child.keep_sender(sender).await?;
        // From one peer to another, of which neither is the other's parent.
        let (far, end) = channel(4);
        child.keep_receiver(end).await?;
        other.keep_sender(far).await?;
        let _late = worker(n, "late").await?;
        child.send_kept(1).await?;
        let begun = Instant::now();
        assert!(child.kill_itself().await.is_err());
        assert_eq!(receiver.recv().await?, Some(1));
        let died = receiver.recv().await;
        assert!(
            matches!(&died, Err(Error::ActorDied { actor, .. }) if actor == child.id()),
            "{died:?}"
        );
        match other.send_kept(1).await {
            Err(CallError::Returned(Error::ActorDied { actor, .. }, _)) => {
                assert_eq!(&actor, child.id());
            }
            told => panic!("{told:?}"),
        }
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
        Ok(())
    })
    .await;
    assert!(matches!(told, Err(Error::ActorDied { actor, .. }) if Some(&actor) == victim.as_ref()));
    Ok(())
}

async fn a_receiver_that_is_killed_fails_its_sender() -> runtime::Result<()> {
    let told = nursery(async |n| {
        let child = worker(n, "child").await?;
        let (mut sender, receiver) = channel(1);
        child.keep_receiver(receiver).await?;
        sender.send(1).await?;
        let _late = worker(n, "late").await?;
        // It waits for credit when the other end dies.
        let begun = Instant::now();
        let (told, killed) = tokio::join!(sender.send(2), child.kill_itself());
        assert!(killed.is_err());
        assert!(
            matches!(&told, Err(Error::ActorDied { actor, .. }) if actor == child.id()),
            "{told:?}"
        );
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
        Ok(())
    })
    .await;
    assert!(matches!(told, Err(Error::ActorDied { .. })));
    Ok(())
}

async fn descriptors_go_with_the_ends() -> runtime::Result<()> {
    nursery(async |n| {
        let (one, two) = (worker(n, "one").await?, worker(n, "two").await?);
        let own = || std::fs::read_dir("/proc/self/fd").expect("proc").count();
        let mut counts = Vec::new();
        for _ in 0..20 {
            let (sender, receiver) = channel(4);
            one.keep_sender(sender).await?;
            one.hand_sender_to(two.clone()).await?;
            let (summed, counted) = tokio::join!(one.sum(receiver), async {
                two.send_kept(5).await?;
                two.drop_kept().await?;
                Ok::<_, Error>(())
            });
            counted?;
            assert_eq!(summed?, 5);
            counts.push((own(), one.descriptors().await?, two.descriptors().await?));
        }
        assert_eq!(counts[1], counts[19], "{counts:?}");
        n.cancel().await;
        Ok(())
    })
    .await
}
