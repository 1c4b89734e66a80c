//! What is known of the store over all lanes, for metrics and the log.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tollgate_core::store::StoreFailure;
use tracing::{info, warn};

/// Upper bounds in seconds: a store is asked within 50 or 150 ms.
pub const LATENCY_BOUNDS_S: [f64; 11] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.5];
/// Between two lines about a store that fails.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// EVALSHA and EVAL, each by itself also within a pipeline.
    pub commands: u64,
    /// Calls without an answer, as [`StoreFailure::ALL`] lists them.
    pub failures: [u64; StoreFailure::ALL.len()],
    /// Batches by how long they took, the last for what is beyond all of [`LATENCY_BOUNDS_S`].
    pub latency: [u64; LATENCY_BOUNDS_S.len() + 1],
    pub latency_sum_us: u64,
}

/// Written by all lanes.
#[derive(Default)]
pub(crate) struct Journal {
    commands: AtomicU64,
    failures: [AtomicU64; StoreFailure::ALL.len()],
    latency: [AtomicU64; LATENCY_BOUNDS_S.len() + 1],
    latency_sum_us: AtomicU64,
    /// Since it last failed and the log says so.
    told: AtomicBool,
    told_at: Mutex<Option<Instant>>,
}

impl Journal {
    pub(super) fn sent(&self, commands: usize) {
        self.commands.fetch_add(commands as u64, Relaxed);
    }

    pub(super) fn took(&self, time: Duration) {
        let bucket = LATENCY_BOUNDS_S.partition_point(|bound| *bound < time.as_secs_f64());
        self.latency[bucket].fetch_add(1, Relaxed);
        self.latency_sum_us.fetch_add(time.as_micros() as u64, Relaxed);
    }

    pub(super) fn failed(&self, failure: StoreFailure, calls: usize) {
        self.failures[failure as usize].fetch_add(calls as u64, Relaxed);
    }

    pub(super) fn answered(&self) {
        if self.told.load(Relaxed) && self.told.swap(false, Relaxed) {
            info!("the store of the limits answers again");
        }
    }

    /// Logs why the store fails: once, and again while it does.
    pub(super) fn tell(&self, why: impl Display) {
        let mut told_at = self.told_at.lock().unwrap_or_else(PoisonError::into_inner);
        if told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            *told_at = Some(Instant::now());
            self.told.store(true, Relaxed);
            warn!("the store of the limits fails: {why}");
        }
    }

    pub(super) fn stats(&self) -> StoreStats {
        let read = |counts: &[AtomicU64], to: &mut [u64]| {
            to.iter_mut().zip(counts).for_each(|(to, count)| *to = count.load(Relaxed));
        };
        let mut stats = StoreStats {
            commands: self.commands.load(Relaxed),
            latency_sum_us: self.latency_sum_us.load(Relaxed),
            ..StoreStats::default()
        };
        read(&self.failures, &mut stats.failures);
        read(&self.latency, &mut stats.latency);
        stats
    }
}
