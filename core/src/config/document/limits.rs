//! How much each may ask for.

#[cfg(feature = "yaml")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Named, Store, Timespan};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RateLimit {
    /// Default: true, which limits nothing until a limit is written down.
    pub enabled: bool,
    /// Of limits that name none. Default: `token_bucket`.
    pub algorithm: Algorithm,
    /// Whether that algorithm's windows are strict; only `sliding_window_counter` has a choice. Default: false.
    pub strict: bool,
    /// Send `X-RateLimit-Limit`, `-Remaining` and `-Reset` too, for clients that do not know `RateLimit`. Default: false.
    pub legacy_headers: bool,
    /// Per API key, else per JWT subject, else per client address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Limit>,
    /// Instead of `default`, by tier.
    pub per_user: Named<Limit>,
    /// One more limit on a whole service, by its name.
    pub per_service: Named<Limit>,
    /// Where limits are counted that nodes share. Without it each node counts for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// How many in each window, 1 to 10^12.
    pub requests: u64,
    /// `1s`, `1m`, `1h`, `30d`: 1ms to 366d.
    pub window: Timespan,
    /// How many at once; only `token_bucket` and `distributed` have it. Default: `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Default: that of `rate_limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Count sub-buckets at full weight: never more than `requests` in any window. Default: that of `rate_limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// What is counted apart: `subject`, `user`, `api_key`, `ip`, `service`, `header:<name>`, `claim:<name>` or
    /// `path:<variable>`. Default: `subject`, and `service` within `per_service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Permits a request takes. Default: 1.
    #[serde(default = "one")]
    pub cost: u64,
    /// Where it is counted. Default: `first`, where a request meets the first gateway.
    #[serde(default)]
    pub enforce_at: EnforceAt,
    /// Count in `rate_limit.store`, for all nodes together. Default: true where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// What `distributed` borrows from. Default: `token_bucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// How `distributed` borrows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// What happens while the shared store is away and nothing borrowed is left. Default: `local_share`, or `allow` at
    /// the edge, where nobody knows how many isolates would share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_store_failure: Option<OnStoreFailure>,
    /// Decide and report, but never refuse. Default: false.
    #[serde(default)]
    pub shadow: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// At most `burst` and `requests` a `window` more, evenly.
    #[default]
    TokenBucket,
    /// At most `requests` in each window of the clock; twice that across a boundary.
    FixedWindow,
    /// At most `requests` in any window, exactly; up to 1,000 of them.
    SlidingWindowLog,
    /// An estimate of that from two windows, or never more when `strict`.
    SlidingWindowCounter,
    /// Shared by all nodes: each borrows permits from a `token_bucket`, or what `root` names, in the store and spends
    /// them by itself.
    Distributed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// Can be exceeded by what is borrowed for `lease.target`, unless `lease.reserve` holds that back.
    #[default]
    TokenBucket,
    /// Is never exceeded.
    FixedWindow,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Lease {
    /// How long what is borrowed should last at the rate seen, 10ms to 1h. Longer saves questions to the store and, under
    /// a token bucket, exceeds the limit by more. Default: 1s.
    pub target: Timespan,
    /// What one node holds at most. Default: what comes within `target`; under a fixed window `requests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// Hold what comes within `target` back from the burst, so that leasing exceeds nothing. Default: false.
    pub reserve: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EnforceAt {
    #[default]
    First,
    Edge,
    Region,
    Both,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnStoreFailure {
    #[default]
    LocalShare,
    Allow,
    Deny,
}

impl Default for Lease {
    fn default() -> Lease {
        Lease { target: Timespan::from_secs(1), max: None, reserve: false }
    }
}

fn one() -> u64 {
    1
}

impl Default for RateLimit {
    fn default() -> RateLimit {
        RateLimit {
            enabled: true,
            algorithm: Algorithm::default(),
            strict: false,
            legacy_headers: false,
            default: None,
            per_user: Named::default(),
            per_service: Named::default(),
            store: None,
        }
    }
}
