//! Which limits a request falls under, and how they answer it.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::Place;
use crate::Now;
use crate::config::{Config, EnforceAt, Limit, LimitKey};
use crate::identity::Caller;
use crate::limit::{self, Demand, Limiter, Secret, Standing, Subject, SubjectKey};

/// draft-ietf-httpapi-ratelimit-headers-11.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const LEGACY: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// Limits that apply to one request: one on its subject, one on its service.
const PER_REQUEST_MAX: usize = 2;

/// The limits of one configuration that are enforced at this place.
#[derive(Debug)]
pub(crate) struct Quotas {
    secret: Secret,
    default: Option<Quota>,
    tiers: Vec<(Box<str>, Quota)>,
    /// By index of the service.
    services: Vec<Option<Quota>>,
    legacy_headers: bool,
}

#[derive(Debug)]
struct Quota {
    limiter: Arc<Limiter>,
    /// Its name as `RateLimit` quotes it.
    item: Box<str>,
    /// The same with its parameters, as in `RateLimit-Policy`.
    policy: Box<str>,
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
pub(crate) struct Charges([Option<Charge>; PER_REQUEST_MAX]);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    pub(crate) quota: QuotaId,
    pub(crate) standing: Standing,
    /// Decided and reported, never enforced.
    pub(crate) shadow: bool,
}

/// A limit that refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) quota: QuotaId,
    pub(crate) retry_after_us: u64,
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
    pub(super) fn new(config: &Config, known: Option<&Quotas>, secret: Secret, place: Place) -> Quotas {
        let limits = &config.limits;
        let quota = |rules: &Limit, known: Option<&Quota>| {
            let enforced = limits.enabled && place.enforces(rules.enforce_at);
            enforced.then(|| Quota::new(rules, known))
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
        }
    }

    pub(super) fn secret(&self) -> Secret {
        self.secret
    }

    /// Debits what applies to the request, all or nothing.
    pub(super) fn charge(&self, asked: &Asked<'_>, service: Option<usize>, now: Now) -> Charges {
        let ids = [self.of_subject(asked.caller), service.and_then(|service| self.of_index(service))];
        let mut ids = ids.into_iter().flatten();
        let (Some(first), second) = (ids.next(), ids.next()) else { return Charges::default() };
        let demand = |(_, quota): (QuotaId, &'_ Quota)| {
            let rules = quota.limiter.rules();
            (self.subject(&rules.key, asked), rules.cost)
        };
        let (subject, cost) = demand(first);
        let mut demands = [Demand { limiter: &first.1.limiter, subject, cost }; PER_REQUEST_MAX];
        if let Some(second) = second {
            let (subject, cost) = demand(second);
            demands[1] = Demand { limiter: &second.1.limiter, subject, cost };
        }
        let count = 1 + usize::from(second.is_some());
        let mut standings = [Standing::default(); PER_REQUEST_MAX];
        limit::admit(&demands[..count], &mut standings[..count], now);
        let charge = |(quota, of): (QuotaId, &Quota), standing| Charge {
            quota,
            standing,
            shadow: of.limiter.rules().shadow,
        };
        Charges([Some(charge(first, standings[0])), second.map(|second| charge(second, standings[1]))])
    }

    pub(crate) fn name(&self, id: QuotaId) -> &str {
        self.quota(id).map_or("", |quota| &quota.limiter.rules().name)
    }

    /// Tells the client how its limits stand.
    pub(crate) fn report(&self, charges: &Charges, headers: &mut HeaderMap) {
        use std::fmt::Write;
        let told = charges.iter().filter(|charge| !charge.shadow);
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
            let rules = quota.limiter.rules();
            let values = [rules.requests, standing.remaining, standing.reset_us.div_ceil(1_000_000)];
            for (name, value) in LEGACY.into_iter().zip(values) {
                headers.insert(name, HeaderValue::from(value));
            }
        }
    }

    /// Every limit with its name, for those who operate the gateway.
    pub(crate) fn limiters(&self) -> impl Iterator<Item = &Limiter> {
        let tiers = self.tiers.iter().map(|(_, quota)| quota);
        let all = self.default.iter().chain(tiers).chain(self.services.iter().flatten());
        all.map(|quota| &*quota.limiter)
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
        self.services.iter().flatten().find(|quota| quota.limiter.rules().name == name)
    }

    fn quota(&self, id: QuotaId) -> Option<&Quota> {
        match id {
            QuotaId::Default => self.default.as_ref(),
            QuotaId::Tier(index) => self.tiers.get(usize::from(index)).map(|(_, quota)| quota),
            QuotaId::Service(index) => self.services.get(index as usize)?.as_ref(),
        }
    }

    /// Who is counted. A request that lacks what a limit counts by is counted by its subject, so that leaving a header
    /// out is no way around the limit.
    fn subject(&self, key: &LimitKey, asked: &Asked<'_>) -> SubjectKey {
        let caller = asked.caller;
        let user = || Some(Subject::User { issuer: caller?.issuer()?, name: caller?.user()? });
        let api_key = || caller.and_then(Caller::key_id).map(|id| Subject::ApiKey(id.as_bytes()));
        let subject = || api_key().or_else(user).unwrap_or(Subject::Address(asked.client));
        let named = match key {
            LimitKey::Service => return SubjectKey::SERVICE,
            LimitKey::Subject => None,
            LimitKey::User => user(),
            LimitKey::ApiKey => api_key(),
            LimitKey::ClientAddress => Some(Subject::Address(asked.client)),
            LimitKey::Header(name) => asked.headers.get(name).map(|value| Subject::Value(value.as_bytes())),
            LimitKey::Claim(name) => {
                let claim = caller.and_then(|caller| caller.claim(name));
                let key = claim.map(|value| self.secret.key(Subject::Value(value.as_bytes())));
                return key.unwrap_or_else(|| self.secret.key(subject()));
            }
            LimitKey::PathVariable(name) => {
                (asked.variable)(name).map(|value| Subject::Value(value.as_bytes()))
            }
        };
        self.secret.key(named.unwrap_or_else(subject))
    }
}

impl Quota {
    fn new(rules: &Limit, known: Option<&Quota>) -> Quota {
        // The name is printable ASCII; a quote or backslash in it is escaped (RFC 9651 section 4.1.6).
        let item = format!("\"{}\"", rules.name.replace('\\', "\\\\").replace('"', "\\\""));
        let window_s = rules.window.as_millis().div_ceil(1_000);
        Quota {
            limiter: Arc::new(Limiter::new(rules, known.map(|known| &*known.limiter))),
            policy: format!("{item};q={};w={window_s}", rules.requests).into(),
            item: item.into(),
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
        let refused =
            |charge: &Charge| Refused { quota: charge.quota, retry_after_us: charge.standing.retry_after_us };
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
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.append(name, value);
    }
}
