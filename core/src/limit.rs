//! Rate limits decided on this node: exact arithmetic on bounded state.
//!
//! A [`Limiter`] is one configured limit with what its subjects have used; [`admit`] debits all the limits that apply
//! to a request, or none. The counts are sharded by a keyed hash of the subject, never by core, because one user's
//! connections land on many. What is full degrades to refusing too much: a debit is forgotten only once it no longer
//! counts.

mod account;
mod fixed_window;
mod flood;
pub(crate) mod slots;
mod sub_buckets;
mod subject;
mod table;
mod token_bucket;
mod two_buckets;
mod window_log;

use std::sync::Arc;

pub use flood::{Ban, Banned, Flood, FloodStats};
pub use subject::{Secret, Subject, SubjectKey};

use crate::Now;
use crate::config::{Algorithm, Limit, LimitKey};

use account::Terms;
use fixed_window::FixedWindow;
use sub_buckets::SubBuckets;
use table::Table;
use token_bucket::TokenBucket;
use two_buckets::TwoBuckets;
use window_log::WindowLog;

/// Limits that may apply to one request; each holds a lock while the others are looked at.
pub const MAX_LIMITS_PER_REQUEST: usize = 8;
/// Subjects a limit tells apart; further ones share the overflow of their shard.
pub const SUBJECTS_MAX: usize = 1 << 20;
/// Records that all subjects of one `sliding_window_log` hold together, 16 bytes each. It bounds their number.
const LOG_RECORDS_MAX: usize = 1 << 24;

/// One configured limit and what its subjects have used.
#[derive(Debug)]
pub struct Limiter {
    rules: Limit,
    terms: Terms,
    store: Arc<Store>,
}

/// What one limit is asked for a request.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    pub limiter: &'a Limiter,
    /// Ignored by a limit on a whole service, which has one subject.
    pub subject: SubjectKey,
    /// Permits.
    pub cost: u64,
}

/// How one limit stands towards a request, after it was debited if it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// This limit has room for the cost. Another may have refused the request, which then cost nothing here.
    pub admitted: bool,
    /// Permits that would be admitted now.
    pub remaining: u64,
    /// Until the quota is whole again or, for a fixed window, until the window ends.
    pub reset_us: u64,
    /// When the same cost would be admitted if nobody else came; 0 where it was admitted, `u64::MAX` where it exceeds
    /// all that the limit ever admits at once.
    pub retry_after_us: u64,
}

/// What one limit holds, and what happened to it since it was first configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimiterStats {
    pub subjects: u64,
    /// Requests admitted at the expense of an overflow that many subjects share.
    pub overflowed: u64,
    /// Counts dropped because the clock stepped back further than they would have been remembered.
    pub clock_resets: u64,
}

#[derive(Debug)]
enum Store {
    TokenBucket(Table<TokenBucket>),
    FixedWindow(Table<FixedWindow>),
    WindowLog(Table<WindowLog>),
    TwoBuckets(Table<TwoBuckets>),
    SubBuckets(Table<SubBuckets>),
}

impl Limiter {
    /// Shares the counts of `known`, a limit of the configuration before, where both count the same subjects by the same
    /// algorithm over the same window. Requests of either generation then debit one state, each by its own rules.
    pub fn new(rules: &Limit, known: Option<&Limiter>) -> Limiter {
        Limiter::with_room(rules, known, SUBJECTS_MAX)
    }

    fn with_room(rules: &Limit, known: Option<&Limiter>, subjects_max: usize) -> Limiter {
        let same = |known: &&Limiter| {
            (known.rules.algorithm, known.rules.window, &known.rules.key)
                == (rules.algorithm, rules.window, &rules.key)
        };
        let store = known.filter(same).map(|known| known.store.clone());
        let subjects_max = match rules.algorithm {
            Algorithm::SlidingWindowLog => subjects_max
                .min(LOG_RECORDS_MAX / usize::try_from(rules.requests).unwrap_or(usize::MAX).max(1)),
            _ => subjects_max,
        };
        Limiter {
            rules: rules.clone(),
            terms: Terms::new(rules, subjects_max),
            store: store.unwrap_or_else(|| Arc::new(Store::new(rules))),
        }
    }

