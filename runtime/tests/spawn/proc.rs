//! What `/proc` says of processes and threads.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::kill;
use runtime::spawn::Pid;

use crate::driver::eventually;

pub(crate) fn is_gone(pid: Pid) -> bool {
    kill(pid, None) == Err(Errno::ESRCH)
}

/// Children of this process, the side-car excepted.
pub(crate) fn children() -> Vec<Pid> {
    all_children().into_iter().filter(|child| name_of(*child) != "forkserver").collect()
}

/// Children of this process, dead ones included.
pub(crate) fn all_children() -> Vec<Pid> {
    threads_of(Pid::this()).into_iter().flat_map(children_of_thread).collect()
}

/// The side-car, once it has a name.
pub(crate) fn side_car() -> Pid {
    let find = || all_children().into_iter().find(|child| name_of(*child) == "forkserver");
    eventually("there is a side-car", || find().is_some());
    find().expect("a side-car")
}

/// The name of the thread of this process that `child` is listed under; "main" for the main thread.
pub(crate) fn forked_by(child: Pid) -> String {
    let thread = threads_of(Pid::this())
        .into_iter()
        .find(|thread| children_of_thread(*thread).contains(&child));
    match thread.expect("a child of one of the threads") {
        main if main == Pid::this() => "main".into(),
        thread => name_of(thread),
    }
}

pub(crate) fn threads_of(process: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("/proc").flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok().map(Pid::from_raw)).collect()
}

pub(crate) fn children_of_thread(thread: Pid) -> Vec<Pid> {
    let list =
        fs::read_to_string(format!("/proc/{thread}/task/{thread}/children")).unwrap_or_default();
    list.split_whitespace().map(pid).collect()
}

pub(crate) fn names_of_threads(process: Pid) -> Vec<String> {
    threads_of(process).into_iter().map(name_of).collect()
}

pub(crate) fn name_of(task: Pid) -> String {
    fs::read_to_string(format!("/proc/{task}/comm")).unwrap_or_default().trim_end().to_owned()
}

pub(crate) fn parent_of(process: Pid) -> Option<Pid> {
    stat(process, 1)?.parse().ok().map(Pid::from_raw)
}

pub(crate) fn state(process: Pid) -> Option<char> {
    stat(process, 0)?.chars().next()
}

/// A field of /proc/PID/stat, counted from the state.
pub(crate) fn stat(process: Pid, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(field).map(ToOwned::to_owned)
}

/// What the descriptors of a process refer to, its standard streams excepted.
pub(crate) fn open_files(process: Pid) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{process}/fd")).expect("/proc").flatten();
    let others =
        entries.filter(|entry| !["0", "1", "2"].iter().any(|number| entry.file_name() == *number));
    others
        .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
        .collect()
}

/// A pid in an answer or a file.
pub(crate) fn pid(answer: &str) -> Pid {
    Pid::from_raw(answer.parse().unwrap_or_else(|_| panic!("not a pid: {answer}")))
}
