//! Facts in, actions out; then whole runs in virtual time.

use runner_core::manifest::{Backoff, Jitter};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(15);

/// A case of this suite that nobody has timed, with a limit of 10 s and a grace of 1 s.
fn job(suite: usize) -> Job {
    Job {
        suite,
        group: None,
        width: 1,
        priority: 0,
        expected: None,
        retries: Retries::NONE,
        limit: 10 * SECOND,
        grace: SECOND,
    }
}

fn bounds(slots: usize) -> Bounds {
    Bounds {
        slots,
        groups: Vec::new(),
        fail_fast: None,
        global_timeout: None,
        stress: None,
        silence: SILENCE,
        seed: 42,
    }
}

fn wait_after(max_fail: usize) -> Option<FailFast> {
    Some(FailFast { max_fail, terminate: Terminate::Wait })
}

/// A plan, and the actions its first step gives.
fn begin_with(jobs: Vec<Job>, bounds: Bounds) -> (Plan, Vec<Action>, Instant) {
    let now = Instant::now();
    let mut plan = Plan::new(jobs, bounds);
    let actions = plan.step(Fact::Clock, now);
    (plan, actions, now)
}

fn begin(suites: &[usize], slots: usize, max_fail: Option<usize>) -> (Plan, Vec<Action>, Instant) {
    let fail_fast = max_fail.and_then(wait_after);
    begin_with(
        suites.iter().map(|suite| job(*suite)).collect(),
        Bounds { fail_fast, ..bounds(slots) },
    )
}

fn start(slot: usize, case: usize) -> Action {
    Action::Start { slot, case, turn: Turn { round: 1, attempt: 1 } }
}

fn abandon(case: usize) -> Action {
    Action::Abandon { case, turn: Turn { round: 1, attempt: 1 } }
}

fn ended(slot: usize, ending: Ending) -> Fact {
    Fact::Ended { slot, ending, supervisor: Afterwards::Ready }
}

fn unopened(slot: usize, fault: StartFault) -> Fact {
    Fact::Unopened { slot, fault }
}

#[test]
fn no_cases_is_over_at_once() {
    let (plan, actions, _) = begin(&[], 4, None);
    assert_eq!(actions, []);
    assert!(plan.is_over());
    assert_eq!(plan.slot_count(), 0);
}

#[test]
fn one_supervisor_serves_all_cases_of_its_suite_in_order() {
    let (mut plan, actions, now) = begin(&[0, 0], 1, None);
    assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
    let actions = plan.step(Fact::Opened { slot: 0 }, now);
    assert_eq!(actions, [start(0, 0)]);
    let actions = plan.step(ended(0, Ending::Good), now);
    assert_eq!(actions, [start(0, 1)]);
    assert!(!plan.is_over());
    let actions = plan.step(ended(0, Ending::Good), now);
    assert_eq!(actions, [Action::Close { slot: 0 }]);
    assert!(plan.is_over());
}

#[test]
fn a_slot_moves_on_when_its_suite_is_done() {
    let (mut plan, _, now) = begin(&[0, 1], 1, None);
    plan.step(Fact::Opened { slot: 0 }, now);
    let actions = plan.step(ended(0, Ending::Good), now);
    let moves = [Action::Close { slot: 0 }, Action::Open { slot: 0, suite: 1 }];
    assert_eq!(actions, moves);
    let actions = plan.step(Fact::Opened { slot: 0 }, now);
    assert_eq!(actions, [start(0, 1)]);
}

#[test]
fn slots_spread_over_suites_before_they_share_one() {
    let (_, actions, _) = begin(&[0, 0, 0, 1, 1], 3, None);
    let expected = [
        Action::Open { slot: 0, suite: 0 },
        Action::Open { slot: 1, suite: 1 },
        Action::Open { slot: 2, suite: 0 },
    ];
    assert_eq!(actions, expected);
}

#[test]
fn no_more_slots_are_opened_than_there_are_cases() {
    let (plan, actions, _) = begin(&[0], 8, None);
    assert_eq!(plan.slot_count(), 1);
    assert_eq!(actions.len(), 1);
}

#[test]
fn too_many_failures_stop_starting_and_nothing_else() {
    let (mut plan, _, now) = begin(&[0, 0, 0, 0], 2, Some(1));
    plan.step(Fact::Opened { slot: 0 }, now);
    plan.step(Fact::Opened { slot: 1 }, now);
    let actions = plan.step(ended(0, Ending::Bad), now);
    let cut = Cut::MaxFail { failures: 1, running: CutRunning::Awaited };
    assert_eq!(actions, [Action::Announce(cut), Action::Close { slot: 0 }]);
    assert!(!plan.is_over(), "the other slot still runs");
    let actions = plan.step(ended(1, Ending::Good), now);
    assert_eq!(actions, [Action::Close { slot: 1 }]);
    assert!(plan.is_over());
    assert_eq!(plan.not_started(), 2);
}

