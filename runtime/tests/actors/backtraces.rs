//! The way to where an error began, as whoever is told of the error sees it.

use std::process::Command;

use libtest_mimic::{Failed, Trial};
use runtime::{Backend, CallError, Error, RemoteError, nursery};

pub(crate) fn trials() -> Vec<Trial> {
    let named = |backend: Backend, name: &str, asked: Asked| {
        Trial::test(format!("{backend}::{name}"), move || run(backend, asked))
    };
    Backend::ALL
        .into_iter()
        .flat_map(|backend| {
            [
                named(backend, "an_error_brings_the_way_to_where_it_began", Asked::For),
                named(backend, "nobody_asked_for_a_backtrace", Asked::Not),
            ]
        })
        .collect()
}

#[derive(Clone, Copy)]
enum Asked {
    For,
    Not,
}

/// In a process of its own, because of its environment.
fn run(backend: Backend, asked: Asked) -> Result<(), Failed> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--failing", backend.name()])
        .env(
            "RUST_BACKTRACE",
            match asked {
                Asked::For => "1",
                Asked::Not => "0",
            },
        )
        .env_remove("RUST_LIB_BACKTRACE")
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    if output.status.success() { Ok(()) } else { Err(said.into()) }
}

#[runtime::remote]
async fn explode() {
    deep_down();
}

#[inline(never)]
fn deep_down() {
    panic!("it exploded");
}

#[runtime::remote]
async fn complain() -> runtime::Result<()> {
    Err(Error::message("it is not right"))
}

/// What that process does.
pub(crate) async fn fail() -> runtime::Result<()> {
    nursery(async |n| {
        let actor = n.actor("failing").expose::<explode>().expose::<complain>().await?;
        match actor.call::<explode>(()).await {
            Err(CallError::Failed(Error::Remote(remote))) => check(&remote, "deep_down"),
            other => panic!("{other:?}"),
        }
        match actor.call::<complain>(()).await {
            Err(CallError::Returned(_, remote)) => check(&remote, "complain"),
            other => panic!("{other:?}"),
        }
        actor.cancel().await
    })
    .await
}

fn check(remote: &RemoteError, function: &str) {
    let backend = runtime::current().expect("an actor").default_backend();
    let is_asked_for = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    let backtrace = match (remote.backtrace(), is_asked_for) {
        (None, false) => return,
        (Some(backtrace), true) => backtrace,
        (found, _) => panic!("{found:?}"),
    };
    let names = match backend {
        Backend::Exec | Backend::Thread => backtrace.to_owned(),
        Backend::Forkserver | Backend::Fork | Backend::ThreadForkserver => resolved(backtrace),
    };
    assert!(names.contains(function), "{names}\n{backtrace}");
}

/// As a reader of the addresses does it.
fn resolved(backtrace: &str) -> String {
    let own = std::env::current_exe().expect("this program has a path");
    let places = backtrace.lines().filter_map(|line| {
        let (file, place) = line.split_once(": ")?.1.rsplit_once(' ')?;
        (file == own.to_str()?).then(|| place.to_owned())
    });
    let output =
        Command::new("addr2line").args(["-f", "-C", "-i", "-e"]).arg(&own).args(places).output();
    String::from_utf8_lossy(&output.expect("addr2line is installed").stdout).into_owned()
}
