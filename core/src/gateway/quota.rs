//! Which limits a request falls under, and what the client is told of them.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::Place;
use crate::Now;
use crate::config::{Config, EnforceAt, Limit, LimitKey, OnStoreFailure, Sharing};
use crate::fleet::{Fleet, SharedLimit, SharedLimitStats, StoreCall, StoreState};
use crate::identity::Caller;
use crate::limit::{Limiter, LimiterStats, Secret, Standing, Subject};

/// draft-ietf-httpapi-ratelimit-headers-11.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const LEGACY: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// Limits that apply to one request: one on its subject, one on its service.
pub(super) const PER_REQUEST_MAX: usize = 2;

/// The limits of one configuration that are enforced at this place.
#[derive(Debug)]
pub(crate) struct Quotas {
    secret: Secret,
    default: Option<Quota>,
    tiers: Vec<(Box<str>, Quota)>,
    /// By index of the service.
    services: Vec<Option<Quota>>,
    /// Where the policy names a store.
    fleet: Option<Arc<Fleet>>,
    legacy_headers: bool,
}

#[derive(Debug)]
pub(super) struct Quota {
    pub(super) counted: Counted,
    /// Its name as `RateLimit` quotes it.
    item: Box<str>,
    /// The same with its parameters, as in `RateLimit-Policy`.
    policy: Box<str>,
}

/// The limits on one request.
pub(super) type Applying<'a> = [Option<(QuotaId, &'a Quota)>; PER_REQUEST_MAX];

/// Where a limit is counted.
#[derive(Debug)]
pub(super) enum Counted {
    Here(Limiter),
    Shared(Arc<SharedLimit>),
}

/// Names a limit of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuotaId {
    Default,
    /// Index among the tiers that have one.
    Tier(u16),
    /// Index of the service.
    Service(u32),
}

/// How the limits of one request stand, in the order they are told in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Charges(pub(super) [Option<Charge>; PER_REQUEST_MAX]);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) quota: QuotaId,
    pub(crate) standing: Standing,
    /// Nobody was asked, so that no more of `standing` holds than whether it admits.
    pub(crate) unknown: bool,
    /// Decided and reported, never enforced.
    pub(crate) shadow: bool,
}

/// A limit that refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) quota: QuotaId,
    pub(crate) retry_after_us: u64,
    /// Not because it is used up, but because nobody could say.
    pub(crate) unknown: bool,
}

/// What a request may be counted by.
pub(super) struct Asked<'a> {
    pub(super) caller: Option<&'a Caller>,
    pub(super) client: IpAddr,
    pub(super) headers: &'a HeaderMap,
    /// A variable of the route's path.
    pub(super) variable: &'a dyn Fn(&str) -> Option<&'a str>,
}

impl Quotas {
    pub(super) fn new(
        config: &Config,
        known: Option<&Quotas>,
        secret: Secret,
        place: Place,
        seed: u64,
    ) -> Quotas {
        let limits = &config.limits;
        let known_fleet = known.and_then(|known| known.fleet.as_deref());
        let fleet = limits.store.as_ref().map(|store| Arc::new(Fleet::new(store, known_fleet, seed)));
        let quota = |rules: &Limit, known: Option<&Quota>| {
            let enforced = limits.enabled && place.enforces(rules.enforce_at);
            enforced.then(|| Quota::new(rules, fleet.as_ref(), place, known))
        };
        let tier = |(name, rules): &(String, Limit)| {
            let known = known.and_then(|known| known.tiers.iter().find(|(tier, _)| **tier == **name));
            Some((name.as_str().into(), quota(rules, known.map(|(_, quota)| quota))?))
        };
        let service = |service: &crate::config::Service| {
            let (_, rules) = limits.per_service.iter().find(|(name, _)| *name == service.name)?;
            quota(rules, known.and_then(|known| known.of_service(&service.name)))
        };
        Quotas {
            secret,
            default: limits
                .default
                .as_ref()
                .and_then(|rules| quota(rules, known.and_then(|known| known.default.as_ref()))),
            tiers: limits.per_user.iter().filter_map(tier).collect(),
            services: config.services.iter().map(service).collect(),
            legacy_headers: limits.legacy_headers,
            fleet,
        }
    }

    pub(super) fn secret(&self) -> Secret {
        self.secret
    }

    pub(crate) fn name(&self, id: QuotaId) -> &str {
        self.quota(id).map_or("", |quota| &quota.rules().name)
    }

