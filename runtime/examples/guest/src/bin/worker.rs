//! What the host's actors are started from. It does nothing of its own.

// Linked for what it registers.
use guest as _;

fn main() {
    runtime::divert();
    eprintln!("this is the worker binary of another program");
}
