//! The end of a tree of processes: end of file goes down level by level, all are reaped by their
//! parents.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Child as Process;
use std::time::Instant;

use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid};

use super::{Birth, Child, boot, exec, fork};
use crate::error::{BenchError, Result, Trying};

/// Children of each node.
pub(crate) const BREADTH: u32 = 3;
/// Levels below the root: with [`BREADTH`], 39 processes.
pub(crate) const DEPTH: u32 = 3;

/// Seconds from the root's first word to the last reaped, for each of so many trees.
pub(crate) fn samples(birth: Birth, count: usize) -> Result<Vec<f64>> {
    (0..count).map(|_| sample(birth)).collect()
}

fn sample(birth: Birth) -> Result<f64> {
    let nodes = grow(birth, DEPTH)?;
    let started = Instant::now();
    fell(nodes)?;
    Ok(started.elapsed().as_secs_f64())
}

/// An exec'd node, until end of file. It has a scheduler, as an actor has.
pub(super) fn branch(depth: u32, socket: UnixStream) -> Result<()> {
    let _scheduler = boot::scheduler()?;
    node(Birth::Exec, depth, socket)
}

fn node(birth: Birth, depth: u32, mut socket: UnixStream) -> Result<()> {
    let nodes = grow(birth, depth)?;
    socket.write_all(b"r").trying("saying that it is there")?;
    let _end = socket.read(&mut [0]);
    fell(nodes)
}

struct Node {
    process: NodeProcess,
    socket: UnixStream,
}

enum NodeProcess {
    Exec(Process),
    Fork(Pid),
}

/// All children of a node with so many levels below it, ready.
fn grow(birth: Birth, depth: u32) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    if depth == 0 {
        return Ok(nodes);
    }
    for _ in 0..BREADTH {
        let node = plant(birth, depth - 1, &mut nodes)?;
        nodes.push(node);
    }
    for node in &mut nodes {
        node.socket.read_exact(&mut [0]).trying("hearing of a node")?;
    }
    Ok(nodes)
}

fn plant(birth: Birth, depth: u32, siblings: &mut Vec<Node>) -> Result<Node> {
    match birth {
        Birth::Exec => {
            let (process, socket) = exec(Child::Branch { depth })?;
            Ok(Node { process: NodeProcess::Exec(process), socket })
        }
        Birth::Fork => {
            let (ours, theirs) = UnixStream::pair().trying("a socket pair")?;
            match fork::fork().trying("forking a node")? {
                ForkResult::Parent { child } => {
                    Ok(Node { process: NodeProcess::Fork(child), socket: ours })
                }
                ForkResult::Child => {
                    // A sibling's end held here would keep it from seeing its end of file.
                    siblings.clear();
                    drop(ours);
                    fork::exit(i32::from(node(birth, depth, theirs).is_err()))
                }
            }
        }
        Birth::Zygote | Birth::Thread => {
            Err(BenchError::new("a tree", "its floor is known for exec and fork"))
        }
    }
}

/// Ends all, then waits for all.
fn fell(nodes: Vec<Node>) -> Result<()> {
    let processes: Vec<NodeProcess> = nodes.into_iter().map(|node| node.process).collect();
    for process in processes {
        match process {
            NodeProcess::Exec(mut process) => drop(process.wait().trying("waiting for a node")?),
            NodeProcess::Fork(pid) => drop(waitpid(pid, None).trying("waiting for a node")?),
        }
    }
    Ok(())
}
