//! The shared store, and what is said of one that is wrong.

use super::*;
use crate::config::document::Secret;

fn store(section: &str) -> Store {
    loaded(&format!("rate_limit:\n  store:\n{section}")).config.limits.store.unwrap()
}

fn secret(text: &str) -> Secret {
    serde_json::from_value(json!(text)).unwrap()
}

fn check(section: &str, expected: &[&str]) {
    let text = format!("rate_limit:\n  store:\n{section}");
    let errors = load(&text, "f", &NoSources).expect_err(section).to_string();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected, "{section}");
    assert!(!errors.contains("hidden"), "{errors}");
}

fn server(host: &str, port: u16) -> RedisServer {
    RedisServer { tls: false, host: host.into(), port, database: 0, user: None, password: None }
}

#[test]
fn a_store_has_defaults_by_how_it_is_reached() {
    let servers = vec![server("one", 6_379)];
    let redis = RedisStore { servers, topology: RedisTopology::Single, ca_file: None };
    let expected = Store {
        way: StoreWay::Redis(redis),
        namespace: "default".into(),
        secret: None,
        timeout: Duration::from_millis(50),
        nodes: None,
        share: Share { bans: true, breakers: false },
    };
    assert_eq!(store("    redis: { url: \"redis://one\" }\n"), expected);
    let rest = RestStore { url: "https://one.example/x".into(), token: secret("t") };
    let expected = Store { way: StoreWay::Rest(rest), timeout: Duration::from_millis(150), ..expected };
    assert_eq!(store("    rest: { url: \"https://one.example/x/\", token: t }\n"), expected);
}

#[test]
fn a_store_knows_its_servers_and_shows_no_secret() {
    let text = r#"rate_limit:
  store:
    redis:
      urls: ["rediss://tg:hidden%2Fa@one:1/2", "rediss://tg:hidden%2Fa@[::1]/2"]
      sentinel: { master: mymaster, user: watch, password: hidden-b }
      ca_file: ca.pem
    namespace: acme
    secret: hidden-hidden-hidden
    timeout: 20ms
    nodes: 8
    share: { bans: false, breakers: true }
"#;
    let loaded = loaded(text);
    let store = loaded.config.limits.store.clone().unwrap();
    let server = |host, port| RedisServer {
        tls: true,
        database: 2,
        user: Some("tg".into()),
        password: Some("hidden/a".into()),
        ..server(host, port)
    };
    let redis = RedisStore {
        servers: vec![server("one", 1), server("::1", 6_379)],
        topology: RedisTopology::Sentinel {
            master: "mymaster".into(),
            user: Some("watch".into()),
            password: Some(secret("hidden-b")),
        },
        ca_file: Some("ca.pem".into()),
    };
    let expected = Store {
        way: StoreWay::Redis(redis),
        namespace: "acme".into(),
        secret: Some(secret("hidden-hidden-hidden")),
        timeout: Duration::from_millis(20),
        nodes: Some(8),
        share: Share { bans: false, breakers: true },
    };
    assert_eq!(store, expected);
    let shown = serde_json::to_string(&loaded.document).unwrap() + &format!("{store:?}");
    assert!(!shown.contains("hidden"), "{shown}");
}

#[test]
fn a_cluster_has_several_nodes_and_one_database() {
    let section = "    redis: { urls: [\"redis://:p@one\", \"redis://:p@two\"], cluster: true }\n";
    let StoreWay::Redis(redis) = store(section).way else { panic!("a store of Redis") };
    assert_eq!((redis.servers.len(), redis.topology), (2, RedisTopology::Cluster));
    assert_eq!((redis.servers[1].user.clone(), redis.servers[1].password.as_deref()), (None, Some("p")));
    check(
        "    redis: { url: \"redis://one/1\", cluster: true, sentinel: { master: \" \", user: a } }\n",
        &[
            "f:3:45: rate_limit.store.redis.cluster: a cluster has only database 0; remove the number from the URL",
            "f:3:51: rate_limit.store.redis.sentinel: a cluster elects its masters itself; remove this or `cluster`",
            "f:3:71: rate_limit.store.redis.sentinel.master: the master's name is empty",
            "f:3:82: rate_limit.store.redis.sentinel.user: a user needs a password; set `password` too",
        ],
    );
}

