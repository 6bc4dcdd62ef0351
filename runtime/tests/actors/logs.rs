//! Log records: whose they are, and what of a teardown is in them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use runtime::{Backend, Error, Nursery, Timings};

use crate::PATIENT;
use crate::gate::{self, Gate};

pub(crate) fn trials() -> Vec<Trial> {
    Backend::ALL
        .into_iter()
        .map(|backend| {
            let name = format!("{backend}::records_carry_actor_and_task_and_every_forced_rung");
            Trial::test(name, move || told(backend))
        })
        .collect()
}

pub(crate) const TIMINGS: Timings = Timings {
    ack: Duration::from_millis(250),
    terminate: Duration::from_secs(5),
    abandon: Duration::from_millis(500),
    ..PATIENT
};

/// For the environment of a program whose actors are to log.
pub(crate) const SWITCH: &str = "PRINT_RECORDS";

pub(crate) fn install() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .init();
}

#[runtime::remote]
async fn work(gate: PathBuf) {
    tracing::info!("at work");
    gate::pass(gate);
    loop {
        std::hint::spin_loop();
    }
}

pub(crate) async fn live() -> runtime::Result<()> {
    let (n, gate) = (Nursery::open()?, Gate::closed());
    n.run_in_actor::<work>("worker", (gate.path(),)).await?;
    gate.open_for(1).await;
    let ended = n.shutdown().await;
    assert!(matches!(ended, Err(Error::Forced { .. })), "{ended:?}");
    Ok(())
}

fn told(backend: Backend) -> Result<(), Failed> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--logged", backend.name()])
        .env(SWITCH, "yes")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(output.status.success(), "{said}");
    let has =
        |parts: &[&str]| said.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    let task = "call{task=\"actors::logs::work\" call=0}";
    assert!(has(&["INFO", "actor{actor=worker@", task, "at work"]), "{said}");
    let rung = if backend.is_process() { "rung: SIGTERM" } else { "rung: abandoned" };
    assert!(has(&["WARN", "actor{actor=root@", rung, "about=worker@"]), "{said}");
    assert!(has(&["DEBUG", "actor{actor=root@", "cancel sent for root@"]), "{said}");
    Ok(())
}
