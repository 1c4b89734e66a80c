use std::time::Duration;

use super::*;
use crate::config::Algorithm;

const WINDOW: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options { target: Duration::from_secs(1), holding_max: None, reserve: false, largest_cost: 1 }
}

fn terms(algorithm: Algorithm) -> Terms {
    Terms::new(algorithm, 6_000, WINDOW, 6_000, &options()).unwrap()
}

fn at(ms: u64) -> Now {
    Now { wall_us: 0, mono_us: ms * 1_000 }
}

fn asked(decision: Decision) -> Acquire {
    match decision {
        Decision::Ask(acquire) => acquire,
        other => panic!("{other:?} asks nothing"),
    }
}

fn granted(permits: u64) -> Granted {
    Granted {
        permits,
        remaining: 5_000,
        lease_us: 1_000_000,
        generation: 7,
        grant: 3,
        retry_after_us: 0,
        reset_us: 0,
        clock_stepped: false,
    }
}

fn denied(retry_after_us: u64) -> Granted {
    Granted { retry_after_us, ..granted(0) }
}

/// A lease of `permits`, of which one was spent by the request that asked, sent at 0 ms and answered at 5 ms.
fn holding(terms: &Terms, permits: u64) -> Lease {
    let mut lease = Lease::default();
    let acquire = asked(lease.take(terms, 1, at(0)));
    assert_eq!(lease.answer(acquire, &granted(permits), at(5)), Answered::Admitted);
    lease
}

#[test]
fn what_a_grant_leaves_over_is_spent_without_asking() {
    let terms = terms(Algorithm::TokenBucket);
    let mut lease = holding(&terms, 3);
    for ms in [6, 7] {
        assert!(matches!(lease.take(&terms, 1, at(ms)), Decision::Taken { refill: None, .. }));
    }
    asked(lease.take(&terms, 1, at(8)));
}

#[test]
fn a_lease_ends_before_the_root_can_think_it_over() {
    let terms = terms(Algorithm::TokenBucket);
    // Sent at 0, 1 s long, less 1 ms of drift and 1 ms of granularity.
    assert_eq!(holding(&terms, 3).held(at(997)), 2);
    assert_eq!(holding(&terms, 3).held(at(998)), 0);
}

#[test]
fn a_clock_that_was_set_back_ends_a_lease() {
    let terms = terms(Algorithm::TokenBucket);
    let mut lease = Lease::default();
    let acquire = asked(lease.take(&terms, 1, at(500)));
    lease.answer(acquire, &granted(3), at(505));
    assert_eq!((lease.held(at(506)), lease.held(at(499))), (2, 0));
}

#[test]
fn a_denial_is_believed_for_its_cost_until_its_time() {
    let terms = terms(Algorithm::FixedWindow);
    let mut lease = Lease::default();
    let acquire = asked(lease.take(&terms, 5, at(0)));
    let answered = lease.answer(acquire, &denied(300_000), at(10));
    assert_eq!(answered, Answered::Denied { retry_after_us: 290_000 });
    assert!(matches!(lease.take(&terms, 5, at(100)), Decision::Deny { retry_after_us: 200_000 }));
    let smaller = asked(lease.take(&terms, 4, at(100)));
    lease.answer(smaller, &denied(60_000_000), at(110));
    // No longer than a second, however far the window's end is, of which clients are told all the same.
    assert!(matches!(lease.take(&terms, 4, at(1_109)), Decision::Deny { retry_after_us: 58_991_000 }));
    asked(lease.take(&terms, 4, at(1_110)));
}

#[test]
fn one_acquire_at_a_time_asks_for_more_than_its_cost() {
    let terms = terms(Algorithm::TokenBucket);
    let mut lease = Lease::default();
    let first = asked(lease.take(&terms, 1, at(0)));
    let second = asked(lease.take(&terms, 1, at(1)));
    assert_eq!((first.wanted, second.wanted), (2, 1));
    // Unanswered for a second, the first is superseded, and what it brings beyond its cost is discarded.
    let third = asked(lease.take(&terms, 1, at(1_000)));
    assert!(third.wanted > 1);
    assert_eq!(lease.answer(first, &granted(2), at(1_001)), Answered::Admitted);
    assert_eq!(lease.held(at(1_001)), 0);
}

