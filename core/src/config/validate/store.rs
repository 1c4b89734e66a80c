//! A store that can be reached.

use std::net::IpAddr;
use std::time::Duration;

use super::bridge::redis;
use super::url::Absolute;
use super::{MILLISECOND, SECOND, each, not_empty, optional, time_within, warn_of_demo_secret, within};
use crate::config::document::{self, Secret};
use crate::config::report::At;
use crate::config::{RedisServer, RedisStore, RedisTopology, RestStore, Share, Store, StoreWay};

const REDIS_TIMEOUT: Duration = Duration::from_millis(50);
const REST_TIMEOUT: Duration = Duration::from_millis(150);
const NAMESPACE_BYTES_MAX: usize = 64;
/// A shorter one is found by trying.
const SECRET_BYTES_MIN: usize = 16;
const NODES_MAX: u32 = 100_000;
const URLS_MAX: usize = 32;

pub(super) fn store(store: &document::Store, at: &At<'_>) -> Option<Store> {
    let way = match (&store.redis, &store.rest) {
        (Some(section), None) => redis_store(section, &at.field("redis")).map(StoreWay::Redis),
        (None, Some(section)) => rest_store(section, &at.field("rest")).map(StoreWay::Rest),
        (None, None) => {
            at.error(
                "how is it reached? write `redis: { url: \"redis://host:6379\" }` or `rest: { url, token }`",
            );
            None
        }
        (Some(_), Some(_)) => {
            at.field("rest").error("limits are counted in one place; remove this or `redis`");
            None
        }
    };
    let is_namespace = |text: &str| {
        (1..=NAMESPACE_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if !is_namespace(&store.namespace) {
        at.field("namespace").error(format_args!(
            "a namespace is 1 to {NAMESPACE_BYTES_MAX} letters, digits, `-`, `_` and `.`"
        ));
    }
    if let Some(secret) = &store.secret {
        let at = at.field("secret");
        if secret.expose().len() < SECRET_BYTES_MIN {
            at.error(format_args!(
                "has fewer than {SECRET_BYTES_MIN} bytes; `openssl rand -hex 32` makes one"
            ));
        }
        warn_of_demo_secret(secret.expose(), &at);
    }
    let default = if store.redis.is_some() { REDIS_TIMEOUT } else { REST_TIMEOUT };
    let timeout = store.timeout.map_or(Some(default), |timeout| {
        time_within(&at.field("timeout"), timeout, MILLISECOND..=SECOND * 5)
    });
    let nodes = optional(store.nodes, |nodes| within(&at.field("nodes"), nodes, 1..=NODES_MAX));
    Some(Store {
        way: way?,
        namespace: store.namespace.clone(),
        secret: store.secret.clone(),
        timeout: timeout?,
        nodes: nodes?,
        share: Share { bans: store.share.bans, breakers: store.share.breakers },
    })
}

fn redis_store(redis: &document::StoreRedis, at: &At<'_>) -> Option<RedisStore> {
    let servers = match &redis.url {
        Some(url) if redis.urls.is_empty() => server(url, &at.field("url")).map(|server| vec![server]),
        Some(_) => {
            at.field("urls").error("is beside `url`; write all of them here");
            None
        }
        None if redis.urls.is_empty() || redis.urls.len() > URLS_MAX => {
            let message =
                format_args!("there are {} URLs; write `url`, or 1 to {URLS_MAX} `urls`", redis.urls.len());
            at.error(message);
            None
        }
        None => each(&redis.urls, &at.field("urls"), server),
    };
    let topology = topology(redis, at);
    if let Some(servers) = &servers {
        agreement(servers, &at.field("urls"));
        if topology == Some(RedisTopology::Single) && servers.len() > 1 {
            let message = "one server has one URL; for several set `cluster: true`, or `sentinel` if they are sentinels";
            at.field("urls").error(message);
        }
        if redis.cluster && servers.iter().any(|server| server.database != 0) {
            at.field("cluster").error("a cluster has only database 0; remove the number from the URL");
        }
        if redis.ca_file.is_some() && servers.iter().any(|server| !server.tls) {
            at.field("ca_file").error("has no meaning without TLS; write `rediss://` in the URL");
        }
    }
    let ca_file =
        optional(redis.ca_file.as_deref(), |path| not_empty(&at.field("ca_file"), path, "the path"));
    Some(RedisStore { servers: servers?, topology: topology?, ca_file: ca_file?.map(Into::into) })
}

fn topology(redis: &document::StoreRedis, at: &At<'_>) -> Option<RedisTopology> {
    let Some(sentinel) = &redis.sentinel else {
        return Some(if redis.cluster { RedisTopology::Cluster } else { RedisTopology::Single });
    };
    let at_sentinel = at.field("sentinel");
    if redis.cluster {
        at_sentinel.error("a cluster elects its masters itself; remove this or `cluster`");
    }
    if sentinel.user.is_some() && sentinel.password.is_none() {
        at_sentinel.field("user").error("a user needs a password; set `password` too");
    }
    let master = not_empty(&at_sentinel.field("master"), &sentinel.master, "the master's name")?;
    let (user, password) = (sentinel.user.clone(), sentinel.password.clone());
    Some(RedisTopology::Sentinel { master, user, password })
}

/// A node that is found later is spoken to as the first ones are, so these cannot differ.
fn agreement(servers: &[RedisServer], at: &At<'_>) {
    let alike = |server: &RedisServer| RedisServer { host: String::new(), port: 0, ..server.clone() };
    if let Some(index) = servers.iter().position(|server| alike(server) != alike(&servers[0])) {
        at.item(index).error("differs from the first URL in more than host and port");
    }
}

/// Nothing of the credentials is ever shown, nor of a URL that is too wrong to tell where they end.
fn server(url: &Secret, at: &At<'_>) -> Option<RedisServer> {
    let Some((scheme @ ("redis" | "rediss"), rest)) = url.expose().split_once("://") else {
        at.error("the URL of a Redis begins with `redis://` or, through TLS, with `rediss://`");
        return None;
    };
    let (credentials, address) = match rest.rsplit_once('@') {
        Some((credentials, address)) => (Some(credentials), address),
        None => (None, rest),
    };
    let server = redis(&format!("{scheme}://{address}"), at);
    let Some(credentials) = credentials else { return server };
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (Some(user), Some(password)) = (decoded(user), decoded(password)) else {
        at.error("the URL's user or password is not encoded; write other characters than letters, digits, `-`, `.`, `_` and `~` as `%` and two hexadecimal digits");
        return None;
    };
    if password.is_empty() {
        at.error("the URL has a user and no password; write `redis://user:password@host`, or `redis://:password@host`");
    }
    let user = Some(user).filter(|user| !user.is_empty());
    server.map(|server| RedisServer { user, password: Some(password), ..server })
}

/// Sub-delimiters (RFC 3986 section 3.2.1) stand for themselves, as in what clients of Redis accept.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            b'/' | b'?' | b'#' | b'@' | b':' | b'[' | b']' => return None,
            _ if byte.is_ascii_graphic() => byte,
            _ => return None,
        });
    }
    String::from_utf8(bytes).ok()
}

fn rest_store(rest: &document::StoreRest, at: &At<'_>) -> Option<RestStore> {
    let url_at = at.field("url");
    let url = url_at.check(rest.url.parse::<Absolute>());
    if url.as_ref().is_some_and(|url| !url.tls && !is_private(&url.host)) {
        url_at.warn("the token goes through a public network in clear text; write `https://`");
    }
    let token = rest.token.expose();
    let visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible {
        at.field("token").error("a token is visible ASCII characters, at least one");
    }
    url?;
    visible.then(|| RestStore { url: rest.url.trim_end_matches('/').into(), token: rest.token.clone() })
}

/// Addresses that no public network carries, and names that no public one resolves.
fn is_private(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Err(_) => {
            !host.contains('.')
                || [".internal", ".local", ".localhost", ".svc"].iter().any(|suffix| host.ends_with(suffix))
        }
    }
}
