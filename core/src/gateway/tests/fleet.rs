//! Limits in a store that all nodes share: the model in the place of Redis, and this in the place of an adapter.

use super::*;
use crate::store::model::Model;
use crate::store::{Call, StoreFailure, Value};
use crate::{BreakerState, Charge, LimitOutcome, StoreState};

/// Some nodes of one policy, and their store.
struct Fleet {
    nodes: Vec<Arc<Gateway>>,
    policy: String,
    model: Model,
    store: Store,
    now: Now,
    /// Sent so far, and how often a request waited.
    calls: usize,
    waits: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Up,
    Away,
    /// It grants more than it was asked.
    Lavish,
}

/// What a client and an operator see of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    retry_after: Option<String>,
    ratelimit: Vec<String>,
    limits: Vec<(String, LimitOutcome)>,
}

impl Fleet {
    fn new(nodes: usize, rate_limit: &str) -> Fleet {
        let policy = format!(
            "rate_limit: {{ store: {{ redis: {{ url: \"redis://one/\" }}, nodes: {nodes} }}, {rate_limit} }}\n\
             routing: {{ services: {{ s: {{ urls: [\"http://one\"] }} }} }}"
        );
        let nodes = (0..nodes).map(|number| node(&policy, number)).collect();
        Fleet { nodes, policy, model: Model::default(), store: Store::Up, now: NOW, calls: 0, waits: 0 }
    }

    fn ask(&mut self, node: usize) -> Seen {
        let gateway = self.nodes[node].clone();
        let peer = Peer::new([192, 0, 2, 1].into(), Scheme::Http, 0);
        let mut step = gateway.begin(head(), RequestBody::Empty, &peer, self.now);
        let reply = loop {
            step = match step {
                Step::Respond(reply) => break reply,
                Step::Charge(charge) => self.answer(charge),
                Step::Forward(forward) => {
                    let response = http::Response::new(()).into_parts().0;
                    forward.send().1.resume(Outcome::Response(response), self.now)
                }
                other => panic!("{other:?} is not asked for by this policy"),
            }
        };
        for call in gateway.store_calls() {
            let answer = self.run(call.call());
            call.done(answer, self.now);
        }
        let (head, _, exchange) = reply.into_parts();
        exchange.finish(End::Complete, 0, self.now);
        let mut events = Vec::new();
        gateway.drain(0, &mut events);
        let text = |value: &HeaderValue| value.to_str().expect("ASCII").to_owned();
        Seen {
            status: head.status.as_u16(),
            retry_after: head.headers.get("retry-after").map(text),
            ratelimit: head.headers.get_all("ratelimit").iter().map(text).collect(),
            limits: events[0].limits().map(|(name, outcome)| (name.to_owned(), outcome)).collect(),
        }
    }

    fn answer(&mut self, charge: Charge) -> Step {
        self.waits += 1;
        let answers: Vec<_> = charge.calls().iter().map(|call| self.run(call)).collect();
        charge.resume(answers, self.now)
    }

    fn run(&mut self, call: &Call) -> Result<Value, StoreFailure> {
        self.calls += 1;
        match self.store {
            Store::Up => Ok(self.model.answer(call, self.now.wall_us)),
            Store::Away => Err(StoreFailure::TimedOut),
            Store::Lavish => {
                Ok(Value::Array([1_000_000, 1, 9, 60_000_000, 1, 1, 0, 0].map(Value::Integer).into()))
            }
        }
    }

