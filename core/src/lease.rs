//! Borrowed quota: permits leased in batches from the shared store and spent locally.
//!
//! A [`Lease`] is one node's part in one limit for one subject. [`Lease::take`] spends what it holds, denies what the
//! store denied a moment ago, or says what to [`Acquire`]. An `Acquire` is consumed by its answer, so no answer counts
//! twice; one that is dropped, or whose answer is late, costs permits and never admits too much.
//!
//! A request waits for one acquire at most: its answer admits or denies it. Only what the grant has beyond the
//! request's own cost is held, and that for a time counted from before the question was sent.

mod demand;
mod denial;
mod terms;

pub use denial::DENIAL_MAX_US;
pub(crate) use denial::Denial;
pub use terms::{Bound, DRIFT_PPM, GRANULARITY_US, Options, SHARE_PERMILLE, Terms, TermsError, bound};

use crate::Now;
use crate::store::{self, Granted, Operation};
use demand::Demand;

/// An acquire that was not answered in this time is superseded by the next.
pub const ANSWER_MAX_US: u64 = 1_000_000;
/// Permits are refilled when what is held lasts no longer than this.
pub const REFILL_AHEAD_US: u64 = 100_000;

/// A lease is asked to be returned when it is at least this share of what remained at the root.
const SURPLUS_PARTS: u64 = 10;
const LOTS: usize = 2;

#[derive(Debug, Default)]
pub struct Lease {
    lots: [Lot; LOTS],
    /// The one acquire in flight that asked for more than its request's cost.
    bulk: Option<Bulk>,
    denial: Option<Denial>,
    demand: Demand,
    /// At the root, when last heard of.
    remaining: u64,
    /// When the root is whole again, as far as is known.
    reset_at_us: u64,
    /// Permits that were held until they could not be spent any more.
    wasted: u64,
    taken_us: u64,
    number: u32,
}

/// What is left of one grant.
#[derive(Clone, Copy, Debug, Default)]
struct Lot {
    left: u64,
    since_us: u64,
    deadline_us: u64,
    grant: u64,
    generation: u64,
    number: u32,
}

#[derive(Clone, Copy, Debug)]
struct Bulk {
    number: u32,
    sent_us: u64,
}

#[derive(Debug)]
pub enum Decision {
    /// Admitted from what is held. A refill is to be sent in the background.
    Taken {
        taken: Taken,
        refill: Option<Acquire>,
    },
    /// The request waits for this one answer.
    Ask(Acquire),
    Deny {
        retry_after_us: u64,
    },
}

/// Permits that were spent, to be put back when another limit denies the request.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    permits: u64,
    number: u32,
}

/// A question to the store, sent when it was made. It is consumed by its answer; its answer is lost if it is dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Acquire {
    cost: u64,
    wanted: u64,
    /// No request waits for it.
    refill: bool,
    sent_us: u64,
    number: u32,
}

/// What an answer means for the request that waited for it.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered {
    Admitted,
    Denied {
        retry_after_us: u64,
    },
    /// None did.
    Refilled,
}

impl Acquire {
    /// The same question, of which no request takes a part any more: another limit denied the one that asked.
    pub fn unspent(self) -> Acquire {
        Acquire { refill: true, ..self }
    }

    pub fn operation(&self, terms: &Terms) -> Operation {
        let acquire = store::Acquire {
            cost: self.cost,
            wanted: self.wanted,
            share_permille: SHARE_PERMILLE,
            lease_us: terms.lease_us(),
        };
        Operation::Acquire { rule: terms.rule, acquire }
    }
}

impl Lease {
    /// Decides on a request of `cost` permits, which is at most the rule's [`most`](crate::store::Rule::most).
    pub fn take(&mut self, terms: &Terms, cost: u64, now: Now) -> Decision {
        let now_us = now.mono_us;
        self.drop_expired(now_us);
        self.demand.observe(cost, terms.target_us, now_us);
        self.taken_us = now_us;
        let fitting = self.lots.iter_mut().filter(|lot| lot.left >= cost && lot.left > 0);
        if let Some(lot) = fitting.min_by_key(|lot| lot.deadline_us) {
            lot.left -= cost;
            let taken = Taken { permits: cost, number: lot.number };
            return Decision::Taken { taken, refill: self.refill(terms, now_us) };
        }
        if let Some(retry_after_us) = self.denied(cost, now_us) {
            return Decision::Deny { retry_after_us };
        }
        Decision::Ask(self.ask(terms, cost, false, now_us))
    }

