mod fleet;

use std::collections::HashMap;

use http::{HeaderName, HeaderValue, Request, Version, request};
use proptest::prelude::*;

use super::*;
use crate::config::{self, NoSources};
use crate::{End, Failure, KeysFailure, Outcome, Progress, Scheme};

const NOW: Now = Now { wall_us: 1_767_225_600_000_000, mono_us: 1_000_000_000 };

/// Every policy at once, so that whatever is sent meets all of them.
const EVERYTHING: &str = r#"
server: { trusted_proxies: ["10.0.0.0/8"], limits: { header_bytes: 8KiB } }
auth:
  jwt:
    - { issuer: i, secret: "0123456789abcdef0123456789abcdef", forward_claims: { sub: x-user } }
    - { issuer: k, jwks_url: "http://127.0.0.1:9/keys" }
  api_keys: [{ id: batch, sha256: "87cbebfeebc05f7c54ac9336c4b4bbec831227a641951a4bde7edd56020f8590" }]
  login: { secret: "abcdef0123456789abcdef0123456789", users: [{ username: a, password_hash: "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAA" }] }
rate_limit:
  store: { redis: { url: "redis://127.0.0.1/" } }
  default: { requests: 5, window: 1m, algorithm: distributed }
  per_service: { s: { requests: 100, window: 1m, algorithm: sliding_window_counter, key: "header:x-device" } }
security:
  cors: { allowed_origins: ["https://app.example"] }
  rate_limit: { ddos_protection: { max_requests_per_ip: 1000 } }
  ip: { deny: ["203.0.113.0/24"] }
monitoring: { decision_header: true }
routing:
  services:
    s:
      urls: ["http://one", "http://two"]
      load_balancer: consistent_hash
      retries: 1
      circuit_breaker: {}
      max_in_flight: 10
      routes:
        - { path: "/a/{id}/*", public: true, rewrite: { path: "/b/{id}" } }
        - { path: /a, roles: [r], transform: [{ when: { headers: { x-beta: } }, query: { set: { b: "1" } } }] }
        - { path: /c, scopes: [s] }
"#;

fn gateway(policy: &str) -> Arc<Gateway> {
    let loaded = config::load(policy, "test", &NoSources).expect("the policy is valid");
    Gateway::new(loaded.config, None, options()).expect("its routes differ")
}

fn options() -> Options {
    Options {
        node: "test".into(),
        boot_epoch: 1,
        seed: 1,
        secret: [1; 16],
        lanes: 1,
        generation: 1,
        policy: "test".into(),
        place: Place::Region,
        hooks: Vec::new(),
    }
}

/// How an adapter answers what core asks of it.
#[derive(Clone, Copy, Debug)]
struct Answers {
    signature: bool,
    key_set: bool,
    connects: bool,
    status: Option<u16>,
}

