//! The retry budget of one service: retries are a bounded share of requests, so that they cannot become the load
//! (after Finagle's and Linkerd's budgets).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::window::RollingWindow;
use crate::Now;
use crate::config::Retries;

/// Over which requests and retries are weighed.
const WINDOW: Duration = Duration::from_secs(10);
const REQUESTS: usize = 0;
const RETRIES: usize = 1;

/// Admits a retry while, over the last ten seconds, retries stay below `budget_ratio` × requests plus
/// `floor_per_s` × 10.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    ratio: f64,
    floor: f64,
    window: Mutex<RollingWindow<2>>,
}

impl RetryBudget {
    pub(crate) fn new(rules: &Retries) -> RetryBudget {
        RetryBudget {
            ratio: rules.budget_ratio,
            floor: f64::from(rules.floor_per_s) * WINDOW.as_secs_f64(),
            window: Mutex::new(RollingWindow::new(WINDOW)),
        }
    }

    pub(crate) fn deposit(&self, now: Now) {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).record(REQUESTS, now.mono_us);
    }

    /// Takes one retry out of the budget; false when it is spent.
    pub(crate) fn withdraw(&self, now: Now) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let [requests, retries] = window.sums(now.mono_us);
        let admitted = f64::from(retries) + 1.0 <= self.ratio * f64::from(requests) + self.floor;
        if admitted {
            window.record(RETRIES, now.mono_us);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget(budget_ratio: f64, floor_per_s: u32) -> RetryBudget {
        RetryBudget::new(&Retries { attempts: 1, budget_ratio, floor_per_s })
    }

    #[test]
    fn an_empty_budget_admits_nothing() {
        assert!(!budget(0.2, 0).withdraw(Now::default()));
    }

    #[test]
    fn the_floor_admits_without_requests() {
        let budget = budget(0.0, 1);
        let admitted = (0..20).filter(|_| budget.withdraw(Now::default())).count();
        assert_eq!(admitted, 10);
    }

    proptest! {
        #[test]
        fn retries_never_exceed_the_share_of_requests(steps in prop::collection::vec((0u64..100_000, any::<bool>()), 1..500)) {
            let budget = budget(0.2, 0);
            let (mut now, mut requests, mut retries) = (Now::default(), 0u32, 0u32);
            for (step, retry) in steps {
                now.mono_us += step;
                match retry {
                    true => retries += u32::from(budget.withdraw(now)),
                    false => { budget.deposit(now); requests += 1 }
                }
                prop_assert!(f64::from(retries) <= 0.2 * f64::from(requests));
            }
        }
    }
}