#[test]
fn good_ends_are_no_failures() {
    let (mut plan, _, now) = begin(&[0, 0, 0], 1, Some(1));
    plan.step(Fact::Opened { slot: 0 }, now);
    plan.step(ended(0, Ending::Good), now);
    let actions = plan.step(ended(0, Ending::Good), now);
    assert_eq!(actions, [start(0, 2)]);
}

#[test]
fn interrupts_escalate_from_asking_to_killing_to_giving_up() {
    let (mut plan, _, now) = begin(&[0, 0], 1, None);
    plan.step(Fact::Opened { slot: 0 }, now);
    assert_eq!(plan.step(Fact::Interrupted, now), [Action::Ask { slot: 0 }]);
    assert_eq!(plan.stage(), Stage::Asked);
    assert_eq!(plan.step(Fact::Interrupted, now), [Action::Kill { slot: 0 }]);
    assert_eq!(plan.next_clock(), Some(now + KILL_LIMIT));
    let actions = plan.step(Fact::Interrupted, now);
    assert_eq!(actions, [Action::GiveUp { slot: 0 }]);
    plan.step(Fact::Cleared { slot: 0 }, now);
    assert!(plan.is_over());
    assert_eq!(plan.not_started(), 1);
}

#[test]
fn an_interrupt_shortens_what_a_supervisor_may_take_but_never_lengthens_it() {
    let (mut plan, _, now) = begin(&[0], 1, None);
    plan.step(Fact::Opened { slot: 0 }, now);
    assert_eq!(plan.next_clock(), Some(now + 10 * SECOND + SILENCE));
    plan.step(Fact::Interrupted, now);
    assert_eq!(plan.next_clock(), Some(now + SECOND + SILENCE));
    let later = now + 10 * SECOND;
    let (mut plan, _, now) = begin(&[0], 1, None);
    plan.step(Fact::Opened { slot: 0 }, now);
    plan.step(Fact::Interrupted, later);
    assert_eq!(plan.next_clock(), Some(now + 10 * SECOND + SILENCE));
}

#[test]
fn an_interrupt_ends_what_has_not_greeted_and_its_case_counts_as_not_started() {
    let (mut plan, _, now) = begin(&[0], 1, None);
    let actions = plan.step(Fact::Interrupted, now);
    assert_eq!(actions, [Action::Close { slot: 0 }]);
    assert!(plan.is_over());
    assert_eq!(plan.not_started(), 1);
}

#[test]
fn a_silent_supervisor_is_given_up_and_the_slot_goes_on_with_a_new_one() {
    let (mut plan, _, now) = begin(&[0, 0], 1, None);
    plan.step(Fact::Opened { slot: 0 }, now);
    let late = now + 10 * SECOND + SILENCE;
    assert_eq!(plan.step(Fact::Clock, late - SECOND), []);
    assert_eq!(plan.step(Fact::Clock, late), [Action::GiveUp { slot: 0 }]);
    assert_eq!(plan.next_clock(), None, "clearing has no clock here");
    let actions = plan.step(Fact::Cleared { slot: 0 }, late);
    assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
}

#[test]
fn whose_attempt_is_debugged_is_not_silent() {
    let (mut plan, _, now) = begin(&[0], 1, None);
    plan.step(Fact::Opened { slot: 0 }, now);
    let late = now + 5 * SECOND + SILENCE;
    assert_eq!(plan.step(Fact::Debugged { slot: 0 }, late), []);
    assert_eq!(plan.step(Fact::Clock, now + 10 * SECOND + SILENCE), []);
    let silent = late + 10 * SECOND + SILENCE;
    assert_eq!(plan.step(Fact::Clock, silent), [Action::GiveUp { slot: 0 }]);
}

#[test]
fn a_debugger_does_not_hold_up_an_interrupt() {
    let (mut plan, _, now) = begin(&[0], 1, None);
    plan.step(Fact::Opened { slot: 0 }, now);
    assert_eq!(plan.step(Fact::Interrupted, now), [Action::Ask { slot: 0 }]);
    let clock = plan.next_clock();
    plan.step(Fact::Debugged { slot: 0 }, now + SECOND);
    assert_eq!(plan.next_clock(), clock);
}

#[test]
fn a_lost_supervisor_counts_as_one_failure() {
    let (mut plan, _, now) = begin(&[0, 0], 1, Some(1));
    plan.step(Fact::Opened { slot: 0 }, now);
    assert_eq!(plan.step(Fact::Lost { slot: 0 }, now), []);
    assert!(!plan.is_over());
    plan.step(Fact::Cleared { slot: 0 }, now);
    assert!(plan.is_over());
}

#[test]
fn a_retired_supervisor_is_replaced() {
    let (mut plan, _, now) = begin(&[0, 0], 1, None);
    plan.step(Fact::Opened { slot: 0 }, now);
    let fact = Fact::Ended { slot: 0, ending: Ending::Bad, supervisor: Afterwards::Gone };
    let actions = plan.step(fact, now);
    assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
}

#[test]
fn time_in_which_nothing_of_ours_ran_is_nobodys_silence() {
    let (mut plan, _, now) = begin(&[0], 1, None);
    plan.step(Fact::Opened { slot: 0 }, now);
    plan.postpone(100 * SECOND);
    assert_eq!(plan.step(Fact::Clock, now + 100 * SECOND), []);
}

