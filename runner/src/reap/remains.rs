//! Run folders, shared memory segments and sockets that nobody uses.
//!
//! That nobody does is not concluded from process tables, which show neither other containers nor
//! other users' processes: the kernel itself is asked. A run folder is locked by its run; a write
//! lease on a segment is granted only where no other open file or mapping of it exists
//! (`fcntl(2)`, `F_SETLEASE`); a socket file that is bound to no socket refuses a connection,
//! and one that is bound refuses a datagram socket for its type, without anybody noticing.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::libc;
use runner_core::protocol::RUN_FOLDER_PREFIX;
use runner_core::run_folder::{self, Claim};

use super::census::Census;
use super::{Fate, Finding, Mode, file};
use crate::execute::lease_for_writing;

const SHARED_MEMORY: &str = "/dev/shm";

/// How old something must be to belong to no run that lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    /// When the oldest of them began; `None` if there is none.
    oldest_live_run: Option<SystemTime>,
}

impl Age {
    pub(super) fn of_live_runs(census: &Census) -> Self {
        let now = SystemTime::now();
        let began = |age| now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let known = census.oldest_live_run().map(began);
        // A run that has started no process yet has a folder.
        let folders = run_folders().into_iter().filter(|(path, _)| is_locked(path));
        let began = folders.map(|(_, metadata)| made_at(&metadata)).chain(known).min();
        Self { oldest_live_run: began }
    }

    fn may_be_of_a_live_run(self, metadata: &Metadata) -> bool {
        self.oldest_live_run.is_some_and(|began| made_at(metadata) >= began)
    }
}

/// Run folders of runs that are over.
pub(super) fn folders(mode: Mode) -> Vec<Finding> {
    run_folders().into_iter().map(|(path, _)| file(&path, folder(&path, mode))).collect()
}

fn folder(path: &Path, mode: Mode) -> Fate {
    match (run_folder::claim(path), mode) {
        (Ok(Claim::Locked), _) => Fate::LeftAlone("its run lives".into()),
        (Ok(Claim::Free(_)), Mode::Tell) => Fate::WouldRemove,
        (Ok(Claim::Free(free)), Mode::Act) => removed(free.remove()),
        (Err(error), _) => Fate::Failed(error.to_string()),
    }
}

/// Segments that nobody has open.
pub(super) fn segments(mode: Mode, age: Age) -> Vec<Finding> {
    let segments = own_files(Path::new(SHARED_MEMORY)).into_iter();
    let segments = segments.filter(|(_, metadata)| metadata.is_file());
    segments.map(|(path, metadata)| file(&path, segment(&path, &metadata, mode, age))).collect()
}

fn segment(path: &Path, metadata: &Metadata, mode: Mode, age: Age) -> Fate {
    if age.may_be_of_a_live_run(metadata) {
        return younger();
    }
    let opened = match open_quietly(path, metadata) {
        Ok(opened) => opened,
        Err(error) => return Fate::LeftAlone(format!("cannot be looked into: {error}")),
    };
    // Held until it is removed: whoever opens it meanwhile waits, and finds what it is then.
    match (lease_for_writing(&opened), mode) {
        (Ok(()), Mode::Tell) => Fate::WouldRemove,
        (Ok(()), Mode::Act) => removed(fs::remove_file(path)),
        (Err(error), _) if error.raw_os_error() == Some(Errno::EAGAIN as i32) => {
            Fate::LeftAlone("somebody has it open".into())
        }
        (Err(error), _) => Fate::LeftAlone(format!("cannot be proved unused: {error}")),
    }
}

fn open_quietly(path: &Path, expected: &Metadata) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let now = opened.metadata()?;
    if (now.dev(), now.ino()) == (expected.dev(), expected.ino()) {
        Ok(opened)
    } else {
        Err(io::Error::other("it was replaced"))
    }
}

