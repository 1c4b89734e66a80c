//! What the bridge did, for metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds in seconds.
pub const LATENCY_BOUNDS_S: [f64; 9] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// Written by the bridge's one thread.
#[derive(Default)]
pub struct BridgeStats(Mutex<Counts>);

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) requests: BTreeMap<u16, u64>,
    pub(crate) commands: u64,
    pub(crate) refusals: BTreeMap<&'static str, u64>,
    pub(crate) latency: [u64; LATENCY_BOUNDS_S.len() + 1],
    pub(crate) latency_sum_us: u64,
}

impl BridgeStats {
    pub(crate) fn read(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answered(&self, status: u16, time: Duration) {
        let mut counts = self.read();
        *counts.requests.entry(status).or_default() += 1;
        let bucket = LATENCY_BOUNDS_S.partition_point(|bound| *bound < time.as_secs_f64());
        counts.latency[bucket] += 1;
        counts.latency_sum_us += time.as_micros() as u64;
    }

    pub(super) fn sent(&self, commands: usize) {
        self.read().commands += commands as u64;
    }

    pub(super) fn refused(&self, reason: &'static str) {
        *self.read().refusals.entry(reason).or_default() += 1;
    }
}
