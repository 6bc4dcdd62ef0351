//! An actor's life: what it is given at its begin, and what it releases at its end.
//!
//! The module has the runtime's own name, as the area has; the crate is `::runtime` in here.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ::runtime::{self as rt, Error, Nursery, current};
use nix::sys::signal::Signal;
use runner::{Case, TestResult};
use serde::{Deserialize, Serialize};

use crate::actors::{Refused, pid};
use crate::attempt::{self, root_config};
use crate::gate::{self, Gate};
use crate::process::{self, Process};
use crate::shape;

runner::marks! { timeout = "20s" }

/// How an actor comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum End {
    Returns,
    Fails,
    Panics,
    IsCancelled,
}

/// Makes a file, has it removed at the end of the actor, and ends.
#[::runtime::remote]
async fn hold_a_file(file: PathBuf, gate: PathBuf, end: End) -> Result<(), Refused> {
    File::create(&file).map_err(|_| Refused(u32::MAX))?;
    let this = current().map_err(|_| Refused(u32::MAX))?;
    this.on_end(move || drop(std::fs::remove_file(file)));
    gate::arrive(&gate).map_err(|_| Refused(u32::MAX))?;
    match end {
        End::Returns => Ok(()),
        End::Fails => Err(Refused(1)),
        End::Panics => panic!("on purpose"),
        End::IsCancelled => std::future::pending().await,
    }
}

/// The file is there while the actor lives, and gone when its nursery is.
async fn file_of_an_actor_that(case: &Case, end: End) -> TestResult<rt::Result<()>> {
    let file = case.temp_dir()?.join("held");
    let mut gate = Gate::closed(case, "gate")?;
    let outcome = rt::nursery(async |n| {
        let arguments = (file.clone(), gate.path(), end);
        let one = n.run_in_actor::<hold_a_file>("holder", arguments).await?;
        gate.arrived(1).await.map_err(Error::user)?;
        if end == End::IsCancelled {
            assert!(file.exists());
            one.cancel().await?;
            assert!(!file.exists(), "it has ended, and so has what it held");
        }
        Ok(())
    })
    .await;
    assert!(!file.exists(), "{end:?}");
    Ok(outcome)
}

#[runner::test]
async fn what_an_actor_holds_is_released_when_it_fails(case: Case) -> TestResult {
    let error = file_of_an_actor_that(&case, End::Fails).await?.expect_err("it fails");
    assert_eq!(shape::of(&error), "holder:refused-1");
    Ok(())
}

#[runner::test]
async fn what_an_actor_holds_is_released_when_it_is_cancelled(case: Case) -> TestResult {
    Ok(file_of_an_actor_that(&case, End::IsCancelled).await??)
}

#[runner::test]
async fn what_an_actor_holds_is_released_when_it_panics(case: Case) -> TestResult {
    let error = file_of_an_actor_that(&case, End::Panics).await?.expect_err("it panics");
    assert_eq!(shape::of(&error), "holder!on purpose");
    Ok(())
}

#[runner::test]
async fn what_an_actor_holds_is_released_when_it_returns(case: Case) -> TestResult {
    Ok(file_of_an_actor_that(&case, End::Returns).await??)
}

fn note(path: &Path, word: &str) -> io::Result<()> {
    let mut notes = OpenOptions::new().create(true).append(true).open(path)?;
    notes.write_all(format!("{word}\n").as_bytes())
}

