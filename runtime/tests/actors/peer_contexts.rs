//! Contexts and streams between actors that are neither parent nor child, and portals that travel over them.

use runtime::{CallError, Context, Error, Never, Nursery, current, nursery};
use tokio::sync::Semaphore;

use crate::Need;

crate::cases![
    Some(Need::Process) => [a_peer_that_dies_ends_the_contexts_into_it],
    None => [
        a_context_runs_in_a_peer,
        a_portal_goes_as_started_value_and_as_item,
        a_third_party_that_cancels_an_actor_is_named_in_every_context_into_it,
        an_error_that_arises_while_a_peers_cancel_is_in_flight_wins,
        a_dropped_context_in_a_peer_is_cancelled_there,
        a_one_way_stream_comes_from_a_peer,
        a_context_with_oneself_is_refused,
    ],
];

/// What goes wrong by itself while a cancel is on its way.
const CLUMSY: &str = "while it was being cancelled";

/// An actor that others open contexts in.
struct Ward {
    entered: Semaphore,
    left: Semaphore,
}

struct Leaving<'w>(&'w Ward);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.left.add_permits(1);
    }
}

#[runtime::actor]
impl Ward {
    fn new() -> Ward {
        Ward { entered: Semaphore::new(0), left: Semaphore::new(0) }
    }

    #[runtime::context]
    async fn double(&self, cx: Context<u32, u32, u32>, first: u32) -> runtime::Result<u32> {
        let cx = cx.started(first).await?;
        let mut stream = cx.open_stream()?;
        let mut sum = 0;
        while let Some(n) = stream.recv().await? {
            sum += n;
            stream.send(2 * n).await?;
        }
        Ok(sum)
    }

    #[runtime::context]
    async fn stay(&self, cx: Context) -> runtime::Result<Never> {
        let _leaving = Leaving(self);
        let _cx = cx.started(()).await?;
        self.entered.add_permits(1);
        std::future::pending().await
    }

    /// Its own portal, twice.
    #[runtime::context]
    async fn introduce(&self, cx: Context<WardHandle, (), WardHandle>) -> runtime::Result<()> {
        let own = || current()?.portal().map(WardHandle::from);
        let cx = cx.started(own()?).await?;
        let stream = cx.open_stream()?;
        stream.send(own()?).await
    }

    #[runtime::stream]
    async fn count(&self, out: runtime::Sender<u32>, to: u32) -> runtime::Result<()> {
        for n in 0..to {
            out.send(n).await?;
        }
        Ok(())
    }

    async fn wait_entered(&self) {
        self.entered.acquire().await.expect("it stays open").forget();
    }

    async fn wait_left(&self) {
        self.left.acquire().await.expect("it stays open").forget();
    }

    async fn die(&self) {
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).expect("it can be raised");
    }
}

/// An actor that opens contexts in its peers.
#[derive(Default)]
struct Visitor;

#[runtime::actor]
impl Visitor {
    async fn double_at(&self, ward: WardHandle, count: u32) -> runtime::Result<(u32, u32)> {
        let both = ward.double(7).open(async |cx| {
            assert_eq!(cx.peer(), ward.id());
            let mut stream = cx.open_stream()?;
            for n in 0..count {
                stream.send(n).await?;
                assert_eq!(stream.recv().await?, Some(2 * n));
            }
            let first = *cx.first();
            stream.close();
            Ok((first, cx.result().await?))
        });
        Ok(both.await?)
    }

    async fn meet_at(&self, ward: WardHandle) -> runtime::Result<(WardHandle, WardHandle)> {
        let both = ward.introduce().open(async |cx| {
            let first = cx.first().clone();
            let mut stream = cx.open_stream()?;
            let second = stream.recv().await?.ok_or_else(|| Error::message("no item"))?;
            Ok((first, second))
        });
        Ok(both.await?)
    }

    /// Two contexts at once; what became of that in `doomed`, while the other goes on.
    async fn stay_at_both(&self, doomed: WardHandle, safe: WardHandle) -> runtime::Result<Error> {
        let outcome = safe.stay().open(async |safe_cx| {
            let ended =
                doomed.stay().open(async |_| std::future::pending::<runtime::Result<()>>().await);
            let ended = ended.await.expect_err("it was cancelled").into();
            assert_eq!(safe_cx.canceller(), None);
            safe_cx.cancel().await;
            Ok(ended)
        });
        Ok(outcome.await?)
    }

    /// Fails by itself while the context ends, and after.
    async fn fail_at(&self, ward: WardHandle) -> runtime::Result<()> {
        struct Clumsy;
        impl Drop for Clumsy {
            fn drop(&mut self) {
                // What the body owns goes when the context is cut; a panic there is this actor's own failure.
                if !std::thread::panicking() {
                    panic!("{CLUMSY}");
                }
            }
        }
        let opened = ward.stay().open(async |_| {
            let _clumsy = Clumsy;
            std::future::pending::<runtime::Result<()>>().await
        });
        Ok(opened.await?)
    }

    async fn drop_at(&self, ward: WardHandle) -> runtime::Result<()> {
        tokio::select! {
            _ = ward.stay().open(async |_| std::future::pending::<runtime::Result<()>>().await) => {}
            entered = ward.wait_entered() => entered?,
        }
        Ok(ward.wait_left().await?)
    }

