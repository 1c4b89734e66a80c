//! The fixed window: at most R permits in each window that is aligned to the epoch, 2R across a boundary.

use super::account::{Account, Terms};
use crate::Now;

#[derive(Clone, Debug, Default)]
pub(super) struct FixedWindow {
    /// Permits of the window that `last_us` is in.
    count: u64,
    last_us: u64,
}

impl FixedWindow {
    fn count(&self, terms: &Terms, now_us: u64) -> u64 {
        let same = self.last_us / terms.window_us == now_us / terms.window_us;
        if same { self.count } else { 0 }
    }
}

impl Account for FixedWindow {
    fn clock_us(now: Now) -> u64 {
        now.wall_us
    }

    fn horizon_us(terms: &Terms) -> u64 {
        terms.window_us
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
        self.count = self.count(terms, now_us) + cost;
        self.last_us = now_us;
    }

    fn reset_at_us(&self, terms: &Terms, now_us: u64) -> u64 {
        (now_us - now_us % terms.window_us).saturating_add(terms.window_us)
    }

    fn fits_at_us(&self, terms: &Terms, cost: u64, now_us: u64) -> Option<u64> {
        (cost <= terms.requests).then(|| self.reset_at_us(terms, now_us))
    }
}
