//! A place where actors wait for the test and the test for its actors, on every backend alike.
//!
//! Two FIFOs in the case's own folder: an actor that arrives writes one byte to the first and
//! reads the second to its end; the test counts the bytes, and opens the gate by closing the only
//! end that could write. From that moment every waiting actor is ready to go on, however long it
//! takes until it is scheduled: that is what makes "at once" mean something on a loaded machine.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use runner::Case;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// The test's side.
pub(crate) struct Gate {
    path: PathBuf,
    arrivals: pipe::Receiver,
    _closed: File,
}

impl Gate {
    /// A closed gate; `name` tells it from the case's others. Called inside a root.
    pub(crate) fn closed(case: &Case, name: &str) -> io::Result<Self> {
        let path = case.temp_dir()?.join(name);
        nix::unistd::mkfifo(&path, Mode::S_IRWXU)?;
        nix::unistd::mkfifo(&arrivals(&path), Mode::S_IRWXU)?;
        let arrivals = pipe::OpenOptions::new().read_write(true).open_receiver(arrivals(&path))?;
        let closed = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Self { path, arrivals, _closed: closed })
    }

    /// What an actor needs to [`pass`] it.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Returns when so many more have arrived.
    pub(crate) async fn arrived(&mut self, count: usize) -> io::Result<()> {
        let mut bytes = vec![0; count];
        self.arrivals.read_exact(&mut bytes).await?;
        Ok(())
    }

    /// Lets everybody go on who waits, and who comes.
    pub(crate) fn open(self) {}
}

/// The actor's side: arrives, and returns when the gate is open.
pub(crate) async fn pass(path: &Path) -> io::Result<()> {
    // Opened first: a FIFO without a writer since it was opened is never said to be at its end.
    let mut gate = pipe::OpenOptions::new().open_receiver(path)?;
    arrive(path)?;
    while gate.read(&mut [0]).await? > 0 {}
    Ok(())
}

/// The same for what cannot await: a destructor.
pub(crate) fn pass_blocking(path: &Path) -> io::Result<()> {
    let mut gate = File::open(path)?;
    arrive(path)?;
    gate.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Is counted, and waits for nobody.
pub(crate) fn arrive(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(arrivals(path))?.write_all(b".")
}

fn arrivals(path: &Path) -> PathBuf {
    path.with_extension("arrivals")
}
