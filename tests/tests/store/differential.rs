//! Random scenes under a clock of the test's choosing: the in-process model, a native Redis, a Redis behind the bridge and
//! a Redis Cluster give the same answers.
//!
//! Redis' `TIME` cannot be set. Every script reads it in one line, [`TIME_LINE`], and this test puts another in its place
//! that takes the time from the last two arguments.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use tollgate_core::config::Algorithm;
use tollgate_core::store::model::Model;
use tollgate_core::store::{
    Acquire, Call, Charged, Granted, Key, Operation, Part, Return, Rule, SCRIPTS, Script, TIME_LINE, Value,
};

use crate::bridge;
use crate::cluster::Cluster;
use tollgate_tests::redis::{Redis, Server};

/// `TIME` answers with seconds and microseconds, as texts; so do the last two arguments.
const CHOSEN_TIME: &str = "local time = {table.remove(ARGV, #ARGV - 1), table.remove(ARGV)}";
/// November 2026, in microseconds, where doubles have already used 51 bits.
pub(crate) const START_US: u64 = 1_795_000_000_000_000;
const CASES: u32 = 400;

#[derive(Clone, Debug)]
enum Ask {
    Charge { cost: u64 },
    Refund { cost: u64, ago: usize },
    Acquire { cost: u64, wanted: u64, share_permille: u64, lease_us: u64 },
    Return { ago: usize, permits: u64 },
}

#[derive(Clone, Debug)]
enum Step {
    None,
    Micros(u64),
    /// Thousandths of the rule's horizon.
    Ahead(u64),
    Back(u64),
}

#[derive(Clone, Debug)]
struct Scene {
    rule: Rule,
    leased: bool,
    steps: Vec<(Step, Ask)>,
}

#[test]
fn the_model_and_the_scripts_answer_alike_on_every_way_to_redis() {
    let mut behind = Server::start();
    let bridge = bridge::start(&mut behind);
    let ways: [(&str, Box<dyn Redis>); 3] = [
        ("natively", Box::new(Server::start())),
        ("through the bridge", Box::new(bridge)),
        ("in a cluster", Box::new(Cluster::start())),
    ];
    let ways = RefCell::new(ways);
    let mut runner = TestRunner::new(ProptestConfig { cases: CASES, ..ProptestConfig::default() });
    let number = Cell::new(0);
    let outcome = runner.run(&scene(), |scene| {
        number.set(number.get() + 1);
        play(&mut *ways.borrow_mut(), &scene, number.get())
    });
    if let Err(TestError::Fail(reason, scene)) = outcome {
        panic!("{reason}\n{scene:#?}");
    }
    assert!(number.get() >= CASES);
}

/// Plays the scene on the model and on each Redis, and holds them to the same answers, keys and lives.
fn play(ways: &mut [(&str, Box<dyn Redis>)], scene: &Scene, number: u32) -> Result<(), TestCaseError> {
    let rule = scene.rule;
    let subject = number.to_string();
    let name = if scene.leased { Key::leased } else { Key::new };
    let key = name(Part::Plain("t"), Part::Plain(&subject), "l", &rule);
    let mut model = Model::default();
    let mut now = START_US;
    let mut latest = now;
    // Times of charges and names of grants, for refunds and returns to refer to.
    let mut past: Vec<(u64, u64)> = Vec::new();
    for (step, ask) in &scene.steps {
        now = moved(now, step, rule.horizon_us());
        let operation = operation(rule, ask, &past);
        let Ok(call) = Call::new(key.clone(), &operation) else { continue };
        let expired = model.ttl_us(&key, now).is_none();
        // Redis expires keys by a clock that stands still here. While time runs ahead, a state past its horizon must be
        // as good as none; what a clock set back then finds gone has to be gone in both.
        if expired && now < latest {
            ways.iter_mut().for_each(|(_, redis)| redis.delete(&key));
        }
        latest = latest.max(now);
        let expected = model.run(&key, &operation, now).expect("checked by the call");
        note(&rule, &operation, &expected, &mut past)?;
        for (way, redis) in ways.iter_mut() {
            let value = redis.send(&chosen(&call, now));
            prop_assert_eq!(&value, &expected, "{}: {:?} at {}", way, operation, now);
            lives(redis.as_mut(), &model, (&key, &operation), &value, now)?;
        }
    }
    Ok(())
}

