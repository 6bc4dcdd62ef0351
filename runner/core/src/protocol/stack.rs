//! The raw stack of a thread: what the case or its supervisor could record without understanding
//! it. `unwind` and `symbols` make functions of it, on the runner's side.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The raw stack of one thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The thread.
    pub tid: i32,
    /// Its name at that time.
    pub name: String,
    /// What was recorded.
    pub trace: Trace,
}

/// What was recorded of a thread's stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trace {
    /// By a signal handler of the case: addresses of calls, innermost first.
    Calls(Vec<u64>),
    /// Read from outside, not yet unwound.
    Copied(StackCopy),
    /// Nothing, and why, for a person.
    Missing(String),
}

/// Registers and memory of a thread, read from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackCopy {
    /// The registers that unwinding begins with.
    pub registers: Registers,
    /// What lies from the stack pointer upwards; the beginning of it, if it is long.
    pub memory: Bytes,
}

/// The registers that unwinding begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// Program counter.
    pub program: u64,
    /// Stack pointer.
    pub stack: u64,
    /// Frame pointer; `None` where the thread was not stopped to be asked.
    pub frame: Option<u64>,
    /// Link register, on machines that have one and where the thread was asked.
    pub link: Option<u64>,
}

/// Bytes, as one hexadecimal text: half the size of JSON's numbers.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(2 * self.0.len());
        for byte in &self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let byte = |pair: &[u8]| {
            let [high, low] = pair else {
                return None;
            };
            let digit = |digit: u8| char::from(digit).to_digit(16);
            u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        bytes.map(Self).ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_through_text_and_garbage_is_refused() {
        let bytes = Bytes((0..=255).collect());
        let text = serde_json::to_string(&bytes).unwrap();
        assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap(), bytes);
        for garbage in ["\"0\"", "\"zz\"", "\"00é\""] {
            assert!(serde_json::from_str::<Bytes>(garbage).is_err(), "{garbage}");
        }
    }
}
