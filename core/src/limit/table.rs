//! The accounts of one limit: sharded, bounded, and never short of a debit.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::account::{Account, Terms, settle, stepped_back};
use super::slots::Slots;
use super::subject::SubjectKey;
use super::{LimiterStats, Standing};
use crate::Now;

/// Two cores meet at the same shard in one of this many requests.
const SHARDS: usize = 64;
/// Slots looked at for each request of a subject that has no account, which bounds what sweeping costs it. Above 1, so
/// that a sweep is around before a table that fills has doubled.
const SWEEP_SLOTS: usize = 8;

#[derive(Debug)]
pub(super) struct Table<A> {
    /// One, whose `shared` account is all there is, for a limit on a whole service.
    shards: Box<[Padded<A>]>,
    whole: bool,
}

/// Two shards on one cache line, or on a pair that is fetched together, would be one to the cores.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<A>(Mutex<Shard<A>>);

#[derive(Debug)]
struct Shard<A> {
    accounts: Slots<A>,
    /// The account of everybody who has none of their own when the shard is full.
    shared: A,
    /// An account was forgotten at this time, and a subject's time does not run backwards behind it.
    forgotten_us: u64,
    overflowed: u64,
    clock_resets: u64,
}

impl<A: Account> Table<A> {
    pub(super) fn new(whole: bool) -> Table<A> {
        let shards = if whole { 1 } else { SHARDS };
        Table { shards: (0..shards).map(|_| Padded(Mutex::new(Shard::new()))).collect(), whole }
    }

    /// Asks one account whether `cost` fits, and debits it if `decide` then says so. The shard is locked meanwhile.
    pub(super) fn charge(
        &self,
        terms: &Terms,
        subject: SubjectKey,
        cost: u64,
        now: Now,
        decide: impl FnOnce(bool) -> bool,
    ) -> Standing {
        let request = Request { terms, cost, now_us: A::clock_us(now) };
        let mut shard = self.shards[subject.shard_bits() & (self.shards.len() - 1)].lock();
        let shard = &mut *shard;
        if self.whole {
            return request.charge(&mut shard.shared, request.now_us, &mut shard.clock_resets, decide).0;
        }
        if let Some(account) = shard.accounts.find(subject) {
            return request.charge(account, request.now_us, &mut shard.clock_resets, decide).0;
        }
        shard.charge_newcomer(&request, subject, decide)
    }

    pub(super) fn stats(&self) -> LimiterStats {
        let mut stats = LimiterStats { subjects: u64::from(self.whole), ..LimiterStats::default() };
        for shard in &self.shards {
            let shard = shard.lock();
            stats.subjects += shard.accounts.len() as u64;
            stats.overflowed += shard.overflowed;
            stats.clock_resets += shard.clock_resets;
        }
        stats
    }
}

impl<A> Padded<A> {
    fn lock(&self) -> MutexGuard<'_, Shard<A>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Account> Shard<A> {
    fn new() -> Shard<A> {
        Shard {
            accounts: Slots::new(),
            shared: A::default(),
            forgotten_us: 0,
            overflowed: 0,
            clock_resets: 0,
        }
    }

    /// Charges a subject that has no account: it was never debited, or is idle, or has debits in the shared account.
    fn charge_newcomer(
        &mut self,
        request: &Request<'_>,
        subject: SubjectKey,
        decide: impl FnOnce(bool) -> bool,
    ) -> Standing {
        let Request { terms, now_us, .. } = *request;
        self.sweep(terms, now_us);
        if stepped_back::<A>(terms, self.forgotten_us, now_us) {
            self.forgotten_us = 0;
            self.clock_resets += 1;
        }
        let at_us = now_us.max(self.forgotten_us);
        if self.accounts.len() >= terms.subjects_max.div_ceil(SHARDS) {
            let (standing, debited) = request.charge(&mut self.shared, at_us, &mut self.clock_resets, decide);
            self.overflowed += u64::from(debited);
            return standing;
        }
        // What it may owe to the shared account is at most all that this one holds. Starting with that can refuse a
        // newcomer who owes nothing, which beats admitting one twice.
        let shared_us = settle(&mut self.shared, terms, at_us, &mut self.clock_resets);
        let mut account =
            if self.shared.is_idle(terms, shared_us) { A::default() } else { self.shared.clone() };
        let (standing, debited) = request.charge(&mut account, at_us, &mut self.clock_resets, decide);
        // Who was refused holds no memory.
        if debited {
            self.accounts.insert(subject, account);
        }
        standing
    }

    fn sweep(&mut self, terms: &Terms, now_us: u64) {
        let Shard { accounts, forgotten_us, clock_resets, .. } = self;
        accounts.sweep(SWEEP_SLOTS, |account| {
            let at_us = settle(account, terms, now_us, clock_resets);
            let idle = account.is_idle(terms, at_us);
            if idle {
                *forgotten_us = at_us.max(*forgotten_us);
            }
            idle
        });
    }
}

struct Request<'a> {
    terms: &'a Terms,
    cost: u64,
    /// On the clock of the algorithm, as the request has it.
    now_us: u64,
}

impl Request<'_> {
    /// Charges `account`, whose time is at least `at_us`, and says whether it was debited.
    fn charge<A: Account>(
        &self,
        account: &mut A,
        at_us: u64,
        clock_resets: &mut u64,
        decide: impl FnOnce(bool) -> bool,
    ) -> (Standing, bool) {
        let Request { terms, cost, now_us } = *self;
        let at_us = settle(account, terms, at_us, clock_resets);
        let fits = account.fits(terms, cost, at_us);
        // A cost of nothing leaves no trace, or a log would keep a record of it.
        let debited = decide(fits) && cost > 0;
        if debited {
            account.debit(terms, cost, at_us);
        }
        let retry_after_us = match fits {
            true => 0,
            false => account
                .fits_at_us(terms, cost, at_us)
                .map_or(u64::MAX, |fits_us| fits_us.saturating_sub(now_us)),
        };
        let standing = Standing {
            admitted: fits,
            remaining: account.remaining(terms, at_us),
            reset_us: account.reset_at_us(terms, at_us).saturating_sub(now_us),
            retry_after_us,
        };
        (standing, debited)
    }
}
