//! Whether this machine has the time that deadlines take for granted, and what to say if not.
//!
//! A deadline is written for a machine that has nothing else to do. [`Signs::take`] asks this one,
//! in a few milliseconds; [`proposal`] makes a sentence and a number of the answers, and is pure.
//! `session` tells it as an event, which a reporter shows where a deadline has passed. Nobody here
//! changes a deadline: a case that hangs must not get more time because its neighbours do.
//!
//! A machine that is merely busy is none that lacks time: who waits for a turn of a few
//! milliseconds gets it, and deadlines are seconds. So the best of a few tries counts, and nothing
//! that a wait for one turn decides (what a thread costs, say) is asked at all.

use std::fs;
use std::path::Path;
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// What the machine says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signs {
    /// How many CPUs the run's slots can use at once.
    pub wanted_cpus: usize,
    /// How long [`WORK`] took on the wall's clock, on as many threads as there are wanted CPUs;
    /// the slowest of them counts, in the best of a few tries.
    pub work: Option<Duration>,
    /// CPUs that the control group allows, if it limits them.
    pub quota_cpus: Option<f64>,
    /// Share of its periods in which the control group was held back, from 0 to 1.
    pub throttled: Option<f64>,
    /// Share of the last ten seconds in which somebody waited for a CPU, from 0 to 1.
    pub pressure: Option<f64>,
    /// Highest frequency that is allowed now, as a share of the highest there is.
    pub frequency: Option<f64>,
}

/// What could be done about a lack of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// A `--timeout-scale` that would make up for it, in percent.
    pub percent: u32,
    /// What speaks for it, for a person, the worst first; never empty.
    pub reasons: Vec<String>,
}

/// CPU time that is spent to see how long it takes.
pub const WORK: Duration = Duration::from_millis(2);

/// How often that is tried, where the first try says that time is short.
const TRIES: u32 = 4;

/// Less than this is how machines are, and deadlines have room for it.
const WORTH_SAYING: f64 = 2.0;

/// A case that needs more than this has another trouble.
const MOST_PERCENT: u32 = 400;

/// A control group that has lived for fewer periods has not been seen yet.
const SEEN_PERIODS: f64 = 50.0;

/// What would make up for these signs, unless `scale` already does.
pub fn proposal(signs: &Signs, scale: f64) -> Option<Proposal> {
    let all =
        [signs.work(), signs.quota(), signs.throttling(), signs.pressure(), signs.frequency()];
    let found = all.into_iter().flatten();
    let mut lacks: Vec<(f64, String)> = found.filter(|(lack, _)| *lack >= WORTH_SAYING).collect();
    lacks.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let most = lacks.first().map_or(0.0, |(lack, _)| *lack);
    // In steps of a half: nothing here is known better.
    let percent = (((most * 2.0).ceil() * 50.0) as u32).min(MOST_PERCENT);
    let reasons: Vec<String> = lacks.into_iter().map(|(_, reason)| reason).collect();
    let is_made_up_for = f64::from(percent) <= scale * 100.0;
    (!reasons.is_empty() && !is_made_up_for).then_some(Proposal { percent, reasons })
}

