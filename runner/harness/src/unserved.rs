//! Builds that this harness cannot serve, refused by name before anything runs.
//!
//! Asked for by every role that lists or runs cases. `panic = "abort"` is not here: whether that
//! matters depends on the backends, so the listing says it and `expand` judges.

use crate::capture;

/// Why this binary cannot be served, if it cannot.
pub(crate) fn reason() -> Option<&'static str> {
    // Its libc is in the image: children that are other programs have another one, signal 32 is not
    // there to reach a thread that blocks all others, and nothing promises that std writes through
    // the symbol that is taken.
    if cfg!(target_env = "musl") {
        return Some(
            "it is built for musl, which this harness cannot serve: build it for a `gnu` target",
        );
    }
    if cfg!(target_feature = "crt-static") {
        return Some(
            "it is linked statically, which this harness cannot serve: build it without `+crt-static`",
        );
    }
    if !capture::is_in_place() {
        return Some(
            "something else in it defines `write` or `writev`, so that output could not be captured",
        );
    }
    None
}
