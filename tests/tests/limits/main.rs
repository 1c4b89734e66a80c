//! Three proxies and one Redis under load: what they admit together, while Redis is there, away, back or emptied, and
//! when a proxy dies.
//!
//! Rates here are small and windows short, so that each test takes seconds; `tests/bench/limits` prints figures.

mod figures;
mod fleet;
mod load;

use std::time::Duration;

use fleet::Fleet;
use load::{Answer, Load, admitted};
use serde_json::json;
use tollgate_tests::redis::{Redis, Server, eventually, free_port};

const WINDOW_S: u64 = 3;
const REQUESTS: u64 = 300;

/// 100 a second in each window, borrowed for a second.
fn window() -> serde_json::Value {
    json!({
        "algorithm": "distributed", "root": "fixed_window", "lease": { "target": "1s" },
        "requests": REQUESTS, "window": format!("{WINDOW_S}s"),
    })
}

/// Each window by itself: what was sent and answered within it is in it for certain.
fn check_windows(answers: &[Answer]) -> Vec<u64> {
    let window_us = WINDOW_S * 1_000_000;
    let mut windows = std::collections::BTreeMap::<u64, u64>::new();
    for answer in
        admitted(answers).filter(|answer| answer.sent_us / window_us == answer.received_us / window_us)
    {
        *windows.entry(answer.sent_us / window_us).or_default() += 1;
    }
    for (window, count) in &windows {
        assert!(*count <= REQUESTS, "{count} in window {window}");
    }
    let span = answers.iter().map(|answer| answer.received_us / window_us).max().unwrap()
        - answers.iter().map(|answer| answer.sent_us / window_us).min().unwrap();
    let all = admitted(answers).count() as u64;
    assert!(all <= REQUESTS * (span + 1), "{all} in {} windows", span + 1);
    windows.into_values().collect()
}

fn only(answers: &[Answer], statuses: &[u16]) {
    for answer in answers {
        assert!(statuses.contains(&answer.status), "{answer:?}");
    }
}

#[tokio::test]
async fn three_nodes_share_a_window_and_never_exceed_it() {
    let redis = Server::start();
    let fleet = Fleet::start(3, redis.port, json!({ "s": window() })).await;
    let answers = Load { rate: 100, seconds: 3 * WINDOW_S, path: "/s/" }.on_all(&fleet).await;
    only(&answers, &[200, 429]);
    let windows = check_windows(&answers);
    // The first and the last one were not whole.
    assert!(windows[1..windows.len() - 1].iter().all(|count| *count >= REQUESTS * 8 / 10), "{windows:?}");
    let commands: f64 = fleet.sum("store_commands_total").await;
    assert!(commands < answers.len() as f64 / 4.0, "{commands} commands for {} requests", answers.len());
    assert_eq!(fleet.sum("store_failures_total").await, 0.0);
}

#[tokio::test]
async fn three_nodes_exceed_a_token_bucket_by_no_more_than_the_published_bound() {
    let redis = Server::start();
    // 100 a second, of which those of half a second may be borrowed: an excess of 50.
    let limit = json!({
        "algorithm": "distributed", "lease": { "target": "500ms" },
        "requests": 200, "window": "2s", "burst": 60,
    });
    let fleet = Fleet::start(3, redis.port, json!({ "s": limit })).await;
    let answers = Load { rate: 80, seconds: 6, path: "/s/" }.on_all(&fleet).await;
    only(&answers, &[200, 429]);
    assert_eq!(fleet.sum("store_failures_total").await, 0.0);
    let mut passed: Vec<&Answer> = admitted(&answers).collect();
    passed.sort_by_key(|answer| answer.received_us);
    for from in &passed {
        let mut count = 0;
        for until in passed.iter().filter(|until| until.sent_us >= from.sent_us) {
            count += 1;
            let interval_us = until.received_us - from.sent_us;
            let most = 60 + interval_us.div_ceil(10_000) + 50;
            assert!(count <= most, "{count} of {most} in {interval_us} µs");
        }
    }
    assert!(passed.len() >= 500, "of 660 and what is borrowed, {}", passed.len());
}

