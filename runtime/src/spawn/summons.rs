//! What an exec'd image finds in its environment: what it is, and by which descriptors it was given what it needs.
//!
//! Written by `exec`, read by `birth`.

use std::fmt;
use std::os::fd::RawFd;

use uuid::Uuid;

/// The private environment variable it travels in.
pub(super) const VARIABLE: &str = "RUNTIME_CHILD";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Summons {
    /// The socket the new process talks over: an actor with its parent, a fork server with its owner.
    pub(super) socket: RawFd,
    /// The memory of `lineage`.
    pub(super) lineage: RawFd,
    pub(super) role: Role,
}

/// What an exec'd image is there for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Actor { uuid: Uuid, name: String },
    Forkserver,
}

impl Summons {
    pub(super) fn parse(text: &str) -> Option<Summons> {
        let mut fields = text.splitn(3, ':');
        let socket = fields.next()?.parse().ok()?;
        let lineage = fields.next()?.parse().ok()?;
        Some(Summons { socket, lineage, role: Role::parse(fields.next()?)? })
    }
}

impl fmt::Display for Summons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.socket, self.lineage, self.role)
    }
}

impl Role {
    fn parse(text: &str) -> Option<Role> {
        if text == "forkserver" {
            return Some(Role::Forkserver);
        }
        let (uuid, name) = text.strip_prefix("actor:")?.split_once(':')?;
        Some(Role::Actor { uuid: uuid.parse().ok()?, name: name.to_owned() })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Actor { uuid, name } => write!(f, "actor:{uuid}:{name}"),
            Role::Forkserver => f.write_str("forkserver"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let actor = Role::Actor { uuid: Uuid::from_u128(7), name: "a:b c".into() };
        for role in [actor, Role::Forkserver] {
            let summons = Summons { socket: 5, lineage: 6, role };
            assert_eq!(Summons::parse(&summons.to_string()), Some(summons));
        }
    }

    #[test]
    fn anything_else_is_no_summons() {
        for text in
            ["", "5", "5:6", "5:6:", "5:6:baker", "x:6:forkserver", "5:6:actor:7:name", "5:6:actor"]
        {
            assert_eq!(Summons::parse(text), None, "{text}");
        }
    }
}
