//! Clocks that stop: under a pause, and under somebody's debugger.

use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::unistd::Pid;
use runner_core::process;
use runner_core::protocol::{Done, Facts, FromSupervisor, Stopped, ToSupervisor};

use crate::Test;
use crate::bench::Bench;

pub(crate) const TESTS: &[Test] = &[
    ("a_paused_attempt_is_stopped_whole_and_no_clock_goes_on", pause),
    ("what_was_stopped_before_a_pause_stays_stopped_after_it", stays_stopped),
    ("a_pause_without_an_attempt_is_answered", idle_pause),
    ("who_is_paused_can_be_killed", paused_and_killed),
    ("a_deadline_does_not_come_under_a_debugger", debugger),
];

const DEADLINE: Duration = Duration::from_millis(1500);

fn pause() {
    let mut bench = waiting("waits_with_a_daemon");
    let below = process::descendants(bench.pid());
    assert!(below.len() >= 2, "{below:?}");
    paused(&mut bench);
    stays_so_beyond_the_deadline(|| states(&bench).iter().all(|state| *state == 'T'));
    bench.say(&ToSupervisor::Resume);
    bench.let_go();
    passed(&bench.facts());
}

fn stays_stopped() {
    let mut bench = waiting("waits_with_a_stopped_child");
    let until_stopped = Instant::now();
    while !states(&bench).contains(&'T') {
        assert!(until_stopped.elapsed() < Duration::from_secs(10));
    }
    paused(&mut bench);
    bench.say(&ToSupervisor::Resume);
    bench.let_go();
    bench.wait_for("going");
    let stopped = states(&bench).iter().filter(|state| **state == 'T').count();
    assert_eq!(stopped, 1, "{:?}", states(&bench));
    bench.say(&ToSupervisor::Kill);
    bench.facts();
}

fn idle_pause() {
    let mut bench = Bench::start();
    bench.say(&ToSupervisor::Pause);
    assert_eq!(bench.hear(), FromSupervisor::Paused);
    bench.say(&ToSupervisor::Resume);
    passed(&bench.run(bench.attempt("passes")));
}

fn paused_and_killed() {
    let mut bench = waiting("waits_with_a_daemon");
    paused(&mut bench);
    bench.say(&ToSupervisor::Kill);
    assert_eq!(bench.facts().stopped, Some(Stopped::Interrupted));
    assert!(process::descendants(bench.pid()).is_empty());
}

fn debugger() {
    let mut bench = waiting("waits");
    let case = Pid::from_raw(process::children(bench.pid())[0]);
    ptrace::seize(case, ptrace::Options::empty()).expect("a process of our own");
    stays_so_beyond_the_deadline(|| process::tracer(case.as_raw()).is_some());
    assert_eq!(bench.hear(), FromSupervisor::Debugged);
    ptrace::interrupt(case).expect("our tracee");
    let flags = nix::sys::wait::WaitPidFlag::__WALL;
    nix::sys::wait::waitpid(case, Some(flags)).expect("it stops");
    ptrace::detach(case, None).expect("our tracee");
    bench.let_go();
    passed(&bench.facts());
}

/// A case with that deadline, begun and at its place.
fn waiting(test: &str) -> Bench {
    let mut bench = Bench::start();
    let mut attempt = bench.attempt(test);
    attempt.clocks.deadline = Some(DEADLINE);
    bench.begin(attempt);
    bench.wait_for("ready");
    bench
}

fn paused(bench: &mut Bench) {
    bench.say(&ToSupervisor::Pause);
    assert_eq!(bench.hear(), FromSupervisor::Paused);
}

fn stays_so_beyond_the_deadline(is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while since.elapsed() < 2 * DEADLINE {
        assert!(is_so());
        std::thread::yield_now();
    }
}

/// The states of all processes of the attempt.
fn states(bench: &Bench) -> Vec<char> {
    let below = process::descendants(bench.pid());
    below.into_iter().filter_map(process::brief).map(|process| process.state).collect()
}

fn passed(facts: &Facts) {
    assert_eq!((&facts.done, facts.stopped), (&Some(Done::Passed), None), "{facts:?}");
}