    /// Tells the client how its limits stand.
    pub(crate) fn report(&self, charges: &Charges, headers: &mut HeaderMap) {
        use std::fmt::Write;
        let told = charges.iter().filter(|charge| !charge.shadow && !charge.unknown);
        let mut tightest: Option<(&Quota, Standing)> = None;
        for charge in told {
            let Some(quota) = self.quota(charge.quota) else { continue };
            let Standing { remaining, reset_us, retry_after_us, .. } = charge.standing;
            let reset_us = if charge.standing.admitted { reset_us } else { retry_after_us };
            let mut state = String::with_capacity(48);
            // Writing to a string cannot fail.
            let _ = write!(state, "{};r={remaining};t={}", quota.item, reset_us.div_ceil(1_000_000));
            append(headers, POLICY, &quota.policy);
            append(headers, STATE, &state);
            if tightest.is_none_or(|(_, least)| remaining < least.remaining) {
                tightest = Some((quota, charge.standing));
            }
        }
        if let (true, Some((quota, standing))) = (self.legacy_headers, tightest) {
            let rules = quota.rules();
            let values = [rules.requests, standing.remaining, standing.reset_us.div_ceil(1_000_000)];
            for (name, value) in LEGACY.into_iter().zip(values) {
                headers.insert(name, HeaderValue::from(value));
            }
        }
    }

    /// Every limit that is counted on this node alone.
    pub(crate) fn here(&self) -> impl Iterator<Item = (&Limit, LimiterStats)> {
        self.all().filter_map(|quota| match &quota.counted {
            Counted::Here(limiter) => Some((limiter.rules(), limiter.stats())),
            Counted::Shared(_) => None,
        })
    }

    /// Every limit that is counted in the store.
    pub(crate) fn shared(&self, now: Now) -> impl Iterator<Item = (&Limit, SharedLimitStats)> {
        self.shared_limits().map(move |limit| (limit.rules(), limit.stats(now)))
    }

    pub(crate) fn store_state(&self, now: Now) -> Option<StoreState> {
        self.fleet.as_ref().map(|fleet| fleet.store_state(now))
    }

    pub(crate) fn has_store_calls(&self) -> bool {
        self.fleet.as_ref().is_some_and(|fleet| !fleet.backlog().is_empty())
    }

    pub(crate) fn store_calls(&self) -> Vec<StoreCall> {
        self.fleet.as_ref().map(|fleet| fleet.backlog().take()).unwrap_or_default()
    }

    /// Calls that were never sent, because too many waited.
    pub(crate) fn store_calls_dropped(&self) -> u64 {
        self.fleet.as_ref().map_or(0, |fleet| fleet.backlog().dropped())
    }

