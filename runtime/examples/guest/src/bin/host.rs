//! A program that has threads before it thinks of actors, as a plug-in or a module of an interpreter has. Its actors are started
//! from a worker binary.
//!
//! `cargo run -p guest --bin host -- --backend forkserver`, after `cargo build -p guest`

use guest::{count_words, program};
use runtime::{Config, RootConfig};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome {
    // Somebody else's `main`: by the time our code runs, there are threads.
    let plug_in = std::thread::Builder::new().name("plug-in".to_owned()).spawn(run)?;
    plug_in.join().map_err(|_| "the plug-in panicked")?
}

fn run() -> Outcome {
    if let Err(late) = runtime::init(Config::default()) {
        println!("refused: {late}");
    }
    let _guard = runtime::init(Config::worker(std::env::current_exe()?.with_file_name("worker")))?;
    let config = match std::env::args().nth(2) {
        Some(backend) => RootConfig { backend: backend.parse()?, ..RootConfig::default() },
        None => RootConfig::default(),
    };
    runtime::block_on_root(config, count())??;
    Ok(())
}

async fn count() -> runtime::Result<()> {
    runtime::nursery(async |n| {
        let counter = n.actor("counter").expose::<count_words>().expose::<program>().await?;
        let text = "no main of its own".to_owned();
        println!("{} words", counter.call::<count_words>((text,)).await?);
        println!("counted in {}", counter.call::<program>(()).await?);
        counter.cancel().await
    })
    .await
}
