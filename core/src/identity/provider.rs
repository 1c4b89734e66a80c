//! One issuer of tokens: its rules and its keys.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::algorithm::{Algorithm, AlgorithmSet};
use super::claims::{Claims, Validity};
use super::key::Key;
use super::key_ring::{KeyRing, Lookup, Rules};
use super::token::Header;
use super::unauthorized::Unauthorized;
use crate::Now;
use crate::config::{JwtProvider, KeySource};

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) rules: JwtProvider,
    accepted: AlgorithmSet,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    /// In the configuration.
    Fixed(Arc<Key>),
    Published {
        url: String,
        ring: KeyRing,
    },
}

/// What to do about a token's key.
#[derive(Debug)]
pub(super) enum Search {
    Found { key: Arc<Key>, change: u64 },
    Fetch(u64),
    Refused(Unauthorized),
}

impl Provider {
    /// Takes over what `previous` providers have fetched from the same URL.
    pub(super) fn new(rules: &JwtProvider, previous: &[Arc<Provider>]) -> Provider {
        let keys = match &rules.source {
            KeySource::Secret(secret) => Keys::Fixed(Arc::new(Key::from_secret(secret.clone()))),
            KeySource::PublicKey(key) => Keys::Fixed(key.clone()),
            KeySource::Jwks { url, refresh, stale_for, cooldown } => {
                let rules = Rules {
                    refresh_us: micros(*refresh),
                    stale_us: micros(*stale_for),
                    cooldown_us: micros(*cooldown),
                };
                let known = previous.iter().filter_map(|provider| provider.ring_of(url)).next();
                Keys::Published { url: url.clone(), ring: KeyRing::new(rules, known) }
            }
        };
        let accepted = match &rules.algorithms[..] {
            [] => Algorithm::ALL.into_iter().collect(),
            listed => listed.iter().copied().collect(),
        };
        Provider { accepted, keys, rules: rules.clone() }
    }

    /// What can be said of a token before its signature is checked, which is cheaper than checking it.
    pub(super) fn check_claims(&self, claims: &Claims, now: Now) -> Result<Validity, Unauthorized> {
        for name in ["sub", "jti"] {
            claims.registered(name)?;
        }
        if !claims.audience_is_one_of(&self.rules.audience)? {
            return Err(Unauthorized::Audience);
        }
        let validity = claims.validity(self.rules.leeway)?;
        validity.check(now.wall_us)?;
        Ok(validity)
    }

    pub(super) fn find_key(&self, header: &Header, now: Now) -> Search {
        self.search(header, |ring, name| ring.find(name, header.algorithm, now))
    }

    /// Once the fetch that a token has waited for is over.
    pub(super) fn find_fetched_key(&self, header: &Header, now: Now) -> Search {
        self.search(header, |ring, name| ring.find_fetched(name, header.algorithm, now))
    }

    fn search(&self, header: &Header, find: impl FnOnce(&KeyRing, Option<&str>) -> Lookup) -> Search {
        if !self.accepted.contains(header.algorithm) {
            return Search::Refused(Unauthorized::Algorithm);
        }
        match &self.keys {
            Keys::Fixed(key) if key.allows(header.algorithm) => Search::Found { key: key.clone(), change: 0 },
            Keys::Fixed(_) => Search::Refused(Unauthorized::Algorithm),
            Keys::Published { ring, .. } => match find(ring, header.key_name.as_deref()) {
                Lookup::Found { key, change } => Search::Found { key, change },
                Lookup::Fetch(fetch) => Search::Fetch(fetch),
                Lookup::Unavailable { retry_after_us } => {
                    Search::Refused(Unauthorized::KeysUnavailable { retry_after_us })
                }
                Lookup::Unknown => Search::Refused(Unauthorized::UnknownKey),
                Lookup::WrongAlgorithm => Search::Refused(Unauthorized::Algorithm),
                Lookup::Ambiguous => Search::Refused(Unauthorized::AmbiguousKey),
            },
        }
    }

    /// Whether a token that was verified with `key` still counts.
    pub(super) fn vouches_for(&self, key: &Key, change: &AtomicU64, now: Now) -> bool {
        self.ring().is_none_or(|ring| ring.vouches_for(key, change, now))
    }

    pub(super) fn ring(&self) -> Option<&KeyRing> {
        match &self.keys {
            Keys::Fixed(_) => None,
            Keys::Published { ring, .. } => Some(ring),
        }
    }

    /// Where its keys are published; empty where they are not.
    pub(super) fn url(&self) -> &str {
        match &self.keys {
            Keys::Fixed(_) => "",
            Keys::Published { url, .. } => url,
        }
    }

    fn ring_of(&self, wanted: &str) -> Option<&KeyRing> {
        match &self.keys {
            Keys::Published { url, ring } if url == wanted => Some(ring),
            _ => None,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
