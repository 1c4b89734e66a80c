mod bounds;
mod model;
mod tables;

use std::time::Duration;

use super::*;
use crate::config::{EnforceAt, Sharing};

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::TokenBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindowLog,
    Algorithm::SlidingWindowCounter { strict: false },
    Algorithm::SlidingWindowCounter { strict: true },
];

fn rules(algorithm: Algorithm, requests: u64, window_us: u64) -> Limit {
    Limit {
        name: "default".to_owned(),
        algorithm,
        requests,
        window: Duration::from_micros(window_us),
        burst: requests,
        key: LimitKey::Subject,
        cost: 1,
        enforce_at: EnforceAt::First,
        sharing: Sharing::Node,
        on_store_failure: None,
        shadow: false,
    }
}

fn limiter(algorithm: Algorithm, requests: u64, window_us: u64) -> Limiter {
    Limiter::new(&rules(algorithm, requests, window_us), None)
}

fn at(us: u64) -> Now {
    Now { wall_us: us, mono_us: us }
}

fn subject(value: u128) -> SubjectKey {
    SubjectKey::test(value)
}

fn ask(limiter: &Limiter, who: u128, cost: u64, us: u64) -> Standing {
    let mut standings = [Standing::default()];
    let passes = admit(&[Demand { limiter, subject: subject(who), cost }], true, &mut standings, at(us));
    assert_eq!(passes, standings[0].admitted || limiter.rules.shadow);
    standings[0]
}

/// Remaining permits of each, and whether the request passed.
fn ask_all(limiters: &[&Limiter], cost: u64, us: u64) -> (bool, Vec<(bool, u64)>) {
    let demands: Vec<_> =
        limiters.iter().map(|limiter| Demand { limiter, subject: subject(1), cost }).collect();
    let mut standings = vec![Standing::default(); demands.len()];
    let passes = admit(&demands, true, &mut standings, at(us));
    (passes, standings.iter().map(|standing| (standing.admitted, standing.remaining)).collect())
}

#[test]
fn says_what_is_left_and_when_more_fits() {
    let standing = |admitted, remaining, reset_us, retry_after_us| Standing {
        admitted,
        remaining,
        reset_us,
        retry_after_us,
    };
    let check = |algorithm, expected: [Standing; 3]| {
        let limiter = limiter(algorithm, 3, 1_000);
        let answers = [(2, 10_300), (2, 10_400), (1, 10_500)].map(|(cost, us)| ask(&limiter, 7, cost, us));
        assert_eq!(answers, expected, "{algorithm:?}");
    };
    let [token, fixed, log, counter, strict] = ALGORITHMS;
    check(token, [standing(true, 1, 667, 0), standing(false, 1, 567, 234), standing(true, 0, 800, 0)]);
    check(fixed, [standing(true, 1, 700, 0), standing(false, 1, 600, 600), standing(true, 0, 500, 0)]);
    check(log, [standing(true, 1, 1_000, 0), standing(false, 1, 900, 900), standing(true, 0, 1_000, 0)]);
    check(
        counter,
        [standing(true, 1, 1_700, 0), standing(false, 1, 1_600, 1_100), standing(true, 0, 1_500, 0)],
    );
    check(
        strict,
        [standing(true, 1, 1_100, 0), standing(false, 1, 1_000, 1_000), standing(true, 0, 1_100, 0)],
    );
}

#[test]
fn a_refused_request_costs_nothing_anywhere() {
    for algorithm in ALGORITHMS {
        let (wide, narrow) = (limiter(algorithm, 10, 1_000), limiter(algorithm, 2, 1_000));
        assert_eq!(ask_all(&[&wide, &narrow], 2, 5_000), (true, vec![(true, 8), (true, 0)]));
        assert_eq!(ask_all(&[&wide, &narrow], 1, 5_000), (false, vec![(true, 8), (false, 0)]));
        assert_eq!(ask_all(&[&narrow, &wide], 1, 5_000), (false, vec![(false, 0), (true, 8)]));
        assert_eq!(ask_all(&[&wide], 8, 5_000), (true, vec![(true, 0)]));
    }
}

