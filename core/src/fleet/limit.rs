//! One shared limit: what holds for a request before anybody was asked, and what the store's answer changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Fleet;
use super::backlog::{Job, StoreCall};
use super::health::Ticket;
use super::known::{Borrower, Known};
use crate::Now;
use crate::config::{Limit, OnStoreFailure, Sharing};
use crate::lease::{self, Decision, Denial, Lease, Taken, Terms};
use crate::limit::{self, Demand, Limiter, Standing, Subject, SubjectKey};
use crate::store::{self, Call, Key, Operation, Question, Rule, StoreFailure, Value};

#[derive(Debug)]
pub(crate) struct SharedLimit {
    rules: Limit,
    fleet: Arc<Fleet>,
    kind: Kind,
    /// What this node admits by itself while the store is away.
    standby: Option<Limiter>,
    passes_unasked: bool,
    known: Arc<Known>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Kind {
    /// Every request asks.
    Exact(Rule),
    Leased(Terms),
}

#[derive(Debug, Default)]
struct Counts {
    asked: AtomicU64,
    refills: AtomicU64,
    returned: AtomicU64,
    failures: AtomicU64,
}

/// What a shared limit does, for those who operate the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedLimitStats {
    /// Subjects with permits held or lately held.
    pub leases: u64,
    /// Permits that can be spent here now.
    pub held: u64,
    /// Permits that ran out of time unspent.
    pub wasted: u64,
    /// Permits offered back to the store.
    pub returned: u64,
    /// Requests that waited for the store.
    pub asked: u64,
    /// Refills that no request waited for.
    pub refills: u64,
    /// Questions without an answer.
    pub failures: u64,
    /// The most by which the fleet can exceed the limit, computed from its configuration.
    pub over_admission_bound: u64,
}

/// How the limit takes a request before anybody was asked.
#[derive(Debug)]
pub(crate) enum Turn {
    Taken(Taken),
    Denied {
        retry_after_us: u64,
    },
    /// The request waits for the answer.
    Ask(Ask),
    /// There is nobody to ask.
    Away,
}

#[derive(Debug)]
pub(crate) struct Ask {
    call: Call,
    /// Of a lease.
    acquire: Option<lease::Acquire>,
    sent_us: u64,
    ticket: Ticket,
}

/// The store's answer, before it is known what the other limits say.
#[derive(Debug)]
pub(crate) struct Answered {
    call: Call,
    acquire: Option<lease::Acquire>,
    sent_us: u64,
    answer: store::Answer,
}

impl Ask {
    pub(crate) fn call(&self) -> &Call {
        &self.call
    }
}

impl Answered {
    pub(crate) fn fits(&self) -> bool {
        match self.answer {
            store::Answer::Charged(charged) => charged.admitted,
            store::Answer::Granted(granted) => granted.permits > 0,
            store::Answer::Returned(_) | store::Answer::Heard(_) => false,
        }
    }
}

impl SharedLimit {
    /// `rules` are shared, and the configuration they are from was checked. What `known`, the limit of this name in the
    /// configuration before, holds is taken over if it counts the same in the same place.
    pub(crate) fn new(
        rules: &Limit,
        on_failure: OnStoreFailure,
        fleet: &Arc<Fleet>,
        known: Option<&SharedLimit>,
    ) -> SharedLimit {
        const CHECKED: &str = "limits that the store cannot count are refused with their configuration";
        let kind = match &rules.sharing {
            Sharing::Leased(options) => Kind::Leased(Terms::of(rules, options).expect(CHECKED)),
            Sharing::Node | Sharing::Exact => Kind::Exact(Rule::of(rules).expect(CHECKED)),
        };
        let known = known.filter(|known| known.rules == *rules && known.fleet.counts_like(fleet));
        let standby = (on_failure == OnStoreFailure::LocalShare).then(|| {
            Limiter::new(&local_share(rules, fleet.nodes), known.and_then(|known| known.standby.as_ref()))
        });
        SharedLimit {
            rules: rules.clone(),
            fleet: fleet.clone(),
            kind,
            standby,
            passes_unasked: on_failure == OnStoreFailure::Allow,
            known: known.map_or_else(|| Arc::new(Known::new()), |known| known.known.clone()),
            counts: known.map(|known| known.counts.clone()).unwrap_or_default(),
        }
    }

    pub(crate) fn rules(&self) -> &Limit {
        &self.rules
    }

    pub(crate) fn standby(&self) -> Option<&Limiter> {
        self.standby.as_ref()
    }

    /// Whether requests pass that nobody can decide on.
    pub(crate) fn passes_unasked(&self) -> bool {
        self.passes_unasked
    }

