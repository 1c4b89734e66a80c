//! The strict sliding window counter: never more than R permits in any W.

use super::account::{Account, Terms};
use crate::Now;

/// Sub-buckets a window. Permits count up to a tenth of the window longer than they would in a log.
const SPLIT: u64 = 10;
/// The one that is being filled and all that any W before it touches.
const BUCKETS: usize = SPLIT as usize + 1;

#[derive(Clone, Debug, Default)]
pub(super) struct SubBuckets {
    /// The bucket of index `i`, counted from the epoch, is at `i % BUCKETS`.
    counts: [u64; BUCKETS],
    /// In the newest bucket.
    last_us: u64,
}

impl SubBuckets {
    /// Counts and indices of the buckets that have index `oldest` or later, newest first.
    fn since(&self, terms: &Terms, oldest: u64) -> impl Iterator<Item = (u64, u64)> {
        let newest = self.last_us / bucket_us(terms);
        (0..BUCKETS as u64)
            .map_while(move |age| newest.checked_sub(age))
            .take_while(move |&index| index >= oldest)
            .map(|index| (self.counts[slot(index)], index))
    }

    /// What counts at `now_us`: all that the buckets hold which a window that ends there touches.
    fn count(&self, terms: &Terms, now_us: u64) -> u64 {
        let oldest = (now_us / bucket_us(terms)).saturating_sub(SPLIT);
        self.since(terms, oldest).map(|(count, _)| count).sum()
    }
}

impl Account for SubBuckets {
    fn clock_us(now: Now) -> u64 {
        now.wall_us
    }

    fn horizon_us(terms: &Terms) -> u64 {
        bucket_us(terms) * BUCKETS as u64
    }

    fn last_us(&self) -> u64 {
        self.last_us
    }

    fn is_idle(&self, terms: &Terms, now_us: u64) -> bool {
        self.count(terms, now_us) == 0
    }

    fn remaining(&self, terms: &Terms, now_us: u64) -> u64 {
        terms.requests.saturating_sub(self.count(terms, now_us))
    }

    fn debit(&mut self, terms: &Terms, cost: u64, now_us: u64) {
        let (newest, index) = (self.last_us / bucket_us(terms), now_us / bucket_us(terms));
        for passed in (newest + 1..=index).take(BUCKETS) {
            self.counts[slot(passed)] = 0;
        }
        self.counts[slot(index)] += cost;
        self.last_us = now_us;
    }

    fn reset_at_us(&self, terms: &Terms, now_us: u64) -> u64 {
        let oldest = (now_us / bucket_us(terms)).saturating_sub(SPLIT);
        let newest = self.since(terms, oldest).find(|(count, _)| *count > 0);
        newest.map_or(now_us, |(_, index)| forgotten_at_us(terms, index))
    }

    fn fits_at_us(&self, terms: &Terms, cost: u64, now_us: u64) -> Option<u64> {
        let room = terms.requests.checked_sub(cost)?;
        let oldest = (now_us / bucket_us(terms)).saturating_sub(SPLIT);
        let mut kept = 0;
        // The newest bucket that cannot be kept is the one to wait for.
        let waited = self.since(terms, oldest).find(|(count, _)| {
            kept += count;
            kept > room
        });
        Some(waited.map_or(now_us, |(_, index)| forgotten_at_us(terms, index)))
    }
}

/// Rounded up, so that `SPLIT` buckets never cover less than the window.
fn bucket_us(terms: &Terms) -> u64 {
    terms.window_us.div_ceil(SPLIT)
}

fn slot(index: u64) -> usize {
    (index % BUCKETS as u64) as usize
}

fn forgotten_at_us(terms: &Terms, index: u64) -> u64 {
    (index + BUCKETS as u64).saturating_mul(bucket_us(terms))
}
