//! The bounded queue between those who decide and those who write down.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{End, Event, EventId, Subject, Verdict};
use crate::seed::Seed;
use crate::{Gateway, Now};

/// Events a lane holds until its adapter drains it; beyond that they are dropped and counted.
pub(crate) const MAX_EVENTS_PER_LANE: usize = 65_536;

/// Where events come from, as their `source` says it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) node: Box<str>,
    /// Differs at each start of the process, so that a sequence that starts over is no gap.
    pub(crate) boot_epoch: u64,
}

/// One queue a lane: threads that decide do not meet here. It outlives configurations, so that sequences go on.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) source: Source,
    lanes: Box<[Lane]>,
}

/// Aligned to two cache lines, which is what processors prefetch together.
#[derive(Debug)]
#[repr(align(128))]
struct Lane(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    seed: Seed,
    queue: VecDeque<Event>,
    sequence: u64,
    dropped: u64,
    /// The latest time this lane was told, for exchanges that end without being told one.
    latest: Now,
}

/// What became of a lane's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    pub minted: u64,
    /// Dropped because the lane was not drained in time.
    pub dropped: u64,
    pub waiting: usize,
}

/// How and when an exchange ended.
pub(crate) struct Ending {
    pub(crate) end: End,
    /// Of the reply's body.
    pub(crate) bytes: u64,
    /// `None`: now, as far as the lane knows.
    pub(crate) now: Option<Now>,
}

/// Identifiers drawn for one request.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) id: EventId,
    pub(crate) traceparent: Option<[u8; 55]>,
    pub(crate) random: u64,
}

impl Outbox {
    pub(crate) fn new(source: Source, lanes: usize, seed: u64) -> Outbox {
        let mut seed = Seed::new(seed);
        let lane = |_| {
            let inner = Inner {
                seed: Seed::new(seed.draw()),
                queue: VecDeque::new(),
                sequence: 0,
                dropped: 0,
                latest: Now::default(),
            };
            Lane(Mutex::new(inner))
        };
        Outbox { source, lanes: (0..lanes.max(1)).map(lane).collect() }
    }

    pub(crate) fn draw(&self, lane: usize, with_traceparent: bool, now: Now) -> Drawn {
        let mut inner = self.lock(lane);
        inner.latest = now;
        let id = EventId::new(now, &mut inner.seed);
        let traceparent = with_traceparent.then(|| super::id::traceparent(id, &mut inner.seed));
        Drawn { id, traceparent, random: inner.seed.draw() }
    }

    /// Mints the event of an exchange that ended.
    pub(crate) fn mint(
        &self,
        lane: usize,
        gateway: Arc<Gateway>,
        subject: Subject,
        verdict: Verdict,
        ending: Ending,
    ) {
        let Ending { end, bytes, now } = ending;
        let mut inner = self.lock(lane);
        let now = now.unwrap_or(inner.latest);
        inner.sequence += 1;
        if inner.queue.len() >= MAX_EVENTS_PER_LANE {
            // The number is spent all the same: whoever counts the events sees the gap.
            inner.dropped += 1;
            return;
        }
        let latency_us = now.mono_us.saturating_sub(subject.started.mono_us);
        let sequence = inner.sequence;
        let lane = (lane % self.lanes.len()) as u16;
        inner.queue.push_back(Event { gateway, subject, verdict, end, latency_us, bytes, lane, sequence });
    }

    pub(crate) fn drain(&self, lane: usize, into: &mut Vec<Event>) {
        into.extend(self.lock(lane).queue.drain(..));
    }

    pub(crate) fn stats(&self, lane: usize) -> OutboxStats {
        let inner = self.lock(lane);
        OutboxStats { minted: inner.sequence, dropped: inner.dropped, waiting: inner.queue.len() }
    }

    fn lock(&self, lane: usize) -> MutexGuard<'_, Inner> {
        self.lanes[lane % self.lanes.len()].0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
