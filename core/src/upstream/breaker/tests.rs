use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn rules() -> CircuitBreaker {
    CircuitBreaker {
        failure_rate: 0.5,
        minimum_calls: 4,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(5),
        probes: 2,
    }
}

fn at(ms: u64) -> Now {
    Now { wall_us: 0, mono_us: ms * 1_000 }
}

fn call(breaker: &Breaker, failed: bool, ms: u64) {
    let permit = breaker.admit(at(ms)).expect("admitted");
    breaker.record(permit, failed, at(ms));
}

fn opened(ms: u64) -> Breaker {
    let breaker = Breaker::new(rules());
    for _ in 0..4 {
        call(&breaker, true, ms);
    }
    assert_eq!(breaker.state(at(ms)), BreakerState::Open);
    breaker
}

#[test]
fn too_few_calls_never_open_it() {
    let breaker = Breaker::new(rules());
    for _ in 0..3 {
        call(&breaker, true, 0);
    }
    assert_eq!(breaker.state(at(0)), BreakerState::Closed);
}

#[test]
fn it_opens_at_the_failure_rate_and_not_below() {
    let breaker = Breaker::new(rules());
    for failed in [false, false, false, true, true] {
        call(&breaker, failed, 0);
    }
    assert_eq!(breaker.state(at(0)), BreakerState::Closed);
    call(&breaker, true, 0);
    assert_eq!(breaker.state(at(0)), BreakerState::Open);
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let breaker = Breaker::new(rules());
    for _ in 0..3 {
        call(&breaker, true, 0);
    }
    call(&breaker, true, 11_000);
    assert_eq!(breaker.state(at(11_000)), BreakerState::Closed);
}

#[test]
fn an_open_breaker_refuses_until_its_time_is_up() {
    let breaker = opened(0);
    assert_eq!(breaker.admit(at(1_000)), Err(Refused { retry_after_us: 4_000_000 }));
    assert_eq!(breaker.state(at(5_000)), BreakerState::HalfOpen);
}

#[test]
fn a_half_open_breaker_admits_only_its_probes() {
    let breaker = opened(0);
    assert_eq!(breaker.admit(at(5_000)), Ok(Permit::Probe { round: 1, slot: 0, expires_us: 10_000_000 }));
    assert_eq!(breaker.admit(at(5_000)), Ok(Permit::Probe { round: 1, slot: 1, expires_us: 10_000_000 }));
    assert_eq!(breaker.admit(at(5_000)), Err(Refused { retry_after_us: 5_000_000 }));
}

#[test]
fn all_probes_must_succeed_to_close_it() {
    let breaker = opened(0);
    call(&breaker, false, 5_000);
    assert_eq!(breaker.state(at(5_000)), BreakerState::HalfOpen);
    call(&breaker, false, 5_000);
    assert_eq!(breaker.state(at(5_000)), BreakerState::Closed);
}

#[test]
fn one_failed_probe_opens_it_again() {
    let breaker = opened(0);
    call(&breaker, false, 5_000);
    call(&breaker, true, 5_000);
    assert_eq!(breaker.state(at(9_999)), BreakerState::Open);
}

#[test]
fn a_released_probe_makes_room_for_another() {
    let breaker = opened(0);
    let first = breaker.admit(at(5_000)).expect("a probe");
    let _second = breaker.admit(at(5_000)).expect("a probe");
    breaker.release(first);
    assert_eq!(breaker.admit(at(5_000)), Ok(Permit::Probe { round: 1, slot: 0, expires_us: 10_000_000 }));
}

#[test]
fn a_lost_probe_expires_by_time() {
    let breaker = opened(0);
    let _lost = [breaker.admit(at(5_000)), breaker.admit(at(5_000))];
    assert_eq!(breaker.admit(at(10_000)), Ok(Permit::Probe { round: 1, slot: 0, expires_us: 15_000_000 }));
}

#[test]
fn a_late_answer_of_an_expired_probe_says_nothing_of_the_one_in_its_place() {
    let breaker = opened(0);
    let lost = breaker.admit(at(5_000)).expect("a probe");
    let _others = [breaker.admit(at(5_000)), breaker.admit(at(10_000)), breaker.admit(at(10_000))];
    breaker.record(lost, false, at(10_001));
    assert_eq!(breaker.admit(at(10_001)), Err(Refused { retry_after_us: 4_999_000 }));
}

#[test]
fn a_probe_of_an_earlier_round_changes_nothing() {
    let breaker = opened(0);
    let late = breaker.admit(at(5_000)).expect("a probe");
    call(&breaker, true, 5_000);
    let _current = breaker.admit(at(10_000)).expect("a probe of the next round");
    breaker.record(late, true, at(10_000));
    assert_eq!(breaker.state(at(10_000)), BreakerState::HalfOpen);
}

#[test]
fn a_body_that_breaks_off_counts_as_a_failure() {
    let breaker = Breaker::new(rules());
    for _ in 0..4 {
        call(&breaker, false, 0);
    }
    breaker.record_late_failure(at(0));
    assert_eq!(breaker.state(at(0)), BreakerState::Closed);
    breaker.record_late_failure(at(0));
    assert_eq!(breaker.state(at(0)), BreakerState::Open);
}

proptest! {
    /// Whatever happens, a half-open breaker has at most its number of unexpired probes, and an open one admits none.
    #[test]
    fn never_more_probes_than_configured(steps in prop::collection::vec((0u64..2_000, 0u8..4), 1..300)) {
        let breaker = opened(0);
        let mut now = 0;
        let mut held: Vec<(Permit, u64)> = Vec::new();
        for (step, action) in steps {
            now += step;
            match action {
                0 | 1 => if let Ok(permit) = breaker.admit(at(now)) { held.push((permit, now)) },
                2 if !held.is_empty() => {
                    let (permit, _) = held.swap_remove(0);
                    breaker.record(permit, now % 3 == 0, at(now));
                }
                3 if !held.is_empty() => breaker.release(held.swap_remove(0).0),
                _ => {}
            }
            let round = breaker.lock().round;
            if breaker.state(at(now)) == BreakerState::HalfOpen {
                let running = held.iter().filter(|(permit, since)| {
                    matches!(permit, Permit::Probe { round: of, .. } if *of == round) && since + 5_000 > now
                }).count();
                prop_assert!(running <= 2, "{running} probes at {now}");
            }
        }
    }
}