/// Does what the steps say until there is a reply, as an adapter does, and ends the exchange.
fn play(
    gateway: &Arc<Gateway>,
    head: request::Parts,
    body: RequestBody,
    from: [u8; 4],
    answers: Answers,
) -> Vec<Event> {
    let peer = Peer::new(from.into(), Scheme::Http, 0);
    let mut step = gateway.begin(head, body, &peer, NOW);
    let reply = loop {
        step = match step {
            Step::Respond(reply) => break reply,
            Step::Verify(verify) => verify.resume(answers.signature, NOW),
            Step::Keys(keys) => {
                let set =
                    if answers.key_set { Ok(&br#"{"keys":[]}"#[..]) } else { Err(KeysFailure::Unreachable) };
                keys.resume(set, NOW)
            }
            Step::Charge(charge) => charge.resume([], NOW),
            Step::Local(local) => local.resume(http::Response::new(()).into_parts().0, bytes::Bytes::new()),
            Step::Forward(forward) if !answers.connects => forward.unreachable(Failure::Connect, NOW),
            Step::Forward(forward) => {
                let (_, sent) = forward.send();
                let outcome = match answers.status {
                    Some(status) => {
                        let response =
                            http::Response::builder().status(status).body(()).expect("a valid status");
                        Outcome::Response(response.into_parts().0)
                    }
                    None => Outcome::Failed { failure: Failure::Reset, sent: Progress::Consumed },
                };
                sent.resume(outcome, NOW)
            }
        }
    };
    let (head, _, exchange) = reply.into_parts();
    assert!(head.headers.contains_key("x-request-id"), "every reply is named");
    exchange.finish(End::Complete, 0, NOW);
    let mut events = Vec::new();
    gateway.drain(0, &mut events);
    events
}

fn target() -> impl Strategy<Value = String> {
    let known =
        prop::sample::select(vec!["/a", "/a/1/2", "/c", "/health", "/auth/login", "/auth/refresh", "*"]);
    prop_oneof![known.prop_map(str::to_owned), "/[!-~]{0,40}", "http://[a-z.:@0-9]{0,12}/[!-~]{0,12}"]
}

fn field() -> impl Strategy<Value = (String, Vec<u8>)> {
    let names = vec![
        "authorization",
        "x-api-key",
        "origin",
        "access-control-request-method",
        "x-forwarded-for",
        "forwarded",
        "traceparent",
        "content-type",
        "connection",
        "upgrade",
        "te",
        "cookie",
        "x-device",
        "x-beta",
        "x-user",
        "host",
        "x_forwarded_for",
        "expect",
        "x-request-id",
    ];
    let name = prop_oneof![prop::sample::select(names).prop_map(str::to_owned), "[a-z_-]{1,12}"];
    let values = vec![
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJpIiwiZXhwIjo0ODg4ODg4ODg4fQ.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrIiwiZXhwIjo0ODg4ODg4ODg4fQ.AAAA",
        "correct-horse-battery-staple",
        "https://app.example",
        "GET",
        "10.0.0.1, 203.0.113.7",
        "websocket",
        "Upgrade, X-Device",
        "trailers",
        "application/grpc",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ];
    let value = prop_oneof![
        prop::sample::select(values).prop_map(|value| value.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
        "(Bearer )?[A-Za-z0-9_=-]{0,20}\\.[A-Za-z0-9_=-]{0,20}\\.[A-Za-z0-9_=-]{0,20}"
            .prop_map(String::into_bytes),
    ];
    (name, value)
}

/// `None` for what no HTTP library hands over.
fn head(
    method: &str,
    target: &str,
    fields: &[(String, Vec<u8>)],
    version: Version,
) -> Option<request::Parts> {
    let mut request = Request::builder().method(method).uri(target).version(version).body(()).ok()?;
    for (name, value) in fields {
        let (name, value) = (HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        request.headers_mut().append(name, value);
    }
    Some(request.into_parts().0)
}

proptest! {
    /// Whatever is sent, by whomever, and whatever the adapter answers: there is a reply, and one event about it.
    #[test]
    fn every_request_is_answered_and_leaves_one_event(
        requests in prop::collection::vec((
            prop::sample::select(vec!["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "TRACE", "BREW"]),
            target(),
            prop::collection::vec(field(), 0..12),
            prop::sample::select(vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2]),
            prop_oneof![Just(RequestBody::Empty), Just(RequestBody::Streamed), any::<u64>().prop_map(RequestBody::Sized)],
            prop::sample::select(vec![[192, 0, 2, 1], [10, 0, 0, 1], [203, 0, 113, 1]]),
            (any::<bool>(), any::<bool>(), any::<bool>(), prop::option::of(200_u16..600)),
        ), 1..12)
    ) {
        let gateway = gateway(EVERYTHING);
        for (method, target, fields, version, body, from, (signature, key_set, connects, status)) in requests {
            let Some(head) = head(method, &target, &fields, version) else { continue };
            let answers = Answers { signature, key_set, connects, status };
            let events = play(&gateway, head, body, from, answers);
            prop_assert_eq!(events.len(), 1);
            let mut json = Vec::new();
            events[0].write_json(&mut json);
            let event: serde_json::Value = serde_json::from_slice(&json).expect("an event is JSON");
            prop_assert_eq!(&event["data"]["status_code"], &serde_json::json!(events[0].status()));
        }
        let service = gateway.service("s").expect("it is configured");
        prop_assert_eq!(service.in_flight(), 0, "nothing is held once all is over");
    }
}

#[test]
fn a_reload_forgets_no_debit_and_lifts_no_ban() {
    let policy = |requests: u32| {
        format!(
            "{{ routing: {{ services: {{ s: {{ urls: [\"http://one\"] }} }} }}, \
             rate_limit: {{ default: {{ requests: {requests}, window: 1h }} }}, \
             security: {{ rate_limit: {{ ddos_protection: {{ max_requests_per_ip: 4 }} }} }} }}"
        )
    };
    let answers = Answers { signature: true, key_set: true, connects: true, status: Some(200) };
    let ask = |gateway: &Arc<Gateway>| {
        let head =
            head("GET", "/s/", &[("host".into(), b"a".to_vec())], Version::HTTP_11).expect("a valid request");
        play(gateway, head, RequestBody::Empty, [192, 0, 2, 1], answers)[0].status()
    };
    let first = gateway(&policy(2));
    assert_eq!([ask(&first), ask(&first), ask(&first)], [200, 200, 429]);
    let loaded = config::load(&policy(3), "test", &NoSources).expect("the policy is valid");
    let options = Options { seed: 9, secret: [9; 16], generation: 2, ..options() };
    let next = Gateway::new(loaded.config, Some(&first), options).expect("its routes differ");
    assert_eq!(ask(&next), 200, "one more than before, and not three");
    assert_eq!(
        [ask(&next), ask(&first)],
        [429, 429],
        "the fifth arrival bans the address in both generations"
    );
    assert_eq!(next.bans(NOW).len(), 1);
    assert!(next.lift_ban([192, 0, 2, 1].into(), NOW));
    assert_eq!(first.bans(NOW).len(), 0);
}

/// A hook that is compiled in sees what the policy admits, and its refusal is like any other.
#[test]
fn a_hook_changes_and_refuses_what_the_policy_admits() {
    struct Marks;
    impl crate::Hook for Marks {
        fn on_request(
            &self,
            head: &mut request::Parts,
            _: Option<&crate::Caller>,
        ) -> Result<(), crate::HookRefusal> {
            if head.headers.contains_key("x-old") {
                return Err(crate::HookRefusal::new(
                    http::StatusCode::UPGRADE_REQUIRED,
                    "too_old",
                    "Update.",
                ));
            }
            head.headers.insert("x-marked", HeaderValue::from_static("1"));
            Ok(())
        }

        fn on_response(&self, head: &mut http::response::Parts, _: Option<&crate::Caller>) {
            head.headers.remove("server");
        }
    }
    let policy = "{ routing: { services: { s: { urls: [\"http://one\"] } } } }";
    let loaded = config::load(policy, "test", &NoSources).expect("the policy is valid");
    let options = Options { hooks: vec![Arc::new(Marks)], ..options() };
    let gateway = Gateway::new(loaded.config, None, options).expect("its routes differ");
    let peer = Peer::new([192, 0, 2, 1].into(), Scheme::Http, 0);
    let ask = |fields: &[(String, Vec<u8>)]| {
        let fields = [&[("host".to_owned(), b"a".to_vec())], fields].concat();
        let head = head("GET", "/s/", &fields, Version::HTTP_11).expect("a valid request");
        gateway.begin(head, RequestBody::Empty, &peer, NOW)
    };
    let Step::Forward(forward) = ask(&[]) else { panic!("it is admitted") };
    let (head, sent) = forward.send();
    assert_eq!(head.headers["x-marked"], "1");
    let response = http::Response::builder().header("server", "php").body(()).expect("a valid response");
    let Step::Respond(reply) = sent.resume(Outcome::Response(response.into_parts().0), NOW) else {
        panic!("no retry")
    };
    assert!(!reply.into_parts().0.headers.contains_key("server"));
    let Step::Respond(reply) = ask(&[("x-old".into(), b"1".to_vec())]) else { panic!("it is refused") };
    assert_eq!(reply.status(), 426);
    let mut events = Vec::new();
    drop(reply);
    gateway.drain(0, &mut events);
    let reasons: HashMap<_, _> = events.iter().map(|event| (event.reason(), event.status())).collect();
    assert_eq!(reasons["too_old"], 426);
}
