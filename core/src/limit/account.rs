//! What every algorithm keeps of one subject.

use crate::Now;
use crate::config::Limit;

/// A clock that is behind a debit by less is taken for a request that was slower than the next: it read the time
/// before another that has overtaken it. Only a larger step back can be the clock's.
const STEP_MIN_US: u64 = 1_000_000;

/// A limit's numbers, as one generation of the configuration has them; an account outlives them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) requests: u64,
    pub(super) window_us: u64,
    pub(super) burst: u64,
    pub(super) subjects_max: usize,
}

/// One subject's debits. `Default` is a subject without any.
///
/// `now_us` is never before `last_us`: whoever calls has been through [`settle`].
pub(super) trait Account: Clone + Default {
    /// The clock that the algorithm counts by: windows that all nodes share are aligned to the wall's, all else must
    /// not depend on its being set.
    fn clock_us(now: Now) -> u64;
    /// How long a debit counts at most.
    fn horizon_us(terms: &Terms) -> u64;
    /// When the last debit was made.
    fn last_us(&self) -> u64;
    /// No debit counts any more, now or later: forgetting the account changes nothing.
    fn is_idle(&self, terms: &Terms, now_us: u64) -> bool;
    fn remaining(&self, terms: &Terms, now_us: u64) -> u64;
    fn fits(&self, terms: &Terms, cost: u64, now_us: u64) -> bool {
        cost <= self.remaining(terms, now_us)
    }
    /// Called only with a cost that fits.
    fn debit(&mut self, terms: &Terms, cost: u64, now_us: u64);
    /// When the quota is whole again or the window ends, not before `now_us`.
    fn reset_at_us(&self, terms: &Terms, now_us: u64) -> u64;
    /// The first time at which a cost that does not fit now does; `None` if it never does.
    fn fits_at_us(&self, terms: &Terms, cost: u64, now_us: u64) -> Option<u64>;
}

impl Terms {
    pub(super) fn new(rules: &Limit, subjects_max: usize) -> Terms {
        Terms { requests: rules.requests, window_us: micros(rules.window), burst: rules.burst, subjects_max }
    }
}

/// The time at which `account` sees a request of `now_us`: its own time does not run backwards. Where the clock stepped
/// back beyond the horizon its own time is wrong, and it starts again; `resets` counts that.
pub(super) fn settle<A: Account>(account: &mut A, terms: &Terms, now_us: u64, resets: &mut u64) -> u64 {
    let last_us = account.last_us();
    if !stepped_back::<A>(terms, last_us, now_us) {
        return now_us.max(last_us);
    }
    *account = A::default();
    *resets += 1;
    now_us
}

pub(super) fn stepped_back<A: Account>(terms: &Terms, last_us: u64, now_us: u64) -> bool {
    last_us.saturating_sub(now_us) > A::horizon_us(terms).max(STEP_MIN_US)
}

pub(super) fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Rounded down. Most numbers fit 64 bits, where dividing is several times as fast.
pub(super) fn divide(dividend: u128, divisor: u64) -> u64 {
    match u64::try_from(dividend) {
        Ok(dividend) => dividend / divisor,
        Err(_) => u64::try_from(dividend / u128::from(divisor)).unwrap_or(u64::MAX),
    }
}

pub(super) fn divide_up(dividend: u128, divisor: u64) -> u64 {
    match u64::try_from(dividend) {
        Ok(dividend) => dividend.div_ceil(divisor),
        Err(_) => u64::try_from(dividend.div_ceil(u128::from(divisor))).unwrap_or(u64::MAX),
    }
}

pub(super) fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}
