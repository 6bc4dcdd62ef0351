//! Starting actors: what of, under which name, with what options; and starts that fail.

use std::ffi::OsString;
use std::future::IntoFuture;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use runner::{Case, TestResult};
use runtime::{Backend, Error, Exit, Nursery, StartFailure, StartStep};
use tokio::task::JoinSet;

use crate::actors::{Identity, Refused, identity, pid, release_stuck, spin_until_released};
use crate::attempt;
use crate::process;

runner::marks! { timeout = "20s" }

/// Much less than the boot deadline, much more than a start takes on a loaded machine.
const AT_ONCE: Duration = Duration::from_secs(5);

#[runtime::remote]
async fn ten_times_what_is_below(levels: u32) -> runtime::Result<u32> {
    if levels == 0 {
        return Ok(1);
    }
    runtime::nursery(async |n| {
        let below = n.run_in_actor::<ten_times_what_is_below>("below", (levels - 1,)).await?;
        Ok(10 * below.await?)
    })
    .await
}

#[runner::test]
async fn a_function_runs_itself_in_a_child() -> TestResult {
    assert_eq!(ten_times_what_is_below(1).await?, 10);
    Ok(())
}

#[runner::test]
async fn a_function_runs_itself_three_levels_down() -> TestResult {
    assert_eq!(ten_times_what_is_below(3).await?, 1000);
    Ok(())
}

#[runtime::remote]
async fn greet(whom: String) -> String {
    format!("good day, {whom}")
}

#[runner::test]
async fn a_daemon_answers_twice_and_is_cancelled() -> TestResult {
    runtime::nursery(async |n| {
        let host = n.actor("host").expose::<greet>().await?;
        assert_eq!(host.call::<greet>(("Ann".to_owned(),)).await?, "good day, Ann");
        assert_eq!(host.call::<greet>(("Bob".to_owned(),)).await?, "good day, Bob");
        host.cancel().await
    })
    .await?;
    Ok(())
}

#[runtime::remote]
async fn most_beautiful_word(is_known: bool) -> Option<String> {
    is_known.then(|| "Gelassenheit".to_owned())
}

#[runtime::remote]
async fn nothing() {}

#[runner::test]
async fn the_result_of_a_one_shot_is_read_inside_the_nursery() -> TestResult {
    let word = runtime::nursery(async |n| {
        let one = n.run_in_actor::<most_beautiful_word>("linguist", (true,)).await?;
        Ok(one.result().await?)
    })
    .await?;
    assert_eq!(word.as_deref(), Some("Gelassenheit"));
    Ok(())
}

#[runner::test]
async fn the_result_of_a_one_shot_is_read_after_the_nursery() -> TestResult {
    let (known, unknown, unit) = runtime::nursery(async |n| {
        let known = n.run_in_actor::<most_beautiful_word>("linguist", (true,)).await?;
        let unknown = n.run_in_actor::<most_beautiful_word>("linguist", (false,)).await?;
        Ok((known, unknown, n.run_in_actor::<nothing>("idler", ()).await?))
    })
    .await?;
    assert_eq!(known.result().await?.as_deref(), Some("Gelassenheit"));
    assert_eq!(unknown.result().await?, None);
    let () = unit.result().await?;
    Ok(())
}

#[runner::test]
async fn children_and_theirs_are_on_the_backend_of_their_parent(case: Case) -> TestResult {
    let expected = attempt::backend(&case)?;
    for identity in lineage(None).await? {
        assert_eq!(identity.backend, Some(expected));
        assert_eq!(identity.default_backend, expected);
    }
    Ok(())
}

#[runner::test]
async fn every_backend_can_be_named_and_is_handed_down() -> TestResult {
    for named in Backend::ALL {
        for identity in lineage(Some(named)).await? {
            assert_eq!(identity.backend, Some(named));
            assert_eq!(identity.default_backend, named);
        }
    }
    Ok(())
}

/// A child and its child.
async fn lineage(named: Option<Backend>) -> runtime::Result<Vec<Identity>> {
    runtime::nursery(async |n| {
        let start = n.run_in_actor::<self_and_child>("child", ());
        let start = match named {
            Some(backend) => start.backend(backend),
            None => start,
        };
        Ok(start.await?.await?)
    })
    .await
}

