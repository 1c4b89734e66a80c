//! The token bucket: at most b + R·Δ/W permits in any Δ.

use super::account::{Account, Terms, divide, divide_up, product};
use crate::Now;

/// The generic cell rate algorithm (ITU-T I.371), kept as the debt that was left at the last debit rather than as a
/// theoretical arrival time: the same decisions, and the debt means the same whatever R and b a reload brings.
///
/// Debt is in units of 1/W permits, W in microseconds: a permit owes W of them and each microsecond repays R, so that
/// nothing is ever rounded. It never exceeds b·W < 2^86 when it is incurred.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenBucket {
    debt: u128,
    last_us: u64,
}

impl TokenBucket {
    fn debt(&self, terms: &Terms, now_us: u64) -> u128 {
        self.debt.saturating_sub(product(now_us - self.last_us, terms.requests))
    }
}

impl Account for TokenBucket {
    fn clock_us(now: Now) -> u64 {
        now.mono_us
    }

    fn horizon_us(terms: &Terms) -> u64 {
        divide_up(product(terms.burst, terms.window_us), terms.requests)
    }

    fn last_us(&self) -> u64 {
        self.last_us
    }

    fn is_idle(&self, terms: &Terms, now_us: u64) -> bool {
        self.debt(terms, now_us) == 0
    }

    fn remaining(&self, terms: &Terms, now_us: u64) -> u64 {
        let most = product(terms.burst, terms.window_us);
        divide(most.saturating_sub(self.debt(terms, now_us)), terms.window_us)
    }

    fn fits(&self, terms: &Terms, cost: u64, now_us: u64) -> bool {
        let most = product(terms.burst, terms.window_us);
        self.debt(terms, now_us) + product(cost, terms.window_us) <= most
    }

    fn debit(&mut self, terms: &Terms, cost: u64, now_us: u64) {
        self.debt = self.debt(terms, now_us) + product(cost, terms.window_us);
        self.last_us = now_us;
    }

    fn reset_at_us(&self, terms: &Terms, now_us: u64) -> u64 {
        now_us.saturating_add(divide_up(self.debt(terms, now_us), terms.requests))
    }

    fn fits_at_us(&self, terms: &Terms, cost: u64, now_us: u64) -> Option<u64> {
        let room = product(terms.burst, terms.window_us).checked_sub(product(cost, terms.window_us))?;
        let excess = self.debt(terms, now_us).saturating_sub(room);
        Some(now_us.saturating_add(divide_up(excess, terms.requests)))
    }
}