    /// Takes what is held for the request, or says what it waits for.
    pub(crate) fn begin(self: &Arc<Self>, id: SubjectKey, subject: Subject<'_>, now: Now) -> Turn {
        let mut shard = self.known.shard(id);
        let terms = match &self.kind {
            Kind::Leased(terms) => terms,
            Kind::Exact(rule) => {
                if let Some(retry_after_us) = shard.denied(id, self.rules.cost, now) {
                    return Turn::Denied { retry_after_us };
                }
                drop(shard);
                return self.charge(rule, subject, now);
            }
        };
        if let Some(borrower) = shard.borrower(id) {
            return self.take(terms, id, borrower, now);
        }
        let key = self.fleet.key(&self.rules.name, subject, terms.rule(), true);
        let mut newcomer = Borrower { key, lease: Lease::default() };
        match shard.has_room(terms, now) {
            true => self.take(terms, id, shard.insert(id, newcomer), now),
            false => self.take(terms, id, &mut newcomer, now),
        }
    }

    fn charge(&self, rule: &Rule, subject: Subject<'_>, now: Now) -> Turn {
        let Some(ticket) = self.fleet.health.admit(now) else { return Turn::Away };
        let key = self.fleet.key(&self.rules.name, subject, rule, false);
        let operation = Operation::Charge { rule: *rule, cost: self.rules.cost };
        Turn::Ask(self.ask(&key, &operation, None, ticket, now))
    }

    fn take(self: &Arc<Self>, terms: &Terms, id: SubjectKey, borrower: &mut Borrower, now: Now) -> Turn {
        let Borrower { key, lease } = borrower;
        let (taken, acquire) = match lease.take(terms, self.rules.cost, now) {
            Decision::Deny { retry_after_us } => return Turn::Denied { retry_after_us },
            Decision::Taken { taken, refill: None } => return Turn::Taken(taken),
            Decision::Taken { taken, refill: Some(acquire) } => (Some(taken), acquire),
            Decision::Ask(acquire) => (None, acquire),
        };
        let Some(ticket) = self.fleet.health.admit(now) else {
            lease.failed(acquire);
            return taken.map_or(Turn::Away, Turn::Taken);
        };
        let operation = acquire.operation(terms);
        let Some(taken) = taken else {
            return Turn::Ask(self.ask(key, &operation, Some(acquire), ticket, now));
        };
        let job = Job::Refill { limit: self.clone(), subject: id, acquire };
        let call = StoreCall { call: call(key, &operation), ticket, job };
        if self.fleet.backlog.push(call) {
            count(&self.counts.refills, 1);
        }
        Turn::Taken(taken)
    }

    fn ask(
        &self,
        key: &Key,
        operation: &Operation,
        acquire: Option<lease::Acquire>,
        ticket: Ticket,
        now: Now,
    ) -> Ask {
        count(&self.counts.asked, 1);
        Ask { call: call(key, operation), acquire, sent_us: now.mono_us, ticket }
    }

    /// The question is not sent: another limit denied the request.
    pub(crate) fn abandon(&self, id: SubjectKey, ask: Ask) {
        self.forget(id, ask.acquire);
    }

    /// # Errors
    ///
    /// Why there is no answer, or none that could be one.
    pub(crate) fn answered(
        &self,
        id: SubjectKey,
        ask: Ask,
        answer: Result<Value, StoreFailure>,
        now: Now,
    ) -> Result<Answered, StoreFailure> {
        let Ask { call, acquire, sent_us, ticket } = ask;
        let read = |value| store::Answer::read(call.question(), &value).map_err(StoreFailure::from);
        match answer.and_then(read) {
            Ok(answer) => {
                ticket.answered();
                Ok(Answered { call, acquire, sent_us, answer })
            }
            Err(failure) => {
                ticket.failed(now);
                count(&self.counts.failures, 1);
                self.forget(id, acquire);
                Err(failure)
            }
        }
    }

    /// Takes the answer. `spent` says whether all limits admitted the request; what this one granted in vain is kept or
    /// given back.
    pub(crate) fn settle(&self, id: SubjectKey, answered: Answered, spent: bool, now: Now) -> Standing {
        let fits = answered.fits();
        let Answered { call, acquire, sent_us, answer } = answered;
        match (answer, acquire) {
            (store::Answer::Granted(granted), Some(acquire)) => {
                let acquire = if spent || !fits { acquire } else { acquire.unspent() };
                self.count_borrowed(id, granted.permits, now);
                let mut shard = self.known.shard(id);
                let mut passing = Lease::default();
                let lease = shard.borrower(id).map_or(&mut passing, |borrower| &mut borrower.lease);
                lease.answer(acquire, &granted, now);
                self.standing_of(lease, fits, granted.retry_after_us, now)
            }
            (store::Answer::Charged(charged), _) => {
                if !fits {
                    let denial = Denial::new(self.rules.cost, sent_us, charged.retry_after_us, now.mono_us);
                    self.known.shard(id).deny(id, denial, now);
                } else if !spent {
                    self.refund(&call, charged.generation, now);
                }
                Standing {
                    admitted: fits,
                    remaining: charged.remaining,
                    reset_us: charged.reset_us,
                    retry_after_us: charged.retry_after_us,
                }
            }
            // Nobody waits for what comes of a return.
            _ => Standing::default(),
        }
    }

    /// What was taken for a request that another limit denied.
    pub(crate) fn put_back(&self, id: SubjectKey, taken: Taken) {
        if let Some(borrower) = self.known.shard(id).borrower(id) {
            borrower.lease.put_back(taken);
        }
    }

