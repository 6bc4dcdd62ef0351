//! Every plain binary of a run, handed to their supervisors once instead of with each attempt: an
//! environment is some kilobytes.
//!
//! A memory file: for each binary the number of its fd, its variables as `NAME=VALUE`, and an empty
//! string; each string is ended by a zero byte, as the kernel wants it.

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// The runner's side: binaries as they were when they were listed.
#[derive(Debug)]
pub struct Images<'a> {
    file: File,
    binaries: Vec<&'a File>,
}

/// The supervisor's side.
#[derive(Debug, Default)]
pub(super) struct Known {
    images: Vec<Image>,
}

/// One binary.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) fd: RawFd,
    /// `NAME=VALUE`, every name once.
    pub(super) env: Vec<CString>,
}

impl<'a> Images<'a> {
    /// Of these binaries and their environments.
    ///
    /// # Errors
    /// What the kernel says to a memory file.
    pub fn new(
        binaries: impl Iterator<Item = (&'a File, &'a [(OsString, OsString)])>,
    ) -> io::Result<Self> {
        let mut file: File = memfd_create(c"runner-images", MFdFlags::MFD_CLOEXEC)?.into();
        let mut files = Vec::new();
        for (binary, env) in binaries {
            file.write_all(&encoded(binary.as_raw_fd(), env))?;
            files.push(binary);
        }
        Ok(Self { file, binaries: files })
    }

    /// The number of the file that holds them.
    pub fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Everything a supervisor has to inherit, under the same numbers.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let binaries = self.binaries.iter().map(|binary| binary.as_fd());
        binaries.chain([self.file.as_fd()]).collect()
    }
}

impl Known {
    /// From the file that was inherited.
    pub(super) fn read(mut file: File) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        decoded(&bytes).map(|images| Self { images }).ok_or(io::ErrorKind::InvalidData.into())
    }

    /// The binary behind an fd.
    pub(super) fn find(&self, fd: RawFd) -> Option<&Image> {
        self.images.iter().find(|image| image.fd == fd)
    }

    /// The fds of all of them.
    pub(super) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.images.iter().map(|image| image.fd)
    }
}

fn encoded(fd: RawFd, env: &[(OsString, OsString)]) -> Vec<u8> {
    let mut bytes = fd.to_string().into_bytes();
    bytes.push(0);
    for (name, value) in env {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

fn decoded(mut bytes: &[u8]) -> Option<Vec<Image>> {
    let mut images = Vec::new();
    while !bytes.is_empty() {
        let fd = take(&mut bytes)?.to_str().ok()?.parse().ok()?;
        let mut env = Vec::new();
        loop {
            let variable = take(&mut bytes)?;
            if variable.is_empty() {
                break;
            }
            env.push(variable.to_owned());
        }
        images.push(Image { fd, env });
    }
    Some(images)
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a CStr> {
    let string = CStr::from_bytes_until_nul(bytes).ok()?;
    *bytes = &bytes[string.count_bytes() + 1..];
    Some(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_supervisor_reads_is_what_the_runner_wrote() {
        let binary = File::open("/proc/self/exe").expect("this binary");
        let env: Vec<(OsString, OsString)> =
            [("A", "1=2"), ("EMPTY", ""), ("B", "x y")].map(|(n, v)| (n.into(), v.into())).into();
        let images = Images::new([(&binary, &env[..]), (&binary, &[][..])].into_iter());
        let images = images.expect("a memory file");
        let known = Known::read(images.file.try_clone().expect("cloned")).expect("readable");
        let image = known.find(binary.as_raw_fd()).expect("known");
        assert_eq!(image.env, [c"A=1=2".into(), c"EMPTY=".into(), CString::from(c"B=x y")]);
        assert_eq!(known.fds().count(), 2);
        assert!(known.find(0).is_none());
    }

    #[test]
    fn what_is_cut_off_is_no_list() {
        let whole = encoded(7, &[("A".into(), "1".into())]);
        assert_eq!(decoded(&whole).map(|images| images.len()), Some(1));
        for length in 1..whole.len() {
            assert!(decoded(&whole[..length]).is_none(), "{length}");
        }
    }
}
