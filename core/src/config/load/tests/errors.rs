//! What is said about a file that is wrong, exactly as it is printed.

use super::*;

fn check(text: &str, expected: &[&str]) {
    let errors = load(text, "f", &NoSources).expect_err(text).to_string();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected, "{text}");
}

/// The error of a file whose only service has this line, less its place and its path's beginning.
fn check_service(service: &str, expected: &str) {
    let errors = load(&with_service(service), "f", &NoSources).expect_err(service).to_string();
    let (place, message) = errors.split_once("routing.services.s.").unwrap_or(("", &errors));
    assert!(place.starts_with("f:5:"), "{service}: {errors}");
    assert_eq!(message, expected, "{service}");
}

fn check_route(route: &str, expected: &str) {
    check_service(&format!("routes: [{route}]"), expected);
}

fn check_warnings(text: &str, expected: &[&str]) {
    let shown: Vec<_> = loaded(text).warnings.iter().map(ToString::to_string).collect();
    // Most of these files have no service, which is a warning of its own.
    let others: Vec<_> = shown.iter().filter(|line| !line.contains("there are none")).collect();
    assert_eq!(others, expected, "{text}");
}

#[test]
fn all_that_is_wrong_is_said_in_the_order_of_the_file() {
    check(
        r#"
server: { listn: "0.0.0.0:80", workers: many }
routing:
  services:
    user_service:
      url: ["http://one"]
      load_balancr: "round_robin"
      timeout: 30
      retries: 11
    admin:
      urls: []
rate_limit:
  default: { requests: 0, window: 0s }
colour: red
colour: blue
"#,
        &[
            "f:2:11: server.listn: unknown key; did you mean `listen`?",
            "f:2:41: server.workers: expected an integer from 0 to 4294967295, found the text `many`",
            "f:5:5: routing.services.user_service.urls: a service needs at least one URL; write `urls: [\"http://127.0.0.1:9101\"]`",
            "f:6:7: routing.services.user_service.url: unknown key; did you mean `urls`?",
            "f:7:7: routing.services.user_service.load_balancr: unknown key; did you mean `load_balancer`?",
            "f:8:16: routing.services.user_service.timeout: expected a length of time with its unit, such as `30s` or `5m`, found `30`",
            "f:9:16: routing.services.user_service.retries: `11` is out of range; write 0 to 10",
            "f:10:5: routing.services.admin: `/admin` is the gateway's own; choose another name, such as `admin_service`",
            "f:11:7: routing.services.admin.urls: a service needs at least one URL; write `urls: [\"http://127.0.0.1:9101\"]`",
            "f:13:24: rate_limit.default.requests: `0` is out of range; write 1 to 1000000000000",
            "f:13:35: rate_limit.default.window: `0s` is out of range; write 1ms to 366d",
            "f:14:1: colour: unknown key; known here: server, routing, auth, rate_limit, caching, security, monitoring, event_processing, redis_bridge, relay",
            "f:15:1: `colour` is already set in line 14; keep one of the two",
        ],
    );
}

#[test]
fn a_wrong_type_says_what_is_expected() {
    check("[]", &["f:1:1: expected a mapping, found a list"]);
    check("server:\n  limits: []\n", &["f:2:3: server.limits: expected a mapping, found a list"]);
    check("server: 1", &["f:1:9: server: expected a mapping, found `1`"]);
    check(
        "server: { trusted_proxies: 10.0.0.0/8 }",
        &["f:1:28: server.trusted_proxies: expected a list, found the text `10.0.0.0/8`"],
    );
    check(
        "server: { proxy_protocol: yes }",
        &["f:1:27: server.proxy_protocol: expected true or false, found the text `yes`"],
    );
    check(
        "server: { workers: -1 }",
        &["f:1:20: server.workers: expected an integer from 0 to 4294967295, found `-1`"],
    );
    check(
        "auth: { api_keys: [{ id: a, sha256: b }, { id: c }] }",
        &[
            "f:1:37: auth.api_keys[0].sha256: a SHA-256 is 64 hexadecimal digits; make one with `printf %s \"$KEY\" | sha256sum`",
            "f:1:42: auth.api_keys[1]: `sha256` is missing",
        ],
    );
    check_service("urls2: 1", "urls2: unknown key; did you mean `urls`?");
    check_service(
        "load_balancer: round_robbin",
        "load_balancer: `round_robbin` is not known; did you mean `round_robin`? It is one of round_robin, weighted, least_connections, random_two_choices, consistent_hash",
    );
    check_service(
        "retries: few",
        "retries: expected a number of attempts or a mapping, found the text `few`",
    );
    check_service("protocol: h3", "protocol: `h3` is not known; write one of http1, http2");
}