#[test]
fn an_answer_to_an_earlier_sending_is_not_held() {
    let terms = terms(Algorithm::TokenBucket);
    let mut lease = Lease::default();
    let acquire = asked(lease.take(&terms, 1, at(0)));
    let again = lease.again(acquire, at(50));
    assert_eq!(lease.answer(again, &granted(2), at(60)), Answered::Admitted);
    assert_eq!(lease.held(at(1_047)), 1);
}

#[test]
fn a_steady_rate_is_refilled_before_it_runs_out() {
    let terms = terms(Algorithm::TokenBucket);
    let mut lease = Lease::default();
    let (mut waited, mut refills) = (0, 0);
    for ms in (0..10_000).step_by(10) {
        let acquire = match lease.take(&terms, 1, at(ms)) {
            Decision::Taken { refill, .. } => {
                refills += u32::from(refill.is_some());
                refill
            }
            Decision::Ask(acquire) => {
                waited += 1;
                Some(acquire)
            }
            Decision::Deny { .. } => panic!("nothing was denied"),
        };
        if let Some(acquire) = acquire {
            let permits = acquire.wanted;
            lease.answer(acquire, &granted(permits), at(ms));
        }
    }
    assert!(waited <= 8 && refills <= 20, "{waited} waited, {refills} refills");
}

#[test]
fn what_another_limit_denied_is_put_back_while_its_lot_is_there() {
    let terms = terms(Algorithm::TokenBucket);
    let mut lease = holding(&terms, 3);
    let Decision::Taken { taken, .. } = lease.take(&terms, 2, at(6)) else { panic!("two are held") };
    lease.put_back(taken);
    assert_eq!(lease.held(at(7)), 2);
    let Decision::Taken { taken, .. } = lease.take(&terms, 2, at(8)) else { panic!("two are held") };
    asked(lease.take(&terms, 1, at(2_000)));
    lease.put_back(taken);
    assert_eq!(lease.held(at(2_000)), 0);
}

#[test]
fn an_idle_window_lease_is_returned_once() {
    let terms = terms(Algorithm::FixedWindow);
    let acquired = |permits, remaining| {
        let mut lease = Lease::default();
        let acquire = asked(lease.take(&terms, 1, at(0)));
        let granted = Granted { remaining, lease_us: 60_000_000, ..granted(permits) };
        lease.answer(acquire, &granted, at(5));
        lease
    };
    let mut lease = acquired(101, 1_000);
    assert_eq!(lease.surplus(&terms, at(999)), None);
    let back = store::Return { grant: 3, generation: 7, permits: 100 };
    assert_eq!(lease.surplus(&terms, at(1_000)), Some(Operation::Return { rule: terms.rule, back }));
    assert_eq!((lease.surplus(&terms, at(1_001)), lease.close(&terms, at(1_001))), (None, None));
    // Where enough remains at the root, a return is not worth its command.
    assert_eq!(acquired(100, 1_000).surplus(&terms, at(1_000)), None);
}

#[test]
fn a_token_bucket_takes_nothing_back() {
    let terms = terms(Algorithm::TokenBucket);
    assert_eq!(holding(&terms, 3).close(&terms, at(10)), None);
}

#[test]
fn the_bound_follows_from_the_configuration() {
    // 100 a second for a second.
    let bucket = terms(Algorithm::TokenBucket);
    assert_eq!(bound(&bucket, None).excess, 100);
    assert_eq!(bound(&bucket, None).permits_within(2_000_000), 6_000 + 200 + 100);
    let held = Options { holding_max: Some(10), ..options() };
    let held = Terms::new(Algorithm::TokenBucket, 6_000, WINDOW, 6_000, &held).unwrap();
    assert_eq!((bound(&held, Some(3)).excess, bound(&held, Some(30)).excess), (30, 100));
    assert_eq!(bound(&terms(Algorithm::FixedWindow), None).excess, 0);
}

#[test]
fn a_reserve_is_held_back_from_the_burst_or_refused() {
    let reserve = Options { reserve: true, ..options() };
    let new = |burst| Terms::new(Algorithm::TokenBucket, 6_000, WINDOW, burst, &reserve);
    let whole = new(500).unwrap();
    assert_eq!((whole.rule.most(), whole.target_us, bound(&whole, None).excess), (400, 1_000_000, 0));
    // 51 permits leave room for half a second and a cost of one.
    let clamped = new(51).unwrap();
    assert_eq!((clamped.rule.most(), clamped.target_us), (1, 500_000));
    assert_eq!(new(1), Err(TermsError::Reserve { burst: 1, cost: 1 }));
}
