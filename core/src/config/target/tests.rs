use super::*;
use crate::config::{NoSources, check};

/// The errors, else the warnings, one a line.
fn lines(policy: &str, target: Target) -> String {
    match check(policy, "f", &NoSources, target) {
        Err(errors) => errors.to_string(),
        Ok(loaded) => {
            let warnings: Vec<_> = loaded.warnings.iter().map(|warning| warning.to_string()).collect();
            warnings.join("\n")
        }
    }
}

fn service(rules: &str) -> String {
    format!("routing:\n  services:\n    s:\n      urls: ['https://one']\n      {rules}\n")
}

/// Each line of `expected` follows the other; a region has nothing to say of it.
fn both(policy: &str, expected: &str) {
    let routed = policy.starts_with("routing:");
    let policy = &if routed { policy.to_owned() } else { format!("{policy}{}", service("")) };
    assert_eq!(lines(policy, Target::Region), "", "{policy}");
    for target in [Target::Cloudflare, Target::Spin] {
        assert_eq!(lines(policy, target), expected, "{policy}");
    }
}

#[test]
fn what_a_service_would_not_get_is_refused() {
    let refused = |rules: &str, expected: &str| both(&service(rules), expected);
    refused(
        "tls: { ca_file: ca.pem }",
        "f:5:23: routing.services.s.tls.ca_file: the platform trusts authorities of its own and no others; remove it \
         from the policy of this target",
    );
    refused(
        "tls: { cert_file: a.pem, key_file: b.pem }",
        "f:5:25: routing.services.s.tls.cert_file: the platform shows services no client certificate; remove it from \
         the policy of this target",
    );
    refused(
        "tls: { server_name: two.example }",
        "f:5:27: routing.services.s.tls.server_name: the platform asks for and verifies the URL's host; remove it \
         from the policy of this target",
    );
    refused(
        "protocol: http2",
        "f:5:17: routing.services.s.protocol: the platform chooses the protocol itself, and speaks no HTTP/2 without \
         TLS",
    );
    for value in ["preserve", "a.example"] {
        refused(
            &format!("host_header: {value}"),
            "f:5:20: routing.services.s.host_header: the platform derives `Host` from the URL; write the host into \
             `urls`, or leave this to a regional proxy",
        );
    }
    refused("host_header: upstream", "");
}

#[test]
fn what_has_less_effect_is_warned_about() {
    both(
        &service("health_check: { path: /healthz }"),
        "5:7: routing.services.s.health_check: endpoints are checked only while requests come, by each instance for \
         itself; `ejection` takes less",
    );
    both(
        &service("max_in_flight: 10"),
        "5:22: routing.services.s.max_in_flight: each instance counts its own requests; together they let more \
         through",
    );
    both(
        "server:\n  admin: { listen: '127.0.0.1:9090' }\n  trusted_proxies: [10.0.0.0/8]\n  proxy_protocol: true\n",
        "2:3: server.admin: there is no such listener: bans, metrics and reloads are the regional proxy's\n\
         4:19: server.proxy_protocol: has no effect there: the platform says who the client is",
    );
    both(
        "security:\n  rate_limit: { ddos_protection: { max_requests_per_ip: 5 } }\n",
        "2:17: security.rate_limit.ddos_protection: each instance counts and bans for itself, and forgets with its \
         end",
    );
    both(
        "event_processing: { enabled: true }\n",
        "1:1: event_processing: there are no files there: each event is a line of the platform's log",
    );
    both("event_processing: { enabled: false }\n", "");
}

#[test]
fn deadlines_that_fetch_does_not_have_are_workers_alone() {
    let policy = service("connect_timeout: 1s\n      idle_timeout: 5s");
    let expected = "5:24: routing.services.s.connect_timeout: fetch has no such deadline; `timeout` covers connecting, \
                    too\n6:21: routing.services.s.idle_timeout: a body that streams natively has no such deadline";
    assert_eq!(lines(&policy, Target::Cloudflare), expected);
    assert_eq!(lines(&policy, Target::Spin), "");
}