#[test]
fn a_value_that_was_wrong_is_not_missing_too() {
    check(
        "rate_limit: { default: { requests: many, window: 1s } }",
        &[
            "f:1:36: rate_limit.default.requests: expected an integer that is not negative, found the text `many`",
        ],
    );
    check(
        "routing: { services: { s: { urls: { url: [], weight: 2 } } } }",
        &["f:1:37: routing.services.s.urls.url: expected a string, found a list"],
    );
}

#[test]
fn an_error_never_shows_what_a_variable_held() {
    struct Secrets;
    impl Sources for Secrets {
        fn variable(&self, _: &str) -> Option<String> {
            Some("hunter2".into())
        }
        fn file(&self, _: &str) -> Result<String, String> {
            Ok("hunter2".into())
        }
    }
    let text = r#"server: { listen: "${A}", workers: "${A}", trusted_proxies: ["${file:/x}"] }
monitoring: { log_level: "${A}" }
routing: { services: { s: { urls: ["${A}"], load_balancer: "${A}" } } }"#;
    assert_eq!(
        load(text, "f", &Secrets).unwrap_err().to_string().lines().collect::<Vec<_>>(),
        [
            "f:1:19: server.listen: `${A}` is not an address and a port; write `127.0.0.1:8080`, `0.0.0.0:8080` or `[::]:8080`",
            "f:1:36: server.workers: expected an integer from 0 to 4294967295, found the text `${A}`",
            "f:1:62: server.trusted_proxies[0]: `${file:/x}` is not an address range; write `10.0.0.0/8`, `2001:db8::/32` or a single address",
            "f:2:26: monitoring.log_level: `${A}` is not known; write one of error, warn, info, debug",
            "f:3:36: routing.services.s.urls[0]: `${A}` has no scheme; write `http://${A}` or `https://${A}`",
            "f:3:60: routing.services.s.load_balancer: `${A}` is not known; write one of round_robin, weighted, least_connections, random_two_choices, consistent_hash",
        ]
    );
}

#[test]
fn server_sections() {
    check(
        "server: { admin: { listen: \"127.0.0.1:8080\" } }",
        &["f:1:28: server.admin.listen: clients are served on this address; give operators another"],
    );
    check(
        "server: { listen: [\"1.2.3.4:5\", \"1.2.3.4:5\"], proxy_protocol: true }",
        &[
            "f:1:33: server.listen[1]: `1.2.3.4:5` is listed twice",
            "f:1:63: server.proxy_protocol: nobody's PROXY header is believed; name the senders in `trusted_proxies`",
        ],
    );
    check(
        "server: { trusted_proxies: [10.0.0.1/8], limits: { headers: 0, header_bytes: 2MiB } }",
        &[
            "f:1:29: server.trusted_proxies[0]: `10.0.0.1/8` has bits set beyond its prefix; write `10.0.0.0/8`",
            "f:1:61: server.limits.headers: `0` is out of range; write 1 to 1000",
            "f:1:78: server.limits.header_bytes: `2MiB` is out of range; write 1KiB to 1MiB",
        ],
    );
}

#[test]
fn services() {
    check_service(
        "host_header: \"a b\"",
        "host_header: `a b` is not a host; write `upstream`, `preserve` or a name",
    );
    check_service(
        "load_balancer: { kind: weighted, key: path }",
        "load_balancer.key: only `consistent_hash` has a key; remove it",
    );
    check_service(
        "health_check: { interval: 1s, timeout: 2s }",
        "health_check.timeout: is longer than `interval`, 1s; probes would overlap",
    );
    check_service(
        "circuit_breaker: { failure_rate: .nan }",
        "circuit_breaker.failure_rate: `NaN` is out of range; write a share above 0 and at most 1",
    );
    check_service("ejection: { max_share: 1.5 }", "ejection.max_share: `1.5` is out of range; write 0 to 1");
    check_service("max_in_flight: 0", "max_in_flight: `0` is out of range; write 1 to 1000000");
    check_service("tls: { cert_file: a }", "tls.cert_file: a certificate needs its key; set `key_file` too");
    check(
        "routing: { services: { User: { urls: [one, \"http://a:b@c\"] } } }",
        &[
            "f:1:24: routing.services.User: a service's name is 1 to 63 lower case letters, digits, `_` and `-`",
            "f:1:39: routing.services.User.urls[0]: `one` has no scheme; write `http://one` or `https://one`",
            "f:1:44: routing.services.User.urls[1]: the URL holds a user name or password; set an `authorization` header with `rewrite` instead",
        ],
    );
}

