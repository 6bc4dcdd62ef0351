//! Several failures as one value.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Error, Occurrence};

/// Two failures or more of one nursery: that of its body first, then those of its children in the order in which they were
/// started. None is lost and none is there twice. A member can be a group again: of a nursery further down.
#[derive(Debug)]
pub struct Group {
    members: Vec<Error>,
}

impl Group {
    /// The failures, in order.
    pub fn members(&self) -> &[Error] {
        &self.members
    }

    /// The failures, in order.
    pub fn into_members(self) -> Vec<Error> {
        self.members
    }

    pub(crate) fn map_members(self, change: impl FnMut(Error) -> Error) -> Group {
        Group { members: self.members.into_iter().map(change).collect() }
    }

    /// The failures that are no groups, depth first, through groups of groups and through groups that other actors
    /// returned.
    pub fn leaves(self) -> Vec<Error> {
        self.members.into_iter().flat_map(Error::into_leaves).collect()
    }
}

impl Error {
    /// No failure is none, one is itself, several are a group; the same occurrence reported by two paths counts once, at
    /// the first place.
    pub fn from_failures(failures: impl IntoIterator<Item = Error>) -> Option<Error> {
        let mut members = once_each(failures);
        match members.len() {
            0 => None,
            1 => members.pop(),
            _ => Some(Error::Group(Group { members })),
        }
    }

    /// This error, or the members of the group it is, down to errors that are no groups.
    pub fn into_leaves(self) -> Vec<Error> {
        match self {
            Error::Group(group) => group.leaves(),
            Error::Remote(remote) => match remote.group() {
                Some(group) => group.leaves(),
                None => vec![Error::Remote(remote)],
            },
            other => vec![other],
        }
    }
}

fn once_each(failures: impl IntoIterator<Item = Error>) -> Vec<Error> {
    let mut seen: HashSet<Occurrence> = HashSet::new();
    failures
        .into_iter()
        .filter(|error| error.occurrence().is_none_or(|occurrence| seen.insert(occurrence)))
        .collect()
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failures", self.members.len())?;
        for (index, member) in self.members.iter().enumerate() {
            write!(f, "{} {member}", if index == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl Serialize for Group {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.members.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Group, D::Error> {
        let _level =
            Level::enter().ok_or_else(|| serde::de::Error::custom("groups nested too deeply"))?;
        Ok(Group { members: Vec::deserialize(deserializer)? })
    }
}

/// How deep groups may nest on the wire. Decoding recurses, and garbage must not overflow the stack; real nesting is that of
/// nurseries, and each actor in between makes its group opaque bytes again.
const DEEPEST: usize = 64;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// One level of a group being decoded.
struct Level;

impl Level {
    fn enter() -> Option<Level> {
        let depth = DEPTH.get();
        (depth < DEEPEST).then(|| {
            DEPTH.set(depth + 1);
            Level
        })
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// An error inside an error, with the same bound.
pub(super) mod nested {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Error, Level};

    pub(crate) fn serialize<S: Serializer>(
        error: &Option<Error>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        error.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Error>, D::Error> {
        let _level =
            Level::enter().ok_or_else(|| serde::de::Error::custom("errors nested too deeply"))?;
        Option::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ActorId;
    use crate::spawn::Exit;
    use uuid::Uuid;

    fn died(number: u128) -> Error {
        let actor = ActorId { name: format!("a{number}"), uuid: Uuid::from_u128(number) };
        Error::ActorDied { actor, exit: Exit::Code(3), incarnation: 0 }
    }

    fn names(error: &Error) -> Vec<String> {
        match error {
            Error::Group(group) => group.members().iter().flat_map(names).collect(),
            Error::ActorDied { actor, .. } => vec![actor.name.clone()],
            other => vec![other.to_string()],
        }
    }

    #[test]
    fn no_failure_is_no_error_and_one_is_itself() {
        assert!(Error::from_failures([]).is_none());
        let one = Error::from_failures([died(1)]).unwrap();
        assert!(matches!(one, Error::ActorDied { .. }));
    }

    #[test]
    fn several_keep_their_order_and_none_is_there_twice() {
        let group =
            Error::from_failures([died(2), died(1), died(2), Error::NoRuntime, Error::NoRuntime])
                .unwrap();
        let no_runtime = Error::NoRuntime.to_string();
        assert_eq!(names(&group), ["a2", "a1", &no_runtime, &no_runtime]);
    }

    #[test]
    fn a_failure_reported_twice_is_one_failure() {
        let one = Error::from_failures([died(1), died(1)]).unwrap();
        assert!(matches!(one, Error::ActorDied { .. }));
    }

    #[test]
    fn members_cross_as_values() {
        let group =
            Error::from_failures([died(1), Error::from_failures([died(2), died(3)]).unwrap()])
                .unwrap();
        let bytes = postcard::to_stdvec(&group).unwrap();
        let back: Error = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(names(&back), ["a1", "a2", "a3"]);
    }

    #[test]
    fn groups_nested_without_end_are_refused_and_do_not_overflow_the_stack() {
        let one = Error::Group(Group { members: vec![Error::NoRuntime] });
        let inner = postcard::to_stdvec(&Error::NoRuntime).unwrap().len();
        let mut header = postcard::to_stdvec(&one).unwrap();
        header.truncate(header.len() - inner);
        let bytes = header.repeat(1_000_000);
        postcard::from_bytes::<Error>(&bytes).unwrap_err();
    }
}