/// Socket files that are bound to no socket: in the temporary folder, in the user's runtime
/// folder, and in the folders of this user's directly in them.
pub(super) fn sockets(mode: Mode, age: Age) -> Vec<Finding> {
    let mut found = Vec::new();
    for root in socket_roots() {
        let (folders, files): (Vec<_>, Vec<_>) =
            own_files(&root).into_iter().partition(|(_, metadata)| metadata.is_dir());
        found.extend(files);
        // What is in run folders goes with them, or belongs to a run that lives.
        let others = folders.into_iter().filter(|(path, _)| !is_run_folder(path));
        found.extend(others.flat_map(|(path, _)| own_files(&path)));
    }
    found.retain(|(_, metadata)| metadata.file_type().is_socket());
    found.iter().map(|(path, metadata)| file(path, socket(path, metadata, mode, age))).collect()
}

fn socket(path: &Path, metadata: &Metadata, mode: Mode, age: Age) -> Fate {
    if age.may_be_of_a_live_run(metadata) {
        return younger();
    }
    match (is_bound(path), mode) {
        (Ok(true), _) => Fate::LeftAlone("a socket is bound to it".into()),
        (Ok(false), Mode::Tell) => Fate::WouldRemove,
        (Ok(false), Mode::Act) => removed(fs::remove_file(path)),
        (Err(error), _) => Fate::LeftAlone(format!("cannot be proved unused: {error}")),
    }
}

/// Whether there is a socket behind this file, in whichever container. A datagram socket that
/// connects to another kind is refused for that (`EPROTOTYPE`), to its own kind not even noticed.
fn is_bound(path: &Path) -> io::Result<bool> {
    match UnixDatagram::unbound()?.connect(path) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ECONNREFUSED) => Ok(false),
            Some(Errno::EPROTOTYPE | Errno::EPERM) => Ok(true),
            Some(_) | None => Err(error),
        },
    }
}

fn socket_roots() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let mut roots: Vec<PathBuf> = runtime
        .into_iter()
        .filter(|path| path.is_absolute())
        .chain([std::env::temp_dir()])
        .collect();
    roots.dedup();
    roots
}

fn run_folders() -> Vec<(PathBuf, Metadata)> {
    let mut found = own_files(&std::env::temp_dir());
    found.retain(|(path, metadata)| metadata.is_dir() && is_run_folder(path));
    found
}

fn is_run_folder(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(RUN_FOLDER_PREFIX))
}

fn is_locked(path: &Path) -> bool {
    matches!(run_folder::claim(path), Ok(Claim::Locked))
}