impl Signs {
    /// Asks the machine, for a run with so many slots. Takes a few milliseconds, on a machine
    /// without time a few times as many; all threads it makes have ended when it returns.
    pub fn take(slots: usize) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let wanted_cpus = slots.min(cpus).max(1);
        let group = group(&read("/proc/self/cgroup").unwrap_or_default());
        Self {
            wanted_cpus,
            work: best_work(wanted_cpus),
            quota_cpus: group_file(&group, "cpu.max").and_then(|text| quota(&text)),
            throttled: group_file(&group, "cpu.stat").and_then(|text| throttled(&text)),
            pressure: read("/proc/pressure/cpu").and_then(|text| pressure(&text)),
            frequency: frequency(),
        }
    }

    fn work(&self) -> Option<(f64, String)> {
        let took = self.work?;
        let lack = took.as_secs_f64() / WORK.as_secs_f64();
        Some((lack, format!("{WORK:?} of work took {:.1} ms", took.as_secs_f64() * 1e3)))
    }

    fn quota(&self) -> Option<(f64, String)> {
        let allowed = self.quota_cpus?;
        let lack = self.wanted_cpus as f64 / allowed.max(0.01);
        let wanted = self.wanted_cpus;
        Some((lack, format!("its control group allows {allowed:.2} CPUs where {wanted} are used")))
    }

    fn throttling(&self) -> Option<(f64, String)> {
        let share = self.throttled?;
        let reason = format!("its control group was held back {:.0} % of the time", share * 100.0);
        Some((while_free(share), reason))
    }

    /// Heard only where work is slow now too: the last ten seconds may have been our own build.
    fn pressure(&self) -> Option<(f64, String)> {
        let share = self.pressure?;
        self.work().filter(|(lack, _)| *lack >= WORTH_SAYING)?;
        let reason =
            format!("somebody waited for a CPU {:.0} % of the last ten seconds", share * 100.0);
        Some((while_free(share), reason))
    }

    fn frequency(&self) -> Option<(f64, String)> {
        let share = self.frequency?;
        let reason = format!("its CPUs may run at {:.0} % of their frequency", share * 100.0);
        Some((1.0 / share.max(0.01), reason))
    }
}

/// How much longer what takes all of the time takes in the rest of it. Not above 4: where there
/// is hardly any rest, the share says little about how much longer.
fn while_free(busy: f64) -> f64 {
    1.0 / (1.0 - busy.clamp(0.0, 0.75))
}

fn best_work(threads: usize) -> Option<Duration> {
    let mut best = work(threads)?;
    for _ in 1..TRIES {
        if best < WORK.mul_f64(WORTH_SAYING) {
            break;
        }
        best = best.min(work(threads)?);
    }
    Some(best)
}

/// The wall time in which each of so many threads gets [`WORK`] of CPU time; the slowest's.
fn work(threads: usize) -> Option<Duration> {
    let threads: Vec<_> = (0..threads)
        .filter_map(|_| Builder::new().name("headroom".into()).spawn(spend).ok())
        .collect();
    threads.into_iter().filter_map(|thread| thread.join().ok()?).max()
}

fn spend() -> Option<Duration> {
    let cpu_time = || Some(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?));
    let begun = Instant::now();
    let until = cpu_time()? + WORK;
    while cpu_time()? < until {}
    Some(begun.elapsed())
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The path of the unified hierarchy in `/proc/self/cgroup`; the root where there is none.
fn group(text: &str) -> String {
    let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
    unified.unwrap_or("/").trim_end_matches('/').to_owned()
}

/// The file of the nearest group upwards that has it.
fn group_file(group: &str, name: &str) -> Option<String> {
    let upwards = std::iter::successors(Some(group), |group| Some(group.rsplit_once('/')?.0));
    upwards.take(64).find_map(|group| read(format!("/sys/fs/cgroup{group}/{name}")))
}

/// `50000 100000` allows half a CPU, `max 100000` all there are.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// `nr_periods 200`, `nr_throttled 50`.
fn throttled(text: &str) -> Option<f64> {
    let of = |name: &str| -> Option<f64> {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
    };
    let (periods, held_back) = (of("nr_periods")?, of("nr_throttled")?);
    (periods >= SEEN_PERIODS).then(|| held_back / periods)
}

/// `some avg10=12.34 avg60=…`, in percent.
fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let value = some.split(' ').find_map(|word| word.strip_prefix("avg10="))?;
    Some(value.parse::<f64>().ok()? / 100.0)
}

