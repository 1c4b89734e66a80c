//! Rate limits that can admit something.

use std::time::Duration;

use super::{DAY, MILLISECOND, header_name, optional, sharing, store, time_within, within};
use crate::config::document;
use crate::config::report::{At, nearest};
use crate::config::{Algorithm, EnforceAt, Limit, LimitKey, Limits, OnStoreFailure};

/// Permits a window, which keeps the arithmetic exact in 128 bits.
const REQUESTS_MAX: u64 = 1_000_000_000_000;
/// A sliding window log keeps a record of every permit.
const LOG_REQUESTS_MAX: u64 = 1_000;
const WINDOW_MAX: Duration = Duration::from_secs(366 * DAY.as_secs());
const NAME_BYTES_MAX: usize = 64;

pub(super) fn limits(
    limits: &document::RateLimit,
    routing: &document::Routing,
    at: &At<'_>,
) -> Option<Limits> {
    if limits.algorithm == document::Algorithm::Distributed && limits.store.is_none() {
        sharing::warn_of_distributed(&at.field("algorithm"));
    }
    let default = optional(limits.default.as_ref(), |section| {
        limit("default", section, LimitKey::Subject, limits, &at.field("default"))
    });
    let tiers = at.field("per_user");
    let per_user: Vec<_> = limits
        .per_user
        .0
        .iter()
        .map(|(tier, section)| {
            limit_name(tier, &tiers.key(tier));
            let limit = limit(tier, section, LimitKey::Subject, limits, &tiers.field(tier));
            limit.map(|limit| (tier.clone(), limit))
        })
        .collect();
    let services = at.field("per_service");
    let per_service: Vec<_> = limits
        .per_service
        .0
        .iter()
        .map(|(service, section)| {
            known_service(service, routing, &services.key(service));
            if limits.per_user.0.iter().any(|(tier, _)| tier == service) {
                let message = "`per_user` has a limit of this name; rename the tier, so that clients can tell the two apart";
                services.key(service).error(message);
            }
            let limit = limit(service, section, LimitKey::Service, limits, &services.field(service));
            limit.map(|limit| (service.clone(), limit))
        })
        .collect();
    let store = optional(limits.store.as_ref(), |section| store::store(section, &at.field("store")));
    Some(Limits {
        enabled: limits.enabled,
        legacy_headers: limits.legacy_headers,
        default: default?,
        per_user: per_user.into_iter().collect::<Option<_>>()?,
        per_service: per_service.into_iter().collect::<Option<_>>()?,
        store: store?,
    })
}

/// A name goes into `RateLimit-Policy`, which takes printable ASCII (RFC 9651 section 3.3.3).
fn limit_name(name: &str, at: &At<'_>) {
    let printable = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !printable {
        at.error(format_args!("a tier's name is 1 to {NAME_BYTES_MAX} printable ASCII characters"));
    }
    if name == "default" {
        at.error("`rate_limit.default` is called so; rename the tier");
    }
}

fn known_service(name: &str, routing: &document::Routing, at: &At<'_>) {
    let known = || routing.services.0.iter().map(|(name, _)| name.as_str());
    if !known().any(|known| known == name) {
        let hint = nearest(name, known()).map(|near| format!("did you mean `{near}`?"));
        let hint = hint.unwrap_or_else(|| "add it to `routing.services` or remove the limit".into());
        at.error(format_args!("there is no service `{name}`; {hint}"));
    }
    if name == "default" {
        at.error("`rate_limit.default` is called so; rename the service to limit it");
    }
}

