//! What is measured: every figure of the specification that can be measured by now, with its bar.

use runtime::Backend;

use crate::figure::{Bar, Figure, Limit, Place, Probe, Side};
use crate::floor::Birth;
use crate::job::{BURST, Job, Work};
use crate::suite::{CASES, FLOOD_CASES, LineSide, Run, SLOTS, Selection, Spawning, Target};

/// All figures, in the order of the specification.
pub(crate) fn all() -> Vec<Figure> {
    let mut figures = vec![case(Selection::Sync), case(Selection::Async), plain_case()];
    figures.push(start_to_first_case());
    figures.push(matrix());
    figures.push(memory());
    figures.push(expansion());
    figures.push(containment());
    figures.push(line("fresh memory", "captured-line", LineSide::Println));
    figures.push(line("memory used before", "captured-line-flood", LineSide::PrintlnAfterFlood));
    for place in [Place::Free, Place::OneCore] {
        figures.extend(Backend::ALL.map(|backend| start(backend, place)));
    }
    figures.push(burst());
    figures.push(call(Backend::Exec, Place::OneCore));
    figures.extend([Place::Free, Place::OneCore].map(|place| call(Backend::Thread, place)));
    figures.extend(STREAMS.map(stream));
    figures.extend([Backend::Exec, Backend::Fork].map(tree));
    figures
}

fn case(selection: Selection) -> Figure {
    let (name, peers, peer) = match selection {
        Selection::Sync => ("case-sync", nextest(), at_least(10.0, None)),
        Selection::Async => ("case-async", Vec::new(), None),
    };
    let floor =
        Job::Measure { work: Work::FloorCase { slots: SLOTS }, place: Place::Free, samples: CASES };
    Figure {
        name: name.to_owned(),
        place: Place::Free,
        ours: side(
            format!(
                "`runner` over {CASES} cases that do nothing minus over 1, per case; {SLOTS} slots, \
                 warm fork server, watchdog, capture and containment on"
            ),
            run(Run::RunnerPerCase(selection)),
        ),
        floor: Some(side(
            format!(
                "fork, two threads, wait, of a small process; {SLOTS} such loops at once, \
                 {CASES} cases in all"
            ),
            Probe::Job(floor),
        )),
        peers,
        bar: Bar { floors: at_most(2.0, Some(1.5)), peer },
    }
}

fn plain_case() -> Figure {
    let peer = |words: &str, spawning| {
        let what = format!("cargo nextest run, {CASES} minus 1, {words}");
        side(what, run(Run::NextestPerCase(Target::Plain, spawning)))
    };
    Figure {
        name: "case-plain".to_owned(),
        place: Place::Free,
        ours: side(
            format!(
                "`runner` over {CASES} #[test]s of the standard harness that do nothing minus over \
                 1, per test; {SLOTS} slots, output in memory files, containment on"
            ),
            run(Run::RunnerPerPlainCase),
        ),
        floor: Some(side(
            format!(
                "posix_spawn and wait of the same binary for one test, with cargo's library path; \
                 {SLOTS} such loops at once"
            ),
            run(Run::SpawnPerPlainCase),
        )),
        peers: vec![
            peer("the same binary", Spawning::Double),
            peer("the same, NEXTEST_DOUBLE_SPAWN=0", Spawning::Single),
        ],
        bar: Bar { floors: at_most(1.2, Some(1.1)), peer: None },
    }
}

fn nextest() -> Vec<Side> {
    let sides = [
        ("the same test target", Target::Trivial, Spawning::Double),
        ("the same, NEXTEST_DOUBLE_SPAWN=0", Target::Trivial, Spawning::Single),
        ("#[test]s, standard harness", Target::Plain, Spawning::Double),
        ("#[test]s, NEXTEST_DOUBLE_SPAWN=0", Target::Plain, Spawning::Single),
    ];
    let of = |(words, target, spawning): (&str, Target, Spawning)| {
        side(
            format!("cargo nextest run, {CASES} minus 1, {words}"),
            run(Run::NextestPerCase(target, spawning)),
        )
    };
    sides.map(of).into()
}

fn start_to_first_case() -> Figure {
    Figure {
        name: "run-of-one-case".to_owned(),
        place: Place::Free,
        ours: side("`runner` over 1 case, nothing to build, start to exit", run(Run::RunnerOnce)),
        floor: Some(side("cargo test --no-run, nothing to build", run(Run::Freshness))),
        peers: vec![
            side(
                "cargo nextest run of 1 case, the same test target",
                run(Run::NextestOnce(Target::Trivial, Spawning::Double)),
            ),
            side(
                "cargo nextest run of 1 #[test]",
                run(Run::NextestOnce(Target::Plain, Spawning::Double)),
            ),
        ],
        bar: Bar { floors: None, peer: at_least(1.0, Some(2.0)) },
    }
}

