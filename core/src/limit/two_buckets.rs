//! The sliding window counter: the window before, weighted by how much of it the sliding window still covers, and this
//! one.

use super::account::{Account, Terms, divide, product};
use crate::Now;

/// Cloudflare's estimate ("How we built rate limiting capable of scaling to millions of domains", 2017), which takes the
/// permits of the window before to be spread evenly. Where they were all late in it, 2R - 1 are admitted within one W.
#[derive(Clone, Debug, Default)]
pub(super) struct TwoBuckets {
    previous: u64,
    current: u64,
    /// In the window that `current` counts.
    last_us: u64,
}

impl TwoBuckets {
    /// The permits of the window before that of `now_us`, and of its own.
    fn counts(&self, terms: &Terms, now_us: u64) -> (u64, u64) {
        match now_us / terms.window_us - self.last_us / terms.window_us {
            0 => (self.previous, self.current),
            1 => (self.current, 0),
            _ => (0, 0),
        }
    }

    /// The estimate in units of 1/W permits, so that it is exact.
    fn estimate(&self, terms: &Terms, now_us: u64) -> u128 {
        let (previous, current) = self.counts(terms, now_us);
        let covered_us = terms.window_us - now_us % terms.window_us;
        product(previous, covered_us) + product(current, terms.window_us)
    }
}

impl Account for TwoBuckets {
    fn clock_us(now: Now) -> u64 {
        now.wall_us
    }

    fn horizon_us(terms: &Terms) -> u64 {
        2 * terms.window_us
    }

    fn last_us(&self) -> u64 {
        self.last_us
    }

    fn is_idle(&self, terms: &Terms, now_us: u64) -> bool {
        self.counts(terms, now_us) == (0, 0)
    }

    fn remaining(&self, terms: &Terms, now_us: u64) -> u64 {
        let most = product(terms.requests, terms.window_us);
        divide(most.saturating_sub(self.estimate(terms, now_us)), terms.window_us)
    }

    fn fits(&self, terms: &Terms, cost: u64, now_us: u64) -> bool {
        let most = product(terms.requests, terms.window_us);
        self.estimate(terms, now_us) + product(cost, terms.window_us) <= most
    }

    fn debit(&mut self, terms: &Terms, cost: u64, now_us: u64) {
        (self.previous, self.current) = self.counts(terms, now_us);
        self.current += cost;
        self.last_us = now_us;
    }

    fn reset_at_us(&self, terms: &Terms, now_us: u64) -> u64 {
        let start_us = now_us - now_us % terms.window_us;
        match self.counts(terms, now_us) {
            (0, 0) => now_us,
            (_, 0) => start_us.saturating_add(terms.window_us),
            _ => start_us.saturating_add(2 * terms.window_us),
        }
    }

    fn fits_at_us(&self, terms: &Terms, cost: u64, now_us: u64) -> Option<u64> {
        let room = terms.requests.checked_sub(cost)?;
        let (previous, current) = self.counts(terms, now_us);
        let start_us = now_us - now_us % terms.window_us;
        // Within a window the estimate only falls, and it does not jump at the boundary: what is in the way is either
        // the window before, or this one once it is the window before.
        let (start_us, waning, room) = match room.checked_sub(current) {
            Some(room) => (start_us, previous, room),
            None => (start_us.saturating_add(terms.window_us), current, room),
        };
        let covered_us = match waning {
            0 => terms.window_us,
            _ => divide(product(room, terms.window_us), waning).min(terms.window_us),
        };
        Some(start_us.saturating_add(terms.window_us - covered_us).max(now_us))
    }
}
