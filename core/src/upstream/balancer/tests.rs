use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{self, Ejection, HashKey, UpstreamProtocol, UpstreamTls};
use crate::seed::Seed;

fn endpoints(count: usize) -> Vec<Arc<Endpoint>> {
    let endpoint = |index: usize| {
        let port = 9_000 + index as u16;
        let address = config::Endpoint {
            tls: false,
            host: "10.0.0.1".into(),
            port,
            base_path: String::new(),
            weight: 1,
        };
        Arc::new(Endpoint::new(index as u64, address, UpstreamTls::default(), UpstreamProtocol::Http1))
    };
    (0..count).map(endpoint).collect()
}

fn choice(random: u64) -> Choice {
    Choice { tried: Set::default(), key: random, random, now: Now::default() }
}

fn eject(endpoint: &Endpoint) {
    let rules = Ejection { consecutive_failures: 1, base: Duration::from_secs(1), max_share: 1.0 };
    endpoint.eject(&rules, Now::default());
}

/// How often each endpoint is chosen in `rounds` choices, of which none is still in flight at the next.
fn tally(kind: &LoadBalancer, weights: &[u32], ejected: &[usize], rounds: usize) -> Vec<usize> {
    let endpoints = endpoints(weights.len());
    let balancer = Balancer::new(kind, &endpoints, weights.to_vec());
    ejected.iter().for_each(|index| eject(&endpoints[*index]));
    let mut seed = Seed::new(7);
    let mut tally = vec![0; weights.len()];
    (0..rounds).for_each(|_| tally[balancer.choose(&endpoints, &choice(seed.draw()))] += 1);
    tally
}

#[test]
fn round_robin_is_exactly_even() {
    assert_eq!(tally(&LoadBalancer::RoundRobin, &[1; 3], &[], 300), [100, 100, 100]);
}

#[test]
fn round_robin_spreads_an_ejected_share_evenly() {
    assert_eq!(tally(&LoadBalancer::RoundRobin, &[1; 4], &[1], 300), [100, 0, 100, 100]);
}

#[test]
fn weights_are_met_exactly_and_smoothly() {
    assert_eq!(tally(&LoadBalancer::Weighted, &[5, 1, 1], &[], 70), [50, 10, 10]);
    let endpoints = endpoints(3);
    let balancer = Balancer::new(&LoadBalancer::Weighted, &endpoints, vec![5, 1, 1]);
    let order: Vec<_> = (0..7).map(|_| balancer.choose(&endpoints, &choice(0))).collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn least_connections_prefers_the_idle_one_by_weight() {
    let endpoints = endpoints(3);
    let balancer = Balancer::new(&LoadBalancer::LeastConnections, &endpoints, vec![1, 4, 1]);
    endpoints[0].enter();
    endpoints[1].enter();
    endpoints[2].enter();
    assert_eq!(balancer.choose(&endpoints, &choice(0)), 1);
}

#[test]
fn least_connections_uses_idle_endpoints_evenly() {
    assert_eq!(tally(&LoadBalancer::LeastConnections, &[1; 3], &[], 30), [10, 10, 10]);
}

#[test]
fn two_random_choices_never_take_the_busiest() {
    let endpoints = endpoints(3);
    let balancer = Balancer::new(&LoadBalancer::RandomTwoChoices, &endpoints, vec![1; 3]);
    endpoints[1].enter();
    let mut seed = Seed::new(1);
    assert!((0..1_000).all(|_| balancer.choose(&endpoints, &choice(seed.draw())) != 1));
}

#[test]
fn when_nothing_is_available_all_are_tried() {
    assert_eq!(tally(&LoadBalancer::RoundRobin, &[1; 2], &[0, 1], 10), [5, 5]);
}

#[test]
fn a_retry_takes_an_endpoint_not_tried_yet_even_if_it_is_ejected() {
    let endpoints = endpoints(2);
    let balancer = Balancer::new(&LoadBalancer::RoundRobin, &endpoints, vec![1; 2]);
    eject(&endpoints[1]);
    let mut choice = choice(0);
    choice.tried.insert(0);
    assert_eq!(balancer.choose(&endpoints, &choice), 1);
}

#[test]
fn consistent_hash_shares_follow_the_weights() {
    let shares = tally(&LoadBalancer::ConsistentHash(HashKey::Path), &[1, 1, 2], &[], 40_000);
    let expected = [10_000, 10_000, 20_000];
    for (share, expected) in shares.iter().zip(expected) {
        assert!(share.abs_diff(expected) < expected / 5, "{shares:?}");
    }
}

proptest! {
    #[test]
    fn an_ejected_endpoint_moves_only_its_own_keys(keys in prop::collection::vec(any::<u64>(), 100), gone in 0usize..5) {
        let endpoints = endpoints(5);
        let balancer = Balancer::new(&LoadBalancer::ConsistentHash(HashKey::Path), &endpoints, vec![1; 5]);
        let before: Vec<_> = keys.iter().map(|key| balancer.choose(&endpoints, &choice(*key))).collect();
        eject(&endpoints[gone]);
        for (key, before) in keys.iter().zip(before) {
            let after = balancer.choose(&endpoints, &choice(*key));
            prop_assert_ne!(after, gone);
            prop_assert!(before == gone || before == after);
        }
    }

    /// Over any whole number of rounds every available endpoint is chosen in proportion to its weight.
    #[test]
    fn weighted_rounds_are_exact(weights in prop::collection::vec(1u32..20, 2..8), rounds in 1usize..20) {
        let total: u32 = weights.iter().sum();
        let tally = tally(&LoadBalancer::Weighted, &weights, &[], total as usize * rounds);
        let expected: Vec<_> = weights.iter().map(|weight| *weight as usize * rounds).collect();
        prop_assert_eq!(tally, expected);
    }
}
