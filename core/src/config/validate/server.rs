//! Listeners and limits of the server.

use std::net::SocketAddr;

use sha2::{Digest, Sha256};

use super::{
    DAY, HOUR, MILLISECOND, cidrs, each, optional, route, sha256, time_within, warn_of_demo_secret, within,
};
use crate::config::document::{self, Size};
use crate::config::report::At;
use crate::config::{Admin, Server, ServerLimits, ServerTimeouts};

const ADMIN_TOKEN_BYTES_MIN: usize = 16;

pub(super) fn server(server: &document::Server, at: &At<'_>) -> Option<Server> {
    let listen = listeners(&server.listen.0, &at.field("listen"));
    let admin = optional(server.admin.as_ref(), |section| admin(section, &at.field("admin")));
    if let (Some(listen), Some(Some(admin))) = (&listen, &admin)
        && listen.contains(&admin.listen)
        && admin.listen.port() != 0
    {
        at.field("admin").field("listen").error("clients are served on this address; give operators another");
    }
    let trusted_proxies = cidrs(&server.trusted_proxies, &at.field("trusted_proxies"));
    if server.proxy_protocol && server.trusted_proxies.is_empty() {
        at.field("proxy_protocol")
            .error("nobody's PROXY header is believed; name the senders in `trusted_proxies`");
    }
    let limits = limits(&server.limits, &at.field("limits"));
    let allowed_hosts =
        each(&server.allowed_hosts, &at.field("allowed_hosts"), |item, at| route::host(item, at));
    let timeouts = timeouts(&server.timeouts, &at.field("timeouts"));
    let workers = optional(server.workers, |workers| within(&at.field("workers"), workers, 1..=1_024));
    Some(Server {
        listen: listen?,
        admin: admin?,
        trusted_proxies: trusted_proxies?,
        allowed_hosts: allowed_hosts?,
        proxy_protocol: server.proxy_protocol,
        limits: limits?,
        timeouts: timeouts?,
        workers: workers?.map(|workers| workers as usize),
    })
}

fn listeners(addresses: &[String], at: &At<'_>) -> Option<Vec<SocketAddr>> {
    if addresses.is_empty() {
        at.error("no address to serve on; write `0.0.0.0:8080`");
    }
    let listeners = each(addresses, at, |address, at| socket_address(address, at))?;
    for (index, listener) in listeners.iter().enumerate() {
        if listener.port() != 0 && listeners[..index].contains(listener) {
            at.item(index).error(format_args!("`{listener}` is listed twice"));
        }
    }
    Some(listeners)
}

pub(super) fn socket_address(address: &str, at: &At<'_>) -> Option<SocketAddr> {
    let parsed = address.parse().ok();
    if parsed.is_none() {
        at.error(format_args!(
            "`{address}` is not an address and a port; write `127.0.0.1:8080`, `0.0.0.0:8080` or `[::]:8080`"
        ));
    }
    parsed
}

fn admin(admin: &document::Admin, at: &At<'_>) -> Option<Admin> {
    let listen = socket_address(&admin.listen, &at.field("listen"));
    let token_sha256 = match (&admin.token, &admin.token_sha256) {
        (Some(_), Some(_)) => {
            at.field("token_sha256").error("there is a `token` too; keep one of the two");
            None
        }
        (Some(token), None) => {
            let (token, at) = (token.expose(), at.field("token"));
            warn_of_demo_secret(token, &at);
            if token.len() < ADMIN_TOKEN_BYTES_MIN {
                at.error(format_args!(
                    "is shorter than {ADMIN_TOKEN_BYTES_MIN} bytes; `openssl rand -hex 32` makes one"
                ));
            }
            Some(Some(Sha256::digest(token).into()))
        }
        (None, Some(digits)) => sha256(digits.expose(), &at.field("token_sha256")).map(Some),
        (None, None) => Some(None),
    };
    Some(Admin { listen: listen?, token_sha256: token_sha256? })
}

fn limits(limits: &document::ServerLimits, at: &At<'_>) -> Option<ServerLimits> {
    let size = |key: &str, size: Size, min: u64, max: u64| {
        within(&at.field(key), size, Size(min)..=Size(max)).map(|size| size.0)
    };
    let small = |key: &str, bytes: Size, min: u64| {
        size(key, bytes, min, 1 << 20).and_then(|size| size.try_into().ok())
    };
    let body_bytes = size("body_bytes", limits.body_bytes, 0, 1 << 40);
    let header_bytes = small("header_bytes", limits.header_bytes, 1 << 10);
    let headers = within(&at.field("headers"), limits.headers, 1..=1_000);
    let target_bytes = small("target_bytes", limits.target_bytes, 64);
    let connections = within(&at.field("connections"), limits.connections, 1..=1_000_000);
    Some(ServerLimits {
        body_bytes: body_bytes?,
        header_bytes: header_bytes?,
        headers: headers?,
        target_bytes: target_bytes?,
        connections: connections?,
    })
}

fn timeouts(timeouts: &document::ServerTimeouts, at: &At<'_>) -> Option<ServerTimeouts> {
    let header_read = time_within(&at.field("header_read"), timeouts.header_read, MILLISECOND..=HOUR);
    let keep_alive = time_within(&at.field("keep_alive"), timeouts.keep_alive, MILLISECOND..=DAY);
    let idle = time_within(&at.field("idle"), timeouts.idle, MILLISECOND..=DAY);
    let drain = time_within(&at.field("drain"), timeouts.drain, std::time::Duration::ZERO..=HOUR);
    Some(ServerTimeouts { header_read: header_read?, keep_alive: keep_alive?, idle: idle?, drain: drain? })
}
