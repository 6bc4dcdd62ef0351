//! Deaths: whatever waits for an actor that dies is told how, soon.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::{Signal, kill, raise};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::Pid;
use runtime::{CallError, Error, Exit, Nursery, nursery};

use crate::gate::{self, Gate};
use crate::{Need, PATIENT};

crate::cases![
    Some(Need::Process) => [
        a_call_to_an_actor_that_is_killed_ends,
        a_call_to_an_actor_that_exits_ends,
        a_call_to_an_actor_that_exits_well_ends_too,
        a_killed_one_shot_fails_the_scope,
        an_idle_actor_that_dies_fails_the_scope,
        what_an_actor_leaves_behind_when_killed_is_killed,
        what_one_leaves_behind_that_dies_after_its_last_word_is_killed,
        an_interrupt_does_not_end_an_actor_that_has_a_parent,
        an_actor_that_sends_garbage_loses_its_channel,
        an_interrupt_ends_an_orphan,
        an_interrupt_by_call_in_the_process_of_an_actor_is_nothing,
        one_that_dies_while_it_is_torn_down_is_told_so,
    ],
    None => [an_actor_that_ended_tells_later_callers],
];

#[runtime::remote]
async fn kill_myself() {
    raise(Signal::SIGKILL).expect("a signal to oneself");
}

#[runtime::remote]
async fn leave(code: i32) {
    std::process::exit(code);
}

#[runtime::remote]
async fn babble() {
    write_garbage();
    std::future::pending::<()>().await;
}

/// Writes what is no message into every socket of this process; one of them is the channel.
fn write_garbage() {
    for entry in std::fs::read_dir("/proc/self/fd").expect("a list of descriptors").flatten() {
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket"));
        let number = entry.file_name().to_string_lossy().parse();
        if let (true, Ok(fd)) = (is_socket, number) {
            send(fd, &[0xff; 64], MsgFlags::MSG_NOSIGNAL).expect("a connected socket");
        }
    }
}

/// Loses its parent, and would not end by itself.
struct Orphan {
    gate: PathBuf,
}

#[runtime::actor]
impl Orphan {
    fn new(gate: PathBuf) -> Orphan {
        Orphan { gate }
    }

    async fn pid(&self) -> u32 {
        std::process::id()
    }

    async fn lose_its_parent(&self) {
        write_garbage();
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        gate::pass(self.gate.clone());
    }
}

/// Dies when it is told to end, with one below it.
struct Frail {
    _nursery: Nursery,
}

#[runtime::actor]
impl Frail {
    async fn new() -> runtime::Result<Frail> {
        let nursery = Nursery::open()?;
        nursery.actor("below").await?;
        Ok(Frail { _nursery: nursery })
    }

    async fn never(&self) {}
}

impl Drop for Frail {
    fn drop(&mut self) {
        raise(Signal::SIGKILL).expect("a signal to oneself");
    }
}

/// How many of this process's descriptors were written to by an interrupt.
#[runtime::remote]
async fn interrupt_here() -> usize {
    // Whatever number the root's bell has, it is one of these, if it is not older.
    let pairs: Vec<_> = (0..64).map(|_| UnixStream::pair().expect("descriptors")).collect();
    runtime::interrupt();
    let ends = pairs.iter().flat_map(|(one, other)| [one, other]);
    let is_written_to = |end: &&UnixStream| {
        end.set_nonblocking(true).expect("a socket");
        (&**end).read(&mut [0; 8]).is_ok()
    };
    ends.filter(is_written_to).count()
}

#[runtime::remote]
async fn my_pid() -> u32 {
    std::process::id()
}

/// Has an actor below it for as long as it lives.
struct Keeper {
    nursery: Nursery,
}

#[runtime::actor]
impl Keeper {
    fn new() -> runtime::Result<Keeper> {
        Ok(Keeper { nursery: Nursery::open()? })
    }

    /// The pid of this one, when the one below is ready.
    async fn keep(&self) -> runtime::Result<u32> {
        self.nursery.actor("below").await?;
        Ok(std::process::id())
    }

    /// Starts a process that nobody waits for, and from then on dies after its last word.
    #[expect(
        clippy::disallowed_methods,
        clippy::zombie_processes,
        reason = "a task and a process that nobody owns are what this is about"
    )]
    async fn die_at_last(&self) {
        let mut stray = std::process::Command::new("sleep");
        stray.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        stray.spawn().expect("a process");
        tokio::spawn(async {
            let _last = Last;
            std::future::pending::<()>().await;
        });
        // It has begun when this one goes on.
        tokio::task::yield_now().await;
    }
}

/// Held by a task that ends with the actor's scheduler, after its last word.
struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        raise(Signal::SIGKILL).expect("a signal to oneself");
    }
}

fn exit_in(error: Error) -> Exit {
    match error {
        Error::ActorDied { exit, incarnation: 0, .. } => exit,
        other => panic!("{other:?}"),
    }
}

