//! Single keys of an interactive terminal, while a run goes on.
//!
//! The terminal gives lines to programs, and shows what is typed; for keys both have to be off. They
//! are on again whenever this process does not read: when it stops, when it is no longer the
//! foreground job, when a [`Keys`] is dropped, also by a panic. Ctrl-C and Ctrl-Z stay signals. No
//! change waits for output: where somebody has stopped that (Ctrl-S), the run would stand too.
//!
//! Used by `execute`, which wakes up for [`Keys::fd`].

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{getpgrp, read, tcgetpgrp};

/// Where keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// stdin, if that is a terminal of which this is the foreground job.
    Terminal,
    /// Nowhere: the terminal is left as it is.
    Nowhere,
}

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `t`: what does everything do that runs?
    Inspect,
    /// Enter: how far is the run?
    Status,
}

/// The terminal on stdin.
#[derive(Debug)]
pub struct Keys {
    stdin: io::Stdin,
    /// The modes to go back to, while keys are read.
    before: Option<Termios>,
}

impl Keys {
    /// `None` if there is no terminal, or none is wanted. No mode is changed yet.
    pub fn of(source: KeySource) -> Option<Self> {
        let stdin = io::stdin();
        match source {
            KeySource::Terminal if stdin.is_terminal() => Some(Self { stdin, before: None }),
            KeySource::Terminal | KeySource::Nowhere => None,
        }
    }

    /// Begins to read keys, if this is the foreground job and does not yet: whether it does now.
    pub fn enter(&mut self) -> bool {
        if self.before.is_none() && self.is_foreground() {
            self.before = self.change_modes().ok();
        }
        self.before.is_some()
    }

    /// Gives the terminal back as it was.
    pub fn leave(&mut self) {
        if let Some(before) = self.before.take() {
            // It may be gone; and whoever changes it in the background is stopped.
            if self.is_foreground() {
                let _ = tcsetattr(&self.stdin, SetArg::TCSANOW, &before);
            }
        }
    }

    /// Readable when there is a key.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stdin.as_fd()
    }

    /// What was pressed; never waits. `None` if there will be nothing more.
    pub fn read(&mut self) -> Option<Vec<Key>> {
        if self.before.is_none() || !self.is_foreground() {
            return None;
        }
        let mut bytes = [0; 64];
        match read(&self.stdin, &mut bytes) {
            Ok(0) | Err(_) => None,
            Ok(count) => Some(bytes[..count].iter().filter_map(|byte| key(*byte)).collect()),
        }
    }

    fn is_foreground(&self) -> bool {
        tcgetpgrp(&self.stdin) == Ok(getpgrp())
    }

    fn change_modes(&self) -> nix::Result<Termios> {
        let before = tcgetattr(&self.stdin)?;
        let mut modes = before.clone();
        modes.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // A read returns what there is, if anything: another may have read it first.
        modes.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        modes.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(&self.stdin, SetArg::TCSANOW, &modes)?;
        Ok(before)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.leave();
    }
}

fn key(byte: u8) -> Option<Key> {
    match byte {
        b't' | b'T' => Some(Key::Inspect),
        b'\n' | b'\r' => Some(Key::Status),
        _ => None,
    }
}
