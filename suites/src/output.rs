//! Actors that print. The tests pass; what a harness shows of the output is checked from outside.

use nix::sys::signal::Signal;
use runner::TestResult;
use runtime::{CallError, Error, Exit};

use crate::process;

runner::marks! { timeout = "20s" }

#[runtime::remote]
async fn print(line: String) {
    println!("{line}");
    eprintln!("{line}, said aloud");
}

#[runner::test]
async fn actors_print_beside_each_other() -> TestResult {
    println!("printed by the root");
    runtime::nursery(async |n| {
        let one = n.actor("first-printer").expose::<print>().await?;
        let other = n.actor("a-printer-with-a-long-name").expose::<print>().await?;
        for number in 0..3 {
            one.call::<print>((format!("line {number} of the first"),)).await?;
            other.call::<print>((format!("line {number} of the other"),)).await?;
        }
        n.cancel().await;
        Ok(())
    })
    .await?;
    Ok(())
}

#[runtime::remote]
async fn print_and_die() -> runtime::Result<()> {
    println!("the last line before the end");
    process::end_by(Signal::SIGKILL).map_err(Error::user)
}

#[runner::test]
#[needs("process")]
async fn an_actor_prints_and_kills_itself() -> TestResult {
    let outcome = runtime::nursery(async |n| {
        let one = n.run_in_actor::<print_and_die>("doomed-printer", ()).await?;
        match one.result().await {
            Err(CallError::Failed(Error::ActorDied { exit, .. })) => {
                assert_eq!(exit, Exit::Signal(libc::SIGKILL));
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await;
    assert!(matches!(outcome, Err(Error::ActorDied { .. })), "{outcome:?}");
    Ok(())
}

#[runtime::remote]
async fn run_a_command() -> runtime::Result<String> {
    let output = std::process::Command::new("/bin/echo").arg("from a pipe").output();
    let output = output.map_err(Error::user)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a program reads from a pipe of its own is its own, whoever captures what it prints.
#[runner::test]
async fn an_actor_reads_what_its_commands_print() -> TestResult {
    runtime::nursery(async |n| {
        let text = n.run_in_actor::<run_a_command>("commander", ()).await?.await?;
        assert_eq!(text, "from a pipe\n");
        Ok(())
    })
    .await?;
    Ok(())
}
