//! `exec`: the child is a fresh image, of this program or of another.
//!
//! Between the birth of the child and its exec it shares this process's memory while the calling thread stands still
//! (as vfork does), so the price does not grow with the heap, and a failure is reported by writing it down.
//!
//! References: clone(2), execve(2), prctl(2).
#![expect(unsafe_code, reason = "code that runs between clone and exec")]

use std::cell::Cell;
use std::ffi::{CString, OsStr, OsString, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::birth::{self, Group};
use super::descriptors::{self, Inherited, set_inherited};
use super::error::Failed;
use super::kernel::close_range;
use super::process::Process;
use super::request::Order;
use super::signals::{self, Blocked};
use super::summons::{self, Role, Summons, Tokio};
use super::{Step, Unavailable, init, lineage, title};

/// This image, even if the file has been replaced meanwhile.
const SELF: &str = "/proc/self/exe";

pub(super) fn spawn(order: Order) -> Result<Process, Failed> {
    let (path, title, tokio) = match &order.program {
        Some(program) => (program.as_os_str(), program.clone().into_os_string(), Tokio::Unknown),
        None => {
            let (path, tokio) = own_image()?;
            (path, title::room_for(&order.title).into(), tokio)
        }
    };
    let role = Role::Actor { uuid: order.uuid, name: order.name };
    let summons = summon(order.link.as_raw_fd(), tokio, role)?;
    Image::prepare(path, title, &summons, &order.env).map_err(Failed::at(Step::Prepare))?.launch()
}

/// Starts this program, or its worker, in another role than an actor's.
pub(super) fn spawn_role(role: Role, socket: RawFd, title: &str) -> Result<Process, Failed> {
    let (path, tokio) = own_image()?;
    let summons = summon(socket, tokio, role)?;
    Image::prepare(path, title::room_for(title).into(), &summons, &[])
        .map_err(Failed::at(Step::Prepare))?
        .launch()
}

/// What this process's actors are a fresh image of, and what is known of its tokio.
fn own_image() -> Result<(&'static OsStr, Tokio), Unavailable> {
    match init::worker() {
        Some(worker) => Ok((worker, Tokio::Unknown)),
        None if birth::has_entry() => Ok((OsStr::new(SELF), descriptors::tokio())),
        None => Err(Unavailable::NoEntry),
    }
}

fn summon(socket: RawFd, tokio: Tokio, role: Role) -> Result<Summons, Unavailable> {
    let lineage = lineage::descriptor().ok_or(Unavailable::NotInitialised)?;
    Ok(Summons { socket, lineage, tokio, role })
}

/// All that the child needs, made before it exists: it may not allocate.
struct Image {
    path: CString,
    title: CString,
    environment: Vec<CString>,
    inherited: Vec<RawFd>,
    parent: Pid,
    group: Group,
}

impl Image {
    fn prepare(
        path: &OsStr,
        title: OsString,
        summons: &Summons,
        changes: &[(OsString, Option<OsString>)],
    ) -> io::Result<Image> {
        Ok(Image {
            path: CString::new(path.as_bytes())?,
            title: CString::new(title.into_vec())?,
            environment: environment(summons, changes)?,
            inherited: descriptors::kept()
                .into_iter()
                .chain([summons.socket, summons.lineage])
                .collect(),
            parent: Pid::this(),
            group: match summons.role {
                Role::Actor { .. } => Group::Own,
                Role::Forkserver => Group::Parents,
            },
        })
    }

    fn launch(&self) -> Result<Process, Failed> {
        let argv = [self.title.as_ptr(), std::ptr::null()];
        let envp: Vec<_> =
            self.environment.iter().map(|entry| entry.as_ptr()).chain([std::ptr::null()]).collect();
        let plan = Plan { image: self, argv: &argv, envp: &envp, failure: Cell::new(None) };
        let process = plan.clone_and_exec().map_err(Failed::at(Step::Fork))?;
        match plan.failure.get() {
            None => Ok(process),
            Some((step, errno)) => {
                process.wait_blocking();
                Err(Failed::at(step)(self.name_the_path(step, errno)))
            }
        }
    }

    fn name_the_path(&self, step: Step, errno: Errno) -> io::Error {
        let error = io::Error::from(errno);
        if step == Step::Exec {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.to_string_lossy()))
        } else {
            error
        }
    }
}

