//! The keys of a provider that publishes them: which set is held, how long it counts, and when it is fetched.
//!
//! A set counts for `refresh`, and for `stale_for` more once fetching it has failed: stale keys are for outages, not
//! for saving a fetch. Past that, tokens wait for a fetch, or are told when to come back. Durations are measured on
//! `Now::mono_us`; a step backwards counts as no time gone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::algorithm::Algorithm;
use super::key::Key;
use super::key_set::{KeySet, KeysFailure, Match};
use crate::Now;
use crate::upstream;

/// How long an adapter may take to fetch a key set.
pub const KEY_SET_TIMEOUT: Duration = Duration::from_secs(5);
/// When a fetch of which nothing was heard counts as failed.
const FETCH_EXPIRES_US: u64 = 2 * KEY_SET_TIMEOUT.as_micros() as u64;
/// A set in use is fetched again when this part of `refresh` is left, so that no request waits for it.
const REFRESH_LEAD: u64 = 10;
/// Names of keys a ring remembers as not in its set. More are answered as if their fetch was still to come.
const MAX_MISSING: usize = 64;

#[derive(Debug)]
pub(super) struct KeyRing {
    rules: Rules,
    /// Counts the sets that differed from the one before.
    changes: AtomicU64,
    /// Until when the set counts; mirrors the state, so that the common case takes no lock.
    trusted_until_us: AtomicU64,
    /// Somebody asked since the last fetch began.
    used: AtomicBool,
    state: Mutex<State>,
}

/// In microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rules {
    pub(super) refresh_us: u64,
    pub(super) stale_us: u64,
    pub(super) cooldown_us: u64,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// Counts fetches from 1.
    fetches: u64,
    /// When the last one began; whether it is under way, and else whether it failed.
    begun_us: u64,
    under_way: bool,
    failure: Option<KeysFailure>,
    /// Hashes of what the last fetched set was asked for and did not have.
    missing: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Held {
    set: KeySet,
    fetched_us: u64,
}

/// What a ring says to a token.
#[derive(Debug, PartialEq)]
pub(super) enum Lookup {
    Found {
        key: Arc<Key>,
        /// The set it was found in, for `vouches_for`.
        change: u64,
    },
    /// The fetch of this number decides. It may have begun earlier.
    Fetch(u64),
    Unavailable {
        retry_after_us: u64,
    },
    Unknown,
    WrongAlgorithm,
    Ambiguous,
}

impl KeyRing {
    /// With the keys that an earlier configuration fetched from the same place.
    pub(super) fn new(rules: Rules, previous: Option<&KeyRing>) -> KeyRing {
        let held = previous.and_then(|previous| previous.lock().held.clone());
        let ring = KeyRing {
            rules,
            changes: AtomicU64::new(0),
            trusted_until_us: AtomicU64::new(0),
            used: AtomicBool::new(false),
            state: Mutex::new(State { held, ..State::default() }),
        };
        ring.publish(&ring.lock());
        ring
    }

    pub(super) fn find(&self, name: Option<&str>, algorithm: Algorithm, now: Now) -> Lookup {
        self.mark_used();
        let mut state = self.settled(now);
        let trusted = now.mono_us < self.trusted_until_us(&state);
        if trusted && let Some(lookup) = self.look_up(&state, name, algorithm) {
            return lookup;
        }
        let left_us = state.cooldown_left_us(&self.rules, now);
        if trusted && left_us > 0 && state.missing.contains(&missing_key(name, algorithm)) {
            return Lookup::Unknown;
        }
        // A set that has only become old is fetched at once: the cool-down is for names it lacks and for failures.
        let waits = trusted || state.failure.is_some();
        match left_us {
            _ if state.under_way => Lookup::Fetch(state.fetches),
            1.. if waits => Lookup::Unavailable { retry_after_us: left_us },
            _ => Lookup::Fetch(self.begin(&mut state, now)),
        }
    }

    /// As `find`, for a token that has waited for a fetch and is not made to wait again.
    pub(super) fn find_fetched(&self, name: Option<&str>, algorithm: Algorithm, now: Now) -> Lookup {
        let mut state = self.settled(now);
        let trusted = now.mono_us < self.trusted_until_us(&state);
        if trusted && let Some(lookup) = self.look_up(&state, name, algorithm) {
            return lookup;
        }
        let has_succeeded = !state.under_way && state.failure.is_none();
        if trusted && has_succeeded {
            let missing = missing_key(name, algorithm);
            if state.missing.len() < MAX_MISSING && !state.missing.contains(&missing) {
                state.missing.push(missing);
            }
            return Lookup::Unknown;
        }
        Lookup::Unavailable { retry_after_us: state.cooldown_left_us(&self.rules, now) }
    }

