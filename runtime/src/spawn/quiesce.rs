//! fork() in a process with threads.
//!
//! Only the calling thread exists in the child, and a lock another thread held stays locked for ever. So the locks
//! that a child of ours is sure to need are held by the calling thread while it forks: std's on standard output,
//! standard error and the environment. libc's `fork` sees to its own (malloc, stdio), which a raw clone would not.
//!
//! Not held, because nobody outside can: std's backtrace lock (see `panics`), its lock on a table of threads that each takes
//! as it begins and ends (see `birth`, where a child notices that it cannot begin, and asks for another), standard input's, locks of other C
//! code, locks in the user's statics. Whoever holds the lock on standard error while waiting for that on standard
//! output deadlocks with a fork; std and its macros never do.
#![expect(unsafe_code, reason = "fork")]

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::error::Failed;
use super::signals::Blocked;
use super::{Step, Unavailable, environment};

/// Which of the two a caller of [`fork`] is.
#[must_use]
pub(super) enum Forked {
    Parent {
        child: Pid,
    },
    /// With one thread, and all signals blocked.
    Child,
}

/// Whether all that must be held can be.
pub(super) fn check() -> Result<(), Unavailable> {
    environment::while_locked(|| 0).map(drop)
}

/// Does once what every forked child would otherwise do anew: libc has the dynamic linker look up, at their first use, the
/// functions that set up a thread on the stack of one that has ended, as each child's actor is. Starts two threads, one
/// after the other, and waits for their end.
pub(super) fn warm_up() {
    // No `Once`: a child forked in the midst of it by another thread would wait for it for ever.
    static WARM: AtomicBool = AtomicBool::new(false);
    if !WARM.swap(true, Ordering::Relaxed) {
        for _ in 0..2 {
            let thread = std::thread::Builder::new().name("warm-up".into()).spawn(|| ());
            // Where there can be no thread, children are slower, or fail for reasons of their own.
            drop(thread.map(JoinHandle::join));
        }
    }
}

/// Forks. Waits for as long as other threads are writing to standard output or error.
pub(super) fn fork() -> Result<Forked, Failed> {
    warm_up();
    let blocked = Blocked::all();
    let mut stdout = io::stdout().lock();
    let stderr = io::stderr().lock();
    // What is buffered would be written by both. A stream that takes nothing is not the fork's concern.
    let _ = stdout.flush();
    let answer = environment::while_locked(libc_fork)?;
    drop((stderr, stdout));
    match answer {
        0 => {
            blocked.keep();
            Ok(Forked::Child)
        }
        pid if pid > 0 => Ok(Forked::Parent { child: Pid::from_raw(pid) }),
        errno => Err(Failed::at(Step::Fork)(Errno::from_raw(-errno).into())),
    }
}

/// The child's pid, 0 in the child, or the negated error number.
fn libc_fork() -> i32 {
    // SAFETY: the caller holds the locks the child will need; the child leaves the others alone.
    match unsafe { libc::fork() } {
        -1 => -(Errno::last_raw()),
        pid => pid,
    }
}
