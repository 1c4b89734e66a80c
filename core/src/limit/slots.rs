//! A hash table of subjects that can be swept a few slots at a time.

use super::subject::SubjectKey;

/// Slots of a table that holds anything; always a power of two.
const SLOTS_MIN: usize = 16;

/// Open addressing with linear probing. The keys are hashes already; at most three quarters of the slots are taken,
/// and removing closes the gap, so that a probe stays short however many subjects came and went.
#[derive(Debug)]
pub(crate) struct Slots<S> {
    slots: Vec<Option<(SubjectKey, S)>>,
    taken: usize,
    /// Where the sweep goes on.
    cursor: usize,
}

impl<S> Slots<S> {
    pub(crate) fn new() -> Slots<S> {
        Slots { slots: Vec::new(), taken: 0, cursor: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.taken
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &S> {
        self.slots.iter().flatten().map(|(_, state)| state)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.slots.iter_mut().flatten().map(|(_, state)| state)
    }

    pub(crate) fn find(&mut self, key: SubjectKey) -> Option<&mut S> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = self.slot(key);
        self.slots[slot].as_mut().map(|(_, state)| state)
    }

    /// Takes a slot for a subject that has none.
    pub(crate) fn insert(&mut self, key: SubjectKey, state: S) -> &mut S {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(SLOTS_MIN));
        }
        let slot = self.slot(key);
        self.taken += 1;
        &mut self.slots[slot].insert((key, state)).1
    }

    /// Looks at the next `steps` slots and frees those that `idle` says may be forgotten. Whoever calls this with each
    /// insertion has looked at all slots before the table can have doubled.
    pub(crate) fn sweep(&mut self, steps: usize, mut idle: impl FnMut(&mut S) -> bool) {
        for _ in 0..steps.min(self.slots.len()) {
            let slot = self.cursor;
            if self.slots[slot].as_mut().is_some_and(|(_, state)| idle(state)) {
                // What closes the gap is looked at next.
                self.remove(slot);
            } else {
                self.cursor = (slot + 1) & (self.slots.len() - 1);
            }
        }
        if self.cursor == 0 && self.slots.len() > SLOTS_MIN && self.taken * 8 < self.slots.len() {
            self.resize(self.slots.len() / 2);
        }
    }

    /// The slot of `key`, or the free one where it would be put.
    fn slot(&self, key: SubjectKey) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = key.slot_bits() & mask;
        while self.slots[slot].as_ref().is_some_and(|(other, _)| *other != key) {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// Frees a slot, and moves back into the gap whatever would not be found behind it.
    fn remove(&mut self, slot: usize) {
        let mask = self.slots.len() - 1;
        let mut gap = slot;
        self.slots[gap] = None;
        self.taken -= 1;
        let mut next = (gap + 1) & mask;
        while let Some((key, _)) = &self.slots[next] {
            let probed = next.wrapping_sub(key.slot_bits()) & mask;
            let distance = next.wrapping_sub(gap) & mask;
            if probed >= distance {
                self.slots.swap(gap, next);
                gap = next;
            }
            next = (next + 1) & mask;
        }
    }

    fn resize(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, std::iter::repeat_with(|| None).take(slots).collect());
        self.cursor = 0;
        for (key, state) in old.into_iter().flatten() {
            let slot = self.slot(key);
            self.slots[slot] = Some((key, state));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Few distinct low bits, so that chains collide, wrap around and close.
        #[test]
        fn holds_what_a_map_holds(steps in prop::collection::vec((1u128..60, 0u8..4), 1..400)) {
            let mut slots = Slots::new();
            let mut model = HashMap::new();
            for (time, (value, step)) in steps.into_iter().enumerate() {
                let key = SubjectKey::test(value % 7 + (value << 20));
                match step {
                    0 => {
                        let mut freed = Vec::new();
                        slots.sweep(9, |(value, at): &mut (u128, usize)| {
                            let idle = *at + 30 < time;
                            if idle { freed.push(*value); }
                            idle
                        });
                        freed.iter().for_each(|value| assert!(model.remove(value).is_some()));
                    }
                    _ => {
                        prop_assert_eq!(slots.find(key).copied(), model.get(&value).copied());
                        if slots.find(key).is_none() {
                            slots.insert(key, (value, time));
                            model.insert(value, (value, time));
                        }
                    }
                }
                prop_assert_eq!(slots.len(), model.len());
                prop_assert_eq!(slots.iter().count(), model.len());
            }
        }
    }

    #[test]
    fn shrinks_once_what_it_held_is_idle() {
        let mut slots = Slots::new();
        (1..=1_000).for_each(|value| *slots.insert(SubjectKey::test(value), false) = true);
        assert_eq!(slots.slots.len(), 2_048);
        (0..2_000).for_each(|_| slots.sweep(8, |_| true));
        assert_eq!((slots.len(), slots.slots.len()), (0, SLOTS_MIN));
    }
}
