//! What a nursery promises: one fails, all end, and every failure is told.
//!
//! `cargo run -p runtime --example nurseries -- --backend thread`

mod backend;

use runtime::{Backend, Error, Nursery, Portal};
use serde::{Deserialize, Serialize};

// guide: failing
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{0} is not a prime")]
struct NotPrime(u64);

#[runtime::remote]
async fn must_be_prime(number: u64) -> Result<(), NotPrime> {
    match (2..number).find(|divisor| number.is_multiple_of(*divisor)) {
        Some(_) => Err(NotPrime(number)),
        None => Ok(()),
    }
}

#[runtime::remote]
async fn wait_for_ever() {
    std::future::pending::<()>().await;
}

/// One of three fails; the other two are cancelled, waited for and reaped before this returns.
async fn one_of_three_fails(backend: Backend) {
    let outcome: runtime::Result<()> = runtime::nursery(async |n| {
        n.run_in_actor::<wait_for_ever>("patient", ()).backend(backend).await?;
        n.actor("daemon").backend(backend).await?;
        n.run_in_actor::<must_be_prime>("checker", (91,)).backend(backend).await?;
        std::future::pending().await // the body is one more child, and is cancelled too
    })
    .await;
    match outcome {
        Err(Error::Remote(remote)) => {
            println!("{}: {}", remote.source_actor().name, remote.message());
        }
        other => println!("{other:?}"),
    }
}
// guide: end

// guide: owned
/// A nursery that is a part of something.
struct Service {
    nursery: Nursery,
    worker: Portal,
}

impl Service {
    async fn open(backend: Backend) -> runtime::Result<Service> {
        let nursery = Nursery::open()?;
        let worker = nursery.actor("worker").backend(backend).expose::<must_be_prime>().await?;
        Ok(Service { nursery, worker })
    }

    async fn close(self) -> runtime::Result<()> {
        self.nursery.shutdown().await // dropping it would be a cancel too; this also waits
    }
}
// guide: end

#[runtime::main]
async fn main() -> runtime::Result<()> {
    let backend = backend::from_args()?;
    one_of_three_fails(backend).await;
    let service = Service::open(backend).await?;
    let is_prime = service.worker.call::<must_be_prime>((97,)).await.is_ok();
    println!("97 is a prime: {is_prime}");
    service.close().await
}