#[test]
fn a_supervisor_that_does_not_greet_is_rejected_and_tried_again_later() {
    let (mut plan, _, now) = begin(&[0], 1, None);
    let late = now + SILENCE;
    assert_eq!(plan.step(Fact::Clock, late), [Action::Reject { slot: 0 }]);
    assert_eq!(plan.next_clock(), Some(late + START_BACKOFF));
    let actions = plan.step(Fact::Clock, late + START_BACKOFF);
    assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
}

#[test]
fn a_suite_that_cannot_be_started_is_abandoned_and_the_others_run() {
    let (mut plan, _, mut now) = begin(&[0, 0, 1], 1, None);
    for _ in 1..START_LIMIT {
        // Meanwhile the slot would turn to suite 1: let that fail to come back, too.
        let actions = plan.step(unopened(0, StartFault::Passing), now);
        assert_eq!(actions, [Action::Open { slot: 0, suite: 1 }]);
        plan.step(unopened(0, StartFault::Passing), now);
        now = plan.next_clock().unwrap();
        let actions = plan.step(Fact::Clock, now);
        assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
    }
    let actions = plan.step(unopened(0, StartFault::Passing), now);
    let abandoned = [abandon(0), abandon(1)];
    assert_eq!(actions[..2], abandoned);
    now += SECOND;
    assert!(!plan.is_over());
    plan.step(Fact::Clock, now);
    let actions = plan.step(Fact::Opened { slot: 0 }, now);
    assert_eq!(actions, [start(0, 2)]);
}

#[test]
fn a_lasting_fault_abandons_a_suite_at_once() {
    let (mut plan, _, now) = begin(&[0, 0], 1, None);
    let actions = plan.step(unopened(0, StartFault::Lasting), now);
    let abandoned = [abandon(0), abandon(1)];
    assert_eq!(actions, abandoned);
    assert!(plan.is_over());
    assert_eq!(plan.not_started(), 0);
}

#[test]
fn a_greeting_clears_earlier_failed_starts() {
    let (mut plan, _, mut now) = begin(&[0; 10], 1, None);
    for _ in 0..5 {
        plan.step(unopened(0, StartFault::Passing), now);
        now = plan.next_clock().unwrap();
        plan.step(Fact::Clock, now);
        plan.step(Fact::Opened { slot: 0 }, now);
        plan.step(Fact::Lost { slot: 0 }, now);
        let actions = plan.step(Fact::Cleared { slot: 0 }, now);
        assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
    }
}

#[test]
fn waiting_for_another_try_never_asks_for_a_clock_that_has_passed() {
    let (mut plan, _, now) = begin(&[0, 0, 1], 2, None);
    plan.step(Fact::Opened { slot: 1 }, now);
    plan.step(unopened(0, StartFault::Passing), now);
    let again = plan.next_clock().unwrap();
    plan.step(Fact::Clock, again);
    assert!(plan.next_clock().unwrap() > again);
}

/// A plan with one open slot for each of these cases, all of which run.
fn running(jobs: Vec<Job>, with: Bounds) -> (Plan, Instant) {
    let slots = with.slots;
    let (mut plan, _, now) = begin_with(jobs, with);
    (0..slots).for_each(|slot| drop(plan.step(Fact::Opened { slot }, now)));
    (plan, now)
}

fn retried(count: u32, wait: Duration) -> Job {
    let retries = Retries { count, backoff: Backoff::Fixed(wait), jitter: Jitter::None };
    Job { retries, ..job(0) }
}

fn again(slot: usize, case: usize, round: u32, attempt: u32) -> Action {
    Action::Start { slot, case, turn: Turn { round, attempt } }
}

#[test]
fn the_longest_starts_first_and_what_nobody_has_timed_before_that() {
    let timed = |seconds: Option<u32>| Job { expected: seconds.map(|it| it * SECOND), ..job(0) };
    let jobs = [Some(1), Some(9), None, Some(5), Some(9)].map(timed);
    let order = order_of(jobs.to_vec());
    assert_eq!(order, [2, 1, 4, 3, 0]);
}

#[test]
fn priority_outranks_duration() {
    let jobs = [(0, 9), (-1, 20), (3, 1)];
    let jobs = jobs.map(|(priority, it)| Job { priority, expected: Some(it * SECOND), ..job(0) });
    assert_eq!(order_of(jobs.to_vec()), [2, 0, 1]);
}

/// In which order one slot starts these.
fn order_of(jobs: Vec<Job>) -> Vec<usize> {
    let mut simulation = Simulation::new(jobs, bounds(1), |_| (SECOND, Ending::Good));
    simulation.run();
    simulation.started.iter().map(|(case, _)| *case).collect()
}

