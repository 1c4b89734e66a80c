//! Debiting the limits on one request, all or none, wherever they are counted.

use std::sync::Arc;

use super::quota::{Applying, Asked, Charge, Charges, Counted, PER_REQUEST_MAX, Quota, QuotaId, Quotas};
use crate::Now;
use crate::config::Limit;
use crate::fleet::{Answered, Ask, SharedLimit, Turn};
use crate::lease::Taken;
use crate::limit::{self, Demand, Limiter, Standing, SubjectKey};
use crate::store::{Call, StoreFailure, Value};

/// When a request may come again that was refused because nobody could say whether it fits.
const AWAY_RETRY_US: u64 = 1_000_000;

/// What came of debiting.
#[derive(Debug)]
pub(crate) enum Charging {
    Decided(Charges),
    /// The store is asked first.
    Waiting(Box<Waiting>),
}

/// Limits that wait for the store's answers, and those that were decided before.
#[derive(Debug)]
pub(crate) struct Waiting(Parts);

/// In the order in which clients are told of them.
type Parts = [Option<Part>; PER_REQUEST_MAX];

#[derive(Debug)]
struct Part {
    quota: QuotaId,
    subject: SubjectKey,
    shadow: bool,
    claim: Claim,
}

/// How one limit takes the request as long as the others have not spoken.
#[derive(Debug)]
enum Claim {
    /// Counted on this node: looked at first, because it costs nothing, and debited last.
    Here,
    Taken(Taken),
    Denied {
        retry_after_us: u64,
    },
    Ask(Box<Ask>),
    Answered(Box<Answered>),
    /// Nobody was asked.
    Unknown {
        admits: bool,
    },
}

impl Quotas {
    /// Debits what applies to the request, all or nothing.
    pub(super) fn charge(&self, asked: &Asked<'_>, service: Option<usize>, now: Now) -> Charging {
        let applying = self.applying(asked.caller, service);
        let is_shared = |(_, quota): &(QuotaId, &Quota)| matches!(quota.counted, Counted::Shared(_));
        if !applying.iter().flatten().any(is_shared) {
            return Charging::Decided(self.charge_here(&applying, asked, now));
        }
        let mut parts = applying.map(|applying| {
            let (id, quota) = applying?;
            let rules = quota.rules();
            let subject = self.with_subject(&rules.key, asked, |who| self.secret().key(who));
            Some(Part { quota: id, subject, shadow: rules.shadow, claim: Claim::Here })
        });
        let admits = self.ask_shared(&mut parts, asked, now);
        match parts.iter().flatten().any(|part| matches!(part.claim, Claim::Ask(_))) {
            true => Charging::Waiting(Box::new(Waiting(parts))),
            false => Charging::Decided(self.conclude(parts, admits, now)),
        }
    }

    /// The common case, in which nothing is to be kept from one step to the next.
    fn charge_here(&self, applying: &Applying<'_>, asked: &Asked<'_>, now: Now) -> Charges {
        let mut charges = Charges::default();
        let mut standings = [Standing::default(); PER_REQUEST_MAX];
        let mut here = applying.iter().flatten().filter_map(|(id, quota)| match &quota.counted {
            Counted::Here(limiter) => Some((*id, limiter)),
            Counted::Shared(_) => None,
        });
        let demand = |limiter| {
            let rules: &Limit = Limiter::rules(limiter);
            let subject = self.with_subject(&rules.key, asked, |who| self.secret().key(who));
            Demand { limiter, subject, cost: rules.cost }
        };
        let charge = |(quota, limiter): (QuotaId, &Limiter), standing| {
            Some(Charge { quota, standing, unknown: false, shadow: limiter.rules().shadow })
        };
        match (here.next(), here.next()) {
            (Some(first), Some(second)) => {
                limit::admit(&[demand(first.1), demand(second.1)], true, &mut standings, now);
                charges.0 = [charge(first, standings[0]), charge(second, standings[1])];
            }
            (Some(only), None) => {
                limit::admit(&[demand(only.1)], true, &mut standings[..1], now);
                charges.0[0] = charge(only, standings[0]);
            }
            (None, _) => {}
        }
        charges
    }

    /// Goes to the shared limits unless one that is counted here, or an earlier one, refuses; says whether none did.
    fn ask_shared(&self, parts: &mut Parts, asked: &Asked<'_>, now: Now) -> bool {
        for part in parts.iter_mut().flatten() {
            if let Some(Counted::Shared(_)) = self.counted(part) {
                part.claim = Claim::Unknown { admits: true };
            }
        }
        let mut admits = self.debit_here(parts, false, &mut Default::default(), now);
        for part in parts.iter_mut().flatten() {
            let Some(Counted::Shared(limit)) = self.counted(part) else { continue };
            if admits {
                part.claim = self.ask_one(part.subject, limit, asked, now);
                let denies = matches!(part.claim, Claim::Denied { .. } | Claim::Unknown { admits: false });
                admits = part.shadow || !denies;
            }
        }
        if !admits {
            for part in parts.iter_mut().flatten() {
                self.withdraw(part);
            }
        }
        admits
    }

    fn ask_one(&self, id: SubjectKey, limit: &Arc<SharedLimit>, asked: &Asked<'_>, now: Now) -> Claim {
        match self.with_subject(&limit.rules().key, asked, |who| limit.begin(id, who, now)) {
            Turn::Taken(taken) => Claim::Taken(taken),
            Turn::Denied { retry_after_us } => Claim::Denied { retry_after_us },
            Turn::Ask(ask) => Claim::Ask(Box::new(ask)),
            Turn::Away => away(limit),
        }
    }

