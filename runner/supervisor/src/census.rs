//! Counts the processes of an attempt, so that a fork bomb ends with its own attempt.
//!
//! Counting means to read a file of every process. Mostly it is not needed: the kernel tells in one
//! short file which process id it gave last, and as long as fewer were given than the attempt has
//! left, whoever got them, it cannot have too many.
//!
//! Where very many threads want a processor, counting would take longer than a bomb needs to grow
//! beyond everything: then the first process's group is stopped while it is counted, if there are
//! more than a few.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use runner_core::process;

/// Between two looks. A core can start about ten processes in a millisecond.
const CALM: Duration = Duration::from_millis(20);
/// Between two looks where more than half are there.
const CROWDED: Duration = Duration::from_millis(2);
/// So many runnable threads are nothing special, beside four on each processor.
const USUAL_RUNNABLE: usize = 16;

/// No bomb has so few processes left by the first look, and they are counted fast.
const A_FEW: u32 = 32;

/// Of one attempt.
#[derive(Debug)]
pub(crate) struct Census {
    limit: u32,
    /// The first process: not reaped as long as its group may be signalled.
    group: Pid,
    counted: u32,
    /// The last process id that was given when they were counted.
    id_at_count: u32,
    next: Instant,
}

/// What `/proc/loadavg` says of the whole machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    runnable: usize,
    /// The process id that was given last.
    id: u32,
}

impl Census {
    /// `None` without a limit.
    pub(crate) fn begin(limit: u32, first: Pid, now: Instant) -> Option<Self> {
        let next = now + CALM;
        (limit > 0).then_some(Self { limit, group: first, counted: 0, id_at_count: u32::MAX, next })
    }

    pub(crate) fn next_look(&self) -> Instant {
        self.next
    }

    /// Looks if it is time; tells how many there are if these are too many.
    pub(crate) fn look(&mut self, now: Instant) -> Option<u32> {
        if now < self.next {
            return None;
        }
        let load = Load::read();
        if !self.is_surely_within(load.id) {
            self.counted = self.count(load);
            self.id_at_count = load.id;
        }
        self.next = now + if self.counted > self.limit / 2 { CROWDED } else { CALM };
        (self.counted > self.limit).then_some(self.counted)
    }

    /// Ids are given in order. One that is smaller than before: they began anew.
    fn is_surely_within(&self, id: u32) -> bool {
        let given = id.checked_sub(self.id_at_count);
        given.is_some_and(|given| self.counted.saturating_add(given) <= self.limit)
    }

    fn count(&self, load: Load) -> u32 {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let few = count_up_to(A_FEW.min(self.limit));
        if few <= A_FEW.min(self.limit) {
            return few;
        }
        if load.runnable <= USUAL_RUNNABLE + 4 * processors {
            return count_up_to(self.limit);
        }
        let is_stopped = killpg(self.group, Signal::SIGSTOP).is_ok();
        let count = count_up_to(self.limit);
        if is_stopped && count <= self.limit {
            let _ = killpg(self.group, Signal::SIGCONT);
        }
        count
    }
}

/// One more than the limit says enough.
fn count_up_to(limit: u32) -> u32 {
    let mut found = process::children(Pid::this().as_raw());
    let mut next = 0;
    while let Some(&pid) = found.get(next).filter(|_| found.len() <= limit as usize) {
        found.extend(process::children(pid));
        next += 1;
    }
    u32::try_from(found.len()).unwrap_or(u32::MAX)
}

impl Load {
    fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/loadavg").unwrap_or_default()).unwrap_or_default()
    }

    /// `0.20 0.18 0.12 1/80 11206`: the fourth word is how many are runnable of how many.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace().skip(3);
        let (runnable, _) = words.next()?.split_once('/')?;
        Some(Self { runnable: runnable.parse().ok()?, id: words.next()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_is_saved_only_where_too_many_are_impossible() {
        let now = Instant::now();
        assert!(Census::begin(0, Pid::this(), now).is_none());
        let begun = Census::begin(100, Pid::this(), now).unwrap();
        assert!(!begun.is_surely_within(5000), "never counted");
        let census = Census { counted: 40, id_at_count: 5000, ..begun };
        assert!(census.is_surely_within(5060));
        assert!(!census.is_surely_within(5061));
        assert!(!census.is_surely_within(300), "ids began anew");
    }

    #[test]
    fn the_kernel_tells_its_load() {
        let load = Load { runnable: 1, id: 11206 };
        assert_eq!(Load::parse("0.20 0.18 0.12 1/80 11206\n"), Some(load));
        assert_eq!(Load::parse("0.20 0.18"), None);
        assert!(Load::read().id > 1);
    }

    #[test]
    fn nothing_is_looked_at_before_its_time() {
        let now = Instant::now();
        let mut census = Census::begin(1, Pid::this(), now).unwrap();
        assert_eq!(census.look(now), None);
        assert_eq!(census.next_look(), now + CALM);
        assert_eq!(census.look(now + CALM), None, "this test has no two children");
    }
}
