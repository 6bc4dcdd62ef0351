//! Starting a program as an attempt's first process, without a copy of the supervisor in between.
//!
//! The child shares the supervisor's memory, as posix_spawn(3) does it, until it executes its
//! program; the supervisor is suspended for so long (`CLONE_VFORK`). A fork would copy page tables
//! and fault pages for nothing. posix_spawn itself cannot be used: it cannot ask for the parent's
//! death signal, nor execute an fd.
//!
//! # What a stop between clone and exec would do
//! nextest executes itself between the two, because a SIGTSTP from the terminal can stop a child
//! that has not come to its exec, and with it the parent that waits for it. Here nothing has to be
//! executed twice:
//! - The terminal signals its foreground process group. The supervisor left that by `setsid` while
//!   every signal of a run was still blocked, as it had inherited them from the runner; what it
//!   starts was never in it.
//! - Its process group is orphaned (no member has a parent in another group of the same session),
//!   and so are those below: what SIGTSTP, SIGTTIN and SIGTTOU do by default is not done to
//!   orphaned groups (setpgid(2), POSIX.1 2.4.3).
//! - All signals that can be blocked are blocked in the child until its exec, so that no handler
//!   of the supervisor's could run in it either.
//! - SIGSTOP cannot be blocked. The supervisor, which sends it when the runner pauses, is suspended
//!   meanwhile and cannot send it here; nobody else knows this process yet. Whoever stops it all
//!   the same stops the supervisor with it, and a silent supervisor is killed by whoever plays the
//!   runner; the child then dies of its parent's death.
#![expect(unsafe_code, reason = "clone, and the system calls of the child it makes")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::Pid;

/// A program to be executed, with everything the kernel wants already in its form.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The program's file; it need not have a path any more.
    pub image: BorrowedFd<'a>,
    /// All its arguments, the zeroth too.
    pub arguments: Vec<CString>,
    /// Its whole environment, `NAME=VALUE`.
    pub environment: Vec<CString>,
    /// Its working directory.
    pub folder: CString,
}

/// A process that was started.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: Pid,
    /// Why it did not come to its program, for a person. It has exited then.
    pub(crate) failure: Option<String>,
}

/// Makes children, on a stack for them that is used again and again.
#[derive(Debug)]
pub(crate) struct Launcher {
    stack: Box<[MaybeUninit<u128>]>,
}

/// The child makes a dozen system calls, from one function.
const STACK_BYTES: usize = 32 << 10;

/// What a child exits with that did not come to its program; its supervisor knows why.
const NOT_EXECUTED: c_int = 127;

impl Launcher {
    /// Also sees to it that no program inherits an fd above 2.
    pub(crate) fn new() -> Self {
        let (first, last) = (3, c_int::MAX);
        // SAFETY: takes no pointer. Where the kernel does not know the flag (before 5.11), fds that
        // whoever started us left open are inherited; our own are close-on-exec anyway.
        unsafe { libc::close_range(first, last as u32, libc::CLOSE_RANGE_CLOEXEC as c_int) };
        Self { stack: Box::new_uninit_slice(STACK_BYTES / size_of::<u128>()) }
    }

    /// Starts a program, its fds 1 and 2 leading to `output` if that is given. Returns when it runs,
    /// or cannot.
    ///
    /// # Errors
    /// What the kernel says to `clone`.
    pub(crate) fn launch(
        &mut self,
        launch: &Launch<'_>,
        output: Option<BorrowedFd<'_>>,
    ) -> io::Result<Launched> {
        let arguments = pointers(&launch.arguments);
        let environment = pointers(&launch.environment);
        let child = Child {
            image: launch.image.as_raw_fd(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            folder: launch.folder.as_ptr(),
            output: output.map(|output| output.as_raw_fd()),
            step: AtomicI32::new(Step::Begun as i32),
            errno: AtomicI32::new(0),
        };
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        let pid = self.clone_child(&child);
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        Ok(Launched { pid: pid?, failure: child.failure(launch) })
    }

    fn clone_child(&mut self, child: &Child) -> nix::Result<Pid> {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let top = self.stack.as_mut_ptr_range().end;
        let child = ptr::from_ref(child).cast_mut();
        // SAFETY: the stack grows down from its end, which is aligned to 16 bytes, and is this
        // call's alone: the calling thread is suspended until the child has executed a program or
        // exited. So `child` and all it points to live as long as they are used. `run_child` only
        // makes system calls.
        let pid = unsafe { libc::clone(run_child, top.cast(), flags, child.cast()) };
        Errno::result(pid).map(Pid::from_raw)
    }
}

/// What the child reads, and how far it came.
struct Child {
    image: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    folder: *const c_char,
    output: Option<c_int>,
    step: AtomicI32,
    errno: AtomicI32,
}

/// What the child did last.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Step {
    /// Nothing that can fail, or its program.
    Begun,
    EnterFailed,
    ExecuteFailed,
}

