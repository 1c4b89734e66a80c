use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Algorithm;
use crate::store::model::Model;
use crate::store::{Acquire, Key, Operation, Part};

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::FixedWindow,
    Algorithm::SlidingWindowLog,
    Algorithm::SlidingWindowCounter { strict: false },
    Algorithm::SlidingWindowCounter { strict: true },
    Algorithm::TokenBucket,
];

/// A limit's state in the model, charged at times of the test's choosing.
struct Limited {
    model: Model,
    key: Key,
    rule: Rule,
}

impl Limited {
    fn new(algorithm: Algorithm, requests: u64, window: Duration) -> Limited {
        let rule = Rule::new(algorithm, requests, window, requests).unwrap();
        let key = Key::new(Part::Plain("t"), Part::Plain("s"), "l", &rule);
        Limited { model: Model::default(), key, rule }
    }

    fn charge(&mut self, cost: u64, at_us: u64) -> Charged {
        let charge = Operation::Charge { rule: self.rule, cost };
        Charged::read(&self.rule, cost, &self.model.run(&self.key, &charge, at_us).unwrap()).unwrap()
    }

    fn refund(&mut self, cost: u64, generation: u64, at_us: u64) -> Charged {
        let refund = Operation::Refund { rule: self.rule, cost, generation };
        Charged::read(&self.rule, cost, &self.model.run(&self.key, &refund, at_us).unwrap()).unwrap()
    }
}

#[test]
fn an_answer_says_what_remains_and_when() {
    let mut bucket = Limited::new(Algorithm::TokenBucket, 2, Duration::from_secs(1));
    let charged = Charged {
        admitted: true,
        remaining: 1,
        retry_after_us: 0,
        reset_us: 500_000,
        generation: 7_000_000,
        clock_stepped: false,
    };
    assert_eq!(bucket.charge(1, 7_000_000), charged);
    let denied = Charged { admitted: false, retry_after_us: 500_000, ..charged };
    assert_eq!(bucket.charge(2, 7_000_000), denied);
}

#[test]
fn anything_else_than_the_scripts_answer_is_an_error() {
    let rule = Rule::new(Algorithm::FixedWindow, 1, Duration::from_secs(1), 1).unwrap();
    let refused = Value::Error("WRONGTYPE Operation against a key".into());
    let message = "WRONGTYPE Operation against a key".to_owned();
    assert_eq!(Charged::read(&rule, 1, &refused), Err(AnswerError::Refused(message)));
    for value in [
        Value::Nil,
        Value::Integer(1),
        Value::Array(Vec::new()),
        Value::integers(&[1, 2, 3]),
        Value::integers(&[1, 2, 3, 2]),
        Value::Array(vec![Value::Nil; 4]),
    ] {
        assert_eq!(Charged::read(&rule, 1, &value), Err(AnswerError::Shape), "{value:?}");
        assert_eq!(Granted::read(&rule, 1, &value), Err(AnswerError::Shape), "{value:?}");
    }
}

#[test]
fn a_clock_set_back_beyond_the_horizon_keeps_what_was_used() {
    for algorithm in ALGORITHMS {
        let mut limited = Limited::new(algorithm, 3, Duration::from_secs(1));
        assert!(limited.charge(3, 100_000_000).admitted, "{algorithm:?}");
        let denied = limited.charge(1, 50_000_000);
        assert!(!denied.admitted && denied.clock_stepped, "{algorithm:?}: {denied:?}");
        let again = limited.charge(1, 50_000_001);
        assert!(!again.admitted && !again.clock_stepped, "{algorithm:?}: {again:?}");
        assert!(limited.charge(1, 52_200_000).admitted, "{algorithm:?}");
    }
}