/// What a call in flight, and then the scope, were told.
async fn call_and_scope<F>(args: F::Args) -> (Exit, Exit)
where
    F: runtime::Function<Error = runtime::Never>,
    F::Output: std::fmt::Debug,
{
    let mut told = None;
    let mut begun = None;
    let ended: runtime::Result<()> = nursery(async |n| {
        let actor = n.actor("doomed").expose::<F>().await?;
        begun = Some(Instant::now());
        match actor.call::<F>(args).await {
            Err(CallError::Failed(error)) => told = Some(exit_in(error)),
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await;
    // Nobody sat through a wait: the death was noticed.
    let took = begun.expect("it was started").elapsed();
    assert!(took < PATIENT.terminate.min(PATIENT.ack), "{took:?}");
    (told.expect("the body saw it"), exit_in(ended.expect_err("it fails")))
}

async fn a_call_to_an_actor_that_is_killed_ends() -> runtime::Result<()> {
    assert_eq!(call_and_scope::<kill_myself>(()).await, (Exit::Signal(9), Exit::Signal(9)));
    Ok(())
}

async fn a_call_to_an_actor_that_exits_ends() -> runtime::Result<()> {
    assert_eq!(call_and_scope::<leave>((3,)).await, (Exit::Code(3), Exit::Code(3)));
    Ok(())
}

async fn a_call_to_an_actor_that_exits_well_ends_too() -> runtime::Result<()> {
    assert_eq!(call_and_scope::<leave>((0,)).await, (Exit::Code(0), Exit::Code(0)));
    Ok(())
}

async fn a_killed_one_shot_fails_the_scope() -> runtime::Result<()> {
    let ended: runtime::Result<()> = nursery(async |n| {
        n.run_in_actor::<kill_myself>("doomed", ()).await?;
        Ok(())
    })
    .await;
    assert_eq!(exit_in(ended.expect_err("it fails")), Exit::Signal(9));
    Ok(())
}

async fn an_idle_actor_that_dies_fails_the_scope() -> runtime::Result<()> {
    let ended: runtime::Result<()> = nursery(async |n| {
        let actor = n.actor("doomed").expose::<my_pid>().await?;
        signal(actor.call::<my_pid>(()).await?, Signal::SIGKILL);
        std::future::pending().await
    })
    .await;
    assert_eq!(exit_in(ended.expect_err("it fails")), Exit::Signal(9));
    Ok(())
}

async fn what_an_actor_leaves_behind_when_killed_is_killed() -> runtime::Result<()> {
    let ended: runtime::Result<()> = nursery(async |n| {
        let keeper = n.start::<Keeper>("keeper").await?;
        signal(keeper.keep().await?, Signal::SIGKILL);
        std::future::pending().await
    })
    .await;
    // That no process is left is looked at after every case.
    assert_eq!(exit_in(ended.expect_err("it fails")), Exit::Signal(9));
    Ok(())
}

async fn what_one_leaves_behind_that_dies_after_its_last_word_is_killed() -> runtime::Result<()> {
    nursery(async |n| {
        let keeper = n.start::<Keeper>("keeper").await?;
        keeper.keep().await?;
        keeper.die_at_last().await?;
        // That no process is left is looked at after every case.
        keeper.cancel().await
    })
    .await
}

async fn an_actor_that_sends_garbage_loses_its_channel() -> runtime::Result<()> {
    let mut told = None;
    let ended: runtime::Result<()> = nursery(async |n| {
        let actor = n.actor("babbler").expose::<babble>().await?;
        told = Some(actor.call::<babble>(()).await.map_err(Error::from));
        Ok(())
    })
    .await;
    for error in
        [told.expect("the body saw it").expect_err("it fails"), ended.expect_err("it fails")]
    {
        let Error::ChannelLost { reason, .. } = error else { panic!("{error:?}") };
        assert!(reason.contains("garbage"), "{reason}");
    }
    Ok(())
}

async fn an_interrupt_does_not_end_an_actor_that_has_a_parent() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("hardy").expose::<my_pid>().await?;
        let pid = actor.call::<my_pid>(()).await?;
        signal(pid, Signal::SIGINT);
        assert_eq!(actor.call::<my_pid>(()).await?, pid);
        actor.cancel().await
    })
    .await
}

async fn an_interrupt_ends_an_orphan() -> runtime::Result<()> {
    let mut exit = None;
    let ended: runtime::Result<()> = nursery(async |n| {
        let gate = Gate::closed();
        let orphan = n.start::<Orphan>("orphan").with((gate.path(),)).await?;
        let pid = orphan.pid().await?;
        orphan.lose_its_parent().await.expect_err("what comes with the answer is garbage");
        let _closed = gate.wait_for(1).await;
        signal(pid, Signal::SIGINT);
        exit = orphan.wait_ended().await;
        Ok(())
    })
    .await;
    assert!(matches!(ended, Err(Error::ChannelLost { .. })), "{ended:?}");
    assert_eq!(exit, Some(Exit::Signal(2)));
    Ok(())
}

async fn an_interrupt_by_call_in_the_process_of_an_actor_is_nothing() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("actor").expose::<interrupt_here>().await?;
        assert_eq!(actor.call::<interrupt_here>(()).await?, 0);
        actor.cancel().await
    })
    .await
}

async fn one_that_dies_while_it_is_torn_down_is_told_so() -> runtime::Result<()> {
    let n = Nursery::open()?;
    let frail = n.start::<Frail>("frail").await?;
    frail.cancel().await?;
    assert_eq!(frail.teardown().map(|teardown| teardown.is_forced()), Some(false));
    // That the one below is gone too is looked at after every case.
    assert_eq!(exit_in(n.join().await.expect_err("it died")), Exit::Signal(9));
    Ok(())
}

async fn an_actor_that_ended_tells_later_callers() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("short").expose::<my_pid>().await?;
        actor.call::<my_pid>(()).await?;
        actor.cancel().await?;
        let late = actor.call::<my_pid>(()).await.map_err(Error::from);
        assert!(matches!(late, Err(Error::Cancelled { .. })), "{late:?}");
        actor.cancel().await
    })
    .await
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
    kill(pid, signal).expect("it lives");
}
