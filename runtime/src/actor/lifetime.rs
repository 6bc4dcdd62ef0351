//! What an actor has to release when it ends.
//!
//! Filled by the user, through [`ActorInfo::on_end`](super::ActorInfo::on_end); run by `boot`, last of all.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One thing to be done at the end.
pub(crate) type Release = Box<dyn FnOnce() + Send>;

/// The entries, and whether any are still taken.
#[derive(Default)]
pub(crate) struct Lifetime {
    state: Mutex<State>,
}

enum State {
    Open(Vec<Release>),
    /// The actor has ended.
    Released,
}

impl Default for State {
    fn default() -> State {
        State::Open(Vec::new())
    }
}

impl Lifetime {
    /// Puts an entry on top. After the end it is done at once: there is no later.
    pub(crate) fn push(&self, release: Release) {
        let too_late = match &mut *self.lock() {
            State::Open(entries) => {
                entries.push(release);
                None
            }
            State::Released => Some(release),
        };
        if let Some(release) = too_late {
            release();
        }
    }

    /// Takes the top entry. None left: no more are taken.
    pub(crate) fn pop(&self) -> Option<Release> {
        let mut state = self.lock();
        match &mut *state {
            State::Open(entries) => match entries.pop() {
                Some(release) => Some(release),
                None => {
                    *state = State::Released;
                    None
                }
            },
            State::Released => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_last_in_is_the_first_out_and_what_is_added_meanwhile_is_next() {
        let lifetime = Arc::new(Lifetime::default());
        let said = Arc::new(Mutex::new(Vec::new()));
        let say = |word: &'static str| {
            let said = Arc::clone(&said);
            Box::new(move || said.lock().unwrap().push(word)) as Release
        };
        lifetime.push(say("first"));
        let (added, again) = (say("added"), Arc::clone(&lifetime));
        lifetime.push(Box::new(move || again.push(added)));
        while let Some(release) = lifetime.pop() {
            release();
        }
        lifetime.push(say("late"));
        assert_eq!(*said.lock().unwrap(), ["added", "first", "late"]);
    }
}
