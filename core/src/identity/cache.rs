//! Verified tokens, so that a token's signature is checked once and not with each request.
//!
//! The key is the token's SHA-256 alone: provider, audience and rules are those of the one configuration generation
//! that a cache belongs to, and is dropped with. Refusals are not kept, or strangers would fill it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::verified::VerifiedToken;
use crate::Now;

/// Shards of the cache, buckets of a shard and tokens of a bucket: 32,768 tokens. Half of that fits with next to no
/// bucket overflowing.
const SHARDS: usize = 64;
const BUCKETS: usize = 64;
const WAYS: usize = 8;

type Hash = [u8; 32];

#[derive(Debug)]
pub(super) struct TokenCache {
    shards: Box<[Mutex<Shard>]>,
}

/// Its buckets, one after the other; nothing is allocated before the first token comes.
type Shard = Vec<Option<Entry>>;

#[derive(Debug)]
struct Entry {
    hash: Hash,
    token: Arc<VerifiedToken>,
    /// Asked for since it was last passed over for eviction.
    referenced: bool,
}

impl TokenCache {
    pub(super) fn new() -> TokenCache {
        TokenCache { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// The caller checks whether the token still counts.
    pub(super) fn get(&self, hash: &Hash) -> Option<Arc<VerifiedToken>> {
        let mut shard = self.shard(hash);
        let entry = bucket(&mut shard, hash).iter_mut().flatten().find(|entry| entry.hash == *hash)?;
        entry.referenced = true;
        Some(entry.token.clone())
    }

    /// Takes the place of the same token, of none, of one that expired or, by second chance, of one that was not asked
    /// for lately. Looks at one bucket, whatever happens.
    pub(super) fn insert(&self, hash: &Hash, token: Arc<VerifiedToken>, now: Now) {
        let mut shard = self.shard(hash);
        if shard.is_empty() {
            shard.resize_with(BUCKETS * WAYS, || None);
        }
        let bucket = bucket(&mut shard, hash);
        let is_same = |entry: &Option<Entry>| entry.as_ref().is_some_and(|entry| entry.hash == *hash);
        let is_free =
            |entry: &Option<Entry>| entry.as_ref().is_none_or(|entry| entry.token.check_time(now).is_err());
        let place = bucket.iter().position(is_same).or_else(|| bucket.iter().position(is_free));
        let place = place.unwrap_or_else(|| second_chance(bucket, hash));
        bucket[place] = Some(Entry { hash: *hash, token, referenced: false });
    }

    pub(super) fn remove(&self, hash: &Hash) {
        for entry in bucket(&mut self.shard(hash), hash) {
            if entry.as_ref().is_some_and(|entry| entry.hash == *hash) {
                *entry = None;
            }
        }
    }

    fn shard(&self, hash: &Hash) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(hash[0]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bucket<'a>(shard: &'a mut Shard, hash: &Hash) -> &'a mut [Option<Entry>] {
    let start = usize::from(hash[1]) % BUCKETS * WAYS;
    shard.get_mut(start..start + WAYS).unwrap_or_default()
}

/// The first entry that was not asked for, from a place that the newcomer's hash chooses; all that are passed over lose
/// their mark, so that the second round finds one.
fn second_chance(bucket: &mut [Option<Entry>], hash: &Hash) -> usize {
    let start = usize::from(hash[2]);
    let places = (start..start + WAYS).map(|place| place % WAYS);
    for place in places {
        match &mut bucket[place] {
            Some(entry) if entry.referenced => entry.referenced = false,
            _ => return place,
        }
    }
    start % WAYS
}
