//! The scripts' semantics in process, one state a key.
//!
//! Simulations use it as their Redis, and a differential test holds it and the scripts to the same answers: what a
//! script's text does not say is said here.

mod notices;

use std::collections::{BTreeMap, HashMap};

use super::key::Key;
use super::operation::{Acquire, Call, Operation, OperationError, Question, Return};
use super::rule::{Form, Rule, SUB_BUCKETS};
use super::value::Value;

/// Grants of one window that can be returned; further returns are lost, which only under-admits.
pub const RETURNS_MAX: usize = 64;

/// A Redis that knows nothing but limits.
#[derive(Clone, Debug, Default)]
pub struct Model {
    entries: HashMap<Key, Entry>,
    notices: HashMap<Key, notices::Notices>,
}

#[derive(Clone, Debug)]
struct Entry {
    state: State,
    /// By Redis' wall clock.
    expires_us: u64,
}

#[derive(Clone, Debug)]
enum State {
    Window { last: u64, index: u64, used: u64 },
    Log(BTreeMap<u64, u64>),
    Counter { last: u64, index: u64, before: u64, used: u64 },
    Strict { last: u64, buckets: Vec<(u64, u64)> },
    Bucket { last: u64, debt: u64 },
    Root { last: u64, root: Root },
}

/// A window that leases come from.
#[derive(Clone, Debug, Default)]
struct Root {
    index: u64,
    used: u64,
    generation: u64,
    issued: u64,
    returned: Vec<u64>,
}

impl State {
    /// The time that the state has reached, which a clock that was set back has yet to reach again.
    fn now(&self) -> u64 {
        match self {
            State::Window { last, .. }
            | State::Counter { last, .. }
            | State::Strict { last, .. }
            | State::Bucket { last, .. }
            | State::Root { last, .. } => *last,
            State::Log(log) => log.keys().next_back().copied().unwrap_or(0),
        }
    }
}

impl Model {
    /// Answers a call as its script does at `time_us` of Redis' clock, which may step back.
    pub fn answer(&mut self, call: &Call, time_us: u64) -> Value {
        match call.question() {
            Question::Limit(operation) => {
                self.run(call.key(), operation, time_us).expect("a call that exists was checked")
            }
            Question::Notices(exchange) => {
                self.notices.entry(call.key().clone()).or_default().exchange(exchange, time_us)
            }
        }
    }

    /// Runs the operation at `time_us` of Redis' clock, which may step back, and answers as its script does.
    ///
    /// # Errors
    ///
    /// Those of [`Call::new`](super::Call::new).
    pub fn run(&mut self, key: &Key, operation: &Operation, time_us: u64) -> Result<Value, OperationError> {
        operation.check()?;
        let stored = self.entries.remove(key).filter(|entry| entry.expires_us > time_us);
        let turn = Turn { wall: time_us, rule: *operation.rule() };
        let (answer, state, written) = match (operation, &turn.rule.form) {
            (Operation::Acquire { acquire, .. }, Form::Bucket { .. }) => {
                turn.acquire_bucket(&stored, acquire)
            }
            (Operation::Acquire { acquire, .. }, _) => turn.acquire_window(&stored, acquire),
            (Operation::Return { back, .. }, _) => turn.give_back(&stored, back),
            (Operation::Charge { cost, .. }, _) => turn.charge(&stored, *cost, None),
            (Operation::Refund { cost, generation, .. }, _) => turn.charge(&stored, *cost, Some(*generation)),
        };
        if written {
            let expires_us = state.now().max(time_us) + turn.rule.ttl_ms() * 1_000;
            self.entries.insert(key.clone(), Entry { state, expires_us });
        } else if let Some(entry) = stored {
            // A log drops what is past its window even when it admits nothing.
            let state = if let State::Log(_) = state { state } else { entry.state };
            if !matches!(&state, State::Log(log) if log.is_empty()) {
                self.entries.insert(key.clone(), Entry { state, ..entry });
            }
        }
        Ok(answer)
    }

