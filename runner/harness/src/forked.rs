//! What a supervisor that is a suite binary does in the processes it forks: it runs a case.
//!
//! Called by `runner_supervisor`. What happens in the case itself is `attempt`'s.

use std::os::fd::RawFd;
use std::process;
use std::thread;

use runner_core::memory::Memory;
use runner_core::protocol::{Attempt, Done, Work};
use runner_supervisor::FirstProcess;

use crate::{Hooks, attempt, capture, registry};

/// The first process of a case, forked without exec.
pub(crate) struct ForkedCase {
    hooks: &'static Hooks,
    owner: Option<capture::Owner>,
}

impl ForkedCase {
    pub(crate) fn new(hooks: &'static Hooks) -> Self {
        Self { hooks, owner: None }
    }
}

impl FirstProcess for ForkedCase {
    /// Does once what every case would do again: the index of tests, and the first start of a
    /// thread, after which libc has looked up what it needs for that and keeps the stack. Twice,
    /// because a case has two threads.
    fn prepare(&mut self, memory: &'static Memory) {
        self.owner = capture::Owner::this(memory);
        let _ = registry::find("");
        let threads = [(); 2].map(|()| thread::Builder::new().spawn(|| {}));
        for thread in threads.into_iter().flatten() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }

    fn kept_fds(&self, _: &Attempt) -> Vec<RawFd> {
        self.owner.as_ref().and_then(capture::Owner::kept).into_iter().collect()
    }

    fn run(&self, attempt: Attempt, memory: &'static Memory) -> ! {
        match &attempt.work {
            Work::Test { name } => {
                let name = name.clone();
                attempt::run(&name, attempt, memory, self.owner.as_ref(), self.hooks)
            }
            Work::Program(program) => {
                let image = program.image.display();
                let message = format!("a suite binary runs its own tests, not {image}");
                memory.finish(&Done::NotSetUp { message });
                process::exit(attempt::SETUP_FAILED)
            }
        }
    }
}
