//! API keys, known by their hash.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::first_u64;
use super::unauthorized::Unauthorized;
use crate::config::ApiKey;

/// Bytes of a key that is hashed; longer ones are unknown.
const MAX_API_KEY_BYTES: usize = 1024;

/// By the start of their hashes.
#[derive(Debug)]
pub(super) struct ApiKeys(Vec<(u64, Arc<ApiKey>)>);

impl ApiKeys {
    pub(super) fn new(keys: &[ApiKey]) -> ApiKeys {
        let mut keys: Vec<_> =
            keys.iter().map(|key| (first_u64(&key.sha256), Arc::new(key.clone()))).collect();
        keys.sort_by_key(|(start, _)| *start);
        ApiKeys(keys)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long the search takes says only how a hash begins, which leads to no key; the rest is compared in constant
    /// time.
    pub(super) fn find(&self, presented: &[u8]) -> Result<Arc<ApiKey>, Unauthorized> {
        if presented.len() > MAX_API_KEY_BYTES {
            return Err(Unauthorized::ApiKey);
        }
        let hash: [u8; 32] = Sha256::digest(presented).into();
        let start = first_u64(&hash);
        let first = self.0.partition_point(|(other, _)| *other < start);
        let candidates = self.0[first..].iter().take_while(|(other, _)| *other == start);
        let mut found = candidates.filter(|(_, key)| key.sha256.ct_eq(&hash).into());
        found.next().map(|(_, key)| key.clone()).ok_or(Unauthorized::ApiKey)
    }
}
