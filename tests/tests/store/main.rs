//! The shared store against real Redis servers: the scripts, and the client that runs them.

mod bridge;
mod client;
mod cluster;
mod differential;
mod hostile;
mod notices;

use std::time::Duration;

use differential::rules;
use tollgate_core::config::Algorithm;
use tollgate_core::store::{Acquire, Call, Charged, Granted, Key, Operation, Part, Rule};
use tollgate_tests::redis::{Redis, Server};

#[test]
fn a_script_redis_does_not_know_is_evaluated_once() {
    let mut server = Server::start();
    let rule = Rule::new(Algorithm::TokenBucket, 10, Duration::from_secs(60), 10).unwrap();
    let key = Key::new(Part::Plain("t"), Part::Plain("s"), "l", &rule);
    let call = Call::new(key, &Operation::Charge { rule, cost: 3 }).unwrap();
    assert!(server.send(&call.evalsha()).is_noscript());
    let charged = Charged::read(&rule, 3, &server.send(&call.eval())).unwrap();
    assert_eq!((charged.admitted, charged.remaining, charged.reset_us), (true, 7, 18_000_000));
    let charged = Charged::read(&rule, 3, &server.send(&call.evalsha())).unwrap();
    assert_eq!((charged.admitted, charged.remaining), (true, 4));
}

#[test]
fn every_script_runs_on_redis_own_clock() {
    let mut server = Server::start();
    for (algorithm, leased) in rules() {
        let rule = Rule::new(algorithm, 100, Duration::from_secs(3_600), 100).unwrap();
        let acquire = Acquire { cost: 1, wanted: 50, share_permille: 100, lease_us: 1_000_000 };
        let (key, operation) = match leased {
            true => (Key::leased as fn(_, _, _, _) -> _, Operation::Acquire { rule, acquire }),
            false => (Key::new as fn(_, _, _, _) -> _, Operation::Charge { rule, cost: 10 }),
        };
        let call = Call::new(key(Part::Plain("t"), Part::Plain("s"), "l", &rule), &operation).unwrap();
        let value = server.send(&call.eval());
        let remaining = match leased {
            true => Granted::read(&rule, 1, &value).unwrap().remaining,
            false => Charged::read(&rule, 10, &value).unwrap().remaining,
        };
        assert_eq!(remaining, 90, "{algorithm:?}, leased: {leased}");
    }
}
