//! Setting variables in a test.
#![expect(unsafe_code, reason = "set_var")]

/// Sets a variable of this process.
pub(crate) fn set_var(name: &str, value: &str) {
    // SAFETY: everything in these binaries reads the environment through std, which locks.
    unsafe { std::env::set_var(name, value) };
}