    /// A question that need not be asked any more.
    fn withdraw(&self, part: &mut Part) {
        let Some(Counted::Shared(limit)) = self.counted(part) else { return };
        match std::mem::replace(&mut part.claim, Claim::Unknown { admits: true }) {
            Claim::Ask(ask) => limit.abandon(part.subject, *ask),
            claim => part.claim = claim,
        }
    }

    /// Lets the answers, one for each question, decide together with all others.
    pub(crate) fn answered(
        &self,
        waiting: Waiting,
        answers: impl IntoIterator<Item = Result<Value, StoreFailure>>,
        now: Now,
    ) -> Charges {
        let Waiting(mut parts) = waiting;
        let mut answers = answers.into_iter();
        for part in parts.iter_mut().flatten() {
            let Some(Counted::Shared(limit)) = self.counted(part) else { continue };
            part.claim = match std::mem::replace(&mut part.claim, Claim::Here) {
                Claim::Ask(ask) => {
                    let answer = answers.next().unwrap_or(Err(StoreFailure::Garbled));
                    match limit.answered(part.subject, *ask, answer, now) {
                        Ok(answered) => Claim::Answered(Box::new(answered)),
                        Err(_) => away(limit),
                    }
                }
                claim => claim,
            };
        }
        self.conclude(parts, true, now)
    }

    /// Debits what is counted here if nothing refuses, and lets the others know what became of the request.
    fn conclude(&self, parts: Parts, admits: bool, now: Now) -> Charges {
        let others = parts.iter().flatten().all(|part| part.claim.admits() || part.shadow);
        let mut here = [Standing::default(); PER_REQUEST_MAX];
        let passes = self.debit_here(&parts, admits && others, &mut here, now) && admits && others;
        let mut here = here.into_iter();
        Charges(parts.map(|part| {
            let here = here.next().unwrap_or_default();
            part.and_then(|part| self.settle(part, passes, here, now))
        }))
    }

    fn settle(&self, part: Part, passes: bool, here: Standing, now: Now) -> Option<Charge> {
        let Part { quota, subject, shadow, claim } = part;
        let charge = |standing, unknown| Some(Charge { quota, standing, unknown, shadow });
        let Counted::Shared(limit) = &self.quota(quota)?.counted else { return charge(here, false) };
        let standing = match claim {
            Claim::Here => here,
            Claim::Taken(taken) => {
                if !passes {
                    limit.put_back(subject, taken);
                }
                limit.standing(subject, true, 0, now)
            }
            Claim::Denied { retry_after_us } => limit.standing(subject, false, retry_after_us, now),
            Claim::Answered(answered) => limit.settle(subject, *answered, passes, now),
            Claim::Ask(_) | Claim::Unknown { admits: true } => {
                return charge(Standing { admitted: true, ..Standing::default() }, true);
            }
            Claim::Unknown { admits: false } => {
                return charge(Standing { retry_after_us: AWAY_RETRY_US, ..Standing::default() }, true);
            }
        };
        charge(standing, false)
    }

    /// Whether all that is counted here has room; it is debited only if `others` admit the request, too.
    fn debit_here(
        &self,
        parts: &Parts,
        others: bool,
        standings: &mut [Standing; PER_REQUEST_MAX],
        now: Now,
    ) -> bool {
        let demand = |part: &Part| {
            let limiter = self.limiter(part)?;
            Some(Demand { limiter, subject: part.subject, cost: limiter.rules().cost })
        };
        let [first, second] = parts.each_ref().map(|part| part.as_ref().and_then(demand));
        let [one, two] = standings;
        match (first, second) {
            (Some(first), Some(second)) => limit::admit(&[first, second], others, standings, now),
            (Some(first), None) => limit::admit(&[first], others, std::slice::from_mut(one), now),
            (None, Some(second)) => limit::admit(&[second], others, std::slice::from_mut(two), now),
            (None, None) => true,
        }
    }

    fn limiter(&self, part: &Part) -> Option<&Limiter> {
        match (&part.claim, self.counted(part)?) {
            (Claim::Here, Counted::Here(limiter)) => Some(limiter),
            (Claim::Here, Counted::Shared(limit)) => limit.standby(),
            _ => None,
        }
    }

    fn counted(&self, part: &Part) -> Option<&Counted> {
        self.quota(part.quota).map(|quota| &quota.counted)
    }
}

impl Waiting {
    /// What is asked, in the order in which answers are taken.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let ask = |part: &Part| match &part.claim {
            Claim::Ask(ask) => Some(ask.call().clone()),
            _ => None,
        };
        self.0.iter().flatten().filter_map(ask).collect()
    }
}

impl Claim {
    /// As far as it is known already.
    fn admits(&self) -> bool {
        match self {
            Claim::Here | Claim::Taken(_) | Claim::Ask(_) => true,
            Claim::Denied { .. } => false,
            Claim::Answered(answered) => answered.fits(),
            Claim::Unknown { admits } => *admits,
        }
    }
}

/// The next rung of the ladder where permits that are held do not suffice.
fn away(limit: &SharedLimit) -> Claim {
    match limit.standby() {
        Some(_) => Claim::Here,
        None => Claim::Unknown { admits: limit.passes_unasked() },
    }
}