#[test]
fn routes() {
    check_route("{ path: a }", "routes[0].path: `a` does not start with `/`; write `/a`");
    check_route(
        "{ path: /health }",
        "routes[0].path: `/health` is the gateway's own; choose another first segment",
    );
    check_route(
        "{ path: \"/{a}/{a}\" }",
        "routes[0].path: the variable `{a}` occurs twice; give each its own name",
    );
    check_route(
        "{ path: \"/a*\" }",
        "routes[0].path: `*` stands for the rest of a path and only as its last segment; write a literal one as `%2A`",
    );
    check_route("{ path: /a, methods: [get] }", "routes[0].methods[0]: methods are upper case; write `GET`");
    check_route(
        "{ path: /a, host: \"a:80\" }",
        "routes[0].host: `a:80` is not a host; write `api.example.com` or `*.example.com`, without a port",
    );
    check_route(
        "{ path: /a, public: true, roles: [r] }",
        "routes[0].public: what is public asks for no roles or scopes; remove one of them",
    );
    check_route(
        "{ path: \"/{a}\", rewrite: { path: \"/{b}\" } }",
        "routes[0].rewrite.path: the route's path has no variable `{b}`",
    );
    check_route(
        "{ path: /a/b, rewrite: { strip_prefix: /b } }",
        "routes[0].rewrite.strip_prefix: `/b` is not made of the first segments of the route's path",
    );
    check_route(
        "{ path: /a, rewrite: { request_headers: { set: { Host: x } } } }",
        "routes[0].rewrite.request_headers.set.Host: the gateway writes `host` itself; use `host_header`",
    );
}

#[test]
fn routes_that_cannot_be_told_apart() {
    let conflict = "change the path, hosts, methods or headers of one";
    check_route(
        "{ path: \"/a/{x}\", methods: [GET, POST] }, { path: \"/a/{y}\", methods: [POST] }",
        &format!("routes[1].path: `/a/{{y}}` is taken by the route in line 5 (service `s`); {conflict}"),
    );
    let text = r#"routing: { services: { a: { urls: "http://a" }, b: { urls: "http://b", routes: [
  { path: "/a/*" }] } } }"#;
    check(
        text,
        &[&format!(
            "f:2:11: routing.services.b.routes[0].path: `/a/*` is taken by service `a`, which has no routes and so is reached at `/a`; {conflict}"
        )],
    );
    let told_apart = "{ path: /a, methods: [GET] }, { path: /a, methods: [POST] }, { path: /a, host: a.example }, \
                      { path: /a, headers: { x: } }, { path: /a, headers: { x: y } }, { path: \"/{a}\" }";
    assert_eq!(first_service(&format!("routes: [{told_apart}]")).routes.len(), 6);
}

#[test]
fn identities() {
    check(
        "auth: { jwt: { issuer: a } }",
        &["f:1:9: auth.jwt: no key to verify with; set `secret`, `public_key` or `jwks_url`"],
    );
    check(
        "auth: { jwt: { secret: short } }",
        &[
            "f:1:24: auth.jwt.secret: is 5 bytes long and needs 32 (RFC 7518 section 3.2); `openssl rand -hex 32` makes one",
        ],
    );
    check(
        "auth: { jwt: { jwks_url: \"https://a/b\", algorithms: [HS256, none, RS255] } }",
        &[
            "f:1:61: auth.jwt.algorithms[1]: `none` is not an algorithm that is accepted; write one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA",
            "f:1:67: auth.jwt.algorithms[2]: `RS255` is not an algorithm that is accepted; did you mean `RS256`?",
        ],
    );
    check(
        "auth: { jwt: { jwks_url: \"https://a/b\", algorithms: [HS256] } }",
        &[
            "f:1:54: auth.jwt.algorithms[0]: `HS256` is signed with a `secret`, which a public key must never stand in for",
        ],
    );
    check(
        "auth: { jwt: { public_key: \"-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----\" } }",
        &["f:1:28: auth.jwt.public_key: is PEM, but what it encodes is not a public key"],
    );
    let ed25519 = "-----BEGIN PUBLIC KEY-----\\n\
                   MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\\n-----END PUBLIC KEY-----";
    check(
        &format!("auth: {{ jwt: {{ algorithms: [EdDSA, ES256], public_key: \"{ed25519}\" }} }}"),
        &["f:1:36: auth.jwt.algorithms[1]: `ES256` is not for keys of this kind, Ed25519"],
    );
    check(
        "auth: { jwt: [{ jwks_url: \"https://a\" }, { jwks_url: \"https://b\", issuer: b }] }",
        &[
            "f:1:15: auth.jwt[0]: one of several providers needs an `issuer`, which is how its tokens are told apart",
        ],
    );
    check(
        "auth: { login: { secret: a123456789abcdef0123456789abcdef, users: [{ username: a, password_hash: a }] } }",
        &["f:1:98: auth.login.users[0].password_hash: is not an Argon2id hash; it starts with `$argon2id$`"],
    );
}

