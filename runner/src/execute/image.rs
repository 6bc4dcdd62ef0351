//! What supervisors are made of: a suite's own binary, or this program for all plain binaries.
//!
//! To the plan each of these is one thing that a slot's supervisor is for, or is not.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::run::{Harness, SuiteBinary};
use crate::plain;

/// What is executed to become a supervisor.
pub(super) enum Image<'a> {
    /// The binary of a suite with our harness.
    Suite(&'a SuiteBinary),
    /// This program, which executes any of the plain binaries.
    Runner(plain::Images<'a>),
}

/// All images of a run.
pub(super) struct Images<'a> {
    images: Vec<Image<'a>>,
    /// The number of each binary's image.
    of_binary: Vec<usize>,
}

impl<'a> Images<'a> {
    /// One for each binary with our harness, and one for the others together.
    pub(super) fn new(binaries: &'a [SuiteBinary]) -> io::Result<Self> {
        let mut images: Vec<Image<'a>> = Vec::new();
        let mut of_binary = Vec::new();
        let mut of_plain = None;
        for binary in binaries {
            let number = match (&binary.harness, of_plain) {
                (Harness::Plain { .. }, Some(number)) => number,
                (Harness::Own, _) => add(&mut images, Image::Suite(binary)),
                (Harness::Plain { .. }, None) => {
                    *of_plain.insert(add(&mut images, runner(binaries)?))
                }
            };
            of_binary.push(number);
        }
        Ok(Self { images, of_binary })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.images.len()
    }

    /// The number of a binary's image.
    pub(super) fn of_binary(&self, binary: usize) -> usize {
        self.of_binary[binary]
    }

    /// An image by its number.
    pub(super) fn get(&self, number: usize) -> &Image<'a> {
        &self.images[number]
    }
}

fn add<'a>(images: &mut Vec<Image<'a>>, image: Image<'a>) -> usize {
    images.push(image);
    images.len() - 1
}

fn runner(binaries: &[SuiteBinary]) -> io::Result<Image<'_>> {
    let plain = binaries.iter().filter(|binary| match binary.harness {
        Harness::Plain { .. } => true,
        Harness::Own => false,
    });
    Ok(Image::Runner(plain::Images::new(plain.map(|binary| (&binary.file, &binary.env[..])))?))
}

impl Image<'_> {
    /// A command that executes it, with the environment it is to have.
    pub(super) fn command(&self) -> Command {
        match self {
            Image::Suite(binary) => {
                let mut command =
                    Command::new(format!("/proc/self/fd/{}", binary.file.as_raw_fd()));
                command.arg0(&binary.path).current_dir(&binary.package_root).env_clear();
                command.envs(binary.env.iter().map(|(name, value)| (name, value)));
                command
            }
            Image::Runner(images) => {
                let mut command = Command::new(OWN_IMAGE);
                command.arg0("runner").env_clear();
                command.env(plain::IMAGES, images.number().to_string());
                command
            }
        }
    }

    /// What it has to inherit, beside what every supervisor has.
    pub(super) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Image::Suite(_) => Vec::new(),
            Image::Runner(images) => images.fds(),
        }
    }

    /// Its file, for messages.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Image::Suite(binary) => binary.path.clone(),
            Image::Runner(_) => OWN_IMAGE.into(),
        }
    }

    /// Who needs it, for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Image::Suite(binary) => format!("suite {}", binary.name),
            Image::Runner(_) => "plain binaries".into(),
        }
    }
}

/// This program as it was when it was started, whatever a build has done to its path since.
const OWN_IMAGE: &str = "/proc/self/exe";
