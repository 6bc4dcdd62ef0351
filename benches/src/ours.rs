//! Our side of the runtime's figures, each in a process of its own: a program with actors, as a
//! user would write it.

use std::future::IntoFuture;
use std::pin::Pin;
use std::task::Poll;
use std::thread;
use std::time::Instant;

use runtime::{Backend, Nursery, RootConfig, Sender};

use crate::error::{BenchError, Result, Trying};
use crate::floor::call::PAYLOAD_BYTES;
use crate::floor::tree::{BREADTH, DEPTH};

/// Says the same again.
#[derive(Default)]
struct Echo;

#[runtime::actor]
impl Echo {
    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        payload
    }
}

/// A node of a tree, which owns the nodes below it.
#[derive(Default)]
struct Branch {
    below: Option<Nursery>,
}

#[runtime::actor]
impl Branch {
    async fn grow(&mut self, depth: u32) -> runtime::Result<()> {
        if depth > 0 {
            self.below = Some(plant(depth).await?);
        }
        Ok(())
    }
}

#[runtime::stream]
async fn pour(out: Sender<Vec<u8>>, bytes: usize, count: usize) -> runtime::Result<()> {
    for _ in 0..count {
        out.send(vec![7; bytes]).await?;
    }
    Ok(())
}

#[runtime::remote]
async fn refuse() -> runtime::Result<()> {
    Err(runtime::Error::message("as it should"))
}

/// Seconds from the start of an actor to its first reply, one actor after the other; each is
/// cancelled untimed.
pub(crate) fn start(backend: Backend, count: usize) -> Result<Vec<f64>> {
    as_root(backend, async move || {
        let nursery = Nursery::open()?;
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            let echo = nursery.start::<Echo>("echo").await?;
            echo.echo(Vec::new()).await?;
            samples.push(started.elapsed().as_secs_f64());
            echo.cancel().await?;
        }
        nursery.shutdown().await?;
        Ok(samples)
    })
}

/// A nursery with so many one-shots that fail at once, started at the same time.
pub(crate) fn burst(backend: Backend, count: usize) -> Result<()> {
    as_root(backend, async move || {
        let outcome = runtime::nursery(async |n| {
            let starts =
                (0..count).map(|i| n.run_in_actor::<refuse>(format!("child{i}"), ()).into_future());
            for started in join_all(starts).await {
                started?;
            }
            Ok(())
        })
        .await;
        match outcome {
            Ok(()) => Err(runtime::Error::message("the nursery did not fail")),
            Err(_failures) => Ok(()),
        }
    })
}

/// Seconds of each call.
pub(crate) fn call(backend: Backend, count: usize) -> Result<Vec<f64>> {
    as_root(backend, async move || {
        let nursery = Nursery::open()?;
        let echo = nursery.start::<Echo>("echo").await?;
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            echo.echo(vec![7; PAYLOAD_BYTES]).await?;
            samples.push(started.elapsed().as_secs_f64());
        }
        nursery.shutdown().await?;
        Ok(samples)
    })
}

/// Seconds of an item, from the first to the last of so many of so many bytes, that an actor streams to its parent.
pub(crate) fn stream(backend: Backend, bytes: usize, count: usize) -> Result<Vec<f64>> {
    as_root(backend, async move || {
        let nursery = Nursery::open()?;
        let source = nursery.actor("source").expose::<pour>().await?;
        let mut items = source.stream::<pour>((bytes, count)).await?;
        items.recv().await?;
        let started = Instant::now();
        while let Some(item) = items.recv().await? {
            std::hint::black_box(item);
        }
        let took = started.elapsed().as_secs_f64();
        nursery.shutdown().await?;
        Ok(vec![took / f64::from(u32::try_from(count).unwrap_or(u32::MAX))])
    })
}

/// Seconds of the cancel of each of so many trees, until all of it has been reaped.
pub(crate) fn tree(backend: Backend, count: usize) -> Result<Vec<f64>> {
    as_root(backend, async move || {
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let tree = plant(DEPTH).await?;
            let started = Instant::now();
            tree.cancel().await;
            samples.push(started.elapsed().as_secs_f64());
            tree.shutdown().await?;
        }
        Ok(samples)
    })
}

/// A nursery with all nodes of a tree of so many levels.
async fn plant(depth: u32) -> runtime::Result<Nursery> {
    let nursery = Nursery::open()?;
    let start = |i| nursery.start::<Branch>(format!("node{i}")).into_future();
    let nodes =
        join_all((0..BREADTH).map(start)).await.into_iter().collect::<runtime::Result<Vec<_>>>()?;
    for node in nodes {
        node.grow(depth - 1).await?;
    }
    Ok(nursery)
}

/// Runs a root actor beside the main thread's loop, and ends all of it.
fn as_root<T: Send>(
    backend: Backend,
    body: impl AsyncFnOnce() -> runtime::Result<T> + Send,
) -> Result<T> {
    let guard = runtime::init(runtime::Config::default()).trying("runtime::init")?;
    let main_loop = guard.main_loop();
    let stopper = main_loop.stopper();
    let config = RootConfig { backend, ..RootConfig::default() };
    thread::scope(|scope| {
        let root = move || {
            let outcome = runtime::block_on_root(config, body());
            stopper.stop();
            outcome
        };
        let root = thread::Builder::new()
            .name("root".to_owned())
            .spawn_scoped(scope, root)
            .trying("a thread")?;
        main_loop.run();
        match root.join() {
            Ok(outcome) => outcome.trying("the root actor")?.trying("the root actor's body"),
            Err(_) => Err(BenchError::new("the root actor", "it panicked")),
        }
    })
}

/// Polls all until all are ready.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
