//! Words stream up a tree: sources below, actors that join two streams, a root that counts.
//!
//! `cargo run -p runtime --example pipeline -- --backend thread`

mod backend;

// guide: tree
use std::collections::BTreeMap;

use runtime::{Error, Nursery, Portal, Sender};

const TEXTS: [&str; 4] = [
    "the quick brown fox jumps over the lazy dog",
    "the dog sleeps and the fox does not",
    "a fox is quick and a dog is not",
    "over and over the quick fox jumps",
];

/// A source: the words of one text.
#[runtime::stream]
async fn words(out: Sender<String>, text: String) -> runtime::Result<()> {
    for word in text.split(' ') {
        out.send(word.to_owned()).await?; // waits while 64 wait to be read
    }
    Ok(())
}

/// Joins what two below it send. Four texts need two levels of these.
struct Joint {
    below: Vec<Below>,
    _nursery: Nursery,
}

enum Below {
    Source(Portal, String),
    Joint(JointHandle),
}

#[runtime::actor]
impl Joint {
    async fn new(texts: Vec<String>) -> runtime::Result<Joint> {
        let nursery = Nursery::open()?;
        let mut below = Vec::new();
        for half in texts.chunks(texts.len().div_ceil(2)) {
            below.push(match half {
                [text] => {
                    let source = nursery.actor("source").expose::<words>().await?;
                    Below::Source(source, text.clone())
                }
                texts => {
                    let joint = nursery.start::<Joint>("joint").with((texts.to_vec(),)).await?;
                    Below::Joint(joint)
                }
            });
        }
        Ok(Joint { below, _nursery: nursery })
    }

    /// Everything that comes from below, as it comes.
    #[runtime::stream]
    async fn joined(&self, out: Sender<String>) -> runtime::Result<()> {
        let forward = async |below: &Below| match below {
            Below::Source(source, text) => {
                let mut words = source.stream::<words>((text.clone(),)).await?;
                while let Some(word) = words.recv().await? {
                    out.send(word).await?;
                }
                Ok::<(), Error>(())
            }
            Below::Joint(joint) => {
                let mut words = joint.joined().await?;
                while let Some(word) = words.recv().await? {
                    out.send(word).await?;
                }
                Ok(())
            }
        };
        match self.below.as_slice() {
            [one, other] => tokio::try_join!(forward(one), forward(other)).map(drop),
            below => {
                for one in below {
                    forward(one).await?;
                }
                Ok(())
            }
        }
    }
}
// guide: end

// guide: root
#[runtime::main]
async fn main() -> runtime::Result<()> {
    let backend = backend::from_args()?;
    let texts: Vec<String> = TEXTS.map(str::to_owned).into();
    runtime::nursery(async |n| {
        let top = n.start::<Joint>("top").with((texts,)).backend(backend).await?;
        let mut words = top.joined().await?;
        let mut counts = BTreeMap::<String, u32>::new();
        while let Some(word) = words.recv().await? {
            *counts.entry(word).or_default() += 1;
        }
        for (word, count) in counts.into_iter().filter(|(_, count)| *count > 2) {
            println!("{count} {word}");
        }

        // A second reader leaves after one word: the whole tree stops sending, and nothing is left of it.
        let mut words = top.joined().await?;
        println!("there is more: {}", words.recv().await?.is_some());
        drop(words);
        top.cancel().await
    })
    .await
}
// guide: end
