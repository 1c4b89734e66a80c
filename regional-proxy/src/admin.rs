//! The admin listener: health and metrics for machines, and behind a credential what an operator asks.

mod credential;
mod store;

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use axum::extract::{Path, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use tollgate_core::config::Limit;
use tollgate_core::{Ban, Gateway, LimiterStats};

use crate::clock::now;
use crate::metrics::{Events, Metrics, Tallies};
use crate::process::Reloader;
use crate::relay::Relay;
use crate::{Listeners, Shared};

/// What the admin API shows and does.
pub struct Admin {
    pub shared: Arc<Shared>,
    pub reloader: Arc<Reloader>,
    pub tallies: Tallies,
    pub metrics: Metrics,
    pub events: Events,
}

type Shown = State<Arc<Admin>>;

/// Serves on a thread and a runtime of its own, so that no scrape takes time from the data path.
pub fn spawn(listeners: Listeners, admin: Admin) -> Result<()> {
    let admin = Arc::new(admin);
    let behind_credential = Router::new()
        .route("/admin/config", get(config))
        .route("/admin/config/reload", post(reload))
        .route("/admin/stats", get(stats))
        .route("/admin/circuit-breakers", get(circuit_breakers))
        .route("/admin/events", get(events))
        .route("/admin/bans", get(bans))
        .route("/admin/bans/{address}", delete(lift_ban))
        .layer(middleware::from_fn_with_state(admin.clone(), credential::check));
    let router = Router::new()
        .route("/health", get(async || no_store(Json(json!({ "status": "ok" })))))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .merge(behind_credential)
        .fallback(async || problem(StatusCode::NOT_FOUND, "The admin listener has no such resource."))
        .layer(middleware::from_fn_with_state(admin.clone(), check_host))
        .with_state(admin);
    listeners.serve("admin", router)?;
    Ok(())
}

/// What `server.allowed_hosts` keeps out of the gateway has no business here either (DNS rebinding).
async fn check_host(State(admin): Shown, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.parse::<Authority>().map(|authority| authority.host().to_ascii_lowercase());
    match admin.shared.gateway.load().config().server.serves(&name.unwrap_or_default()) {
        true => next.run(request).await,
        false => problem(StatusCode::MISDIRECTED_REQUEST, "This listener does not serve that host."),
    }
}

async fn ready(State(admin): Shown) -> Response {
    match admin.shared.gateway.load().is_draining() {
        false => no_store(Json(json!({ "status": "ready" }))),
        true => {
            (StatusCode::SERVICE_UNAVAILABLE, no_store(Json(json!({ "status": "draining" })))).into_response()
        }
    }
}

async fn metrics(State(admin): Shown) -> Response {
    if !admin.shared.gateway.load().config().monitoring.prometheus {
        return problem(StatusCode::NOT_FOUND, "Metrics are off; set monitoring.prometheus.enabled.");
    }
    match admin.metrics.encode() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be encoded."),
    }
}

async fn config(State(admin): Shown) -> Response {
    let shown = admin.reloader.read(|loaded| {
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        json!({ "hash": loaded.hash, "warnings": warnings, "config": loaded.document })
    });
    let generation = admin.shared.gateway.load().generation();
    no_store(Json(with(shown, "generation", generation.into())))
}

async fn reload(State(admin): Shown) -> Response {
    match admin.reloader.reload() {
        Ok(generation) => no_store(Json(json!({ "generation": generation }))),
        // The operator who asks is the one who can mend the file.
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    }
}

async fn stats(State(admin): Shown) -> Response {
    let gateway = admin.shared.gateway.load();
    let services: Vec<Value> = gateway
        .services()
        .iter()
        .map(|service| {
            let endpoints: Vec<Value> = service
                .endpoints()
                .iter()
                .map(|endpoint| {
                    json!({
                        "address": format!("{}:{}", endpoint.host(), endpoint.port()),
                        "in_flight": endpoint.in_flight(),
                        "healthy": endpoint.is_healthy(),
                        "ejected": endpoint.is_ejected(now()),
                    })
                })
                .collect();
            json!({ "name": service.name(), "in_flight": service.in_flight(), "endpoints": endpoints })
        })
        .collect();
    let failing_key_sets: Vec<Value> = gateway
        .failing_key_sets()
        .map(|(provider, why)| json!({ "provider": provider, "reason": why.to_string() }))
        .collect();
    no_store(Json(json!({
        "generation": gateway.generation(),
        "policy": gateway.policy(),
        "requests": admin.tallies.sum().requests(),
        "connections": admin.shared.open_connections(),
        "services": services,
        "limits": limits(&gateway),
        "store": admin.shared.stores.as_ref().map(|stores| store::shown(&gateway, &stores.stats())),
        "failing_key_sets": failing_key_sets,
    })))
}

fn limits(gateway: &Gateway) -> Vec<Value> {
    let limit = |(rules, stats): (&Limit, LimiterStats)| {
        json!({
            "name": rules.name,
            "requests": rules.requests,
            "window_s": rules.window.as_secs_f64(),
            "shadow": rules.shadow,
            "subjects": stats.subjects,
            "overflowed": stats.overflowed,
            "clock_resets": stats.clock_resets,
        })
    };
    gateway.limits().map(limit).collect()
}

async fn bans(State(admin): Shown) -> Response {
    let ban = |ban: Ban| {
        json!({
            "address": ban.address.to_string(),
            "prefix_len": ban.prefix_len,
            "since_s": ban.since_us / 1_000_000,
            "until_s": ban.until_us / 1_000_000,
            "reason": "max_requests_per_ip",
        })
    };
    let bans: Vec<Value> = admin.shared.gateway.load().bans(now()).into_iter().map(ban).collect();
    no_store(Json(json!({ "bans": bans })))
}

async fn lift_ban(State(admin): Shown, Path(address): Path<String>) -> Response {
    let Ok(address) = address.parse::<IpAddr>() else {
        return problem(
            StatusCode::BAD_REQUEST,
            "Name the address as /admin/bans lists it, without a prefix length.",
        );
    };
    match admin.shared.gateway.load().lift_ban(address, now()) {
        true => StatusCode::NO_CONTENT.into_response(),
        false => problem(StatusCode::NOT_FOUND, "This address is not banned."),
    }
}

async fn circuit_breakers(State(admin): Shown) -> Response {
    let gateway = admin.shared.gateway.load();
    let breakers: Vec<Value> = gateway
        .services()
        .iter()
        .filter_map(|service| {
            Some(json!({ "service": service.name(), "state": service.breaker()?.state(now()).as_str() }))
        })
        .collect();
    no_store(Json(json!({ "circuit_breakers": breakers })))
}

async fn events(State(admin): Shown) -> Response {
    let Events { log, delivery, relay } = &admin.events;
    let relay = relay.as_ref().map(Relay::stats);
    match (log, delivery) {
        (_, Some(delivery)) => {
            let delivery = delivery.stats();
            no_store(Json(json!({ "provider": "kafka", "delivery": delivery, "relay": relay })))
        }
        (Some(log), None) => no_store(Json(json!({ "provider": "log", "log": log.stats() }))),
        (None, None) => no_store(Json(json!({ "provider": null }))),
    }
}

fn with(mut value: Value, key: &str, member: Value) -> Value {
    value[key] = member;
    value
}

fn no_store(body: Json<Value>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], body).into_response()
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    (status, headers, body.to_string()).into_response()
}
