//! The terminal of whoever started the supervisor, where its attempts share it: what a shell does
//! with the process groups of its jobs.

use std::fs::File;
use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgid, getppid, tcgetpgrp, tcsetpgrp};

/// Makes a process group of this session the terminal's foreground job: it may read from it, and
/// Ctrl-C and Ctrl-Z are its.
///
/// # Errors
/// There is no terminal, or no such group.
pub fn set_foreground(group: Pid) -> io::Result<()> {
    let tty = open()?;
    // Who is not the foreground job would be stopped for trying, unless this is blocked
    // (tcsetpgrp(3)).
    let mut stops = SigSet::empty();
    stops.add(Signal::SIGTTOU);
    let before = stops.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let result = tcsetpgrp(&tty, group);
    before.thread_set_mask()?;
    Ok(result?)
}

/// Whether the terminal has stopped this child, by Ctrl-Z or because it is in the background. Told
/// once for each stop.
pub(crate) fn has_stopped(child: Pid) -> bool {
    match waitid(Id::Pid(child), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG) {
        Ok(WaitStatus::Stopped(_, signal)) => {
            matches!(signal, Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU)
        }
        Ok(_) | Err(_) => false,
    }
}

/// Lets a stopped child's group go on: in the foreground if whoever started this process is there.
pub(crate) fn go_on(child: Pid) {
    let parents = getpgid(Some(getppid()));
    let foreground = open().and_then(|tty| Ok(tcgetpgrp(&tty)?));
    if let (Ok(parents), Ok(foreground)) = (parents, foreground)
        && parents == foreground
    {
        // Without it, the child is stopped again when it reads.
        let _ = set_foreground(child);
    }
    let _ = killpg(child, Signal::SIGCONT);
}

fn open() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}
