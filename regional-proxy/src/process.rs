//! One process: the data path, what runs beside it, and the signals that end it.

mod observe;
mod reload;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tollgate_core::{Hook, Options, Place};
use tracing::{info, warn};

use crate::admin::{self, Admin};
use crate::bridge;
use crate::delivery::Delivery;
use crate::event_log::EventLog;
use crate::metrics::{Events, Metrics, Tallies};
use crate::policy::{self, PolicyFile};
use crate::relay::Relay;
use crate::{Listeners, Shared, TlsServer, serve};

pub use reload::Reloader;

/// Between two looks at the policy file and the certificates.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Serves a policy until SIGTERM or SIGINT, then drains. `hooks` run on every request that the policy admits; `started` is
/// called once everything listens.
pub fn run(policy: PolicyFile, hooks: Vec<Arc<dyn Hook>>, started: impl FnOnce(&Shared)) -> Result<()> {
    observe::logs(policy.loaded.config.monitoring.log_level);
    policy::warn(&policy.loaded);
    let config = policy.loaded.config.clone();
    let lanes =
        config.server.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let options = Options { hooks, ..options(lanes)? };
    let gateway = policy.gateway(None, options.clone())?;
    let tls = config.security.tls.clone().map(TlsServer::new).transpose()?.map(Arc::new);
    // From the first connection on, no signal has its default effect any more.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = runtime.block_on(async { Signals::new() })?;
    let listeners = Listeners::bind(&config.server.listen)?;
    let admin_listener =
        config.server.admin.as_ref().map(|admin| Listeners::bind(&[admin.listen])).transpose()?;
    let bridge_listener =
        config.redis_bridge.as_ref().map(|bridge| Listeners::bind(&[bridge.listen])).transpose()?;
    let relay_listener = config.relay.as_ref().map(|relay| Listeners::bind(&[relay.listen])).transpose()?;
    let (delivery, delivering) = config.events.delivery.as_ref().map(Delivery::start).transpose()?.unzip();
    let (log, writing) = match config.events.enabled && delivery.is_none() {
        true => EventLog::open(&config.events).map(|(log, writing)| (Some(log), Some(writing)))?,
        false => (None, None),
    };
    let addresses = listeners.addresses();
    let shared = Shared::new(gateway, lanes, tls.clone(), policy.issuer(None)?)?;
    let tallies = Tallies::new(lanes);
    let sinks = (0..lanes)
        .map(|lane| {
            let way = observe::Way { log: log.clone(), delivery: delivery.clone() };
            observe::sink(lane, tallies.clone(), way, &config.monitoring)
        })
        .collect();
    let relay = match (relay_listener, &config.relay, &delivery) {
        (Some(listener), Some(config), Some(delivery)) => {
            Some(Relay::spawn(listener, config, delivery.clone())?)
        }
        _ => None,
    };
    let events = Events { log: log.clone(), delivery: delivery.clone(), relay };
    let reloader = Arc::new(Reloader::new(policy, options, shared.clone(), tls));
    let running = serve(shared.clone(), listeners, sinks);
    let bridge = match (bridge_listener, &config.redis_bridge) {
        (Some(listener), Some(config)) => Some(bridge::spawn(listener, config)?),
        _ => None,
    };
    if let Some(listener) = admin_listener {
        let metrics = Metrics::new(shared.clone(), tallies.clone(), events.clone(), bridge);
        let admin = Admin { shared: shared.clone(), reloader: reloader.clone(), tallies, metrics, events };
        admin::spawn(listener, admin)?;
    }
    for address in addresses {
        info!("serving on {address}");
    }
    started(&shared);
    runtime.block_on(until_told_to_stop(signals, &reloader));
    info!("draining for up to {:?}", config.server.timeouts.drain);
    shared.gateway.load().start_draining();
    running.drain(config.server.timeouts.drain);
    // The sinks went with their lanes; the admin thread's copy goes with the process.
    if let (Some(log), Some(writing)) = (log, writing) {
        log.close();
        writing.join();
    }
    if let (Some(delivery), Some(delivering)) = (delivery, delivering) {
        delivery.stop();
        delivering.join();
    }
    Ok(())
}

/// What the process is told by signals.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Signals> {
        let handler = |kind| signal(kind).map_err(|error| anyhow!("cannot handle signals: {error}"));
        Ok(Signals {
            terminate: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
            hangup: handler(SignalKind::hangup())?,
        })
    }
}

async fn until_told_to_stop(mut signals: Signals, reloader: &Reloader) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hangup.recv() => report(reloader.reload()),
            _ = look.tick() => reloader.reload_if_changed().map_or((), report),
        }
    }
}

fn report(outcome: Result<u64, policy::PolicyError>) {
    match outcome {
        Ok(generation) => info!("reloaded: this is configuration {generation}"),
        Err(error) => warn!("not reloaded, the former configuration stays: {error}"),
    }
}

/// What is drawn once a process: identifiers need to differ between nodes and starts; only `secret` must be unguessable.
fn options(lanes: usize) -> Result<Options> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).context("the operating system gives no random bytes")?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let node = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let node = Some(node.trim()).filter(|node| !node.is_empty()).unwrap_or("tollgate").to_owned();
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), since.as_nanos());
    Ok(Options {
        node,
        boot_epoch: since.as_millis() as u64,
        seed,
        secret,
        lanes,
        generation: 1,
        policy: String::new(),
        place: Place::Region,
        hooks: Vec::new(),
    })
}