#[runtime::remote]
async fn self_and_child() -> runtime::Result<Vec<Identity>> {
    runtime::nursery(async |n| {
        let child = n.run_in_actor::<identity>("grandchild", ()).await?.await?;
        Ok(vec![Identity::own()?, child])
    })
    .await
}

#[runner::test]
async fn an_actor_knows_itself_and_its_parent() -> TestResult {
    let root = Identity::own()?;
    let lineage = lineage(None).await?;
    let [child, grandchild] = lineage.as_slice() else { panic!("{lineage:?}") };
    assert_eq!(child.parent, Some(root.uuid));
    assert_eq!(grandchild.parent, Some(child.uuid));
    assert_eq!((child.name.as_str(), grandchild.name.as_str()), ("child", "grandchild"));
    // What ran meanwhile in this process, perhaps, has not changed who this is.
    assert_eq!(Identity::own()?, root);
    Ok(())
}

#[runner::test]
async fn names_are_not_unique_and_identities_are() -> TestResult {
    runtime::nursery(async |n| {
        let mut seen = Vec::new();
        for _ in 0..3 {
            let twin = n.actor("twin").expose::<identity>().await?;
            let inside = twin.call::<identity>(()).await?;
            assert_eq!(inside.name, "twin");
            assert_eq!(inside.uuid, twin.id().uuid);
            assert!(!seen.contains(&inside.uuid));
            seen.push(inside.uuid);
        }
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn many_children_live_side_by_side() -> TestResult {
    const COUNT: usize = 20;
    runtime::nursery(async |n| {
        let mut children = Vec::new();
        for number in 0..COUNT {
            children.push(n.actor(format!("child-{number}")).expose::<identity>().await?);
        }
        let mut answers = JoinSet::new();
        for child in children.clone() {
            answers.spawn_local(async move { child.call::<identity>(()).await });
        }
        let mut uuids = Vec::new();
        while let Some(answer) = answers.join_next().await {
            uuids.push(answer.map_err(Error::user)??.uuid);
        }
        let mut expected: Vec<_> = children.iter().map(|child| child.id().uuid).collect();
        uuids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(uuids, expected);
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn children_start_side_by_side() -> TestResult {
    runtime::nursery(async |n| {
        let start = || async { n.actor("child").expose::<identity>().await };
        let (a, b, c, d, e) = tokio::join!(start(), start(), start(), start(), start());
        for child in [a?, b?, c?, d?, e?] {
            assert_eq!(child.call::<identity>(()).await?.uuid, child.id().uuid);
        }
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

#[derive(Default)]
struct Till {
    total: u64,
}

#[runtime::actor]
impl Till {
    async fn add(&mut self, amount: u64) -> u64 {
        self.total += amount;
        self.total
    }
}

#[runner::test]
async fn state_is_each_actors_own_and_ends_with_it() -> TestResult {
    runtime::nursery(async |n| {
        let (one, other) = tokio::join!(async { n.start::<Till>("till").await }, async {
            n.start::<Till>("till").await
        });
        let (one, other) = (one?, other?);
        assert_eq!(one.add(3).await?, 3);
        assert_eq!(other.add(10).await?, 10);
        assert_eq!(one.add(4).await?, 7);
        one.cancel().await?;
        assert_eq!(n.start::<Till>("till").await?.add(1).await?, 1);
        assert_eq!(other.add(1).await?, 11);
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

static SHARED: AtomicU32 = AtomicU32::new(0);

#[runtime::remote]
async fn raise_static() -> u32 {
    SHARED.fetch_add(1, Ordering::SeqCst) + 1
}

#[runner::test]
#[needs("process")]
async fn a_static_changed_in_a_child_stays_there() -> TestResult {
    runtime::nursery(async |n| {
        let one = n.actor("one").expose::<raise_static>().await?;
        let other = n.actor("other").expose::<raise_static>().await?;
        assert_eq!(one.call::<raise_static>(()).await?, 1);
        assert_eq!(one.call::<raise_static>(()).await?, 2);
        assert_eq!(other.call::<raise_static>(()).await?, 1);
        assert_eq!(SHARED.load(Ordering::SeqCst), 0);
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

#[runner::test]
#[needs("in-process")]
async fn the_users_statics_are_the_processs() -> TestResult {
    runtime::nursery(async |n| {
        let one = n.actor("one").expose::<raise_static>().await?;
        let other = n.actor("other").expose::<raise_static>().await?;
        assert_eq!(one.call::<raise_static>(()).await?, 1);
        assert_eq!(other.call::<raise_static>(()).await?, 2);
        assert_eq!(SHARED.load(Ordering::SeqCst), 2);
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

#[runtime::remote]
async fn variable(name: String) -> Option<String> {
    std::env::var(name).ok()
}

#[runner::test]
#[needs("process")]
async fn an_environment_is_one_childs_own() -> TestResult {
    const NAME: &str = "SUITES_SPAWNING_VARIABLE";
    let path = std::env::var("PATH").ok();
    assert!(path.is_some(), "this test removes a variable that is there");
    runtime::nursery(async |n| {
        let told = n.actor("told").env(NAME, "a value").env_remove("PATH").expose::<variable>();
        let told = told.await?;
        let other = n.actor("other").expose::<variable>().await?;
        let told_name = told.call::<variable>((NAME.to_owned(),)).await?;
        assert_eq!(told_name.as_deref(), Some("a value"));
        assert_eq!(told.call::<variable>(("PATH".to_owned(),)).await?, None);
        assert_eq!(other.call::<variable>((NAME.to_owned(),)).await?, None);
        assert_eq!(other.call::<variable>(("PATH".to_owned(),)).await?, path);
        n.cancel().await;
        Ok(())
    })
    .await?;
    assert_eq!(std::env::var_os(NAME), None::<OsString>);
    Ok(())
}

/// What a backend cannot do is refused by name, whatever the backend of the root.
#[runner::test]
async fn what_a_backend_cannot_do_is_refused() -> TestResult {
    let refused = |outcome: runtime::Result<_>, named: Backend| match outcome {
        Err(Error::Unsupported { backend, actor, .. }) => {
            assert_eq!((backend, actor.name.as_str()), (named, "child"));
        }
        Err(other) => panic!("{named}: {other}"),
        Ok(portal) => panic!("{named}: {portal:?} was started"),
    };
    runtime::nursery(async |n| {
        let child = |backend| n.actor("child").backend(backend);
        refused(child(Backend::Thread).env("NAME", "value").await, Backend::Thread);
        refused(child(Backend::Thread).env_remove("PATH").await, Backend::Thread);
        for backend in Backend::ALL.into_iter().filter(|backend| *backend != Backend::Exec) {
            refused(child(backend).program("/bin/false").await, backend);
        }
        Ok(())
    })
    .await?;
    Ok(())
}

#[runner::test]
#[needs("fresh-image")]
async fn a_program_that_ends_at_once_is_a_failed_start_at_once() -> TestResult {
    for (program, code) in [("/bin/false", 1), ("/bin/true", 0)] {
        let started = Instant::now();
        let n = Nursery::open()?;
        let failure = failure_of(n.actor("child").program(program).await)?;
        assert!(started.elapsed() < AT_ONCE, "took {:?}", started.elapsed());
        assert_eq!(failure.actor.name, "child");
        assert_eq!(failure.backend, Backend::Exec);
        assert_eq!(failure.step, StartStep::Handshake);
        assert_eq!(failure.exit, Some(Exit::Code(code)));
    }
    Ok(())
}

#[runner::test]
#[needs("fresh-image")]
async fn a_program_that_does_not_exist_is_named() -> TestResult {
    let n = Nursery::open()?;
    let failure = failure_of(n.actor("child").program("/no/such/program").await)?;
    assert_eq!(failure.step, StartStep::Spawn);
    assert_eq!(failure.exit, None);
    let words = failure.last_words.unwrap_or_default();
    assert!(words.contains("/no/such/program"), "{words}");
    Ok(())
}

#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
enum Fate {
    Error,
    Panic,
    KillSelf,
    Never,
    Stuck,
}

/// An actor whose constructor does not end well.
struct Stillborn;

#[runtime::actor]
impl Stillborn {
    async fn new(fate: Fate) -> Result<Stillborn, Refused> {
        match fate {
            Fate::Error => Err(Refused(7)),
            Fate::Panic => panic!("not today"),
            Fate::KillSelf => {
                let ended = process::end_by(Signal::SIGKILL);
                panic!("SIGKILL did not end this: {ended:?}");
            }
            Fate::Never => std::future::pending().await,
            Fate::Stuck => {
                spin_until_released();
                Ok(Stillborn)
            }
        }
    }
}

#[runner::test]
async fn an_error_of_the_constructor_is_a_failed_start() -> TestResult {
    let n = Nursery::open()?;
    let failure = failure_of(n.start::<Stillborn>("child").with((Fate::Error,)).await)?;
    assert_eq!(failure.step, StartStep::Construct);
    assert!(matches!(failure.exit, Some(Exit::Code(code)) if code != 0), "{:?}", failure.exit);
    let cause = failure.cause.ok_or("the constructor's error is missing")?;
    assert_eq!(cause.downcast::<Refused>(), Some(Refused(7)));
    assert_eq!(cause.source_actor(), &failure.actor);
    Ok(())
}

#[runner::test]
async fn a_panic_of_the_constructor_is_a_failed_start() -> TestResult {
    let n = Nursery::open()?;
    let failure = failure_of(n.start::<Stillborn>("child").with((Fate::Panic,)).await)?;
    assert_eq!(failure.step, StartStep::Construct);
    let cause = failure.cause.ok_or("the constructor's panic is missing")?;
    assert!(cause.is_panic());
    assert_eq!(cause.message(), "not today");
    let place = cause.location().ok_or("the panic's place is missing")?;
    assert!(place.file.ends_with("spawning.rs"), "{place}");
    Ok(())
}

#[runner::test]
#[needs("process")]
async fn a_child_killed_in_its_constructor_is_a_failed_start_at_once() -> TestResult {
    let started = Instant::now();
    let n = Nursery::open()?;
    let failure = failure_of(n.start::<Stillborn>("child").with((Fate::KillSelf,)).await)?;
    assert!(started.elapsed() < AT_ONCE, "took {:?}", started.elapsed());
    assert_eq!(failure.exit, Some(Exit::Signal(libc::SIGKILL)));
    Ok(())
}

#[runner::test]
async fn a_child_that_is_never_ready_is_ended_at_its_deadline() -> TestResult {
    const DEADLINE: Duration = Duration::from_millis(300);
    let before = process::descendants(process::own_pid());
    for fate in [Fate::Never, Fate::Stuck] {
        let started = Instant::now();
        let n = Nursery::open()?;
        let start = n.start::<Stillborn>("late").with((fate,)).boot_deadline(DEADLINE);
        match start.await.map(drop) {
            Err(Error::BootDeadline { actor, after, .. }) => {
                assert_eq!((actor.name.as_str(), after), ("late", DEADLINE));
            }
            other => panic!("{other:?}"),
        }
        n.join().await?;
        assert!(started.elapsed() >= DEADLINE);
        assert!(started.elapsed() < AT_ONCE, "{fate:?} took {:?}", started.elapsed());
    }
    assert_eq!(process::descendants(process::own_pid()), before);
    release_stuck();
    Ok(())
}

#[runner::test]
async fn a_failed_start_is_the_starters_and_not_the_nurserys() -> TestResult {
    runtime::nursery(async |n| {
        let sibling = n.actor("sibling").expose::<pid>().await?;
        let failed = n.start::<Stillborn>("child").with((Fate::Error,)).await;
        assert!(matches!(failed, Err(Error::SpawnFailed(_))));
        sibling.call::<pid>(()).await?;
        sibling.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_start_dropped_at_any_time_leaves_no_child() -> TestResult {
    let before = process::descendants(process::own_pid());
    runtime::nursery(async |n| {
        for step in 0..20 {
            let patience = Duration::from_micros(300 * step);
            // Whether it was dropped or is ready makes no difference to what is left.
            drop(tokio::time::timeout(patience, n.actor("child").into_future()).await);
        }
        n.cancel().await;
        Ok(())
    })
    .await?;
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

#[runner::test]
async fn nothing_starts_in_a_cancelled_nursery() -> TestResult {
    let own = runtime::current()?.id().clone();
    runtime::nursery(async |n| {
        n.cancel().await;
        match n.actor("late").await {
            Err(Error::Cancelled { canceller, .. }) => assert_eq!(canceller, own),
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// The failure that a start ended with.
fn failure_of<T>(outcome: runtime::Result<T>) -> TestResult<StartFailure> {
    match outcome {
        Err(Error::SpawnFailed(failure)) => Ok(*failure),
        Err(other) => Err(format!("another error than a failed start: {other}").into()),
        Ok(_) => Err("it was started".into()),
    }
}
