//! From the spool to the broker: one thread reads, sends, and makes durable what the broker has confirmed.
//!
//! A record is gone from the spool only once the broker confirmed it and everything before it. Whatever else happens
//! (no broker, no topic, a fatal error of the producer, an answer that leaves it open whether a record was written) it
//! stays there and is sent again: the broker may get it twice, and never not at all.

mod envelope;
mod in_flight;
mod kafka;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;
use tollgate_core::config;
use tracing::{info, warn};

use crate::spool::{Committing, OpenError, Overflow, Records, Spool, SpoolStats};
use in_flight::InFlight;
use kafka::{Producer, ProducerError};

pub(crate) use envelope::{Envelope, Kind, Position};

/// Records that the broker was sent and has not confirmed; a crash sends at most so many twice, and those of one
/// checkpoint interval.
const IN_FLIGHT_MAX: usize = 20_000;
/// Bytes of them.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// Records that are read and sent between two looks at what was confirmed.
const READ_MAX: usize = 1_000;
/// Between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);
/// How long to wait for a record before looking around again, or for a confirmation while the broker is away.
const POLL: Duration = Duration::from_millis(50);
/// How long to wait for a confirmation while the broker gives them.
const POLL_CONFIRMING: Duration = Duration::from_millis(1);
/// After a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a process that ends goes on delivering; the rest stays in the spool.
const STOP_MAX: Duration = Duration::from_secs(3);

/// The way to the broker, as everybody else sees it; clones share it.
#[derive(Clone)]
pub struct Delivery {
    pub(crate) spool: Spool,
    shared: Arc<Shared>,
}

/// The threads behind it, which end after [`Delivery::stop`].
pub(crate) struct Delivering {
    shared: Arc<Shared>,
    committing: Committing,
    delivering: JoinHandle<()>,
}

struct Shared {
    /// All below it was confirmed by the broker.
    delivered: watch::Sender<u64>,
    confirmed: AtomicU64,
    failed: AtomicU64,
    unreadable: AtomicU64,
    rebuilt: AtomicU64,
    in_flight: AtomicU64,
    last_error: Mutex<Option<String>>,
    confirmed_per_s: AtomicU64,
    since: Instant,
    /// Milliseconds after `since` at which something was confirmed last, or nothing was left to confirm.
    progress_ms: AtomicU64,
    stops: AtomicBool,
}

/// Delivery in numbers, since the start of the process where it counts something.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DeliveryStats {
    provider: &'static str,
    pub(crate) confirmed: u64,
    /// In the last half second.
    confirmed_per_s: u64,
    /// Sent and not confirmed; they stay in the spool.
    pub(crate) failed: u64,
    /// Records that are no events, which nobody could write; they are passed over.
    pub(crate) unreadable: u64,
    rebuilt: u64,
    pub(crate) in_flight: u64,
    /// Since anything was confirmed, while something waits.
    pub(crate) behind_s: u64,
    last_error: Option<String>,
    pub(crate) spool: SpoolStats,
}

impl Delivery {
    /// Opens the spool and begins to deliver. A broker that is not there is no error: events wait for it.
    ///
    /// # Errors
    ///
    /// If the spool cannot be used, or this build cannot do what is configured.
    pub(crate) fn start(config: &config::Delivery) -> Result<(Delivery, Delivering), DeliveryError> {
        let producer = kafka::Settings::new(&config.kafka)?;
        let overflow = match config.spool.overflow {
            config::SpoolOverflow::Block => Overflow::Block,
            config::SpoolOverflow::DropNewest => Overflow::DropNewest,
            config::SpoolOverflow::DropOldest => Overflow::DropOldest,
        };
        let (spool, records, committing) =
            Spool::open(&config.spool.directory, config.spool.max_bytes, overflow)?;
        let shared = Arc::new(Shared {
            delivered: watch::Sender::new(records.next()),
            confirmed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            rebuilt: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            last_error: Mutex::new(None),
            confirmed_per_s: AtomicU64::new(0),
            since: Instant::now(),
            progress_ms: AtomicU64::new(0),
            stops: AtomicBool::new(false),
        });
        let mut run =
            Run { released: records.next(), records, shared: shared.clone(), flight: InFlight::default() };
        let delivering = std::thread::Builder::new()
            .name("delivery".to_owned())
            .spawn(move || run.until_stopped(&producer))
            .map_err(DeliveryError::Thread)?;
        let delivering = Delivering { shared: shared.clone(), committing, delivering };
        Ok((Delivery { spool, shared }, delivering))
    }

    /// Resolves once the broker has all records below `end`.
    pub(crate) async fn reached(&self, end: u64) {
        let mut delivered = self.shared.delivered.subscribe();
        // The sender is as old as this value.
        let _ = delivered.wait_for(|delivered| *delivered >= end).await;
    }

    pub(crate) fn stats(&self) -> DeliveryStats {
        let load = |count: &AtomicU64| count.load(Relaxed);
        let shared = &self.shared;
        let spool = self.spool.stats();
        let behind_s = if spool.depth == 0 { 0 } else { shared.without_progress().as_secs() };
        DeliveryStats {
            provider: "kafka",
            confirmed: load(&shared.confirmed),
            confirmed_per_s: load(&shared.confirmed_per_s),
            failed: load(&shared.failed),
            unreadable: load(&shared.unreadable),
            rebuilt: load(&shared.rebuilt),
            in_flight: load(&shared.in_flight),
            behind_s,
            last_error: shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            spool,
        }
    }

    /// Nothing is taken any more; what was handed over before is written, and delivered as far as there is time.
    pub(crate) fn stop(&self) {
        self.spool.close();
    }
}