/// A key's life is counted from the time that its state has reached, which every script answers second.
fn lives(
    redis: &mut dyn Redis,
    model: &Model,
    (key, operation): (&Key, &Operation),
    value: &Value,
    now: u64,
) -> Result<(), TestCaseError> {
    let rule = operation.rule();
    let [admitted, reached] = head(value);
    let ahead_us = reached.saturating_sub(now);
    let ttl_ms = redis.ttl_ms(key);
    if admitted > 0 && matches!(operation, Operation::Charge { .. } | Operation::Acquire { .. }) {
        prop_assert_eq!(model.ttl_us(key, now), Some(rule.ttl_ms() * 1_000 + ahead_us));
        let horizon_ms = (rule.horizon_us() + ahead_us).div_ceil(1_000) as i64;
        let longest_ms = (rule.ttl_ms() + ahead_us.div_ceil(1_000)) as i64;
        prop_assert!(horizon_ms <= ttl_ms && ttl_ms <= longest_ms, "{ttl_ms} ms of {horizon_ms}");
    }
    prop_assert_ne!(ttl_ms, -1, "a key that never expires");
    Ok(())
}

/// Whether, or how many permits, and when.
fn head(value: &Value) -> [u64; 2] {
    match value {
        Value::Array(values) => match values[..] {
            [Value::Integer(first), Value::Integer(second), ..] => {
                [first.unsigned_abs(), second.unsigned_abs()]
            }
            _ => panic!("no script answers {values:?}"),
        },
        other => panic!("no script answers {other:?}"),
    }
}

fn moved(now: u64, step: &Step, horizon_us: u64) -> u64 {
    match step {
        Step::None => now,
        Step::Micros(us) => now + us,
        Step::Ahead(permille) => now + horizon_us / 1_000 * permille,
        Step::Back(permille) => (now - horizon_us / 1_000 * permille).max(START_US / 2),
    }
}

fn operation(rule: Rule, ask: &Ask, past: &[(u64, u64)]) -> Operation {
    let earlier = |ago: usize| past.iter().rev().nth(ago).copied().unwrap_or((START_US, 1));
    match *ask {
        Ask::Charge { cost } => Operation::Charge { rule, cost: cost.min(rule.most()) },
        Ask::Refund { cost, ago } => {
            Operation::Refund { rule, cost: cost.min(rule.most()), generation: earlier(ago).0 }
        }
        Ask::Acquire { cost, wanted, share_permille, lease_us } => {
            let cost = cost.min(rule.most());
            Operation::Acquire { rule, acquire: Acquire { cost, wanted, share_permille, lease_us } }
        }
        Ask::Return { ago, permits } => {
            let (generation, grant) = earlier(ago);
            Operation::Return { rule, back: Return { grant, generation, permits: permits.min(rule.most()) } }
        }
    }
}

/// Both sides' answers are also answers that core can read.
fn note(
    rule: &Rule,
    operation: &Operation,
    value: &Value,
    past: &mut Vec<(u64, u64)>,
) -> Result<(), TestCaseError> {
    match operation {
        Operation::Charge { cost, .. } | Operation::Refund { cost, .. } => {
            let charged = Charged::read(rule, *cost, value);
            let charged = charged.map_err(|error| TestCaseError::fail(error.to_string()))?;
            past.push((charged.generation, 1));
        }
        Operation::Acquire { acquire, .. } => {
            let granted = Granted::read(rule, acquire.cost, value);
            let granted = granted.map_err(|error| TestCaseError::fail(error.to_string()))?;
            past.push((granted.generation, granted.grant));
        }
        Operation::Return { .. } => {}
    }
    Ok(())
}

