//! Panics: where the body's was, and which threads died of one without anybody being told.
//!
//! A thread that dies of its panic is noted in the attempt's memory by itself. Whoever joins it
//! claims the panic: what he does with the result is his. So does a `thread::scope` that passes it
//! on. What nobody claimed until the attempt is over fails it, in whichever process it was.
//!
//! Joining and detaching are seen at `pthread_join` and `pthread_detach`, which this file defines
//! for the whole binary: std calls libc through these symbols. Not seen: a panic that was raised
//! without the hook (`resume_unwind`), and threads of std-less languages.
#![expect(unsafe_code, reason = "defines libc's symbols for the end of threads")]

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, c_int, c_void};
use std::mem::{MaybeUninit, transmute};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread;

use runner_core::memory::{Joinable, ThreadKey};
use runner_core::protocol::DetachedPanic;

use crate::capture;
use crate::landing::{self, Landing};

thread_local! {
    /// Where this thread last panicked.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What std says where a scope ends in which a thread panicked that was not joined.
const SCOPE_PANIC: &str = "a scoped thread panicked";

/// Remembers panics from now on, then does what was done before. Called while there is one thread.
pub(crate) fn note() {
    // A child that another thread forks must not be the first to look: the loader has a lock.
    next(&JOIN, c"pthread_join");
    next(&DETACH, c"pthread_detach");
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        note_place(info);
        note_death(info);
        before(info);
    }));
}

/// Where this thread last panicked, `file:line:column`.
pub(crate) fn last_place() -> Option<String> {
    LAST.take()
}

/// What a panic said, as text.
pub(crate) fn text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic with a value that is no text".into())
}

fn note_place(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    // A panic while the thread's locals are being destroyed has no place to remember it.
    let _ = LAST.try_with(|last| *last.borrow_mut() = place);
}

fn note_death(info: &PanicHookInfo<'_>) {
    let Some(memory) = capture::memory() else {
        return;
    };
    if info.payload_as_str() == Some(SCOPE_PANIC) {
        memory.claim_panics(std::process::id().cast_signed());
    }
    if landing::find() == Landing::Caught {
        return;
    }
    let words = DetachedPanic {
        pid: std::process::id().cast_signed(),
        thread: thread::current().name().unwrap_or("without a name").to_owned(),
        message: info.payload_as_str().unwrap_or("a value that is no text").to_owned(),
        location: info.location().map(ToString::to_string).unwrap_or_default(),
    };
    // SAFETY: takes nothing.
    let own = unsafe { libc::pthread_self() };
    memory.note_panic(key(own), joinable(own), &words);
}

fn key(thread: libc::pthread_t) -> ThreadKey {
    ThreadKey { pid: std::process::id().cast_signed(), thread }
}

fn joinable(thread: libc::pthread_t) -> Joinable {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut state = libc::PTHREAD_CREATE_JOINABLE;
    // SAFETY: the thread is the calling one; the attributes are read and destroyed only if they
    // were made.
    unsafe {
        if libc::pthread_getattr_np(thread, attributes.as_mut_ptr()) == 0 {
            pthread_attr_getdetachstate(attributes.as_ptr(), &raw mut state);
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
    }
    if state == libc::PTHREAD_CREATE_DETACHED { Joinable::No } else { Joinable::Yes }
}

/// libc's own functions, looked up once.
static JOIN: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
static DETACH: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// A cancelled thread leaves `pthread_join` by unwinding.
type Join = unsafe extern "C-unwind" fn(libc::pthread_t, *mut *mut c_void) -> c_int;
type Detach = unsafe extern "C" fn(libc::pthread_t) -> c_int;

/// libc's `pthread_join`.
///
/// # Safety
/// As pthread_join(3).
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C-unwind" fn pthread_join(
    thread: libc::pthread_t,
    value: *mut *mut c_void,
) -> c_int {
    let own = next(&JOIN, c"pthread_join");
    if own.is_null() {
        return libc::ENOSYS;
    }
    // SAFETY: libc's function of that name has that type, and gets the caller's arguments.
    let result = unsafe { transmute::<*mut c_void, Join>(own)(thread, value) };
    if let Some(memory) = capture::memory().filter(|_| result == 0) {
        // The name may be another thread's by now. If that has died of a panic already, its panic
        // counts as heard, which is the better one of the two mistakes.
        memory.panic_joined(key(thread));
    }
    result
}

/// libc's `pthread_detach`.
///
/// # Safety
/// As pthread_detach(3).
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_detach(thread: libc::pthread_t) -> c_int {
    // Before: afterwards the name may be another thread's, which somebody is still going to join.
    if let Some(memory) = capture::memory() {
        memory.panic_detached(key(thread));
    }
    let own = next(&DETACH, c"pthread_detach");
    if own.is_null() {
        return libc::ENOSYS;
    }
    // SAFETY: as above.
    unsafe { transmute::<*mut c_void, Detach>(own)(thread) }
}

/// libc's function behind the one of that name here.
fn next(known: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let function = known.load(Ordering::Relaxed);
    if !function.is_null() {
        return function;
    }
    // SAFETY: the name is terminated.
    let function = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    known.store(function, Ordering::Relaxed);
    function
}

unsafe extern "C" {
    fn pthread_attr_getdetachstate(
        attributes: *const libc::pthread_attr_t,
        state: *mut c_int,
    ) -> c_int;
}
