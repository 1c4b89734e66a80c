//! Commands a decision, by simulated time: `cargo test --release -p tollgate-core lease::figures -- --ignored --nocapture`
//! prints a line a figure. Answers come at once; what a network does to the bounds is the other simulation's to show.

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::config::Algorithm;
use crate::seed::Seed;
use crate::store::model::Model;
use crate::store::{Key, Part, Returned};

/// The start of a minute.
const START_US: u64 = 1_795_000_020_000_000;

#[derive(Default)]
struct Fleet {
    leases: HashMap<(u64, u64), Lease>,
    model: Model,
    commands: u64,
    admitted: u64,
    denied: u64,
}

impl Fleet {
    fn request(&mut self, terms: &Terms, node: u64, key: u64, at_us: u64) {
        let now = Now { wall_us: START_US + at_us, mono_us: at_us + 1 };
        let lease = self.leases.entry((node, key)).or_default();
        let subject = key.to_string();
        let name = Key::leased(Part::Plain("t"), Part::Plain(&subject), "l", &terms.rule);
        let mut run = |operation: &Operation| {
            self.commands += 1;
            self.model.run(&name, operation, now.wall_us).expect("a lease of a root")
        };
        if let Some(back) = lease.surplus(terms, now) {
            let _ = Returned::read(&run(&back));
        }
        let (acquire, taken) = match lease.take(terms, 1, now) {
            Decision::Taken { refill, .. } => (refill, true),
            Decision::Ask(acquire) => (Some(acquire), false),
            Decision::Deny { .. } => {
                self.denied += 1;
                return;
            }
        };
        self.admitted += u64::from(taken);
        let Some(acquire) = acquire else { return };
        let granted = Granted::read(&terms.rule, 1, &run(&acquire.operation(terms)));
        match lease.answer(acquire, &granted.expect("the model answers alike"), now) {
            Answered::Admitted => self.admitted += 1,
            Answered::Denied { .. } => self.denied += 1,
            Answered::Refilled => {}
        }
    }
}

fn terms(algorithm: Algorithm, requests: u64, target_s: u64) -> Terms {
    let target = Duration::from_secs(target_s);
    let options = Options { target, holding_max: None, reserve: false, largest_cost: 1 };
    Terms::new(algorithm, requests, Duration::from_secs(60), requests, &options)
        .expect("terms that make sense")
}

/// Requests a second of all nodes for `seconds`, each to a node and a key that `draw` names.
fn play(terms: &Terms, rate: u64, seconds: u64, mut draw: impl FnMut(&mut Seed) -> (u64, u64)) -> Fleet {
    let (mut fleet, mut seed) = (Fleet::default(), Seed::new(7));
    for number in 0..rate * seconds {
        let at_us = number * 1_000_000 / rate + seed.draw() % (1_000_000 / rate).max(1);
        let (node, key) = draw(&mut seed);
        fleet.request(terms, node, key, at_us);
    }
    fleet
}

/// Ranks from 1, by Zipf's law with this exponent.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(ranks: u32, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let below = (1..=ranks).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        Zipf(below.collect())
    }

    fn draw(&self, seed: &mut Seed) -> u64 {
        let whole = self.0.last().copied().unwrap_or(0.0);
        let at = (seed.draw() >> 11) as f64 / (1u64 << 53) as f64 * whole;
        self.0.partition_point(|below| *below < at) as u64
    }
}

fn print(name: &str, value: f64) {
    println!("{name} {value:.4}");
}

#[test]
#[ignore = "figures, not a check"]
fn commands() {
    let each = |fleet: &Fleet| fleet.commands as f64 / fleet.admitted as f64;
    let hot = play(&terms(Algorithm::FixedWindow, 100_000, 10), 2_000, 120, |seed| (seed.draw() % 2, 0));
    print("redis_commands_per_admit_hot", each(&hot));
    let zipf = Zipf::new(100_000, 1.1);
    let plenty = 1_000_000;
    for (name, algorithm, target_s) in [
        ("redis_commands_per_admit_zipf", Algorithm::FixedWindow, 10),
        ("redis_commands_per_admit_zipf_gcra", Algorithm::TokenBucket, 1),
    ] {
        let terms = terms(algorithm, plenty, target_s);
        print(name, each(&play(&terms, 20_000, 120, |seed| (seed.draw() % 8, zipf.draw(seed)))));
    }
    let cold = play(&terms(Algorithm::TokenBucket, 100, 1), 1, 1, |_| (0, 0));
    print("redis_commands_per_admit_cold", each(&cold));
    let mut spent = play(&terms(Algorithm::FixedWindow, 1, 10), 500, 60, |_| (0, 0));
    spent.commands -= spent.admitted;
    print("redis_commands_per_denial", spent.commands as f64 / spent.denied as f64);
    let skew = Zipf::new(32, 1.1);
    // Of what the limit admits in ten minutes: a token bucket has its burst besides.
    let shared = |algorithm, most: f64| {
        let rate = 2 * 10_000 / 60;
        let fleet = play(&terms(algorithm, 10_000, 1), rate, 600, |seed| (skew.draw(seed), 0));
        100.0 * fleet.admitted as f64 / most
    };
    print("utilisation_pct", shared(Algorithm::FixedWindow, 100_000.0));
    print("utilisation_pct_gcra", shared(Algorithm::TokenBucket, 110_000.0));
}
