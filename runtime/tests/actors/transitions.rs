//! What a listener at the trace point is told, by every actor of a tree.

use std::io::Write;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use runtime::trace::Transition;
use runtime::{Backend, nursery};

use crate::actor_uuid_free;

pub(crate) fn trials() -> Vec<Trial> {
    Backend::ALL
        .into_iter()
        .map(|backend| {
            Trial::test(format!("{backend}::a_listener_is_told_of_a_whole_life"), move || {
                told(backend)
            })
        })
        .collect()
}

/// For the environment of a program that is to print every transition.
pub(crate) const SWITCH: &str = "PRINT_TRANSITIONS";

pub(crate) fn print(transition: &Transition<'_>) {
    let here = transition.here.map_or("nobody", |here| here.name.as_str());
    // In one piece: several processes write here.
    let line = format!("told by {here}: {transition}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("somebody reads");
}

#[derive(Default)]
struct Echo;

#[runtime::actor]
impl Echo {
    async fn echo(&self, n: u64) -> u64 {
        n
    }
}

/// What the program does: one child, one call, one cancel.
pub(crate) async fn live() -> runtime::Result<()> {
    nursery(async |n| {
        let echo = n.start::<Echo>("echo").await?;
        assert_eq!(echo.echo(3).await?, 3);
        echo.cancel().await
    })
    .await
}

fn told(backend: Backend) -> Result<(), Failed> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--traced", backend.name()])
        .env(SWITCH, "yes")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(output.status.success(), "{said}");
    let by = |who: &str| -> Vec<String> {
        let from = format!("told by {who}: ");
        said.lines().filter_map(|line| line.strip_prefix(&from)).map(actor_uuid_free).collect()
    };
    assert_eq!(
        by("root"),
        [
            "echo: start: being spawned",
            "echo: start: shaking hands",
            "echo: start: constructing its state",
            "echo: ready",
            "echo: waiting for a call of actors::transitions::Echo::echo",
            "echo: waited for a call of actors::transitions::Echo::echo",
            "echo: waiting for its end",
            "echo: cancel sent for root, 20000 ms to end",
            "echo: cancel acknowledged",
            "echo: ended: exit code 0",
            "echo: waited for its end",
            "waiting for its nursery's children",
            "waited for its nursery's children",
        ],
        "{said}"
    );
    assert_eq!(
        by("echo"),
        ["serving", "begins actors::transitions::Echo::echo", "ending, cancelled by root"],
        "{said}"
    );
    Ok(())
}
