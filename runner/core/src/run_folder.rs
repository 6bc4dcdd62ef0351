//! The folder that all temporary folders of a run's attempts lie in, and the lock that tells
//! whether its run still lives.
//!
//! Made by whoever plays the runner. The lock is the kernel's (`flock(2)`): it ends with that
//! process, however it ends, and is seen from every container that shares the file system. So
//! `runner reap` needs to trust no process id.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::protocol::RUN_FOLDER_PREFIX;

/// Somebody who clears away old folders may take a new one before it is locked; not so often.
const TRIES: usize = 5;

/// The run folder of this process; not removed when dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Shared: two do not exclude each other, but both keep `claim` away.
    _lock: Flock<File>,
}

/// Whether a run folder may be removed.
#[derive(Debug)]
pub enum Claim {
    /// Its run is over; nobody else can claim it, or use it, while this lives.
    Free(FreeFolder),
    /// Its run lives, or it has just been removed.
    Locked,
}

/// A run folder whose run is over.
#[derive(Debug)]
pub struct FreeFolder {
    path: PathBuf,
    _lock: Flock<File>,
}

impl RunFolder {
    /// Makes one in the temporary folder. Its path is short, because sockets are made in it: a
    /// socket's path has room for 107 bytes.
    ///
    /// # Errors
    /// What the kernel says, with the path.
    pub fn create() -> io::Result<Self> {
        let template = std::env::temp_dir().join(format!("{RUN_FOLDER_PREFIX}XXXXXX"));
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", template.display()))
        };
        for _ in 0..TRIES {
            let path = nix::unistd::mkdtemp(&template).map_err(|error| named(error.into()))?;
            if let Some(lock) = lock(&path, FlockArg::LockSharedNonblock).map_err(named)? {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(named(io::Error::from(io::ErrorKind::WouldBlock)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with everything in it. Supervisors that end when this process does remove it,
    /// too: that they came first is no error.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl FreeFolder {
    /// Removes it with everything in it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

/// Claims a run folder, of which the caller has seen that it is a folder of its user's.
///
/// # Errors
/// It cannot be opened.
pub fn claim(path: &Path) -> io::Result<Claim> {
    Ok(match lock(path, FlockArg::LockExclusiveNonblock)? {
        Some(lock) => Claim::Free(FreeFolder { path: path.to_owned(), _lock: lock }),
        None => Claim::Locked,
    })
}

/// `None` if another holds it, or it is no longer there under that name.
fn lock(path: &Path, how: FlockArg) -> io::Result<Option<Flock<File>>> {
    let folder = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        folder => folder?,
    };
    let opened = folder.metadata()?;
    let lock = match Flock::lock(folder, how) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, error)) => return Err(error.into()),
    };
    let is_same = fs::symlink_metadata(path)
        .is_ok_and(|now| (now.dev(), now.ino()) == (opened.dev(), opened.ino()));
    Ok(is_same.then_some(lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_free_only_once_its_run_has_let_go() {
        let folder = RunFolder::create().unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        assert!(matches!(claim(&path).unwrap(), Claim::Locked));
        drop(folder);
        let Claim::Free(free) = claim(&path).unwrap() else {
            panic!("still locked");
        };
        assert!(matches!(claim(&path).unwrap(), Claim::Locked), "claimed already");
        free.remove().unwrap();
        assert!(!path.exists());
    }
}
