//! Protection against floods: who sends too much is not listened to for a while.
//!
//! It counts every arrival before anything is known of it but its address, refused ones too: who is held at 429 and
//! goes on must be able to end up banned. An address within its maximum in every window is never banned, so nothing
//! is estimated or shared: when the counters are full, an address that has none is let through uncounted, because a
//! counter of many could only be held against all of them. Other limits still apply to it.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::micros;
use super::slots::Slots;
use super::subject::{Secret, Subject, SubjectKey, network};
use crate::Now;
use crate::config::FloodProtection;

/// Addresses that are counted or banned, about 30 MB of them.
const ADDRESSES_MAX: usize = 1 << 18;
const SHARDS: usize = 64;
/// Slots looked at for each arrival of an address that is not counted yet.
const SWEEP_SLOTS: usize = 8;
const IPV6_PREFIX_LEN: u8 = 64;
/// Bans that are kept until somebody asks for the fresh ones; older ones are told first.
const FRESH_MAX: usize = 1_024;

#[derive(Debug)]
pub struct Flood {
    rules: FloodProtection,
    secret: Secret,
    window_us: u64,
    block_us: u64,
    /// Tells counts made under other rules, which mean nothing under these.
    generation: u32,
    addresses_max: usize,
    shards: Arc<[Padded]>,
    fresh: Arc<Mutex<Vec<Fresh>>>,
}

/// A ban that was imposed here and that other nodes do not know of yet.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    network: Ipv6Addr,
    until_us: u64,
}

/// The address is banned for this many microseconds more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Banned {
    pub retry_after_us: u64,
    /// By this arrival.
    pub newly: bool,
}

/// For the operator; times are microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The first address of the network.
    pub address: IpAddr,
    /// 32 for IPv4, 64 for IPv6.
    pub prefix_len: u8,
    pub since_us: u64,
    pub until_us: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloodStats {
    /// Addresses counted or banned.
    pub addresses: u64,
    pub bans_imposed: u64,
    /// Arrivals that nothing counted, because all counters were taken.
    pub uncounted: u64,
    pub clock_resets: u64,
}

#[derive(Debug)]
#[repr(align(128))]
struct Padded(Mutex<Shard>);

#[derive(Debug)]
struct Shard {
    addresses: Slots<Record>,
    bans_imposed: u64,
    uncounted: u64,
    clock_resets: u64,
}

/// What is known of one network. Its windows follow each other from its first arrival.
#[derive(Clone, Copy, Debug)]
struct Record {
    network: Ipv6Addr,
    /// Never before the latest ban.
    window_from_us: u64,
    /// Arrivals in the window before and in this one, or since the latest ban.
    previous: u64,
    current: u64,
    generation: u32,
    ban: Option<Term>,
}

#[derive(Clone, Copy, Debug)]
struct Term {
    since_us: u64,
    until_us: u64,
}

impl Flood {
    /// Takes over the bans of `known`, and its counts where the rules are the same. The secret must be the same, too.
    pub fn new(rules: &FloodProtection, secret: Secret, known: Option<&Flood>) -> Flood {
        let shards = known.map(|known| known.shards.clone());
        let generation =
            known.map_or(0, |known| known.generation.wrapping_add(u32::from(known.rules != *rules)));
        Flood {
            rules: rules.clone(),
            secret,
            window_us: micros(rules.window),
            block_us: micros(rules.block_duration),
            generation,
            addresses_max: ADDRESSES_MAX,
            shards: shards.unwrap_or_else(|| (0..SHARDS).map(|_| Padded::new()).collect()),
            fresh: known.map(|known| known.fresh.clone()).unwrap_or_default(),
        }
    }

    /// Counts an arrival, and says whether its address is banned. The ban is timed from when it was imposed: arrivals
    /// do not extend it, but they are counted anew from there, so that who never stopped is banned again at once and
    /// who did is not held to what came before.
    pub fn arrive(&self, address: IpAddr, now: Now) -> Result<(), Banned> {
        let key = self.secret.key(Subject::Address(address));
        let mut shard = self.shard(key);
        let shard = &mut *shard;
        let record = match shard.addresses.find(key) {
            Some(record) => record,
            None => {
                shard.addresses.sweep(SWEEP_SLOTS, |record| self.is_idle(record, now.mono_us));
                if shard.addresses.len() >= self.addresses_max.div_ceil(SHARDS) {
                    shard.uncounted += 1;
                    return Ok(());
                }
                shard.addresses.insert(key, self.record(network(address), now.mono_us))
            }
        };
        if self.is_ahead(record, now.mono_us) {
            *record = self.record(record.network, now.mono_us);
            shard.clock_resets += 1;
        }
        let arrival = self.count(record, now.mono_us);
        if let Err(Banned { retry_after_us, newly: true }) = arrival {
            let mut fresh = self.fresh();
            if fresh.len() < FRESH_MAX {
                fresh.push(Fresh { network: record.network, until_us: now.mono_us + retry_after_us });
            }
            shard.bans_imposed += 1;
        }
        arrival
    }

    /// Takes the bans that were imposed here since the last time, each with how long it lasts.
    pub(crate) fn take_fresh(&self, now: Now) -> Vec<(IpAddr, u64)> {
        let fresh = std::mem::take(&mut *self.fresh());
        let left = |fresh: Fresh| {
            let address = IpAddr::V6(fresh.network).to_canonical();
            Some((address, fresh.until_us.checked_sub(now.mono_us)?))
        };
        fresh.into_iter().filter_map(left).collect()
    }

