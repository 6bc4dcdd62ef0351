//! How busy the machine is. Called before and after the rounds: figures of a busy machine say
//! little.

use std::fs;
use std::thread::available_parallelism;

/// The machine at a moment.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Load {
    /// Mean number of runnable tasks over the last minute.
    pub(crate) last_minute: f64,
    /// Runnable tasks now, this one included.
    pub(crate) running: u32,
}

impl Load {
    /// From `/proc/loadavg`; zeros where there is none.
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        let running = words.get(3).and_then(|word| word.split('/').next());
        Self {
            last_minute: words.first().and_then(|word| word.parse().ok()).unwrap_or(0.0),
            running: running.and_then(|word| word.parse().ok()).unwrap_or(0),
        }
    }
}

/// What runs at the same time.
pub(crate) fn cpus() -> usize {
    available_parallelism().map_or(1, usize::from)
}