#[test]
fn a_slot_turns_to_another_suite_for_what_is_much_longer_and_only_then() {
    let millis = Duration::from_millis;
    for (own, other, expected) in [
        (millis(500), millis(550), start(0, 1)),
        (millis(500), millis(700), Action::Close { slot: 0 }),
    ] {
        let timed = |suite, expected| Job { expected: Some(expected), ..job(suite) };
        let jobs = vec![timed(0, SECOND), timed(0, own), timed(1, other)];
        let (mut plan, now) = running(jobs, bounds(1));
        assert_eq!(plan.step(ended(0, Ending::Good), now)[0], expected, "{other:?}");
    }
}

#[test]
fn a_group_never_runs_more_than_its_limit_and_others_overtake_it() {
    let grouped = |group| Job { group, ..job(0) };
    let jobs = [Some(0), Some(0), None, Some(0)].map(grouped).to_vec();
    let with = Bounds { groups: vec![1], ..bounds(3) };
    let (mut plan, _, now) = begin_with(jobs, with);
    plan.step(Fact::Opened { slot: 0 }, now);
    let actions = plan.step(Fact::Opened { slot: 1 }, now);
    assert_eq!(actions, [start(1, 2)], "case 1 is held back");
    assert_eq!(plan.step(ended(1, Ending::Good), now), [], "its supervisor is kept for them");
    assert_eq!(plan.step(ended(0, Ending::Good), now), [start(0, 1)]);
    let actions = plan.step(ended(0, Ending::Good), now);
    assert_eq!(actions, [start(0, 3), Action::Close { slot: 1 }]);
}

#[test]
fn a_wide_case_waits_for_room_and_nothing_overtakes_it() {
    // The last one is in a lane of its own: it could.
    let wide = |(width, group)| Job { width, group, ..job(0) };
    let jobs = [(1, None), (1, None), (2, None), (1, Some(0))].map(wide).to_vec();
    let (mut plan, now) = running(jobs, Bounds { groups: vec![9], ..bounds(2) });
    assert_eq!(plan.step(ended(0, Ending::Good), now), [], "one slot is not enough");
    assert_eq!(plan.step(ended(1, Ending::Good), now), [start(0, 2)]);
    assert_eq!(plan.step(ended(0, Ending::Good), now), [start(0, 3), Action::Close { slot: 1 }]);
}

#[test]
fn a_case_wider_than_everything_runs_alone() {
    let jobs = vec![Job { width: 99, group: Some(0), ..job(0) }, job(0)];
    let with = Bounds { groups: vec![1], ..bounds(2) };
    let (mut plan, _, now) = begin_with(jobs, with);
    assert_eq!(plan.step(Fact::Opened { slot: 0 }, now), [start(0, 0)]);
    let actions = plan.step(ended(0, Ending::Good), now);
    assert_eq!(actions, [start(0, 1)]);
}

#[test]
fn a_case_that_waits_for_its_retry_holds_no_slot() {
    let (mut plan, now) = running(vec![retried(1, 5 * SECOND), job(0)], bounds(1));
    assert_eq!(plan.retry_after(0, Ending::Bad), Some(5 * SECOND));
    assert_eq!(plan.step(ended(0, Ending::Bad), now), [start(0, 1)]);
    assert_eq!(plan.step(ended(0, Ending::Good), now), [], "its supervisor is kept");
    assert!(!plan.is_over());
    assert_eq!(plan.next_clock(), Some(now + 5 * SECOND));
    assert_eq!(plan.step(Fact::Clock, now + 4 * SECOND), []);
    assert_eq!(plan.step(Fact::Clock, now + 5 * SECOND), [again(0, 0, 1, 2)]);
    assert_eq!(plan.retry_after(0, Ending::Bad), None, "that was the last");
    assert_eq!(plan.step(ended(0, Ending::Bad), now), [Action::Close { slot: 0 }]);
    assert!(plan.is_over());
}

#[test]
fn only_the_last_try_counts_as_a_failure() {
    let with = Bounds { fail_fast: wait_after(1), ..bounds(1) };
    let (mut plan, now) = running(vec![retried(1, Duration::ZERO), job(0)], with);
    assert_eq!(plan.step(ended(0, Ending::Bad), now), [again(0, 0, 1, 2)], "at once");
    assert_eq!(plan.step(ended(0, Ending::Good), now), [start(0, 1)], "and that was all right");
}

#[test]
fn what_is_doomed_is_not_tried_again_and_counts() {
    let with = Bounds { fail_fast: wait_after(1), ..bounds(1) };
    let (mut plan, now) = running(vec![retried(3, SECOND), job(0)], with);
    assert_eq!(plan.retry_after(0, Ending::Doomed), None);
    plan.step(ended(0, Ending::Doomed), now);
    assert_eq!((plan.is_over(), plan.not_started()), (true, 1));
}

#[test]
fn a_lost_attempt_is_tried_again_only_when_nothing_of_it_is_left() {
    let (mut plan, now) = running(vec![retried(1, Duration::ZERO)], bounds(1));
    assert_eq!(plan.step(Fact::Lost { slot: 0 }, now), []);
    assert_eq!(plan.retry_after(0, Ending::Bad), Some(Duration::ZERO));
    let actions = plan.step(Fact::Cleared { slot: 0 }, now);
    assert_eq!(actions, [Action::Open { slot: 0, suite: 0 }]);
    assert_eq!(plan.step(Fact::Opened { slot: 0 }, now), [again(0, 0, 1, 2)]);
}

