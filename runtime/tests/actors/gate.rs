//! A gate at which actors wait, to go through at once. Waiting blocks the actor: no cancel is read until it is through.

use std::io::Read;
use std::path::PathBuf;

use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

pub(crate) struct Gate {
    listener: UnixListener,
    path: PathBuf,
}

impl Gate {
    pub(crate) fn closed() -> Gate {
        // Not by the pid: a test that was killed leaves its gate, and pids come again.
        let path = std::env::temp_dir().join(format!("gate-{}", uuid::Uuid::new_v4().simple()));
        Gate { listener: UnixListener::bind(&path).expect("a new path"), path }
    }

    /// What those who are to wait are given.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Opens once so many wait.
    pub(crate) async fn open_for(self, count: usize) {
        self.wait_for(count).await.open();
    }

    /// Returns when so many wait.
    pub(crate) async fn wait_for(self, count: usize) -> Crowded {
        let mut waiting = Vec::new();
        while waiting.len() < count {
            waiting.push(self.listener.accept().await.expect("somebody comes"));
        }
        Crowded { _gate: self, waiting }
    }
}

/// A closed gate at which some wait.
pub(crate) struct Crowded {
    _gate: Gate,
    waiting: Vec<(UnixStream, SocketAddr)>,
}

impl Crowded {
    pub(crate) fn open(self) {
        drop(self.waiting);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).expect("it is there");
    }
}

/// Waits at a gate until it opens.
pub(crate) fn pass(gate: PathBuf) {
    let mut connection = std::os::unix::net::UnixStream::connect(gate).expect("a gate");
    assert_eq!(connection.read(&mut [0]).expect("its end"), 0);
}