/// The bar is of the specification itself: the least a schedule can take is no time of a program.
fn matrix() -> Figure {
    Figure {
        name: "matrix-wall".to_owned(),
        place: Place::Free,
        ours: side(
            format!(
                "`runner` over 34 cases of 2 to 500 ms, the longest last by name, in {SLOTS} \
                 slots, by what the run before took; first case to last process"
            ),
            run(Run::MatrixWall),
        ),
        floor: Some(side(
            "of that run: the longest case, or the sum of all by slots, whichever is more",
            run(Run::MatrixBound),
        )),
        peers: Vec::new(),
        bar: Bar { floors: at_most(1.15, Some(1.05)), peer: None },
    }
}

const EXPANSIONS: usize = 5;

fn expansion() -> Figure {
    let place = Place::Free;
    let job = |work| Probe::Job(Job::Measure { work, place, samples: EXPANSIONS });
    let cases = crate::expansion::CASES;
    Figure {
        name: "expansion".to_owned(),
        place,
        ours: side(
            format!("from a listing to {cases} cases, filtered and listed; CPU time of one thread"),
            job(Work::Expansion),
        ),
        floor: Some(side("a second, which the specification gives", job(Work::Given(1.0)))),
        peers: Vec::new(),
        bar: Bar { floors: at_most(1.0, Some(0.2)), peer: None },
    }
}

/// As much as the specification gives the runner, in bytes.
const MEMORY_BYTES: f64 = 60e6;

fn memory() -> Figure {
    let place = Place::Free;
    let given = Job::Measure { work: Work::Given(MEMORY_BYTES), place, samples: 1 };
    Figure {
        name: "memory".to_owned(),
        place,
        ours: side(
            format!(
                "most that `runner` had resident while {FLOOD_CASES} cases print 100 MB and fail; \
                 all of it is recorded"
            ),
            run(Run::RunnerMemory),
        ),
        floor: Some(side("60 MB, which the specification gives", Probe::Job(given))),
        peers: Vec::new(),
        bar: Bar { floors: at_most(1.0, Some(0.5)), peer: None },
    }
}

const ENDS: usize = 1000;

fn containment() -> Figure {
    let place = Place::OneCore;
    let job = |work, samples| Probe::Job(Job::Measure { work, place, samples });
    Figure {
        name: "containment-check".to_owned(),
        place,
        ours: side(
            "from the end of an attempt's one process to its verdict, minus the same of a parent \
             that waits for a child and says so",
            job(Work::Containment, ENDS),
        ),
        floor: Some(side("20 µs, which the specification gives", job(Work::Given(20e-6), 1))),
        peers: Vec::new(),
        bar: Bar { floors: at_most(1.0, Some(0.25)), peer: None },
    }
}

fn line(memory: &str, name: &str, ours: LineSide) -> Figure {
    Figure {
        name: name.to_owned(),
        place: Place::Free,
        ours: side(
            format!("println! of 80 bytes in a case, captured, into {memory}"),
            run(Run::Line(ours)),
        ),
        floor: Some(side("copy of 80 bytes and an atomic add", run(Run::Line(LineSide::Copy)))),
        peers: vec![side(
            "write(2) of 80 bytes into a pipe, which is emptied while the clock stands",
            run(Run::Line(LineSide::PipeWrite)),
        )],
        bar: Bar { floors: None, peer: at_least(3.0, Some(5.0)) },
    }
}

const STARTS: usize = 100;

fn start(backend: Backend, place: Place) -> Figure {
    let (birth, how, floors) = match backend {
        Backend::Exec => (Birth::Exec, "exec of this program", at_most(2.0, Some(1.4))),
        Backend::Forkserver => {
            (Birth::Zygote, "fork by a zygote on request", at_most(2.5, Some(1.5)))
        }
        Backend::Fork | Backend::ThreadForkserver => {
            (Birth::Fork, "libc's fork", at_most(2.5, Some(1.5)))
        }
        Backend::Thread => (Birth::Thread, "a thread", at_most(3.0, Some(2.0))),
    };
    let job = |work| Probe::Job(Job::Measure { work, place, samples: STARTS });
    let ours = format!("start of an actor on `{}` and its first reply", backend.name());
    let floor = format!("{how}, a current-thread scheduler in it, its first message");
    Figure {
        name: format!("start-{}", backend.name()),
        place,
        ours: side(ours, job(Work::Start(backend))),
        floor: Some(side(floor, job(Work::FloorStart(birth)))),
        peers: Vec::new(),
        bar: Bar { floors, peer: None },
    }
}

