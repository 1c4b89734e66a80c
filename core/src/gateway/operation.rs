//! What those who operate the gateway see and do.

use std::net::IpAddr;
use std::time::Duration;

use super::Gateway;
use crate::Now;
use crate::config::Limit;
use crate::fleet::{SharedLimitStats, StoreState, TOLD_WITHIN_US};
use crate::identity::KeysFailure;
use crate::limit::{Ban, FloodStats, LimiterStats};

impl Gateway {
    /// Addresses that are refused now; none where `security.rate_limit` is off.
    pub fn bans(&self, now: Now) -> Vec<Ban> {
        self.flood.as_ref().map(|flood| flood.bans(now)).unwrap_or_default()
    }

    /// Lets a banned address in again; false where it was not banned.
    pub fn lift_ban(&self, address: IpAddr, now: Now) -> bool {
        let lifted = self.flood.as_ref().is_some_and(|flood| flood.lift(address, now));
        if lifted {
            self.say_lifted(address, now);
        }
        lifted
    }

    /// Within what time all nodes refuse an address that one of them banned, if the store answers in time; `None` where
    /// bans are not shared.
    pub fn bans_shared_within(&self) -> Option<Duration> {
        let store = self.config.limits.store.as_ref().filter(|store| store.share.bans)?;
        Some(Duration::from_micros(TOLD_WITHIN_US) + 2 * store.timeout)
    }

    /// Bans and opened breakers that the other nodes were not told of, because too many waited.
    pub fn notices_unsaid(&self) -> u64 {
        self.quotas.fleet().map_or(0, |fleet| fleet.notices.unsaid())
    }

    /// `None` where `security.rate_limit` is off.
    pub fn flood_stats(&self) -> Option<FloodStats> {
        self.flood.as_ref().map(|flood| flood.stats())
    }

    /// Every limit that is counted on this node alone, with what it holds.
    pub fn limits(&self) -> impl Iterator<Item = (&Limit, LimiterStats)> {
        self.quotas.here()
    }

    /// Every limit that is counted in the shared store, with what this node does about it.
    pub fn shared_limits(&self, now: Now) -> impl Iterator<Item = (&Limit, SharedLimitStats)> {
        self.quotas.shared(now)
    }

    /// Whether the shared store is asked; `None` where the policy names none.
    pub fn store_state(&self, now: Now) -> Option<StoreState> {
        self.quotas.store_state(now)
    }

    /// Refills, returns and refunds that were never sent to the shared store, because too many waited.
    pub fn store_calls_dropped(&self) -> u64 {
        self.quotas.store_calls_dropped()
    }

    /// Token issuers whose last key set could not be fetched, and why.
    pub fn failing_key_sets(&self) -> impl Iterator<Item = (&str, KeysFailure)> {
        self.identity.failing_key_sets()
    }
}
