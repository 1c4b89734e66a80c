use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::*;

mod bridge;
mod errors;
mod relay;
mod store;
mod vocabulary;

const VOCABULARY: &str = include_str!("../testdata/vocabulary.yaml");

/// A file with one service, `s`, that has the lines of `service` beside its URL.
fn with_service(service: &str) -> String {
    format!("routing:\n  services:\n    s:\n      urls: [\"http://one\"]\n      {service}\n")
}

fn loaded(text: &str) -> Loaded {
    load(text, "f", &NoSources).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn first_service(service: &str) -> Service {
    loaded(&with_service(service)).config.services.remove(0)
}

#[test]
fn an_empty_file_is_a_gateway_with_defaults_that_serves_nothing() {
    let loaded = loaded("");
    assert_eq!(loaded.config.server.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(loaded.config.services, []);
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["1:1: routing.services: there are none: every request is answered with 404"]);
}

#[test]
fn a_service_has_the_defaults_of_a_gateway() {
    let service = first_service("");
    let expected = Service {
        name: "s".into(),
        endpoints: vec![Endpoint {
            tls: false,
            host: "one".into(),
            port: 80,
            base_path: String::new(),
            weight: 1,
        }],
        load_balancer: LoadBalancer::RoundRobin,
        timeouts: ServiceTimeouts {
            connect: Duration::from_secs(2),
            response: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        },
        retries: Retries { attempts: 0, budget_ratio: 0.2, floor_per_s: 10 },
        health_check: None,
        circuit_breaker: None,
        ejection: None,
        max_in_flight: None,
        tls: UpstreamTls::default(),
        protocol: UpstreamProtocol::Http1,
        host_header: HostHeader::Upstream,
        access: Access::default(),
        routes: Vec::new(),
    };
    assert_eq!(service, expected);
}

#[test]
fn a_connection_takes_no_longer_than_the_whole() {
    let timeouts = first_service("timeout: 300ms").timeouts;
    assert_eq!(
        (timeouts.connect, timeouts.response),
        (Duration::from_millis(300), Duration::from_millis(300))
    );
}

#[test]
fn short_and_long_forms_mean_the_same() {
    assert_eq!(first_service("retries: 3"), first_service("retries: { attempts: 3 }"));
    assert_eq!(first_service("load_balancer: weighted"), first_service("load_balancer: { kind: weighted }"));
    let balancer =
        first_service("load_balancer: { kind: consistent_hash, key: \"header:X-User\" }").load_balancer;
    assert_eq!(balancer, LoadBalancer::ConsistentHash(HashKey::Header("x-user".parse().unwrap())));
    assert_eq!(first_service("host_header: a.example"), first_service("host_header: { value: a.example }"));
    let route = |route: &str| first_service(&format!("routes: [{route}]")).routes;
    assert_eq!(
        route("{ path: /a, host: A.example, methods: GET, roles: r }"),
        route("{ path: /a, hosts: [a.example], methods: [GET], roles: [r] }")
    );
}

#[test]
fn a_route_carries_all_it_says() {
    let text = r#"routes:
        - path: "/a/{id}/*"
          hosts: ["*.Example.com", "[::1]"]
          headers: { x-version: "2", x-debug: }
          rewrite:
            strip_prefix: /a
            request_headers: { remove: x-secret, set: { x-set: one }, add: { x-add: two } }
            query: { set: { tenant: "a b" }, remove: [debug] }
          timeout: 1s
          retries: 2
          public: true
          cors: { enabled: false }"#;
    let name = |name: &'static str| http::HeaderName::from_static(name);
    let value = |value: &'static str| http::HeaderValue::from_static(value);
    let expected = Route {
        path: "/a/{id}/*".into(),
        hosts: vec!["*.example.com".into(), "[::1]".into()],
        headers: vec![
            HeaderMatch { name: name("x-version"), value: Some(value("2")) },
            HeaderMatch { name: name("x-debug"), value: None },
        ],
        rewrite: Rewrite {
            strip_prefix: Some("/a".into()),
            request_headers: HeaderEdits {
                remove: vec![name("x-secret")],
                set: vec![(name("x-set"), value("one"))],
                add: vec![(name("x-add"), value("two"))],
            },
            query_set: vec![("tenant".into(), "a b".into())],
            query_remove: vec!["debug".into()],
            ..Rewrite::default()
        },
        timeout: Some(Duration::from_secs(1)),
        retries: Some(2),
        access: Access { public: true, ..Access::default() },
        cors: CorsOverride::Off,
        ..Route::default()
    };
    assert_eq!(first_service(text).routes, [expected]);
}

#[test]
fn times_and_sizes_reach_from_the_least_to_the_most() {
    let window = |text: &str| {
        let file = format!("rate_limit: {{ default: {{ requests: 1, window: {text} }} }}");
        load(&file, "f", &NoSources).map(|loaded| loaded.config.limits.default.unwrap().window).ok()
    };
    assert_eq!(window("1ms"), Some(Duration::from_millis(1)));
    assert_eq!(window("60s"), window("1m"));
    assert_eq!(window("24h"), window("1d"));
    assert_eq!(window("366d"), Some(Duration::from_secs(366 * 86_400)));
    for text in
        ["0s", "367d", "1", "s", "1.5s", "-1s", "1w", "99999999999999999999s", "18446744073709551615d", "''"]
    {
        assert_eq!(window(text), None, "{text}");
    }
    let body = |text: &str| {
        let file = format!("server: {{ limits: {{ body_bytes: {text} }} }}");
        load(&file, "f", &NoSources).map(|loaded| loaded.config.server.limits.body_bytes).ok()
    };
    assert_eq!(body("0"), Some(0));
    assert_eq!(body("1024"), body("1KiB"));
    assert_eq!(body("10MiB"), Some(10 << 20));
    assert_eq!(body("1GB"), Some(1_000_000_000));
    assert_eq!(body("1024GiB"), Some(1 << 40));
    for text in
        ["1025GiB", "-1", "1.5MiB", "1 MiB", "MiB", "18446744073709551615GiB", "18446744073709551616", "''"]
    {
        assert_eq!(body(text), None, "{text}");
    }
}

#[test]
fn only_tls_1_2_is_narrowed_by_its_own_suites() {
    let suites = |suites: &str| {
        let text = format!("security: {{ tls: {{ cert_file: c, key_file: k, cipher_suites: {suites} }} }}");
        loaded(&text).config.security.tls.unwrap().cipher_suites
    };
    assert_eq!(suites("[]"), [""; 0]);
    assert_eq!(
        suites("[TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305]"),
        [
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_128_GCM_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
        ]
    );
    assert_eq!(suites("[TLS_AES_128_GCM_SHA256]"), ["TLS_AES_128_GCM_SHA256"]);
}

#[test]
fn the_hash_is_of_the_values_and_not_of_their_layout() {
    let hash = |text: &str| loaded(text).hash;
    let base = hash("server: { listen: \"1.2.3.4:5\", workers: 2 }");
    assert_eq!(base.len(), 64);
    assert_eq!(base, hash("# a comment\nserver:\n  workers: 2\n  listen: 1.2.3.4:5\n"));
    assert_ne!(base, hash("server: { listen: \"1.2.3.4:6\", workers: 2 }"));
    assert_ne!(base, hash("server: { listen: [\"1.2.3.4:5\"], workers: 2 }"));
    let secret = |secret: &str| hash(&format!("auth: {{ jwt: {{ secret: {secret} }} }}"));
    assert_ne!(secret(&"a".repeat(32)), secret(&"b".repeat(32)));
}

#[test]
fn nothing_shown_holds_a_secret() {
    let text = r#"
server: { admin: { listen: "127.0.0.1:1", token: hidden-hidden-hidden } }
routing: { services: { s: { urls: ["http://one"], routes: [
  { path: /a, rewrite: { request_headers: { set: { Authorization: hidden, x-plain: shown } } } }] } } }
auth:
  jwt: { secret: hidden-hidden-hidden-hidden-hidden-hidden }
  login: { secret: hidden-hidden-hidden-hidden-hidden-hidden, users: [{ username: u, password_hash: $argon2id$hidden }] }
event_processing: { rabbitmq: { url: "amqp://hidden:hidden@one/" } }
"#;
    let loaded = loaded(text);
    let shown = serde_json::to_value(&loaded.document).unwrap();
    for text in
        [shown.to_string(), format!("{:?}", loaded.document.auth), format!("{:?}", loaded.config.auth)]
    {
        assert!(!text.contains("hidden"), "{text}");
    }
    assert_eq!(shown["auth"]["jwt"][0]["secret"], "[redacted]");
    assert_eq!(
        shown["routing"]["services"]["s"]["routes"][0]["rewrite"]["request_headers"]["set"],
        json!({ "Authorization": "[redacted]", "x-plain": "shown" })
    );
    assert_eq!(shown["server"]["limits"]["body_bytes"], "10MiB");
}

#[test]
fn the_schema_describes_every_section() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    let sections: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        sections,
        [
            "auth",
            "caching",
            "event_processing",
            "monitoring",
            "rate_limit",
            "redis_bridge",
            "relay",
            "routing",
            "security",
            "server"
        ]
    );
    let service = &schema["$defs"]["Service"]["properties"];
    assert_eq!(
        service["max_in_flight"]["description"],
        "Requests in flight; more is 503. Default: no limit."
    );
    assert_eq!(service["timeout"]["default"], "30s");
    let route = &schema["$defs"]["Route"]["properties"];
    assert_eq!(route["host"], route["hosts"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_panics_the_loader(text in "\\PC*") {
        let _ = load(&text, "f", &NoSources);
    }

    /// Bytes of the vocabulary replaced, inserted and cut, wherever that leaves text.
    #[test]
    fn no_mutation_of_the_vocabulary_panics_the_loader(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, "[\\x00-\\x7f]|[ \n:{}\\[\\]&*!|>'\"%@`$#,-]|é"), 1..8)
    ) {
        let mut text: Vec<char> = VOCABULARY.chars().collect();
        for (at, edit, new) in edits {
            let (at, new) = (at.index(text.len()), new.chars().next().unwrap());
            match edit {
                0 => text[at] = new,
                1 => text.insert(at, new),
                2 if text.len() > 1 => drop(text.remove(at)),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(errors) = load(&text, "f", &NoSources) {
            prop_assert!(!errors.errors.is_empty() && errors.errors.len() <= ERRORS_MAX);
        }
    }
}
