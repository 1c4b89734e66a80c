//! The relay: `POST /relay/events` on an internal listener takes the events of nodes that have no disk, or no way to the
//! broker, and answers once they are where the policy says: in memory, in the spool, or at the broker.
//!
//! A batch is taken whole or not at all. An event that is not one of ours is named by its index, so that whoever sent the
//! batch can leave it out; an event that was stored before is not stored again.

mod body;
mod refusal;
mod remembered;
mod sources;
mod token;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tollgate_core::config::{self, RelayAck, RelayLimits};

use crate::Listeners;
use crate::delivery::{Delivery, Envelope, Position};
use crate::spool::{Batch, Kept};
use body::Form;
use refusal::{Refusal, Wrong};
use remembered::{Identity, Remembered};
use sources::{SourceStats, Sources};
use token::Holder;

/// Requests in work, of all tokens together.
const REQUESTS_MAX: usize = 1_024;
/// How long a source waits for the broker's confirmation; then it is told that the events are spooled.
const BROKER_TIMEOUT: Duration = Duration::from_secs(30);
/// Indexes that one answer names.
const ERRORS_MAX: usize = 100;

/// The relay as the admin API sees it; clones share it.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

struct Shared {
    holders: Vec<Holder>,
    places: Semaphore,
    ack: RelayAck,
    limits: RelayLimits,
    delivery: Delivery,
    known: Mutex<Known>,
    counts: Counts,
    since: Instant,
}

/// What is known of events that were sent here.
struct Known {
    sources: Sources,
    remembered: Remembered,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    repeated: AtomicU64,
    refused: AtomicU64,
}

/// The relay in numbers, since the start of the process.
#[derive(Debug, Serialize)]
pub(crate) struct RelayStats {
    /// Events that were stored, or handed over in the ack mode `memory`.
    pub(crate) accepted: u64,
    /// Events that had been stored before.
    pub(crate) repeated: u64,
    /// Requests that were refused.
    pub(crate) refused: u64,
    sources: Vec<SourceStats>,
}

/// An event of a batch that is to be stored.
struct Arrival<'a> {
    source: Cow<'a, str>,
    position: Option<Position>,
    identity: Identity,
    is_repeated: bool,
}

/// What became of a batch.
struct Taken {
    accepted: usize,
    repeated: usize,
    dropped: usize,
    ack: RelayAck,
}

impl Relay {
    /// Serves on a thread and a runtime of its own, so that what other nodes send takes no time from the data path.
    pub(crate) fn spawn(listeners: Listeners, config: &config::Relay, delivery: Delivery) -> Result<Relay> {
        let limits = config.limits.clone();
        let relay = Relay(Arc::new(Shared {
            holders: config.tokens.iter().map(|token| Holder::new(token, limits.in_flight)).collect(),
            places: Semaphore::new(REQUESTS_MAX),
            ack: config.ack,
            delivery,
            known: Mutex::new(Known {
                sources: Sources::new(limits.sources, limits.sequence_jump),
                remembered: Remembered::new(limits.remembered_events),
            }),
            limits,
            counts: Counts::default(),
            since: Instant::now(),
        }));
        let router = Router::new().fallback(serve).with_state(relay.clone());
        listeners.serve("relay", router)?;
        Ok(relay)
    }

    pub(crate) fn stats(&self) -> RelayStats {
        let counts = &self.0.counts;
        RelayStats {
            accepted: counts.accepted.load(Relaxed),
            repeated: counts.repeated.load(Relaxed),
            refused: counts.refused.load(Relaxed),
            sources: self.0.known().sources.stats(self.0.now_s()),
        }
    }

    /// How many sources there are, and how many of their numbers are missing.
    pub(crate) fn missing(&self) -> (usize, u64) {
        self.0.known().sources.sum()
    }
}

async fn serve(State(Relay(relay)): State<Relay>, request: Request) -> Response {
    match relay.answer(request).await {
        Ok(taken) => taken.into_response(),
        Err(refusal) => {
            relay.counts.refused.fetch_add(1, Relaxed);
            refusal.into_response()
        }
    }
}

impl Shared {
    async fn answer(&self, request: Request) -> Result<Taken, Refusal> {
        let (head, content) = request.into_parts();
        if head.uri.path() != "/relay/events" {
            return Err(Refusal::NotFound);
        }
        if head.method != "POST" {
            return Err(Refusal::Method);
        }
        let holder = token::holder(&self.holders, &head.headers).ok_or(Refusal::Unauthorized)?;
        let _place = holder.places.try_acquire().map_err(|_| Refusal::TooMany(self.limits.in_flight))?;
        let _place_of_all = self.places.try_acquire().map_err(|_| Refusal::Busy)?;
        let form = Form::of(&head.headers)?;
        let text = self.read(&form, content).await?;
        let events = form.events(&text)?;
        if events.len() > self.limits.batch_events {
            return Err(Refusal::TooManyEvents(self.limits.batch_events));
        }
        let (batch, arrivals) = self.sort(&events, holder)?;
        self.store(batch, &arrivals).await
    }

