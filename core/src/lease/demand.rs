//! How much one node is asked for of one limit by one subject.

/// The slower of the two estimates looks this many target times back.
const SLOW: u64 = 8;

/// How long demand that has stopped is remembered.
pub(super) fn remembered_us(target_us: u64) -> u64 {
    2 * SLOW * target_us
}

/// Counts over two periods. Nothing is extrapolated: what was seen within τ is what is expected within τ, so a burst
/// of a few requests asks for a few permits, and a steady rate reaches its size by doubling.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    fast: Count,
    slow: Count,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    since_us: u64,
    before: u64,
    current: u64,
}

impl Demand {
    pub(super) fn observe(&mut self, cost: u64, target_us: u64, now_us: u64) {
        self.fast.observe(cost, target_us, now_us);
        self.slow.observe(cost, target_us * SLOW, now_us);
    }

    /// Permits that the next τ is expected to take.
    pub(super) fn within_target(&self, target_us: u64, now_us: u64) -> u64 {
        let fast = self.fast.estimate(target_us, now_us);
        fast.max(self.slow.estimate(target_us * SLOW, now_us) / SLOW)
    }
}

impl Count {
    fn observe(&mut self, cost: u64, period_us: u64, now_us: u64) {
        match now_us.checked_sub(self.since_us) {
            Some(elapsed) if elapsed < period_us => {}
            Some(elapsed) if elapsed < 2 * period_us => {
                *self = Count { since_us: self.since_us + period_us, before: self.current, current: 0 };
            }
            // Long idle, or the clock was set back: nothing is known.
            _ => *self = Count { since_us: now_us, before: 0, current: 0 },
        }
        self.current = self.current.saturating_add(cost);
    }

    fn estimate(&self, period_us: u64, now_us: u64) -> u64 {
        let elapsed = now_us.saturating_sub(self.since_us);
        let left = |count: u64, over_us: u64| {
            (u128::from(count) * u128::from(period_us.saturating_sub(over_us)) / u128::from(period_us)) as u64
        };
        if elapsed < period_us {
            self.current.saturating_add(left(self.before, elapsed))
        } else {
            left(self.current, elapsed - period_us)
        }
    }
}