fn burst() -> Figure {
    let place = Place::Free;
    let job = |work| Probe::Program(Job::Measure { work, place, samples: 0 });
    Figure {
        name: "burst-exec".to_owned(),
        place,
        ours: side(
            format!(
                "a program whose nursery has {BURST} one-shots on `exec` that fail at once, \
                 start to exit"
            ),
            job(Work::Burst(Backend::Exec)),
        ),
        floor: Some(side(
            format!("a program that starts {BURST} with a scheduler, hears of all, and reaps them"),
            job(Work::FloorBurst),
        )),
        peers: Vec::new(),
        bar: Bar { floors: at_most(3.0, Some(1.8)), peer: None },
    }
}

const CALLS: usize = 5000;

fn call(backend: Backend, place: Place) -> Figure {
    let (work, floor, floors) = match backend {
        Backend::Thread => (
            Work::FloorCallThreads,
            "round trip between two schedulers on threads",
            at_most(2.0, None),
        ),
        Backend::Exec | Backend::Forkserver | Backend::Fork | Backend::ThreadForkserver => (
            Work::FloorCallSocket,
            "tokio ping-pong of 64 bytes over uds",
            at_most(1.8, Some(1.35)),
        ),
    };
    let job = |work| Probe::Job(Job::Measure { work, place, samples: CALLS });
    Figure {
        name: format!("call-{}", backend.name()),
        place,
        ours: side(
            format!("call of an actor on `{}` with 64 bytes, and back", backend.name()),
            job(Work::Call(backend)),
        ),
        floor: Some(side(floor, job(work))),
        peers: Vec::new(),
        bar: Bar { floors, peer: None },
    }
}

/// The sizes of a stream's items that the specification names, how many of them are a sample, and how many floors ours may be.
/// For the small ones it names a floor of up to 40 million a second, and bars of 1 and 5 million.
const STREAMS: [(&str, usize, usize, Limit); 2] = [
    ("64b", 64, 500_000, Limit { bar: 40.0, stretch: Some(8.0) }),
    ("1mib", 1 << 20, 1000, Limit { bar: 1.0 / 0.7, stretch: None }),
];

fn stream((size, bytes, count, limit): (&str, usize, usize, Limit)) -> Figure {
    let place = Place::Free;
    let job = |work| Probe::Job(Job::Measure { work, place, samples: count });
    Figure {
        name: format!("stream-{size}"),
        place,
        ours: side(
            format!("an item of {bytes} bytes from an actor on `exec`, with credits, of {count}"),
            job(Work::Stream { backend: Backend::Exec, bytes }),
        ),
        floor: Some(side(
            format!("{bytes} bytes over uds, in writes of 64 KiB or one item, of {count}"),
            job(Work::FloorStream { bytes }),
        )),
        peers: Vec::new(),
        bar: Bar { floors: Some(limit), peer: None },
    }
}

const TREES: usize = 5;

fn tree(backend: Backend) -> Figure {
    let place = Place::Free;
    let birth = if backend == Backend::Fork { Birth::Fork } else { Birth::Exec };
    let job = |work| Probe::Job(Job::Measure { work, place, samples: TREES });
    Figure {
        name: format!("cancel-tree-{}", backend.name()),
        place,
        ours: side(
            format!(
                "cancel of 39 actors on `{}`, 3 levels of 3, until all are reaped",
                backend.name()
            ),
            job(Work::Tree(backend)),
        ),
        floor: Some(side(
            "end of file from level to level in such a tree of processes",
            job(Work::FloorTree(birth)),
        )),
        peers: Vec::new(),
        bar: Bar { floors: at_most(3.5, Some(2.0)), peer: None },
    }
}

fn side(what: impl Into<String>, probe: Probe) -> Side {
    Side { what: what.into(), probe }
}

fn run(run: Run) -> Probe {
    Probe::Suite(run)
}

/// So many floors.
fn at_most(bar: f64, stretch: Option<f64>) -> Option<Limit> {
    Some(Limit { bar, stretch })
}

/// A peer takes so many times ours.
fn at_least(bar: f64, stretch: Option<f64>) -> Option<Limit> {
    Some(Limit { bar, stretch })
}
