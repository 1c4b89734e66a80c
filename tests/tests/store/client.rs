//! The proxy's client of the store, against real servers that stop, come back, move and are replaced.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rcgen::{CertificateParams, KeyPair};
use tollgate::store::{Store, Stores};
use tollgate_core::config::{self, Algorithm, NoSources};
use tollgate_core::store::{Call, Charged, Key, Operation, Outcome, Part, Rule, StoreFailure};

use crate::bridge;
use crate::cluster::{Cluster, Stage};
use tollgate_tests::gateway::PATIENCE;
use tollgate_tests::redis::{Process, Redis, Server, eventually, free_port, shown};

/// Of most tests here: long enough for a busy machine, and short enough to wait for.
const TIMEOUT: Duration = Duration::from_millis(500);
const BURST: u64 = 1_000;

/// The store of a policy with these lines.
pub(crate) fn stores(section: &str) -> Stores {
    let text = format!("rate_limit:\n  store:\n    timeout: {}ms\n    {section}\n", TIMEOUT.as_millis());
    let loaded = config::load(&text, "store", &NoSources).unwrap();
    Stores::new(&loaded.config.limits.store.unwrap()).unwrap()
}

fn native(port: u16) -> Stores {
    stores(&format!("redis: {{ url: \"redis://127.0.0.1:{port}\" }}"))
}

fn rule() -> Rule {
    Rule::new(Algorithm::FixedWindow, BURST, Duration::from_secs(366 * 86_400), BURST).unwrap()
}

fn key(subject: &str) -> Key {
    Key::new(Part::Plain("acme"), Part::Plain(subject), "l", &rule())
}

pub(crate) fn charge(subject: &str, cost: u64) -> Call {
    Call::new(key(subject), &Operation::Charge { rule: rule(), cost }).unwrap()
}

fn remaining(outcome: &Outcome) -> Result<u64, StoreFailure> {
    let value = outcome.as_ref().map_err(|failure| *failure)?;
    Ok(Charged::read(&rule(), 1, value).unwrap().remaining)
}

/// What is left after another charge of 1.
async fn charged(store: &Store, subject: &str) -> Result<u64, StoreFailure> {
    remaining(&store.run(&[charge(subject, 1)]).await[0])
}