#[test]
fn limits() {
    let limit = |limit: &str| format!("rate_limit: {{ default: {{ requests: 10, window: 1s, {limit} }} }}");
    check(
        &limit("key: cookie"),
        &[
            "f:1:57: rate_limit.default.key: `cookie` cannot be counted; write `subject`, `user`, `api_key`, `ip`, `service`, `header:<name>`, `claim:<name>` or `path:<variable>`",
        ],
    );
    check(
        &limit("cost: 11"),
        &[
            "f:1:58: rate_limit.default.cost: a request costs 11 and no more than 10 fit: none would ever be admitted",
        ],
    );
    check(
        &limit("strict: true"),
        &[
            "f:1:60: rate_limit.default.strict: only `sliding_window_counter` has a strict form; remove it or set `algorithm`",
        ],
    );
    check(
        "rate_limit: { default: { requests: 1001, window: 1s, algorithm: sliding_window_log } }",
        &[
            "f:1:36: rate_limit.default.requests: `sliding_window_log` keeps a record of each and takes at most 1000; use `sliding_window_counter`",
        ],
    );
    check(
        "routing: { services: { users: { urls: \"http://a\" } } }\nrate_limit: { per_service: { user: { requests: 1, window: 1s } } }",
        &["f:2:30: rate_limit.per_service.user: there is no service `user`; did you mean `users`?"],
    );
}

#[test]
fn tls_and_browsers() {
    check(
        r#"
security:
  tls:
    cert_file: a
    min_version: 1.1
    cipher_suites: [TLS_AES_128_GCM_SHA25]
"#,
        &[
            "f:3:3: security.tls: `cert_file` needs its key; set `key_file` too",
            "f:5:18: security.tls.min_version: `1.1` is not a version of TLS that is spoken here; write \"1.2\" or \"1.3\"",
            "f:6:21: security.tls.cipher_suites[0]: `TLS_AES_128_GCM_SHA25` is not a cipher suite that is offered; did you mean `TLS_AES_128_GCM_SHA256`?",
        ],
    );
    check(
        r#"
security:
  cors:
    allowed_origins: ["*", "https://a/"]
    allow_credentials: true
    max_age: 86401
"#,
        &[
            "f:4:28: security.cors.allowed_origins[1]: `https://a/` is more than an origin; write scheme, host and port, such as `https://app.example`",
            "f:5:24: security.cors.allow_credentials: credentials are never sent to any origin `*` (Fetch standard); name the origins",
            "f:6:14: security.cors.max_age: `86401s` is out of range; write 0s to 1d",
        ],
    );
}

#[test]
fn transformations_that_can_never_be_meant_are_errors() {
    let transform = |item: &str| format!("{{ path: \"/a/{{id}}\", transform: [{item}] }}");
    check_route(
        &transform("{ when: { status: 5xx }, path: /b }"),
        "routes[0].transform[0].when.status: the response's status is not known before the request is sent; only `response_headers` can depend on it",
    );
    check_route(
        &transform("{ path: \"/b/{no}\" }"),
        "routes[0].transform[0].path: the route's path has no variable `{no}`",
    );
    check_route(
        &transform("{ when: { status: 299-200 }, response_headers: { remove: a } }"),
        "routes[0].transform[0].when.status: `299-200` is empty; write the lower status first",
    );
    check_route(
        &transform("{ when: { status: 700 }, response_headers: { remove: a } }"),
        "routes[0].transform[0].when.status: `700` is out of range; write 100 to 599",
    );
    check_route(
        &transform("{ request_headers: { set: { Content-Length: \"1\" } } }"),
        "routes[0].transform[0].request_headers.set.Content-Length: the gateway writes `content-length` itself",
    );
}

