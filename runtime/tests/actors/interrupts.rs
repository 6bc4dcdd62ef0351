//! Interrupts: the first cancels the tree, the second kills it; and what a root does about SIGINT, seen from outside.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use nix::sys::signal::Signal;
use runtime::{Backend, Nursery, Timings, current, nursery, shield};

use crate::gate::{self, Gate};
use crate::lifetimes::{note, notes, said};
use crate::{PATIENT, deaths};

pub(crate) fn trials() -> Vec<Trial> {
    Backend::ALL
        .into_iter()
        .flat_map(|backend| {
            [
                Trial::test(format!("{backend}::an_interrupt_cancels_the_tree"), move || {
                    cancels(backend)
                }),
                Trial::test(format!("{backend}::a_second_interrupt_kills_the_tree"), move || {
                    kills(backend)
                }),
                Trial::test(format!("{backend}::a_call_interrupts_like_a_signal"), move || {
                    is_called(backend)
                }),
                Trial::test(format!("{backend}::the_third_interrupt_is_the_signals"), move || {
                    ends_by_the_third(backend)
                }),
                Trial::test(format!("{backend}::an_interrupted_main_says_so"), move || {
                    ends_main(backend)
                }),
            ]
        })
        .collect()
}

/// What nobody in these programs waits for in vain for: the test does not sit through it.
pub(crate) const LONG: Timings = Timings { abandon: Duration::from_secs(60), ..PATIENT };

const SOON: Duration = Duration::from_secs(5);

#[runtime::remote]
async fn hold(notes: PathBuf, gate: PathBuf) -> runtime::Result<()> {
    current()?.on_end(move || note(&notes, "released"));
    gate::pass(gate);
    std::future::pending().await
}

/// Acknowledges its cancel, and does not end.
#[runtime::remote]
async fn resist(gate: PathBuf) -> runtime::Result<()> {
    gate::pass(gate);
    shield(LONG.abandon, std::future::pending()).await
}

/// Says so when the body that holds it is dropped.
struct Cut;

impl Drop for Cut {
    fn drop(&mut self) {
        println!("cut");
    }
}

/// The programs' bodies: `cancel`, `kill`, `call` and `deaf`.
pub(crate) async fn live() -> runtime::Result<()> {
    let (which, notes) = (argument(3), PathBuf::from(argument(4)));
    let kept = Nursery::open()?;
    kept.actor("kept").await?;
    nursery(async |n| {
        let _cut = Cut;
        let gate = Gate::closed();
        if which == "kill" {
            n.run_in_actor::<resist>("resisting", (gate.path(),)).await?;
        } else {
            n.run_in_actor::<hold>("holder", (notes, gate.path())).await?;
        }
        gate.open_for(1).await;
        if which == "call" {
            let ringing = std::thread::Builder::new().spawn(runtime::interrupt);
            ringing.expect("a thread").join().expect("it returns");
        }
        println!("standing");
        if which == "deaf" {
            loop {
                std::thread::park();
            }
        }
        std::future::pending().await
    })
    .await
}

/// A program whose `main` is the attribute's.
pub(crate) mod whole {
    #[runtime::main]
    async fn main() -> runtime::Result<()> {
        runtime::nursery(async |n| {
            n.actor("daemon").await?;
            println!("standing");
            std::future::pending().await
        })
        .await
    }

    pub(crate) fn run() -> std::process::ExitCode {
        main()
    }
}

fn argument(at: usize) -> String {
    std::env::args().nth(at).expect("so many arguments")
}

struct Program {
    root: Child,
    said: BufReader<ChildStdout>,
}

impl Program {
    fn start(backend: Backend, which: &str, notes: &PathBuf) -> Result<Program, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        Program::run(command.args(["--interrupted", backend.name(), which]).arg(notes))
    }

    fn run(command: &mut Command) -> Result<Program, Failed> {
        let mut root = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(root.stdout.take().ok_or("no pipe")?);
        Ok(Program { root, said })
    }

    fn hear(&mut self, word: &str) -> Result<(), Failed> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        assert_eq!(line, word);
        Ok(())
    }

    fn interrupt(&self) {
        deaths::signal(self.root.id(), Signal::SIGINT);
    }

    /// Waits for its end, and for that of all that holds the pipe.
    fn end(self) -> Result<Option<i32>, Failed> {
        Ok(self.status()?.code())
    }

    fn status(mut self) -> Result<ExitStatus, Failed> {
        let status = self.root.wait()?;
        self.said.read_to_string(&mut String::new())?;
        Ok(status)
    }
}

/// What the program makes of the error.
pub(crate) const INTERRUPTED: u8 = 130;

fn cancels(backend: Backend) -> Result<(), Failed> {
    let notes = notes();
    let mut program = Program::start(backend, "cancel", &notes)?;
    program.hear("standing\n")?;
    program.interrupt();
    assert_eq!(program.end()?, Some(i32::from(INTERRUPTED)));
    assert_eq!(said(notes), "released\n");
    Ok(())
}

fn kills(backend: Backend) -> Result<(), Failed> {
    let notes = notes();
    let mut program = Program::start(backend, "kill", &notes)?;
    program.hear("standing\n")?;
    let begun = Instant::now();
    program.interrupt();
    program.hear("cut\n")?;
    program.interrupt();
    assert_eq!(program.end()?, Some(i32::from(INTERRUPTED)));
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    Ok(())
}

fn is_called(backend: Backend) -> Result<(), Failed> {
    let notes = notes();
    let program = Program::start(backend, "call", &notes)?;
    assert_eq!(program.end()?, Some(i32::from(INTERRUPTED)));
    assert_eq!(said(notes), "released\n");
    Ok(())
}

/// One that reads none of them: more than three may be sent before three have come, but fewer are not enough.
fn ends_by_the_third(backend: Backend) -> Result<(), Failed> {
    let mut program = Program::start(backend, "deaf", &notes())?;
    program.hear("standing\n")?;
    let mut sent = 0;
    while program.root.try_wait()?.is_none() {
        program.interrupt();
        sent += 1;
        std::thread::yield_now();
    }
    assert!(sent >= 3, "{sent}");
    assert_eq!(program.status()?.signal(), Some(Signal::SIGINT as i32));
    Ok(())
}

fn ends_main(backend: Backend) -> Result<(), Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut program = Program::run(command.arg("--whole").env("RUNTIME_BACKEND", backend.name()))?;
    program.hear("standing\n")?;
    program.interrupt();
    assert_eq!(program.end()?, Some(i32::from(INTERRUPTED)));
    Ok(())
}