#[test]
fn a_refund_gives_back_what_its_charge_still_holds() {
    let at = 100_000_000;
    for algorithm in ALGORITHMS {
        let mut limited = Limited::new(algorithm, 3, Duration::from_secs(1));
        let charged = limited.charge(2, at);
        assert!(limited.refund(2, charged.generation, at).admitted);
        assert!(limited.charge(3, at).admitted, "{algorithm:?}");
        assert!(!limited.refund(3, at + 3_000_000, at).admitted, "{algorithm:?}: a charge that is not yet");
    }
    let mut bucket = Limited::new(Algorithm::TokenBucket, 2, Duration::from_secs(2));
    bucket.charge(2, at);
    // One permit was paid off within a second, and is not given back a second time.
    assert_eq!(bucket.refund(2, at, at + 1_000_000).reset_us, 0);
    bucket.charge(2, at + 1_000_000);
    assert_eq!(bucket.refund(2, at, at + 1_500_000).reset_us, 1_000_000);
}

#[test]
fn a_grant_is_a_share_of_what_remains_and_never_less_than_the_cost() {
    let rule = Rule::new(Algorithm::FixedWindow, 100, Duration::from_secs(1), 100).unwrap();
    let key = Key::leased(Part::Plain("t"), Part::Plain("s"), "l", &rule);
    let mut model = Model::default();
    let mut acquire = |cost, wanted| {
        let acquire = Acquire { cost, wanted, share_permille: 100, lease_us: 5_000_000 };
        let value = model.run(&key, &Operation::Acquire { rule, acquire }, 9_300_000).unwrap();
        let granted = Granted::read(&rule, cost, &value).unwrap();
        (granted.permits, granted.remaining, granted.lease_us, granted.grant, granted.retry_after_us)
    };
    assert_eq!(acquire(1, 50), (10, 90, 700_000, 1, 0));
    assert_eq!(acquire(1, 4), (4, 86, 700_000, 2, 0));
    assert_eq!(acquire(80, 50), (80, 6, 700_000, 3, 0));
    assert_eq!(acquire(7, 50), (0, 6, 700_000, 3, 700_000));
}

proptest! {
    /// A denied cost is admitted when `retry_after_us` is over and not a microsecond earlier.
    #[test]
    fn retry_after_is_exact(
        algorithm in prop::sample::select(&ALGORITHMS),
        requests in 1u64..40,
        window_ms in 1u64..5_000,
        steps in prop::collection::vec((0u64..900_000, 1u64..10), 1..60),
    ) {
        let mut limited = Limited::new(algorithm, requests, Duration::from_millis(window_ms));
        let mut now = 1_000_000_000;
        for (step_us, cost) in steps {
            now += step_us;
            let cost = cost.min(requests);
            let charged = limited.charge(cost, now);
            if !charged.admitted {
                let Limited { model, key, rule } = &limited;
                let mut early = Limited { model: model.clone(), key: key.clone(), rule: *rule };
                let mut due = Limited { model: model.clone(), key: key.clone(), rule: *rule };
                prop_assert!(charged.retry_after_us > 0);
                prop_assert!(due.charge(cost, now + charged.retry_after_us).admitted, "{charged:?} at {now}");
                prop_assert!(!early.charge(cost, now + charged.retry_after_us - 1).admitted, "{charged:?} at {now}");
            }
        }
    }

    /// Never more than the limit in any window, for the two algorithms that promise it.
    #[test]
    fn exact_windows_never_admit_more(
        strict: bool,
        requests in 1u64..20,
        steps in prop::collection::vec((0u64..400_000, 1u64..4), 1..200),
    ) {
        let algorithm = if strict { ALGORITHMS[3] } else { ALGORITHMS[1] };
        let mut limited = Limited::new(algorithm, requests, Duration::from_secs(1));
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        let mut now = 1_000_000_000;
        for (step_us, cost) in steps {
            now += step_us;
            if cost <= requests && limited.charge(cost, now).admitted {
                admitted.push((now, cost));
                let within: u64 = admitted.iter().filter(|(at, _)| at + 1_000_000 > now).map(|(_, cost)| cost).sum();
                prop_assert!(within <= requests, "{within} at {now}");
            }
        }
    }
}
