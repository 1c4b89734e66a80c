//! One limit in whole numbers that Lua's doubles hold exactly.
//!
//! Redis' Lua has no integers, only doubles, which are exact up to 2^53. A [`Rule`] that exists keeps every sum and
//! product of its script below that:
//!
//! - times are microseconds of the epoch, below 2^53 until the year 2245 with [`HORIZON_MAX_US`] added;
//! - counts are at most [`REQUESTS_MAX`], and a share of them in thousandths below 2^53;
//! - a bucket's debt is counted in ticks, at most [`TICKS_MAX`], and doubled at most by the cost that is tried;
//! - a sliding counter weighs windows in grains, so that three products stay within [`COUNTER_SCALE_MAX`] each.

use std::time::Duration;

use crate::config::{self, Algorithm};

/// Permits a window.
pub const REQUESTS_MAX: u64 = 1_000_000_000_000;
/// A log keeps a member for every permit.
pub const LOG_REQUESTS_MAX: u64 = 1_000;
/// How long a state may matter: ten years.
pub const HORIZON_MAX_US: u64 = 10 * 366 * 86_400 * 1_000_000;
/// Ticks of a full bucket, so that debt and cost together stay below 2^53.
pub const TICKS_MAX: u64 = 1 << 52;
/// Requests times grains of a sliding window counter, of which three are added.
pub const COUNTER_SCALE_MAX: u64 = 1 << 51;
/// Of a strict sliding window; one more is counted.
pub const SUB_BUCKETS: u64 = 10;
/// A key outlives its horizon by at most this and the rounding to milliseconds.
pub const TTL_SLACK_MS: u64 = 1_000;

/// A rate or a time that is rounded to fit may lose one part in this many.
const ROUNDING_PARTS_MIN: u64 = 1_000;

/// One limit as its script counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) form: Form,
    /// Permits that can be taken at once.
    pub(super) most: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    FixedWindow {
        requests: u64,
        window_us: u64,
    },
    Log {
        requests: u64,
        window_us: u64,
    },
    Counter {
        requests: u64,
        window_us: u64,
        grain_us: u64,
    },
    Strict {
        requests: u64,
        bucket_us: u64,
    },
    /// A permit is `per_permit` ticks of debt, of which `per_us` are paid off each microsecond: W / R in lowest terms.
    Bucket {
        per_permit: u64,
        per_us: u64,
        capacity: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("requests and burst are 1 to {max}, not {0}", max = REQUESTS_MAX)]
    Requests(u64),
    #[error("a sliding window log takes at most {max} requests, not {0}", max = LOG_REQUESTS_MAX)]
    Log(u64),
    #[error("a window is at least a millisecond")]
    Window,
    #[error("the limit would have to be remembered for more than ten years")]
    Horizon,
    #[error(
        "so many requests in such a window cannot be counted in the shared store to one part in a thousand"
    )]
    Inexact,
}

impl Rule {
    /// The rule of a configured limit.
    ///
    /// # Errors
    ///
    /// A limit whose arithmetic would not be exact within 2^53.
    pub fn of(limit: &config::Limit) -> Result<Rule, RuleError> {
        Rule::new(limit.algorithm, limit.requests, limit.window, limit.burst)
    }

    /// `burst` has a meaning for a token bucket alone.
    ///
    /// # Errors
    ///
    /// As for [`Rule::of`].
    pub fn new(algorithm: Algorithm, requests: u64, window: Duration, burst: u64) -> Result<Rule, RuleError> {
        let window_us = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        for count in [requests, burst] {
            if !(1..=REQUESTS_MAX).contains(&count) {
                return Err(RuleError::Requests(count));
            }
        }
        if window_us < 1_000 {
            return Err(RuleError::Window);
        }
        if window_us > HORIZON_MAX_US {
            return Err(RuleError::Horizon);
        }
        let (form, most) = match algorithm {
            Algorithm::FixedWindow => (Form::FixedWindow { requests, window_us }, requests),
            Algorithm::SlidingWindowLog if requests > LOG_REQUESTS_MAX => {
                return Err(RuleError::Log(requests));
            }
            Algorithm::SlidingWindowLog => (Form::Log { requests, window_us }, requests),
            Algorithm::SlidingWindowCounter { strict: true } => {
                (Form::Strict { requests, bucket_us: window_us.div_ceil(SUB_BUCKETS) }, requests)
            }
            Algorithm::SlidingWindowCounter { strict: false } => {
                let grain_us = grain_us(requests, window_us).ok_or(RuleError::Inexact)?;
                (Form::Counter { requests, window_us, grain_us }, requests)
            }
            Algorithm::TokenBucket => (bucket(requests, window_us, burst)?, burst),
        };
        let rule = Rule { form, most };
        if rule.horizon_us() > HORIZON_MAX_US { Err(RuleError::Horizon) } else { Ok(rule) }
    }