#[test]
fn a_store_is_reached_in_one_way() {
    check(
        "    nodes: 0\n    namespace: \"a:b\"\n    secret: short\n    timeout: 6s\n",
        &[
            "f:2:3: rate_limit.store: how is it reached? write `redis: { url: \"redis://host:6379\" }` or `rest: { url, token }`",
            "f:3:12: rate_limit.store.nodes: `0` is out of range; write 1 to 100000",
            "f:4:16: rate_limit.store.namespace: a namespace is 1 to 64 letters, digits, `-`, `_` and `.`",
            "f:5:13: rate_limit.store.secret: has fewer than 16 bytes; `openssl rand -hex 32` makes one",
            "f:6:14: rate_limit.store.timeout: `6s` is out of range; write 1ms to 5s",
        ],
    );
    check(
        "    redis: { url: \"redis://one\" }\n    rest: { url: \"https://one\", token: t }\n",
        &["f:4:5: rate_limit.store.rest: limits are counted in one place; remove this or `redis`"],
    );
}

#[test]
fn a_url_that_is_wrong_is_not_shown_where_it_may_hold_a_password() {
    let check = |url: &str, expected: &str| {
        let expected = format!("f:3:19: rate_limit.store.redis.url: {expected}");
        check(&format!("    redis: {{ url: \"{url}\" }}\n"), &[&expected]);
    };
    let encode = "the URL's user or password is not encoded; write other characters than letters, digits, `-`, `.`, `_` \
                  and `~` as `%` and two hexadecimal digits";
    check("redis://u:hid/hidden@one", encode);
    check("redis://u:%hidden@one", encode);
    check("redis://u:hidden@hidden@one", encode);
    let scheme = "the URL of a Redis begins with `redis://` or, through TLS, with `rediss://`";
    check("u:hidden@one", scheme);
    check("hidden://one", scheme);
    let password =
        "the URL has a user and no password; write `redis://user:password@host`, or `redis://:password@host`";
    check("redis://hidden@one", password);
    check("redis://u:hidden@one:x", "`x` is not a port; write a number from 1 to 65535");
    check(
        "redis://u:hidden@one/x",
        "the path of a Redis URL is the number of a database; write `redis://host:6379/0`",
    );
}

#[test]
fn urls_are_alike_and_as_many_as_make_sense() {
    check(
        "    redis: { urls: [\"redis://one\", \"rediss://two\"], ca_file: ca.pem }\n",
        &[
            "f:3:14: rate_limit.store.redis.urls: one server has one URL; for several set `cluster: true`, or `sentinel` if they are sentinels",
            "f:3:36: rate_limit.store.redis.urls[1]: differs from the first URL in more than host and port",
            "f:3:62: rate_limit.store.redis.ca_file: has no meaning without TLS; write `rediss://` in the URL",
        ],
    );
    check(
        "    redis: { cluster: true }\n",
        &["f:3:5: rate_limit.store.redis: there are 0 URLs; write `url`, or 1 to 32 `urls`"],
    );
    check(
        "    redis: { url: \"redis://one\", urls: [\"redis://two\"] }\n",
        &["f:3:34: rate_limit.store.redis.urls: is beside `url`; write all of them here"],
    );
}

#[test]
fn a_token_through_a_public_network_is_warned_of() {
    let warnings = |url: &str| {
        let text = format!("rate_limit:\n  store:\n    rest: {{ url: \"{url}\", token: t }}\n");
        let warnings = loaded(&text).warnings;
        warnings
            .iter()
            .map(ToString::to_string)
            .filter(|line| !line.contains("there are none"))
            .collect::<Vec<_>>()
    };
    for private in ["https://one.example", "http://127.0.0.1:8079", "http://[fd00::1]", "http://10.1.2.3"] {
        assert_eq!(warnings(private), [""; 0], "{private}");
    }
    for private in ["http://bridge:8079", "http://bridge.acme.svc.cluster.local", "http://localhost"] {
        assert_eq!(warnings(private), [""; 0], "{private}");
    }
    let expected = "3:18: rate_limit.store.rest.url: the token goes through a public network in clear text; write `https://`";
    for public in ["http://one.example", "http://8.8.8.8", "http://[2001:db8::1]"] {
        assert_eq!(warnings(public), [expected], "{public}");
    }
    check(
        "    rest: { url: \"ftp://one\", token: \"hid den\" }\n",
        &[
            "f:3:18: rate_limit.store.rest.url: `ftp` is not a scheme that is spoken here; write `http` or `https`",
            "f:3:38: rate_limit.store.rest.token: a token is visible ASCII characters, at least one",
        ],
    );
}