    /// Bans an address as another node did.
    pub(crate) fn impose(&self, address: IpAddr, life_us: u64, now: Now) {
        let key = self.secret.key(Subject::Address(address));
        let mut shard = self.shard(key);
        let shard = &mut *shard;
        if shard.addresses.find(key).is_none() {
            shard.addresses.sweep(SWEEP_SLOTS, |record| self.is_idle(record, now.mono_us));
            if shard.addresses.len() >= self.addresses_max.div_ceil(SHARDS) {
                shard.uncounted += 1;
                return;
            }
            shard.addresses.insert(key, self.record(network(address), now.mono_us));
        }
        // Nobody's word holds for longer than this node's own would.
        let until_us = now.mono_us.saturating_add(life_us.min(self.block_us));
        let Some(record) = shard.addresses.find(key) else { return };
        if record.ban.is_none_or(|term| term.until_us < until_us) {
            let ban = Some(Term { since_us: now.mono_us, until_us });
            *record = Record { ban, ..self.record(record.network, now.mono_us) };
        }
    }

    pub(crate) fn block_us(&self) -> u64 {
        self.block_us
    }

    /// The bans that last at `now`.
    pub fn bans(&self, now: Now) -> Vec<Ban> {
        let wall_us = |mono_us: u64| (now.wall_us.saturating_add(mono_us)).saturating_sub(now.mono_us);
        let mut bans = Vec::new();
        for shard in &*self.shards {
            let shard = shard.lock();
            for record in shard.addresses.iter() {
                let Some(term) = record.ban.filter(|term| now.mono_us < term.until_us) else { continue };
                let address = IpAddr::V6(record.network).to_canonical();
                bans.push(Ban {
                    address,
                    prefix_len: if address.is_ipv4() { 32 } else { IPV6_PREFIX_LEN },
                    since_us: wall_us(term.since_us),
                    until_us: wall_us(term.until_us),
                });
            }
        }
        bans
    }

    /// Ends the ban of an address, and of its /64, and forgets what it sent. Says whether there was one to end.
    pub fn lift(&self, address: IpAddr, now: Now) -> bool {
        let key = self.secret.key(Subject::Address(address));
        let mut shard = self.shard(key);
        let Some(record) = shard.addresses.find(key) else { return false };
        let banned = record.ban.is_some_and(|term| now.mono_us < term.until_us);
        if banned {
            *record = self.record(record.network, now.mono_us);
        }
        banned
    }

    pub fn stats(&self) -> FloodStats {
        self.shards.iter().map(Padded::lock).fold(FloodStats::default(), |sum, shard| FloodStats {
            addresses: sum.addresses + shard.addresses.len() as u64,
            bans_imposed: sum.bans_imposed + shard.bans_imposed,
            uncounted: sum.uncounted + shard.uncounted,
            clock_resets: sum.clock_resets + shard.clock_resets,
        })
    }

    fn count(&self, record: &mut Record, mono_us: u64) -> Result<(), Banned> {
        // An arrival may be handled after a later one; to its address it is as late.
        let now_us = mono_us.max(record.window_from_us);
        if record.generation != self.generation {
            *record = Record { ban: record.ban, ..self.record(record.network, now_us) };
        }
        match (now_us - record.window_from_us) / self.window_us {
            0 => {}
            1 => {
                record.window_from_us += self.window_us;
                record.previous = std::mem::take(&mut record.current);
            }
            _ => (record.window_from_us, record.previous, record.current) = (now_us, 0, 0),
        }
        record.current += 1;
        if let Some(term) = record.ban.filter(|term| now_us < term.until_us) {
            return Err(Banned { retry_after_us: term.until_us - mono_us, newly: false });
        }
        record.ban = None;
        // The window before can only be over the maximum if all of it was counted during a ban.
        if record.previous.max(record.current) <= self.rules.max_requests_per_ip {
            return Ok(());
        }
        let until_us = now_us.saturating_add(self.block_us);
        *record =
            Record { ban: Some(Term { since_us: now_us, until_us }), ..self.record(record.network, now_us) };
        Err(Banned { retry_after_us: until_us - mono_us, newly: true })
    }

    /// Nothing in the record would make a difference.
    fn is_idle(&self, record: &Record, mono_us: u64) -> bool {
        let counted = mono_us < record.window_from_us.saturating_add(2 * self.window_us);
        let banned = record.ban.is_some_and(|term| mono_us < term.until_us);
        self.is_ahead(record, mono_us) || !counted && !banned
    }

    /// The clock stepped back behind the record further than the record's own time reaches.
    fn is_ahead(&self, record: &Record, mono_us: u64) -> bool {
        record.window_from_us.saturating_sub(mono_us) > (2 * self.window_us).max(self.block_us)
    }

    fn record(&self, network: Ipv6Addr, now_us: u64) -> Record {
        Record {
            network,
            window_from_us: now_us,
            previous: 0,
            current: 0,
            generation: self.generation,
            ban: None,
        }
    }

    fn fresh(&self) -> MutexGuard<'_, Vec<Fresh>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, key: SubjectKey) -> MutexGuard<'_, Shard> {
        self.shards[key.shard_bits() % SHARDS].lock()
    }
}

impl Padded {
    fn new() -> Padded {
        let shard = Shard { addresses: Slots::new(), bans_imposed: 0, uncounted: 0, clock_resets: 0 };
        Padded(Mutex::new(shard))
    }

    fn lock(&self) -> MutexGuard<'_, Shard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