    /// What is left of the key's life, if it is there.
    pub fn ttl_us(&self, key: &Key, time_us: u64) -> Option<u64> {
        self.entries.get(key)?.expires_us.checked_sub(time_us).filter(|left| *left > 0)
    }

    /// Forgets everything, as FLUSHALL does.
    pub fn flush(&mut self) {
        self.entries.clear();
        self.notices.clear();
    }
}

/// One operation at one time: the answer, the state after it, and whether it is written.
struct Turn {
    wall: u64,
    rule: Rule,
}

type Turned = (Value, State, bool);

impl Turn {
    /// `now = max(last, wall)`, and whether the clock starts anew because it was set back beyond the horizon.
    fn clock(&self, last: Option<u64>) -> (u64, bool) {
        match last {
            Some(last) if last > self.wall && last - self.wall > self.rule.horizon_us() => (self.wall, true),
            Some(last) => (last.max(self.wall), false),
            None => (self.wall, false),
        }
    }

    fn charge(&self, stored: &Option<Entry>, cost: u64, refund: Option<u64>) -> Turned {
        match self.rule.form {
            Form::FixedWindow { requests, window_us } => {
                self.fixed(stored, requests, window_us, cost, refund)
            }
            Form::Log { requests, window_us } => self.log(stored, requests, window_us, cost, refund),
            Form::Counter { requests, window_us, grain_us } => {
                self.counter(stored, [requests, window_us, grain_us], cost, refund)
            }
            Form::Strict { requests, bucket_us } => self.strict(stored, requests, bucket_us, cost, refund),
            Form::Bucket { per_permit, .. } => self.bucket(stored, cost * per_permit, refund),
        }
    }

    fn fixed(
        &self,
        stored: &Option<Entry>,
        requests: u64,
        window: u64,
        cost: u64,
        refund: Option<u64>,
    ) -> Turned {
        let (last, stored_index, mut used) = match stored {
            Some(Entry { state: State::Window { last, index, used }, .. }) => (Some(*last), *index, *used),
            _ => (None, 0, 0),
        };
        let (now, stepped) = self.clock(last);
        let index = now / window;
        if !stepped && stored_index != index {
            used = 0;
        }
        let admitted = match refund {
            Some(at) => at <= now && at / window == index,
            None => used + cost <= requests,
        };
        if admitted {
            used = if refund.is_some() { used.saturating_sub(cost) } else { used + cost };
        }
        let answer = Value::integers(&[admitted.into(), now, used, stepped.into()]);
        (answer, State::Window { last: now, index, used }, admitted || stepped)
    }

    fn log(
        &self,
        stored: &Option<Entry>,
        requests: u64,
        window: u64,
        cost: u64,
        refund: Option<u64>,
    ) -> Turned {
        let mut log = match stored {
            Some(Entry { state: State::Log(log), .. }) => log.clone(),
            _ => BTreeMap::new(),
        };
        let mut newest = log.keys().next_back().copied();
        let (now, stepped) = self.clock(newest);
        if stepped {
            log = BTreeMap::from([(now, log.values().sum())]);
            newest = Some(now);
        }
        log.retain(|at, _| at + window > now);
        let used: u64 = log.values().sum();
        let newest = newest.filter(|_| used > 0).unwrap_or(0);
        if let Some(at) = refund {
            let there = log.get(&at).copied().unwrap_or(0);
            let back = there.min(cost);
            log.entry(at).and_modify(|count| *count -= back);
            log.retain(|_, count| *count > 0);
            let answer = [u64::from(there > 0), now, used - back, newest, 0, stepped.into()];
            return (Value::integers(&answer), State::Log(log), stepped);
        }
        if used + cost > requests {
            let mut rank = used + cost - requests;
            let leaving = log.iter().find(|(_, count)| {
                let found = rank <= **count;
                rank = rank.saturating_sub(**count);
                found
            });
            let leaving = leaving.map_or(0, |(at, _)| *at);
            let answer = Value::integers(&[0, now, used, newest, leaving, stepped.into()]);
            return (answer, State::Log(log), stepped);
        }
        *log.entry(now).or_default() += cost;
        (Value::integers(&[1, now, used + cost, now, 0, stepped.into()]), State::Log(log), true)
    }

