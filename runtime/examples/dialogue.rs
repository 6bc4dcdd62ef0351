//! A context: a task here and a task there, linked, with a stream between them.
//!
//! `cargo run -p runtime --example dialogue -- --backend fork`

mod backend;

// guide: server
use runtime::{Backend, CallError, Context, Error, Portal, Sender};
use serde::{Deserialize, Serialize};

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum GuessError {
    #[error("after {0} guesses there is no more patience")]
    Impatient(u32),
    #[error(transparent)]
    Runtime(#[from] Error),
}

#[derive(Debug, Serialize, Deserialize)]
enum Hint {
    Lower,
    Higher,
    Right,
}

/// Starts with the highest number it may be; receives guesses, sends hints, returns how many it took.
#[runtime::context]
async fn be_guessed(cx: Context<u32, u32, Hint>, secret: u32) -> Result<u32, GuessError> {
    let cx = cx.started(100).await?; // only now the opener goes on
    let mut guesses = cx.open_stream()?;
    for count in 1..=8 {
        let Some(guess) = guesses.recv().await? else { return Ok(count - 1) };
        let hint = match guess.cmp(&secret) {
            std::cmp::Ordering::Greater => Hint::Lower,
            std::cmp::Ordering::Less => Hint::Higher,
            std::cmp::Ordering::Equal => Hint::Right,
        };
        guesses.send(hint).await?;
    }
    Err(GuessError::Impatient(8))
}
// guide: end

// guide: client
async fn guess(host: &Portal, secret: u32) -> Result<(u32, u32), CallError<GuessError>> {
    let opening = host.context::<be_guessed>((secret,)).capacity(1);
    let guessed = opening.open(async |cx| {
        let (mut low, mut high) = (1_u32, *cx.first());
        let mut stream = cx.open_stream()?;
        let found = loop {
            let guess = low.midpoint(high);
            stream.send(guess).await?;
            match stream.recv().await? {
                Some(Hint::Lower) => high = guess - 1,
                Some(Hint::Higher) => low = guess + 1,
                Some(Hint::Right) => break guess,
                None => return Err(Error::message("it has left")),
            }
        };
        stream.close();
        Ok((found, cx.result().await?))
    });
    guessed.await // both tasks have ended when this returns
}
// guide: end

// guide: one-way
/// A function that does nothing but send.
#[runtime::stream]
async fn powers_of(out: Sender<u64>, base: u64) -> runtime::Result<()> {
    for exponent in 0.. {
        out.send(base.pow(exponent)).await?;
    }
    Ok(())
}

async fn first_powers(host: &Portal, base: u64) -> runtime::Result<Vec<u64>> {
    let mut powers = host.stream::<powers_of>((base,)).await?;
    let mut first = Vec::new();
    while first.len() < 5 {
        first.extend(powers.recv().await?);
    }
    Ok(first) // dropping the reader cancels the function
}
// guide: end

async fn run(backend: Backend) -> runtime::Result<()> {
    runtime::nursery(async |n| {
        let host = n.actor("host").backend(backend).expose::<be_guessed>().expose::<powers_of>();
        let host = host.await?;
        let (found, guesses) = guess(&host, 42).await?;
        println!("it was {found}, found with {guesses} guesses");
        match guess(&host, 101).await {
            Err(CallError::Returned(GuessError::Impatient(guesses), _)) => {
                println!("no luck in {guesses} guesses");
            }
            other => println!("{other:?}"),
        }
        println!("{:?}", first_powers(&host, 3).await?);
        host.cancel().await
    })
    .await
}

#[runtime::main]
async fn main() -> runtime::Result<()> {
    run(backend::from_args()?).await
}
