//! The name of an actor's process, for `ps`, `top` and `/proc`: `actor[name@uuid]` as its command line (the first
//! eight digits of the uuid, cut off where the space the kernel gave is too short), the name as its command name.
#![expect(unsafe_code, reason = "the command line is memory the kernel set up")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use uuid::Uuid;

/// `actor[name@uuid]`.
pub(super) fn of(name: &str, uuid: Uuid) -> String {
    let digits = uuid.simple().to_string();
    format!("actor[{name}@{}]", &digits[..8])
}

/// The bytes a fresh image of this program gets for its command line: enough for its forked descendants' titles.
const ROOM_BYTES: usize = 80;

/// `title` for a fresh image that will call [`set`] or [`set_line`].
pub(super) fn room_for(title: &str) -> String {
    format!("{title:<ROOM_BYTES$}")
}

/// Names the process of an actor. To be called while this is the only thread.
pub(super) fn set(title: &str, name: &str) {
    command_line(title);
    command_name(name);
}

/// Makes room for other command lines, so that forked children need not. To be called while this is the only thread.
pub(super) fn prepare() {
    static SAVED: Once = Once::new();
    if LENGTH_BYTES.load(Ordering::Relaxed) > 0 {
        SAVED.call_once(save_arguments);
    }
}

/// Names a process that is no actor. To be called while this is the only thread.
pub(super) fn set_line(line: &str) {
    command_line(line);
    command_name(line);
}

/// What the kernel shows of a command's name, with a NUL behind it.
const COMMAND_BYTES: usize = 16;

fn command_name(name: &str) {
    let mut bytes = [0; COMMAND_BYTES];
    let shown = name.len().min(COMMAND_BYTES - 1);
    bytes[..shown].copy_from_slice(&name.as_bytes()[..shown]);
    if let Ok(name) = CStr::from_bytes_until_nul(&bytes) {
        // It fails for a pointer it cannot read.
        let _ = nix::sys::prctl::set_name(name);
    }
}

/// Where the kernel put the arguments: the array, its length, and the bytes the first of them begin.
static ARGV: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());
static ARGC: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());
static LENGTH_BYTES: AtomicUsize = AtomicUsize::new(0);

/// glibc passes the arguments to initialisers; other libcs don't, and there the command line stays as it is.
#[cfg(target_env = "gnu")]
#[used]
// Before those without a number: one of them may become an actor, and want its title.
#[unsafe(link_section = ".init_array.00100")]
static REMEMBER: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = remember;

#[cfg(target_env = "gnu")]
extern "C" fn remember(argc: c_int, argv: *mut *mut c_char, _envp: *mut *mut c_char) {
    let Ok(argc) = usize::try_from(argc) else { return };
    if argc == 0 || argv.is_null() {
        return;
    }
    // SAFETY: the kernel laid out `argc` pointers to NUL-terminated strings, one after the other.
    let (first, end) = unsafe {
        let last = *argv.add(argc - 1);
        (*argv, last.add(CStr::from_ptr(last).to_bytes_with_nul().len()))
    };
    ARGV.store(argv, Ordering::Relaxed);
    ARGC.store(argc, Ordering::Relaxed);
    BYTES.store(first, Ordering::Relaxed);
    LENGTH_BYTES.store(end.addr().saturating_sub(first.addr()), Ordering::Relaxed);
}

fn command_line(title: &str) {
    prepare();
    let length = LENGTH_BYTES.load(Ordering::Relaxed);
    if length == 0 {
        return;
    }
    let bytes = BYTES.load(Ordering::Relaxed).cast::<u8>();
    let shown = title.len().min(length - 1);
    // SAFETY: `length` writable bytes are there, nobody else refers to them since the arguments were saved, and
    // this is the only thread.
    unsafe {
        ptr::write_bytes(bytes, 0, length);
        ptr::copy_nonoverlapping(title.as_ptr(), bytes, shown);
    }
}

/// Points the argument array at copies, so that `std::env::args` goes on to say what the program was given, less the
/// padding of [`room_for`].
fn save_arguments() {
    let argv = ARGV.load(Ordering::Relaxed);
    for index in 0..ARGC.load(Ordering::Relaxed) {
        // SAFETY: as in `remember`; the copy is leaked, as the original lived as long as the process.
        unsafe {
            let argument = argv.add(index);
            let text = CStr::from_ptr(*argument).to_bytes();
            let shown = if index == 0 { text.trim_ascii_end() } else { text };
            if let Ok(copy) = CString::new(shown) {
                *argument = copy.into_raw();
            }
        }
    }
}