fn limit(
    name: &str,
    limit: &document::Limit,
    key: LimitKey,
    all: &document::RateLimit,
    at: &At<'_>,
) -> Option<Limit> {
    let algorithm = algorithm(limit, all, at);
    let requests = within(&at.field("requests"), limit.requests, 1..=REQUESTS_MAX);
    if algorithm == Algorithm::SlidingWindowLog && limit.requests > LOG_REQUESTS_MAX {
        at.field("requests").error(format_args!(
            "`sliding_window_log` keeps a record of each and takes at most {LOG_REQUESTS_MAX}; use `sliding_window_counter`"
        ));
    }
    let window = time_within(&at.field("window"), limit.window, MILLISECOND..=WINDOW_MAX);
    let burst = limit.burst.map_or(requests, |burst| within(&at.field("burst"), burst, 1..=REQUESTS_MAX));
    if limit.burst.is_some() && algorithm != Algorithm::TokenBucket {
        at.field("burst").warn("has no effect under window algorithms, which admit `requests` at once");
    }
    let cost = within(&at.field("cost"), limit.cost, 1..=REQUESTS_MAX);
    let most = if algorithm == Algorithm::TokenBucket { burst } else { requests };
    if let (Some(cost), Some(most)) = (cost, most)
        && cost > most
    {
        at.field("cost").error(format_args!(
            "a request costs {cost} and no more than {most} fit: none would ever be admitted"
        ));
    }
    let sharing = sharing::sharing(limit, algorithm, all, at);
    let key = limit.key.as_deref().map_or(Some(key), |key| limit_key(key, &at.field("key")));
    let limit = Limit {
        name: name.into(),
        algorithm,
        requests: requests?,
        window: window?,
        burst: burst?,
        key: key?,
        cost: cost?,
        sharing: sharing?,
        enforce_at: match limit.enforce_at {
            document::EnforceAt::First => EnforceAt::First,
            document::EnforceAt::Edge => EnforceAt::Edge,
            document::EnforceAt::Region => EnforceAt::Region,
            document::EnforceAt::Both => EnforceAt::Both,
        },
        on_store_failure: limit.on_store_failure.map(|choice| match choice {
            document::OnStoreFailure::LocalShare => OnStoreFailure::LocalShare,
            document::OnStoreFailure::Allow => OnStoreFailure::Allow,
            document::OnStoreFailure::Deny => OnStoreFailure::Deny,
        }),
        shadow: limit.shadow,
    };
    sharing::countable(&limit, at).then_some(limit)
}

fn algorithm(limit: &document::Limit, all: &document::RateLimit, at: &At<'_>) -> Algorithm {
    let algorithm = match limit.algorithm.unwrap_or(all.algorithm) {
        document::Algorithm::Distributed => match limit.root.unwrap_or_default() {
            document::Root::TokenBucket => Algorithm::TokenBucket,
            document::Root::FixedWindow => Algorithm::FixedWindow,
        },
        document::Algorithm::TokenBucket => Algorithm::TokenBucket,
        document::Algorithm::FixedWindow => Algorithm::FixedWindow,
        document::Algorithm::SlidingWindowLog => Algorithm::SlidingWindowLog,
        document::Algorithm::SlidingWindowCounter => {
            Algorithm::SlidingWindowCounter { strict: limit.strict.unwrap_or(all.strict) }
        }
    };
    if limit.strict == Some(true) && !matches!(algorithm, Algorithm::SlidingWindowCounter { .. }) {
        at.field("strict")
            .error("only `sliding_window_counter` has a strict form; remove it or set `algorithm`");
    }
    algorithm
}

fn limit_key(key: &str, at: &At<'_>) -> Option<LimitKey> {
    let (kind, name) = match key.split_once(':') {
        Some((kind, name)) if !name.is_empty() => (kind, Some(name)),
        Some((kind, _)) => (kind, None),
        None => (key, None),
    };
    match (kind, name) {
        ("subject", None) => Some(LimitKey::Subject),
        ("user", None) => Some(LimitKey::User),
        ("api_key", None) => Some(LimitKey::ApiKey),
        ("ip", None) => Some(LimitKey::ClientAddress),
        ("service", None) => Some(LimitKey::Service),
        ("header", Some(name)) => header_name(name, at).map(LimitKey::Header),
        ("claim", Some(name)) => Some(LimitKey::Claim(name.into())),
        ("path", Some(name)) => Some(LimitKey::PathVariable(name.into())),
        _ => {
            at.error(format_args!(
                "`{key}` cannot be counted; write `subject`, `user`, `api_key`, `ip`, `service`, `header:<name>`, `claim:<name>` or `path:<variable>`"
            ));
            None
        }
    }
}
