//! Whether this machine has the time that deadlines take for granted, and what to say if not.
//!
//! A deadline is written for a machine that has nothing else to do. [`Signs::take`] asks this one,
//! in a few milliseconds; [`proposal`] makes a sentence and a number of the answers, and is pure.
//! `session` tells it as an event. Nobody here changes a deadline: a case that hangs must not get
//! more time because its neighbours do.

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
    /// the slowest of them counts.
    pub work: Option<Duration>,
    /// What making a thread and waiting for its end cost, in the middle of a few.
    pub thread: Option<Duration>,
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
    /// What speaks for it, for a person; never empty.
    pub reasons: Vec<String>,
}

/// CPU time that is spent to see how long it takes.
pub const WORK: Duration = Duration::from_millis(2);

/// What a thread's making and end cost on an idle machine, generously.
const IDLE_THREAD: Duration = Duration::from_micros(150);

/// Less than this is how machines are.
const WORTH_SAYING: f64 = 1.5;

/// More than this nobody would wait for.
const MOST_PERCENT: u32 = 1000;

/// A control group that has lived for fewer periods has not been seen yet.
const SEEN_PERIODS: f64 = 50.0;

/// What would make up for these signs, unless `scale` already does.
pub fn proposal(signs: &Signs, scale: f64) -> Option<Proposal> {
    let found = [signs.work(), signs.thread(), signs.quota(), signs.throttling()];
    let found = found.into_iter().chain([signs.pressure(), signs.frequency()]).flatten();
    let lacks: Vec<(f64, String)> = found.filter(|(lack, _)| *lack >= WORTH_SAYING).collect();
    let most = lacks.iter().map(|(lack, _)| *lack).fold(0.0, f64::max);
    // In steps of a half: nothing here is known better.
    let percent = (((most * 2.0).ceil() * 50.0) as u32).min(MOST_PERCENT);
    let reasons: Vec<String> = lacks.into_iter().map(|(_, reason)| reason).collect();
    let is_made_up_for = f64::from(percent) <= scale * 100.0;
    (!reasons.is_empty() && !is_made_up_for).then_some(Proposal { percent, reasons })
}

impl Signs {
    /// Asks the machine, for a run with so many slots. Takes a few milliseconds, on a machine
    /// without time as many more; all threads it makes have ended when it returns.
    pub fn take(slots: usize) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let wanted_cpus = slots.min(cpus).max(1);
        let group = group(&read("/proc/self/cgroup").unwrap_or_default());
        Self {
            wanted_cpus,
            work: work(wanted_cpus),
            thread: thread_cost(),
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

    fn thread(&self) -> Option<(f64, String)> {
        let took = self.thread?;
        let lack = took.as_secs_f64() / IDLE_THREAD.as_secs_f64();
        Some((lack, format!("a thread costs {:.1} ms", took.as_secs_f64() * 1e3)))
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

fn thread_cost() -> Option<Duration> {
    let mut costs = [Duration::ZERO; 7];
    for cost in &mut costs {
        let begun = Instant::now();
        let thread = Builder::new().name("headroom".into()).spawn(|| {}).ok()?;
        thread.join().ok()?;
        *cost = begun.elapsed();
    }
    costs.sort_unstable();
    Some(costs[costs.len() / 2])
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
        thread: Some(Duration::from_micros(40)),
        quota_cpus: None,
        throttled: Some(0.0),
        pressure: Some(0.01),
        frequency: Some(1.0),
    };

    #[test]
    fn an_idle_machine_needs_no_proposal_and_one_that_says_nothing_gets_none() {
        assert_eq!(proposal(&IDLE, 1.0), None);
        let silent = Signs {
            work: None,
            thread: None,
            throttled: None,
            pressure: None,
            frequency: None,
            ..IDLE
        };
        assert_eq!(proposal(&silent, 1.0), None);
    }

    #[test]
    fn each_lack_of_time_is_said_and_made_up_for() {
        let millis = Duration::from_millis;
        for (signs, percent, reason) in [
            (Signs { work: Some(millis(3)), ..IDLE }, 150, "2ms of work took 3.0 ms"),
            (Signs { work: Some(millis(9)), ..IDLE }, 450, "2ms of work took 9.0 ms"),
            (Signs { work: Some(millis(999)), ..IDLE }, 1000, "2ms of work took 999.0 ms"),
            (Signs { thread: Some(millis(1)), ..IDLE }, 700, "a thread costs 1.0 ms"),
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
        let signs = Signs { work: Some(Duration::from_millis(3)), ..after_a_build };
        let found = proposal(&signs, 1.0).expect("a lack");
        assert_eq!(found.percent, 400);
        assert_eq!(found.reasons[1], "somebody waited for a CPU 97 % of the last ten seconds");
    }

    #[test]
    fn the_worst_counts_and_all_are_said() {
        let signs = Signs { work: Some(Duration::from_millis(8)), throttled: Some(0.5), ..IDLE };
        let found = proposal(&signs, 1.0).expect("a lack");
        assert_eq!((found.percent, found.reasons.len()), (400, 2));
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
        assert!(signs.thread.expect("threads can be made") > Duration::ZERO);
    }
}