#[test]
fn a_limit_is_counted_by_each_instance_and_an_exact_one_is_refused() {
    let limit = |rules: &str| format!("rate_limit:\n  default: {{ requests: 5, window: 1m{rules} }}\n");
    let more = "2:3: rate_limit.default: each instance counts for itself; together they let more through, unless \
                `enforce_at: region`";
    both(&limit(""), more);
    both(&limit(", enforce_at: both"), more);
    both(&limit(", enforce_at: region"), "");
    let exact = "promises never to admit more, and each instance counts for itself; write `enforce_at: region`, or an \
                 algorithm that is not exact";
    both(
        &limit(", algorithm: sliding_window_log"),
        &format!("f:2:50: rate_limit.default.algorithm: {exact}"),
    );
    both(&limit(", algorithm: sliding_window_log, enforce_at: region"), "");
    both(
        "rate_limit:\n  algorithm: sliding_window_counter\n  strict: true\n  per_user:\n    gold: { requests: 5, window: 1m }\n",
        &format!("f:5:5: rate_limit.per_user.gold: {exact}"),
    );
    both("rate_limit: { enabled: false, default: { requests: 5, window: 1m } }\n", "");
}

#[test]
fn the_platform_terminates_tls() {
    both(
        "security:\n  tls: { cert_file: a.pem, key_file: b.pem }\n",
        "2:3: security.tls: the platform terminates TLS, with its own certificates and versions",
    );
    both(
        "security:\n  tls: { cert_file: a.pem, key_file: b.pem, client_ca_file: c.pem }\n",
        "f:2:61: security.tls.client_ca_file: the platform terminates TLS, and clients without a certificate would \
         come in; have it ask for them, and remove this from the policy of this target",
    );
    both("security:\n  tls: { enabled: false }\n", "");
}

#[test]
fn nobody_issues_tokens_there() {
    let policy = "auth:\n  login:\n    secret: 0123456789abcdef0123456789abcdef\n    issuer: i\n    users:\n      - { username: u, password_hash: '$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$c29tZSBoYXNoIG9mIHRoaXJ0eS10d28gYnl0ZXMgISE' }\n";
    let expected = "2:3: auth.login: no tokens are issued there: POST /auth/login and /auth/refresh are answered 404, \
                    and tokens that a regional proxy issued with this secret are accepted";
    both(policy, expected);
}

#[test]
fn there_are_no_files() {
    struct Files;
    impl crate::config::Sources for Files {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
        fn file(&self, _: &str) -> Result<String, String> {
            Ok("one".into())
        }
    }
    let policy = "routing: { services: { s: { urls: ['http://${file:/host}'] } } }";
    assert!(check(policy, "f", &Files, Target::Region).is_ok());
    for target in [Target::Cloudflare, Target::Spin] {
        let refused = check(policy, "f", &Files, target).unwrap_err().to_string();
        let expected = "f:1:36: routing.services.s.urls[0]: `${file:/host}` cannot be read: there are no files where a \
                        bundle runs; name a variable";
        assert_eq!(refused, expected);
    }
}

#[test]
fn a_shared_limit_needs_a_store_that_speaks_http() {
    let store = "rate_limit:\n  store: { redis: { url: 'redis://one/' } }\n";
    both(
        store,
        "f:2:12: rate_limit.store.redis: the platform opens no connection to Redis; name `rest`: Upstash, or the \
         `redis_bridge` of a regional proxy",
    );
    let rest = "rate_limit:\n  store: { rest: { url: 'https://one', token: t } }\n";
    both(&format!("{rest}  default: {{ requests: 5, window: 1s, algorithm: sliding_window_log }}\n"), "");
    both(
        &format!("{rest}  default: {{ requests: 5, window: 1s, on_store_failure: local_share }}\n"),
        "3:57: rate_limit.default.on_store_failure: nobody knows how many instances would share: while the store is away \
         requests pass; write `deny` to refuse them",
    );
    both(
        &format!("{rest}  default: {{ requests: 5, window: 1s, shared: false }}\n"),
        "3:3: rate_limit.default: each instance counts for itself; together they let more through, unless \
         `enforce_at: region`",
    );
}
