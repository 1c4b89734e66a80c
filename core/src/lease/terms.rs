//! On what terms a limit is leased, and by how much leasing can exceed it.

use std::time::Duration;

use crate::config::{self, Algorithm};
use crate::store::{Rule, RuleError};

/// Thousandths of what remains at the root that one grant may take: small enough that many nodes share what is scarce.
pub const SHARE_PERMILLE: u64 = 100;
/// The drift assumed of clocks, in millionths; NTP keeps them below half of it.
pub const DRIFT_PPM: u64 = 1_000;
/// What a node's clock may be coarse by.
pub const GRANULARITY_US: u64 = 1_000;

/// A target time below this has no lease left once its answer arrived.
const TARGET_MIN_US: u64 = 10_000;

/// A limit and how it is leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub(super) rule: Rule,
    pub(super) window_root: bool,
    pub(super) target_us: u64,
    pub(super) holding_max: u64,
    requests: u64,
    window_us: u64,
    burst: u64,
    reserved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a grant should last at the observed rate: τ.
    pub target: Duration,
    /// What one node holds and has asked for at most: k_max. Default: the limit's own size under a window, what comes
    /// within τ under a token bucket.
    pub holding_max: Option<u64>,
    /// Hold back what comes within τ from the root's burst, so that leasing exceeds nothing.
    pub reserve: bool,
    /// The largest cost of a request.
    pub largest_cost: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error("leases come from a fixed window or a token bucket")]
    NotARoot,
    #[error("a lease lasts at least 10 ms and at most the window")]
    Target,
    #[error("a burst of {burst} leaves no room for a reserve beside a cost of {cost}")]
    Reserve { burst: u64, cost: u64 },
}

impl Terms {
    /// The terms of a configured limit.
    ///
    /// # Errors
    ///
    /// As for [`Terms::new`].
    pub fn of(limit: &config::Limit, options: &Options) -> Result<Terms, TermsError> {
        Terms::new(limit.algorithm, limit.requests, limit.window, limit.burst, options)
    }

    /// A reserve shortens the target time where the burst is too small for it.
    ///
    /// # Errors
    ///
    /// A rule that the store cannot count or lease, and a burst in which a reserve has no room.
    pub fn new(
        algorithm: Algorithm,
        requests: u64,
        window: Duration,
        burst: u64,
        options: &Options,
    ) -> Result<Terms, TermsError> {
        let window_root = match algorithm {
            Algorithm::FixedWindow => true,
            Algorithm::TokenBucket => false,
            _ => return Err(TermsError::NotARoot),
        };
        let whole = Rule::new(algorithm, requests, window, burst)?;
        let window_us = window.as_micros() as u64;
        let mut target_us = u64::try_from(options.target.as_micros()).unwrap_or(u64::MAX).min(window_us);
        let reserved = options.reserve && !window_root;
        let rule = if reserved {
            let room = burst.saturating_sub(options.largest_cost);
            target_us = target_us.min(scaled(room, window_us, requests));
            let root = burst - scaled(requests, target_us, window_us).min(burst - 1);
            if target_us < TARGET_MIN_US {
                return Err(TermsError::Reserve { burst, cost: options.largest_cost });
            }
            Rule::new(algorithm, requests, window, root)?
        } else {
            whole
        };
        if target_us < TARGET_MIN_US {
            return Err(TermsError::Target);
        }
        let comes = scaled(requests, target_us, window_us).max(1);
        let holding_max = options.holding_max.unwrap_or(if window_root { requests } else { comes });
        let holding_max = holding_max.min(rule.most());
        Ok(Terms { rule, window_root, target_us, holding_max, requests, window_us, burst, reserved })
    }

    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    pub fn window_us(&self) -> u64 {
        self.window_us
    }

    pub fn target_us(&self) -> u64 {
        self.target_us
    }

    /// What is spendable at the root's answer: until its window ends, or for τ.
    pub(super) fn lease_us(&self) -> u64 {
        if self.window_root { self.window_us } else { self.target_us }
    }
}

/// What a fleet admits at most, whatever crashes and whatever the network does, while clocks drift within
/// [`DRIFT_PPM`]. Outside of it are loss of the store's data, forward jumps of its clock, and what `local_share` and `allow`
/// admit while the store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Permits beyond what the limit means without leases.
    pub excess: u64,
    burst: u64,
    requests: u64,
    window_us: u64,
    window_root: bool,
}

/// A window root is never exceeded: all permits of a window are debited in it and spent before it ends. From a token
/// bucket, permits that were debited up to τ earlier may be spent in an interval, at most all that come within τ, and
/// at most what all nodes hold: b + R·Δ/W + min(R·τ/W, N·k_max). With a reserve the root's burst is smaller by R·τ/W,
/// and nothing is exceeded. `nodes` is `None` where their number is unknowable.
pub fn bound(terms: &Terms, nodes: Option<u32>) -> Bound {
    let comes = scaled(terms.requests, terms.target_us, terms.window_us);
    let held = nodes.map_or(u64::MAX, |nodes| terms.holding_max.saturating_mul(nodes.into()));
    let excess = if terms.window_root || terms.reserved { 0 } else { comes.min(held) };
    let Terms { burst, requests, window_us, window_root, .. } = *terms;
    Bound { excess, burst, requests, window_us, window_root }
}

impl Bound {
    /// The most that is admitted in any `interval_us`.
    pub fn permits_within(&self, interval_us: u64) -> u64 {
        if self.window_root {
            return self.requests.saturating_mul(interval_us.div_ceil(self.window_us) + 1);
        }
        let comes = scaled(self.requests, interval_us, self.window_us);
        self.burst.saturating_add(comes).saturating_add(self.excess)
    }
}

/// ⌈a · b / c⌉, as far as it fits.
fn scaled(a: u64, b: u64, c: u64) -> u64 {
    u64::try_from((u128::from(a) * u128::from(b)).div_ceil(c.into())).unwrap_or(u64::MAX)
}
