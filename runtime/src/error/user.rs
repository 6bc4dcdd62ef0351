//! The user's own errors, of any type.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::capture_backtrace;

/// An error of the user's own and the name of its type. When it crosses to another actor the type's name, the message and
/// the chain of sources are kept; the value is not.
pub struct UserError {
    type_name: String,
    error: Box<dyn StdError + Send + Sync>,
    backtrace: Option<String>,
}

impl UserError {
    pub(crate) fn new<E: StdError + Send + Sync + 'static>(error: E) -> UserError {
        UserError {
            type_name: std::any::type_name::<E>().to_owned(),
            error: Box::new(error),
            backtrace: capture_backtrace(),
        }
    }

    pub(crate) fn message(message: String) -> UserError {
        UserError::new(Told { message, source: None })
    }

    /// The name of the error's type, as the compiler spells it.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// The way to where it was wrapped; see [`RemoteError::backtrace`](crate::RemoteError::backtrace).
    pub fn backtrace(&self) -> Option<&str> {
        self.backtrace.as_deref()
    }

    /// The value, if it is an `E` and was made in this actor.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.error.downcast_ref()
    }

    /// The messages of the error's sources, nearest first.
    pub(crate) fn chain(&self) -> Vec<String> {
        chain_of(self.error.as_ref())
    }
}

/// The messages of an error's sources, nearest first.
pub(crate) fn chain_of(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut messages = Vec::new();
    let mut next = error.source();
    while let Some(source) = next {
        messages.push(source.to_string());
        next = source.source();
    }
    messages
}

impl fmt::Debug for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `main` returns is shown by this, to people.
        write!(f, "{}", self.error)
    }
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)
    }
}

impl StdError for UserError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

/// What of an error crosses.
#[derive(Serialize, Deserialize)]
struct Wire {
    type_name: String,
    message: String,
    chain: Vec<String>,
    backtrace: Option<String>,
}

impl Serialize for UserError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire {
            type_name: self.type_name.clone(),
            message: self.to_string(),
            chain: self.chain(),
            backtrace: self.backtrace.clone(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UserError {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<UserError, D::Error> {
        let Wire { type_name, message, chain, backtrace } = Wire::deserialize(deserializer)?;
        let source = chain
            .into_iter()
            .rev()
            .fold(None, |source, message| Some(Box::new(Told { message, source })));
        Ok(UserError { type_name, error: Box::new(Told { message, source }), backtrace })
    }
}

/// An error of which only the words are left.
#[derive(Debug)]
struct Told {
    message: String,
    source: Option<Box<Told>>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Told {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|told| told as _)
    }
}

/// A chain as long as the frame limit allows would overflow the stack when dropped member by member.
impl Drop for Told {
    fn drop(&mut self) {
        let mut next = self.source.take();
        while let Some(mut told) = next {
            next = told.source.take();
        }
    }
}
