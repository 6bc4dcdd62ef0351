//! Environment variables of a new process, and std's lock on them.
//!
//! std guards the environment with a lock nobody outside can take; a child forked while another thread holds it
//! hangs at its first `set_var`, and at its first `Command`. But std calls `setenv` with the lock held, so this
//! crate defines `setenv`: it passes on to libc's, unless the calling thread has asked for something to be run there.
#![expect(unsafe_code, reason = "setenv, and std's functions that are sound with one thread only")]

use std::cell::Cell;
use std::ffi::{OsStr, OsString};

use super::Unavailable;

/// Never set: the name `setenv` is called with when it is not to set anything.
const NOTHING: &str = "RUNTIME_FORKING";

thread_local! {
    static INSIDE: Cell<Option<fn() -> i32>> = const { Cell::new(None) };
    static RESULT: Cell<i32> = const { Cell::new(0) };
}

/// Runs `f` on this thread while it holds std's environment lock for writing.
///
/// `f` must neither use the environment nor panic.
///
/// # Errors
/// Where `setenv` cannot be intercepted (a libc without `dlsym`, a program that defines its own).
pub(super) fn while_locked(f: fn() -> i32) -> Result<i32, Unavailable> {
    if cfg!(not(all(target_env = "gnu", not(target_feature = "crt-static")))) {
        return Err(Unavailable::EnvironmentLock);
    }
    INSIDE.set(Some(f));
    // SAFETY: `setenv` below returns before it touches the environment.
    unsafe { std::env::set_var(NOTHING, "") };
    match INSIDE.take() {
        None => Ok(RESULT.get()),
        Some(_still_there) => {
            // SAFETY: undoes the above, and is as sound as any `set_var` of a program that has its own `setenv`.
            unsafe { std::env::remove_var(NOTHING) };
            Err(Unavailable::EnvironmentLock)
        }
    }
}

/// Removes a variable. To be called while this is the only thread.
pub(crate) fn remove_alone(name: &str) {
    // SAFETY: with one thread nobody can be reading the environment.
    unsafe { std::env::remove_var(name) };
}

/// Sets (or, for `None`, removes) variables. To be called while this is the only thread.
pub(super) fn apply_alone(changes: &[(OsString, Option<OsString>)]) {
    for (name, value) in changes {
        // SAFETY: with one thread nobody can be reading the environment.
        unsafe {
            match value {
                Some(value) => std::env::set_var(name, value),
                None => std::env::remove_var(name),
            }
        }
    }
}

/// Whether `set_var` would take the name and the value.
pub(super) fn is_settable(name: &OsStr, value: Option<&OsStr>) -> bool {
    let name = name.as_encoded_bytes();
    let without_nul = |bytes: &[u8]| !bytes.contains(&0);
    !name.is_empty()
        && !name.contains(&b'=')
        && without_nul(name)
        && value.is_none_or(|value| without_nul(value.as_encoded_bytes()))
}

#[cfg(all(target_env = "gnu", not(target_feature = "crt-static")))]
mod interception {
    use std::ffi::{c_char, c_int, c_void};
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use nix::errno::Errno;

    use super::{INSIDE, RESULT};

    type Setenv = unsafe extern "C" fn(*const c_char, *const c_char, c_int) -> c_int;

    /// In place of libc's, for every caller in this program.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn setenv(
        name: *const c_char,
        value: *const c_char,
        overwrite: c_int,
    ) -> c_int {
        // Before what is run inside, which may fork: dlsym takes the loader's lock, and another thread may have it then.
        let next = next();
        if let Some(inside) = INSIDE.take() {
            RESULT.set(inside());
            return 0;
        }
        if next.is_null() {
            Errno::ENOSYS.set();
            return -1;
        }
        // SAFETY: the symbol is libc's function of this signature; the arguments are the caller's.
        unsafe { std::mem::transmute::<*mut c_void, Setenv>(next)(name, value, overwrite) }
    }

    /// libc's `setenv`, looked up once.
    fn next() -> *mut c_void {
        static NEXT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
        let known = NEXT.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: a NUL-terminated name.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"setenv".as_ptr()) };
        NEXT.store(found, Ordering::Relaxed);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_inside_the_lock_and_sets_nothing() {
        assert_eq!(while_locked(|| 42), Ok(42));
        assert_eq!(std::env::var_os(NOTHING), None);
    }

    #[test]
    fn setting_and_reading_still_work() {
        // SAFETY: no other test of this binary reads the environment without std's lock.
        unsafe { std::env::set_var("SPAWN_TEST_PASSES_ON", "as ever") };
        assert_eq!(std::env::var("SPAWN_TEST_PASSES_ON").as_deref(), Ok("as ever"));
    }
}
