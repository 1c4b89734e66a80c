//! Tables that are full, and what they may not forget.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    // Six subjects of one shard that has room for two: they go through overflow, own accounts and idleness.
    #[test]
    fn a_full_table_keeps_the_promise_to_each(
        algorithm in prop::sample::select(&ALGORITHMS),
        requests in 1u64..6,
        steps in prop::collection::vec((1u128..7, 0u64..4_000, 1u64..3), 1..200),
    ) {
        let rules = rules(algorithm, requests, 10_000);
        let limiter = Limiter::with_room(&rules, None, 128);
        let mut debits = vec![Vec::new(); 7];
        let mut us = 1_000_000;
        for (who, step, cost) in steps {
            us += step;
            if ask(&limiter, who, cost, us).admitted {
                debits[who as usize].push((us, cost));
            }
            prop_assert!(limiter.stats().subjects <= 2);
        }
        debits.iter().for_each(|debits| bounds::check(&rules, debits));
    }
}

#[test]
fn a_flood_of_subjects_forgets_no_debit() {
    for algorithm in ALGORITHMS {
        let limiter = Limiter::with_room(&rules(algorithm, 2, 1_000_000), None, 64);
        let whos = |shard: u128| (1..200).map(move |who| (shard << 64) + who);
        assert!(ask(&limiter, 1, 2, 5_000_000).admitted);
        let admitted = whos(0).filter(|who| ask(&limiter, *who, 1, 5_000_000).admitted).count();
        assert_eq!(admitted, 2, "all others share one overflow");
        assert!(!ask(&limiter, 1, 1, 5_000_000).admitted);
        assert_eq!(limiter.stats(), LimiterStats { subjects: 1, overflowed: 2, clock_resets: 0 });
        assert!(whos(1).any(|who| ask(&limiter, who, 1, 5_000_000).admitted), "other shards are not full");
        // Once nothing of them counts any more, their places are taken by others.
        assert!(whos(0).skip(50).take(20).any(|who| ask(&limiter, who, 2, 9_000_000).admitted));
        assert_eq!(limiter.stats().subjects, 2);
    }
}

#[test]
fn who_moves_out_of_the_overflow_brings_its_debits() {
    for algorithm in ALGORITHMS {
        let rules = rules(algorithm, 4, 1_000_000);
        let full = Limiter::with_room(&rules, None, 64);
        assert!(ask(&full, 1, 1, 5_000_000).admitted);
        assert_eq!(ask(&full, 2, 3, 5_000_000).remaining, 1);
        let wide = Limiter::new(&rules, Some(&full));
        assert_eq!(ask(&wide, 2, 1, 5_000_000).remaining, 0);
        assert!(!ask(&wide, 2, 1, 5_000_000).admitted, "{algorithm:?}");
        assert_eq!(wide.stats(), LimiterStats { subjects: 2, overflowed: 1, clock_resets: 0 });
    }
}

#[test]
fn a_clock_that_steps_back_does_not_revive_who_was_forgotten() {
    let limiter = limiter(Algorithm::FixedWindow, 1, 1_000);
    assert!(ask(&limiter, 1, 1, 5_999).admitted);
    (2..40).for_each(|who| assert!(ask(&limiter, who, 1, 6_000).admitted));
    assert!(ask(&limiter, 1, 1, 5_999).admitted, "it is 6,000 to a subject that was forgotten then");
    assert!(!ask(&limiter, 1, 1, 6_001).admitted);
}

#[test]
fn who_is_refused_takes_no_place() {
    let (narrow, wide) =
        (limiter(Algorithm::FixedWindow, 1, 1_000), limiter(Algorithm::FixedWindow, 9, 1_000));
    assert!(!ask_all(&[&narrow, &wide], 2, 0).0);
    assert!(ask_all(&[&wide], 0, 0).0);
    assert_eq!((narrow.stats().subjects, wide.stats().subjects), (0, 0));
}