    /// What came of a fetch. Only the first answer to the latest one counts: a later answer may be older.
    pub(super) fn fetched(&self, fetch: u64, body: Result<&[u8], KeysFailure>, now: Now) {
        let mut state = self.settled(now);
        if !state.under_way || state.fetches != fetch {
            return;
        }
        state.under_way = false;
        match body.and_then(KeySet::parse) {
            Ok(set) => {
                if state.held.as_ref().is_none_or(|held| held.set != set) {
                    self.changes.fetch_add(1, Ordering::Release);
                }
                state.held = Some(Held { set, fetched_us: now.mono_us });
                state.missing.clear();
                state.failure = None;
            }
            Err(failure) => state.failure = Some(failure),
        }
        self.publish(&state);
    }

    /// Whether a token that was verified with `key` still counts. `change` is when that was last known.
    pub(super) fn vouches_for(&self, key: &Key, change: &AtomicU64, now: Now) -> bool {
        if now.mono_us >= self.trusted_until_us.load(Ordering::Acquire) {
            return false;
        }
        self.mark_used();
        let changes = self.changes.load(Ordering::Acquire);
        if change.load(Ordering::Relaxed) == changes {
            return true;
        }
        let state = self.lock();
        // Read again under the lock, which a change is made under.
        let changes = self.changes.load(Ordering::Acquire);
        let vouches = state.held.as_ref().is_some_and(|held| held.set.contains(key));
        if vouches {
            change.store(changes, Ordering::Relaxed);
        }
        vouches
    }

    /// Begins the fetch that is due for a set in use, and says when to ask again.
    pub(super) fn due(&self, now: Now) -> (Option<u64>, u64) {
        let mut state = self.settled(now);
        if state.under_way {
            return (None, state.begun_us.saturating_add(FETCH_EXPIRES_US));
        }
        if !self.used.load(Ordering::Relaxed) {
            return (None, u64::MAX);
        }
        let due_us = match (&state.held, state.failure) {
            (Some(held), None) => {
                let lead_us = self.rules.refresh_us / REFRESH_LEAD;
                held.fetched_us.saturating_add(self.rules.refresh_us - lead_us)
            }
            (_, Some(_)) => state.begun_us.saturating_add(self.rules.cooldown_us),
            // The request that asked first has its own fetch.
            (None, None) => return (None, u64::MAX),
        };
        if now.mono_us < due_us {
            return (None, due_us);
        }
        let fetch = self.begin(&mut state, now);
        (Some(fetch), now.mono_us.saturating_add(FETCH_EXPIRES_US))
    }

    /// Why the last fetch brought nothing.
    pub(super) fn failure(&self) -> Option<KeysFailure> {
        self.lock().failure
    }

    fn begin(&self, state: &mut State, now: Now) -> u64 {
        state.fetches += 1;
        state.begun_us = now.mono_us;
        state.under_way = true;
        self.used.store(false, Ordering::Relaxed);
        state.fetches
    }

    fn look_up(&self, state: &State, name: Option<&str>, algorithm: Algorithm) -> Option<Lookup> {
        match state.held.as_ref()?.set.find(name, algorithm) {
            Match::One(key) => Some(Lookup::Found { key, change: self.changes.load(Ordering::Acquire) }),
            Match::Several => Some(Lookup::Ambiguous),
            Match::WrongAlgorithm => Some(Lookup::WrongAlgorithm),
            Match::None => None,
        }
    }

    /// The state at `now`: what expired has, and no moment of it lies ahead.
    fn settled(&self, now: Now) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.begun_us = state.begun_us.min(now.mono_us);
        if let Some(held) = &mut state.held {
            held.fetched_us = held.fetched_us.min(now.mono_us);
        }
        if state.under_way && now.mono_us - state.begun_us >= FETCH_EXPIRES_US {
            state.under_way = false;
            state.failure = Some(KeysFailure::Lost);
        }
        self.publish(&state);
        state
    }

    fn publish(&self, state: &State) {
        self.trusted_until_us.store(self.trusted_until_us(state), Ordering::Release);
    }

    fn trusted_until_us(&self, state: &State) -> u64 {
        let Some(held) = &state.held else { return 0 };
        let fresh_until_us = held.fetched_us.saturating_add(self.rules.refresh_us);
        match state.failure {
            None => fresh_until_us,
            Some(_) => fresh_until_us.saturating_add(self.rules.stale_us),
        }
    }

    /// Writes only what changes, since every request of a provider comes by here.
    fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn cooldown_left_us(&self, rules: &Rules, now: Now) -> u64 {
        if self.fetches == 0 {
            return 0;
        }
        self.begun_us.saturating_add(rules.cooldown_us).saturating_sub(now.mono_us)
    }
}

/// A token without a key's name misses a key of its algorithm.
fn missing_key(name: Option<&str>, algorithm: Algorithm) -> u64 {
    match name {
        Some(name) => upstream::hash(name.as_bytes()),
        None => !upstream::hash(algorithm.name().as_bytes()),
    }
}
