//! Every answer against the definition of its algorithm, evaluated by brute force over all debits.

use proptest::prelude::*;

use super::*;

/// All debits of one subject, and what the design says of them.
pub(super) struct Model {
    algorithm: Algorithm,
    requests: u64,
    window_us: u64,
    burst: u64,
    pub(super) debits: Vec<(u64, u64)>,
}

impl Model {
    pub(super) fn new(rules: &Limit) -> Model {
        Model {
            algorithm: rules.algorithm,
            requests: rules.requests,
            window_us: rules.window.as_micros() as u64,
            burst: rules.burst,
            debits: Vec::new(),
        }
    }

    fn most(&self) -> u64 {
        if self.algorithm == Algorithm::TokenBucket { self.burst } else { self.requests }
    }

    fn sum(&self, counts: impl Fn(u64) -> bool) -> u64 {
        self.debits.iter().filter(|(at_us, _)| counts(*at_us)).map(|(_, cost)| cost).sum()
    }

    fn fits(&self, cost: u64, us: u64) -> bool {
        let window_us = self.window_us;
        match self.algorithm {
            Algorithm::TokenBucket => {
                let starts = self.debits.iter().map(|(at_us, _)| *at_us).chain([us]);
                starts.into_iter().all(|from_us| {
                    let spent = u128::from(self.sum(|at_us| at_us >= from_us) + cost);
                    let (burst, requests) = (u128::from(self.burst), u128::from(self.requests));
                    spent * u128::from(window_us)
                        <= burst * u128::from(window_us) + requests * u128::from(us - from_us)
                })
            }
            Algorithm::FixedWindow => {
                self.sum(|at_us| at_us / window_us == us / window_us) + cost <= self.requests
            }
            Algorithm::SlidingWindowLog => self.sum(|at_us| us - at_us < window_us) + cost <= self.requests,
            Algorithm::SlidingWindowCounter { strict: false } => {
                let previous = self.sum(|at_us| at_us / window_us + 1 == us / window_us);
                let current = self.sum(|at_us| at_us / window_us == us / window_us);
                let covered_us = window_us - us % window_us;
                previous * covered_us + (current + cost) * window_us <= self.requests * window_us
            }
            Algorithm::SlidingWindowCounter { strict: true } => {
                let bucket_us = window_us.div_ceil(10);
                self.sum(|at_us| at_us / bucket_us + 10 >= us / bucket_us) + cost <= self.requests
            }
        }
    }

    pub(super) fn ask(&mut self, cost: u64, asked_us: u64) -> Standing {
        let us = self.debits.last().map_or(asked_us, |(at_us, _)| asked_us.max(*at_us));
        let admitted = self.fits(cost, us);
        let first_us = |cost| (us..).find(|us| self.fits(cost, *us)).expect("it fits some time");
        let retry_after_us = match admitted {
            true => 0,
            false if cost > self.most() => u64::MAX,
            false => first_us(cost) - asked_us,
        };
        if admitted {
            self.debits.push((us, cost));
        }
        let first_us = |cost| (us..).find(|us| self.fits(cost, *us)).expect("it fits some time");
        let reset_at_us = match self.algorithm {
            Algorithm::FixedWindow => (us / self.window_us + 1) * self.window_us,
            _ => first_us(self.most()),
        };
        Standing {
            admitted,
            remaining: (1..=self.most()).rev().find(|cost| self.fits(*cost, us)).unwrap_or(0),
            reset_us: reset_at_us - asked_us,
            retry_after_us,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn answers_are_those_of_the_definition(
        algorithm in prop::sample::select(&ALGORITHMS),
        requests in 1u64..9,
        window_us in 1u64..70,
        burst in 1u64..12,
        steps in prop::collection::vec((-15i64..40, 1u64..6), 1..24),
    ) {
        let rules = Limit { burst, ..rules(algorithm, requests, window_us) };
        let limiter = Limiter::new(&rules, None);
        let mut model = Model::new(&rules);
        let mut us = 1_000_000u64;
        for (step, cost) in steps {
            us = us.saturating_add_signed(step);
            prop_assert_eq!(ask(&limiter, 1, cost, us), model.ask(cost, us), "cost {} at {}", cost, us);
        }
    }
}
