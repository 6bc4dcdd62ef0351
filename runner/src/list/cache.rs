//! What binaries said the last time, by what they are: a file for each in the runner's folder.
//!
//! A listing is asked for again when the binary is another: its device, inode, size or time of
//! change. Nothing here is an error: what cannot be read, or was written by another version, is
//! as good as not there, and what cannot be written is asked for the next time.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use runner_core::protocol::PROTOCOL_VERSION;
use serde::{Deserialize, Serialize};

use super::Answer;

/// Changes with the form of what is kept.
const VERSION: u32 = 1;

/// A folder of answers.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// What makes a binary the same as the one that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size_bytes: u64,
    changed_s: i64,
    changed_ns: i64,
}

#[derive(Serialize, Deserialize)]
struct Entry<A> {
    version: (u32, u32),
    /// Whose it is: an entry goes when its binary is gone.
    executable: PathBuf,
    identity: Identity,
    answer: A,
}

impl Cache {
    /// The cache below the runner's folder; made when something is kept.
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("listings") }
    }

    /// What this binary said, if it is known.
    pub(super) fn find(&self, executable: &Path, identity: Identity) -> Option<Answer> {
        let text = fs::read(self.path(executable)?).ok()?;
        let entry: Entry<Answer> = serde_json::from_slice(&text).ok()?;
        let is_same = entry.version == versions()
            && entry.executable == executable
            && entry.identity == identity;
        is_same.then_some(entry.answer)
    }

    /// Keeps what a binary said.
    pub(super) fn keep(&self, executable: &Path, identity: Identity, answer: &Answer) {
        let entry = Entry { version: versions(), executable: executable.into(), identity, answer };
        let (Some(path), Ok(text)) = (self.path(executable), serde_json::to_vec(&entry)) else {
            return;
        };
        // Written beside it and renamed: another runner reads all of it or the one before.
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let written = fs::create_dir_all(&self.folder)
            .and_then(|()| File::create(&beside)?.write_all(&text))
            .and_then(|()| fs::rename(&beside, &path));
        if written.is_err() {
            // It may not even be there.
            let _ = fs::remove_file(&beside);
        }
    }

    /// Forgets binaries that are gone: every change of a package's dependencies gives its
    /// binaries other names.
    pub(super) fn prune(&self) {
        for file in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let text = fs::read(file.path()).unwrap_or_default();
            let entry = serde_json::from_slice::<Entry<serde::de::IgnoredAny>>(&text);
            if entry.is_ok_and(|entry| !entry.executable.exists()) {
                // Another runner may have been faster.
                let _ = fs::remove_file(file.path());
            }
        }
    }

    /// Named after the last parts of the path. Two binaries that meet in one name, from another
    /// target folder for instance, take turns.
    fn path(&self, executable: &Path) -> Option<PathBuf> {
        let parts: Vec<&str> =
            executable.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
        let last = parts[parts.len().saturating_sub(3)..].join("-");
        Some(self.folder.join(format!("{}.json", last.replace('/', ""))))
    }
}

impl Identity {
    /// Of an opened binary.
    pub(super) fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.size(),
            changed_s: metadata.mtime(),
            changed_ns: metadata.mtime_nsec(),
        })
    }
}

fn versions() -> (u32, u32) {
    (VERSION, PROTOCOL_VERSION)
}