#[test]
fn a_shadow_reports_and_never_refuses() {
    let shadow = Limiter::new(&Limit { shadow: true, ..rules(Algorithm::FixedWindow, 1, 1_000) }, None);
    let enforced = limiter(Algorithm::TokenBucket, 3, 1_000_000);
    let both = [&shadow, &enforced];
    assert_eq!(ask_all(&both, 1, 5_000), (true, vec![(true, 0), (true, 2)]));
    assert_eq!(ask_all(&both, 1, 5_000), (true, vec![(false, 0), (true, 1)]));
    assert_eq!(ask_all(&both, 1, 5_000), (true, vec![(false, 0), (true, 0)]));
    // Refused by the limit that is enforced, it costs nothing in the other either.
    assert_eq!(ask_all(&both, 1, 6_000), (false, vec![(true, 1), (false, 0)]));
}

#[test]
fn a_limiter_named_twice_is_charged_once() {
    let limiter = limiter(Algorithm::TokenBucket, 5, 1_000_000);
    assert_eq!(ask_all(&[&limiter, &limiter], 2, 0), (true, vec![(true, 3), (true, 3)]));
}

#[test]
fn a_service_has_one_subject() {
    let limiter =
        Limiter::new(&Limit { key: LimitKey::Service, ..rules(Algorithm::FixedWindow, 2, 1_000) }, None);
    assert!(ask(&limiter, 1, 1, 0).admitted);
    assert!(ask(&limiter, 2 << 64, 1, 0).admitted);
    assert!(!ask(&limiter, 3 << 64, 1, 0).admitted);
    assert_eq!(limiter.stats(), LimiterStats { subjects: 1, overflowed: 0, clock_resets: 0 });
}

#[test]
fn reload_forgets_no_debit() {
    for algorithm in ALGORITHMS {
        let old = limiter(algorithm, 4, 1_000_000);
        assert_eq!(ask(&old, 1, 3, 5_000).remaining, 1);
        let new = Limiter::new(&rules(algorithm, 6, 1_000_000), Some(&old));
        assert_eq!(ask(&new, 1, 1, 5_000).remaining, 2, "{algorithm:?}");
        // A request that began before the reload debits what those after it see.
        assert_eq!(ask(&old, 1, 1, 5_000), Standing { admitted: false, ..ask(&old, 1, 1, 5_000) });
        let back = Limiter::new(&rules(algorithm, 5, 1_000_000), Some(&new));
        assert_eq!(ask(&back, 1, 1, 5_000).remaining, 0);
        assert!(!ask(&back, 1, 1, 5_000).admitted);
        let other = Limiter::new(&rules(algorithm, 5, 2_000_000), Some(&back));
        assert_eq!(ask(&other, 1, 1, 5_000).remaining, 4, "another window counts anew");
    }
}

#[test]
fn what_never_fits_is_never_due() {
    for algorithm in ALGORITHMS {
        let limiter = limiter(algorithm, 4, 1_000);
        let standing = ask(&limiter, 1, 5, 5_000);
        assert_eq!((standing.admitted, standing.retry_after_us), (false, u64::MAX));
        assert!(ask(&limiter, 1, 4, 5_000).admitted);
    }
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    const YEAR_US: u64 = 366 * 86_400_000_000;
    const MOST: u64 = 1_000_000_000_000;
    for algorithm in ALGORITHMS {
        let requests = if algorithm == Algorithm::SlidingWindowLog { 1_000 } else { MOST };
        for (requests, window_us) in [(requests, YEAR_US), (requests, 1_000), (1, YEAR_US), (1, 1_000)] {
            let limiter = Limiter::new(&Limit { burst: MOST, ..rules(algorithm, requests, window_us) }, None);
            for us in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX, 0, u64::MAX] {
                for cost in [1, requests, MOST, u64::MAX, 0] {
                    ask(&limiter, 1, cost, us);
                }
            }
        }
    }
}

#[test]
fn threads_admit_exactly_what_there_is() {
    for algorithm in ALGORITHMS {
        let (a, b) = (limiter(algorithm, 1_000, 60_000_000), limiter(algorithm, 700, 60_000_000));
        let admitted = |limiters: [&Limiter; 2]| {
            (0..1_000).filter(|us| ask_all(&limiters, 1, 1_000 + us / 10).0).count()
        };
        // They name the limits in opposite orders, which must not keep either from getting its locks.
        let sum = std::thread::scope(|scope| {
            let threads = [[&a, &b], [&b, &a]].map(|limiters| scope.spawn(move || admitted(limiters)));
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
        });
        assert_eq!(sum, 700, "{algorithm:?}");
        assert_eq!(ask(&a, 1, 300, 1_100).remaining, 0);
    }
}
