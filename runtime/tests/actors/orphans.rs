//! A root that vanishes without a word, and what becomes of its tree.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use runtime::{Backend, Nursery};

pub(crate) fn trials() -> Vec<Trial> {
    let processes = Backend::ALL.into_iter().filter(|backend| backend.is_process());
    processes
        .map(|backend| {
            Trial::test(format!("{backend}::the_tree_of_a_killed_root_is_gone"), move || {
                kill_root(backend)
            })
        })
        .collect()
}

/// An actor that has actors below it for as long as it lives.
struct Branch {
    nursery: Nursery,
}

#[runtime::actor]
impl Branch {
    fn new() -> runtime::Result<Branch> {
        Ok(Branch { nursery: Nursery::open()? })
    }

    /// Returns when everything down to `depth` levels below stands.
    async fn grow(&mut self, depth: u32) -> runtime::Result<()> {
        for number in 0..if depth == 0 { 0 } else { 2 } {
            let branch = self.nursery.start::<Branch>(format!("{depth}.{number}")).await?;
            Box::pin(branch.grow(depth - 1)).await?;
        }
        Ok(())
    }
}

/// What the root of the tree runs: it stands, says so, and waits.
pub(crate) async fn stand() -> runtime::Result<()> {
    let nursery = Nursery::open()?;
    nursery.start::<Branch>("top").await?.grow(2).await?;
    println!("standing");
    nursery.join().await
}

/// Every process of the tree holds the pipe to its standard output: its end is the end of them all.
fn kill_root(backend: Backend) -> Result<(), Failed> {
    let mut root = Command::new(std::env::current_exe()?)
        .args(["--stand", backend.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(root.stdout.take().ok_or("no pipe")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    assert_eq!(line, "standing\n");
    root.kill()?;
    root.wait()?;
    await_end(said)
}

fn await_end(said: BufReader<ChildStdout>) -> Result<(), Failed> {
    let mut pipe = said.into_inner();
    let within = PollTimeout::try_from(Duration::from_secs(2))?;
    let ready = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], within)?;
    if ready == 0 {
        return Err("processes of the tree live 2 s after its root was killed".into());
    }
    let mut rest = String::new();
    pipe.read_to_string(&mut rest)?;
    assert_eq!(rest, "");
    Ok(())
}
