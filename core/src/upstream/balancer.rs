//! Which endpoint of a service takes a request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::endpoint::Endpoint;
use super::ring::Ring;
use crate::Now;
use crate::config::LoadBalancer;

/// Endpoints a service may have; attempts remember the tried ones in a bit set of this many bits.
pub const MAX_ENDPOINTS: usize = 128;

/// Endpoints of one service by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set(u128);

impl Set {
    pub(crate) fn insert(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    pub(crate) fn contains(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }

    fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let index = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(index)
        })
    }
}

#[derive(Debug)]
pub(crate) struct Balancer {
    weights: Vec<u32>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    RoundRobin(AtomicUsize),
    /// nginx's smooth weighted round robin: the current weight of each endpoint.
    Weighted(Mutex<Vec<i64>>),
    LeastConnections(AtomicUsize),
    RandomTwoChoices,
    ConsistentHash(Ring),
}

/// What a choice may depend on beside the endpoints themselves.
pub(crate) struct Choice {
    /// Endpoints this request has tried already: chosen again only when there is no other.
    pub(crate) tried: Set,
    /// The hash of the request's key, for `consistent_hash`.
    pub(crate) key: u64,
    pub(crate) random: u64,
    pub(crate) now: Now,
}

impl Balancer {
    pub(crate) fn new(kind: &LoadBalancer, endpoints: &[Arc<Endpoint>], weights: Vec<u32>) -> Balancer {
        let kind = match kind {
            LoadBalancer::RoundRobin => Kind::RoundRobin(AtomicUsize::new(0)),
            LoadBalancer::Weighted => Kind::Weighted(Mutex::new(vec![0; weights.len()])),
            LoadBalancer::LeastConnections => Kind::LeastConnections(AtomicUsize::new(0)),
            LoadBalancer::RandomTwoChoices => Kind::RandomTwoChoices,
            LoadBalancer::ConsistentHash(_) => {
                let names = endpoints.iter().map(|endpoint| endpoint.authority().as_bytes());
                Kind::ConsistentHash(Ring::new(names.zip(weights.iter().copied())))
            }
        };
        Balancer { weights, kind }
    }

    /// The index of the endpoint to use. When none is available the choice is made among all of them: a request
    /// that may fail beats one that surely does.
    pub(crate) fn choose(&self, endpoints: &[Arc<Endpoint>], choice: &Choice) -> usize {
        if let [_] = endpoints {
            return 0;
        }
        let candidates = candidates(endpoints, choice);
        match &self.kind {
            Kind::RoundRobin(turn) => nth(candidates, turn.fetch_add(1, Ordering::Relaxed)),
            Kind::Weighted(current) => self.smooth(current, candidates),
            Kind::LeastConnections(turn) => {
                let turn = turn.fetch_add(1, Ordering::Relaxed);
                self.least_loaded(endpoints, candidates, turn)
            }
            Kind::RandomTwoChoices => self.two_choices(endpoints, candidates, choice.random),
            Kind::ConsistentHash(ring) => ring.find(choice.key, |index| candidates.contains(index)),
        }
    }

    fn smooth(&self, current: &Mutex<Vec<i64>>, candidates: Set) -> usize {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut total, mut best) = (0, None);
        for index in candidates.iter() {
            let weight = i64::from(self.weights[index]);
            current[index] += weight;
            total += weight;
            if best.is_none_or(|best: usize| current[index] > current[best]) {
                best = Some(index);
            }
        }
        let best = best.expect("candidates are never empty");
        current[best] -= total;
        best
    }

    fn least_loaded(&self, endpoints: &[Arc<Endpoint>], candidates: Set, turn: usize) -> usize {
        let offset = turn % candidates.len();
        // The turn breaks ties, so that an idle service is still used evenly.
        let in_turn = candidates.iter().skip(offset).chain(candidates.iter().take(offset));
        in_turn
            .min_by(|a, b| self.load(endpoints, *a).cmp(&self.load(endpoints, *b)))
            .expect("candidates are never empty")
            .to_owned()
    }

    fn two_choices(&self, endpoints: &[Arc<Endpoint>], candidates: Set, random: u64) -> usize {
        let count = candidates.len();
        let first = (random as u32) as usize % count;
        if count == 1 {
            return nth(candidates, 0);
        }
        let second = (first + 1 + (random >> 32) as usize % (count - 1)) % count;
        let (first, second) = (nth(candidates, first), nth(candidates, second));
        if self.load(endpoints, second) < self.load(endpoints, first) { second } else { first }
    }

    /// Requests in flight by weight, as a fraction that compares exactly.
    fn load(&self, endpoints: &[Arc<Endpoint>], index: usize) -> Load {
        Load { in_flight: endpoints[index].in_flight(), weight: self.weights[index] }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Load {
    in_flight: u32,
    weight: u32,
}

impl Ord for Load {
    fn cmp(&self, other: &Load) -> std::cmp::Ordering {
        let ours = u64::from(self.in_flight) * u64::from(other.weight);
        ours.cmp(&(u64::from(other.in_flight) * u64::from(self.weight)))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Load) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Never empty: available and untried, else untried, else all.
fn candidates(endpoints: &[Arc<Endpoint>], choice: &Choice) -> Set {
    let (mut best, mut untried, mut all) = (Set::default(), Set::default(), Set::default());
    for (index, endpoint) in endpoints.iter().enumerate() {
        all.insert(index);
        if !choice.tried.contains(index) {
            untried.insert(index);
            if endpoint.is_available(choice.now) {
                best.insert(index);
            }
        }
    }
    [best, untried].into_iter().find(|set| set.len() > 0).unwrap_or(all)
}

fn nth(set: Set, n: usize) -> usize {
    set.iter().nth(n % set.len()).expect("n is below the set's length")
}

#[cfg(test)]
mod tests;
