//! Panics in forked children: reported without std's backtrace, which takes a lock that a thread of the parent may
//! have held at the fork.

use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);

/// Puts a hook before the one installed. Hooks that are installed later and call the one before them are served too.
pub(super) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if FORKED.load(Ordering::Relaxed) { report(info) } else { before(info) }
        }));
    });
}

/// From now on this process is a forked child.
pub(super) fn never_trace() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Whether this process was forked, by this one or that one's ancestors, from one with an image of its own.
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// As std reports, in one write, without a backtrace.
fn report(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let message = info.payload_as_str().unwrap_or("Box<dyn Any>");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let report = format!(
        "\nthread '{name}' panicked at {place}:\n{message}\nnote: a forked actor shows no backtrace\n"
    );
    // There is nobody to tell that standard error is gone.
    let _ = io::stderr().write_all(report.as_bytes());
}
