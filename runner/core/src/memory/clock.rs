//! The clock of an attempt: it stops while the attempt is stopped, for everybody who reads it.
//!
//! Written by the supervisor alone; read by the watchdog and the body. Times are the kernel's
//! `CLOCK_MONOTONIC` in nanoseconds, which is the same in every process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[repr(C)]
pub(super) struct Clock {
    start_ns: AtomicU64,
    /// For how long it was stopped, up to the last time that it went on.
    stopped_for_ns: AtomicU64,
    /// Since when it is stopped; 0 while it runs.
    stopped_since_ns: AtomicU64,
}

impl Clock {
    pub(super) fn start(&self, now_ns: u64) {
        self.stopped_for_ns.store(0, Ordering::Relaxed);
        self.stopped_since_ns.store(0, Ordering::Relaxed);
        self.start_ns.store(now_ns, Ordering::Relaxed);
    }

    pub(super) fn started_ns(&self) -> u64 {
        self.start_ns.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self, now_ns: u64) {
        let since = &self.stopped_since_ns;
        // Stopped already: what counts is the first time.
        let _ = since.compare_exchange(0, now_ns, Ordering::Release, Ordering::Relaxed);
    }

    /// In this order: a reader in between takes too little for elapsed, never too much.
    pub(super) fn go_on(&self, now_ns: u64) {
        let since = self.stopped_since_ns.load(Ordering::Relaxed);
        if since != 0 {
            self.stopped_for_ns.fetch_add(now_ns.saturating_sub(since), Ordering::Release);
            self.stopped_since_ns.store(0, Ordering::Release);
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped_since_ns.load(Ordering::Acquire) != 0
    }

    pub(super) fn elapsed(&self, now_ns: u64) -> Duration {
        let until = match self.stopped_since_ns.load(Ordering::Acquire) {
            0 => now_ns,
            since => since,
        };
        let stopped_for = self.stopped_for_ns.load(Ordering::Acquire);
        Duration::from_nanos(until.saturating_sub(self.started_ns()).saturating_sub(stopped_for))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        let zero = || AtomicU64::new(0);
        Clock { start_ns: zero(), stopped_for_ns: zero(), stopped_since_ns: zero() }
    }

    #[test]
    fn time_that_it_is_stopped_does_not_count() {
        let clock = clock();
        clock.start(100);
        clock.stop(110);
        clock.stop(115);
        assert!(clock.is_stopped());
        assert_eq!(clock.elapsed(500), Duration::from_nanos(10));
        clock.go_on(200);
        clock.go_on(300);
        assert_eq!(clock.elapsed(205), Duration::from_nanos(15));
        clock.start(1000);
        assert_eq!(clock.elapsed(1001), Duration::from_nanos(1));
    }
}
