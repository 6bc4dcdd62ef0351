//! Where a panic will land: whether it ends its thread, or somebody catches it before.
//!
//! Asked in the panic hook, before anything unwinds. There is no other moment at which the two can
//! be told apart: a thread that caught a panic goes on and ends like any other, and std keeps to
//! itself that one died. So the frames are looked at as the unwinder will: a frame that catches says
//! so in its language-specific data, whose format all compilers share (the Itanium C++ ABI's
//! "LSDA"). Every thread of std has one frame that catches, its outermost: a panic that comes as far
//! as that has ended the thread.
//!
//! A thread that was made by hand (`pthread_create`) and catches panics itself looks just the same.
#![expect(unsafe_code, reason = "asks the unwinder, and reads the tables it reads")]

use std::ffi::{c_int, c_void};

/// Frames looked at; a deeper stack is taken for one whose panic is caught.
const FRAME_LIMIT: usize = 10_000;

/// Who ends a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// Some frame of the program.
    Caught,
    /// The end of the thread.
    EndsThread,
}

/// Where a panic of this thread, begun now, will land.
pub(crate) fn find() -> Landing {
    let mut frames = Frames { looked_at: 0, catching: 0 };
    // SAFETY: the callback matches the unwinder's type and `frames` outlives the call.
    unsafe { _Unwind_Backtrace(look, (&raw mut frames).cast()) };
    if frames.catching == 1 && frames.looked_at < FRAME_LIMIT {
        Landing::EndsThread
    } else {
        Landing::Caught
    }
}

struct Frames {
    looked_at: usize,
    catching: usize,
}

const GO_ON: c_int = 0;
const END_OF_STACK: c_int = 5;

extern "C" fn look(context: *mut c_void, frames: *mut c_void) -> c_int {
    // SAFETY: `find` passes a Frames that lives until the unwinder returns.
    let frames = unsafe { &mut *frames.cast::<Frames>() };
    frames.looked_at += 1;
    if frames.looked_at >= FRAME_LIMIT {
        return END_OF_STACK;
    }
    let mut is_exact = 0;
    // SAFETY: the context is the unwinder's own; the number is ours.
    let (data, address, start) = unsafe {
        (
            _Unwind_GetLanguageSpecificData(context).cast::<u8>(),
            _Unwind_GetIPInfo(context, &raw mut is_exact),
            _Unwind_GetRegionStart(context),
        )
    };
    if !data.is_null() {
        // A return address is behind the call.
        let offset = (address - usize::from(is_exact == 0)).wrapping_sub(start);
        // SAFETY: the unwinder says that the frame's data is there.
        let catches = unsafe { catches_at(data, offset as u64) };
        frames.catching += usize::from(catches == Some(true));
    }
    GO_ON
}

/// Whether a frame catches what comes from a call at that offset of its function. `None` where the
/// data is of a form that no compiler of ours writes.
///
/// # Safety
/// `data` is the language-specific data of a function.
unsafe fn catches_at(data: *const u8, offset: u64) -> Option<bool> {
    let mut reader = Reader { at: data };
    // SAFETY: as promised by the caller; the reader goes no further than the lengths in it say.
    unsafe {
        const OMITTED: u8 = 0xff;
        if reader.byte() != OMITTED {
            // Landing pads relative to something else: never seen in C, C++ or Rust on ELF.
            return None;
        }
        if reader.byte() != OMITTED {
            reader.unsigned();
        }
        let encoding = reader.byte();
        let length = usize::try_from(reader.unsigned()).ok()?;
        let actions = reader.at.wrapping_add(length);
        while reader.at < actions {
            let start = reader.encoded(encoding)?;
            let length = reader.encoded(encoding)?;
            let pad = reader.encoded(encoding)?;
            let action = reader.unsigned();
            if offset < start {
                break;
            }
            if offset < start + length {
                if pad == 0 || action == 0 {
                    return Some(false);
                }
                let action = usize::try_from(action - 1).ok()?;
                let mut record = Reader { at: actions.wrapping_add(action) };
                return Some(record.signed() > 0);
            }
        }
        Some(false)
    }
}

/// Reads what DWARF's encodings write.
struct Reader {
    at: *const u8,
}

impl Reader {
    /// # Safety
    /// There is one more byte; so for all below.
    unsafe fn byte(&mut self) -> u8 {
        // SAFETY: as promised by the caller.
        let byte = unsafe { self.at.read() };
        self.at = self.at.wrapping_add(1);
        byte
    }

    unsafe fn unsigned(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            // SAFETY: as promised by the caller.
            let byte = unsafe { self.byte() };
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }

    unsafe fn signed(&mut self) -> i64 {
        let (mut value, mut shift) = (0_i64, 0);
        loop {
            // SAFETY: as promised by the caller.
            let byte = unsafe { self.byte() };
            value |= i64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte & 0x80 == 0 {
                let is_negative = byte & 0x40 != 0 && shift < 64;
                return if is_negative { value | (-1 << shift) } else { value };
            }
        }
    }

    /// A number in one of the encodings of call sites; they are offsets, so none is relative.
    unsafe fn encoded(&mut self, encoding: u8) -> Option<u64> {
        const UNSIGNED: u8 = 1;
        const BYTES_2: u8 = 2;
        const BYTES_4: u8 = 3;
        const BYTES_8: u8 = 4;
        let size = match encoding {
            // SAFETY: as promised by the caller.
            UNSIGNED => return Some(unsafe { self.unsigned() }),
            BYTES_2 => 2,
            BYTES_4 => 4,
            BYTES_8 => 8,
            _ => return None,
        };
        let mut bytes = [0; 8];
        for byte in &mut bytes[..size] {
            // SAFETY: as promised by the caller.
            *byte = unsafe { self.byte() };
        }
        Some(u64::from_le_bytes(bytes))
    }
}

unsafe extern "C" {
    fn _Unwind_Backtrace(
        look: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetLanguageSpecificData(context: *mut c_void) -> *mut c_void;
    fn _Unwind_GetIPInfo(context: *mut c_void, is_exact: *mut c_int) -> usize;
    fn _Unwind_GetRegionStart(context: *mut c_void) -> usize;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;
    use std::thread::Builder;

    fn in_a_thread(find: fn() -> Landing) -> Landing {
        Builder::new().spawn(find).unwrap().join().unwrap()
    }

    #[test]
    fn a_thread_of_its_own_ends_by_what_nobody_catches() {
        assert_eq!(in_a_thread(find), Landing::EndsThread);
        let deep = || {
            let kept = String::from("dropped while unwinding");
            let landing = find();
            drop(kept);
            landing
        };
        assert_eq!(in_a_thread(deep), Landing::EndsThread);
        std::thread::scope(|scope| {
            assert_eq!(scope.spawn(find).join().unwrap(), Landing::EndsThread);
        });
    }

    #[test]
    fn what_is_caught_before_ends_nothing() {
        assert_eq!(in_a_thread(|| catch_unwind(find).unwrap()), Landing::Caught);
        // The test harness catches on this thread, inside std's own.
        assert_eq!(find(), Landing::Caught);
    }
}
