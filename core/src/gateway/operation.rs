//! What those who operate the gateway see and do.

use std::net::IpAddr;

use super::Gateway;
use crate::Now;
use crate::config::Limit;
use crate::identity::KeysFailure;
use crate::limit::{Ban, FloodStats, LimiterStats};

impl Gateway {
    /// Addresses that are refused now; none where `security.rate_limit` is off.
    pub fn bans(&self, now: Now) -> Vec<Ban> {
        self.flood.as_ref().map(|flood| flood.bans(now)).unwrap_or_default()
    }

    /// Lets a banned address in again; false where it was not banned.
    pub fn lift_ban(&self, address: IpAddr, now: Now) -> bool {
        self.flood.as_ref().is_some_and(|flood| flood.lift(address, now))
    }

    /// `None` where `security.rate_limit` is off.
    pub fn flood_stats(&self) -> Option<FloodStats> {
        self.flood.as_ref().map(|flood| flood.stats())
    }

    /// Every limit that is enforced here, with what it holds.
    pub fn limits(&self) -> impl Iterator<Item = (&Limit, LimiterStats)> {
        self.quotas.limiters().map(|limiter| (limiter.rules(), limiter.stats()))
    }

    /// Token issuers whose last key set could not be fetched, and why.
    pub fn failing_key_sets(&self) -> impl Iterator<Item = (&str, KeysFailure)> {
        self.identity.failing_key_sets()
    }
}
