//! The bridge to Redis, and what is said of one that is wrong.

use super::*;

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn check(section: &str, expected: &[&str]) {
    let text = format!("redis_bridge:\n{section}").replace("HASH", HASH);
    let errors = load(&text, "f", &NoSources).expect_err(section).to_string();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected, "{section}");
}

#[test]
fn a_bridge_knows_where_each_token_runs() {
    let text = r#"
redis_bridge:
  listen: "127.0.0.1:8079"
  redis: { url: "rediss://limits.example/3", user: tg, password: hidden-limits }
  general_redis: { url: "redis://[::1]:6380" }
  timeout: 2s
  tokens:
    - { name: edge, sha256: HASH, kind: gateway, prefix: "tg:{acme:" }
    - { name: app, sha256: 1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef, kind: general, user: app, password: hidden-app }
"#;
    let loaded = loaded(&text.replace("HASH", HASH));
    let bridge = loaded.config.redis_bridge.unwrap();
    assert_eq!((bridge.listen, bridge.timeout), ("127.0.0.1:8079".parse().unwrap(), Duration::from_secs(2)));
    let limits = RedisServer {
        tls: true,
        host: "limits.example".into(),
        port: 6379,
        database: 3,
        user: Some("tg".into()),
        password: Some("hidden-limits".into()),
    };
    assert_eq!(bridge.tokens[0].redis, limits);
    assert_eq!(bridge.tokens[0].scope, BridgeScope::Gateway { prefix: "tg:{acme:".into() });
    let general = &bridge.tokens[1];
    assert_eq!((general.redis.host.as_str(), general.redis.port, general.redis.tls), ("::1", 6380, false));
    assert_eq!((general.redis.user.as_deref(), &general.scope), (Some("app"), &BridgeScope::General));
    let shown = serde_json::to_string(&loaded.document).unwrap() + &format!("{bridge:?}");
    assert!(!shown.contains("hidden"), "{shown}");
}

#[test]
fn a_bridge_is_internal_and_apart_from_the_limits() {
    check(
        r#"  listen: "0.0.0.0:8079"
  redis: { url: "redis://one" }
  general_redis: { url: "redis://one:6379/1" }
  tokens: [{ name: a, sha256: HASH, kind: gateway, prefix: p }]
"#,
        &[
            "f:2:11: redis_bridge.listen: commands for Redis would be taken from other machines, in clear text; listen on `127.0.0.1`, or set `allow_external: true` where the network is trusted",
            "f:4:25: redis_bridge.general_redis.url: this is the Redis that limits are counted in, where a general token could change them; name another, or set `shared_with_limits: true`",
        ],
    );
    let allowed = r#"redis_bridge:
  listen: "0.0.0.0:8079"
  allow_external: true
  redis: { url: "redis://one" }
  general_redis: { url: "redis://one", shared_with_limits: true }
  tokens: [{ name: a, sha256: HASH, kind: gateway, prefix: p }]
"#;
    assert!(loaded(&allowed.replace("HASH", HASH)).config.redis_bridge.is_some());
}

#[test]
fn a_token_says_what_it_lacks() {
    check(
        r#"  listen: "127.0.0.1:8080"
  tokens:
    - { name: a, sha256: HASH, kind: gateway, user: u }
    - { name: b, sha256: HASH, kind: general, prefix: p }
    - { name: c, sha256: c, kind: other }
"#,
        &[
            "f:2:11: redis_bridge.listen: clients or operators are served on this address; give the bridge another",
            "f:4:7: redis_bridge.tokens[0]: a gateway's token needs the `prefix` of its keys; write `prefix: \"tg:{acme:\"`",
            "f:4:7: redis_bridge.tokens[0]: a gateway's token runs on the Redis of the limits; set `redis_bridge.redis`",
            "f:4:113: redis_bridge.tokens[0].user: has no meaning for a token of this kind",
            "f:5:7: redis_bridge.tokens[1]: a general token is a user of Redis' ACL; set its `user` and `password`",
            "f:5:7: redis_bridge.tokens[1]: a general token needs a Redis to run on; set `redis_bridge.general_redis`",
            "f:5:115: redis_bridge.tokens[1].prefix: has no meaning for a token of this kind",
            "f:6:35: redis_bridge.tokens[2].kind: `other` is not known; write one of gateway, general",
        ],
    );
    check(
        r#"  listen: nowhere
  redis: { url: "http://one", user: u }
  general_redis: { url: "redis://u:p@one/x" }
  tokens: []
  timeout: 6m
"#,
        &[
            "f:2:11: redis_bridge.listen: `nowhere` is not an address and a port; write `127.0.0.1:8080`, `0.0.0.0:8080` or `[::]:8080`",
            "f:3:17: redis_bridge.redis.url: `http` is not a scheme that Redis is reached by; write `redis://host:6379` or `rediss://host:6379`",
            "f:3:37: redis_bridge.redis.user: a user needs a password; set `password` too",
            "f:4:25: redis_bridge.general_redis.url: the URL holds a user name or password; those of Redis are set as `user` and `password`",
            "f:5:3: redis_bridge.tokens: there are 0; write 1 to 1000",
            "f:6:12: redis_bridge.timeout: `6m` is out of range; write 1ms to 5m",
        ],
    );
}
