//! A tree whose leaves all print a lot and fail: nothing waits for nobody's reading.

use std::io::{self, Write};
use std::path::PathBuf;

use runner::{Case, TestResult};
use runtime::Error;

use crate::actors::Refused;
use crate::gate::{self, Gate};
use crate::process;
use crate::shape;

runner::marks! { timeout = "30s" }

const LINE_BYTES: usize = 128;
const PRINTED_BYTES: usize = 1 << 20;

/// Prints, and fails when the gate opens: a leaf that still printed when its sibling failed might
/// be ended by force on a machine that is slow enough, and that would be right.
#[runtime::remote]
async fn flood_and_fail(gate: PathBuf, number: u32) -> Result<(), Refused> {
    let line = format!("{:.<width$}\n", format!("leaf {number} "), width = LINE_BYTES - 1);
    let mut out = io::stdout().lock();
    for _ in 0..PRINTED_BYTES / LINE_BYTES {
        out.write_all(line.as_bytes()).map_err(|_| Refused(u32::MAX))?;
    }
    drop(out);
    gate::pass(&gate).await.map_err(|_| Refused(u32::MAX))?;
    Err(Refused(number))
}

/// Two below, two below each of these, and again; the lowest are leaves `first` and following.
#[runtime::remote]
async fn grow(levels: u32, first: u32, gate: PathBuf) -> runtime::Result<()> {
    runtime::nursery(async |n| {
        let half = 1 << (levels - 1);
        for first in [first, first + half] {
            if levels == 1 {
                let name = format!("leaf-{first}");
                n.run_in_actor::<flood_and_fail>(name, (gate.clone(), first)).await?;
            } else {
                let name = format!("branch-{levels}-{first}");
                n.run_in_actor::<grow>(name, (levels - 1, first, gate.clone())).await?;
            }
        }
        Ok(())
    })
    .await
}

#[runner::test]
async fn leaves_three_levels_down_print_a_megabyte_each_and_fail(case: Case) -> TestResult {
    let mut gate = Gate::closed(&case, "gate")?;
    let before = process::descendants(process::own_pid());
    let path = gate.path();
    let (outcome, opened) = tokio::join!(grow(3, 0, path), async {
        gate.arrived(8).await?;
        gate.open();
        io::Result::Ok(())
    });
    opened?;
    let expected: Vec<_> = (0..8).map(|leaf| format!("leaf-{leaf}:refused-{leaf}")).collect();
    assert_eq!(shape::leaves(outcome.expect_err("all leaves fail")), expected);
    assert_eq!(process::descendants(process::own_pid()), before);
    Ok(())
}

/// The same from plain daemons, so that no cancel is in the way of any output.
#[runner::test]
async fn a_daemon_prints_megabytes_while_it_is_asked_for_more() -> TestResult {
    runtime::nursery(async |n| {
        let daemon = n.actor("daemon").expose::<print_a_megabyte>().await?;
        for _ in 0..4 {
            daemon.call::<print_a_megabyte>(()).await?;
        }
        daemon.cancel().await
    })
    .await?;
    Ok(())
}

#[runtime::remote]
async fn print_a_megabyte() -> runtime::Result<()> {
    let line = [b'.'; LINE_BYTES];
    let mut out = io::stdout().lock();
    for _ in 0..PRINTED_BYTES / LINE_BYTES {
        out.write_all(&line).map_err(Error::user)?;
    }
    writeln!(out).map_err(Error::user)
}
