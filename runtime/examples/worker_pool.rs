//! A pool of workers that are killed while they work, and a program that gets its work done.
//!
//! `cargo run -p runtime --example worker_pool -- --backend fork`. On `thread`, where an actor cannot be killed alone, a worker that
//! is asked for a multiple of seven panics instead, and its life is ended for it.

mod backend;

// guide: pool
use std::time::Duration;

use runtime::{Backend, CallError, ChildSpec, Error, Restarts, Strategy, Supervised, Supervisor};

const WORKERS: [&str; 3] = ["worker-0", "worker-1", "worker-2"];

/// An actor whose state is made anew for each of its lives.
struct Worker {
    life: u64,
}

#[runtime::actor]
impl Worker {
    fn new(life: u64) -> Worker {
        Worker { life }
    }

    /// Squares a number. The first life does not survive a multiple of seven.
    async fn square(&self, number: u64) -> u64 {
        if self.life == 0 && number.is_multiple_of(7) {
            die();
        }
        number * number
    }
}

fn supervisor(backend: Backend) -> Supervisor {
    let limit = Restarts { at_most: 5, within: Duration::from_secs(10) };
    let pool = Supervisor::new(Strategy::OneForOne).limit(limit);
    WORKERS.into_iter().fold(pool, |pool, name| {
        pool.child(ChildSpec::of::<Worker>(name, |life| (life,)).backend(backend))
    })
}
// guide: end

fn die() {
    match runtime::current().ok().and_then(|own| own.backend()) {
        Some(Backend::Thread) => panic!("this life is over"),
        Some(_) | None => std::process::exit(3),
    }
}

// guide: work
/// Squares a number, by whichever life of the worker can. A call that was in flight at a death is never repeated by the runtime:
/// only we know that squaring twice does no harm.
async fn square(pool: &Supervised, number: u64) -> runtime::Result<(u64, u32)> {
    let name = WORKERS[usize::try_from(number).unwrap_or_default() % WORKERS.len()];
    let worker = pool.portal::<Worker>(name)?;
    let mut lost = 0;
    loop {
        match worker.square(number).await {
            Ok(square) => return Ok((square, lost)),
            Err(CallError::Failed(Error::ActorDied { incarnation, .. })) => {
                println!("{name} died in life {incarnation}, with {number} in hand");
                lost += 1;
            }
            Err(CallError::Failed(Error::Remote(panic))) if panic.is_panic() => {
                println!("{name} died in life 0, with {number} in hand");
                lost += 1;
                worker.cancel().await?; // a permanent child: its next life begins
            }
            Err(other) => return Err(other.into()),
        }
    }
}

#[runtime::main]
async fn main() -> runtime::Result<()> {
    let backend = backend::from_args()?;
    runtime::nursery(async |n| {
        let pool = n.supervise(supervisor(backend)).await?;
        let (mut sum, mut lost) = (0, 0);
        for number in 1..=20 {
            let (square, deaths) = square(&pool, number).await?;
            sum += square;
            lost += deaths;
        }
        println!("the squares up to 20 make {sum}; {lost} calls met a death");
        pool.shutdown().await;
        Ok(())
    })
    .await
}
// guide: end
