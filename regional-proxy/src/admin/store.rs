//! What an operator is shown of the store that nodes share limits in, and of each of these limits.

use serde_json::{Map, Value, json};
use tollgate_core::config::Limit;
use tollgate_core::store::StoreFailure;
use tollgate_core::{Gateway, SharedLimitStats, StoreState};

use crate::clock::now;
use crate::store::StoreStats;

pub(super) fn shown(gateway: &Gateway, stats: &StoreStats) -> Value {
    let limit = |(rules, stats): (&Limit, SharedLimitStats)| {
        json!({
            "name": rules.name,
            "requests": rules.requests,
            "window_s": rules.window.as_secs_f64(),
            "shadow": rules.shadow,
            "leases": stats.leases,
            "permits_held": stats.held,
            "permits_wasted": stats.wasted,
            "permits_returned": stats.returned,
            "waits": stats.asked,
            "refills": stats.refills,
            "failures": stats.failures,
            "over_admission_bound": stats.over_admission_bound,
        })
    };
    let failures: Map<String, Value> = StoreFailure::ALL
        .into_iter()
        .zip(stats.failures)
        .map(|(kind, count)| (kind.as_str().to_owned(), count.into()))
        .collect();
    let batches: u64 = stats.latency.iter().sum();
    json!({
        "state": gateway.store_state(now()).map(StoreState::as_str),
        "commands": stats.commands,
        "failures": failures,
        "mean_latency_us": stats.latency_sum_us.checked_div(batches),
        "calls_dropped": gateway.store_calls_dropped(),
        "notices_unsaid": gateway.notices_unsaid(),
        "bans_shared_within_ms": gateway.bans_shared_within().map(|within| within.as_millis() as u64),
        "limits": gateway.shared_limits(now()).map(limit).collect::<Vec<_>>(),
    })
}