    fn counter(
        &self,
        stored: &Option<Entry>,
        [requests, window, grain]: [u64; 3],
        cost: u64,
        refund: Option<u64>,
    ) -> Turned {
        let (last, stored_index, mut before, mut used) = match stored {
            Some(Entry { state: State::Counter { last, index, before, used }, .. }) => {
                (Some(*last), *index, *before, *used)
            }
            _ => (None, 0, 0, 0),
        };
        let (now, stepped) = self.clock(last);
        let index = now / window;
        if !stepped && stored_index != index {
            before = if last.is_some() && stored_index + 1 == index { used } else { 0 };
            used = 0;
        }
        let (whole, covered) = (window / grain, (window - now % window).div_ceil(grain));
        let admitted = match refund {
            Some(at) if at <= now && at / window == index => {
                used = used.saturating_sub(cost);
                true
            }
            Some(at) if at <= now && at / window + 1 == index => {
                before = before.saturating_sub(cost);
                true
            }
            Some(_) => false,
            None => before * covered + (used + cost) * whole <= requests * whole,
        };
        if admitted && refund.is_none() {
            used += cost;
        }
        let answer = Value::integers(&[admitted.into(), now, before, used, stepped.into()]);
        (answer, State::Counter { last: now, index, before, used }, admitted || stepped)
    }

    fn strict(
        &self,
        stored: &Option<Entry>,
        requests: u64,
        width: u64,
        cost: u64,
        refund: Option<u64>,
    ) -> Turned {
        let (last, mut buckets) = match stored {
            Some(Entry { state: State::Strict { last, buckets }, .. }) => (Some(*last), buckets.clone()),
            _ => (None, Vec::new()),
        };
        let (now, stepped) = self.clock(last);
        let index = now / width;
        // What was refunded to nothing is forgotten, so that it makes no difference whether its key was.
        buckets.retain(|(bucket, used)| *used > 0 && (stepped || bucket + SUB_BUCKETS >= index));
        let total: u64 = buckets.iter().map(|(_, used)| used).sum();
        if stepped && total > 0 {
            buckets = vec![(index, total)];
        }
        let mut admitted = false;
        if let Some(at) = refund {
            for (_, used) in buckets.iter_mut().filter(|(bucket, _)| at <= now && *bucket == at / width) {
                admitted = true;
                *used = used.saturating_sub(cost);
            }
        } else if total + cost <= requests {
            admitted = true;
            match buckets.last_mut() {
                Some((bucket, used)) if *bucket == index => *used += cost,
                _ => buckets.push((index, cost)),
            }
        }
        let mut answer = vec![admitted.into(), now, stepped.into()];
        answer.extend(buckets.iter().flat_map(|(bucket, used)| [*bucket, *used]));
        (Value::integers(&answer), State::Strict { last: now, buckets }, admitted || stepped)
    }

    fn bucket(&self, stored: &Option<Entry>, ticks: u64, refund: Option<u64>) -> Turned {
        let Form::Bucket { per_us, capacity, .. } = self.rule.form else {
            unreachable!("matched by the caller")
        };
        let (now, stepped, mut debt) = self.debt(stored, per_us);
        let mut admitted = false;
        if let Some(at) = refund {
            let held = now.checked_sub(at).filter(|elapsed| *elapsed < self.rule.horizon_us());
            let held = held.map_or(0, |elapsed| ticks.saturating_sub(elapsed * per_us));
            admitted = held > 0;
            debt = debt.saturating_sub(held);
        } else if debt + ticks <= capacity {
            admitted = true;
            debt += ticks;
        }
        let answer = Value::integers(&[admitted.into(), now, debt, stepped.into()]);
        (answer, State::Bucket { last: now, debt }, admitted || stepped)
    }

