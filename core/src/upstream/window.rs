//! Counts over the recent past, forgotten a tenth of the window at a time.

/// Buckets a window; its resolution is a tenth of its length.
const BUCKETS: usize = 10;

/// `N` counters over a rolling window of ten buckets: what it sums is between nine tenths and the whole of it.
#[derive(Debug)]
pub(crate) struct RollingWindow<const N: usize> {
    bucket_us: u64,
    /// Index of the newest bucket since the clock's origin.
    newest: u64,
    buckets: [[u32; N]; BUCKETS],
    sums: [u32; N],
}

impl<const N: usize> RollingWindow<N> {
    pub(crate) fn new(window: std::time::Duration) -> RollingWindow<N> {
        let bucket_us = (window.as_micros() as u64 / BUCKETS as u64).max(1);
        RollingWindow { bucket_us, newest: 0, buckets: [[0; N]; BUCKETS], sums: [0; N] }
    }

    /// Adds one to counter `which`. A clock that stepped back counts into the newest bucket.
    pub(crate) fn record(&mut self, which: usize, mono_us: u64) {
        self.advance(mono_us);
        let slot = (self.newest % BUCKETS as u64) as usize;
        self.buckets[slot][which] = self.buckets[slot][which].saturating_add(1);
        self.sums[which] = self.sums[which].saturating_add(1);
    }

    pub(crate) fn sums(&mut self, mono_us: u64) -> [u32; N] {
        self.advance(mono_us);
        self.sums
    }

    pub(crate) fn clear(&mut self) {
        self.buckets = [[0; N]; BUCKETS];
        self.sums = [0; N];
    }

    fn advance(&mut self, mono_us: u64) {
        let current = mono_us / self.bucket_us;
        if current <= self.newest {
            return;
        }
        let steps = (current - self.newest).min(BUCKETS as u64);
        for step in 1..=steps {
            let slot = ((self.newest + step) % BUCKETS as u64) as usize;
            for (sum, count) in self.sums.iter_mut().zip(self.buckets[slot]) {
                *sum = sum.saturating_sub(count);
            }
            self.buckets[slot] = [0; N];
        }
        self.newest = current;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_are_those_of_the_last_ten_buckets(steps in prop::collection::vec((0u64..4_000, 0usize..2), 1..200)) {
            let mut window = RollingWindow::<2>::new(Duration::from_millis(10));
            let mut model = VecDeque::new();
            let mut now = 0;
            for (step, which) in steps {
                now += step;
                window.record(which, now);
                model.push_back((now / 1_000, which));
                model.retain(|(bucket, _)| bucket + BUCKETS as u64 > now / 1_000);
                let expected = [0, 1].map(|w| model.iter().filter(|(_, of)| *of == w).count() as u32);
                prop_assert_eq!(window.sums(now), expected);
            }
        }
    }
}
