//! What each algorithm promises, over all intervals of whatever it admitted.

use proptest::prelude::*;

use super::*;

/// Checks the promise on debits in the order of their times.
pub(super) fn check(rules: &Limit, debits: &[(u64, u64)]) {
    let (requests, window_us) = (u128::from(rules.requests), rules.window.as_micros());
    for (i, &(from_us, _)) in debits.iter().enumerate() {
        let mut spent = 0;
        for &(at_us, cost) in &debits[i..] {
            spent += u128::from(cost);
            let apart_us = u128::from(at_us - from_us);
            let (same_window, within) =
                (u128::from(from_us) / window_us == u128::from(at_us) / window_us, apart_us < window_us);
            let kept = match rules.algorithm {
                Algorithm::TokenBucket => {
                    spent * window_us <= u128::from(rules.burst) * window_us + requests * apart_us
                }
                Algorithm::FixedWindow => !same_window || spent <= requests,
                Algorithm::SlidingWindowLog | Algorithm::SlidingWindowCounter { strict: true } => {
                    !within || spent <= requests
                }
                Algorithm::SlidingWindowCounter { strict: false } => !within || spent < 2 * requests,
            };
            assert!(kept, "{spent} permits from {from_us} to {at_us} under {rules:?}");
        }
    }
}

fn scale() -> impl Strategy<Value = u64> {
    prop_oneof![1u64..20, 1u64..2_000, 1u64..=1_000_000_000_000]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_interval_holds_more(
        algorithm in prop::sample::select(&ALGORITHMS),
        (requests, burst) in (scale(), scale()),
        window_us in prop_oneof![1_000u64..5_000, 1_000u64..=31_622_400_000_000],
        // Times in thousandths of a window, costs in thousandths of what fits at once.
        steps in prop::collection::vec((-300i64..400, 1u64..1_001, 0u8..30), 1..150),
    ) {
        let requests = if algorithm == Algorithm::SlidingWindowLog { requests.min(1_000) } else { requests };
        let rules = Limit { burst, ..rules(algorithm, requests, window_us) };
        let limiter = Limiter::new(&rules, None);
        let most = if algorithm == Algorithm::TokenBucket { burst } else { requests };
        let horizon_us = match algorithm {
            Algorithm::TokenBucket => u128::from(burst) * u128::from(window_us) / u128::from(requests) + 1,
            _ => 3 * u128::from(window_us),
        };
        let horizon_us = u64::try_from(horizon_us).unwrap_or(u64::MAX).max(1_000_000);
        let (mut us, mut last_us, mut debits) = (1u64 << 62, 0, Vec::new());
        for (step, thousandths, jump) in steps {
            let step = i128::from(step) * i128::from(window_us) / 1_000;
            us = (i128::from(us) + step) as u64;
            match jump {
                0 => us = us.saturating_add(3 * window_us),
                1 if horizon_us < 1 << 50 => us = last_us.min(us).saturating_sub(horizon_us + 1),
                _ => {}
            }
            let resets = limiter.stats().clock_resets;
            let cost = (most / 1_000 * thousandths).max(1);
            let admitted = ask(&limiter, 1, cost, us).admitted;
            if limiter.stats().clock_resets > resets {
                debits.clear();
                last_us = 0;
            }
            if admitted {
                last_us = us.max(last_us);
                debits.push((last_us, cost));
            }
        }
        check(&rules, &debits);
    }
}

#[test]
fn a_clock_set_back_beyond_the_horizon_starts_again() {
    for algorithm in ALGORITHMS {
        let limiter = limiter(algorithm, 2, 600_000);
        assert!(ask(&limiter, 1, 2, 100_000_000).admitted);
        let step_us = if algorithm == (Algorithm::SlidingWindowCounter { strict: false }) {
            1_200_000
        } else {
            1_000_000
        };
        assert!(!ask(&limiter, 1, 2, 100_000_000 - step_us).admitted, "{algorithm:?}");
        assert_eq!(limiter.stats().clock_resets, 0);
        assert_eq!(ask(&limiter, 1, 2, 100_000_000 - step_us - 1).remaining, 0);
        assert_eq!(limiter.stats().clock_resets, 1);
    }
}

#[test]
fn the_estimate_admits_up_to_twice_and_strict_does_not() {
    let burst_first = |strict| {
        let limiter = limiter(Algorithm::SlidingWindowCounter { strict }, 10, 1_000_000);
        let burst = (0..10).filter(|_| ask(&limiter, 1, 1, 10_999_999).admitted).count();
        burst + (0..999).filter(|ms| ask(&limiter, 1, 1, 11_000_000 + ms * 1_000).admitted).count()
    };
    assert_eq!((burst_first(false), burst_first(true)), (19, 10));
}
