//! A whole decision with every policy on: canonical URL, route, a token that was verified before, two limits, breaker and
//! balancer, up to the head that is ready to be sent. Users and the routes they ask for follow Zipf's law with exponent 1.1.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{BatchSize, Criterion};
use http::{Request, request};
use serde_json::{Value, json};
use tollgate_core::config::{self, NoSources};
use tollgate_core::{Event, Gateway, Now, Options, Peer, Place, RequestBody, Scheme, Step};

const USERS: usize = 1_000;
/// Requests that are decided on before the first of them ends.
const IN_FLIGHT: usize = 64;
const NOW: Now = Now { wall_us: 1_767_225_600_000_000, mono_us: 1_000_000_000 };

/// As in the binary that is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let tables = [1_000, 10_000].map(|routes| (routes, Bench::new(routes)));
    for (routes, bench) in &tables {
        let mut next = 0;
        criterion.bench_function(&format!("decide/{routes}_routes"), |b| {
            let head = || {
                next += 1;
                bench.head(next)
            };
            b.iter_batched(head, |head| bench.decide(head), BatchSize::SmallInput);
            bench.drain();
        });
    }
    criterion.final_summary();
    for (routes, bench) in &tables {
        println!("figure decide_ns_{routes}_routes {:.0}", bench.median_ns());
    }
}

struct Bench {
    gateway: Arc<Gateway>,
    heads: Vec<request::Parts>,
    /// Which of the heads come one after the other.
    order: Vec<usize>,
    peer: Peer,
}

impl Bench {
    fn new(routes: usize) -> Bench {
        let loaded =
            config::load(&policy(routes).to_string(), "bench", &NoSources).expect("the policy is valid");
        let options = Options {
            node: "bench".into(),
            boot_epoch: 1,
            seed: 1,
            secret: [7; 16],
            lanes: 1,
            generation: 1,
            policy: "bench".into(),
            place: Place::Region,
            hooks: Vec::new(),
        };
        let gateway = Gateway::new(loaded.config, None, options).expect("the routes differ");
        // A stride that shares no factor with the routes spreads the requests over all of them.
        let heads = (0..USERS).map(|user| head(user, user * 7_919 % routes)).collect();
        let peer = Peer::new([192, 0, 2, 1].into(), Scheme::Http, 0);
        let bench = Bench { gateway, heads, order: zipf(1.1, 100_003), peer };
        for user in 0..USERS {
            match bench.decide(bench.heads[user].clone()) {
                Step::Verify(verify) => assert!(matches!(verify.resume(true, NOW), Step::Forward(_))),
                step => panic!("a token is verified when it is first seen: {step:?}"),
            }
        }
        bench.drain();
        bench
    }

    fn head(&self, index: usize) -> request::Parts {
        self.heads[self.order[index % self.order.len()]].clone()
    }

    fn decide(&self, head: request::Parts) -> Step {
        self.gateway.begin(black_box(head), RequestBody::Empty, &self.peer, NOW)
    }

    fn drain(&self) {
        let mut events: Vec<Event> = Vec::new();
        self.gateway.drain(0, &mut events);
    }

    /// Of a decision alone: heads are made before and steps dropped after the time is taken.
    fn median_ns(&self) -> f64 {
        const ROUNDS: usize = 2_001;
        let mut steps = Vec::with_capacity(IN_FLIGHT);
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|round| {
                let heads: Vec<_> =
                    (0..IN_FLIGHT).map(|index| self.head(round * IN_FLIGHT + index)).collect();
                let start = Instant::now();
                steps.extend(heads.into_iter().map(|head| self.decide(head)));
                let elapsed = start.elapsed();
                assert!(steps.iter().all(|step| matches!(step, Step::Forward(_))), "every request is served");
                steps.clear();
                self.drain();
                elapsed.as_nanos() as f64 / IN_FLIGHT as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        rounds[ROUNDS / 2]
    }
}

/// Ranks below [`USERS`], drawn by their weight.
fn zipf(exponent: f64, draws: usize) -> Vec<usize> {
    let mut sum = 0.0;
    let cumulative: Vec<f64> = (1..=USERS)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = (state >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        cumulative.partition_point(|bound| *bound < at).min(USERS - 1)
    };
    (0..draws).map(|_| draw()).collect()
}

fn policy(routes: usize) -> Value {
    let service = |index: usize| {
        let routes: Vec<Value> =
            (index * 10..index * 10 + 10).map(|route| json!({ "path": path(route, "{id}") })).collect();
        let rules = json!({
            "urls": ["http://127.0.0.1:9101", "http://127.0.0.1:9102"],
            "circuit_breaker": { "failure_rate": 0.5, "minimum_calls": 20, "window": "10s", "open_for": "15s" },
            "routes": routes,
        });
        (format!("service_{index}"), rules)
    };
    let services: serde_json::Map<_, _> = (0..routes / 10).map(service).collect();
    let limit = json!({ "requests": 1_000_000_000_u64, "window": "1s" });
    let per_service: serde_json::Map<_, _> =
        services.keys().map(|name| (name.clone(), limit.clone())).collect();
    json!({
        "routing": { "services": services },
        "auth": { "jwt": { "secret": "0123456789abcdef0123456789abcdef", "issuer": "i", "audience": "api" } },
        "rate_limit": { "default": limit, "per_service": per_service },
    })
}

fn path(route: usize, id: &str) -> String {
    format!("/service_{}/things_{}/{id}/parts", route / 10, route % 10)
}

fn head(user: usize, route: usize) -> request::Parts {
    let claims = json!({ "iss": "i", "aud": "api", "sub": format!("user-{user}"), "exp": 1_767_999_999 });
    let parts = [json!({ "alg": "HS256", "typ": "JWT" }).to_string(), claims.to_string()];
    let [header, claims] = parts.map(|part| URL_SAFE_NO_PAD.encode(part));
    // The bench says that it is right.
    let signature = URL_SAFE_NO_PAD.encode([0; 32]);
    let request = Request::get(path(route, "8417"))
        .header("host", "api.example.com")
        .header("user-agent", "bench/1.0")
        .header("accept", "*/*")
        .header("authorization", format!("Bearer {header}.{claims}.{signature}"));
    request.body(()).expect("a valid request").into_parts().0
}