/// Of the first CPU: the others are hardly ever limited otherwise.
fn frequency() -> Option<f64> {
    let of = |name: &str| -> Option<f64> {
        let path = format!("/sys/devices/system/cpu/cpu0/cpufreq/{name}");
        read(path)?.trim().parse().ok()
    };
    let (allowed, highest) = (of("scaling_max_freq")?, of("cpuinfo_max_freq")?);
    (allowed > 0.0 && highest > 0.0).then(|| allowed / highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that has all the time in the world.
    const IDLE: Signs = Signs {
        wanted_cpus: 2,
        work: Some(WORK),
        quota_cpus: None,
        throttled: Some(0.0),
        pressure: Some(0.01),
        frequency: Some(1.0),
    };

    #[test]
    fn an_idle_machine_needs_no_proposal_and_one_that_says_nothing_gets_none() {
        assert_eq!(proposal(&IDLE, 1.0), None);
        let silent = Signs { work: None, throttled: None, pressure: None, frequency: None, ..IDLE };
        assert_eq!(proposal(&silent, 1.0), None);
    }

    #[test]
    fn each_lack_of_time_is_said_and_made_up_for() {
        let millis = Duration::from_millis;
        for (signs, percent, reason) in [
            (Signs { work: Some(millis(5)), ..IDLE }, 250, "2ms of work took 5.0 ms"),
            (Signs { work: Some(millis(999)), ..IDLE }, 400, "2ms of work took 999.0 ms"),
            (
                Signs { quota_cpus: Some(0.5), ..IDLE },
                400,
                "its control group allows 0.50 CPUs where 2 are used",
            ),
            (
                Signs { throttled: Some(0.5), ..IDLE },
                200,
                "its control group was held back 50 % of the time",
            ),
            (
                Signs { frequency: Some(0.4), ..IDLE },
                250,
                "its CPUs may run at 40 % of their frequency",
            ),
        ] {
            let expected = Proposal { percent, reasons: vec![reason.to_owned()] };
            assert_eq!(proposal(&signs, 1.0), Some(expected), "{signs:?}");
        }
    }

    #[test]
    fn that_others_wait_counts_only_where_work_is_slow_now() {
        let after_a_build = Signs { pressure: Some(0.97), ..IDLE };
        assert_eq!(proposal(&after_a_build, 1.0), None);
        let signs = Signs { work: Some(Duration::from_millis(4)), ..after_a_build };
        let found = proposal(&signs, 1.0).expect("a lack");
        assert_eq!(found.percent, 400);
        assert_eq!(found.reasons[0], "somebody waited for a CPU 97 % of the last ten seconds");
    }

    #[test]
    fn a_machine_that_is_only_busy_gets_no_proposal() {
        let busy = Signs { work: Some(Duration::from_micros(3500)), pressure: Some(0.99), ..IDLE };
        assert_eq!(proposal(&busy, 1.0), None);
    }

    #[test]
    fn the_worst_counts_and_is_said_first() {
        let signs = Signs { work: Some(Duration::from_millis(6)), throttled: Some(0.5), ..IDLE };
        let found = proposal(&signs, 1.0).expect("a lack");
        assert_eq!((found.percent, found.reasons.len()), (300, 2));
        assert_eq!(found.reasons[0], "2ms of work took 6.0 ms");
        let signs = Signs { throttled: Some(0.75), ..signs };
        let found = proposal(&signs, 1.0).expect("a lack");
        assert!(found.reasons[0].contains("held back"), "{found:?}");
    }

    #[test]
    fn who_gave_enough_time_hears_nothing() {
        let signs = Signs { work: Some(Duration::from_millis(4)), ..IDLE };
        assert!(proposal(&signs, 1.9).is_some());
        assert_eq!(proposal(&signs, 2.0), None);
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        assert_eq!(quota("50000 100000\n"), Some(0.5));
        assert_eq!(quota("max 100000\n"), None);
        assert_eq!(quota(""), None);
        assert_eq!(throttled("usage_usec 5\nnr_periods 200\nnr_throttled 50\n"), Some(0.25));
        assert_eq!(throttled("nr_periods 2\nnr_throttled 2\n"), None);
        assert_eq!(throttled("usage_usec 5\n"), None);
        let text = "some avg10=95.00 avg60=1.00 avg300=1.00 total=9\nfull avg10=0.00\n";
        assert_eq!(pressure(text), Some(0.95));
        assert_eq!(pressure("garbage"), None);
        assert_eq!(group("9:name=systemd:/\n0::/user.slice/x\n"), "/user.slice/x");
        assert_eq!(group("0::/\n"), "");
        assert_eq!(group("1:cpu:/\n"), "");
    }

    #[test]
    fn this_machine_answers() {
        let signs = Signs::take(2);
        assert!(signs.work.expect("threads can be made") >= WORK);
    }
}
