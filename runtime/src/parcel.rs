//! Descriptors that travel with a value: what a portal or the end of a channel in it is made of where it arrives.
//!
//! A value is packed by serde, which carries bytes only. While one is packed for a channel, whatever in it needs a descriptor
//! [`enclose`]s it and writes down its number; while it is unpacked, it [`take_out`]s the descriptor of that number. Outside of both
//! there is nowhere to put one, which is how such a value is refused by any other serialisation.
//!
//! `msg` packs and unpacks, `rpc` and `channel` enclose and take out.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

/// As many as go with one message: the kernel's limit on the descriptors of one `sendmsg` is 253.
pub(crate) const MOST_ENDS: usize = 250;

thread_local! {
    /// Of the value that is being packed or unpacked on this thread.
    static OPEN: RefCell<Option<Vec<Option<OwnedFd>>>> = const { RefCell::new(None) };
}

/// There is nothing here to put a descriptor into, or to take one from.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it can only be sent to another actor: as an argument, a result, or an item of a stream")]
pub(crate) struct NoParcel;

/// Runs `pack`, and returns what was enclosed meanwhile.
pub(crate) fn packing<T>(pack: impl FnOnce() -> T) -> (T, Vec<OwnedFd>) {
    let (packed, ends) = with(Vec::new(), pack);
    (packed, ends.into_iter().flatten().collect())
}

/// Runs `unpack`, with `ends` to be taken out. What is not taken is closed.
pub(crate) fn unpacking<T>(ends: Vec<OwnedFd>, unpack: impl FnOnce() -> T) -> T {
    with(ends.into_iter().map(Some).collect(), unpack).0
}

/// Puts a descriptor in, and returns its number.
pub(crate) fn enclose(end: OwnedFd) -> Result<u32, NoParcel> {
    OPEN.with_borrow_mut(|open| {
        let ends = open.as_mut().ok_or(NoParcel)?;
        let number = u32::try_from(ends.len()).map_err(|_| NoParcel)?;
        ends.push(Some(end));
        Ok(number)
    })
}

/// Takes the descriptor of that number, once.
pub(crate) fn take_out(number: u32) -> Result<OwnedFd, NoParcel> {
    OPEN.with_borrow_mut(|open| {
        let ends = open.as_mut().ok_or(NoParcel)?;
        let place = usize::try_from(number).ok().and_then(|number| ends.get_mut(number));
        place.and_then(Option::take).ok_or(NoParcel)
    })
}

/// Whether something can be enclosed now: asked before there is a descriptor.
pub(crate) fn is_open() -> bool {
    OPEN.with_borrow(Option::is_some)
}

/// A value may pack another while it is packed; each has its own.
fn with<T>(ends: Vec<Option<OwnedFd>>, run: impl FnOnce() -> T) -> (T, Vec<Option<OwnedFd>>) {
    let _outer = Outer(OPEN.replace(Some(ends)));
    let done = run();
    (done, OPEN.take().unwrap_or_default())
}

/// What was open before, put back also by a panic of the value's own code.
struct Outer(Option<Vec<Option<OwnedFd>>>);

impl Drop for Outer {
    fn drop(&mut self) {
        OPEN.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::panic::catch_unwind;

    fn descriptor() -> OwnedFd {
        std::io::pipe().unwrap().0.into()
    }

    #[test]
    fn what_is_enclosed_is_taken_out_by_its_number_and_once() {
        let (first, second) = (descriptor(), descriptor());
        let raw = second.as_raw_fd();
        let (numbers, ends) = packing(|| (enclose(first).unwrap(), enclose(second).unwrap()));
        assert_eq!((numbers, ends.len()), ((0, 1), 2));
        unpacking(ends, || {
            assert_eq!(take_out(1).unwrap().as_raw_fd(), raw);
            assert_eq!(take_out(1).unwrap_err(), NoParcel);
            assert_eq!(take_out(2).unwrap_err(), NoParcel);
        });
    }

    #[test]
    fn outside_of_a_value_on_its_way_there_is_no_parcel() {
        assert!(!is_open());
        assert_eq!(enclose(descriptor()).unwrap_err(), NoParcel);
        assert_eq!(take_out(0).unwrap_err(), NoParcel);
    }

    #[test]
    fn a_panic_of_the_value_leaves_none_open() {
        let packed = catch_unwind(|| packing(|| panic!("its own code")));
        assert!(packed.is_err() && !is_open());
    }
}