#[test]
fn what_does_less_than_it_seems_to_is_a_warning() {
    check_warnings(
        "caching: { ttl: 1s }",
        &["1:1: caching: is not served yet: every request reaches its service"],
    );
    check_warnings(
        "monitoring: { tracing: { enabled: true } }",
        &["1:15: monitoring.tracing: is not served yet: no traces are sent"],
    );
    check_warnings(
        "event_processing: { provider: rabbitmq, rabbitmq: { url: \"amqp://a\" }, log: { directory: d } }",
        &[
            "1:31: event_processing.provider: `rabbitmq` is not served yet: events go to the log in `d` on this node",
        ],
    );
    check_warnings(
        "event_processing: { enabled: false, provider: kafka, kafka: { brokers: [\"a:1\"] } }",
        &[],
    );
    check_warnings(
        "rate_limit: { default: { requests: 1, window: 1s, algorithm: fixed_window, burst: 2 } }",
        &[
            "1:83: rate_limit.default.burst: has no effect under window algorithms, which admit `requests` at once",
        ],
    );
    check_warnings(
        "rate_limit: { default: { requests: 1, window: 1s, on_store_failure: deny } }",
        &["1:69: rate_limit.default.on_store_failure: has no effect: `rate_limit.store` names no store"],
    );
    check_warnings(
        &with_store("default: { requests: 1, window: 1s, shared: false, on_store_failure: deny }"),
        &["1:125: rate_limit.default.on_store_failure: has no effect: the limit is not shared"],
    );
    check_warnings(
        &with_store(
            "default: { requests: 1, window: 1s, algorithm: distributed, root: fixed_window, lease: { reserve: true } }",
        ),
        &["1:154: rate_limit.default.lease.reserve: has no effect: leasing never exceeds a fixed window"],
    );
    check_warnings(
        "security: { https_redirect: true }",
        &[
            "1:29: security.https_redirect: nothing arrives by https: every request is redirected; enable `security.tls`, or name the proxy that terminates it in `server.trusted_proxies`",
        ],
    );
    check_warnings(
        &with_service("routes: [{ path: /a, roles: [r] }]"),
        &[
            "5:16: routing.services.s.routes[0]: asks for roles or scopes and `auth` gives nobody any: every request is refused; configure `auth.jwt` or `auth.api_keys`",
        ],
    );
    check_warnings(
        &with_service("tls: { ca_file: a }"),
        &["5:7: routing.services.s.tls: has no effect: none of the service's `urls` is https"],
    );
}

fn with_store(limit: &str) -> String {
    format!("rate_limit: {{ store: {{ redis: {{ url: \"redis://h/\" }} }}, {limit} }}")
}

#[test]
fn a_limit_that_cannot_be_shared_is_an_error() {
    check(
        "rate_limit: { default: { requests: 1, window: 1s, shared: true } }",
        &["f:1:59: rate_limit.default.shared: there is nothing to share in; name a `rate_limit.store`"],
    );
    check(
        &with_store("default: { requests: 1, window: 1s, root: fixed_window, lease: {} }"),
        &[
            "f:1:98: rate_limit.default.root: only `distributed` borrows; remove it, or set `algorithm: distributed`",
            "f:1:112: rate_limit.default.lease: only `distributed` borrows; remove it, or set `algorithm: distributed`",
        ],
    );
    check(
        &with_store("default: { requests: 1, window: 1s, algorithm: distributed, shared: false }"),
        &[
            "f:1:124: rate_limit.default.shared: `distributed` is shared; remove it, or name another `algorithm`",
        ],
    );
    check(
        &with_store(
            "default: { requests: 9, window: 1s, algorithm: distributed, lease: { target: 1ms, max: 0 } }",
        ),
        &[
            "f:1:133: rate_limit.default.lease.target: `1ms` is out of range; write 10ms to 1h",
            "f:1:143: rate_limit.default.lease.max: `0` is out of range; write 1 to 1000000000000",
        ],
    );
    check(
        &with_store(
            "default: { requests: 9, window: 1s, burst: 1, algorithm: distributed, lease: { reserve: true } }",
        ),
        &[
            "f:1:56: rate_limit.default: the store cannot count this limit: a burst of 1 leaves no room for a reserve beside a cost of 1",
        ],
    );
    check(
        &with_store("default: { requests: 999999999989, window: 31622400s }"),
        &[
            "f:1:56: rate_limit.default: the store cannot count this limit: so many requests in such a window cannot be counted in the shared store to one part in a thousand",
        ],
    );
}
