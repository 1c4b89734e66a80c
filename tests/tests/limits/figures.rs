//! What shared limits cost and keep in real time, a line a figure: `tests/bench/limits` runs this beside the simulated
//! figures, which take more nodes and keys than one machine has room for.

use serde_json::json;
use tollgate_core::store::Value;
use tollgate_tests::redis::{Redis, Server};

use crate::fleet::Fleet;
use crate::load::{Answer, Load, admitted};

/// Commands of scripts and of nobody else here, each of which some services bill.
const INSIDE: [&str; 6] = ["time", "get", "set", "zadd", "zrange", "pexpire"];

fn print(name: &str, value: f64) {
    println!("{name} {value:.4}");
}

#[tokio::test]
#[ignore = "figures, not a check"]
async fn commands() {
    let mut redis = Server::start();
    let limit = |requests| {
        json!({
            "algorithm": "distributed", "root": "fixed_window", "lease": { "target": "10s" },
            "requests": requests, "window": "1m",
        })
    };
    let limits = json!({ "hot": limit(100_000), "spent": limit(1) });
    let fleet = Fleet::start(2, redis.port, limits).await;
    let answers = Load { rate: 1_000, seconds: 30, path: "/hot/" }.on_all(&fleet).await;
    let passed = admitted(&answers).count() as f64;
    assert!(passed > 0.9 * answers.len() as f64, "{passed} of {} admitted", answers.len());
    print("real_redis_commands_per_admit_hot", fleet.sum("store_commands_total").await / passed);
    print("real_redis_commands_inside_scripts_per_admit_hot", inside(&mut redis) / passed);
    let before = fleet.sum("store_commands_total").await;
    let answers = Load { rate: 250, seconds: 30, path: "/spent/" }.on_all(&fleet).await;
    let refused = answers.iter().filter(|answer| answer.status == 429).count() as f64;
    print("real_redis_commands_per_denial", (fleet.sum("store_commands_total").await - before) / refused);
}

#[tokio::test]
#[ignore = "figures, not a check"]
async fn cold() {
    let redis = Server::start();
    let limit =
        json!({ "algorithm": "distributed", "requests": 100, "window": "1m", "lease": { "target": "1s" } });
    let fleet = Fleet::start(1, redis.port, json!({ "s": limit })).await;
    // Redis knows the script from then on.
    assert_eq!(fleet.nodes[0].get("/s/").await.status, 200);
    let fresh = Fleet::start(1, redis.port, json!({ "s": limit })).await;
    assert_eq!(fresh.nodes[0].get("/s/").await.status, 200);
    // A node's exchange of notices, which comes by time and not by request, is none of them.
    print("real_redis_round_trips_cold", fresh.sum("rate_limit_store_waits_total").await);
}

#[tokio::test]
#[ignore = "figures, not a check"]
async fn over_admission() {
    let redis = Server::start();
    let bucket = |reserve| {
        json!({
            "algorithm": "distributed", "requests": 600, "window": "6s", "burst": 300,
            "lease": { "target": "1s", "reserve": reserve },
        })
    };
    let window = json!({
        "algorithm": "distributed", "root": "fixed_window", "requests": 600, "window": "6s",
        "lease": { "target": "1s" },
    });
    let limits = json!({ "window": window, "reserved": bucket(true), "gcra": bucket(false) });
    let fleet = Fleet::start(3, redis.port, limits).await;
    let load = |path| Load { rate: 70, seconds: 24, path };
    let (window, reserved, gcra) = (load("/window/"), load("/reserved/"), load("/gcra/"));
    let all = tokio::join!(window.on_all(&fleet), reserved.on_all(&fleet), gcra.on_all(&fleet));
    let (window, reserved, gcra) = all;
    print("over_admission_pct_window", 100.0 * (most_in_a_window(&window, 6_000_000) / 600.0 - 1.0).max(0.0));
    let above = |answers: &[Answer], excess| most_of_bucket(answers, 300.0, 100.0, excess);
    print("over_admission_pct_gcra_reserved", 100.0 * (above(&reserved, 0.0) - 1.0).max(0.0));
    print("over_admission_vs_bound_gcra", above(&gcra, 100.0));
}

/// Of what was sent and answered within one window.
fn most_in_a_window(answers: &[Answer], window_us: u64) -> f64 {
    let inside =
        admitted(answers).filter(|answer| answer.sent_us / window_us == answer.received_us / window_us);
    let mut windows = std::collections::BTreeMap::<u64, u64>::new();
    inside.for_each(|answer| *windows.entry(answer.sent_us / window_us).or_default() += 1);
    windows.into_values().max().unwrap_or(0) as f64
}

/// The largest part that any interval has of burst, rate and excess.
fn most_of_bucket(answers: &[Answer], burst: f64, per_s: f64, excess: f64) -> f64 {
    let mut passed: Vec<&Answer> = admitted(answers).collect();
    passed.sort_by_key(|answer| answer.received_us);
    let mut most = 0.0_f64;
    for from in &passed {
        let mut count = 0.0;
        for until in passed.iter().filter(|until| until.sent_us >= from.sent_us) {
            count += 1.0;
            let interval_s = (until.received_us - from.sent_us) as f64 / 1e6;
            most = most.max(count / (burst + per_s * interval_s + excess));
        }
    }
    most
}

fn inside(redis: &mut Server) -> f64 {
    let Value::Text(info) = redis.words(&["INFO", "commandstats"]) else { panic!("INFO is a text") };
    let info = String::from_utf8(info.to_vec()).expect("INFO is ASCII");
    let calls = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")))?;
        line.split(',').next()?.parse::<f64>().ok()
    };
    INSIDE.iter().filter_map(|name| calls(name)).sum()
}