/// The first charge that is answered.
async fn answered(store: &Store, subject: &str) -> u64 {
    let started = Instant::now();
    loop {
        match charged(store, subject).await {
            Ok(remaining) => return remaining,
            Err(failure) => assert!(started.elapsed() < PATIENCE, "it does not come back: {failure}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_batch_is_one_pipeline_whose_answers_are_in_order() {
    let server = Server::start();
    let stores = native(server.port);
    let store = stores.connect();
    let calls = [charge("a", 1), charge("b", 20), charge("a", 300)];
    let answers = |outcomes: Vec<Outcome>| outcomes.iter().map(remaining).collect::<Vec<_>>();
    assert_eq!(answers(store.run(&calls).await), [Ok(999), Ok(980), Ok(699)]);
    // Three that were not known by their digest, and then again, the first of them by its text.
    assert_eq!(stores.stats().commands, 6);
    assert_eq!(answers(store.run(&calls).await), [Ok(698), Ok(960), Ok(398)]);
    let stats = stores.stats();
    assert_eq!((stats.commands, stats.failures), (9, [0; 4]));
    assert_eq!(stats.latency.iter().sum::<u64>(), 2);
}

#[tokio::test]
async fn a_batch_of_any_size_is_answered() {
    let server = Server::start();
    let store = native(server.port).connect();
    assert_eq!(store.run(&[]).await, []);
    let calls: Vec<Call> = (0..500).map(|_| charge("a", 1)).collect();
    let left: Vec<_> = store.run(&calls).await.iter().map(remaining).collect();
    assert_eq!(left, (500..1_000).rev().map(Ok).collect::<Vec<_>>());
}

#[tokio::test]
async fn scripts_that_are_flushed_are_sent_again_and_run_once() {
    let mut server = Server::start();
    let stores = native(server.port);
    let store = stores.connect();
    assert_eq!(charged(&store, "a").await, Ok(999));
    server.words(&["SCRIPT", "FLUSH"]);
    let together = join_all((0..50).map(|_| charged(&store, "a"))).await;
    let distinct: HashSet<_> = together.iter().map(|left| left.unwrap()).collect();
    assert_eq!(distinct, (949..999).collect());
    assert_eq!(stores.stats().failures, [0; 4]);
}

#[tokio::test]
async fn a_store_that_is_away_fails_calls_and_comes_back_by_itself() {
    let port = free_port();
    let stores = native(port);
    let store = stores.connect();
    assert_eq!(charged(&store, "a").await, Err(StoreFailure::Unreachable));
    let server = Server::start_with(port, &[]);
    assert_eq!(answered(&store, "a").await, 999);
    server.kill();
    let began = Instant::now();
    assert_eq!(charged(&store, "a").await, Err(StoreFailure::Unreachable));
    assert!(began.elapsed() < TIMEOUT, "what cannot be reached is not waited for");
    let _server = Server::start_with(port, &[]);
    assert_eq!(answered(&store, "a").await, 999);
    let failed = stores.stats().failures;
    assert!(failed[StoreFailure::Unreachable as usize] >= 2 && failed[1..].len() == 3, "{failed:?}");
}

#[tokio::test]
async fn a_silent_store_is_waited_for_until_the_time_is_over_by_so_many_and_no_more() {
    let server = Server::start();
    let stores = native(server.port);
    let store = stores.connect();
    assert_eq!(charged(&store, "a").await, Ok(999));
    server.signal("STOP");
    let began = Instant::now();
    let all = join_all((0..2_000).map(|_| charged(&store, "a"))).await;
    let took = began.elapsed();
    let count = |failure| all.iter().filter(|outcome| **outcome == Err(failure)).count();
    assert_eq!((count(StoreFailure::TimedOut), count(StoreFailure::Unreachable)), (1_024, 976));
    assert!(TIMEOUT <= took && took < TIMEOUT * 4, "{took:?}");
    server.signal("CONT");
    assert_eq!(answered(&store, "b").await, 999);
}

#[tokio::test]
async fn a_store_that_wants_a_password_gets_the_one_in_the_url() {
    let server = Server::start();
    let mut admin = server;
    admin.words(&[
        "ACL", "SETUSER", "tg", "on", ">se/cret", "~tg:*", "+evalsha", "+eval", "+time", "+get", "+set",
    ]);
    let port = admin.port;
    let store = |credentials: &str| {
        stores(&format!("redis: {{ url: \"redis://{credentials}@127.0.0.1:{port}\" }}")).connect()
    };
    assert_eq!(charged(&store("tg:se%2Fcret"), "a").await, Ok(999));
    assert_eq!(charged(&store("tg:other"), "a").await, Err(StoreFailure::Refused));
    admin.words(&["ACL", "SETUSER", "tg", "-set"]);
    assert_eq!(charged(&store("tg:se%2Fcret"), "a").await, Err(StoreFailure::Refused));
}

#[tokio::test]
async fn a_key_that_holds_something_else_is_refused() {
    let mut server = Server::start();
    let store = native(server.port).connect();
    server.words(&["LPUSH", key("a").as_str(), "x"]);
    assert_eq!(charged(&store, "a").await, Err(StoreFailure::Refused));
    assert_eq!(charged(&store, "b").await, Ok(999));
}

#[tokio::test]
async fn tls_trusts_the_file_that_is_named_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        let (certificate_file, key_file) =
            (folder.path().join(format!("{name}.crt")), folder.path().join(format!("{name}.key")));
        std::fs::write(&certificate_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        (certificate_file, key_file)
    };
    let ((own, own_key), (other, _)) = (certificate("own"), certificate("other"));
    let port = free_port().to_string();
    let _server = Process::start(&[
        "--port",
        "0",
        "--tls-port",
        &port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        shown(&own),
        "--tls-key-file",
        shown(&own_key),
        "--tls-ca-cert-file",
        shown(&own),
    ]);
    let store = |host: &str, ca_file: &std::path::Path| {
        let section =
            format!("redis: {{ url: \"rediss://{host}:{port}\", ca_file: \"{}\" }}", ca_file.display());
        stores(&section).connect()
    };
    assert_eq!(answered(&store("localhost", &own), "a").await, 999);
    assert_eq!(charged(&store("localhost", &other), "a").await, Err(StoreFailure::Unreachable));
    assert_eq!(charged(&store("127.0.0.1", &own), "a").await, Err(StoreFailure::Unreachable));
    let missing = config::load(
        "rate_limit: { store: { redis: { url: \"rediss://a\", ca_file: nowhere.pem } } }",
        "store",
        &NoSources,
    );
    let error = Stores::new(&missing.unwrap().config.limits.store.unwrap()).err().unwrap().to_string();
    assert!(error.starts_with("rate_limit.store.redis: `ca_file` cannot be used: nowhere.pem: "), "{error}");
}

#[tokio::test]
async fn sentinels_say_who_the_master_is_also_after_it_was_lost() {
    let master = Server::start();
    let mut replica =
        Server::start_with(free_port(), &["--replicaof", &format!("127.0.0.1 {}", master.port)]);
    eventually("the replica follows", || match replica.words(&["INFO", "replication"]) {
        info if format!("{info:?}").contains("master_link_status:up") => Ok(()),
        info => Err(format!("{info:?}")),
    });
    let sentinel_port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let configuration = format!(
        "port {sentinel_port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds mymaster 300\nsentinel failover-timeout mymaster 3000\n",
        master.port
    );
    std::fs::write(folder.path().join("sentinel.conf"), configuration).unwrap();
    let _sentinel = Process::start_in(folder, &["sentinel.conf", "--sentinel"]);
    let away = free_port();
    let stores = stores(&format!(
        "redis: {{ urls: [\"redis://127.0.0.1:{away}\", \"redis://127.0.0.1:{sentinel_port}\"], \
         sentinel: {{ master: mymaster }} }}"
    ));
    let store = stores.connect();
    assert_eq!(answered(&store, "a").await, 999);
    eventually("the replica has it", || match replica.words(&["EXISTS", key("a").as_str()]) {
        tollgate_core::store::Value::Integer(1) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let sentinel = redis::Client::open(("127.0.0.1", sentinel_port)).unwrap();
    eventually("the sentinel knows the replica", || -> Result<(), String> {
        let mut connection = sentinel.get_connection().map_err(|error| error.to_string())?;
        let replicas: redis::Value = redis::cmd("SENTINEL")
            .arg(&["replicas", "mymaster"])
            .query(&mut connection)
            .map_err(|error| error.to_string())?;
        match format!("{replicas:?}").contains("slave") {
            true => Ok(()),
            false => Err(format!("{replicas:?}")),
        }
    });
    master.kill();
    assert_eq!(answered(&store, "a").await, 998, "the replica has become the master");
}

#[tokio::test]
async fn a_cluster_is_asked_where_the_key_is_also_after_it_moved() {
    let mut cluster = Cluster::start();
    // By one node's name, which tells of the others.
    let port = cluster.nodes[1].port;
    let stores = stores(&format!("redis: {{ url: \"redis://127.0.0.1:{port}\", cluster: true }}"));
    let store = stores.connect();
    let subjects: Vec<String> = (0..30).map(|number| format!("s{number}")).collect();
    let calls: Vec<Call> = subjects.iter().map(|subject| charge(subject, 1)).collect();
    let owners: HashSet<usize> =
        subjects.iter().map(|subject| cluster.owner(key(subject).as_str())).collect();
    assert_eq!(owners.len(), 3);
    for left in [999, 998] {
        let outcomes = store.run(&calls).await;
        assert_eq!(outcomes.iter().map(remaining).collect::<Vec<_>>(), vec![Ok(left); calls.len()]);
    }
    // A slot on its way: its keys that are not here any more, or yet, are asked for there.
    let subject = "moving";
    let slot = cluster.slot(key(subject).as_str());
    let (from, to) = (cluster.owner(key(subject).as_str()), 0);
    let to = if from == to { 1 } else { to };
    cluster.assign(slot, from, to, Stage::Moving);
    assert_eq!(charged(&store, subject).await, Ok(999));
    assert_eq!(charged(&store, subject).await, Ok(998));
    cluster.assign(slot, from, to, Stage::Moved);
    assert_eq!(charged(&store, subject).await, Ok(997));
    assert_eq!(charged(&store, subject).await, Ok(996));
    assert_eq!(stores.stats().failures, [0; 4]);
}

#[tokio::test]
async fn a_lost_node_of_a_cluster_takes_only_its_own_keys_with_it() {
    let mut cluster = Cluster::start();
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let urls: Vec<String> = ports.iter().map(|port| format!("\"redis://127.0.0.1:{port}\"")).collect();
    let store = stores(&format!("redis: {{ urls: [{}], cluster: true }}", urls.join(", ")));
    let store = store.connect();
    for node in &mut cluster.nodes {
        node.words(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let subjects: Vec<String> = (0..30).map(|number| format!("s{number}")).collect();
    let calls: Vec<Call> = subjects.iter().map(|subject| charge(subject, 1)).collect();
    let lost: Vec<bool> = subjects.iter().map(|subject| cluster.owner(key(subject).as_str()) == 2).collect();
    assert_eq!(store.run(&calls).await.iter().map(remaining).collect::<Vec<_>>(), vec![Ok(999); 30]);
    cluster.nodes.pop().unwrap().kill();
    let expected = lost.iter().map(|lost| if *lost { Err(StoreFailure::Unreachable) } else { Ok(998) });
    let outcomes = store.run(&calls).await;
    assert_eq!(outcomes.iter().map(remaining).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn the_rest_protocol_is_another_way_to_the_same_answers() {
    let mut server = Server::start();
    let bridge = bridge::start(&mut server);
    let over_rest =
        |token: &str| stores(&format!("rest: {{ url: \"http://{}\", token: {token} }}", bridge.address));
    let stores = over_rest(bridge::GATEWAY);
    let store = stores.connect();
    let calls = [charge("a", 1), charge("b", 20), charge("a", 300)];
    let outcomes = store.run(&calls).await;
    assert_eq!(outcomes.iter().map(remaining).collect::<Vec<_>>(), [Ok(999), Ok(980), Ok(699)]);
    assert_eq!(stores.stats().commands, 6);
    assert_eq!(charged(&native(server.port).connect(), "a").await, Ok(698));
    let together = join_all((0..100).map(|_| charged(&store, "a"))).await;
    let distinct: HashSet<_> = together.iter().map(|left| left.unwrap()).collect();
    assert_eq!(distinct, (598..698).collect());
    let wrong = over_rest("another").connect();
    assert_eq!(charged(&wrong, "a").await, Err(StoreFailure::Refused));
    server.kill();
    assert_eq!(charged(&store, "a").await, Err(StoreFailure::Unreachable));
}
