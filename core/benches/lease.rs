//! A decision that is made of borrowed permits beside one that is made of the node's own count: two gateways that differ in
//! nothing else, in turn. A thousand clients share a service; the store is core's model and answers between the rounds.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::Criterion;
use http::{Request, request};
use serde_json::{Value, json};
use tollgate_core::config::{self, NoSources};
use tollgate_core::store::model::Model;
use tollgate_core::{Gateway, Now, Options, Peer, Place, RequestBody, Scheme, Step};

const CLIENTS: usize = 1_000;
/// Requests that are decided on before the first of them ends.
const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 2_001;
const START_US: u64 = 1_767_225_600_000_000;
/// Between two requests: each client comes back within half a second.
const STEP_US: u64 = 500;

/// As in the binary that is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    Criterion::default().configure_from_args().final_summary();
    let limit = json!({ "requests": 1_000_000, "window": "1m" });
    let mut leased = limit.clone();
    leased["algorithm"] = json!("distributed");
    leased["lease"] = json!({ "target": "10s" });
    let [mut local, mut leased] = [limit, leased].map(|limit| Bench::new(&limit));
    let (mut of_local, mut of_leased) = (Vec::new(), Vec::new());
    while of_leased.len() < ROUNDS {
        let (local_ns, leased_ns) = (local.round_ns(), leased.round_ns());
        // A round in which one of them had to ask is none of decisions alone.
        if let (Some(local_ns), Some(leased_ns)) = (local_ns, leased_ns) {
            of_local.push(local_ns);
            of_leased.push(leased_ns);
        }
    }
    println!("figure leased_decision_ns {:.0}", median(of_leased));
    println!("figure local_decision_ns {:.0}", median(of_local));
}

struct Bench {
    gateway: Arc<Gateway>,
    store: Model,
    head: request::Parts,
    peers: Vec<Peer>,
    count: usize,
}

impl Bench {
    fn new(limit: &Value) -> Bench {
        let policy = json!({
            "routing": { "services": { "s": { "urls": ["http://127.0.0.1:9101"] } } },
            "rate_limit": { "default": limit, "store": { "redis": { "url": "redis://127.0.0.1" } } },
        });
        let mut policy = policy;
        if limit.get("algorithm").is_none() {
            policy["rate_limit"]["default"]["shared"] = json!(false);
        }
        let loaded = config::load(&policy.to_string(), "bench", &NoSources).expect("the policy is valid");
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
        let gateway = Gateway::new(loaded.config, None, options).expect("there is one route");
        let head = Request::get("/s/things/8417").header("host", "api.example.com").body(());
        let peer = |index: usize| {
            let [high, low] = (index as u16).to_be_bytes();
            Peer::new([192, 0, high, low].into(), Scheme::Http, 0)
        };
        Bench {
            gateway,
            store: Model::default(),
            head: head.expect("a valid request").into_parts().0,
            peers: (0..CLIENTS).map(peer).collect(),
            count: 0,
        }
    }

    /// Of one decision, its heads made before and its steps dropped after the time is taken.
    fn round_ns(&mut self) -> Option<f64> {
        let heads: Vec<_> = (0..IN_FLIGHT).map(|_| self.head.clone()).collect();
        let mut steps = Vec::with_capacity(IN_FLIGHT);
        let start = Instant::now();
        for head in heads {
            let now = now(self.count);
            let peer = &self.peers[self.count * 7 % CLIENTS];
            steps.push(self.gateway.begin(black_box(head), RequestBody::Empty, peer, now));
            self.count += 1;
        }
        let elapsed = start.elapsed();
        let now = now(self.count);
        let asked = steps.iter().filter(|step| matches!(step, Step::Charge(_))).count();
        for step in steps {
            if let Step::Charge(charge) = step {
                let answers: Vec<_> =
                    charge.calls().iter().map(|call| Ok(self.store.answer(call, now.wall_us))).collect();
                assert!(matches!(charge.resume(answers, now), Step::Forward(_)), "there is plenty");
            }
        }
        for call in self.gateway.background(now).store {
            let answer = self.store.answer(call.call(), now.wall_us);
            call.done(Ok(answer), now);
        }
        self.gateway.drain(0, &mut Vec::new());
        (asked == 0).then(|| elapsed.as_nanos() as f64 / IN_FLIGHT as f64)
    }
}

fn now(count: usize) -> Now {
    let elapsed_us = count as u64 * STEP_US;
    Now { wall_us: START_US + elapsed_us, mono_us: 1_000_000 + elapsed_us }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
