//! What is particular to one backend, and what tells them apart.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use runtime::spawn::{
    Backend, Exit, InitError, InitOptions, Pid, Signalled, Step, Unavailable, abandoned,
};

use crate::actor::{Actor, STOP_SPINNING, refusal, replace_side_car};
use crate::driver::{self, eventually};
use crate::proc::{forked_by, names_of_threads, parent_of};

pub(crate) async fn a_thread_that_spins_is_abandoned_and_listed() {
    let mut actor = Actor::start(Backend::Thread).await;
    assert_eq!(actor.ask("spin"), "spinning");
    assert_eq!(actor.child.terminate(), Signalled::Unsupported);
    actor.child.abandon();
    assert_eq!(actor.child.wait().await, Exit::Abandoned);
    let listed = abandoned();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].uuid), ("pupil", actor.child.uuid()));
    STOP_SPINNING.store(true, Ordering::Relaxed);
    eventually("it is taken off the list", || abandoned().is_empty());
    assert_eq!(actor.child.wait().await, Exit::Abandoned);
}

pub(crate) async fn a_thread_cannot_have_an_environment() {
    let refused =
        Actor::start_with(Backend::Thread, |request| request.env = vec![("A".into(), None)]).await;
    assert_eq!(refusal(refused.map(drop)), Unavailable::SharedEnvironment);
}

pub(crate) async fn only_exec_starts_another_program() {
    for backend in Backend::ALL.into_iter().filter(|backend| *backend != Backend::Exec) {
        let refused =
            Actor::start_with(backend, |request| request.program = Some("/bin/true".into())).await;
        assert_eq!(refusal(refused.map(drop)), Unavailable::OtherProgram, "{backend}");
    }
}

pub(crate) async fn a_program_that_does_not_exist_is_named() {
    let gone = Path::new("/nowhere/worker");
    let refused =
        Actor::start_with(Backend::Exec, |request| request.program = Some(gone.into())).await;
    let error = refused.map(drop).expect_err("no such program");
    assert_eq!(error.step, Step::Exec);
    assert_eq!(
        error.to_string(),
        "cannot spawn actor `pupil` on exec, failed to execute the program"
    );
    assert_eq!(error.source.to_string(), "/nowhere/worker: No such file or directory (os error 2)");
}

pub(crate) async fn a_program_that_ends_at_once_is_seen_to() {
    let actor =
        Actor::start_with(Backend::Exec, |request| request.program = Some("/bin/false".into()))
            .await;
    let mut actor = actor.expect("it starts");
    assert_eq!(actor.child.wait().await, Exit::Code(1));
    assert_eq!(actor.hear(), None);
}

pub(crate) async fn init_is_refused_twice() {
    let again = runtime::spawn::init(InitOptions::default());
    assert!(matches!(again, Err(InitError::Twice)), "{again:?}");
}

pub(crate) async fn thread_forkserver_is_refused_after_the_loop_has_stopped() {
    driver::stop_main_loop();
    let refused = Actor::start_with(Backend::ThreadForkserver, |_| ()).await;
    assert_eq!(refusal(refused.map(drop)), Unavailable::NoMainLoop);
    assert_eq!(Backend::ThreadForkserver.check(), Err(Unavailable::NoMainLoop));
}

pub(crate) async fn a_killed_side_car_is_replaced() {
    let before = Actor::start(Backend::Forkserver).await;
    replace_side_car().await;
    let after = Actor::start(Backend::Forkserver).await;
    assert_eq!(
        before.hang_up().wait().await,
        Exit::Code(0),
        "it outlives the side-car that made it"
    );
    assert_eq!(after.hang_up().wait().await, Exit::Code(0));
}

/// Read from /proc alone: who made the child, on which thread, of which image, with whose heap.
pub(crate) async fn the_five_mechanisms_are_five() {
    static MARK: AtomicU64 = AtomicU64::new(0);
    MARK.store(u64::from(std::process::id()), Ordering::Relaxed);
    for backend in Backend::ALL {
        let actor = Actor::start(backend).await;
        match actor.child.pid() {
            None => assert!(names_of_threads(Pid::this()).contains(&"pupil".into())),
            Some(child) => {
                assert_eq!(parent_of(child), Some(Pid::this()), "{backend}");
                let fresh_image = fs::read(format!("/proc/{child}/environ"))
                    .expect("/proc")
                    .windows(14)
                    .any(|variable| variable == b"RUNTIME_CHILD=");
                let mut mark = [0; 8];
                let at = std::ptr::from_ref(&MARK).addr() as u64;
                let memory = fs::File::open(format!("/proc/{child}/mem")).expect("/proc");
                // Another image has something else there, or nothing.
                let inherits_heap = memory.read_exact_at(&mut mark, at).is_ok()
                    && u64::from_ne_bytes(mark) == u64::from(std::process::id());
                let expected = match backend {
                    Backend::Exec => ("spawner", true, false),
                    Backend::Fork => ("spawner", false, true),
                    Backend::ThreadForkserver => ("main", false, true),
                    Backend::Forkserver => ("main", false, false),
                    Backend::Thread => unreachable!("a thread has no process"),
                };
                assert_eq!(
                    (forked_by(child).as_str(), fresh_image, inherits_heap),
                    expected,
                    "{backend}"
                );
            }
        }
        actor.hang_up().wait().await;
    }
}
