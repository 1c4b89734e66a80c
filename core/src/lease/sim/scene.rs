//! What one run is about.

use std::time::Duration;

use super::Mutant;
use crate::config::Algorithm;
use crate::lease::{Options, Terms};
use crate::seed::Seed;

pub(super) struct Scene {
    pub(super) terms: Terms,
    pub(super) nodes: u64,
    pub(super) horizon_us: u64,
    pub(super) requests: u64,
    pub(super) faults: Faults,
    pub(super) mutant: Option<Mutant>,
}

/// What the network does. Each is left out of half of the scenes: lost permits would hide credited ones.
#[derive(Clone, Copy)]
pub(super) struct Faults {
    pub(super) loses: bool,
    pub(super) repeats_acquires: bool,
    pub(super) repeats_returns: bool,
    pub(super) delays: bool,
}

pub(super) fn scene(algorithm: Algorithm, seed: u64, mutant: Option<Mutant>) -> Scene {
    let mut draw = Seed::new(!seed);
    let mut below = |end: u64| draw.draw() % end;
    let nodes = if below(50) == 0 { 100 } else { 1 + below(12) };
    let window = Duration::from_millis(200 + below(2_000));
    let requests = 5 + below(300);
    let reserve = algorithm == Algorithm::TokenBucket && below(3) == 0;
    let burst = if reserve { requests + 3 } else { 3 + below(requests) };
    let holding_max = (below(2) == 0).then(|| 3 + below(20));
    let target = window / (1 + below(4) as u32);
    let options = Options { target, holding_max, reserve, largest_cost: 3 };
    let terms = Terms::new(algorithm, requests, window, burst, &options).expect("terms that make sense");
    let horizon_us = 3 * window.as_micros() as u64;
    let faults = Faults {
        loses: below(2) == 0,
        repeats_acquires: below(2) == 0,
        repeats_returns: below(2) == 0,
        delays: below(2) == 0,
    };
    Scene { terms, nodes, horizon_us, requests: 5 * requests, faults, mutant }
}
