#![expect(unsafe_code, reason = "unshare(2) must be tried in a child")]
//! What backends require of the machine, found out by trying it.
//!
//! The answers are facts for `expand`, which never asks the machine anything itself.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;

use super::{Manifest, Requirement};
use crate::pidfd;

/// How long a port may take to answer.
const PORT_PATIENCE: Duration = Duration::from_secs(1);

impl Manifest {
    /// The backends that cannot run on this machine, and why. Tries each requirement once.
    pub fn probe(&self) -> BTreeMap<String, String> {
        let mut tried: Vec<(&Requirement, Result<(), String>)> = Vec::new();
        let mut unavailable = BTreeMap::new();
        for backend in &self.backends {
            for requirement in &backend.requires {
                if !tried.iter().any(|(known, _)| *known == requirement) {
                    tried.push((requirement, requirement.probe()));
                }
                let answer = tried.iter().find(|(known, _)| *known == requirement);
                if let Some((_, Err(reason))) = answer {
                    unavailable.entry(backend.name.clone()).or_insert_with(|| reason.clone());
                }
            }
        }
        unavailable
    }
}

impl Requirement {
    /// Whether it holds here; else why not, for a person.
    ///
    /// # Errors
    /// The reason.
    pub fn probe(&self) -> Result<(), String> {
        match self {
            Self::Pidfd => pidfd::open(Pid::this())
                .map(drop)
                .map_err(|error| format!("pidfd_open does not work: {}", io::Error::from(error))),
            Self::Userns => {
                userns().map_err(|error| format!("no user namespace can be made: {error}"))
            }
            Self::Command(name) => find_command(name),
            Self::Port(port) => connect(*port),
        }
    }
}

/// A child tries, because unshare(2) refuses a process with several threads, and then fails to
/// exec a path that cannot exist: only a child that got its namespace comes that far.
fn userns() -> io::Result<()> {
    let mut command = Command::new("/proc/self/no-such-program");
    // SAFETY: unshare(2) is a bare system call, safe between fork and exec.
    let command = unsafe {
        command.pre_exec(|| match libc::unshare(libc::CLONE_NEWUSER) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    };
    match command.spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(mut child) => child.wait().map(drop),
    }
}

fn find_command(name: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_executable = |file: std::path::PathBuf| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let is_found = std::env::split_paths(&path).any(|folder| is_executable(folder.join(name)));
    if is_found { Ok(()) } else { Err(format!("no command `{name}` in PATH")) }
}

fn connect(port: u16) -> Result<(), String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, PORT_PATIENCE)
        .map(drop)
        .map_err(|error| format!("nothing answers on port {port}: {error}"))
}