/// This process's environment with the changes, and the summons.
fn environment(
    summons: &Summons,
    changes: &[(OsString, Option<OsString>)],
) -> io::Result<Vec<CString>> {
    let changed = |name: &OsStr| {
        name == summons::VARIABLE || changes.iter().any(|(changed, _)| changed == name)
    };
    let kept = std::env::vars_os().filter(|(name, _)| !changed(name));
    let set = changes.iter().enumerate().filter_map(|(at, (name, value))| {
        let last = !changes[at + 1..].iter().any(|(later, _)| later == name);
        value.as_ref().filter(|_| last).map(|value| (name.clone(), value.clone()))
    });
    kept.chain(set)
        .chain([(summons::VARIABLE.into(), summons.to_string().into())])
        .map(|(name, value)| entry(name, &value))
        .collect()
}

fn entry(name: OsString, value: &OsStr) -> io::Result<CString> {
    let mut entry = name.into_vec();
    entry.push(b'=');
    entry.extend_from_slice(value.as_bytes());
    Ok(CString::new(entry)?)
}

/// What parent and child share.
struct Plan<'a> {
    image: &'a Image,
    argv: &'a [*const libc::c_char],
    envp: &'a [*const libc::c_char],
    /// Written by the child, read by the parent once the child has left its memory.
    failure: Cell<Option<(Step, Errno)>>,
}

/// Enough for the few calls between clone and exec.
const STACK_BYTES: usize = 64 * 1024;

impl Plan<'_> {
    fn clone_and_exec(&self) -> io::Result<Process> {
        let mut stack = Vec::<MaybeUninit<u128>>::with_capacity(STACK_BYTES / size_of::<u128>());
        let mut pidfd: c_int = -1;
        // No handler of this process may run in the child, whose writes are this process's.
        let _blocked = Blocked::all();
        // SAFETY: the stack is ours, aligned, unused by anybody else, and outlives the child's use of it, because
        // CLONE_VFORK returns after the child has replaced its image or ended. `self` outlives it likewise. With
        // CLONE_PIDFD the third pointer receives a descriptor.
        let pid = Errno::result(unsafe {
            libc::clone(
                in_child,
                stack.as_mut_ptr().add(stack.capacity()).cast(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD,
                std::ptr::from_ref(self).cast_mut().cast(),
                &raw mut pidfd,
            )
        })?;
        // SAFETY: the kernel made this descriptor, close-on-exec, and nobody else owns it.
        Ok(Process::new(Pid::from_raw(pid), unsafe { OwnedFd::from_raw_fd(pidfd) }))
    }

    /// Returns only with a failure.
    fn become_image(&self) -> (Step, Errno) {
        let failed = match self.set_up() {
            Ok(()) => Step::Exec,
            Err(errno) => return (Step::Setup, errno),
        };
        // SAFETY: NUL-terminated strings in null-terminated arrays that outlive the call.
        unsafe { libc::execve(self.image.path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        (failed, Errno::last())
    }

    /// Only system calls: no allocation, no lock.
    fn set_up(&self) -> Result<(), Errno> {
        birth::settle(self.image.parent, self.image.group)?;
        signals::reset_before_exec();
        let errno =
            |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL));
        close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC).map_err(errno)?;
        for fd in &self.image.inherited {
            // One that the environment names but that is not open is nobody's loss.
            let _ = set_inherited(*fd, Inherited::Yes);
        }
        Ok(())
    }
}

extern "C" fn in_child(plan: *mut c_void) -> c_int {
    // SAFETY: `clone_and_exec` passes its `self`, and stands still while this runs.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
    plan.failure.set(Some(plan.become_image()));
    127
}
