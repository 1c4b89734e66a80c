//! Whether the store is asked at all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Now;
use crate::seed::Seed;

/// So many questions in a row without an answer, and nobody asks for a while.
const FAILURES_MAX: u32 = 5;
/// How long nobody asks, and up to as much again, so that the nodes of a fleet do not come back at once.
const OPEN_US: u64 = 1_000_000;
/// Questions on their way at once.
const WINDOW_MAX: u32 = 4_096;

/// The breaker of the store. After a failure the first question goes alone, and each answer doubles how many may be on
/// their way: a store that has just come back is not met by all that waited for it.
#[derive(Debug)]
pub(crate) struct Health(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    seed: Seed,
    failures: u32,
    window: u32,
    asking: u32,
    open_until_us: u64,
}

/// Leave for one question. Dropped without an answer, it says nothing about the store.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Health>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreState {
    /// It is asked.
    Closed,
    /// It is not: limits are decided as `on_store_failure` says.
    Open,
    /// Some questions are let through.
    HalfOpen,
}

impl StoreState {
    pub fn as_str(self) -> &'static str {
        match self {
            StoreState::Closed => "closed",
            StoreState::Open => "open",
            StoreState::HalfOpen => "half_open",
        }
    }
}

impl Health {
    pub(crate) fn new(seed: u64) -> Health {
        let inner =
            Inner { seed: Seed::new(seed), failures: 0, window: WINDOW_MAX, asking: 0, open_until_us: 0 };
        Health(Mutex::new(inner))
    }

    /// `None` where the store is to be left alone.
    pub(crate) fn admit(self: &Arc<Health>, now: Now) -> Option<Ticket> {
        let mut inner = self.lock();
        if inner.is_open(now) || inner.asking >= inner.window {
            return None;
        }
        inner.asking += 1;
        Some(Ticket(self.clone()))
    }

    pub(crate) fn state(&self, now: Now) -> StoreState {
        let inner = self.lock();
        match (inner.is_open(now), inner.window < WINDOW_MAX) {
            (true, _) => StoreState::Open,
            (false, true) => StoreState::HalfOpen,
            (false, false) => StoreState::Closed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_open(&self, now: Now) -> bool {
        // A clock that was set back does not keep it open for longer than it was meant to be.
        self.open_until_us.checked_sub(now.mono_us).is_some_and(|left| (1..=2 * OPEN_US).contains(&left))
    }
}

impl Ticket {
    /// The store answered.
    pub(crate) fn answered(self) {
        let mut inner = self.0.lock();
        inner.failures = 0;
        inner.window = inner.window.saturating_mul(2).min(WINDOW_MAX);
    }

    pub(crate) fn failed(self, now: Now) {
        let mut inner = self.0.lock();
        inner.failures += 1;
        let recovering = inner.window < WINDOW_MAX;
        // Those that were on their way when it opened do not open it again.
        if (inner.failures >= FAILURES_MAX || recovering) && !inner.is_open(now) {
            inner.open_until_us = now.mono_us + OPEN_US + inner.seed.draw() % OPEN_US;
            inner.window = 1;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.lock().asking -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { wall_us: 0, mono_us: ms * 1_000 }
    }

    /// Broken down at 0 ms.
    fn broken() -> Arc<Health> {
        let health = Arc::new(Health::new(7));
        for _ in 0..FAILURES_MAX {
            assert_eq!(health.state(at(0)), StoreState::Closed);
            health.admit(at(0)).unwrap().failed(at(0));
        }
        health
    }

    fn admitted(health: &Arc<Health>, now: Now) -> Vec<Ticket> {
        std::iter::from_fn(|| health.admit(now)).collect()
    }

    #[test]
    fn failures_in_a_row_stop_the_questions_and_an_answer_between_does_not() {
        let health = Arc::new(Health::new(7));
        for _ in 0..3 {
            (1..FAILURES_MAX).for_each(|_| health.admit(at(0)).unwrap().failed(at(0)));
            health.admit(at(0)).unwrap().answered();
        }
        assert_eq!(health.state(at(0)), StoreState::Closed);
        let health = broken();
        assert_eq!(health.state(at(999)), StoreState::Open);
        assert!(health.admit(at(999)).is_none());
    }

    #[test]
    fn it_is_asked_again_by_one_then_by_twice_as_many() {
        let health = broken();
        let mut expected = 1;
        while expected <= WINDOW_MAX {
            let tickets = admitted(&health, at(2_000));
            assert_eq!(tickets.len(), expected as usize);
            // One answer of each round, so that the next is twice as large.
            tickets.into_iter().next().unwrap().answered();
            expected *= 2;
        }
        assert_eq!(health.state(at(2_000)), StoreState::Closed);
    }

    #[test]
    fn a_failed_trial_opens_it_again_at_another_time() {
        let health = broken();
        health.admit(at(2_000)).unwrap().failed(at(2_050));
        assert_eq!(health.state(at(3_049)), StoreState::Open);
        assert_eq!(health.state(at(4_050)), StoreState::HalfOpen);
    }

    #[test]
    fn who_leaves_without_an_answer_gives_the_place_back() {
        let health = broken();
        drop(health.admit(at(2_000)).unwrap());
        assert_eq!(admitted(&health, at(2_000)).len(), 1);
    }

    #[test]
    fn a_clock_set_back_does_not_keep_it_open() {
        let health = Arc::new(Health::new(7));
        let late = at(1_000_000);
        (0..FAILURES_MAX).for_each(|_| health.admit(late).unwrap().failed(late));
        assert_eq!(health.state(late), StoreState::Open);
        assert_eq!(health.state(at(0)), StoreState::HalfOpen);
    }
}