#[test]
fn an_end_of_the_run_forgoes_retries_that_wait_and_says_so() {
    let (mut plan, now) = running(vec![retried(2, SECOND), job(0)], bounds(1));
    plan.step(ended(0, Ending::Bad), now);
    let actions = plan.step(Fact::Interrupted, now);
    assert_eq!(
        actions,
        [Action::Ask { slot: 0 }, Action::Forgo { case: 0, turn: Turn { round: 1, attempt: 2 } }]
    );
    assert_eq!(plan.step(ended(0, Ending::Cut), now), [Action::Close { slot: 0 }]);
    assert_eq!((plan.is_over(), plan.not_started()), (true, 0));
}

#[test]
fn an_interrupt_forgoes_the_retry_that_a_slot_is_being_opened_for() {
    let (mut plan, now) = running(vec![retried(2, Duration::ZERO)], bounds(1));
    let gone = Fact::Ended { slot: 0, ending: Ending::Bad, supervisor: Afterwards::Gone };
    assert_eq!(plan.step(gone, now), [Action::Open { slot: 0, suite: 0 }]);
    let actions = plan.step(Fact::Interrupted, now);
    assert_eq!(
        actions,
        [Action::Forgo { case: 0, turn: Turn { round: 1, attempt: 2 } }, Action::Close { slot: 0 }]
    );
    assert!(plan.is_over());
}

#[test]
fn waits_are_of_the_seed_alone() {
    let retries = Retries { count: 1, backoff: Backoff::Fixed(SECOND), jitter: Jitter::Half };
    let wait = |seed| {
        let job = Job { retries, ..job(0) };
        let (plan, _) = running(vec![job], Bounds { seed, ..bounds(1) });
        plan.retry_after(0, Ending::Bad)
    };
    assert_eq!(wait(1), wait(1));
    assert_ne!(wait(1), wait(2));
}

#[test]
fn immediate_termination_asks_what_runs_to_end() {
    let fail_fast = Some(FailFast { max_fail: 1, terminate: Terminate::Immediate });
    let (mut plan, now) = running(vec![job(0); 3], Bounds { fail_fast, ..bounds(2) });
    let actions = plan.step(ended(0, Ending::Bad), now);
    let cut = Cut::MaxFail { failures: 1, running: CutRunning::Asked };
    let expected = [Action::Announce(cut), Action::Ask { slot: 1 }, Action::Close { slot: 0 }];
    assert_eq!(actions, expected);
    plan.step(ended(1, Ending::Cut), now);
    assert_eq!((plan.is_over(), plan.not_started()), (true, 1));
}

#[test]
fn a_global_timeout_ends_the_run_once() {
    let with = Bounds { global_timeout: Some(7 * SECOND), ..bounds(1) };
    let (mut plan, now) = running(vec![job(0); 2], with);
    assert_eq!(plan.next_clock(), Some(now + 7 * SECOND));
    let cut = Cut::GlobalTimeout { after: 7 * SECOND };
    let actions = plan.step(Fact::Clock, now + 7 * SECOND);
    assert_eq!(actions, [Action::Announce(cut), Action::Ask { slot: 0 }]);
    assert_eq!(plan.step(Fact::Clock, now + 8 * SECOND), []);
    plan.step(ended(0, Ending::Cut), now);
    assert_eq!((plan.is_over(), plan.not_started()), (true, 1));
}

#[test]
fn stress_runs_each_case_so_often_and_one_after_the_other() {
    let with = Bounds { stress: Some(Stress::Count(2)), ..bounds(2) };
    let (mut plan, now) = running(vec![job(0); 2], with);
    assert_eq!(plan.step(ended(0, Ending::Bad), now), [again(0, 0, 2, 1)]);
    assert_eq!(plan.step(ended(0, Ending::Good), now), [Action::Close { slot: 0 }]);
    assert_eq!(plan.step(ended(1, Ending::Good), now), [again(1, 1, 2, 1)]);
    plan.step(ended(1, Ending::Good), now);
    assert_eq!((plan.is_over(), plan.not_started()), (true, 0));
}

#[test]
fn stress_without_end_ends_with_an_interrupt_and_leaves_nothing_unstarted() {
    let with = Bounds { stress: Some(Stress::Endless), ..bounds(1) };
    let (mut plan, now) = running(vec![job(0); 2], with);
    for round in 1..50 {
        let actions = plan.step(ended(0, Ending::Good), now);
        assert_eq!(actions, [again(0, 1, round, 1)], "a round is finished before the next");
        let actions = plan.step(ended(0, Ending::Good), now);
        assert_eq!(actions, [again(0, 0, round + 1, 1)]);
    }
    plan.step(Fact::Interrupted, now);
    plan.step(ended(0, Ending::Cut), now);
    assert_eq!((plan.is_over(), plan.not_started()), (true, 0));
}

