//! Who sends events, and which of them are missing. Pure.
//!
//! A source numbers its events from 1 within a boot epoch. A number that was passed over is missing until it comes after
//! all, as it does when a batch is sent again. What a source had numbered before this process first heard of it, and
//! what it never got to send at the end of an epoch, nobody here can know.

use std::collections::BTreeMap;
use std::collections::HashMap;

use serde::Serialize;

use crate::delivery::Position;

/// Holes that may still be filled; beyond it the oldest counts as missing for good.
const HOLES_MAX: usize = 64;
/// A source that was silent for so long gives its place to a new one, s.
const SILENCE_S: u64 = 3_600;

pub(super) struct Sources {
    by_name: HashMap<Box<str>, Source>,
    sources_max: usize,
    sequence_jump: u64,
}

#[derive(Default)]
struct Source {
    epoch: Option<u64>,
    /// The highest number of the epoch.
    highest: u64,
    /// Passed over in this epoch: from the key on, up to the value, not included.
    holes: BTreeMap<u64, u64>,
    /// Missing for good.
    missing: u64,
    events: u64,
    repeated: u64,
    seen_s: u64,
}

/// Why an event is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SourceError {
    #[error("comes from one source more than the {0} that the relay tells apart")]
    TooMany(usize),
    #[error("is numbered {sequence}, more than {jump} after the source's {highest}")]
    Jump { sequence: u64, highest: u64, jump: u64 },
}

/// One source in numbers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct SourceStats {
    pub(super) source: String,
    pub(super) boot_epoch: Option<u64>,
    pub(super) sequence: u64,
    pub(super) events: u64,
    /// Sent again after they were stored.
    pub(super) repeated: u64,
    /// Numbers that were passed over.
    pub(super) missing: u64,
    pub(super) silent_s: u64,
}

impl Sources {
    pub(super) fn new(sources_max: usize, sequence_jump: u64) -> Sources {
        Sources { by_name: HashMap::new(), sources_max, sequence_jump }
    }

    /// Whether an event may be stored; nothing is counted yet.
    pub(super) fn admit(
        &mut self,
        name: &str,
        position: Option<Position>,
        now_s: u64,
    ) -> Result<(), SourceError> {
        let Some(source) = self.by_name.get(name) else {
            if self.by_name.len() >= self.sources_max && !self.make_place(now_s) {
                return Err(SourceError::TooMany(self.sources_max));
            }
            // The place is taken, so that one batch cannot bring more sources than there are places.
            self.by_name.insert(name.into(), Source { seen_s: now_s, ..Source::default() });
            return Ok(());
        };
        let (Some(Position { epoch, sequence }), Some(known)) = (position, source.epoch) else {
            return Ok(());
        };
        let highest = if epoch > known { 0 } else { source.highest };
        match epoch >= known && sequence.saturating_sub(highest) > self.sequence_jump {
            true => Err(SourceError::Jump { sequence, highest, jump: self.sequence_jump }),
            false => Ok(()),
        }
    }

    /// An event of an admitted source was stored, or had been before.
    pub(super) fn count(&mut self, name: &str, position: Option<Position>, is_repeated: bool, now_s: u64) {
        let Some(source) = self.by_name.get_mut(name) else { return };
        source.seen_s = now_s;
        if is_repeated {
            source.repeated += 1;
            return;
        }
        source.events += 1;
        if let Some(position) = position {
            source.place(position);
        }
    }

    pub(super) fn stats(&self, now_s: u64) -> Vec<SourceStats> {
        let mut stats: Vec<_> = self
            .by_name
            .iter()
            .map(|(name, source)| SourceStats {
                source: name.to_string(),
                boot_epoch: source.epoch,
                sequence: source.highest,
                events: source.events,
                repeated: source.repeated,
                missing: source.missing + source.open(),
                silent_s: now_s.saturating_sub(source.seen_s),
            })
            .collect();
        stats.sort_unstable_by(|a, b| a.source.cmp(&b.source));
        stats
    }

    /// Of all sources: how many there are, and how many numbers are missing.
    pub(super) fn sum(&self) -> (usize, u64) {
        (self.by_name.len(), self.by_name.values().map(|source| source.missing + source.open()).sum())
    }

    fn make_place(&mut self, now_s: u64) -> bool {
        let silent = |source: &Source| now_s.saturating_sub(source.seen_s) >= SILENCE_S;
        let name = self.by_name.iter().find(|(_, source)| silent(source)).map(|(name, _)| name.clone());
        name.is_some_and(|name| self.by_name.remove(&name).is_some())
    }
}

