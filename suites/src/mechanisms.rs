//! The five backends are five: read from `/proc` and from inherited memory, not from what the
//! runtime says of itself.
//!
//! | backend             | process | made by     | heap at `init` | heap now |
//! |---------------------|---------|-------------|----------------|----------|
//! | `exec`              | own     | the spawner |                |          |
//! | `forkserver`        | own     | the main    | yes            |          |
//! | `fork`              | own     | the spawner | yes            | yes      |
//! | `thread`            | same    |             | yes            | yes      |
//! | `thread_forkserver` | own     | the main    | yes            | yes      |
//!
//! The fork server's children are the root's by `CLONE_PARENT`: children of the thread that made
//! the fork server. An actor that is no root makes its fork server anew when it first needs one,
//! by exec, so the children of that have nothing of the actor's heap, and there is one process
//! more than there are actors.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use runner::{Case, TestResult};
use runtime::{Backend, Error};
use serde::{Deserialize, Serialize};

use crate::actors::pid;
use crate::attempt;
use crate::process;

runner::marks! { timeout = "20s" }

static BEFORE_INIT: AtomicBool = AtomicBool::new(false);
static JUST_NOW: AtomicBool = AtomicBool::new(false);

/// Called before the runtime starts anything in the attempt's first process.
pub(crate) fn mark_heap_before_init() {
    BEFORE_INIT.store(true, Ordering::SeqCst);
}

/// What tells the backends apart, seen from the process of the parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mechanism {
    place: Place,
    has_heap_before_init: bool,
    has_heap_just_now: bool,
    /// Processes that came with the actor and are not it.
    servers: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    /// A thread of its parent's process.
    Thread,
    /// A child process of its parent, made by this thread of it.
    Process(Maker),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Maker {
    Main,
    Other,
}

fn expected_of_a_root(backend: Backend) -> Mechanism {
    let (place, has_heap_before_init, has_heap_just_now) = match backend {
        Backend::Exec => (Place::Process(Maker::Other), false, false),
        Backend::Forkserver => (Place::Process(Maker::Main), true, false),
        Backend::Fork => (Place::Process(Maker::Other), true, true),
        Backend::Thread => (Place::Thread, true, true),
        Backend::ThreadForkserver => (Place::Process(Maker::Main), true, true),
    };
    Mechanism { place, has_heap_before_init, has_heap_just_now, servers: 0 }
}

/// Of an actor on the same backend as the root's child.
fn expected_of_a_child(backend: Backend) -> Mechanism {
    match backend {
        Backend::Forkserver => Mechanism {
            place: Place::Process(Maker::Other),
            has_heap_before_init: false,
            has_heap_just_now: false,
            servers: 1,
        },
        Backend::Exec | Backend::Fork | Backend::Thread | Backend::ThreadForkserver => {
            expected_of_a_root(backend)
        }
    }
}

#[runtime::remote]
async fn inherited() -> (bool, bool) {
    (BEFORE_INIT.load(Ordering::SeqCst), JUST_NOW.load(Ordering::SeqCst))
}

/// Starts a child and looks at it.
#[runtime::remote]
async fn look_at_a_child() -> runtime::Result<Mechanism> {
    JUST_NOW.store(true, Ordering::SeqCst);
    let before = Family::now()?;
    runtime::nursery(async |n| {
        let child = n.actor("a-child").expose::<pid>().expose::<inherited>().await?;
        let child_pid = child.call::<pid>(()).await?.cast_signed();
        let (has_heap_before_init, has_heap_just_now) = child.call::<inherited>(()).await?;
        let now = Family::now()?;
        let new: BTreeSet<_> = now.processes.difference(&before.processes).copied().collect();
        let place = place_of(child_pid, &new)?;
        let servers = new.iter().filter(|pid| **pid != child_pid).count();
        child.cancel().await?;
        Ok(Mechanism { place, has_heap_before_init, has_heap_just_now, servers })
    })
    .await
}

struct Family {
    processes: BTreeSet<i32>,
}