#[test]
fn stress_for_a_time_runs_everything_once_and_begins_no_round_later() {
    let with = Bounds { stress: Some(Stress::For(5 * SECOND)), ..bounds(1) };
    let mut simulation = Simulation::new(vec![job(0); 3], with, |_| (2 * SECOND, Ending::Good));
    simulation.run();
    let rounds: Vec<_> =
        simulation.started.iter().map(|(case, turn)| (*case, turn.round)).collect();
    assert_eq!(rounds, [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2)]);
}

#[test]
fn an_execution_is_repeated_by_its_seed() {
    let turn = Turn { round: 3, attempt: 2 };
    let seed = turn.seed(7);
    assert_eq!(Turn::FIRST.seed(seed), seed);
    assert_ne!(seed, 7);
    assert_ne!(seed, Turn { round: 2, attempt: 3 }.seed(7));
}

/// The bound of the product: a whole matrix takes no longer than 1.15 of what it must.
#[test]
fn a_matrix_takes_hardly_longer_than_it_must() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let (slots, suites) = (1 + dice.below(8), 1 + dice.below(4));
        let cases = slots * (5 + dice.below(60));
        let jobs: Vec<Job> = (0..cases)
            .map(|_| {
                // Mostly short, some long: as suites are.
                let millis = match dice.below(10) {
                    0 => 1_000 + dice.below(9_000),
                    1..4 => 100 + dice.below(900),
                    _ => 2 + dice.below(50),
                };
                let expected = Some(Duration::from_millis(millis as u64));
                Job { expected, ..job(dice.below(suites)) }
            })
            .collect();
        let time = |job: &Job| job.expected.unwrap_or_default();
        let longest = jobs.iter().map(time).max().unwrap_or_default();
        let share = jobs.iter().map(time).sum::<Duration>() / u32::try_from(slots).unwrap();
        let must = longest.max(share);
        let mut simulation =
            Simulation::new(jobs, bounds(slots), |job| (job.expected.unwrap(), Ending::Good));
        let wall = simulation.run();
        // Every supervisor takes a while to start.
        assert!(wall <= must.mul_f64(1.15), "seed {seed}: {wall:?} for {must:?}");
    }
}

#[test]
fn no_case_is_lost_or_run_twice_and_no_limit_is_broken_whatever_happens() {
    for seed in 0..3_000 {
        let mut dice = Dice(seed);
        let groups: Vec<usize> = (0..dice.below(3)).map(|_| 1 + dice.below(3)).collect();
        let suites = 1 + dice.below(3);
        let jobs: Vec<Job> =
            (0..dice.below(25)).map(|_| any_job(&mut dice, suites, groups.len())).collect();
        let with = Bounds {
            slots: dice.below(5),
            fail_fast: match dice.below(6) {
                0 => wait_after(1 + dice.below(4)),
                1 => {
                    Some(FailFast { max_fail: 1 + dice.below(4), terminate: Terminate::Immediate })
                }
                _ => None,
            },
            global_timeout: (dice.below(6) == 0).then(|| any_time(&mut dice, 9)),
            stress: match dice.below(6) {
                0 => Some(Stress::Count(1 + u32::try_from(dice.below(3)).unwrap())),
                1 => Some(Stress::For(any_time(&mut dice, 9))),
                _ => None,
            },
            groups,
            ..bounds(1)
        };
        Chaos::new(jobs, with, dice).run(seed);
    }
}

fn any_time(dice: &mut Dice, seconds: usize) -> Duration {
    Duration::from_millis(1 + dice.below(seconds * 1000) as u64)
}

fn any_job(dice: &mut Dice, suites: usize, groups: usize) -> Job {
    let expected = any_time(dice, 3);
    let retries = Retries {
        count: dice.below(3).saturating_sub(1) as u32,
        backoff: Backoff::Fixed(if dice.below(2) == 0 {
            Duration::ZERO
        } else {
            any_time(dice, 2)
        }),
        jitter: Jitter::Half,
    };
    Job {
        group: (groups > 0 && dice.below(2) == 0).then(|| dice.below(groups)),
        width: 1 + dice.below(4) * dice.below(2),
        priority: i8::try_from(dice.below(3)).unwrap() - 1,
        expected: (dice.below(2) == 0).then_some(expected),
        retries,
        ..job(dice.below(suites))
    }
}

/// Numbers that only look like chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = mixed(self.0);
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// A run in virtual time: supervisors start in 10 ms, cases take and become what a function says.
struct Simulation<F> {
    plan: Plan,
    jobs: Vec<Job>,
    becomes: F,
    now: Instant,
    /// What is to happen, and when.
    events: BTreeSet<(Instant, usize, Happens)>,
    started: Vec<(usize, Turn)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Opened,
    Ended(usize),
}

impl<F: Fn(&Job) -> (Duration, Ending)> Simulation<F> {
    fn new(jobs: Vec<Job>, bounds: Bounds, becomes: F) -> Self {
        Self {
            plan: Plan::new(jobs.clone(), bounds),
            jobs,
            becomes,
            now: Instant::now(),
            events: BTreeSet::new(),
            started: Vec::new(),
        }
    }