impl Child {
    fn failure(&self, launch: &Launch<'_>) -> Option<String> {
        let errno = Errno::from_raw(self.errno.load(Ordering::Relaxed));
        let failed = |what: &str, name: &CStr| {
            Some(format!("cannot {what} {}: {}", name.to_string_lossy(), errno.desc()))
        };
        match self.step.load(Ordering::Relaxed) {
            step if step == Step::EnterFailed as i32 => failed("enter", &launch.folder),
            step if step == Step::ExecuteFailed as i32 => {
                failed("execute", launch.arguments.first().map_or(c"nothing", |name| name))
            }
            _ => None,
        }
    }

    fn fail(&self, step: Step) -> c_int {
        self.errno.store(Errno::last_raw(), Ordering::Relaxed);
        self.step.store(step as i32, Ordering::Relaxed);
        NOT_EXECUTED
    }
}

/// A process group of its own, the parent's death signal, the meanings of signals that a program
/// expects, its output; then the program.
extern "C" fn run_child(child: *mut c_void) -> c_int {
    // SAFETY: `clone_child` passes a `Child` that lives until this process has left its memory.
    let child = unsafe { &*child.cast::<Child>() };
    // SAFETY: system calls with integers, and with pointers of `child` to strings and lists that
    // are ended by a zero. Signals stay blocked until nothing of this memory is needed any more.
    unsafe {
        libc::setpgid(0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // Ignored by every Rust program for itself, and inherited by whom it executes.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        if let Some(output) = child.output {
            libc::dup2(output, 1);
            libc::dup2(output, 2);
        }
        if libc::chdir(child.folder) != 0 {
            return child.fail(Step::EnterFailed);
        }
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        let (image, nothing) = (child.image, c"".as_ptr());
        let (arguments, environment) = (child.arguments, child.environment);
        let how = libc::AT_EMPTY_PATH;
        libc::syscall(libc::SYS_execveat, image, nothing, arguments, environment, how);
    }
    child.fail(Step::ExecuteFailed)
}

/// As execve(2) wants a list.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;

    /// How it ended, and what it wrote.
    fn run(shell: &str, folder: &CStr) -> (WaitStatus, String, Option<String>) {
        let file = File::open("/bin/sh").expect("a shell");
        let launch = Launch {
            image: file.as_fd(),
            arguments: vec![c"sh".into(), c"-c".into(), CString::new(shell).expect("text")],
            environment: vec![c"A=1".into()],
            folder: folder.into(),
        };
        let (mut output, theirs) = io::pipe().expect("a pipe");
        let launched = Launcher::new().launch(&launch, Some(theirs.as_fd())).expect("cloned");
        drop(theirs);
        let mut text = String::new();
        output.read_to_string(&mut text).expect("text");
        let status = waitpid(launched.pid, None).expect("a child");
        (status, text, launched.failure)
    }

    #[test]
    fn a_program_finds_what_it_was_given() {
        let shell = "echo $A $0; echo also >&2; pwd; set -- $(ls /proc/self/fd); echo $#; exit 3";
        let (status, text, failure) = run(shell, c"/usr");
        assert!(matches!(status, WaitStatus::Exited(_, 3)), "{status:?}");
        // The fourth is the folder that is being listed.
        assert_eq!(text, "1 sh\nalso\n/usr\n4\n");
        assert_eq!(failure, None);
    }

    #[test]
    fn signals_mean_what_they_mean_to_a_program() {
        let (status, text, _) = run("grep SigBlk /proc/self/status; kill -PIPE $$", c"/");
        assert_eq!(text, "SigBlk:\t0000000000000000\n");
        assert!(matches!(status, WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGPIPE, _)));
    }

    #[test]
    fn what_cannot_be_executed_is_said() {
        let (status, _, failure) = run("true", c"/no/such/folder");
        assert!(matches!(status, WaitStatus::Exited(_, NOT_EXECUTED)), "{status:?}");
        assert_eq!(
            failure.expect("why"),
            "cannot enter /no/such/folder: No such file or directory"
        );
        let file = File::open("/etc/passwd").expect("a text");
        let launch = Launch {
            image: file.as_fd(),
            arguments: vec![c"passwd".into()],
            environment: Vec::new(),
            folder: c"/".into(),
        };
        let launched = Launcher::new().launch(&launch, None).expect("cloned");
        waitpid(launched.pid, None).expect("a child");
        assert_eq!(launched.failure.expect("why"), "cannot execute passwd: Permission denied");
    }
}