/// The call with the script's clock exchanged for the time `now`.
pub(crate) fn chosen(call: &Call, now: u64) -> Vec<bytes::Bytes> {
    let mut command = call.eval();
    command[1] = chosen_text(call.script()).into();
    command.push((now / 1_000_000).to_string().into());
    command.push((now % 1_000_000).to_string().into());
    command
}

fn chosen_text(script: &Script) -> String {
    assert_eq!(script.text.matches(TIME_LINE).count(), 1, "{} has one clock", script.name);
    assert_eq!(script.text.matches("TIME'").count(), 1, "{} has one clock", script.name);
    script.text.replace(TIME_LINE, CHOSEN_TIME)
}

pub(crate) fn rules() -> Vec<(Algorithm, bool)> {
    let counter = |strict| Algorithm::SlidingWindowCounter { strict };
    let direct = [Algorithm::FixedWindow, Algorithm::SlidingWindowLog, counter(false), counter(true)];
    let direct = direct.into_iter().chain([Algorithm::TokenBucket]).map(|algorithm| (algorithm, false));
    let rules: Vec<_> =
        direct.chain([(Algorithm::FixedWindow, true), (Algorithm::TokenBucket, true)]).collect();
    // Two rules for leases share a script, and notices are no limit.
    assert_eq!(rules.len(), SCRIPTS.len());
    rules
}

fn scene() -> impl Strategy<Value = Scene> {
    let requests = prop_oneof![1u64..20, 900u64..1_000, 1u64..1_000_000_000_000];
    // Long enough that no key expires by Redis' own clock while its scene is played.
    let window_ms = prop_oneof![20_000u64..100_000, Just(3_600_000), 20_000u64..366 * 86_400_000];
    let rule = (prop::sample::select(rules()), requests, window_ms).prop_filter_map(
        "a rule that the store can count",
        |((algorithm, leased), requests, window_ms)| {
            let log = algorithm == Algorithm::SlidingWindowLog;
            let requests = if log { (requests - 1) % 1_000 + 1 } else { requests };
            let window = Duration::from_millis(window_ms);
            let rule = Rule::new(algorithm, requests, window, requests).ok()?;
            (rule.horizon_us() > 20_000_000).then_some((rule, leased))
        },
    );
    rule.prop_flat_map(|(rule, leased)| {
        let steps = prop::collection::vec((step(), ask(rule.most(), leased)), 1..60);
        steps.prop_map(move |steps| Scene { rule, leased, steps })
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::None),
        3 => (1u64..2_000_000).prop_map(Step::Micros),
        3 => (1u64..400).prop_map(Step::Ahead),
        1 => (900u64..2_500).prop_map(Step::Ahead),
        1 => (1u64..900).prop_map(Step::Back),
        1 => (1_001u64..3_000).prop_map(Step::Back),
    ]
}

fn ask(most: u64, leased: bool) -> BoxedStrategy<Ask> {
    let cost = prop_oneof![1..=most.min(3), 1..=most.div_ceil(3)];
    let ago = 0usize..4;
    if leased {
        let acquire = (cost.clone(), 1..=most, 1u64..=1_000, 1_000u64..20_000_000);
        let acquire = acquire.prop_map(|(cost, wanted, share_permille, lease_us)| Ask::Acquire {
            cost,
            wanted,
            share_permille,
            lease_us,
        });
        let back = (ago, cost).prop_map(|(ago, permits)| Ask::Return { ago, permits });
        prop_oneof![3 => acquire, 2 => back].boxed()
    } else {
        let refund = (cost.clone(), ago).prop_map(|(cost, ago)| Ask::Refund { cost, ago });
        prop_oneof![4 => cost.prop_map(|cost| Ask::Charge { cost }), 1 => refund].boxed()
    }
}