    async fn read(&self, form: &Form, content: Body) -> Result<String, Refusal> {
        let bytes = body::read(content, self.limits.body_bytes).await?;
        let bytes = form.decode(bytes, self.limits.decoded_bytes)?;
        String::from_utf8(bytes).map_err(|_| Refusal::NotJson("it is not UTF-8".to_owned()))
    }

    /// The events that are to be stored, and everything that is wrong with any.
    fn sort<'a>(
        &self,
        events: &[&'a RawValue],
        holder: &Holder,
    ) -> Result<(Batch, Vec<Arrival<'a>>), Refusal> {
        let (mut batch, mut arrivals, mut wrong) =
            (Batch::default(), Vec::with_capacity(events.len()), Vec::new());
        let mut here = HashSet::new();
        let mut known = self.known();
        for (index, event) in events.iter().enumerate() {
            match self.check(event.get(), holder, &mut known) {
                Ok(mut arrival) => {
                    arrival.is_repeated |= !here.insert(arrival.identity);
                    if !arrival.is_repeated {
                        batch.push(event.get().as_bytes());
                    }
                    arrivals.push(arrival);
                }
                Err(detail) if wrong.len() < ERRORS_MAX => wrong.push(Wrong { index, detail }),
                Err(_) => {}
            }
        }
        match wrong.is_empty() {
            true => Ok((batch, arrivals)),
            false => Err(Refusal::Events(wrong)),
        }
    }

    fn check<'a>(&self, event: &'a str, holder: &Holder, known: &mut Known) -> Result<Arrival<'a>, String> {
        let event_bytes = self.limits.event_bytes;
        if event.len() > event_bytes {
            return Err(format!("is longer than {event_bytes} bytes"));
        }
        let Envelope { id, source, position, .. } =
            Envelope::parse(event).map_err(|error| error.to_string())?;
        if !source.starts_with(&holder.source_prefix) {
            return Err(format!("comes from a source that does not begin with `{}`", holder.source_prefix));
        }
        let now_s = self.now_s();
        known.sources.admit(&source, position, now_s).map_err(|error| error.to_string())?;
        let identity = known.remembered.identity(&source, &id);
        Ok(Arrival { source, position, identity, is_repeated: known.remembered.knows(identity) })
    }

    async fn store(&self, batch: Batch, arrivals: &[Arrival<'_>]) -> Result<Taken, Refusal> {
        let accepted = batch.len();
        let repeated = arrivals.len() - accepted;
        let mut taken = Taken { accepted, repeated, dropped: 0, ack: self.ack };
        let mut end = None;
        if accepted > 0 && self.ack == RelayAck::Memory {
            self.delivery.spool.offer(batch);
        } else if accepted > 0 {
            match self.delivery.spool.append(batch).await.map_err(Refusal::Spool)? {
                Kept::Stored { end: stored } => end = Some(stored),
                Kept::Dropped => (taken.accepted, taken.dropped) = (0, accepted),
            }
        }
        self.count(arrivals, &taken);
        match (self.ack, end) {
            (RelayAck::Broker, Some(end)) => {
                // What was repeated may be on its way to the broker still, but was durable here before.
                let confirmed = tokio::time::timeout(BROKER_TIMEOUT, self.delivery.reached(end)).await;
                if confirmed.is_err() {
                    taken.ack = RelayAck::Spooled;
                }
            }
            (RelayAck::Broker, None) => taken.ack = RelayAck::Spooled,
            (RelayAck::Spooled | RelayAck::Memory, _) => {}
        }
        Ok(taken)
    }

    fn count(&self, arrivals: &[Arrival<'_>], taken: &Taken) {
        self.counts.accepted.fetch_add(taken.accepted as u64, Relaxed);
        self.counts.repeated.fetch_add(taken.repeated as u64, Relaxed);
        let now_s = self.now_s();
        let mut known = self.known();
        for Arrival { source, position, identity, is_repeated } in arrivals {
            if *is_repeated || taken.dropped == 0 {
                known.sources.count(source, *position, *is_repeated, now_s);
                known.remembered.remember(*identity);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_s(&self) -> u64 {
        self.since.elapsed().as_secs()
    }
}

impl IntoResponse for Taken {
    /// 200 says that the broker has the events, 202 that it will.
    fn into_response(self) -> Response {
        let (status, ack) = match self.ack {
            RelayAck::Broker => (StatusCode::OK, "broker"),
            RelayAck::Spooled => (StatusCode::ACCEPTED, "spooled"),
            RelayAck::Memory => (StatusCode::ACCEPTED, "memory"),
        };
        let Taken { accepted, repeated, dropped, .. } = self;
        let body = json!({ "ack": ack, "accepted": accepted, "repeated": repeated, "dropped": dropped });
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        (status, headers, body.to_string()).into_response()
    }
}
