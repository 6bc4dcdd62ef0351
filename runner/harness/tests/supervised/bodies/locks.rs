//! Cases that hang while they hold a lock which a careless reporter would need.
#![expect(unsafe_code, reason = "only libc's own functions hold libc's own locks")]

use std::ffi::{c_int, c_void};
use std::io::Write;
use std::os::fd::AsFd;

unsafe extern "C" {
    fn malloc_stats();
}

#[runner::test]
fn holds_the_allocators_lock() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    fill(&mut writer);
    nix::unistd::dup2_stderr(writer.as_fd()).expect("two open fds");
    let waiter = std::thread::Builder::new().name("waiter".into());
    waiter.spawn(wait_for_memory).expect("a thread");
    println!("ready");
    hold_the_allocators();
    drop(reader);
}

/// `malloc_stats` writes to stderr while it holds an arena, and nobody reads there.
#[inline(never)]
fn hold_the_allocators() {
    // SAFETY: takes nothing.
    unsafe { malloc_stats() };
}

/// In any arena, the held one among them sooner or later: `malloc_trim` wants all.
#[inline(never)]
fn wait_for_memory() {
    loop {
        // SAFETY: takes a number.
        unsafe { libc::malloc_trim(0) };
    }
}

fn fill(writer: &mut std::io::PipeWriter) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(writer.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("our own pipe");
    while writer.write(&[0; 4096]).is_ok() {}
    fcntl(writer.as_fd(), FcntlArg::F_SETFL(OFlag::empty())).expect("our own pipe");
}

#[runner::test]
fn holds_the_loaders_lock() {
    println!("ready");
    // SAFETY: the callback matches, and needs no data.
    unsafe { libc::dl_iterate_phdr(Some(spin_in_the_loader), std::ptr::null_mut()) };
}

#[inline(never)]
unsafe extern "C" fn spin_in_the_loader(
    _: *mut libc::dl_phdr_info,
    _: usize,
    _: *mut c_void,
) -> c_int {
    loop {
        std::hint::spin_loop();
    }
}
