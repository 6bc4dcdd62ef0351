//! Who came from whom, among all processes of a tree of actors, also after those in between have died.
//!
//! The kernel forgets: an orphan's parent is its adopter. So each actor writes its pid and its parent's into a table
//! in memory shared by the whole tree, before it leaves the process group it was born into. An adopter reads there whose descendants its orphans are.
//!
//! The table is a ring: what is pushed out by later births cannot be attributed any more, and is then left alone.
//! Pids are reused, so a record counts only for a process that had already started when it was written.
#![expect(unsafe_code, reason = "memory shared between processes")]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, ftruncate, sysconf};

/// Births remembered. Memory is taken as they come, 16 bytes each.
const RECORDS: usize = 16 * 1024;

static SHARED: OnceLock<Shared> = OnceLock::new();

struct Shared {
    memory: OwnedFd,
    table: &'static Table,
    /// Asked for once, and not in each forked child.
    ticks_per_second: i64,
}

#[repr(C)]
struct Table {
    births: AtomicU64,
    records: [Record; RECORDS],
}

#[repr(C)]
struct Record {
    /// When it was written, on the clock of [`now`]; 0 while it is being written, and before.
    at: AtomicU64,
    child: AtomicU32,
    parent: AtomicU32,
}

/// Makes the table of a tree of which this process is the root, unless it has one.
pub(super) fn found() -> io::Result<()> {
    if SHARED.get().is_none() {
        let memory = memfd_create(c"actors", MFdFlags::MFD_CLOEXEC)?;
        ftruncate(&memory, i64::try_from(size_of::<Table>()).map_err(io::Error::other)?)?;
        join(memory)?;
    }
    Ok(())
}

/// Takes part in the table of the tree this process was born into.
pub(super) fn join(memory: OwnedFd) -> io::Result<()> {
    let table = map(&memory)?;
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    SHARED.get_or_init(|| Shared { memory, table, ticks_per_second });
    Ok(())
}

/// The table, for handing it on.
pub(super) fn descriptor() -> Option<RawFd> {
    SHARED.get().map(|shared| shared.memory.as_raw_fd())
}

/// Enters this process. Async-signal-safe.
pub(super) fn enter(parent: Pid) {
    if let Some(Shared { table, ticks_per_second, .. }) = SHARED.get() {
        table.enter(Pid::this(), parent, now(*ticks_per_second));
    }
}

/// Whether the process `pid`, which started at `started` (clock ticks since the boot, as in `/proc/PID/stat`), came
/// from one of `ancestors`, at whatever distance.
pub(super) fn is_below(pid: Pid, started: u64, ancestors: &[Pid]) -> bool {
    SHARED.get().is_some_and(|Shared { table, .. }| {
        table.is_below(table.first_birth(pid, started), ancestors)
    })
}

/// Whether the dead leader of the process group `group`, one member of which started at `started`, came from one of
/// `ancestors`.
pub(super) fn is_group_below(group: Pid, started: u64, ancestors: &[Pid]) -> bool {
    SHARED.get().is_some_and(|Shared { table, .. }| {
        table.is_below(table.last_birth(group, started + ROUNDING), ancestors)
    })
}

/// More ancestors than any tree of actors has: where the table was damaged, a search must end too.
const DEEPEST: usize = 1024;

/// A birth is entered with the time rounded up.
const ROUNDING: u64 = 1;

/// When a process was born, and whose child it was.
type Birth = (u64, Pid);

impl Table {
    fn enter(&self, child: Pid, parent: Pid, at: u64) {
        let birth = self.births.fetch_add(1, Ordering::AcqRel);
        #[expect(clippy::cast_possible_truncation, reason = "smaller than RECORDS")]
        let record = &self.records[(birth % RECORDS as u64) as usize];
        record.at.store(0, Ordering::Release);
        record.child.store(child.as_raw().cast_unsigned(), Ordering::Release);
        record.parent.store(parent.as_raw().cast_unsigned(), Ordering::Release);
        record.at.store(at, Ordering::Release);
    }

    fn is_below(&self, birth: Option<Birth>, ancestors: &[Pid]) -> bool {
        let parent_of = |(at, parent): &Birth| self.last_birth(*parent, *at);
        std::iter::successors(birth, parent_of)
            .take(DEEPEST)
            .any(|(_, parent)| ancestors.contains(&parent))
    }

    /// Of the process of this number that started at `started`.
    fn first_birth(&self, pid: Pid, started: u64) -> Option<Birth> {
        self.births_of(pid).filter(|(at, _)| *at >= started).min()
    }

