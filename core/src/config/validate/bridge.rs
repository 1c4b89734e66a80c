//! The bridge from HTTP to Redis.

use std::collections::HashSet;

use super::server::socket_address;
use super::url::Absolute;
use super::{MILLISECOND, MINUTE, each, not_empty, optional, sha256, time_within};
use crate::config::document::{self, BridgeTokenKind};
use crate::config::report::At;
use crate::config::{BridgeScope, BridgeToken, RedisBridge, RedisServer, Server};

const TOKENS_MAX: usize = 1_000;

pub(super) fn bridge(
    bridge: Option<&document::RedisBridge>,
    server: Option<&Server>,
    at: &At<'_>,
) -> Option<Option<RedisBridge>> {
    optional(bridge, |section| redis_bridge(section, server, at))
}

fn redis_bridge(bridge: &document::RedisBridge, server: Option<&Server>, at: &At<'_>) -> Option<RedisBridge> {
    let listen_at = at.field("listen");
    let listen = socket_address(&bridge.listen, &listen_at);
    if listen.is_some_and(|listen| !listen.ip().is_loopback()) && !bridge.allow_external {
        listen_at.error(
            "commands for Redis would be taken from other machines, in clear text; listen on `127.0.0.1`, or set \
             `allow_external: true` where the network is trusted",
        );
    }
    if let (Some(listen), Some(server)) = (listen, server)
        && (server.listen.contains(&listen)
            || server.admin.as_ref().is_some_and(|admin| admin.listen == listen))
        && listen.port() != 0
    {
        listen_at.error("clients or operators are served on this address; give the bridge another");
    }
    let (redis_at, general_at) = (at.field("redis"), at.field("general_redis"));
    let limits = optional(bridge.redis.as_ref(), |section| {
        if section.user.is_some() && section.password.is_none() {
            redis_at.field("user").error("a user needs a password; set `password` too");
        }
        let server = redis(&section.url, &redis_at.field("url"))?;
        let password = section.password.as_ref().map(|password| password.expose().to_owned());
        Some(RedisServer { user: section.user.clone(), password, ..server })
    });
    let general =
        optional(bridge.general_redis.as_ref(), |section| redis(&section.url, &general_at.field("url")));
    if let (Some(Some(limits)), Some(Some(general))) = (&limits, &general)
        && (&limits.host, limits.port) == (&general.host, general.port)
        && !bridge.general_redis.as_ref().is_some_and(|section| section.shared_with_limits)
    {
        general_at.field("url").error(
            "this is the Redis that limits are counted in, where a general token could change them; name another, or \
             set `shared_with_limits: true`",
        );
    }
    let timeout = time_within(&at.field("timeout"), bridge.timeout, MILLISECOND..=MINUTE * 5);
    let tokens_at = at.field("tokens");
    if !(1..=TOKENS_MAX).contains(&bridge.tokens.len()) {
        tokens_at.error(format_args!("there are {}; write 1 to {TOKENS_MAX}", bridge.tokens.len()));
    }
    let servers = Servers { limits: limits?, general: general? };
    let tokens = tokens(&bridge.tokens, &servers, &tokens_at);
    Some(RedisBridge { listen: listen?, tokens: tokens?, timeout: timeout? })
}

struct Servers {
    limits: Option<RedisServer>,
    general: Option<RedisServer>,
}

fn tokens(tokens: &[document::BridgeToken], servers: &Servers, at: &At<'_>) -> Option<Vec<BridgeToken>> {
    let checked = each(tokens, at, |section, at| token(section, servers, at))?;
    let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
    for (index, token) in checked.iter().enumerate() {
        if !names.insert(token.name.as_str()) {
            at.item(index).field("name").error(format_args!("another token is called `{}`", token.name));
        }
        if !hashes.insert(token.sha256) {
            at.item(index).field("sha256").error("another entry has the same token; give each its own");
        }
    }
    Some(checked)
}

fn token(token: &document::BridgeToken, servers: &Servers, at: &At<'_>) -> Option<BridgeToken> {
    let name = not_empty(&at.field("name"), &token.name, "the name");
    let sha256 = sha256(token.sha256.expose(), &at.field("sha256"));
    let surplus = |key: &str, is_set: bool| {
        if is_set {
            at.field(key).error("has no meaning for a token of this kind");
        }
    };
    let (scope, redis) = match token.kind {
        BridgeTokenKind::Gateway => {
            surplus("user", token.user.is_some());
            surplus("password", token.password.is_some());
            let prefix = token.prefix.clone().filter(|prefix| !prefix.is_empty());
            if prefix.is_none() {
                at.error("a gateway's token needs the `prefix` of its keys; write `prefix: \"tg:{acme:\"`");
            }
            if servers.limits.is_none() {
                at.error("a gateway's token runs on the Redis of the limits; set `redis_bridge.redis`");
            }
            (prefix.map(|prefix| BridgeScope::Gateway { prefix }), servers.limits.clone())
        }
        BridgeTokenKind::General => {
            surplus("prefix", token.prefix.is_some());
            if servers.general.is_none() {
                at.error("a general token needs a Redis to run on; set `redis_bridge.general_redis`");
            }
            let (Some(user), Some(password)) = (&token.user, &token.password) else {
                at.error("a general token is a user of Redis' ACL; set its `user` and `password`");
                return None;
            };
            let (user, password) = (Some(user.clone()), Some(password.expose().to_owned()));
            let redis = servers.general.clone().map(|server| RedisServer { user, password, ..server });
            (Some(BridgeScope::General), redis)
        }
    };
    Some(BridgeToken { name: name?, sha256: sha256?, scope: scope?, redis: redis? })
}

/// A URL without credentials.
pub(super) fn redis(url: &str, at: &At<'_>) -> Option<RedisServer> {
    let Absolute { tls, host, port, path } = at.check(Absolute::redis(url))?;
    let database = match path.trim_start_matches('/') {
        "" => Some(0),
        digits => digits.parse().ok(),
    };
    if database.is_none() {
        at.error("the path of a Redis URL is the number of a database; write `redis://host:6379/0`");
    }
    Some(RedisServer { tls, host, port, database: database?, user: None, password: None })
}