    /// What a timer does on every node, four times a second.
    fn tick(&mut self) {
        self.pass(250);
        for node in self.nodes.clone() {
            for call in node.background(self.now).store {
                let answer = self.run(call.call());
                call.done(answer, self.now);
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.wall_us += ms * 1_000;
        self.now.mono_us += ms * 1_000;
    }

    /// How many of so many requests, one a millisecond and to the nodes in turn, are admitted.
    fn admitted(&mut self, requests: usize) -> usize {
        let mut admitted = 0;
        for request in 0..requests {
            self.pass(1);
            admitted += usize::from(self.ask(request % self.nodes.len()).status == 200);
        }
        admitted
    }

    fn held(&self) -> u64 {
        held(&self.nodes[0], self.now)
    }
}

/// Processes differ in their seed, by which a node knows what it said itself.
fn node(policy: &str, number: usize) -> Arc<Gateway> {
    let loaded = config::load(policy, "test", &NoSources).expect("the policy is valid");
    Gateway::new(loaded.config, None, Options { seed: number as u64, ..options() })
        .expect("its routes differ")
}

fn head() -> request::Parts {
    Request::get("/s/a").header("host", "here").body(()).expect("a request").into_parts().0
}

fn held(node: &Gateway, now: Now) -> u64 {
    node.shared_limits(now).map(|(_, stats)| stats.held).sum()
}

fn said(limit: &str, outcome: LimitOutcome) -> (String, LimitOutcome) {
    (limit.to_owned(), outcome)
}

#[test]
fn nodes_share_a_window_and_ask_for_batches() {
    let mut fleet =
        Fleet::new(3, "default: { requests: 1000, window: 1h, algorithm: distributed, root: fixed_window }");
    assert_eq!(fleet.admitted(2_000), 1_000);
    assert!(fleet.calls < 100, "{} calls for 1,000 permits", fleet.calls);
}

#[test]
fn nodes_share_a_bucket_within_the_published_bound() {
    let mut fleet =
        Fleet::new(3, "default: { requests: 600, window: 1m, burst: 100, algorithm: distributed }");
    // Twenty come back in the two seconds that it takes.
    let admitted = fleet.admitted(2_000) as u64;
    let (_, stats) = fleet.nodes[0].shared_limits(fleet.now).next().expect("there is one");
    assert_eq!(stats.over_admission_bound, 10);
    assert!((115..=120 + stats.over_admission_bound).contains(&admitted), "{admitted}");
}

#[test]
fn an_exact_limit_asks_each_time_and_remembers_a_denial_for_a_second() {
    let mut fleet = Fleet::new(2, "default: { requests: 2, window: 1h, algorithm: sliding_window_log }");
    let seen = |status, left: u8, outcome| Seen {
        status,
        retry_after: (status == 429).then(|| "3600".to_owned()),
        ratelimit: vec![format!("\"default\";r={left};t=3600")],
        limits: vec![said("default", outcome)],
    };
    assert_eq!(fleet.ask(0), seen(200, 1, LimitOutcome::Admitted));
    assert_eq!(fleet.ask(1), seen(200, 0, LimitOutcome::Admitted));
    assert_eq!(fleet.ask(0), seen(429, 0, LimitOutcome::Refused));
    assert_eq!(fleet.calls, 3);
    fleet.pass(999);
    let remembered = fleet.ask(0);
    assert_eq!((remembered.status, remembered.retry_after.as_deref(), fleet.calls), (429, Some("3600"), 3));
    fleet.pass(1);
    assert_eq!((fleet.ask(0).status, fleet.calls), (429, 4));
}

const TWO_EXACT: &str = "algorithm: fixed_window, default: { requests: 5, window: 1h }, \
                         per_service: { s: { requests: 2, window: 1h } }";

#[test]
fn two_limits_are_asked_at_once() {
    let mut fleet = Fleet::new(1, TWO_EXACT);
    let seen = fleet.ask(0);
    assert_eq!((fleet.waits, fleet.calls), (1, 2));
    assert_eq!(seen.ratelimit, ["\"default\";r=4;t=3600", "\"s\";r=1;t=3600"]);
}

#[test]
fn what_one_limit_denies_costs_the_other_nothing() {
    let mut fleet = Fleet::new(1, TWO_EXACT);
    assert_eq!([(); 3].map(|()| fleet.ask(0).status), [200, 200, 429]);
    // Three charges of two limits, and the refund of the one that had room.
    assert_eq!(fleet.calls, 7);
    fleet.pass(1_001);
    let limits = [said("default", LimitOutcome::Spared), said("s", LimitOutcome::Refused)];
    assert_eq!(fleet.ask(0).limits, limits);
    let key = fleet.nodes[0].shared_limits(fleet.now).map(|(rules, stats)| (rules.name.clone(), stats.asked));
    assert_eq!(key.collect::<Vec<_>>(), [("default".to_owned(), 4), ("s".to_owned(), 4)]);
}

#[test]
fn what_is_refused_here_is_not_asked_elsewhere() {
    let mut fleet = Fleet::new(
        1,
        "default: { requests: 9, window: 1h, algorithm: distributed }, \
         per_service: { s: { requests: 1, window: 1h, shared: false } }",
    );
    assert_eq!(fleet.ask(0).status, 200);
    let seen = fleet.ask(0);
    assert_eq!((seen.status, fleet.calls), (429, 1));
    assert_eq!(seen.limits, [said("default", LimitOutcome::Unknown), said("s", LimitOutcome::Refused)]);
}

#[test]
fn permits_taken_for_a_request_that_another_limit_denies_are_put_back() {
    let mut fleet = Fleet::new(
        1,
        "default: { requests: 100, window: 1h, algorithm: distributed, root: fixed_window }, \
         per_service: { s: { requests: 30, window: 1h, algorithm: fixed_window } }",
    );
    assert_eq!(fleet.admitted(60), 30);
    assert_eq!(fleet.ask(0).ratelimit[0], "\"default\";r=70;t=3600");
}

#[test]
fn a_limit_in_shadow_is_asked_and_never_refuses() {
    let mut fleet =
        Fleet::new(1, "default: { requests: 1, window: 1h, algorithm: distributed, shadow: true }");
    assert_eq!(fleet.ask(0).limits, [said("default", LimitOutcome::Admitted)]);
    let seen = fleet.ask(0);
    assert_eq!((seen.status, seen.limits), (200, vec![said("default", LimitOutcome::Shadowed)]));
    fleet.store = Store::Away;
    fleet.pass(1_001);
    assert_eq!(fleet.ask(0).status, 200);
}

#[test]
fn without_the_store_each_node_admits_its_share() {
    let mut fleet = Fleet::new(2, "default: { requests: 10, window: 1h, algorithm: fixed_window }");
    fleet.store = Store::Away;
    assert_eq!(fleet.admitted(40), 10);
    assert_eq!(fleet.ask(0).ratelimit, ["\"default\";r=0;t=3600"]);
}

#[test]
fn what_a_node_borrowed_counts_towards_its_share() {
    let mut fleet =
        Fleet::new(2, "default: { requests: 100, window: 1h, algorithm: distributed, root: fixed_window }");
    assert_eq!(fleet.admitted(60), 60);
    fleet.store = Store::Away;
    // Each has had 30 of its 50, and may hold some.
    let held: u64 = (0..2).map(|node| held(&fleet.nodes[node], fleet.now)).sum();
    assert_eq!(fleet.admitted(200) as u64, 40 + held.saturating_sub(40), "{held} were held");
}

#[test]
fn without_the_store_what_is_borrowed_is_spent_first() {
    let mut fleet = Fleet::new(
        1,
        "default: { requests: 1000, window: 1h, algorithm: distributed, root: fixed_window, \
         on_store_failure: deny }",
    );
    assert_eq!(fleet.admitted(60), 60);
    let held = fleet.held() as usize;
    assert!(held > 0);
    fleet.store = Store::Away;
    assert_eq!(fleet.admitted(held + 20), held);
}

#[test]
fn without_the_store_a_limit_may_let_pass_or_refuse() {
    let rules = |choice| {
        format!("default: {{ requests: 1, window: 1h, algorithm: distributed, on_store_failure: {choice} }}")
    };
    let mut fleet = Fleet::new(1, &rules("allow"));
    fleet.store = Store::Away;
    let passed = Seen {
        status: 200,
        retry_after: None,
        ratelimit: vec![],
        limits: vec![said("default", LimitOutcome::Unknown)],
    };
    assert_eq!([fleet.ask(0), fleet.ask(0)], [passed.clone(), passed]);
    let mut fleet = Fleet::new(1, &rules("deny"));
    fleet.store = Store::Away;
    let refused = Seen {
        status: 503,
        retry_after: Some("1".to_owned()),
        ratelimit: vec![],
        limits: vec![said("default", LimitOutcome::Refused)],
    };
    assert_eq!(fleet.ask(0), refused);
}

#[test]
fn a_store_that_fails_is_left_alone_and_asked_again_later() {
    let rules = "default: { requests: 1, window: 1h, algorithm: distributed, on_store_failure: allow }";
    let mut fleet = Fleet::new(1, rules);
    fleet.store = Store::Away;
    assert_eq!((fleet.admitted(100), fleet.waits), (100, 5));
    assert_eq!(fleet.nodes[0].store_state(fleet.now), Some(StoreState::Open));
    fleet.store = Store::Up;
    fleet.pass(2_000);
    assert_eq!(([(); 2].map(|()| fleet.ask(0).status), fleet.waits), ([200, 429], 7));
}

#[test]
fn a_grant_of_more_than_was_asked_is_no_answer() {
    let rules = "default: { requests: 9, window: 1h, algorithm: distributed, on_store_failure: deny }";
    let mut fleet = Fleet::new(1, rules);
    fleet.store = Store::Lavish;
    assert_eq!(fleet.ask(0).status, 503);
}

#[test]
fn an_answer_that_is_missing_is_none() {
    let rules = "default: { requests: 9, window: 1h, algorithm: distributed, on_store_failure: deny }";
    let fleet = Fleet::new(1, rules);
    let answers = Answers { signature: true, key_set: true, connects: true, status: Some(200) };
    let seen = play(&fleet.nodes[0], head(), RequestBody::Empty, [192, 0, 2, 1], answers);
    assert_eq!((seen[0].status(), seen[0].reason()), (503, "quota_unknown"));
}

#[test]
fn what_is_held_outlives_a_configuration_and_is_given_back_at_the_end() {
    let rules = "default: { requests: 1000, window: 1h, algorithm: distributed, root: fixed_window }";
    let mut fleet = Fleet::new(1, rules);
    assert_eq!(fleet.admitted(60), 60);
    let held = fleet.held();
    let loaded = config::load(&fleet.policy, "test", &NoSources).expect("the policy is valid");
    let next = Gateway::new(loaded.config, Some(&fleet.nodes[0]), Options { generation: 2, ..options() });
    fleet.nodes[0] = next.expect("its routes differ");
    assert_eq!((fleet.held(), held > 0), (held, true));
    for call in fleet.nodes[0].close_leases(fleet.now) {
        let answer = fleet.run(call.call());
        call.done(answer, fleet.now);
    }
    assert_eq!(fleet.held(), 0);
    assert_eq!(fleet.ask(0).ratelimit, ["\"default\";r=939;t=3600"]);
}

const FLOODS: &str = "enabled: true }
security: { rate_limit: { ddos_protection: { max_requests_per_ip: 2, window: 1m, block_duration: 10m } }";

#[test]
fn an_address_that_one_node_bans_is_refused_by_all_until_it_is_lifted() {
    let mut fleet = Fleet::new(3, FLOODS);
    fleet.tick();
    assert_eq!([(); 3].map(|()| fleet.ask(0).status), [200, 200, 429]);
    assert_eq!(fleet.ask(1).status, 200);
    let within_us = fleet.nodes[0].bans_shared_within().expect("they are shared").as_micros() as u64;
    let banned_us = fleet.now.mono_us;
    while fleet.now.mono_us - banned_us <= within_us {
        fleet.tick();
    }
    let elapsed_s = (fleet.now.mono_us - banned_us).div_ceil(1_000_000);
    let seen = fleet.ask(1);
    assert!(seen.retry_after == Some((600 - elapsed_s + 1).to_string()) && seen.status == 429, "{seen:?}");
    assert!(fleet.nodes[2].lift_ban([192, 0, 2, 1].into(), fleet.now));
    (0..6).for_each(|_| fleet.tick());
    assert_eq!(fleet.nodes.iter().map(|node| node.bans(fleet.now).len()).collect::<Vec<_>>(), [0, 0, 0]);
}

#[test]
fn a_ban_that_is_lifted_before_anybody_was_told_is_lifted_everywhere() {
    let mut fleet = Fleet::new(2, FLOODS);
    assert_eq!([(); 3].map(|()| fleet.ask(0).status), [200, 200, 429]);
    assert!(fleet.nodes[0].lift_ban([192, 0, 2, 1].into(), fleet.now));
    (0..6).for_each(|_| fleet.tick());
    assert_eq!(fleet.nodes[1].bans(fleet.now), []);
}

#[test]
fn a_ban_is_told_once_the_store_is_back() {
    let mut fleet = Fleet::new(2, FLOODS);
    fleet.store = Store::Away;
    assert_eq!([(); 3].map(|()| fleet.ask(0).status), [200, 200, 429]);
    (0..20).for_each(|_| fleet.tick());
    assert_eq!(fleet.nodes[1].bans(fleet.now), []);
    fleet.store = Store::Up;
    (0..20).for_each(|_| fleet.tick());
    assert_eq!(fleet.nodes[1].bans(fleet.now).len(), 1);
}

#[test]
fn a_breaker_that_opens_on_one_node_opens_on_all_and_each_probes_by_itself() {
    let breaker =
        "circuit_breaker: { failure_rate: 0.5, minimum_calls: 2, window: 10s, open_for: 5s, probes: 1 }";
    let policy = format!(
        "rate_limit: {{ store: {{ redis: {{ url: \"redis://one/\" }}, share: {{ breakers: true }} }} }}\n\
         routing: {{ services: {{ s: {{ urls: [\"http://one\"], {breaker} }} }} }}"
    );
    let mut fleet = Fleet::new(2, "enabled: true");
    fleet.nodes = vec![node(&policy, 0), node(&policy, 1)];
    let failing = Answers { signature: true, key_set: true, connects: false, status: None };
    for _ in 0..2 {
        play(&fleet.nodes[0], head(), RequestBody::Empty, [192, 0, 2, 1], failing);
    }
    let state = |fleet: &Fleet, node: usize| {
        fleet.nodes[node]
            .service("s")
            .and_then(|service| service.breaker())
            .expect("it has one")
            .state(fleet.now)
    };
    assert_eq!([state(&fleet, 0), state(&fleet, 1)], [BreakerState::Open, BreakerState::Closed]);
    (0..5).for_each(|_| fleet.tick());
    assert_eq!(state(&fleet, 1), BreakerState::Open);
    fleet.pass(5_000);
    // One probe of its own closes it, while the other node still waits for a probe.
    assert_eq!(fleet.ask(1).status, 200);
    (0..5).for_each(|_| fleet.tick());
    assert_eq!([state(&fleet, 0), state(&fleet, 1)], [BreakerState::HalfOpen, BreakerState::Closed]);
}
