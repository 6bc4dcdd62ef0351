//! Reads the stack of a thread from outside: for every process of an attempt that has no watchdog,
//! and for threads that are silent, stopped, or hold whatever lock.
//!
//! Nothing is understood here: registers and the upper end of the stack are copied, and the runner
//! unwinds them later. The thread need not cooperate, and goes on as if nothing had been: ptrace's
//! SEIZE sends no signal, a thread that was stopped stays stopped when it is let go, and one that
//! waits in a system call waits on.
//!
//! Some system calls do tell that they were interrupted, `epoll_wait` for one. A thread in one of
//! those is not touched where that would disturb ([`Manner::Glance`]): the kernel says where it
//! sleeps, and its stack does not change meanwhile. Only the frame pointer is not known then. One
//! that went into such a call just before it was stopped is sent back into it.
#![expect(unsafe_code, reason = "letting a thread go with a signal that nix cannot name")]

use std::io::IoSliceMut;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use runner_core::process;
use runner_core::protocol::{Bytes, Process, Registers, Stack, StackCopy, Thread, Trace};

/// Copied of one stack, in bytes: hundreds of frames.
const STACK_BYTES: usize = 128 << 10;
/// Copied of all stacks of an attempt: the facts must fit into a frame of the protocol.
const ALL_STACKS_BYTES: usize = 12 << 20;
/// A thread stops at once, or is in the kernel and will not.
const STOP_PATIENCE: Duration = Duration::from_millis(250);
/// All threads together get no more.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Between two looks whether a thread has stopped.
const LOOK: Duration = Duration::from_micros(100);
/// What memory is read by.
const PAGE_BYTES: u64 = 4096;

/// How careful to be with what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It is about to be ended.
    Thorough,
    /// It is to go on as if nobody had looked.
    Glance,
}

/// Reads the stacks of an attempt, within bounds.
pub(crate) struct Reader {
    manner: Manner,
    until: Instant,
    left_bytes: usize,
}

impl Reader {
    pub(crate) fn new(manner: Manner) -> Self {
        Self { manner, until: Instant::now() + PATIENCE, left_bytes: ALL_STACKS_BYTES }
    }

    /// The stacks of those threads of a process.
    pub(crate) fn read<'t>(
        &mut self,
        process: &Process,
        threads: impl Iterator<Item = &'t Thread>,
    ) -> Vec<Stack> {
        let mut stack = |thread: &Thread| {
            let name = thread.name.clone();
            Stack { tid: thread.tid, name, trace: self.trace(process.pid, thread) }
        };
        threads.map(&mut stack).collect()
    }

    fn trace(&mut self, pid: i32, thread: &Thread) -> Trace {
        if self.left_bytes == 0 || Instant::now() > self.until {
            return Trace::Missing("there were too many threads to read them all".into());
        }
        let copied = match self.approach(pid, thread) {
            Approach::Stop => {
                stopped(pid, thread.tid).or_else(|why| asleep(pid, thread.tid).ok_or(why))
            }
            Approach::LeaveAsleep => {
                asleep(pid, thread.tid).map_or_else(|| stopped(pid, thread.tid), Ok)
            }
        };
        match copied {
            Ok(mut copy) => {
                copy.memory.0.truncate(self.left_bytes);
                self.left_bytes -= copy.memory.0.len();
                Trace::Copied(copy)
            }
            Err(why) => Trace::Missing(why),
        }
    }

    fn approach(&self, pid: i32, thread: &Thread) -> Approach {
        // What the thread was in when the facts were taken may be over.
        let tells = || process::syscall(pid, thread.tid).is_some_and(tells_interruption);
        match (thread.state, self.manner) {
            // It would not stop before it comes back, if ever.
            ('D', _) => Approach::LeaveAsleep,
            (_, Manner::Glance) if tells() => Approach::LeaveAsleep,
            (_, Manner::Glance | Manner::Thorough) => Approach::Stop,
        }
    }
}

enum Approach {
    Stop,
    LeaveAsleep,
}

/// Lets a thread go that stopped for us after we had given up on it; `signal` is what it was about to
/// get, or 0.
pub(crate) fn let_go(thread: Pid, signal: i32) {
    go_back_into_syscall(thread, signal);
    detach(thread.as_raw(), signal);
}

/// System calls that return EINTR when a thread was stopped and went on, signal(7); of those on
/// sockets, where these have a time limit.
fn tells_interruption(number: i64) -> bool {
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_epoll_wait {
        return true;
    }
    [
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_io_getevents,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_rt_sigtimedwait,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_connect,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_recvmmsg,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
    ]
    .contains(&number)
}

