//! Whether the two ends of a call mean the same by a function's name.
//!
//! A fingerprint is a hash of the names of a function's types. It goes with every call and context, and a function that has another
//! is not begun: bytes of another type may well decode. It knows names only. A type that keeps its name and changes its fields is
//! noticed where its bytes make no sense, and two compilers may name one type differently: then its functions refuse each other.

use std::any::type_name;
use std::sync::atomic::{AtomicU64, Ordering};

use super::function::{ContextFunction, Remote};

/// The place where a fingerprint is kept once it is made.
///
/// No `OnceLock`: forked while another thread makes it, a child would wait for that for ever. Made twice, it is the same.
#[doc(hidden)]
pub struct Kept(AtomicU64);

impl Kept {
    #[expect(clippy::new_without_default, reason = "it is for statics")]
    pub const fn new() -> Kept {
        Kept(AtomicU64::new(UNMADE))
    }

    pub fn get(&self, make: fn() -> u64) -> u64 {
        match self.0.load(Ordering::Relaxed) {
            UNMADE => {
                let made = make();
                self.0.store(made, Ordering::Relaxed);
                made
            }
            made => made,
        }
    }
}

/// One that hashes to this is made again each time.
const UNMADE: u64 = 0;

/// Of a function or method.
#[doc(hidden)]
pub fn fingerprint_of<R: Remote>() -> u64 {
    hash(&[type_name::<R::Args>(), type_name::<R::Output>(), type_name::<R::Error>()])
}

/// Of one that runs in a context.
#[doc(hidden)]
pub fn context_fingerprint_of<C: ContextFunction>() -> u64 {
    hash(&[
        type_name::<C::Args>(),
        type_name::<C::Output>(),
        type_name::<C::Error>(),
        type_name::<C::Started>(),
        type_name::<C::Receives>(),
        type_name::<C::Sends>(),
    ])
}

/// FNV-1a, 64 bits, with a byte between the names that is in none.
fn hash(names: &[&str]) -> u64 {
    let bytes = names.iter().flat_map(|name| name.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_their_order_and_borders_too() {
        assert_eq!(hash(&[]), 0xcbf2_9ce4_8422_2325);
        let all = [
            hash(&["a", "b"]),
            hash(&["b", "a"]),
            hash(&["ab", ""]),
            hash(&["", "ab"]),
            hash(&["ab"]),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|other| one != other), "{i}");
        }
    }

    #[test]
    fn what_is_kept_is_made_once() {
        let kept = Kept::new();
        assert_eq!(kept.get(|| 7), 7);
        assert_eq!(kept.get(|| panic!("again")), 7);
    }
}