/// Says so when it is dropped.
struct Noting(PathBuf, &'static str);

impl Drop for Noting {
    fn drop(&mut self) {
        drop(note(&self.0, self.1));
    }
}

/// An actor with all there is to end: a task, a child, a state, two releases.
struct Holder {
    nursery: Nursery,
    notes: PathBuf,
    _state: Noting,
}

#[::runtime::actor]
impl Holder {
    async fn new(notes: PathBuf) -> rt::Result<Holder> {
        for word in ["released first", "released second"] {
            let notes = notes.clone();
            current()?.on_end(move || drop(note(&notes, word)));
        }
        let state = Noting(notes.clone(), "state");
        Ok(Holder { nursery: Nursery::open()?, notes, _state: state })
    }

    async fn hold(&self, gate: PathBuf) -> rt::Result<()> {
        let _task = Noting(self.notes.clone(), "task");
        let arguments = (self.notes.clone(), gate.clone());
        self.nursery.run_in_actor::<hold_a_note>("child", arguments).await?;
        gate::arrive(&gate).map_err(Error::user)?;
        std::future::pending().await
    }
}

#[::runtime::remote]
async fn hold_a_note(notes: PathBuf, gate: PathBuf) -> rt::Result<()> {
    current()?.on_end(move || drop(note(&notes, "child")));
    gate::arrive(&gate).map_err(Error::user)?;
    std::future::pending().await
}

/// Tasks, the state and with it the children that it owns, then releases, the last first.
#[runner::test]
async fn an_actor_ends_from_the_inside_out(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    let mut gate = Gate::closed(&case, "gate")?;
    rt::nursery(async |n| {
        let holder = n.start::<Holder>("holder").with((notes.clone(),)).await?;
        tokio::select! {
            outcome = holder.hold(gate.path()) => panic!("{outcome:?}"),
            arrived = gate.arrived(2) => arrived.map_err(Error::user)?,
        }
        holder.cancel().await
    })
    .await?;
    let said = std::fs::read_to_string(&notes)?;
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said, ["task", "state", "child", "released second", "released first"]);
    Ok(())
}

#[::runtime::remote]
async fn release_with_a_panic(notes: PathBuf) -> rt::Result<()> {
    let this = current()?;
    let (below, above) = (notes.clone(), notes);
    this.on_end(move || drop(note(&below, "below")));
    this.on_end(|| panic!("while releasing"));
    this.on_end(move || drop(note(&above, "above")));
    Ok(())
}

