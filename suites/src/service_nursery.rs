//! An actor that keeps a nursery as its service: what fails in it reaches everybody who is served.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use runner::{Case, TestResult};
use runtime::{CallError, Context, Error, Nursery};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::actors::{Refused, refuse_at};
use crate::gate::Gate;
use crate::process;

runner::marks! { timeout = "20s" }

/// Runs workers for whoever asks, in one nursery that outlives all who ask.
struct Service {
    nursery: RefCell<Option<Nursery>>,
    failed: watch::Sender<Option<Refused>>,
}

#[runtime::actor]
impl Service {
    async fn new() -> runtime::Result<Service> {
        let nursery = RefCell::new(Some(Nursery::open()?));
        Ok(Service { nursery, failed: watch::Sender::new(None) })
    }

    /// Starts a worker that fails when the gate opens, and tells all who hold on when it has.
    #[runtime::context]
    async fn run_a_worker(&self, cx: Context<()>, gate: PathBuf) -> Result<(), Refused> {
        let lost = |_| Refused(100);
        let nursery = self.nursery.borrow_mut().take().ok_or(Refused(101))?;
        nursery.run_in_actor::<refuse_at>("worker", (gate, 7)).await.map_err(lost)?;
        cx.started(()).await.map_err(lost)?;
        match nursery.join().await {
            Err(Error::Remote(remote)) => {
                let refused = remote.downcast::<Refused>().ok_or(Refused(102))?;
                self.failed.send_replace(Some(refused.clone()));
                Err(refused)
            }
            Err(_) | Ok(()) => Err(Refused(103)),
        }
    }

    /// Is served for as long as the service is well.
    #[runtime::context]
    async fn hold_on(&self, cx: Context<u32>, number: u32) -> Result<(), Refused> {
        let mut failed = self.failed.subscribe();
        cx.started(number).await.map_err(|_| Refused(104))?;
        let failure = failed.wait_for(Option::is_some).await.map_err(|_| Refused(105))?.clone();
        failure.map_or(Ok(()), Err)
    }
}

#[runner::test]
async fn what_fails_in_the_service_reaches_everybody_it_serves(case: Case) -> TestResult {
    const HOLDERS: u32 = 5;
    let mut gate = Gate::closed(&case, "gate")?;
    let before = process::descendants(process::own_pid());
    runtime::nursery(async |n| {
        let service = n.start::<Service>("service").await?;
        let waiting = Rc::new(tokio::sync::Semaphore::new(0));
        let mut holders = JoinSet::new();
        for number in 0..HOLDERS {
            let (service, waiting) = (service.clone(), Rc::clone(&waiting));
            holders.spawn_local(async move {
                let opened = service.hold_on(number).open(async |cx| {
                    assert_eq!(*cx.first(), number);
                    waiting.add_permits(1);
                    std::future::pending::<runtime::Result<()>>().await
                });
                opened.await
            });
        }
        let path = gate.path();
        let running = service.run_a_worker(path).open(async |_| {
            let _all = waiting.acquire_many(HOLDERS).await.map_err(Error::user)?;
            gate.arrived(1).await.map_err(Error::user)?;
            gate.open();
            std::future::pending::<runtime::Result<()>>().await
        });
        let told = running.await;
        assert!(matches!(told, Err(CallError::Returned(Refused(7), _))), "{told:?}");
        while let Some(holder) = holders.join_next().await {
            match holder.map_err(Error::user)? {
                Err(CallError::Returned(Refused(7), remote)) => {
                    assert_eq!(remote.source_actor(), service.id());
                }
                other => panic!("{other:?}"),
            }
        }
        service.cancel().await
    })
    .await?;
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// The nursery is the actor's: cancelling the actor ends what it holds, without force.
#[runner::test]
async fn a_service_that_is_cancelled_takes_its_workers_along(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let before = process::descendants(process::own_pid());
    runtime::nursery(async |n| {
        let service = n.start::<Service>("service").await?;
        let path = gate.path();
        let outcome = service
            .run_a_worker(path)
            .open(async |_| {
                gate.arrived(1).await.map_err(Error::user)?;
                // This body ends with the service's task, before the service has.
                service.cancel().await
            })
            .await;
        assert!(matches!(outcome, Err(CallError::Failed(Error::Cancelled { .. }))), "{outcome:?}");
        service.wait_ended().await;
        assert_eq!(process::descendants(process::own_pid()), before);
        assert_eq!(service.teardown().map(|teardown| teardown.is_forced()), Some(false));
        Ok(())
    })
    .await?;
    Ok(())
}
