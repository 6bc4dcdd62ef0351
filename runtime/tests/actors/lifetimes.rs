//! The end of an actor: what it releases, what it leaves open; and what it is given at its begin.

use std::path::PathBuf;

use runtime::{Error, Nursery, current, nursery};
use serde::{Deserialize, Serialize};

use crate::Need;
use crate::gate::{self, Gate};

crate::cases![
    None => [
        what_is_to_be_released_is_released_last_first,
        an_entry_that_panics_is_told_and_stops_no_other,
        a_nursery_kept_beyond_the_root_is_ended_with_it,
        a_nursery_leaked_in_an_actor_is_ended_with_it,
        a_variable_is_inherited_and_overridden_below,
    ],
    Some(Need::Process) => [an_actor_that_lost_its_parent_releases_too],
];

/// What an actor that releases does before.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Way {
    Return,
    Fail,
    Panic,
    /// Is cancelled.
    Wait,
}

/// A new path for what the releases say.
pub(crate) fn notes() -> PathBuf {
    std::env::temp_dir().join(format!("notes-{}-{}", std::process::id(), uuid::Uuid::new_v4()))
}

pub(crate) fn note(path: &std::path::Path, word: &str) {
    use std::io::Write;
    let file = std::fs::File::options().create(true).append(true).open(path);
    writeln!(file.expect("a file"), "{word}").expect("room");
}

pub(crate) fn said(path: PathBuf) -> String {
    let said = std::fs::read_to_string(&path).unwrap_or_default();
    let _gone = std::fs::remove_file(path);
    said
}

/// Says so when it is dropped.
struct Noting(PathBuf, &'static str);

impl Drop for Noting {
    fn drop(&mut self) {
        note(&self.0, self.1);
    }
}

#[runtime::remote]
async fn hold(notes: PathBuf, way: Way, gate: Option<PathBuf>) -> runtime::Result<()> {
    let this = current()?;
    for word in ["first", "second", "third"] {
        let notes = notes.clone();
        this.on_end(move || note(&notes, word));
    }
    // What its tasks hold goes before.
    let _task = Noting(notes, "task");
    if let Some(gate) = gate {
        gate::pass(gate);
    }
    match way {
        Way::Return => Ok(()),
        Way::Fail => Err(Error::message("as it should")),
        Way::Panic => panic!("as it should"),
        Way::Wait => std::future::pending().await,
    }
}

async fn what_is_to_be_released_is_released_last_first() -> runtime::Result<()> {
    for way in [Way::Return, Way::Fail, Way::Panic] {
        let notes = notes();
        let n = Nursery::open()?;
        n.run_in_actor::<hold>("holder", (notes.clone(), way, None)).await?;
        assert_eq!(n.join().await.is_ok(), matches!(way, Way::Return));
        assert_eq!(said(notes), "task\nthird\nsecond\nfirst\n", "{way:?}");
    }
    let notes = notes();
    let (n, gate) = (Nursery::open()?, Gate::closed());
    n.run_in_actor::<hold>("holder", (notes.clone(), Way::Wait, Some(gate.path()))).await?;
    gate.open_for(1).await;
    n.shutdown().await?;
    assert_eq!(said(notes), "task\nthird\nsecond\nfirst\n", "cancelled");
    Ok(())
}

#[runtime::remote]
async fn hold_badly(notes: PathBuf) -> runtime::Result<()> {
    let this = current()?;
    let below = notes.clone();
    this.on_end(move || note(&below, "below"));
    this.on_end(|| panic!("in an entry"));
    this.on_end(move || note(&notes, "above"));
    Ok(())
}

async fn an_entry_that_panics_is_told_and_stops_no_other() -> runtime::Result<()> {
    let notes = notes();
    let n = Nursery::open()?;
    n.run_in_actor::<hold_badly>("holder", (notes.clone(),)).await?.await?;
    let told = n.join().await;
    let Err(Error::Remote(remote)) = &told else { panic!("{told:?}") };
    assert!(remote.to_string().contains("in an entry"), "{remote}");
    assert_eq!(said(notes), "above\nbelow\n");
    Ok(())
}

/// Its parent has ended without a word to it.
#[runtime::remote]
async fn leave_one_behind(notes: PathBuf) -> runtime::Result<()> {
    let n = Nursery::open()?;
    let gate = Gate::closed();
    n.run_in_actor::<hold>("holder", (notes, Way::Wait, Some(gate.path()))).await?;
    gate.open_for(1).await;
    std::process::exit(3)
}

async fn an_actor_that_lost_its_parent_releases_too() -> runtime::Result<()> {
    let notes = notes();
    let n = Nursery::open()?;
    n.run_in_actor::<leave_one_behind>("careless", (notes.clone(),)).await?;
    n.join().await.expect_err("it exits");
    // It may be killed in the middle of that: what its parent left behind is not waited for.
    let said = said(notes);
    assert!("task\nthird\nsecond\nfirst\n".starts_with(&said), "{said}");
    Ok(())
}

async fn a_nursery_kept_beyond_the_root_is_ended_with_it() -> runtime::Result<()> {
    let kept = Box::leak(Box::new(Nursery::open()?));
    kept.actor("daemon").await?;
    // That the root ends, and that nothing is left, is looked at after every case.
    Ok(())
}

#[runtime::remote]
async fn leak() -> runtime::Result<()> {
    Box::leak(Box::new(Nursery::open()?)).actor("daemon").await?;
    Ok(())
}

#[runtime::remote]
async fn leak_and_wait(gate: PathBuf) -> runtime::Result<()> {
    Box::leak(Box::new(Nursery::open()?)).actor("daemon").await?;
    gate::pass(gate);
    std::future::pending().await
}

async fn a_nursery_leaked_in_an_actor_is_ended_with_it() -> runtime::Result<()> {
    let n = Nursery::open()?;
    n.run_in_actor::<leak>("leaky", ()).await?.await?;
    let gate = Gate::closed();
    let waiting = n.run_in_actor::<leak_and_wait>("leaky", (gate.path(),)).await?;
    gate.open_for(1).await;
    // Neither needed force.
    waiting.cancel().await?;
    n.join().await
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Colour(String);

#[runtime::remote]
async fn colours_below() -> runtime::Result<Vec<Option<Colour>>> {
    let n = Nursery::open()?;
    let mut colours = vec![current()?.var()?];
    colours.push(n.run_in_actor::<colour>("heir", ()).await?.await?);
    let blue = Colour("blue".to_owned());
    colours.push(n.run_in_actor::<colour>("other", ()).var(&blue).await?.await?);
    Ok(colours)
}

#[runtime::remote]
async fn colour() -> runtime::Result<Option<Colour>> {
    current()?.var()
}

async fn a_variable_is_inherited_and_overridden_below() -> runtime::Result<()> {
    let colour = |name: &str| Some(Colour(name.to_owned()));
    assert_eq!(current()?.var::<Colour>()?, None);
    nursery(async |n| {
        let red = Colour("red".to_owned());
        let told = n.run_in_actor::<colours_below>("top", ()).var(&red).await?.await?;
        assert_eq!(told, [colour("red"), colour("red"), colour("blue")]);
        // A sibling sees nothing of it, also in the same process.
        let told = n.run_in_actor::<colours_below>("sibling", ()).await?.await?;
        assert_eq!(told, [None, None, colour("blue")]);
        Ok(())
    })
    .await
}