    pub fn rules(&self) -> &Limit {
        &self.rules
    }

    pub fn stats(&self) -> LimiterStats {
        match &*self.store {
            Store::TokenBucket(table) => table.stats(),
            Store::FixedWindow(table) => table.stats(),
            Store::WindowLog(table) => table.stats(),
            Store::TwoBuckets(table) => table.stats(),
            Store::SubBuckets(table) => table.stats(),
        }
    }
}

impl Store {
    fn new(rules: &Limit) -> Store {
        let whole = rules.key == LimitKey::Service;
        match rules.algorithm {
            Algorithm::TokenBucket => Store::TokenBucket(Table::new(whole)),
            Algorithm::FixedWindow => Store::FixedWindow(Table::new(whole)),
            Algorithm::SlidingWindowLog => Store::WindowLog(Table::new(whole)),
            Algorithm::SlidingWindowCounter { strict: false } => Store::TwoBuckets(Table::new(whole)),
            Algorithm::SlidingWindowCounter { strict: true } => Store::SubBuckets(Table::new(whole)),
        }
    }
}

/// Debits all demands or, if one of them or one of the `others` refuses, none; says whether these demands let the request
/// pass, and fills `standings` in their order.
///
/// A limit in `shadow` is debited where it has room and the request passes, and never refuses. A limiter that is named
/// twice is charged once, for the first of its demands.
///
/// # Panics
/// With more than [`MAX_LIMITS_PER_REQUEST`] demands, or fewer standings than demands.
pub fn admit(demands: &[Demand<'_>], others: bool, standings: &mut [Standing], now: Now) -> bool {
    let mut order = [0; MAX_LIMITS_PER_REQUEST];
    let order = &mut order[..demands.len()];
    for (place, index) in order.iter_mut().zip(0..) {
        *place = index;
    }
    // One lock a store is held until the last demand is decided. All requests take them in the order of the stores'
    // addresses, whatever the order of the limits in their generation of the configuration: no cycle can form.
    order.sort_unstable_by_key(|&index| (demands[index].limiter.address(), index));
    charge(demands, order, standings, now, others);
    demands.iter().zip(&*standings).all(|(demand, standing)| standing.admitted || demand.limiter.rules.shadow)
}

impl Limiter {
    fn address(&self) -> usize {
        Arc::as_ptr(&self.store).addr()
    }
}

/// Charges the demands in `order` and returns whether these and all before them pass. Each is decided in the frame that
/// holds its lock, once the frames below have answered for the rest.
fn charge(
    demands: &[Demand<'_>],
    order: &[usize],
    standings: &mut [Standing],
    now: Now,
    so_far: bool,
) -> bool {
    let Some((&first, rest)) = order.split_first() else { return so_far };
    let Demand { limiter, subject, cost } = demands[first];
    let again =
        rest.iter().take_while(|&&index| demands[index].limiter.address() == limiter.address()).count();
    let (repeated, rest) = rest.split_at(again);
    let mut passes = false;
    let decide = |fits: bool| {
        passes = charge(demands, rest, standings, now, so_far && (fits || limiter.rules.shadow));
        passes && fits
    };
    let terms = &limiter.terms;
    let standing = match &*limiter.store {
        Store::TokenBucket(table) => table.charge(terms, subject, cost, now, decide),
        Store::FixedWindow(table) => table.charge(terms, subject, cost, now, decide),
        Store::WindowLog(table) => table.charge(terms, subject, cost, now, decide),
        Store::TwoBuckets(table) => table.charge(terms, subject, cost, now, decide),
        Store::SubBuckets(table) => table.charge(terms, subject, cost, now, decide),
    };
    standings[first] = standing;
    for &index in repeated {
        standings[index] = standing;
    }
    passes
}

#[cfg(test)]
mod tests;
