//! Giving the terminal to the command, and taking it back.
//!
//! The foreground job of a terminal is a process group. The command has one of its own, so that
//! a SIGKILL of the started process's group does not reach it; to read from the terminal and to be
//! stopped by Ctrl-Z it must be made the foreground job, as a shell does with its jobs.

use std::fs::File;
use std::io::{self, IsTerminal};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, getpid, tcgetpgrp};
use runner_supervisor::set_foreground;

use super::TakeTerminal;

/// The terminal of this process, which has it and may give it away.
pub(super) struct Terminal {
    tty: File,
    modes: Option<Termios>,
}

impl Terminal {
    /// `None` if the command cannot have it.
    pub(super) fn take(when: TakeTerminal) -> Option<Self> {
        let tty = open().ok()?;
        let is_foreground = tcgetpgrp(&tty).ok()? == getpgrp();
        let is_alone = || {
            let is_job = getpid() == getpgrp();
            is_job && io::stdin().is_terminal() && io::stdout().is_terminal()
        };
        let may = match when {
            TakeTerminal::IfAlone => is_foreground && is_alone(),
            TakeTerminal::IfForeground => is_foreground,
        };
        let modes = tcgetattr(&tty).ok();
        may.then_some(Self { tty, modes })
    }

    /// Makes this process's group the foreground job again.
    pub(super) fn take_back(&self) {
        // It may be gone: then nobody needs it.
        let _ = set_foreground(getpgrp());
    }

    /// Undoes what a program did that could not do so itself.
    pub(super) fn restore_modes(&self) {
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(&self.tty, SetArg::TCSANOW, modes);
        }
    }
}

fn open() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}