    /// How long it took.
    fn run(&mut self) -> Duration {
        let begun = self.now;
        self.step(Fact::Clock);
        while !self.plan.is_over() {
            let clock = self.plan.next_clock();
            match self.events.first().copied() {
                Some((time, slot, what)) if clock.is_none_or(|clock| time <= clock) => {
                    self.events.pop_first();
                    self.now = time;
                    self.step(match what {
                        Happens::Opened => Fact::Opened { slot },
                        Happens::Ended(case) => {
                            let (_, ending) = (self.becomes)(&self.jobs[case]);
                            ended(slot, ending)
                        }
                    });
                }
                _ => {
                    self.now = clock.expect("something is to happen");
                    self.step(Fact::Clock);
                }
            }
        }
        self.now - begun
    }

    fn step(&mut self, fact: Fact) {
        for action in self.plan.step(fact, self.now) {
            match action {
                Action::Open { slot, .. } => {
                    self.events.insert((self.now + SECOND / 100, slot, Happens::Opened));
                }
                Action::Start { slot, case, turn } => {
                    self.started.push((case, turn));
                    let (takes, _) = (self.becomes)(&self.jobs[case]);
                    self.events.insert((self.now + takes, slot, Happens::Ended(case)));
                }
                Action::Close { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A run in virtual time in which everything that can go wrong does, now and then.
struct Chaos {
    plan: Plan,
    jobs: Vec<Job>,
    bounds: Bounds,
    dice: Dice,
    now: Instant,
    slots: Vec<ChaosSlot>,
    /// Of each case: the executions that were started and not tried again, in order.
    over: Vec<Vec<Turn>>,
    forgone: usize,
    abandoned: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChaosSlot {
    Empty,
    Opening(usize),
    Idle(usize),
    Busy(usize, Turn),
    Dying(Option<(usize, Turn)>),
}

impl Chaos {
    fn new(jobs: Vec<Job>, bounds: Bounds, dice: Dice) -> Self {
        let plan = Plan::new(jobs.clone(), bounds.clone());
        Self {
            slots: vec![ChaosSlot::Empty; plan.slot_count()],
            over: vec![Vec::new(); jobs.len()],
            plan,
            jobs,
            bounds,
            dice,
            now: Instant::now(),
            forgone: 0,
            abandoned: 0,
        }
    }

    fn run(mut self, seed: u64) {
        self.step(Fact::Clock);
        for _ in 0..100_000 {
            if self.plan.is_over() {
                return self.check_all(seed);
            }
            self.happen();
        }
        panic!("seed {seed} does not end: {:?}", self.plan);
    }

    /// Something happens in a slot that waits for something, or time passes.
    fn happen(&mut self) {
        if self.dice.below(200) == 0 {
            return self.step(Fact::Interrupted);
        }
        self.now += Duration::from_millis(self.dice.below(300) as u64);
        let waiting: Vec<usize> = (0..self.slots.len())
            .filter(|slot| !matches!(self.slots[*slot], ChaosSlot::Empty | ChaosSlot::Idle(_)))
            .collect();
        if waiting.is_empty() || self.dice.below(4) == 0 {
            let clock = self.plan.next_clock();
            if waiting.is_empty() {
                self.now = self.now.max(clock.expect("something is to happen"));
            }
            return self.step(Fact::Clock);
        }
        let slot = waiting[self.dice.below(waiting.len())];
        let luck = self.dice.below(20);
        match (self.slots[slot], luck) {
            (ChaosSlot::Opening(_), 0) => {
                self.slots[slot] = ChaosSlot::Empty;
                self.step(unopened(slot, StartFault::Lasting));
            }
            (ChaosSlot::Opening(_), 1..4) => {
                self.slots[slot] = ChaosSlot::Empty;
                self.step(unopened(slot, StartFault::Passing));
            }
            (ChaosSlot::Opening(suite), _) => {
                self.slots[slot] = ChaosSlot::Idle(suite);
                self.step(Fact::Opened { slot });
            }
            (ChaosSlot::Busy(case, turn), 0..2) => {
                self.slots[slot] = ChaosSlot::Dying(Some((case, turn)));
                self.step(Fact::Lost { slot });
            }
            (ChaosSlot::Busy(case, turn), _) => {
                let ending = match (self.plan.stage(), luck) {
                    (Stage::Asked | Stage::Killed, _) => Ending::Cut,
                    (_, 2..9) => Ending::Bad,
                    (_, 9) => Ending::Doomed,
                    (_, _) => Ending::Good,
                };
                let supervisor =
                    if luck.is_multiple_of(2) { Afterwards::Ready } else { Afterwards::Gone };
                self.note_end(slot, ending, (case, turn));
                self.slots[slot] = match supervisor {
                    Afterwards::Ready => ChaosSlot::Idle(self.jobs[case].suite),
                    Afterwards::Gone => ChaosSlot::Empty,
                };
                self.step(Fact::Ended { slot, ending, supervisor });
            }
            (ChaosSlot::Dying(work), _) => {
                if let Some(work) = work {
                    self.note_end(slot, Ending::Bad, work);
                }
                self.slots[slot] = ChaosSlot::Empty;
                self.step(Fact::Cleared { slot });
            }
            (ChaosSlot::Empty | ChaosSlot::Idle(_), _) => {}
        }
    }

    fn note_end(&mut self, slot: usize, ending: Ending, (case, turn): (usize, Turn)) {
        if self.plan.retry_after(slot, ending).is_none() {
            self.over[case].push(turn);
        }
    }

    fn step(&mut self, fact: Fact) {
        for action in self.plan.step(fact, self.now) {
            self.act(action);
        }
        self.check_limits();
        let clock = self.plan.next_clock();
        assert!(
            clock.is_none_or(|clock| clock > self.now),
            "a clock that has passed: {:?}",
            self.plan
        );
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open { slot, suite } => {
                assert_eq!(self.slots[slot], ChaosSlot::Empty);
                self.slots[slot] = ChaosSlot::Opening(suite);
            }
            Action::Close { slot } => {
                assert!(matches!(self.slots[slot], ChaosSlot::Opening(_) | ChaosSlot::Idle(_)));
                self.slots[slot] = ChaosSlot::Empty;
            }
            Action::Start { slot, case, turn } => {
                assert_eq!(self.slots[slot], ChaosSlot::Idle(self.jobs[case].suite));
                let runs = |other: &ChaosSlot| match other {
                    ChaosSlot::Busy(other, _) | ChaosSlot::Dying(Some((other, _))) => {
                        *other == case
                    }
                    ChaosSlot::Empty
                    | ChaosSlot::Opening(_)
                    | ChaosSlot::Idle(_)
                    | ChaosSlot::Dying(None) => false,
                };
                assert!(!self.slots.iter().any(runs), "case {case} meets itself");
                self.slots[slot] = ChaosSlot::Busy(case, turn);
            }
            Action::Ask { slot } | Action::Kill { slot } => {
                assert!(matches!(self.slots[slot], ChaosSlot::Busy(..)));
            }
            Action::Reject { slot } => self.slots[slot] = ChaosSlot::Empty,
            Action::GiveUp { slot } => {
                let ChaosSlot::Busy(case, turn) = self.slots[slot] else { panic!("{slot}") };
                self.slots[slot] = ChaosSlot::Dying(Some((case, turn)));
            }
            Action::Abandon { case, turn } => {
                self.over[case].push(turn);
                self.abandoned += 1;
            }
            Action::Forgo { case, turn } => {
                self.over[case].push(Turn { attempt: turn.attempt - 1, ..turn });
                self.forgone += 1;
            }
            Action::Announce(_) => {}
        }
    }

    fn check_limits(&self) {
        let busy = |such: &dyn Fn(&Job) -> bool| -> usize {
            let cases = self.slots.iter().filter_map(|slot| match slot {
                ChaosSlot::Busy(case, _) | ChaosSlot::Dying(Some((case, _))) => Some(*case),
                ChaosSlot::Empty
                | ChaosSlot::Opening(_)
                | ChaosSlot::Idle(_)
                | ChaosSlot::Dying(None) => None,
            });
            let jobs = cases.map(|case| &self.jobs[case]).filter(|job| such(job));
            jobs.map(|job| job.width.clamp(1, self.bounds.slots.max(1))).sum()
        };
        assert!(busy(&|_| true) <= self.bounds.slots.max(1));
        for (group, limit) in self.bounds.groups.iter().enumerate() {
            let all = busy(&|job| job.group == Some(group));
            let alone = self.slots.iter().filter(|slot| {
                matches!(slot, ChaosSlot::Busy(case, _) | ChaosSlot::Dying(Some((case, _))) if self.jobs[*case].group == Some(group))
            });
            assert!(all <= *limit || alone.count() == 1, "group {group}: {all} of {limit}");
        }
    }

    /// Each round of a case ends once, and each case that was not cut off has all its rounds.
    fn check_all(&self, seed: u64) {
        let empty = |slot: &ChaosSlot| matches!(slot, ChaosSlot::Empty);
        assert!(self.slots.iter().all(empty), "seed {seed}: {:?}", self.slots);
        for (case, over) in self.over.iter().enumerate() {
            let rounds: Vec<u32> = over.iter().map(|turn| turn.round).collect();
            let expected: Vec<u32> = (1..).take(rounds.len()).collect();
            assert_eq!(rounds, expected, "seed {seed}, case {case}");
            let tries = self.jobs[case].retries.count + 1;
            assert!(over.iter().all(|turn| turn.attempt <= tries));
        }
        if self.plan.stage() == Stage::Full && self.abandoned + self.forgone == 0 {
            let rounds = match self.bounds.stress {
                Some(Stress::Count(count)) => count as usize,
                Some(Stress::Endless | Stress::For(_)) | None => 1,
            };
            assert!(self.over.iter().all(|over| over.len() >= rounds), "seed {seed}: one is lost");
            assert_eq!(self.plan.not_started(), 0);
        }
        let never = self.over.iter().filter(|over| over.is_empty()).count();
        if self.bounds.stress.is_none() {
            assert_eq!(self.plan.not_started(), never, "seed {seed}: a case is lost");
        }
    }
}
