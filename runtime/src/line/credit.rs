//! Flow control of one direction of a stream. Pure.
//!
//! The sender has a [`Window`]: so many items may be on their way or waiting at the receiver. The receiver has a [`Ledger`] of
//! what it has taken out and not yet told the sender of. Between them no item is unaccounted for: what the window lacks of its
//! capacity is on its way, waiting, or in the ledger.

use crate::msg::{Overrun, Terms};

/// What a sender may send.
#[derive(Debug)]
pub(crate) struct Window {
    terms: Terms,
    left: u32,
}

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Admission {
    Sent,
    /// Try again when credit has come.
    Wait,
    Overrun,
    Dropped,
}

impl Window {
    pub(crate) fn new(terms: Terms) -> Window {
        Window { terms, left: terms.capacity.max(1) }
    }

    /// For one item.
    pub(crate) fn admit(&mut self) -> Admission {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return Admission::Sent;
        }
        match self.terms.overrun {
            Overrun::Wait => Admission::Wait,
            Overrun::Error => Admission::Overrun,
            Overrun::Drop => Admission::Dropped,
        }
    }

    /// The receiver has taken so many. More than were sent is a peer's mistake, and changes nothing.
    pub(crate) fn on_credit(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.terms.capacity.max(1));
    }

    /// How many may be sent now.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }
}

/// What a receiver owes the sender.
#[derive(Debug)]
pub(crate) struct Ledger {
    owed: u32,
    batch: u32,
}

impl Ledger {
    pub(crate) fn new(terms: Terms) -> Ledger {
        let batch = match terms.overrun {
            // Half the window: the sender still has the other half to go on with while it learns of this one.
            Overrun::Wait => terms.capacity.div_ceil(2),
            // Here it matters how many wait at any time.
            Overrun::Error | Overrun::Drop => 1,
        };
        Ledger { owed: 0, batch: batch.max(1) }
    }

    /// An item was taken out. `Some`: tell the sender of so many.
    pub(crate) fn on_taken(&mut self) -> Option<u32> {
        self.owed += 1;
        (self.owed >= self.batch).then(|| std::mem::take(&mut self.owed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: [Overrun; 3] = [Overrun::Wait, Overrun::Error, Overrun::Drop];

    fn terms(capacity: u32, overrun: Overrun) -> Terms {
        Terms { capacity, overrun }
    }

    #[test]
    fn a_window_admits_its_capacity_and_then_what_its_policy_says() {
        for (overrun, expected) in [
            (Overrun::Wait, Admission::Wait),
            (Overrun::Error, Admission::Overrun),
            (Overrun::Drop, Admission::Dropped),
        ] {
            let mut window = Window::new(terms(64, overrun));
            assert!((0..64).all(|_| window.admit() == Admission::Sent));
            assert_eq!(window.admit(), expected);
            assert_eq!(window.admit(), expected);
            window.on_credit(1);
            assert_eq!(window.admit(), Admission::Sent);
            assert_eq!(window.admit(), expected);
        }
    }

    #[test]
    fn a_peer_cannot_widen_the_window() {
        let mut window = Window::new(terms(4, Overrun::Wait));
        window.on_credit(u32::MAX);
        window.on_credit(u32::MAX);
        assert_eq!(window.left(), 4);
    }

    #[test]
    fn no_capacity_is_one() {
        let mut window = Window::new(terms(0, Overrun::Wait));
        assert_eq!(window.admit(), Admission::Sent);
        assert_eq!(window.admit(), Admission::Wait);
        assert_eq!(Ledger::new(terms(0, Overrun::Wait)).on_taken(), Some(1));
    }

    #[test]
    fn credit_comes_in_halves_of_a_window_that_waits_and_at_once_else() {
        let mut ledger = Ledger::new(terms(5, Overrun::Wait));
        assert_eq!([(); 6].map(|()| ledger.on_taken()), [None, None, Some(3), None, None, Some(3)]);
        for overrun in [Overrun::Error, Overrun::Drop] {
            let mut ledger = Ledger::new(terms(64, overrun));
            assert_eq!([(); 3].map(|()| ledger.on_taken()), [Some(1); 3]);
        }
    }

    /// Whatever the order of sending and taking, a sender never waits while the receiver has nothing.
    #[test]
    fn no_sender_waits_for_an_idle_receiver() {
        for overrun in POLICIES {
            for capacity in 1..9 {
                for pattern in 0..4096_u32 {
                    let terms = terms(capacity, overrun);
                    let (mut window, mut ledger) = (Window::new(terms), Ledger::new(terms));
                    let mut waiting = 0;
                    for bit in 0..12 {
                        if pattern >> bit & 1 == 0 {
                            if window.admit() == Admission::Sent {
                                waiting += 1;
                            }
                        } else if waiting > 0 {
                            waiting -= 1;
                            ledger.on_taken().into_iter().for_each(|count| window.on_credit(count));
                        }
                        assert!(waiting <= capacity);
                        assert!(waiting > 0 || window.left() > 0, "{capacity} {pattern:b}");
                    }
                }
            }
        }
    }
}
