//! The attempts of one exchange: which endpoint, under which permit, and whether there is another after it.

use std::time::Duration;

use http::{Method, StatusCode};

use super::{Progress, RequestBody, State};
use crate::Now;
use crate::refusal::Refusal;
use crate::seed::mix;
use crate::upstream::{Choice, Permit, Set, Turned};

/// Before the first retry at an endpoint that was tried already; doubled with each further one, half of it random.
const BACKOFF_BASE: Duration = Duration::from_millis(25);
const BACKOFF_MAX: Duration = Duration::from_millis(250);

/// How far an exchange has come with its service.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// Whether a place in flight at the service is held.
    entered: bool,
    attempt: Option<Attempt>,
    tried: Set,
    pub(crate) retries_left: u32,
    pub(crate) deadline_us: u64,
    /// What the balancer hashes or draws from.
    pub(crate) key: u64,
    random: u64,
}

/// One call of one endpoint, in flight.
#[derive(Debug)]
struct Attempt {
    endpoint: usize,
    /// Taken when the outcome is recorded.
    permit: Option<Option<Permit>>,
    started_us: u64,
    backoff: Duration,
}

/// Whether another endpoint may do better than this answer.
pub(super) fn is_retriable(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

impl State {
    pub(super) fn endpoint(&self) -> usize {
        self.course.attempt.as_ref().expect("a request is forwarded only within an attempt").endpoint
    }

    pub(super) fn backoff(&self) -> Duration {
        self.course.attempt.as_ref().map_or(Duration::ZERO, |attempt| attempt.backoff)
    }

    /// Takes a place at the service, a permit of its breaker and an endpoint, in this order.
    pub(super) fn start(&mut self, random: u64, now: Now) -> Result<(), Refusal> {
        self.service().enter()?;
        self.course.entered = true;
        self.course.random = random;
        if self.course.retries_left > 0 {
            self.service().budget.deposit(now);
        }
        self.begin_attempt(now)
    }

    pub(super) fn start_again(&mut self, now: Now) -> Result<(), Refusal> {
        self.course.retries_left -= 1;
        self.begin_attempt(now)
    }

    fn begin_attempt(&mut self, now: Now) -> Result<(), Refusal> {
        let service = self.service();
        let permit = service.permit(now)?;
        let random = mix(self.course.random.wrapping_add(u64::from(self.verdict.attempts)));
        let choice = Choice { tried: self.course.tried, key: self.course.key, random, now };
        let endpoint = service.balancer.choose(&service.endpoints, &choice);
        service.endpoints[endpoint].enter();
        let again = self.course.tried.contains(endpoint);
        let backoff = if again { backoff(self.verdict.attempts, random) } else { Duration::ZERO };
        self.course.tried.insert(endpoint);
        self.verdict.attempts += 1;
        self.course.attempt =
            Some(Attempt { endpoint, permit: Some(permit), started_us: now.mono_us, backoff });
        Ok(())
    }

    /// RFC 9110 §9.2.2: what is not idempotent is repeated only when nothing of it was sent.
    pub(super) fn may_retry(&self, sent: Progress, method: &Method, now: Now) -> bool {
        let allowed = match sent {
            Progress::NothingSent => true,
            Progress::Replayable => method.is_idempotent(),
            Progress::Consumed => false,
        };
        let in_time = now.mono_us + BACKOFF_MAX.as_micros() as u64 <= self.course.deadline_us;
        allowed && in_time && self.course.retries_left > 0 && self.service().budget.withdraw(now)
    }

    /// A request that was answered has been sent: only what had no body is there to be sent again.
    pub(super) fn progress_with_response(&self) -> Progress {
        if self.body == RequestBody::Empty { Progress::Replayable } else { Progress::Consumed }
    }

    pub(super) fn note_head(&mut self, now: Now) {
        if let Some(attempt) = &self.course.attempt {
            self.verdict.upstream_us = Some(now.mono_us.saturating_sub(attempt.started_us));
        }
    }

    /// Tells the breaker how the attempt went; its place at the endpoint is kept while the body streams.
    pub(super) fn record_attempt(&mut self, failed: bool, now: Now) {
        let Some(attempt) = &mut self.course.attempt else {
            return;
        };
        let (endpoint, permit) = (attempt.endpoint, attempt.permit.take());
        if let Some(permit) = permit {
            self.service().record(endpoint, permit, failed, now);
        }
    }

    pub(super) fn conclude_attempt(&mut self, failed: bool, now: Now) {
        self.record_attempt(failed, now);
        self.release_attempt();
    }

    pub(super) fn record_late_failure(&self, now: Now) {
        if let Some(attempt) = &self.course.attempt
            && attempt.permit.is_none()
        {
            self.service().record_late_failure(attempt.endpoint, now);
        }
    }

    pub(super) fn release_attempt(&mut self) {
        let Some(attempt) = self.course.attempt.take() else {
            return;
        };
        let service = self.service();
        service.endpoints[attempt.endpoint].leave();
        if let Some(permit) = attempt.permit {
            service.release(permit);
        }
    }

    pub(super) fn leave(&mut self) {
        if std::mem::take(&mut self.course.entered) {
            self.service().leave();
        }
    }
}

impl From<Turned> for Refusal {
    fn from(turned: Turned) -> Refusal {
        match turned {
            Turned::Overloaded => Refusal::Overloaded,
            Turned::CircuitOpen { retry_after_us } => Refusal::CircuitOpen { retry_after_us },
        }
    }
}

/// Exponential with equal jitter.
fn backoff(attempts: u8, random: u64) -> Duration {
    let full =
        (BACKOFF_BASE * 2u32.saturating_pow(u32::from(attempts).saturating_sub(1).min(8))).min(BACKOFF_MAX);
    let half_us = full.as_micros() as u64 / 2;
    Duration::from_micros(half_us + random % (half_us + 1))
}