impl Delivering {
    pub(crate) fn join(self) {
        self.committing.join();
        self.shared.stops.store(true, Relaxed);
        // A thread that panicked has said so on stderr.
        let _ = self.delivering.join();
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error("{0}; change event_processing.spool.directory")]
    Spool(#[from] OpenError),
    #[error(transparent)]
    Producer(#[from] ProducerError),
    #[error("cannot start the thread that delivers events: {0}")]
    Thread(io::Error),
}

/// What the thread has.
struct Run {
    records: Records,
    shared: Arc<Shared>,
    flight: InFlight,
    /// All before it is in the checkpoint.
    released: u64,
}

impl Run {
    fn until_stopped(&mut self, settings: &kafka::Settings) {
        while !self.stops() {
            let outcome = settings.connect().and_then(|producer| {
                let outcome = self.deliver(&producer);
                self.take_confirmed(&producer);
                outcome
            });
            // Whatever was not confirmed is sent again, by the next producer.
            let delivered = self.watermark();
            self.flight.clear();
            self.records.rewind(delivered);
            let _ = self.checkpoint();
            if let Err(error) = outcome {
                self.shared.complain(error.to_string());
                self.shared.rebuilt.fetch_add(1, Relaxed);
                self.pause();
            }
        }
    }

    /// Until the producer is of no use any more, or the process ends.
    fn deliver(&mut self, producer: &Producer) -> Result<(), ProducerError> {
        info!("events go to Kafka");
        let (mut checkpoint_at, mut confirmed) = (Instant::now(), self.shared.confirmed.load(Relaxed));
        let mut ends_at = None;
        loop {
            let sent = self.send(producer)?;
            producer.poll(match (sent, self.flight.len()) {
                (0, 1..) if self.shared.without_progress() < PAUSE => POLL_CONFIRMING,
                (0, 1..) => POLL,
                _ => Duration::ZERO,
            });
            self.take_confirmed(producer);
            producer.failure()?;
            if producer.is_unreachable() {
                self.shared.complain("no broker of Kafka can be reached".to_owned());
            }
            self.watermark();
            let since = checkpoint_at.elapsed();
            if since >= CHECKPOINT_EVERY {
                self.checkpoint()?;
                let before = std::mem::replace(&mut confirmed, self.shared.confirmed.load(Relaxed));
                let per_s = (confirmed - before) * 1_000 / since.as_millis() as u64;
                self.shared.confirmed_per_s.store(per_s, Relaxed);
                checkpoint_at = Instant::now();
            }
            let is_idle = self.flight.len() == 0 && sent == 0;
            if self.stops() {
                let ends_at = *ends_at.get_or_insert_with(|| Instant::now() + STOP_MAX);
                if is_idle || Instant::now() >= ends_at {
                    return Ok(());
                }
            } else if is_idle {
                self.shared.progress();
                self.records.wait(POLL);
            }
        }
    }

    /// Reads records and hands them to the producer, as far as there is room; returns how many.
    fn send(&mut self, producer: &Producer) -> Result<usize, ProducerError> {
        let room = IN_FLIGHT_MAX.saturating_sub(self.flight.len()).min(READ_MAX);
        if self.flight.bytes() >= IN_FLIGHT_BYTES_MAX || room == 0 {
            return Ok(0);
        }
        let (flight, shared) = (&mut self.flight, &self.shared);
        let mut outcome = Ok(());
        let read = self.records.read(room, |sequence, payload| {
            if outcome.is_err() {
                return;
            }
            let event = std::str::from_utf8(payload).ok().and_then(|text| Envelope::parse(text).ok());
            let Some(event) = event else {
                shared.unreadable.fetch_add(1, Relaxed);
                return;
            };
            // Also if it fails: nothing after it counts as delivered then.
            flight.sent(sequence, payload.len());
            outcome = producer.send(sequence, &event);
        });
        outcome?;
        shared.in_flight.store(flight.len() as u64, Relaxed);
        read.map_err(ProducerError::Spool)
    }

    fn take_confirmed(&mut self, producer: &Producer) {
        let outcomes = producer.outcomes();
        if outcomes.is_empty() {
            return;
        }
        for (sequence, is_confirmed) in outcomes {
            match is_confirmed {
                true => {
                    self.flight.confirmed(sequence);
                    self.shared.confirmed.fetch_add(1, Relaxed);
                }
                false => drop(self.shared.failed.fetch_add(1, Relaxed)),
            }
        }
        self.shared.progress();
    }

    fn watermark(&mut self) -> u64 {
        let delivered = self.flight.watermark(self.records.next());
        self.shared.in_flight.store(self.flight.len() as u64, Relaxed);
        self.shared.delivered.send_if_modified(|known| std::mem::replace(known, delivered) != delivered);
        delivered
    }

    fn checkpoint(&mut self) -> Result<(), ProducerError> {
        let delivered = self.watermark();
        if delivered > self.released {
            self.records.release(delivered).map_err(ProducerError::Spool)?;
            self.released = delivered;
        }
        Ok(())
    }

    fn pause(&self) {
        let until = Instant::now() + PAUSE;
        while !self.stops() && Instant::now() < until {
            std::thread::sleep(POLL);
        }
    }

    fn stops(&self) -> bool {
        self.shared.stops.load(Relaxed)
    }
}

impl Shared {
    fn progress(&self) {
        self.progress_ms.store(self.since.elapsed().as_millis() as u64, Relaxed);
    }

    fn without_progress(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.progress_ms.load(Relaxed)))
    }

    /// Shows an error, and logs it unless it is the same as before.
    fn complain(&self, error: String) {
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&error) {
            warn!("events wait in the spool: {error}");
        }
        *last = Some(error);
    }
}