    /// Takes the store's answer.
    pub fn answer(&mut self, acquire: Acquire, granted: &Granted, now: Now) -> Answered {
        let now_us = now.mono_us;
        let current = self.bulk.is_some_and(|bulk| bulk.number == acquire.number && live(&bulk, now_us));
        self.release(&acquire);
        self.remaining = granted.remaining;
        self.reset_at_us = now_us.saturating_add(granted.reset_us);
        if granted.permits == 0 {
            return self.deny(&acquire, granted, now_us);
        }
        if self.denial.is_some_and(|denial| denial.is_from(acquire.sent_us)) {
            self.denial = None;
        }
        let own = if acquire.refill { 0 } else { acquire.cost };
        let left = granted.permits.saturating_sub(own);
        let deadline_us = deadline_us(acquire.sent_us, granted.lease_us);
        if left > 0 && current && now_us >= acquire.sent_us && now_us < deadline_us {
            self.drop_expired(now_us);
            // A request larger than what both lots hold may come here with none free.
            let [first, second] = &mut self.lots;
            let slot = if first.left <= second.left { first } else { second };
            let Granted { grant, generation, .. } = *granted;
            let number = acquire.number;
            *slot = Lot { left, since_us: acquire.sent_us, deadline_us, grant, generation, number };
        }
        if acquire.refill { Answered::Refilled } else { Answered::Admitted }
    }

    /// The store did not answer in time. An answer that still comes has no `Acquire` to go with.
    pub fn failed(&mut self, acquire: Acquire) {
        self.release(&acquire);
    }

    /// The same question once more. The answer to the first sending counts no longer: its permits' time began earlier.
    pub fn again(&mut self, acquire: Acquire, now: Now) -> Acquire {
        self.number = self.number.wrapping_add(1);
        let again = Acquire { sent_us: now.mono_us, number: self.number, ..acquire };
        if let Some(bulk) = self.bulk.as_mut().filter(|bulk| bulk.number == acquire.number) {
            *bulk = Bulk { number: again.number, sent_us: again.sent_us };
        }
        again
    }

    /// Another limit denied the request.
    pub fn put_back(&mut self, taken: Taken) {
        let lot = self.lots.iter_mut().find(|lot| lot.number == taken.number && lot.deadline_us > 0);
        if let Some(lot) = lot {
            lot.left += taken.permits;
        }
    }

    /// What an idle node gives back where it is scarce, at most once a grant. A token bucket takes nothing back:
    /// returning and taking again would keep permits from ever being late.
    pub fn surplus(&mut self, terms: &Terms, now: Now) -> Option<Operation> {
        let idle = now.mono_us.saturating_sub(self.taken_us) >= terms.target_us;
        let scarce = |left: u64| left.saturating_mul(SURPLUS_PARTS) >= self.remaining.max(1);
        let slot = self.lots.iter().position(|lot| idle && scarce(lot.left));
        slot.and_then(|slot| self.give_back(slot, terms, now))
    }

    /// What a node that stops gives back; to be called until there is nothing.
    pub fn close(&mut self, terms: &Terms, now: Now) -> Option<Operation> {
        (0..LOTS).find_map(|slot| self.give_back(slot, terms, now))
    }

    /// Permits that can be spent now.
    pub fn held(&self, now: Now) -> u64 {
        self.lots.iter().filter(|lot| lot.valid(now.mono_us)).map(|lot| lot.left).sum()
    }

    /// Permits that this node could take now as far as it knows, and when the root is whole again. What other nodes take
    /// meanwhile is not known.
    pub fn standing(&self, terms: &Terms, now: Now) -> (u64, u64) {
        let reset_us = self.reset_at_us.saturating_sub(now.mono_us);
        let at_root = if reset_us == 0 { terms.rule.most() } else { self.remaining };
        (self.held(now).saturating_add(at_root).min(terms.rule.most()), reset_us)
    }

    /// Forgetting it loses neither permits nor what is known of its demand.
    pub fn is_idle(&self, terms: &Terms, now: Now) -> bool {
        let now_us = now.mono_us;
        let quiet = now_us.saturating_sub(self.taken_us) >= demand::remembered_us(terms.target_us);
        let asking = self.bulk.is_some_and(|bulk| live(&bulk, now_us));
        quiet && !asking && self.held(now) == 0
    }

    /// Takes the count of permits that ran out of time unspent since this was last called.
    pub fn take_wasted(&mut self, now: Now) -> u64 {
        self.drop_expired(now.mono_us);
        std::mem::take(&mut self.wasted)
    }