/// A thread that sleeps, read without a touch: it was at the same place before and after.
fn asleep(pid: i32, tid: i32) -> Option<StackCopy> {
    let before = process::place(pid, tid)?;
    let memory = stack_memory(pid, before.stack);
    let registers =
        Registers { program: before.program, stack: before.stack, frame: None, link: None };
    let unchanged = process::place(pid, tid) == Some(before);
    unchanged.then_some(StackCopy { registers, memory })
}

/// A thread that is stopped for it, and then goes on.
fn stopped(pid: i32, tid: i32) -> Result<StackCopy, String> {
    let thread = Pid::from_raw(tid);
    let refused = |errno: Errno| format!("it may not be traced: {errno}");
    ptrace::seize(thread, ptrace::Options::empty()).map_err(refused)?;
    let _ = ptrace::interrupt(thread);
    let signal = wait_until_stopped(thread)?;
    go_back_into_syscall(thread, signal);
    let registers = registers(thread);
    let copy = registers
        .map(|registers| StackCopy { registers, memory: stack_memory(pid, registers.stack) });
    detach(tid, signal);
    copy.map_err(|errno| format!("its registers cannot be read: {errno}"))
}

/// The number of the signal it was about to get, which it must still get; 0 for none.
///
/// Only stops are waited for: that a child of ours ended is not taken from who waits for that.
fn wait_until_stopped(thread: Pid) -> Result<i32, String> {
    let until = Instant::now() + STOP_PATIENCE;
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
    loop {
        match waitid(Id::Pid(thread), flags) {
            Ok(WaitStatus::PtraceEvent(_, signal, 0)) => return Ok(signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(0),
            // It stopped for a signal that has no name, such as 32.
            Err(Errno::EINVAL) => {
                let signal = ptrace::getsiginfo(thread).map_or(0, |info| info.si_signo);
                return Ok(signal);
            }
            Err(errno) => return Err(format!("it ended: {errno}")),
        }
        if Instant::now() > until {
            return Err("it did not stop".into());
        }
        std::thread::sleep(LOOK);
    }
}

/// A stop came between a thread and its system call, which would tell; instead the kernel is told
/// to begin the call again. A signal would have come between them without us.
#[cfg(target_arch = "x86_64")]
fn go_back_into_syscall(thread: Pid, signal: i32) {
    const ERESTARTNOINTR: i64 = 513;
    if signal != 0 {
        return;
    }
    let Ok(mut all) = ptrace::getregs(thread) else {
        return;
    };
    let is_interrupted = all.rax.cast_signed() == -i64::from(libc::EINTR);
    if is_interrupted && tells_interruption(all.orig_rax.cast_signed()) {
        all.rax = (-ERESTARTNOINTR).cast_unsigned();
        let _ = ptrace::setregs(thread, all);
    }
}

/// There the kernel has made up its mind before a tracer is heard.
#[cfg(target_arch = "aarch64")]
fn go_back_into_syscall(_: Pid, _: i32) {}

#[cfg(target_arch = "x86_64")]
fn registers(thread: Pid) -> nix::Result<Registers> {
    let all = ptrace::getregs(thread)?;
    Ok(Registers { program: all.rip, stack: all.rsp, frame: Some(all.rbp), link: None })
}

#[cfg(target_arch = "aarch64")]
fn registers(thread: Pid) -> nix::Result<Registers> {
    let all = ptrace::getregs(thread)?;
    let (frame, link) = (Some(all.regs[29]), Some(all.regs[30]));
    Ok(Registers { program: all.pc, stack: all.sp, frame, link })
}

/// What lies from there upwards, as far as there is anything. Page by page: a read that crosses
/// the end of what is mapped gets none of its piece.
fn stack_memory(pid: i32, from: u64) -> Bytes {
    let mut bytes = vec![0; STACK_BYTES];
    let to = from.saturating_add(STACK_BYTES as u64);
    let mut pieces = Vec::new();
    let mut at = from;
    while at < to {
        let end = to.min((at / PAGE_BYTES + 1).saturating_mul(PAGE_BYTES));
        let (Ok(base), Ok(len)) = (usize::try_from(at), usize::try_from(end - at)) else {
            break;
        };
        pieces.push(RemoteIoVec { base, len });
        at = end;
    }
    let into = &mut [IoSliceMut::new(&mut bytes)];
    let count = process_vm_readv(Pid::from_raw(pid), into, &pieces).unwrap_or(0);
    bytes.truncate(count);
    Bytes(bytes)
}

fn detach(tid: i32, signal: i32) {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // As wide as the kernel takes it: what else stands in the register would be part of the number.
    let signal = libc::c_long::from(signal);
    // SAFETY: takes no pointer to our memory; the signal goes where the data's address would. A
    // thread that was killed meanwhile needs no letting go.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, nothing, signal) };
}