    async fn end(&self, ward: WardHandle) -> runtime::Result<()> {
        ward.cancel().await
    }

    async fn read_at(&self, ward: WardHandle) -> runtime::Result<Vec<u32>> {
        let mut read = Vec::new();
        let mut stream = ward.count(100).await?;
        while let Some(n) = stream.recv().await? {
            read.push(n);
        }
        Ok(read)
    }
}

async fn ward_and_visitors(n: &Nursery) -> runtime::Result<(WardHandle, [VisitorHandle; 2])> {
    let ward = n.start::<Ward>("ward").await?;
    let visitors = [n.start::<Visitor>("one").await?, n.start::<Visitor>("other").await?];
    Ok((ward, visitors))
}

async fn a_context_runs_in_a_peer() -> runtime::Result<()> {
    nursery(async |n| {
        let (ward, [one, other]) = ward_and_visitors(n).await?;
        let (first, second) =
            tokio::join!(one.double_at(ward.clone(), 100), other.double_at(ward.clone(), 200));
        assert_eq!((first?, second?), ((7, 4950), (7, 19900)));
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_portal_goes_as_started_value_and_as_item() -> runtime::Result<()> {
    nursery(async |n| {
        let (ward, [visitor, _]) = ward_and_visitors(n).await?;
        let (first, second) = visitor.meet_at(ward.clone()).await?;
        assert_eq!((first.id(), second.id()), (ward.id(), ward.id()));
        assert_eq!(visitor.double_at(second, 3).await?, (7, 3));
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_third_party_that_cancels_an_actor_is_named_in_every_context_into_it()
-> runtime::Result<()> {
    nursery(async |n| {
        let (doomed, [visitor, canceller]) = ward_and_visitors(n).await?;
        let safe = n.start::<Ward>("safe").await?;
        let by_canceller = |error: Error| match error {
            Error::Cancelled { subject, canceller: by } => {
                assert_eq!((&subject, &by), (doomed.id(), canceller.id()));
            }
            other => panic!("{other:?}"),
        };
        let of_visitor = visitor.stay_at_both(doomed.clone(), safe.clone());
        let own = doomed.stay().open(async |_| std::future::pending::<runtime::Result<()>>().await);
        let cancel = async {
            doomed.wait_entered().await?;
            doomed.wait_entered().await?;
            canceller.end(doomed.clone()).await?;
            Ok::<_, Error>(())
        };
        let (of_visitor, own, cancelled) = tokio::join!(of_visitor, own, cancel);
        cancelled?;
        by_canceller(of_visitor?);
        by_canceller(own.expect_err("it was cancelled").into());
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn an_error_that_arises_while_a_peers_cancel_is_in_flight_wins() -> runtime::Result<()> {
    nursery(async |n| {
        let (ward, [visitor, canceller]) = ward_and_visitors(n).await?;
        let failing = visitor.fail_at(ward.clone());
        let cancel = async {
            ward.wait_entered().await?;
            canceller.end(ward.clone()).await?;
            Ok::<_, Error>(())
        };
        let (failed, cancelled) = tokio::join!(failing, cancel);
        cancelled?;
        let Err(CallError::Failed(Error::Remote(panic))) = failed else { panic!("{failed:?}") };
        assert_eq!((panic.source_actor(), panic.message()), (visitor.id(), CLUMSY));
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_dropped_context_in_a_peer_is_cancelled_there() -> runtime::Result<()> {
    nursery(async |n| {
        let (ward, [visitor, _]) = ward_and_visitors(n).await?;
        visitor.drop_at(ward.clone()).await?;
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_one_way_stream_comes_from_a_peer() -> runtime::Result<()> {
    nursery(async |n| {
        let (ward, [visitor, _]) = ward_and_visitors(n).await?;
        assert_eq!(visitor.read_at(ward.clone()).await?, (0..100).collect::<Vec<_>>());
        n.cancel().await;
        Ok(())
    })
    .await
}

async fn a_context_with_oneself_is_refused() -> runtime::Result<()> {
    nursery(async |n| {
        let ward = n.start::<Ward>("ward").await?;
        let own = WardHandle::from(current()?.portal()?);
        let refused = own.stay().open(async |_| Ok(())).await;
        assert!(matches!(refused, Err(CallError::Failed(Error::Misuse(_)))), "{refused:?}");
        ward.cancel().await
    })
    .await
}

async fn a_peer_that_dies_ends_the_contexts_into_it() -> runtime::Result<()> {
    let outcome = nursery(async |n| {
        let (doomed, [visitor, _]) = ward_and_visitors(n).await?;
        let safe = n.start::<Ward>("safe").await?;
        let of_visitor = visitor.stay_at_both(doomed.clone(), safe.clone());
        let die = async {
            doomed.wait_entered().await?;
            let died = doomed.die().await;
            assert!(matches!(died, Err(CallError::Failed(Error::ActorDied { .. }))), "{died:?}");
            Ok::<_, Error>(())
        };
        let (of_visitor, died) = tokio::join!(of_visitor, die);
        died?;
        match of_visitor? {
            Error::ActorDied { actor, .. } => assert_eq!(&actor, doomed.id()),
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await;
    assert!(matches!(outcome, Err(Error::ActorDied { .. })), "{outcome:?}");
    Ok(())
}
