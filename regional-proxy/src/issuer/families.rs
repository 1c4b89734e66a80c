//! Refresh tokens: random, stored as hashes, each good for one use.
//!
//! What follows from one login is a family, of which the last token alone is good (RFC 9700 section 4.14.2). One that was
//! used already is in two hands, and nobody can tell whose is the thief's: the family ends. A client that lost the
//! answer to its refresh therefore logs in again. Access tokens that were issued stay good for their short life.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Logins of one user that can be refreshed; with one more the oldest of them ends. Bounded by user, so that nobody can
/// log others out, and thereby by the number of users in all.
const FAMILIES_PER_USER_MAX: usize = 256;
const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const TOKEN_BYTES: usize = ID_BYTES + SECRET_BYTES;

/// Who a family belongs to, and the password they proved: a changed one ends it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) username: Arc<str>,
    /// SHA-256 of the password's PHC string.
    pub(super) credential: [u8; 32],
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    #[error("no family has this token, or it expired")]
    Unknown,
    #[error("the token was used before")]
    Replayed,
    #[error("the user is gone or has another password")]
    Withdrawn,
}

#[derive(Default)]
pub(super) struct Families(Mutex<Table>);

#[derive(Default)]
struct Table {
    families: HashMap<[u8; ID_BYTES], Family>,
    /// The families of each user, the oldest first.
    by_user: HashMap<Arc<str>, VecDeque<[u8; ID_BYTES]>>,
}

struct Family {
    holder: Holder,
    secret_sha256: [u8; 32],
    /// On the monotonic clock.
    expires_us: u64,
}

impl Families {
    /// Begins a family and answers its first token.
    pub(super) fn begin(&self, holder: Holder, ttl: Duration, now_us: u64) -> String {
        let (id, secret) = (random(), random());
        let username = holder.username.clone();
        let mut table = self.table();
        table.make_room(&username, now_us);
        table.by_user.entry(username).or_default().push_back(id);
        table.families.insert(
            id,
            Family { holder, secret_sha256: Sha256::digest(secret).into(), expires_us: after(now_us, ttl) },
        );
        encode(id, secret)
    }

    /// Takes a token and answers whose it is, with the next one. `current` is what is known of a user now.
    pub(super) fn rotate(
        &self,
        token: &str,
        current: impl FnOnce(&str) -> Option<Holder>,
        ttl: Duration,
        now_us: u64,
    ) -> Result<(Holder, String), Rejected> {
        let (id, secret) = decode(token).ok_or(Rejected::Unknown)?;
        let mut table = self.table();
        let family = table.families.get_mut(&id).ok_or(Rejected::Unknown)?;
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let rejected = if family.expires_us <= now_us {
            Some(Rejected::Unknown)
        } else if !bool::from(digest.ct_eq(&family.secret_sha256)) {
            // The identifier is as random as the rest: whoever knows it was given one of this family's tokens.
            Some(Rejected::Replayed)
        } else if current(&family.holder.username).as_ref() != Some(&family.holder) {
            Some(Rejected::Withdrawn)
        } else {
            None
        };
        if let Some(rejected) = rejected {
            table.end(&id);
            return Err(rejected);
        }
        let next = random();
        family.secret_sha256 = Sha256::digest(next).into();
        family.expires_us = after(now_us, ttl);
        Ok((family.holder.clone(), encode(id, next)))
    }

    /// Ends the families of users who are not listed any more.
    pub(super) fn keep_users(&self, is_listed: impl Fn(&str) -> bool) {
        let mut table = self.table();
        table.families.retain(|_, family| is_listed(&family.holder.username));
        table.by_user.retain(|username, _| is_listed(username));
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn make_room(&mut self, username: &str, now_us: u64) {
        let Some(ids) = self.by_user.get_mut(username) else { return };
        let families = &mut self.families;
        ids.retain(|id| {
            let lives = families.get(id).is_some_and(|family| family.expires_us > now_us);
            if !lives {
                families.remove(id);
            }
            lives
        });
        while ids.len() >= FAMILIES_PER_USER_MAX
            && let Some(oldest) = ids.pop_front()
        {
            families.remove(&oldest);
        }
    }

    fn end(&mut self, id: &[u8; ID_BYTES]) {
        let Some(family) = self.families.remove(id) else { return };
        let username = family.holder.username;
        if let Some(ids) = self.by_user.get_mut(&username) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.by_user.remove(&username);
            }
        }
    }
}

/// From the operating system.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system's randomness does not fail once it is seeded");
    bytes
}

fn after(now_us: u64, ttl: Duration) -> u64 {
    now_us.saturating_add(ttl.as_micros() as u64)
}

