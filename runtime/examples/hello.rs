//! The first program: an actor that is asked for something, and ended.
//!
//! `cargo run -p runtime --example hello -- --backend fork`

mod backend;

// guide: program
/// Can be called in another actor.
#[runtime::remote]
async fn greet(whom: String) -> String {
    format!("good day, {whom}")
}

#[runtime::main]
async fn main() -> runtime::Result<()> {
    let backend = backend::from_args()?; // `--backend fork`, say
    runtime::nursery(async |n| {
        let host = n.actor("host").backend(backend).expose::<greet>().await?;
        println!("{}", host.call::<greet>(("Ann".to_owned(),)).await?);
        println!("{}", host.call::<greet>(("Bob".to_owned(),)).await?);
        host.cancel().await // a nursery waits for its daemons: somebody ends them
    })
    .await
}
// guide: end
