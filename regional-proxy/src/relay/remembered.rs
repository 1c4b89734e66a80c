//! The latest events that were stored, so that one that is sent again is not stored again. Pure.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Oldest first; the newest displace them. An event is remembered once it is durable and not before: whoever sends it
/// meanwhile must not be told that it is.
pub(super) struct Remembered {
    hashers: [RandomState; 2],
    known: HashSet<u128>,
    order: VecDeque<u128>,
    events_max: usize,
}

/// A keyed hash of an event's source and id: long enough that no two events of a window are ever taken for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity(u128);

impl Remembered {
    pub(super) fn new(events_max: usize) -> Remembered {
        let hashers = [RandomState::new(), RandomState::new()];
        Remembered { hashers, known: HashSet::new(), order: VecDeque::new(), events_max }
    }

    pub(super) fn identity(&self, source: &str, id: &str) -> Identity {
        let [high, low] = self.hashers.each_ref().map(|hasher| u128::from(hasher.hash_one((source, id))));
        Identity(high << 64 | low)
    }

    pub(super) fn knows(&self, identity: Identity) -> bool {
        self.known.contains(&identity.0)
    }

    pub(super) fn remember(&mut self, identity: Identity) {
        if self.events_max == 0 || !self.known.insert(identity.0) {
            return;
        }
        if self.order.len() == self.events_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(identity.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_events_are_known_and_no_more() {
        let mut remembered = Remembered::new(2);
        let identities = ["a", "b", "c"].map(|id| remembered.identity("s", id));
        for identity in [identities[0], identities[1], identities[1], identities[2]] {
            remembered.remember(identity);
        }
        assert_eq!(identities.map(|identity| remembered.knows(identity)), [false, true, true]);
        assert_ne!(remembered.identity("sa", "b"), remembered.identity("s", "ab"));
        let mut nothing = Remembered::new(0);
        nothing.remember(identities[0]);
        assert!(!nothing.knows(identities[0]));
    }
}
