//! The circuit breaker of one service: closed, open, half-open.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::window::RollingWindow;
use crate::Now;
use crate::config::CircuitBreaker;

const CALLS: usize = 0;
const FAILURES: usize = 1;

/// Opens when, over the rolling window, at least `minimum_calls` calls were recorded and the share of failures
/// reached `failure_rate`; refuses for `open_for`; then lets `probes` calls through, which must all succeed to close
/// it. One failed probe opens it again.
#[derive(Debug)]
pub struct Breaker {
    rules: CircuitBreaker,
    /// Mirrors `State::Closed`, so that the common case takes no lock.
    closed: AtomicBool,
    inner: Mutex<Inner>,
    /// When the time that it opened for by its own judgement is up; 0 once that was taken.
    opened_until_us: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

impl BreakerState {
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

/// Leave for one call. It is given back by `Breaker::record` or `Breaker::release`; a probe's expires by time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    Call,
    Probe {
        round: u64,
        slot: usize,
        /// Tells this probe from one that took its slot after it expired.
        expires_us: u64,
    },
}

/// The breaker refuses calls for this many microseconds more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) retry_after_us: u64,
}

#[derive(Debug)]
struct Inner {
    state: State,
    window: RollingWindow<2>,
    /// Counts half-open rounds, so that a late answer of an earlier round changes nothing.
    round: u64,
}

#[derive(Debug)]
enum State {
    Closed,
    Open {
        until_us: u64,
    },
    HalfOpen {
        /// When each running probe's permit expires; `None` is a free slot.
        probes: Vec<Option<u64>>,
        succeeded: u32,
    },
}

impl Breaker {
    pub(crate) fn new(rules: CircuitBreaker) -> Breaker {
        let window = RollingWindow::new(rules.window);
        let inner = Inner { state: State::Closed, window, round: 0 };
        Breaker {
            rules,
            closed: AtomicBool::new(true),
            inner: Mutex::new(inner),
            opened_until_us: AtomicU64::new(0),
        }
    }

    pub(crate) fn rules(&self) -> &CircuitBreaker {
        &self.rules
    }

    /// As seen by a call at `now`: an open breaker whose time is up counts as half-open.
    pub fn state(&self, now: Now) -> BreakerState {
        match self.lock().state {
            State::Closed => BreakerState::Closed,
            State::Open { until_us } if now.mono_us < until_us => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    pub(crate) fn admit(&self, now: Now) -> Result<Permit, Refused> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(Permit::Call);
        }
        let mut inner = self.lock();
        if let State::Open { until_us } = inner.state {
            if now.mono_us < until_us {
                return Err(Refused { retry_after_us: until_us - now.mono_us });
            }
            inner.round += 1;
            inner.state = State::HalfOpen { probes: vec![None; self.rules.probes as usize], succeeded: 0 };
        }
        let round = inner.round;
        let open_us = self.open_us();
        match &mut inner.state {
            State::Closed => Ok(Permit::Call),
            State::HalfOpen { probes, succeeded } => {
                let free = |probe: &Option<u64>| probe.is_none_or(|expires| expires <= now.mono_us);
                let running = probes.iter().filter(|probe| !free(probe)).count() as u32;
                let slot = probes.iter().position(free);
                match slot {
                    Some(slot) if running + *succeeded < self.rules.probes => {
                        let expires_us = now.mono_us + open_us;
                        probes[slot] = Some(expires_us);
                        Ok(Permit::Probe { round, slot, expires_us })
                    }
                    _ => {
                        let first = probes.iter().flatten().min().copied().unwrap_or(now.mono_us);
                        Err(Refused { retry_after_us: first.saturating_sub(now.mono_us) })
                    }
                }
            }
            State::Open { .. } => unreachable!("an open breaker was refused or turned half-open above"),
        }
    }

    /// Records how a call ended and gives its permit back.
    pub(crate) fn record(&self, permit: Permit, failed: bool, now: Now) {
        let mut inner = self.lock();
        let current_round = inner.round;
        match (permit, &mut inner.state) {
            (Permit::Call, State::Closed) => {
                inner.window.record(CALLS, now.mono_us);
                if failed {
                    self.count_failure(&mut inner, now);
                }
            }
            (Permit::Probe { round, slot, expires_us }, State::HalfOpen { probes, succeeded })
                if round == current_round && probes[slot] == Some(expires_us) =>
            {
                probes[slot] = None;
                if failed {
                    self.open(&mut inner, now);
                    return;
                }
                *succeeded += 1;
                if *succeeded >= self.rules.probes {
                    inner.state = State::Closed;
                    inner.window.clear();
                    self.closed.store(true, Ordering::Release);
                }
            }
            // An answer to a question of an earlier state says nothing about this one.
            _ => {}
        }
    }

    /// Records that a call already recorded as a success broke off later, in the body of its answer.
    pub(crate) fn record_late_failure(&self, now: Now) {
        let mut inner = self.lock();
        if matches!(inner.state, State::Closed) {
            self.count_failure(&mut inner, now);
        }
    }

    /// Gives a permit back for a call that says nothing about the service: the client left, or no call was made.
    pub(crate) fn release(&self, permit: Permit) {
        let Permit::Probe { round, slot, expires_us } = permit else { return };
        let mut inner = self.lock();
        if round == inner.round
            && let State::HalfOpen { probes, .. } = &mut inner.state
            && probes[slot] == Some(expires_us)
        {
            probes[slot] = None;
        }
    }

    /// How much longer it is open, where it opened by its own judgement since this was last asked.
    pub(crate) fn take_opened(&self, now: Now) -> Option<u64> {
        let until_us = self.opened_until_us.swap(0, Ordering::Relaxed);
        until_us.checked_sub(now.mono_us).filter(|left_us| *left_us > 0)
    }

    /// Another node's breaker opened: this one does not wait for failures of its own. It probes by itself afterwards, and
    /// one that is open or probing already knows better.
    pub(crate) fn open_for(&self, life_us: u64, now: Now) {
        let mut inner = self.lock();
        if matches!(inner.state, State::Closed) {
            inner.state = State::Open { until_us: now.mono_us + life_us.min(self.open_us()) };
            self.closed.store(false, Ordering::Release);
        }
    }

    fn count_failure(&self, inner: &mut Inner, now: Now) {
        inner.window.record(FAILURES, now.mono_us);
        let [calls, failures] = inner.window.sums(now.mono_us);
        let enough = calls >= self.rules.minimum_calls;
        if enough && f64::from(failures) >= self.rules.failure_rate * f64::from(calls) {
            self.open(inner, now);
        }
    }

    fn open(&self, inner: &mut Inner, now: Now) {
        let until_us = now.mono_us + self.open_us();
        inner.state = State::Open { until_us };
        self.closed.store(false, Ordering::Release);
        self.opened_until_us.store(until_us, Ordering::Relaxed);
    }

    fn open_us(&self) -> u64 {
        self.rules.open_for.as_micros() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
