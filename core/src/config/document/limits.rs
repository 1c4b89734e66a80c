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
    /// What happens while the shared store is away. Default: `local_share`.
    #[serde(default)]
    pub on_store_failure: OnStoreFailure,
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
    /// `token_bucket`, shared by all nodes through Redis.
    Distributed,
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