impl Family {
    fn now() -> runtime::Result<Self> {
        Ok(Self { processes: process::descendants(process::own_pid()) })
    }
}

fn place_of(child: i32, new: &BTreeSet<i32>) -> runtime::Result<Place> {
    let own = process::own_pid();
    if child == own {
        return Ok(Place::Thread);
    }
    let stat = process::stat(child).map_err(Error::user)?;
    let makers = process::children_by_thread(own).map_err(Error::user)?;
    match makers.get(&child) {
        Some(tid) if stat.parent == own && new.contains(&child) => {
            Ok(Place::Process(if *tid == own { Maker::Main } else { Maker::Other }))
        }
        _ => Err(Error::message(format!("{child} is no new child of {own}: {stat:?}, {makers:?}"))),
    }
}

#[runner::test]
async fn a_roots_child_is_made_as_its_backend_says(case: Case) -> TestResult {
    let expected = expected_of_a_root(attempt::backend(&case)?);
    assert_eq!(look_at_a_child().await?, expected);
    Ok(())
}

#[runner::test]
async fn a_childs_child_is_made_as_its_backend_says(case: Case) -> TestResult {
    let expected = expected_of_a_child(attempt::backend(&case)?);
    let seen = runtime::nursery(async |n| {
        Ok(n.run_in_actor::<look_at_a_child>("middle", ()).await?.await?)
    })
    .await?;
    assert_eq!(seen, expected);
    Ok(())
}

#[runner::test]
fn no_two_backends_look_alike() {
    for (index, backend) in Backend::ALL.into_iter().enumerate() {
        for other in &Backend::ALL[index + 1..] {
            assert_ne!(expected_of_a_root(backend), expected_of_a_root(*other));
            assert_ne!(expected_of_a_child(backend), expected_of_a_child(*other));
        }
    }
}

#[runner::test]
#[needs("in-process")]
async fn an_actor_on_a_thread_is_a_thread_of_its_name() -> TestResult {
    let pid = process::own_pid();
    let before = process::threads(pid)?;
    runtime::nursery(async |n| {
        let child = n.actor("a-thread").await?;
        let now = process::threads(pid).map_err(Error::user)?;
        let new: Vec<_> = now.difference(&before).copied().collect();
        assert_eq!(new.len(), 1, "one more thread, and no process");
        let name = std::fs::read_to_string(format!("/proc/{pid}/task/{}/comm", new[0]));
        assert_eq!(name.map_err(Error::user)?.trim_end(), "a-thread");
        child.cancel().await
    })
    .await?;
    assert!(process::comes_true(|| process::threads(pid).is_ok_and(|now| now == before)));
    Ok(())
}

/// The main thread is a fork server, the actor's thread goes by its name; nothing else runs in a
/// new process.
#[runner::test]
#[needs("process")]
async fn an_actors_process_is_named_and_has_two_threads() -> TestResult {
    const NAME: &str = "a-rather-long-name";
    runtime::nursery(async |n| {
        let child = n.actor(NAME).expose::<pid>().await?;
        let pid = child.call::<pid>(()).await?.cast_signed();
        let stat = process::stat(pid).map_err(Error::user)?;
        assert_eq!(stat.command, NAME[..15]);
        assert_eq!(stat.group, pid, "it leads a group of its own");
        assert_eq!(stat.threads, 2);
        let digits = &child.id().uuid.simple().to_string()[..8];
        let command_line = process::command_line(pid).map_err(Error::user)?;
        assert_eq!(command_line, format!("actor[{NAME}@{digits}]"));
        child.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
#[needs("inherits-heap")]
async fn a_child_has_what_its_parent_had_when_it_was_started() -> TestResult {
    runtime::nursery(async |n| {
        let before = n.actor("before").expose::<inherited>().await?;
        JUST_NOW.store(true, Ordering::SeqCst);
        let after = n.actor("after").expose::<inherited>().await?;
        assert_eq!(before.call::<inherited>(()).await?, (true, false));
        assert_eq!(after.call::<inherited>(()).await?, (true, true));
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}
