//! Cases that write, in every way in which programs do.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;

/// Makes an image of this binary one that writes, and says what.
const WRITES: &str = "WRITES";

/// Whether this is such an image.
pub(crate) fn is_one() -> bool {
    std::env::var_os(WRITES).is_some()
}

/// What such an image does instead of anything else.
pub(crate) fn write_as_an_image() {
    println!("{}", std::env::var(WRITES).expect("it is one"));
    std::process::exit(0);
}

fn image(text: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env(WRITES, text);
    command
}

#[runner::test]
fn writes_parts_of_lines() {
    print!("one ");
    eprint!("other ");
    io::stdout().write_all(b"line \xff\xfe\n").expect("written");
    eprintln!("stream");
    print!("no newline");
    io::stdout().flush().expect("written");
}

#[runner::test]
fn writes_from_threads_in_turn() {
    for number in 1..=100 {
        std::thread::scope(|scope| {
            scope.spawn(|| println!("{number}"));
        });
    }
}

/// As a program does that wants to read what its child writes.
#[runner::test]
fn reads_what_a_child_wrote_through_a_pipe() {
    let piped = image("through a pipe").output().expect("this binary");
    assert_eq!(piped.stdout, b"through a pipe\n");
    println!("read {:?}", String::from_utf8_lossy(&piped.stdout));
    let mut command = image("inherited");
    command.stderr(Stdio::null());
    assert!(command.status().expect("this binary").success());
}

/// The same without exec: the fd is switched in a forked child, and back.
#[runner::test]
fn switches_its_own_stdout_and_back() {
    println!("before");
    let (mut ours, theirs) = io::pipe().expect("a pipe");
    let real = io::stdout().as_fd().try_clone_to_owned().expect("a copy");
    nix::unistd::dup2_stdout(&theirs).expect("switched");
    drop(theirs);
    println!("into the pipe");
    nix::unistd::dup2_stdout(&real).expect("switched back");
    println!("after");
    let mut text = String::new();
    ours.read_to_string(&mut text).expect("text");
    assert_eq!(text, "into the pipe\n");
}

/// The functions of libc that the capture stands in for answer as libc's do.
#[runner::test]
#[expect(unsafe_code, reason = "libc's own functions are what is asked")]
fn finds_errno_as_libc_leaves_it() {
    let answer = |result: i64| (result, Errno::last());
    let piece = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let (few, many) = ([piece; 1024], [piece; 1025]);
    let fail = |errno| (-1, errno);
    // SAFETY: fds by number, of which this process has nobody who uses them meanwhile; the pieces
    // are as many as is said, and empty.
    unsafe {
        Errno::clear();
        assert_eq!(answer(libc::close(1).into()), (0, Errno::from_raw(0)));
        assert_eq!(answer(libc::dup3(2, 1, !0).into()), fail(Errno::EINVAL));
        assert_eq!(answer(libc::close(1).into()), fail(Errno::EBADF));
        Errno::clear();
        assert_eq!(answer(libc::dup2(2, 1).into()), (1, Errno::from_raw(0)));
        assert_eq!(answer(libc::dup2(1, 1).into()), (1, Errno::from_raw(0)));
        assert_eq!(answer(libc::dup2(-1, 1).into()), fail(Errno::EBADF));
        assert_eq!(libc::writev(2, few.as_ptr(), 1024), 0);
        assert_eq!(answer(libc::writev(2, many.as_ptr(), 1025) as i64), fail(Errno::EINVAL));
        assert_eq!(answer(libc::writev(2, many.as_ptr(), -1) as i64), fail(Errno::EINVAL));
    }
}

/// It may not open the fds of its supervisor, which is root, by `/proc`.
#[runner::test]
fn writes_from_an_image_without_rights() {
    if !is_root() {
        runner::skip!("needs rights to give up");
    }
    let status = image("without rights").uid(NOBODY).status().expect("this binary");
    assert!(status.success());
}

/// Whether there are rights that could be given up.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

const NOBODY: u32 = 65534;

#[runner::test]
fn tells_the_fd_that_is_kept() {
    let kept = std::env::var("SPAWN_KEEP_FDS").expect("named");
    let number: i32 = kept.rsplit(',').next().and_then(|n| n.parse().ok()).expect("a number");
    let target = std::fs::read_link(format!("/proc/self/fd/{number}")).expect("open");
    println!("{kept} {}", target.display());
}

#[runner::test]
fn writes_to_its_real_stdout() {
    println!("taken");
    let text = b"not taken\n";
    // SAFETY: a system call with a buffer of ours.
    #[expect(unsafe_code, reason = "a raw system call is what passes the capture by")]
    unsafe {
        let stdout = io::stdout().as_raw_fd();
        libc::syscall(libc::SYS_write, stdout, text.as_ptr(), text.len())
    };
}
