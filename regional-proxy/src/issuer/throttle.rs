//! How often a password may be guessed: failed attempts for each user name and from each address.
//!
//! Both are token buckets (GCRA). An attempt is charged before its password is checked and given back if it was right,
//! so that guessing in parallel gains nothing. Names that do not exist are counted as those that do, or the
//! throttle would tell them apart. Whoever fails on somebody's name for long keeps that user from logging in, not
//! from refreshing; the alternative is a password that can be guessed.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Of one user name: ten failures, and one more each minute.
const NAME: Rule = Rule { burst: 10, every: Duration::from_secs(60) };
/// Of one address (IPv6: of one /64): thirty failures, and one more every ten seconds.
const ADDRESS: Rule = Rule { burst: 30, every: Duration::from_secs(10) };
/// Names and addresses that are remembered; beyond it, those that are new share one bucket, since forgetting a
/// failure would allow another.
const SUBJECTS_MAX: usize = 65_536;
/// Between two searches of a full table for entries that say nothing any more, microseconds.
const SWEEP_EVERY_US: u64 = 1_000_000;

#[derive(Default)]
pub(super) struct Throttle {
    /// Keyed, so that nobody can aim at somebody else's entry.
    hash: RandomState,
    table: Mutex<Table>,
}

/// An attempt that was charged to its name and its address.
pub(super) struct Attempt<'a> {
    throttle: &'a Throttle,
    charged: [(u64, Rule); 2],
}

struct Rule {
    burst: u32,
    every: Duration,
}

#[derive(Default)]
struct Table {
    /// When each bucket is full again, in microseconds of the monotonic clock.
    full_at_us: HashMap<u64, u64>,
    swept_at_us: u64,
}

/// Of all subjects that found no place of their own.
const SHARED: u64 = 0;

impl Throttle {
    /// Charges an attempt, or says how long to wait until the next one.
    pub(super) fn attempt(&self, name: &str, client: IpAddr, now_us: u64) -> Result<Attempt<'_>, Duration> {
        let mut table = self.table();
        let mut charges =
            [(self.key(("name", name)), NAME), (self.key(("address", network(client))), ADDRESS)];
        for (key, _) in &mut charges {
            *key = table.place_of(*key, now_us);
        }
        let waits = charges.iter().map(|(key, rule)| table.wait_us(*key, rule, now_us));
        match waits.max() {
            Some(wait_us) if wait_us > 0 => Err(Duration::from_micros(wait_us)),
            _ => {
                charges.iter().for_each(|(key, rule)| table.charge(*key, rule, now_us));
                Ok(Attempt { throttle: self, charged: charges })
            }
        }
    }

    fn key(&self, subject: impl Hash) -> u64 {
        self.hash.hash_one(subject)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// Gives back what a successful attempt was charged.
    pub(super) fn succeeded(self) {
        let mut table = self.throttle.table();
        for (key, rule) in &self.charged {
            if let Some(full_at_us) = table.full_at_us.get_mut(key) {
                *full_at_us = full_at_us.saturating_sub(rule.every_us());
            }
        }
    }
}

impl Rule {
    fn every_us(&self) -> u64 {
        self.every.as_micros() as u64
    }
}

impl Table {
    /// `key`, or the shared one if it is new and there is no place for it.
    fn place_of(&mut self, key: u64, now_us: u64) -> u64 {
        if self.full_at_us.len() < SUBJECTS_MAX || self.full_at_us.contains_key(&key) {
            return key;
        }
        if now_us.saturating_sub(self.swept_at_us) >= SWEEP_EVERY_US {
            self.swept_at_us = now_us;
            self.full_at_us.retain(|_, full_at_us| *full_at_us > now_us);
        }
        if self.full_at_us.len() < SUBJECTS_MAX { key } else { SHARED }
    }

    fn wait_us(&self, key: u64, rule: &Rule, now_us: u64) -> u64 {
        let full_at_us = self.full_at_us.get(&key).map_or(now_us, |full_at_us| now_us.max(*full_at_us));
        (full_at_us + rule.every_us()).saturating_sub(now_us + rule.every_us() * u64::from(rule.burst))
    }

    fn charge(&mut self, key: u64, rule: &Rule, now_us: u64) {
        let full_at_us = self.full_at_us.entry(key).or_default();
        *full_at_us = now_us.max(*full_at_us) + rule.every_us();
    }
}