/// What lies in a folder and belongs to this user; links are not followed.
fn own_files(folder: &Path) -> Vec<(PathBuf, Metadata)> {
    let own = nix::unistd::geteuid().as_raw();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let with_metadata = entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    let mut found: Vec<_> = with_metadata.filter(|(_, file)| file.uid() == own).collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

/// When a file was made. Where the file system does not keep that: when it was last changed in
/// any way, which is never before.
fn made_at(metadata: &Metadata) -> SystemTime {
    metadata.created().unwrap_or_else(|_| {
        let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
        let nanos = u32::try_from(metadata.ctime_nsec()).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
    })
}

fn younger() -> Fate {
    Fate::LeftAlone("younger than a run that lives".into())
}

fn removed(result: io::Result<()>) -> Fate {
    match result {
        Ok(()) => Fate::Removed,
        Err(error) => Fate::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

    const NO_LIVE_RUN: Age = Age { oldest_live_run: None };

    /// A segment of this test's, removed with it.
    struct Segment(PathBuf);

    impl Segment {
        fn new(name: &str) -> Self {
            let path = format!("{SHARED_MEMORY}/runner-test-{}-{name}", std::process::id());
            fs::write(&path, "x").unwrap();
            Self(path.into())
        }

        fn fate(&self, mode: Mode, age: Age) -> Fate {
            segment(&self.0, &fs::symlink_metadata(&self.0).unwrap(), mode, age)
        }
    }

    impl Drop for Segment {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_segment_is_removed_only_once_nobody_has_it_open() {
        let segment = Segment::new("open");
        let reader = File::open(&segment.0).unwrap();
        assert_eq!(segment.fate(Mode::Act, NO_LIVE_RUN), open_somewhere());
        drop(reader);
        assert_eq!(segment.fate(Mode::Tell, NO_LIVE_RUN), Fate::WouldRemove);
        assert!(segment.0.exists(), "was only to be told");
        assert_eq!(segment.fate(Mode::Act, NO_LIVE_RUN), Fate::Removed);
        assert!(!segment.0.exists());
    }

    #[test]
    fn a_segment_that_is_only_mapped_is_somebodys() {
        let segment = Segment::new("mapped");
        let file = OpenOptions::new().read(true).write(true).open(&segment.0).unwrap();
        let mapping = Mapping::of(&file);
        drop(file);
        assert_eq!(segment.fate(Mode::Act, NO_LIVE_RUN), open_somewhere());
        drop(mapping);
        assert_eq!(segment.fate(Mode::Act, NO_LIVE_RUN), Fate::Removed);
    }

    #[test]
    fn what_a_living_run_may_have_made_is_not_touched() {
        let segment = Segment::new("young");
        let made = made_at(&fs::symlink_metadata(&segment.0).unwrap());
        let since = |began| Age { oldest_live_run: Some(began) };
        assert_eq!(segment.fate(Mode::Act, since(made)), younger());
        assert_eq!(segment.fate(Mode::Act, since(SystemTime::UNIX_EPOCH)), younger());
        let later = made + Duration::from_secs(1);
        assert_eq!(segment.fate(Mode::Act, since(later)), Fate::Removed);
    }

    #[test]
    fn a_socket_is_removed_only_once_nobody_is_bound_to_it_and_nobody_notices_the_look() {
        let folder = tempfile::tempdir().unwrap();
        let (stream, datagram) = (folder.path().join("stream"), folder.path().join("datagram"));
        let listener = UnixListener::bind(&stream).unwrap();
        listener.set_nonblocking(true).unwrap();
        let bound = UnixDatagram::bind(&datagram).unwrap();
        let fate = |path: &Path| {
            let metadata = fs::symlink_metadata(path).unwrap();
            socket(path, &metadata, Mode::Act, NO_LIVE_RUN)
        };
        for path in [&stream, &datagram] {
            assert_eq!(fate(path), Fate::LeftAlone("a socket is bound to it".into()));
        }
        assert!(listener.accept().is_err(), "nobody has connected");
        UnixStream::connect(&stream).unwrap();
        drop((listener, bound));
        for path in [&stream, &datagram] {
            assert_eq!(fate(path), Fate::Removed);
        }
    }

    fn open_somewhere() -> Fate {
        Fate::LeftAlone("somebody has it open".into())
    }

    /// A mapping of one page, and no fd.
    struct Mapping(std::ptr::NonNull<std::ffi::c_void>);

    const PAGE: std::num::NonZeroUsize = std::num::NonZeroUsize::new(4096).unwrap();

    impl Mapping {
        #[expect(unsafe_code, reason = "maps a file")]
        fn of(file: &File) -> Self {
            let (protection, flags) = (ProtFlags::PROT_READ, MapFlags::MAP_SHARED);
            // SAFETY: a new mapping, where the kernel likes, which is never looked into.
            Self(unsafe { mmap(None, PAGE, protection, flags, file, 0) }.unwrap())
        }
    }

    impl Drop for Mapping {
        #[expect(unsafe_code, reason = "unmaps a file")]
        fn drop(&mut self) {
            // SAFETY: made by `of` with this length, and nobody has looked into it.
            unsafe { munmap(self.0, PAGE.get()) }.unwrap();
        }
    }
}