    pub(crate) fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_deref()
    }

    /// Looks for permits that are better given back.
    pub(super) fn tend(&self, now: Now) {
        self.shared_limits().for_each(|limit| limit.tend(now));
    }

    pub(super) fn give_back(&self, now: Now) {
        self.shared_limits().for_each(|limit| limit.close(now));
    }

    fn shared_limits(&self) -> impl Iterator<Item = &Arc<SharedLimit>> {
        self.all().filter_map(|quota| match &quota.counted {
            Counted::Shared(limit) => Some(limit),
            Counted::Here(_) => None,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Quota> {
        let tiers = self.tiers.iter().map(|(_, quota)| quota);
        self.default.iter().chain(tiers).chain(self.services.iter().flatten())
    }

    /// The limits on the request: one on its subject and one on its service, as far as there are any.
    pub(super) fn applying(&self, caller: Option<&Caller>, service: Option<usize>) -> Applying<'_> {
        [self.of_subject(caller), service.and_then(|service| self.of_index(service))]
    }

    fn of_subject(&self, caller: Option<&Caller>) -> Option<(QuotaId, &Quota)> {
        let tier = caller.and_then(Caller::tier);
        let of_tier = tier.and_then(|tier| self.tiers.iter().position(|(name, _)| **name == *tier));
        match of_tier {
            Some(index) => Some((QuotaId::Tier(index as u16), &self.tiers[index].1)),
            None => self.default.as_ref().map(|quota| (QuotaId::Default, quota)),
        }
    }

    fn of_index(&self, service: usize) -> Option<(QuotaId, &Quota)> {
        self.services[service].as_ref().map(|quota| (QuotaId::Service(service as u32), quota))
    }

    fn of_service(&self, name: &str) -> Option<&Quota> {
        self.services.iter().flatten().find(|quota| quota.rules().name == name)
    }

    pub(super) fn quota(&self, id: QuotaId) -> Option<&Quota> {
        match id {
            QuotaId::Default => self.default.as_ref(),
            QuotaId::Tier(index) => self.tiers.get(usize::from(index)).map(|(_, quota)| quota),
            QuotaId::Service(index) => self.services.get(index as usize)?.as_ref(),
        }
    }

    /// Who is counted. A request that lacks what a limit counts by is counted by its subject, so that leaving a header
    /// out is no way around the limit.
    pub(super) fn with_subject<T>(
        &self,
        key: &LimitKey,
        asked: &Asked<'_>,
        then: impl FnOnce(Subject<'_>) -> T,
    ) -> T {
        let caller = asked.caller;
        let user = || Some(Subject::User { issuer: caller?.issuer()?, name: caller?.user()? });
        let api_key = || caller.and_then(Caller::key_id).map(|id| Subject::ApiKey(id.as_bytes()));
        let subject = || api_key().or_else(user).unwrap_or(Subject::Address(asked.client));
        let claim;
        let named = match key {
            LimitKey::Service => Some(Subject::Service),
            LimitKey::Subject => None,
            LimitKey::User => user(),
            LimitKey::ApiKey => api_key(),
            LimitKey::ClientAddress => Some(Subject::Address(asked.client)),
            LimitKey::Header(name) => asked.headers.get(name).map(|value| Subject::Value(value.as_bytes())),
            LimitKey::Claim(name) => {
                claim = caller.and_then(|caller| caller.claim(name));
                claim.as_ref().map(|value| Subject::Value(value.as_bytes()))
            }
            LimitKey::PathVariable(name) => {
                (asked.variable)(name).map(|value| Subject::Value(value.as_bytes()))
            }
        };
        then(named.unwrap_or_else(subject))
    }
}

impl Quota {
    fn new(rules: &Limit, fleet: Option<&Arc<Fleet>>, place: Place, known: Option<&Quota>) -> Quota {
        // The name is printable ASCII; a quote or backslash in it is escaped (RFC 9651 section 4.1.6).
        let item = format!("\"{}\"", rules.name.replace('\\', "\\\\").replace('"', "\\\""));
        let window_s = rules.window.as_millis().div_ceil(1_000);
        let known = known.map(|known| &known.counted);
        let counted = match (&rules.sharing, fleet) {
            (Sharing::Exact | Sharing::Leased(_), Some(fleet)) => {
                let known = known.and_then(|known| match known {
                    Counted::Shared(limit) => Some(&**limit),
                    Counted::Here(_) => None,
                });
                let on_failure = place.on_store_failure(rules.on_store_failure);
                Counted::Shared(Arc::new(SharedLimit::new(rules, on_failure, fleet, known)))
            }
            _ => {
                let known = known.and_then(|known| match known {
                    Counted::Here(limiter) => Some(limiter),
                    Counted::Shared(_) => None,
                });
                Counted::Here(Limiter::new(rules, known))
            }
        };
        Quota {
            counted,
            policy: format!("{item};q={};w={window_s}", rules.requests).into(),
            item: item.into(),
        }
    }

    pub(super) fn rules(&self) -> &Limit {
        match &self.counted {
            Counted::Here(limiter) => limiter.rules(),
            Counted::Shared(limit) => limit.rules(),
        }
    }
}

impl Charges {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Charge> {
        self.0.iter().flatten()
    }

    /// The limit that refused the request and takes longest to admit it.
    pub(crate) fn refused(&self) -> Option<Refused> {
        let refusing = self.iter().filter(|charge| !charge.shadow && !charge.standing.admitted);
        let refused = |charge: &Charge| Refused {
            quota: charge.quota,
            retry_after_us: charge.standing.retry_after_us,
            unknown: charge.unknown,
        };
        refusing.map(refused).max_by_key(|refused| refused.retry_after_us)
    }

    /// A limit in shadow that would have refused it.
    pub(crate) fn shadowed(&self) -> Option<QuotaId> {
        self.iter().find(|charge| charge.shadow && !charge.standing.admitted).map(|charge| charge.quota)
    }
}

impl Place {
    fn enforces(self, at: EnforceAt) -> bool {
        match at {
            EnforceAt::First | EnforceAt::Both => true,
            EnforceAt::Edge => self == Place::Edge,
            EnforceAt::Region => self == Place::Region,
        }
    }

    /// How many isolates there are nobody knows, so that none has a share: there a limit that names nothing else lets pass.
    pub(super) fn on_store_failure(self, configured: Option<OnStoreFailure>) -> OnStoreFailure {
        match (self, configured) {
            (Place::Edge, None | Some(OnStoreFailure::LocalShare)) => OnStoreFailure::Allow,
            (_, configured) => configured.unwrap_or(OnStoreFailure::LocalShare),
        }
    }
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.append(name, value);
    }
}