/// The network that one client has to itself.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;
    const START_US: u64 = 5 * SECOND_US;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Attempts that fail; `None` is one that was let through.
    fn fail(throttle: &Throttle, name: &str, client: IpAddr, now_us: u64) -> Option<Duration> {
        throttle.attempt(name, client, now_us).err()
    }

    #[test]
    fn a_name_has_ten_failures_and_one_a_minute_after_them() {
        let throttle = Throttle::default();
        for last in 0..10 {
            assert_eq!(fail(&throttle, "ada", address(last), START_US), None);
        }
        assert_eq!(fail(&throttle, "ada", address(10), START_US), Some(Duration::from_secs(60)));
        assert_eq!(
            fail(&throttle, "ada", address(10), START_US + 59 * SECOND_US),
            Some(Duration::from_secs(1))
        );
        assert_eq!(fail(&throttle, "ada", address(10), START_US + 60 * SECOND_US), None);
        assert_eq!(
            fail(&throttle, "ada", address(10), START_US + 60 * SECOND_US),
            Some(Duration::from_secs(60))
        );
        assert_eq!(fail(&throttle, "bob", address(10), START_US), None);
    }

    #[test]
    fn an_address_has_thirty_failures_and_one_every_ten_seconds_after_them() {
        let throttle = Throttle::default();
        for name in 0..30 {
            assert_eq!(fail(&throttle, &name.to_string(), address(1), START_US), None);
        }
        assert_eq!(fail(&throttle, "30", address(1), START_US), Some(Duration::from_secs(10)));
        assert_eq!(fail(&throttle, "30", address(2), START_US), None);
        assert_eq!(fail(&throttle, "30", address(1), START_US + 10 * SECOND_US), None);
    }

    #[test]
    fn a_refused_attempt_is_charged_to_neither() {
        let throttle = Throttle::default();
        (0..10).for_each(|_| assert_eq!(fail(&throttle, "ada", address(1), START_US), None));
        // Refused for the name; the address still has its other twenty.
        (0..50).for_each(|_| assert!(fail(&throttle, "ada", address(1), START_US).is_some()));
        (0..20).for_each(|name| {
            assert_eq!(fail(&throttle, &name.to_string(), address(1), START_US), None);
        });
        assert!(fail(&throttle, "21", address(1), START_US).is_some());
    }

    #[test]
    fn a_success_costs_nothing_and_forgives_no_failure() {
        let throttle = Throttle::default();
        (0..9).for_each(|_| assert_eq!(fail(&throttle, "ada", address(1), START_US), None));
        for _ in 0..100 {
            throttle.attempt("ada", address(1), START_US).unwrap().succeeded();
        }
        assert_eq!(fail(&throttle, "ada", address(1), START_US), None);
        assert!(fail(&throttle, "ada", address(1), START_US).is_some());
    }

    #[test]
    fn attempts_in_parallel_are_charged_before_their_outcome() {
        let throttle = Throttle::default();
        let running: Vec<_> =
            (0..10).map(|_| throttle.attempt("ada", address(1), START_US).unwrap()).collect();
        assert!(fail(&throttle, "ada", address(1), START_US).is_some());
        running.into_iter().for_each(Attempt::succeeded);
        assert_eq!(fail(&throttle, "ada", address(1), START_US), None);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let client = |text: &str| network(text.parse().unwrap());
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:0:0:2"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), address(1));
    }

    #[test]
    fn a_full_table_forgets_no_failure_and_puts_the_new_into_one_bucket() {
        let throttle = Throttle::default();
        for index in 0..SUBJECTS_MAX as u64 {
            throttle.table().full_at_us.insert(index + 1, START_US + SECOND_US);
        }
        // Both the name and the address of each attempt are charged to the shared bucket.
        let let_through = (0..100).filter(|i| {
            fail(&throttle, &i.to_string(), IpAddr::from([198, 51, 100, *i]), START_US + 1).is_none()
        });
        assert_eq!(let_through.count(), 5);
        assert_eq!(throttle.table().full_at_us.len(), SUBJECTS_MAX + 1);
        // What is over makes room.
        assert_eq!(fail(&throttle, "new", address(1), START_US + 2 * SECOND_US), None);
        assert_eq!(throttle.table().full_at_us.len(), 3);
    }
}