    /// Where nobody was asked: permits were taken, or a denial still holds for `retry_after_us`.
    pub(crate) fn standing(&self, id: SubjectKey, admitted: bool, retry_after_us: u64, now: Now) -> Standing {
        match self.known.shard(id).borrower(id) {
            Some(borrower) => self.standing_of(&borrower.lease, admitted, retry_after_us, now),
            None => Standing { admitted, remaining: 0, reset_us: retry_after_us, retry_after_us },
        }
    }

    /// What is due that no request asks for.
    pub(crate) fn tend(&self, now: Now) {
        if let Kind::Leased(terms) = &self.kind {
            self.give_back(self.known.surplus(terms, now), now);
        }
    }

    /// Gives back what can be: the node stops.
    pub(crate) fn close(&self, now: Now) {
        if let Kind::Leased(terms) = &self.kind {
            self.give_back(self.known.close(terms, now), now);
        }
    }

    pub(crate) fn stats(&self, now: Now) -> SharedLimitStats {
        let holdings = self.known.holdings(now);
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SharedLimitStats {
            leases: holdings.leases,
            held: holdings.held,
            wasted: holdings.wasted,
            returned: load(&self.counts.returned),
            asked: load(&self.counts.asked),
            refills: load(&self.counts.refills),
            failures: load(&self.counts.failures),
            over_admission_bound: match &self.kind {
                Kind::Exact(_) => 0,
                Kind::Leased(terms) => lease::bound(terms, self.fleet.nodes).excess,
            },
        }
    }

    pub(super) fn refilled(
        &self,
        id: SubjectKey,
        acquire: lease::Acquire,
        answer: Result<store::Answer, StoreFailure>,
        now: Now,
    ) {
        count(&self.counts.failures, u64::from(answer.is_err()));
        match (answer, self.known.shard(id).borrower(id)) {
            (Ok(store::Answer::Granted(granted)), Some(borrower)) => {
                self.count_borrowed(id, granted.permits, now);
                borrower.lease.answer(acquire, &granted, now);
            }
            (_, Some(borrower)) => borrower.lease.failed(acquire),
            (_, None) => {}
        }
    }

    /// What a node borrowed is a part of its share: a store that goes away later leaves it the rest.
    fn count_borrowed(&self, id: SubjectKey, permits: u64, now: Now) {
        let Some(limiter) = &self.standby else { return };
        let mut standings = [Standing::default()];
        let demand = |cost| [Demand { limiter, subject: id, cost }];
        limit::admit(&demand(permits), true, &mut standings, now);
        let left = standings[0].remaining;
        if !standings[0].admitted && left > 0 {
            limit::admit(&demand(left), true, &mut standings, now);
        }
    }

    fn forget(&self, id: SubjectKey, acquire: Option<lease::Acquire>) {
        let Some(acquire) = acquire else { return };
        if let Some(borrower) = self.known.shard(id).borrower(id) {
            borrower.lease.failed(acquire);
        }
    }

    /// Sent at most once: a store that does not answer may have run it.
    fn refund(&self, charge: &Call, generation: u64, now: Now) {
        if let &Question::Limit(Operation::Charge { rule, cost }) = charge.question()
            && let Some(ticket) = self.fleet.health.admit(now)
        {
            let call = call(charge.key(), &Operation::Refund { rule, cost, generation });
            // Without room it stays charged, which admits too little.
            self.fleet.backlog.push(StoreCall { call, ticket, job: Job::GiveBack });
        }
    }

    fn give_back(&self, offered: Vec<(Key, Operation)>, now: Now) {
        for (key, operation) in offered {
            let Some(ticket) = self.fleet.health.admit(now) else { return };
            let permits = if let Operation::Return { back, .. } = operation { back.permits } else { 0 };
            let call = StoreCall { call: call(&key, &operation), ticket, job: Job::GiveBack };
            if self.fleet.backlog.push(call) {
                count(&self.counts.returned, permits);
            }
        }
    }

    fn standing_of(&self, lease: &Lease, admitted: bool, retry_after_us: u64, now: Now) -> Standing {
        let Kind::Leased(terms) = &self.kind else { return Standing::default() };
        let (remaining, reset_us) = lease.standing(terms, now);
        Standing { admitted, remaining, reset_us: reset_us.max(retry_after_us), retry_after_us }
    }
}

/// What one of `nodes` admits while nobody can be asked: its part of the limit, and one request at least. What it borrowed
/// before counts, but not what others did: over the window in which the store goes away the fleet admits less than twice
/// the limit, afterwards the limit.
fn local_share(rules: &Limit, nodes: Option<u32>) -> Limit {
    let nodes = u64::from(nodes.unwrap_or(1));
    let part = |permits: u64| (permits / nodes).max(rules.cost);
    Limit { requests: part(rules.requests), burst: part(rules.burst), ..rules.clone() }
}

fn call(key: &Key, operation: &Operation) -> Call {
    Call::new(key.clone(), operation)
        .expect("costs above what a limit admits are refused with their configuration")
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
