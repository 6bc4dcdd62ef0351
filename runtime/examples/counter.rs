//! An actor with state, called through its handle; a function of another actor; errors as values.
//!
//! `cargo run -p runtime --example counter -- --backend fork`

mod backend;

// guide: counter
use serde::{Deserialize, Serialize};

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{total} + {n} is beyond the limit of {limit}")]
struct Overflow {
    total: u64,
    n: u64,
    limit: u64,
}

struct Counter {
    total: u64,
    limit: u64,
}

#[runtime::actor]
impl Counter {
    fn new(limit: u64) -> Counter {
        Counter { total: 0, limit }
    }

    /// Adds, and says the new total.
    async fn add(&mut self, n: u64) -> Result<u64, Overflow> {
        match self.total.checked_add(n) {
            Some(total) if total <= self.limit => {
                self.total = total;
                Ok(total)
            }
            _ => Err(Overflow { total: self.total, n, limit: self.limit }),
        }
    }

    async fn total(&self) -> u64 {
        self.total
    }
}

#[runtime::remote]
async fn fib(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

#[runtime::main]
async fn main() -> runtime::Result<()> {
    let backend = backend::from_args()?;
    runtime::nursery(async |n| {
        let counter = n.start::<Counter>("counter").with((10,)).backend(backend).await?;
        println!("3 more: {}", counter.add(3).await?);
        println!("4 more: {}", counter.add(4).await?);
        match counter.add(5).await {
            Err(runtime::CallError::Returned(overflow, _)) => println!("5 more: {overflow}"),
            other => println!("5 more: {other:?}"),
        }
        println!("total: {}", counter.total().await?);

        let fib_of_10 = n.run_in_actor::<fib>("fib", (10,)).backend(backend).await?.await?;
        println!("fib(10): {fib_of_10}");
        counter.cancel().await
    })
    .await
}
// guide: end