    /// Of the process that had this number at the time.
    fn last_birth(&self, pid: Pid, at: u64) -> Option<Birth> {
        self.births_of(pid).filter(|(born, _)| *born <= at).max()
    }

    fn births_of(&self, pid: Pid) -> impl Iterator<Item = Birth> {
        let wanted = pid.as_raw().cast_unsigned();
        self.records
            .iter()
            .filter_map(Record::read)
            .filter(move |(_, child, _)| *child == wanted)
            .map(|(at, _, parent)| (at, Pid::from_raw(parent.cast_signed())))
    }
}

impl Record {
    /// Nothing while it is being written.
    fn read(&self) -> Option<(u64, u32, u32)> {
        let at = self.at.load(Ordering::Acquire);
        let (child, parent) =
            (self.child.load(Ordering::Acquire), self.parent.load(Ordering::Acquire));
        (at != 0 && at == self.at.load(Ordering::Acquire)).then_some((at, child, parent))
    }
}

/// Clock ticks since the boot, rounded up: never before the start of a process that exists.
fn now(ticks_per_second: i64) -> u64 {
    let since_boot =
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.num_milliseconds());
    (since_boot * ticks_per_second / 1000).unsigned_abs() + ROUNDING
}

fn map(memory: &OwnedFd) -> io::Result<&'static Table> {
    let length = NonZeroUsize::new(size_of::<Table>()).ok_or(io::ErrorKind::InvalidInput)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping, at an address the kernel chooses.
    let start: NonNull<_> =
        unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, memory, 0)? };
    // SAFETY: page-aligned, as long as a `Table`, never unmapped, and made of atomics, for which every bit pattern
    // is valid and which other processes may write at any time.
    Ok(unsafe { start.cast::<Table>().as_ref() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(births: &[(i32, i32, u64)]) -> Box<Table> {
        // SAFETY: atomics, for which zero is valid.
        let table = unsafe { Box::<Table>::new_zeroed().assume_init() };
        for (child, parent, at) in births {
            table.enter(Pid::from_raw(*child), Pid::from_raw(*parent), *at);
        }
        table
    }

    fn is_below(table: &Table, pid: i32, started: u64, ancestor: i32) -> bool {
        table.is_below(table.first_birth(Pid::from_raw(pid), started), &[Pid::from_raw(ancestor)])
    }

    #[test]
    fn descent_is_followed_upwards_at_any_distance() {
        let table = table(&[(2, 1, 10), (3, 2, 20), (4, 3, 20), (5, 1, 30)]);
        assert!(is_below(&table, 4, 19, 3));
        assert!(is_below(&table, 4, 19, 2));
        assert!(!is_below(&table, 4, 19, 5));
        assert!(!is_below(&table, 2, 9, 3));
        assert!(!is_below(&table, 9, 0, 1));
    }

    #[test]
    fn a_reused_number_does_not_inherit_the_descent() {
        // 3 was a child of 2; later another process of that number is made by 5, and then a stranger.
        let table = table(&[(2, 1, 10), (5, 1, 10), (3, 2, 20), (3, 5, 40), (6, 3, 41)]);
        assert!(is_below(&table, 3, 19, 2));
        assert!(is_below(&table, 3, 39, 5));
        assert!(!is_below(&table, 3, 39, 2));
        assert!(!is_below(&table, 3, 50, 5));
        assert!(is_below(&table, 6, 41, 5));
        assert!(!is_below(&table, 6, 41, 2));
    }

    #[test]
    fn a_dead_leader_is_known_by_when_its_group_lived() {
        let table = table(&[(2, 1, 10), (3, 2, 20), (3, 5, 40)]);
        let leader =
            |at| table.is_below(table.last_birth(Pid::from_raw(3), at), &[Pid::from_raw(2)]);
        assert!(leader(30));
        assert!(!leader(50));
        assert!(!leader(15));
    }

    #[test]
    fn processes_that_claim_each_other_as_parent_end_the_search() {
        let table = table(&[(2, 3, 10), (3, 2, 10)]);
        assert!(!is_below(&table, 2, 9, 1));
    }

    #[test]
    fn the_oldest_births_are_forgotten() {
        let table = table(&[(2, 1, 10)]);
        for birth in 0..RECORDS as u64 {
            table.enter(Pid::from_raw(7), Pid::from_raw(1), 20 + birth);
        }
        assert!(!is_below(&table, 2, 9, 1));
        assert!(is_below(&table, 7, 19, 1));
    }
}
