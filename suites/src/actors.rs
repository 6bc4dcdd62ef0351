//! What several areas have their actors do. What one area needs alone stands in its own file.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use runtime::{Backend, Error};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{gate, process};

/// An error of the suites' own that crosses as a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("refused-{0}")]
pub(crate) struct Refused(pub(crate) u32);

/// Fails at once.
#[runtime::remote]
pub(crate) async fn refuse(number: u32) -> Result<(), Refused> {
    Err(Refused(number))
}

/// Arrives at a gate, and fails when it opens.
#[runtime::remote]
pub(crate) async fn refuse_at(gate: PathBuf, number: u32) -> Result<(), Refused> {
    gate::pass(&gate).await.map_err(|_| Refused(u32::MAX))?;
    Err(Refused(number))
}

/// Arrives at a gate, and waits until it is cancelled.
#[runtime::remote]
pub(crate) async fn stay(gate: PathBuf) -> runtime::Result<()> {
    gate::arrive(&gate).map_err(Error::user)?;
    std::future::pending().await
}

/// Arrives at a gate, and then never yields: nothing but force ends it where it has a process of
/// its own, and [`release_stuck`] where it has not.
#[runtime::remote]
pub(crate) async fn stick(gate: PathBuf) -> runtime::Result<()> {
    gate::arrive(&gate).map_err(Error::user)?;
    spin_until_released();
    Ok(())
}

static RELEASED: AtomicBool = AtomicBool::new(false);

/// Lets those go on that are stuck in this process.
pub(crate) fn release_stuck() {
    RELEASED.store(true, Ordering::Release);
}

#[inline(never)]
pub(crate) fn spin_until_released() {
    while !RELEASED.load(Ordering::Acquire) {
        std::hint::spin_loop();
    }
}

/// The process it runs in.
#[runtime::remote]
pub(crate) async fn pid() -> u32 {
    std::process::id()
}

/// What an actor knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) uuid: Uuid,
    pub(crate) pid: u32,
    pub(crate) backend: Option<Backend>,
    pub(crate) default_backend: Backend,
    pub(crate) parent: Option<Uuid>,
}

impl Identity {
    pub(crate) fn own() -> runtime::Result<Self> {
        let this = runtime::current()?;
        Ok(Self {
            name: this.name().to_owned(),
            uuid: this.uuid(),
            pid: this.pid(),
            backend: this.backend(),
            default_backend: this.default_backend(),
            parent: this.parent().map(|parent| parent.uuid),
        })
    }
}

/// What the actor it runs in knows of itself.
#[runtime::remote]
pub(crate) async fn identity() -> runtime::Result<Identity> {
    Identity::own()
}

/// Ends its process as SIGKILL does.
#[runtime::remote]
pub(crate) async fn kill_self() -> runtime::Result<()> {
    process::end_by(Signal::SIGKILL).map_err(Error::user)
}

/// Ends its process as a segmentation fault does.
#[runtime::remote]
pub(crate) async fn crash() -> runtime::Result<()> {
    process::end_by(Signal::SIGSEGV).map_err(Error::user)
}

/// Ends its process with an exit code.
#[runtime::remote]
pub(crate) async fn exit_with(code: i32) {
    std::process::exit(code)
}
