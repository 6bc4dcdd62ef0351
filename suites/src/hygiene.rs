//! What an actor's process has and what is left of it: descriptors, signals, processes.
#![expect(unsafe_code, reason = "descriptors that outlive an exec, and signal handlers")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use runner::{Case, TestResult};
use runtime::{Error, Nursery, Portal};

use crate::actors::pid;
use crate::process;

runner::marks! { timeout = "20s", needs("process") }

/// Makes a descriptor one that every child would inherit, if nobody did anything about it.
fn bequeath(file: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: takes integers.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) };
    nix::errno::Errno::result(done)?;
    Ok(())
}

async fn pid_of(actor: &Portal) -> runtime::Result<i32> {
    Ok(actor.call::<pid>(()).await?.cast_signed())
}

/// What a process has open beside its standard streams, told apart by what it is. Left out is
/// what has no identity (`anon_inode:…`), and memory without a name in the file system: the table
/// that a tree of actors shares, and the harness's.
fn own_descriptors(pid: i32) -> io::Result<BTreeSet<String>> {
    let mut own = process::descriptors(pid)?;
    own.retain(|fd, target| {
        *fd > 2 && !["anon_inode:", "/memfd:"].iter().any(|kind| target.starts_with(kind))
    });
    Ok(own.into_values().collect())
}

#[runner::test]
async fn an_actor_has_no_descriptor_of_its_parent_or_sibling(case: Case) -> TestResult {
    let file = File::create(case.temp_dir()?.join("secret"))?;
    bequeath(&file)?;
    let (reader, writer) = io::pipe()?;
    bequeath(&reader)?;
    bequeath(&writer)?;
    runtime::nursery(async |n| {
        let one = n.actor("one").expose::<pid>().await?;
        let other = n.actor("other").expose::<pid>().await?;
        let root = own_descriptors(process::own_pid()).map_err(Error::user)?;
        assert!(root.iter().any(|target| target.ends_with("/secret")));
        let one_has = own_descriptors(pid_of(&one).await?).map_err(Error::user)?;
        let other_has = own_descriptors(pid_of(&other).await?).map_err(Error::user)?;
        for (here, there) in [(&root, &one_has), (&root, &other_has), (&one_has, &other_has)] {
            let shared: Vec<_> = here.intersection(there).collect();
            assert!(shared.is_empty(), "{shared:?} is in two actors");
        }
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn an_actor_has_its_standard_streams_its_link_and_its_schedulers() -> TestResult {
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<pid>().await?;
        let pid = pid_of(&actor).await?;
        let descriptors = process::descriptors(pid).map_err(Error::user)?;
        let root = process::descriptors(process::own_pid()).map_err(Error::user)?;
        for stream in 0..3 {
            assert_eq!(descriptors.get(&stream), root.get(&stream), "stream {stream}");
        }
        let own = own_descriptors(pid).map_err(Error::user)?;
        // The link, and the pair that tokio keeps once per process.
        assert!(own.iter().all(|target| target.starts_with("socket:")), "{descriptors:?}");
        assert_eq!(own.len(), 3, "{descriptors:?}");
        actor.cancel().await
    })
    .await?;
    Ok(())
}

extern "C" fn ignore_it(_signal: i32) {}

/// The root blocks one signal, ignores another and handles a third; its children do none of it.
#[runner::test]
async fn an_actor_has_none_of_its_parents_signal_settings() -> TestResult {
    let set = |handler, signal| {
        let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { sigaction(signal, &action) }
    };
    set(SigHandler::SigIgn, Signal::SIGUSR2)?;
    set(SigHandler::Handler(ignore_it), Signal::SIGHUP)?;
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR1);
    blocked.thread_block()?;
    runtime::nursery(async |n| {
        let actor = n.actor("actor").expose::<pid>().await?;
        let pid = pid_of(&actor).await?;
        for tid in process::threads(pid).map_err(Error::user)? {
            let signals = |field| process::signals(pid, tid, field).map_err(Error::user);
            // libc blocks all signals of a thread that makes another, for just that moment.
            let blocks_none = || signals("SigBlk").is_ok_and(|blocked| blocked.is_empty());
            assert!(process::comes_true(blocks_none), "{:?}", signals("SigBlk"));
            // Without those that libc keeps for itself: its posix_spawn ignores one of them in every child.
            let of_programs = |field| {
                let signals = signals(field)?.into_iter();
                Ok::<_, Error>(
                    signals.filter(|s| *s < libc::SIGRTMIN() - 2).collect::<BTreeSet<_>>(),
                )
            };
            // As in every Rust program.
            assert_eq!(of_programs("SigIgn")?, BTreeSet::from([libc::SIGPIPE]));
            // std's against stack overflow, and the runtime's for Ctrl-C.
            let handled = BTreeSet::from([libc::SIGINT, libc::SIGBUS, libc::SIGSEGV]);
            assert_eq!(of_programs("SigCgt")?, handled);
        }
        actor.cancel().await
    })
    .await?;
    Ok(())
}

#[runner::test]
async fn a_nursery_leaves_no_process_and_no_descriptor() -> TestResult {
    // What a process keeps once it has had a child.
    one_tree().await?;
    let pid = process::own_pid();
    let before = (process::descendants(pid), process::descriptors(pid)?.len());
    for _ in 0..5 {
        one_tree().await?;
    }
    assert_eq!((process::descendants(pid), process::descriptors(pid)?.len()), before);
    Ok(())
}

async fn one_tree() -> runtime::Result<()> {
    runtime::nursery(async |n| {
        let parent = n.start::<Parent>("parent").await?;
        parent.pids().await?;
        parent.cancel().await
    })
    .await
}

struct Parent {
    _nursery: Nursery,
    children: Vec<Portal>,
}

#[runtime::actor]
impl Parent {
    async fn new() -> runtime::Result<Parent> {
        let nursery = Nursery::open()?;
        let mut children = Vec::new();
        for _ in 0..2 {
            children.push(nursery.actor("child").expose::<pid>().await?);
        }
        Ok(Parent { _nursery: nursery, children })
    }

    async fn pids(&self) -> runtime::Result<Vec<u32>> {
        let mut pids = Vec::new();
        for child in &self.children {
            pids.push(child.call::<pid>(()).await?);
        }
        Ok(pids)
    }
}
