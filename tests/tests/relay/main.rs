//! What the relay acknowledged is in Kafka, whatever was killed, stopped or full in between.
//!
//! Each seed has a gateway with a spool of its own and two sources that send batches until they are acknowledged. Meanwhile
//! the gateway is killed at random points; in some seeds the broker is killed and started again, and in some the spool
//! is on a disk that is full before the broker comes back. In the end every event that was acknowledged is looked for.

mod broker;
mod gateway;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use broker::{Broker, Found};
use gateway::{Gateway, post};
use serde_json::{Value, json};

/// `tests/run relay --long` asks for more.
const SEEDS: u64 = 20;
const KILLS: u64 = 4;
const SOURCES: u64 = 2;
/// Of the disk that gets full.
const SMALL_DISK: &str = "size=6m";
/// What a gateway may have in flight to the broker when it is killed, and so may send again.
const IN_FLIGHT_MAX: u64 = 20_000;
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// What one seed had acknowledged.
struct Outcome {
    acknowledged: Vec<(String, String)>,
    kills: u64,
    refused_full: u64,
}

#[test]
fn every_acknowledged_event_is_in_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(folder.path(), gateway::free_port());
    let seeds = std::env::var("TOLLGATE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let outcomes: Vec<Outcome> = (0..seeds).map(|seed| play(seed, folder.path(), &mut broker)).collect();
    let found = broker.read("api-events");
    report(&outcomes, &found);
}

fn report(outcomes: &[Outcome], found: &Found) {
    let acknowledged: Vec<_> = outcomes.iter().flat_map(|outcome| &outcome.acknowledged).collect();
    let lost = acknowledged.iter().filter(|event| !found.contains_key(event)).count();
    let kills: u64 = outcomes.iter().map(|outcome| outcome.kills).sum();
    let refused: u64 = outcomes.iter().map(|outcome| outcome.refused_full).sum();
    let repeated: u64 = found.values().map(|times| times - 1).sum();
    println!("figure relay_kills {kills}");
    println!("figure refused_full {refused}");
    println!("figure acknowledged {}", acknowledged.len());
    println!("figure repeated_in_broker {repeated}");
    println!("figure lost_acknowledged {lost}");
    assert_eq!(lost, 0);
    assert!(!acknowledged.is_empty() && refused > 0);
    assert!(repeated <= kills * IN_FLIGHT_MAX);
}

fn play(seed: u64, folder: &Path, broker: &mut Broker) -> Outcome {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let own = folder.join(format!("seed-{seed}"));
    std::fs::create_dir_all(&own).unwrap();
    let disk = (seed % 5 == 3).then(|| SmallDisk::mount(&own.join("disk"))).flatten();
    let spool = disk.as_ref().map_or(own.clone(), |disk| disk.0.clone()).join("spool");
    let ack = if seed % 3 == 1 { "broker" } else { "spooled" };
    if disk.is_some() {
        broker.kill();
    }
    let mut gateway =
        Gateway::start(&own, &spool, &broker.address(), if disk.is_some() { "spooled" } else { ack });
    let (stop, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let relay = gateway.relay();
    let acknowledged = thread::scope(|scope| {
        let sources: Vec<_> = (0..SOURCES)
            .map(|index| {
                let name = format!("tollgate://test-{seed}/{index}");
                let (stop, refused) = (&stop, &refused);
                scope.spawn(move || send(relay, &name, seed + index, stop, refused))
            })
            .collect();
        for _ in 0..KILLS {
            thread::sleep(Duration::from_millis(50 + draw(&mut random, 400)));
            gateway.restart();
        }
        if disk.is_some() {
            while refused.load(Relaxed) == 0 {
                thread::sleep(Duration::from_millis(10));
            }
            gateway.restart();
            broker.restart();
        } else if seed % 5 == 1 {
            broker.restart();
            gateway.restart();
        }
        thread::sleep(Duration::from_millis(200));
        stop.store(true, Relaxed);
        sources.into_iter().flat_map(|source| source.join().unwrap()).collect()
    });
    gateway.drain(DRAIN_MAX);
    Outcome { acknowledged, kills: KILLS, refused_full: refused.into_inner() }
}

/// Sends batches, each until it is acknowledged; the events that were.
fn send(
    relay: SocketAddr,
    source: &str,
    seed: u64,
    stop: &AtomicBool,
    refused: &AtomicU64,
) -> Vec<(String, String)> {
    let (mut random, mut sequence, mut acknowledged) = (seed, 0, Vec::new());
    while !stop.load(Relaxed) {
        let events: Vec<Value> = (0..=draw(&mut random, 40)).map(|_| event(source, &mut sequence)).collect();
        let ids: HashSet<String> =
            events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
        let batch = Value::from(events);
        while !stop.load(Relaxed) {
            match post(relay, &batch) {
                Some(200 | 202) => {
                    acknowledged.extend(ids.into_iter().map(|id| (source.to_owned(), id)));
                    break;
                }
                Some(503) => drop(refused.fetch_add(1, Relaxed)),
                Some(status) => panic!("{source}: {status}"),
                None => {}
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    acknowledged
}

fn event(source: &str, sequence: &mut u64) -> Value {
    *sequence += 1;
    json!({
        "specversion": "1.0", "type": "dev.tollgate.api.v1", "source": source, "id": sequence.to_string(),
        "bootepoch": "1", "sequence": sequence.to_string(),
        "data": { "user_id": format!("user-{}", *sequence % 50), "path": "x".repeat(400) },
    })
}

/// A disk in memory, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount anything.
    fn mount(path: &Path) -> Option<SmallDisk> {
        std::fs::create_dir_all(path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"]).arg(path).status();
        mounted.is_ok_and(|status| status.success()).then(|| SmallDisk(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}