impl Source {
    fn place(&mut self, Position { epoch, sequence }: Position) {
        match self.epoch {
            // What came before is not known to have been sent here.
            None => (self.epoch, self.highest) = (Some(epoch), sequence),
            // A batch of the former boot that was sent again.
            Some(known) if epoch < known => {}
            Some(known) if epoch > known => {
                self.missing += self.open();
                self.holes.clear();
                (self.epoch, self.highest) = (Some(epoch), 0);
                self.advance(sequence);
            }
            Some(_) if sequence > self.highest => self.advance(sequence),
            Some(_) => self.fill(sequence),
        }
    }

    fn advance(&mut self, sequence: u64) {
        let expected = self.highest + 1;
        if sequence > expected {
            self.holes.insert(expected, sequence);
            self.forget_a_hole();
        }
        self.highest = sequence;
    }

    fn fill(&mut self, sequence: u64) {
        let Some((&start, &end)) = self.holes.range(..=sequence).next_back() else { return };
        if sequence >= end {
            return;
        }
        self.holes.remove(&start);
        if start < sequence {
            self.holes.insert(start, sequence);
        }
        if sequence + 1 < end {
            self.holes.insert(sequence + 1, end);
        }
        self.forget_a_hole();
    }

    fn forget_a_hole(&mut self) {
        if self.holes.len() > HOLES_MAX
            && let Some((start, end)) = self.holes.pop_first()
        {
            self.missing += end - start;
        }
    }

    fn open(&self) -> u64 {
        self.holes.iter().map(|(start, end)| end - start).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(epoch: u64, sequence: u64) -> Option<Position> {
        Some(Position { epoch, sequence })
    }

    fn sent(events: &[(u64, u64)]) -> SourceStats {
        let mut sources = Sources::new(1, 1_000);
        for (epoch, sequence) in events {
            sources.admit("s", at(*epoch, *sequence), 0).unwrap();
            sources.count("s", at(*epoch, *sequence), false, 0);
        }
        sources.stats(0).remove(0)
    }

    #[test]
    fn a_number_is_missing_until_it_comes() {
        assert_eq!(sent(&[(1, 5), (1, 6), (1, 10)]).missing, 3);
        assert_eq!(sent(&[(1, 5), (1, 10), (1, 7)]).missing, 3);
        assert_eq!(sent(&[(1, 5), (1, 10), (1, 7), (1, 6), (1, 8), (1, 9)]).missing, 0);
        // Before the first one that was heard of, nobody knows.
        assert_eq!(sent(&[(1, 500)]).missing, 0);
    }

    #[test]
    fn a_new_epoch_starts_over_and_keeps_what_was_missing() {
        let stats = sent(&[(1, 5), (1, 8), (2, 3), (1, 6), (2, 4)]);
        assert_eq!((stats.missing, stats.boot_epoch, stats.sequence, stats.events), (2 + 2, Some(2), 4, 5));
    }

    #[test]
    fn a_jump_is_refused_and_so_is_one_source_too_many() {
        let mut sources = Sources::new(1, 10);
        sources.admit("s", at(1, 1_000_000), 0).unwrap();
        sources.count("s", at(1, 1_000_000), false, 0);
        let jump = SourceError::Jump { sequence: 1_000_011, highest: 1_000_000, jump: 10 };
        assert_eq!(sources.admit("s", at(1, 1_000_011), 0), Err(jump));
        assert_eq!(sources.admit("s", at(1, 1_000_010), 0), Ok(()));
        assert_eq!(sources.admit("s", at(0, 9_000_000), 0), Ok(()));
        let jump = SourceError::Jump { sequence: 11, highest: 0, jump: 10 };
        assert_eq!(sources.admit("s", at(2, 11), 0), Err(jump));
        assert_eq!(sources.admit("t", None, SILENCE_S - 1), Err(SourceError::TooMany(1)));
        assert_eq!(sources.admit("t", None, SILENCE_S), Ok(()));
        assert_eq!(sources.stats(SILENCE_S)[0].source, "t");
    }

    proptest! {
        #[test]
        fn missing_is_what_was_not_sent(mut sequences in prop::collection::vec(1..60u64, 1..60)) {
            let stats = sent(&sequences.iter().map(|sequence| (1, *sequence)).collect::<Vec<_>>());
            let first = sequences[0];
            sequences.sort_unstable();
            sequences.dedup();
            let highest = *sequences.last().unwrap();
            let later = sequences.iter().filter(|sequence| **sequence >= first).count() as u64;
            prop_assert_eq!(stats.missing, highest - first + 1 - later);
        }
    }
}