fn encode(id: [u8; ID_BYTES], secret: [u8; SECRET_BYTES]) -> String {
    let mut bytes = [0; TOKEN_BYTES];
    bytes[..ID_BYTES].copy_from_slice(&id);
    bytes[ID_BYTES..].copy_from_slice(&secret);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(token: &str) -> Option<([u8; ID_BYTES], [u8; SECRET_BYTES])> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (id, secret) = bytes.split_first_chunk()?;
    Some((*id, secret.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);
    const TTL_US: u64 = 10_000_000;

    fn holder(username: &str) -> Holder {
        Holder { username: username.into(), credential: [1; 32] }
    }

    fn rotate(families: &Families, token: &str, now_us: u64) -> Result<(String, String), Rejected> {
        let rotated = families.rotate(token, |name| Some(holder(name)), TTL, now_us)?;
        Ok((rotated.0.username.to_string(), rotated.1))
    }

    fn sizes(families: &Families) -> (usize, usize) {
        let table = families.table();
        (table.families.len(), table.by_user.values().map(VecDeque::len).sum())
    }

    #[test]
    fn each_token_is_good_once_and_brings_the_next() {
        let families = Families::default();
        let mut token = families.begin(holder("ada"), TTL, 0);
        for _ in 0..3 {
            let (username, next) = rotate(&families, &token, 1).unwrap();
            assert_eq!(username, "ada");
            assert_ne!(next, token);
            token = next;
        }
        assert_eq!(sizes(&families), (1, 1));
    }

    #[test]
    fn a_replayed_token_ends_its_family_and_no_other() {
        let families = Families::default();
        let [first, other] = [(); 2].map(|()| families.begin(holder("ada"), TTL, 0));
        let (_, second) = rotate(&families, &first, 1).unwrap();
        assert_eq!(rotate(&families, &first, 2), Err(Rejected::Replayed));
        assert_eq!(rotate(&families, &second, 3), Err(Rejected::Unknown));
        assert!(rotate(&families, &other, 4).is_ok());
        assert_eq!(sizes(&families), (1, 1));
    }

    #[test]
    fn a_token_lives_for_its_time_from_its_own_issue() {
        let families = Families::default();
        let token = families.begin(holder("ada"), TTL, 0);
        let (_, token) = rotate(&families, &token, TTL_US - 1).unwrap();
        let (_, token) = rotate(&families, &token, 2 * TTL_US - 2).unwrap();
        assert_eq!(rotate(&families, &token, 3 * TTL_US - 2), Err(Rejected::Unknown));
        assert_eq!(sizes(&families), (0, 0));
    }

    #[test]
    fn a_user_who_is_gone_or_has_a_new_password_is_logged_out() {
        for now in [None, Some(Holder { credential: [2; 32], ..holder("ada") })] {
            let families = Families::default();
            let token = families.begin(holder("ada"), TTL, 0);
            let rotated = families.rotate(&token, |_| now, TTL, 1);
            assert_eq!(rotated.err(), Some(Rejected::Withdrawn));
            assert_eq!(rotate(&families, &token, 2), Err(Rejected::Unknown));
        }
    }

    #[test]
    fn nothing_is_kept_of_a_user_who_is_not_listed() {
        let families = Families::default();
        let [ada, _bob] = ["ada", "bob"].map(|name| families.begin(holder(name), TTL, 0));
        families.keep_users(|username| username == "ada");
        assert_eq!(sizes(&families), (1, 1));
        assert!(rotate(&families, &ada, 1).is_ok());
    }

    #[test]
    fn what_is_no_token_is_unknown_and_ends_nothing() {
        let families = Families::default();
        let token = families.begin(holder("ada"), TTL, 0);
        for not_one in ["", "x", &token[1..], &format!("{token}A"), &format!("{token}="), &"A".repeat(64)] {
            assert_eq!(rotate(&families, not_one, 1), Err(Rejected::Unknown), "{not_one}");
        }
        assert!(rotate(&families, &token, 1).is_ok());
    }

    #[test]
    fn the_oldest_login_of_a_user_makes_room_and_nobody_elses() {
        let families = Families::default();
        let other = families.begin(holder("bob"), TTL, 0);
        let tokens: Vec<_> =
            (0..=FAMILIES_PER_USER_MAX).map(|_| families.begin(holder("ada"), TTL, 0)).collect();
        assert_eq!(sizes(&families), (FAMILIES_PER_USER_MAX + 1, FAMILIES_PER_USER_MAX + 1));
        assert_eq!(rotate(&families, &tokens[0], 1), Err(Rejected::Unknown));
        assert!(rotate(&families, &tokens[1], 1).is_ok());
        assert!(rotate(&families, &other, 1).is_ok());
        // What expired makes room before any other.
        families.begin(holder("ada"), TTL, TTL_US);
        assert_eq!(sizes(&families), (3, 3));
    }

    #[test]
    fn tokens_are_384_random_bits_and_only_a_hash_of_them_is_kept() {
        let families = Families::default();
        let tokens: std::collections::HashSet<_> =
            (0..100).map(|_| families.begin(holder("ada"), TTL, 0)).collect();
        assert_eq!(tokens.len(), 100);
        for token in tokens {
            assert_eq!(token.len(), 64);
            let (id, secret) = decode(&token).unwrap();
            let digest: [u8; 32] = Sha256::digest(secret).into();
            assert_eq!(families.table().families[&id].secret_sha256, digest);
        }
    }
}
