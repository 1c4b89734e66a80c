//! Limits that nodes count together.

use std::time::Duration;

use super::{HOUR, time_within, within};
use crate::config::report::At;
use crate::config::{Algorithm, Limit, Sharing, document};
use crate::lease;
use crate::store::Rule;

const TARGET_MIN: Duration = Duration::from_millis(10);
const HOLDING_MAX: u64 = 1_000_000_000_000;

pub(super) fn warn_of_distributed(at: &At<'_>) {
    at.warn("`rate_limit.store` names no store: each node limits for itself, as `token_bucket`");
}

/// With whom a limit of `algorithm` is shared.
pub(super) fn sharing(
    limit: &document::Limit,
    algorithm: Algorithm,
    all: &document::RateLimit,
    at: &At<'_>,
) -> Option<Sharing> {
    let leased = limit.algorithm.unwrap_or(all.algorithm) == document::Algorithm::Distributed;
    for key in ["root", "lease"] {
        if !leased && at.field(key).is_set() {
            at.field(key).error("only `distributed` borrows; remove it, or set `algorithm: distributed`");
        }
    }
    if leased && limit.shared == Some(false) {
        at.field("shared").error("`distributed` is shared; remove it, or name another `algorithm`");
    }
    if all.store.is_none() {
        if limit.algorithm == Some(document::Algorithm::Distributed) {
            warn_of_distributed(&at.field("algorithm"));
        }
        if limit.shared == Some(true) {
            at.field("shared").error("there is nothing to share in; name a `rate_limit.store`");
        }
        for key in ["lease", "on_store_failure"] {
            warn_if_set(&at.field(key), "has no effect: `rate_limit.store` names no store");
        }
        return Some(Sharing::Node);
    }
    match (leased, limit.shared) {
        (true, _) => lease(limit, algorithm, at).map(Sharing::Leased),
        (false, None | Some(true)) => Some(Sharing::Exact),
        (false, Some(false)) => {
            warn_if_set(&at.field("on_store_failure"), "has no effect: the limit is not shared");
            Some(Sharing::Node)
        }
    }
}

fn warn_if_set(at: &At<'_>, message: &str) {
    if at.is_set() {
        at.warn(message);
    }
}

fn lease(limit: &document::Limit, algorithm: Algorithm, at: &At<'_>) -> Option<lease::Options> {
    let terms = limit.lease.clone().unwrap_or_default();
    let at = at.field("lease");
    if terms.reserve && algorithm == Algorithm::FixedWindow {
        at.field("reserve").warn("has no effect: leasing never exceeds a fixed window");
    }
    let target = time_within(&at.field("target"), terms.target, TARGET_MIN..=HOUR);
    let holding_max = super::optional(terms.max, |max| within(&at.field("max"), max, 1..=HOLDING_MAX));
    Some(lease::Options {
        target: target?,
        holding_max: holding_max?,
        reserve: terms.reserve,
        largest_cost: limit.cost,
    })
}

/// Whether the store can count what is to be shared: its arithmetic ends at 2^53.
pub(super) fn countable(limit: &Limit, at: &At<'_>) -> bool {
    let error = match &limit.sharing {
        Sharing::Node => return true,
        Sharing::Exact => Rule::of(limit).err().map(|error| error.to_string()),
        Sharing::Leased(options) => lease::Terms::of(limit, options).err().map(|error| error.to_string()),
    };
    if let Some(error) = &error {
        at.error(format_args!("the store cannot count this limit: {error}"));
    }
    error.is_none()
}