#[runner::test]
async fn a_release_that_panics_is_told_and_keeps_no_other(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    let outcome = rt::nursery(async |n| {
        n.run_in_actor::<release_with_a_panic>("holder", (notes.clone(),)).await?.await?;
        Ok(())
    })
    .await;
    let Err(Error::Remote(remote)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(remote.source_actor().name, "holder");
    assert!(remote.to_string().contains("while releasing"), "{remote}");
    assert_eq!(std::fs::read_to_string(&notes)?, "above\nbelow\n");
    Ok(())
}

/// A root is an actor like any.
#[runner::test]
fn a_root_releases_too(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    let inside = notes.clone();
    rt::block_on_root(root_config(&case)?, async move {
        current()?.on_end(move || drop(note(&inside, "root")));
        let kept = Nursery::open()?;
        kept.actor("child").await?;
        Ok::<_, Error>(())
    })??;
    assert_eq!(std::fs::read_to_string(&notes)?, "root\n");
    Ok(())
}

/// Who is killed releases nothing: what it held is for who started it to clear up.
#[runner::test]
#[needs("process")]
async fn who_is_killed_releases_nothing_and_is_told_of(case: Case) -> TestResult {
    let notes = case.temp_dir()?.join("notes");
    let mut gate = Gate::closed(&case, "gate")?;
    let n = Nursery::open()?;
    let holder = n.start::<Holder>("holder").with((notes.clone(),)).await?;
    let call = holder.hold(gate.path());
    let (_, killed) = tokio::join!(call, async {
        gate.arrived(2).await?;
        let below = process::actors_below(process::own_pid());
        let child = below.iter().map(|pid| pid.cast_unsigned());
        // The one without actors below it is the child; the other is the holder.
        let holder =
            child.into_iter().find(|pid| !process::actors_below(pid.cast_signed()).is_empty());
        Process::open(holder.ok_or(io::Error::other("no holder"))?)?.send(Signal::SIGKILL)
    });
    killed?;
    let error = n.join().await.expect_err("it was killed");
    assert_eq!(shape::of(&error), "holder†signal 9 (SIGKILL)");
    let said = std::fs::read_to_string(&notes).unwrap_or_default();
    assert!(said.lines().all(|word| word == "child"), "{said}");
    Ok(())
}

/// Whom the program's hook was called for, as the constructor of an actor finds it.
struct Hooked(Option<String>);

#[::runtime::actor]
impl Hooked {
    async fn new() -> Hooked {
        Hooked(attempt::labelled())
    }

    async fn called_for(&self) -> Option<String> {
        self.0.clone()
    }
}

/// In a fresh image, in a fork and on a thread.
#[runner::test]
async fn the_hook_of_the_program_runs_in_each_actor_before_its_code() -> TestResult {
    rt::nursery(async |n| {
        let (one, other) = (n.start::<Hooked>("one").await?, n.start::<Hooked>("other").await?);
        assert_eq!(one.called_for().await?.as_deref(), Some("one"));
        assert_eq!(other.called_for().await?.as_deref(), Some("other"));
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

/// What a tree is told once, at its top or on the way down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Colour(String);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Depth(u32);

fn colour(name: &str) -> Colour {
    Colour(name.to_owned())
}

type Seen = (Option<Colour>, Option<Depth>);

#[::runtime::remote]
async fn see() -> rt::Result<Seen> {
    Ok((current()?.var()?, current()?.var()?))
}

/// What it sees itself, and what two below it do: one left as it is, one with another depth.
#[::runtime::remote]
async fn see_below() -> rt::Result<Vec<Seen>> {
    rt::nursery(async |n| {
        let heir = n.run_in_actor::<see>("heir", ()).await?.await?;
        let deeper = n.run_in_actor::<see>("deeper", ()).var(&Depth(2)).await?.await?;
        Ok(vec![(current()?.var()?, current()?.var()?), heir, deeper])
    })
    .await
}

#[runner::test]
fn variables_are_handed_down_and_laid_over(case: Case) -> TestResult {
    let config = root_config(&case)?.var(&colour("red"));
    let seen = rt::block_on_root(config, async {
        rt::nursery(async |n| {
            let first = n.run_in_actor::<see_below>("first", ()).var(&Depth(1)).await?.await?;
            let second = n.run_in_actor::<see_below>("second", ()).var(&colour("blue"));
            let own: Seen = (current()?.var()?, current()?.var()?);
            Ok((first, second.await?.await?, own))
        })
        .await
    })??;
    let (red, blue) = (Some(colour("red")), Some(colour("blue")));
    let first = vec![
        (red.clone(), Some(Depth(1))),
        (red.clone(), Some(Depth(1))),
        (red.clone(), Some(Depth(2))),
    ];
    let second = vec![(blue.clone(), None), (blue.clone(), None), (blue, Some(Depth(2)))];
    assert_eq!(seen, (first, second, (red, None)));
    Ok(())
}

/// Nothing of a tree's variables is the process's.
#[runner::test]
fn the_variables_of_a_root_are_gone_with_it(case: Case) -> TestResult {
    let with = root_config(&case)?.var(&colour("red"));
    assert_eq!(
        rt::block_on_root(with, async { current()?.var::<Colour>() })??,
        Some(colour("red"))
    );
    let without = rt::block_on_root(root_config(&case)?, async { current()?.var::<Colour>() });
    assert_eq!(without??, None);
    Ok(())
}

#[::runtime::remote]
async fn leak_a_nursery() -> rt::Result<u32> {
    let kept = Box::leak(Box::new(Nursery::open()?));
    let child = kept.actor("kept").expose::<pid>().await?;
    Ok(child.call::<pid>(()).await?)
}

/// Not even forgetting it makes a nursery outlive its actor, or an actor wait for it.
#[runner::test]
async fn a_nursery_that_is_forgotten_ends_with_its_actor() -> TestResult {
    let before = process::descendants(process::own_pid());
    rt::nursery(async |n| {
        let one = n.run_in_actor::<leak_a_nursery>("forgetful", ()).await?;
        one.result().await?;
        Ok(())
    })
    .await?;
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}