    /// Now, whether the clock was stepped, and what is owed now.
    fn debt(&self, stored: &Option<Entry>, per_us: u64) -> (u64, bool, u64) {
        let Some(Entry { state: State::Bucket { last, debt }, .. }) = stored else {
            return (self.wall, false, 0);
        };
        let (now, stepped) = self.clock(Some(*last));
        let elapsed = if stepped { 0 } else { now - last };
        let owed = if elapsed < self.rule.horizon_us() { debt.saturating_sub(elapsed * per_us) } else { 0 };
        (now, stepped, owed)
    }

    fn acquire_bucket(&self, stored: &Option<Entry>, acquire: &Acquire) -> Turned {
        let Form::Bucket { per_permit, per_us, capacity } = self.rule.form else {
            unreachable!("matched by the caller")
        };
        let (now, stepped, debt) = self.debt(stored, per_us);
        let remaining = capacity.saturating_sub(debt) / per_permit;
        let permits = acquire.of(remaining);
        let debt = debt + permits * per_permit;
        let answer = [permits, now, remaining - permits, acquire.lease_us, 0, 0, debt, stepped.into()];
        (Value::integers(&answer), State::Bucket { last: now, debt }, permits > 0 || stepped)
    }

    fn acquire_window(&self, stored: &Option<Entry>, acquire: &Acquire) -> Turned {
        let (now, stepped, mut root) = self.root(stored);
        let permits = acquire.of(self.rule.most.saturating_sub(root.used));
        root.used += permits;
        root.issued += u64::from(permits > 0);
        let remaining = self.rule.most.saturating_sub(root.used);
        let until_end = (root.index + 1) * self.rule.horizon_us() - now;
        let lease_us = acquire.lease_us.min(until_end);
        let answer = [permits, now, remaining, lease_us, root.generation, root.issued, 0, stepped.into()];
        (Value::integers(&answer), State::Root { last: now, root }, permits > 0 || stepped)
    }

    fn give_back(&self, stored: &Option<Entry>, back: &Return) -> Turned {
        let (now, stepped, mut root) = self.root(stored);
        let known = back.generation == root.generation
            && back.grant <= root.issued
            && root.returned.len() < RETURNS_MAX
            && !root.returned.contains(&back.grant);
        if known {
            root.used = root.used.saturating_sub(back.permits);
            root.returned.push(back.grant);
        }
        let permits = if known { back.permits } else { 0 };
        let remaining = self.rule.most.saturating_sub(root.used);
        let answer = [permits, now, remaining, 0, root.generation, back.grant, 0, stepped.into()];
        (Value::integers(&answer), State::Root { last: now, root }, known || stepped)
    }

    fn root(&self, stored: &Option<Entry>) -> (u64, bool, Root) {
        let stored = match stored {
            Some(Entry { state: State::Root { last, root }, .. }) => Some((*last, root)),
            _ => None,
        };
        let (now, stepped) = self.clock(stored.map(|(last, _)| last));
        let index = now / self.rule.horizon_us();
        let new = |used| Root { index, used, generation: now, issued: 0, returned: Vec::new() };
        let root = match stored {
            Some((_, root)) if stepped => new(root.used),
            Some((_, root)) if root.index == index => root.clone(),
            _ => new(0),
        };
        (now, stepped, root)
    }
}

impl Acquire {
    fn of(&self, remaining: u64) -> u64 {
        if self.cost > remaining {
            return 0;
        }
        let shared = self.wanted.min(remaining * self.share_permille / 1_000);
        remaining.min(self.cost.max(shared))
    }
}

#[cfg(test)]
impl Model {
    /// Forgets which grants of the key came back.
    pub(crate) fn forget_returns(&mut self, key: &Key) {
        if let Some(Entry { state: State::Root { root, .. }, .. }) = self.entries.get_mut(key) {
            root.returned.clear();
        }
    }

    /// Loses the last seen time of the key, so that its clock is the wall's.
    pub(crate) fn forget_last(&mut self, key: &Key) {
        if let Some(Entry { state: State::Root { last, .. } | State::Bucket { last, .. }, .. }) =
            self.entries.get_mut(key)
        {
            *last = 0;
        }
    }
}
