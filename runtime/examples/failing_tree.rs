//! A tree of actors whose leaves all fail: what failed comes up level by level, as values, with the way it came.
//!
//! `cargo run -p runtime --example failing_tree -- --backend thread`

mod backend;

use std::time::{Duration, SystemTime};

use runtime::Error;
use serde::{Deserialize, Serialize};

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("leaf {path} withered")]
struct Withered {
    path: String,
}

#[runtime::remote]
async fn leaf(path: String, at: SystemTime) -> Result<(), Withered> {
    tokio::time::sleep(at.duration_since(SystemTime::now()).unwrap_or_default()).await;
    Err(Withered { path })
}

/// Two children below, which are branches again, or leaves.
#[runtime::remote]
async fn branch(path: String, depth: u32, at: SystemTime) -> runtime::Result<()> {
    runtime::nursery(async |n| {
        for number in 1..=2 {
            let below = format!("{path}.{number}");
            if depth == 1 {
                n.run_in_actor::<leaf>(below.clone(), (below, at)).await?;
            } else {
                n.run_in_actor::<branch>(below.clone(), (below, depth - 1, at)).await?;
            }
        }
        Ok(())
    })
    .await
}

#[runtime::main]
async fn main() -> runtime::Result<()> {
    let backend = backend::from_args()?;
    // Late enough for the whole tree to stand by then.
    let at = SystemTime::now() + Duration::from_millis(1500);
    let ended: runtime::Result<()> = runtime::nursery(async |n| {
        n.run_in_actor::<branch>("1", ("1".to_owned(), 2, at)).backend(backend).await?;
        Ok(())
    })
    .await;
    let Err(error) = ended else { return Err(Error::message("nothing failed")) };
    for leaf in error.into_leaves() {
        if let Error::Remote(remote) = leaf {
            let names: Vec<&str> =
                remote.relay_path().iter().map(|actor| actor.name.as_str()).collect();
            println!(
                "{} in actor {}, by way of {names:?}",
                remote.message(),
                remote.source_actor().name
            );
        }
    }
    Ok(())
}