    /// The permits that can be taken at once; a greater cost is never admitted.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// How long after the last permit the state still matters.
    pub fn horizon_us(&self) -> u64 {
        match self.form {
            Form::FixedWindow { window_us, .. } | Form::Log { window_us, .. } => window_us,
            Form::Counter { window_us, .. } => 2 * window_us,
            Form::Strict { bucket_us, .. } => (SUB_BUCKETS + 1) * bucket_us,
            Form::Bucket { per_us, capacity, .. } => capacity.div_ceil(per_us),
        }
    }

    /// What a key is given to live whenever it is written: its horizon and a slack of [`TTL_SLACK_MS`].
    pub fn ttl_ms(&self) -> u64 {
        self.horizon_us().div_ceil(1_000) + TTL_SLACK_MS
    }
}

/// The smallest power of ten that divides the window and keeps its products exact.
fn grain_us(requests: u64, window_us: u64) -> Option<u64> {
    let fits = |grain: u64| u128::from(requests) * u128::from(window_us / grain) <= COUNTER_SCALE_MAX.into();
    let grains = std::iter::successors(Some(1u64), |grain| grain.checked_mul(10));
    grains
        .take_while(|grain| window_us.is_multiple_of(*grain) && window_us / grain >= ROUNDING_PARTS_MIN)
        .find(|grain| fits(*grain))
}

/// W / R in lowest terms, or where that is too fine, the nearest slower rate that fits.
fn bucket(requests: u64, window_us: u64, burst: u64) -> Result<Form, RuleError> {
    let common = gcd(requests, window_us);
    let (mut per_permit, mut per_us) = (window_us / common, requests / common);
    let per_permit_max = TICKS_MAX / burst;
    if per_permit > per_permit_max {
        let scaled = u128::from(per_permit_max) * u128::from(per_us) / u128::from(per_permit);
        let exact = u128::from(burst) * u128::from(per_permit) / u128::from(per_us);
        if exact > HORIZON_MAX_US.into() {
            return Err(RuleError::Horizon);
        }
        per_us = u64::try_from(scaled).unwrap_or(0);
        per_permit = per_permit_max;
        if per_us < ROUNDING_PARTS_MIN {
            return Err(RuleError::Inexact);
        }
    }
    Ok(Form::Bucket { per_permit, per_us, capacity: burst * per_permit })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_is_kept_in_lowest_terms() {
        let rule = Rule::new(Algorithm::TokenBucket, 100_000, 60 * SECOND, 500).unwrap();
        assert_eq!(rule.form, Form::Bucket { per_permit: 600, per_us: 1, capacity: 300_000 });
        assert_eq!((rule.most(), rule.horizon_us(), rule.ttl_ms()), (500, 300_000, 1_300));
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let new = |algorithm, requests, window| Rule::new(algorithm, requests, window, requests);
        let year = 366 * 86_400 * SECOND;
        assert_eq!(new(Algorithm::TokenBucket, 0, SECOND), Err(RuleError::Requests(0)));
        assert_eq!(new(Algorithm::SlidingWindowLog, 1_001, SECOND), Err(RuleError::Log(1_001)));
        assert_eq!(new(Algorithm::FixedWindow, 1, SECOND / 1_001), Err(RuleError::Window));
        assert_eq!(Rule::new(Algorithm::TokenBucket, 1, year, 11), Err(RuleError::Horizon));
        let counter = Algorithm::SlidingWindowCounter { strict: false };
        assert_eq!(new(counter, REQUESTS_MAX, year), Err(RuleError::Inexact));
    }

    proptest! {
        /// A rounded rate is never faster than the configured one, and slower by at most one part in a thousand.
        #[test]
        fn a_rate_that_is_too_fine_is_rounded_down(
            requests in 1..=REQUESTS_MAX, window_ms in 1u64..366 * 86_400_000, burst in 1..=REQUESTS_MAX,
        ) {
            let window = Duration::from_millis(window_ms);
            let Ok(rule) = Rule::new(Algorithm::TokenBucket, requests, window, burst) else { return Ok(()) };
            let Form::Bucket { per_permit, per_us, capacity } = rule.form else { unreachable!() };
            let exact = u128::from(requests) * u128::from(per_permit);
            let kept = u128::from(per_us) * u128::from(window_ms) * 1_000;
            prop_assert!(kept <= exact && kept >= exact - exact / u128::from(ROUNDING_PARTS_MIN) - 1);
            prop_assert!(capacity <= TICKS_MAX && rule.horizon_us() <= HORIZON_MAX_US);
        }

        #[test]
        fn a_counter_weighs_within_its_scale(requests in 1..=REQUESTS_MAX, window_ms in 1u64..366 * 86_400_000) {
            let algorithm = Algorithm::SlidingWindowCounter { strict: false };
            let window = Duration::from_millis(window_ms);
            let Ok(rule) = Rule::new(algorithm, requests, window, 1) else { return Ok(()) };
            let Form::Counter { window_us, grain_us, .. } = rule.form else { unreachable!() };
            prop_assert_eq!(window_us % grain_us, 0);
            prop_assert!(requests * (window_us / grain_us) <= COUNTER_SCALE_MAX);
        }
    }
}