#[tokio::test]
async fn a_node_that_is_killed_takes_what_it_held_and_nothing_else() {
    let redis = Server::start();
    let mut fleet = Fleet::start(3, redis.port, json!({ "s": window() })).await;
    let load = Load { rate: 100, seconds: 4 * WINDOW_S, path: "/s/" };
    let lost = fleet.nodes.pop().unwrap();
    let doomed = async {
        let on_it = load.on(lost.address);
        let kill = async {
            tokio::time::sleep(Duration::from_secs(WINDOW_S)).await;
            drop(lost.process);
        };
        tokio::join!(on_it, kill).0
    };
    let (mut answers, of_the_lost) = tokio::join!(load.on_all(&fleet), doomed);
    only(&answers, &[200, 429]);
    only(&of_the_lost, &[200, 429, load::BROKEN]);
    assert!(of_the_lost.iter().any(|answer| answer.status == load::BROKEN), "it was killed");
    answers.extend(of_the_lost);
    let windows = check_windows(&answers);
    // The other two ask for 200 a second, of which 100 are there.
    let last_whole = windows[windows.len() - 2];
    assert!(last_whole >= REQUESTS * 8 / 10, "{windows:?}");
}

#[tokio::test]
async fn without_redis_each_limit_does_what_it_says_until_redis_is_back() {
    let port = free_port();
    let redis = Server::start_with(port, &[]);
    let exact = |on_store_failure: &str| json!({ "algorithm": "fixed_window", "requests": 60, "window": "1h", "on_store_failure": on_store_failure });
    let limits = json!({ "allow": exact("allow"), "deny": exact("deny"), "share": exact("local_share") });
    let fleet = Fleet::start(3, port, limits).await;
    for path in ["/allow/", "/deny/", "/share/"] {
        assert_eq!(fleet.nodes[0].get(path).await.status, 200, "{path}");
    }
    redis.kill();
    let mut admitted_by_share = 0;
    for node in &fleet.nodes {
        for _ in 0..70 {
            let answers = [node.get("/allow/").await, node.get("/deny/").await, node.get("/share/").await];
            for answer in &answers {
                let took_us = answer.received_us - answer.sent_us;
                assert!(took_us < 500_000, "a decision took {took_us} µs");
            }
            assert_eq!([answers[0].status, answers[1].status], [200, 503]);
            admitted_by_share += u64::from(answers[2].status == 200);
        }
    }
    // 60 for three nodes, each of which has 20 for itself.
    assert_eq!(admitted_by_share, 60);
    assert!(fleet.sum("store_failures_total").await > 0.0);
    let mut redis = Server::start_with(port, &[]);
    for node in &fleet.nodes {
        let back = async {
            while node.get("/deny/").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), back).await.expect("the node asks again");
    }
    eventually("limits are counted in it again", || match redis.words(&["KEYS", "tg:{test:*"]) {
        tollgate_core::store::Value::Array(keys) if !keys.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[tokio::test]
async fn a_redis_that_is_emptied_under_load_costs_no_request() {
    let mut redis = Server::start();
    let fleet = Fleet::start(3, redis.port, json!({ "s": window() })).await;
    let load = Load { rate: 100, seconds: 2 * WINDOW_S, path: "/s/" };
    let empty = tokio::task::spawn_blocking(move || {
        for _ in 0..4 {
            std::thread::sleep(Duration::from_secs(1));
            redis.words(&["FLUSHALL"]);
            redis.words(&["SCRIPT", "FLUSH"]);
        }
        redis
    });
    let (answers, redis) = tokio::join!(load.on_all(&fleet), empty);
    only(&answers, &[200, 429]);
    // Each time a window begins anew: outside of the bound, and no more than that.
    let most = REQUESTS * (2 + 1 + 4);
    assert!(admitted(&answers).count() as u64 <= most);
    assert_eq!(fleet.sum("store_failures_total").await, 0.0);
    drop(redis);
}