    fn give_back(&mut self, slot: usize, terms: &Terms, now: Now) -> Option<Operation> {
        let lot = std::mem::take(&mut self.lots[slot]);
        let returnable = terms.window_root && lot.left > 0 && lot.valid(now.mono_us);
        let back = store::Return { grant: lot.grant, generation: lot.generation, permits: lot.left };
        returnable.then_some(Operation::Return { rule: terms.rule, back })
    }

    /// Ahead of need, and only where a rate is known: the next request of a seldom seen subject asks for itself.
    fn refill(&mut self, terms: &Terms, now_us: u64) -> Option<Acquire> {
        if self.bulk.is_some_and(|bulk| live(&bulk, now_us)) || self.denied(1, now_us).is_some() {
            return None;
        }
        if self.lots.iter().all(|lot| lot.left > 0) {
            return None;
        }
        let ahead_us = REFILL_AHEAD_US.min(terms.target_us / 4);
        let expected = self.demand.within_target(terms.target_us, now_us);
        let soon = (u128::from(expected) * u128::from(ahead_us) / u128::from(terms.target_us)) as u64;
        // A window's permits end with it, and more of them would too.
        let ends = |lot: &Lot| terms.window_root || lot.deadline_us > now_us + ahead_us;
        let lasting: u64 = self.lots.iter().filter(|lot| ends(lot)).map(|lot| lot.left).sum();
        let due = soon >= 1 && lasting <= soon;
        let room = self.lots.iter().map(|lot| lot.left).sum::<u64>() < terms.holding_max;
        (due && room).then(|| self.ask(terms, 1, true, now_us))
    }

    fn ask(&mut self, terms: &Terms, cost: u64, refill: bool, now_us: u64) -> Acquire {
        self.number = self.number.wrapping_add(1);
        let number = self.number;
        let mut wanted = cost;
        if !self.bulk.is_some_and(|bulk| live(&bulk, now_us)) {
            let held: u64 = self.lots.iter().map(|lot| lot.left).sum();
            let expected = self.demand.within_target(terms.target_us, now_us);
            // Arrivals scatter by the root of their number.
            let lasting = expected.saturating_add(expected.isqrt());
            wanted = lasting.min(terms.holding_max.saturating_sub(held)).max(cost);
            // A request's own cost is spent by the answer and never held.
            self.bulk = Some(Bulk { number, sent_us: now_us });
        }
        Acquire { cost, wanted, refill, sent_us: now_us, number }
    }

    fn deny(&mut self, acquire: &Acquire, granted: &Granted, now_us: u64) -> Answered {
        let denial = Denial::new(acquire.cost, acquire.sent_us, granted.retry_after_us, now_us);
        denial.note(&mut self.denial, now_us);
        if acquire.refill {
            return Answered::Refilled;
        }
        let waited_us = now_us.saturating_sub(acquire.sent_us);
        Answered::Denied { retry_after_us: granted.retry_after_us.saturating_sub(waited_us).max(1) }
    }

    fn denied(&self, cost: u64, now_us: u64) -> Option<u64> {
        self.denial.as_ref()?.retry_after_us(cost, now_us)
    }

    fn release(&mut self, acquire: &Acquire) {
        self.bulk = self.bulk.filter(|bulk| bulk.number != acquire.number);
    }

    fn drop_expired(&mut self, now_us: u64) {
        for lot in self.lots.iter_mut().filter(|lot| !lot.valid(now_us)) {
            self.wasted = self.wasted.saturating_add(lot.left);
            *lot = Lot::default();
        }
    }
}

impl Lot {
    /// A clock that was set back before the question was sent says nothing about the deadline.
    fn valid(&self, now_us: u64) -> bool {
        self.since_us <= now_us && now_us < self.deadline_us
    }
}

fn live(bulk: &Bulk, now_us: u64) -> bool {
    now_us.checked_sub(bulk.sent_us).is_some_and(|elapsed| elapsed < ANSWER_MAX_US)
}

/// The store counted `lease_us` from some time after `sent_us`, by a clock that may be faster than this one by the
/// drift of both.
fn deadline_us(sent_us: u64, lease_us: u64) -> u64 {
    let drift_us = (u128::from(lease_us) * u128::from(DRIFT_PPM)).div_ceil(1_000_000) as u64;
    sent_us.saturating_add(lease_us.saturating_sub(drift_us).saturating_sub(GRANULARITY_US))
}

#[cfg(test)]
mod figures;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
