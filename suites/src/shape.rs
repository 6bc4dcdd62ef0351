//! An error's structure, written down so that a test can compare all of it at once.
//!
//! ```text
//! name:message        an error of the actor `name`
//! name!message        its panic
//! name(… …)           its group
//! name[…]             an error of the runtime's that it failed with, such as a death below it
//! (… …)               a group of this actor
//! name†exit           its death
//! name forced:rung    it was made to end
//! name cancelled      it was cancelled
//! ```
//! Anything else is its own message. Written from the typed values only.

use runtime::{Error, Group, RemoteError};

/// The structure of `error`.
pub(crate) fn of(error: &Error) -> String {
    match error {
        Error::Remote(remote) => of_remote(remote),
        Error::Group(group) => of_group(group),
        Error::ActorDied { actor, exit, .. } => format!("{}†{exit}", actor.name),
        Error::Forced { actor, teardown } => {
            let rung = teardown.rung().map_or("nothing".to_owned(), |rung| format!("{rung:?}"));
            format!("{} forced:{rung}", actor.name)
        }
        Error::Cancelled { subject, .. } => format!("{} cancelled", subject.name),
        other => other.to_string(),
    }
}

/// The structures of what is in `error`, down to what is no group, sorted.
pub(crate) fn leaves(error: Error) -> Vec<String> {
    let mut leaves: Vec<String> = error.into_leaves().iter().map(of).collect();
    leaves.sort();
    leaves
}

fn of_remote(remote: &RemoteError) -> String {
    let source = &remote.source_actor().name;
    match remote.downcast::<Error>() {
        Some(Error::Group(group)) => format!("{source}{}", of_group(&group)),
        Some(other) => format!("{source}[{}]", of(&other)),
        None if remote.is_panic() => format!("{source}!{}", remote.message()),
        None => format!("{source}:{}", remote.message()),
    }
}

fn of_group(group: &Group) -> String {
    let members: Vec<String> = group.members().iter().map(of).collect();
    format!("({})", members.join(" "))
}
