//! The whole vocabulary, as written.

use super::*;

#[test]
fn the_vocabulary_warns_of_what_is_not_served_and_of_what_is_an_example() {
    let warnings: Vec<_> = loaded(VOCABULARY).warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "23:13: auth.jwt.secret: this is the secret of an example, which everybody knows; set one of your own",
            "27:30: auth.api_keys[0].sha256: this is the hash of a key that is guessed first; `openssl rand -hex 32` makes a key",
            "30:14: rate_limit.algorithm: `rate_limit.store` names no store: each node limits for itself, as `token_bucket`",
            "37:1: caching: is not served yet: every request reaches its service",
        ]
    );
}

#[test]
fn the_vocabulary_means_what_it_says() {
    let config = loaded(VOCABULARY).config;
    assert_eq!(config.server, server());
    assert_eq!(config.services, [user_service(), payment_service()]);
    assert_eq!(config.auth, auth());
    assert_eq!(config.limits, limits());
    assert_eq!(config.security, security());
    let events = Events {
        enabled: true,
        directory: "events".into(),
        file_bytes: 64 << 20,
        max_files: 16,
        delivery: Some(delivery()),
    };
    assert_eq!(config.events, events);
    assert_eq!(
        config.monitoring,
        Monitoring { prometheus: true, access_log: true, decision_header: false, log_level: LogLevel::Info }
    );
}

fn delivery() -> Delivery {
    Delivery {
        spool: Spool { directory: "spool".into(), max_bytes: 4 << 30, overflow: SpoolOverflow::Block },
        kafka: Kafka {
            brokers: vec!["127.0.0.1:9092".into()],
            topics: KafkaTopics {
                api_events: "api-gateway-events".into(),
                user_events: "user-events".into(),
                audit_logs: "audit-logs".into(),
            },
            create_topics: false,
            acks: KafkaAcks::All,
            compression: "snappy",
            batch_bytes: 16_384,
            linger_ms: 5,
            tls: None,
            sasl: None,
        },
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn server() -> Server {
    Server {
        allowed_hosts: Vec::new(),
        listen: vec!["127.0.0.1:8080".parse().unwrap()],
        admin: Some(Admin { listen: "127.0.0.1:9090".parse().unwrap(), token_sha256: None }),
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        proxy_protocol: false,
        limits: ServerLimits {
            body_bytes: 10 << 20,
            header_bytes: 32 << 10,
            headers: 100,
            target_bytes: 8 << 10,
            connections: 16_384,
        },
        timeouts: ServerTimeouts {
            header_read: seconds(10),
            keep_alive: seconds(75),
            idle: seconds(60),
            drain: seconds(30),
        },
        workers: None,
    }
}

fn service(name: &str, ports: &[u16], load_balancer: LoadBalancer, timeout: Duration) -> Service {
    let endpoint = |port: &u16| Endpoint {
        tls: false,
        host: "127.0.0.1".into(),
        port: *port,
        base_path: String::new(),
        weight: 1,
    };
    Service {
        name: name.into(),
        endpoints: ports.iter().map(endpoint).collect(),
        load_balancer,
        timeouts: ServiceTimeouts { response: timeout, ..first_service("").timeouts },
        ..first_service("")
    }
}

fn user_service() -> Service {
    Service {
        retries: Retries { attempts: 3, budget_ratio: 0.2, floor_per_s: 10 },
        health_check: Some(HealthCheck {
            path: "/health".into(),
            interval: seconds(10),
            timeout: seconds(2),
            unhealthy_after: 3,
            healthy_after: 2,
        }),
        circuit_breaker: Some(CircuitBreaker {
            failure_rate: 0.5,
            minimum_calls: 20,
            window: seconds(10),
            open_for: seconds(15),
            probes: 1,
        }),
        ..service("user_service", &[9101, 9102], LoadBalancer::RoundRobin, seconds(30))
    }
}

fn payment_service() -> Service {
    Service {
        routes: vec![Route {
            path: "/payments/{id}".into(),
            methods: vec![http::Method::GET, http::Method::POST],
            access: Access {
                public: false,
                roles: vec!["payer".into()],
                scopes: vec!["payments:write".into()],
            },
            ..Route::default()
        }],
        ..service("payment_service", &[9103], LoadBalancer::LeastConnections, seconds(5))
    }
}

fn auth() -> Auth {
    let provider = JwtProvider {
        name: "https://issuer.example".into(),
        source: KeySource::Secret(b"change-me-change-me-change-me-change-me".to_vec()),
        issuer: Some("https://issuer.example".into()),
        audience: vec!["api".into()],
        algorithms: Vec::new(),
        roles_claim: "roles".into(),
        scope_claim: "scope".into(),
        tier_claim: "tier".into(),
        tenant_claim: "tenant".into(),
        leeway: seconds(30),
        forward_claims: Vec::new(),
    };
    let key = ApiKey {
        id: "batch".into(),
        sha256: Sha256::digest("secret").into(),
        tier: Some("enterprise".into()),
        tenant: None,
        roles: vec!["payer".into()],
        scopes: Vec::new(),
    };
    Auth { jwt: vec![provider], api_keys: vec![key], ..Auth::default() }
}

fn limits() -> Limits {
    let limit = |name: &str, requests, burst, key| Limit {
        name: name.into(),
        algorithm: Algorithm::TokenBucket,
        requests,
        window: seconds(60),
        burst,
        key,
        cost: 1,
        enforce_at: EnforceAt::First,
        sharing: Sharing::Node,
        on_store_failure: None,
        shadow: false,
    };
    let named = |limit: Limit| (limit.name.clone(), limit);
    Limits {
        enabled: true,
        legacy_headers: false,
        default: Some(limit("default", 1_000, 200, LimitKey::Subject)),
        per_user: vec![
            named(limit("premium", 5_000, 500, LimitKey::Subject)),
            named(limit("enterprise", 10_000, 1_000, LimitKey::Subject)),
        ],
        per_service: vec![named(limit("payment_service", 2_000, 200, LimitKey::Service))],
        store: None,
    }
}

fn security() -> Security {
    use http::{HeaderName, Method};
    let headers = ["authorization", "content-type", "x-api-key"].map(HeaderName::from_static);
    Security {
        // `tls.enabled` is false.
        tls: None,
        https_redirect: false,
        cors: Some(Cors {
            allowed_origins: vec!["https://app.example".into()],
            allowed_methods: vec![Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS],
            allowed_headers: headers.to_vec(),
            exposed_headers: Vec::new(),
            allow_credentials: false,
            max_age: seconds(86_400),
        }),
        flood: Some(FloodProtection {
            max_requests_per_ip: 1_000,
            window: seconds(60),
            block_duration: seconds(600),
        }),
        ip_allow: Vec::new(),
        ip_deny: Vec::new(),
    }
}
