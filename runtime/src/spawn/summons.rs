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
    pub(super) tokio: Tokio,
    pub(super) role: Role,
}

/// What the summoner knows of the descriptors tokio keeps in the new image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tokio {
    /// It is the summoner's own image, which keeps none: a tenth of a millisecond of finding out is saved.
    KeepsNothing,
    Unknown,
}

/// What an exec'd image is there for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Actor { uuid: Uuid, name: String },
    Forkserver,
}

impl Summons {
    pub(super) fn parse(text: &str) -> Option<Summons> {
        let mut fields = text.splitn(4, ':');
        let socket = fields.next()?.parse().ok()?;
        let lineage = fields.next()?.parse().ok()?;
        let tokio = Tokio::parse(fields.next()?)?;
        Some(Summons { socket, lineage, tokio, role: Role::parse(fields.next()?)? })
    }
}

impl fmt::Display for Summons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.socket, self.lineage, self.tokio.text(), self.role)
    }
}

impl Tokio {
    fn parse(text: &str) -> Option<Tokio> {
        [Tokio::KeepsNothing, Tokio::Unknown].into_iter().find(|tokio| tokio.text() == text)
    }

    fn text(self) -> &'static str {
        match self {
            Tokio::KeepsNothing => "none",
            Tokio::Unknown => "unknown",
        }
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
        for (role, tokio) in [(actor, Tokio::Unknown), (Role::Forkserver, Tokio::KeepsNothing)] {
            let summons = Summons { socket: 5, lineage: 6, tokio, role };
            assert_eq!(Summons::parse(&summons.to_string()), Some(summons));
        }
    }

    #[test]
    fn anything_else_is_no_summons() {
        for text in [
            "",
            "5",
            "5:6",
            "5:6:none",
            "5:6:none:",
            "5:6:none:baker",
            "x:6:none:forkserver",
            "5:6:some:forkserver",
            "5:6:none:actor:7:name",
            "5:6:none:actor",
        ] {
            assert_eq!(Summons::parse(text), None, "{text}");
        }
    }
}
