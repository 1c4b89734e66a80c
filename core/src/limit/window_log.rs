//! The sliding window log: at most R permits in any W, exactly.

use std::collections::VecDeque;

use super::account::{Account, Terms};
use crate::Now;

/// At most R records, because each is at least one permit and all of them fit.
#[derive(Clone, Debug, Default)]
pub(super) struct WindowLog(Option<Box<Log>>);

#[derive(Clone, Debug, Default)]
struct Log {
    records: VecDeque<Record>,
    /// Permits of all records that were dropped.
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    at_us: u64,
    /// Permits up to and with this record since the log began, so that what a window holds is a difference.
    total: u64,
}

impl Log {
    /// How many records no longer count, and the permits of all up to there.
    fn expired(&self, terms: &Terms, now_us: u64) -> (usize, u64) {
        // A record counts in a window of W microseconds with the one it was made in.
        let expired = self.records.partition_point(|record| now_us - record.at_us >= terms.window_us);
        (expired, expired.checked_sub(1).map_or(self.dropped, |last| self.records[last].total))
    }
}

impl WindowLog {
    fn count(&self, terms: &Terms, now_us: u64) -> u64 {
        let Some(log) = &self.0 else { return 0 };
        let (_, before) = log.expired(terms, now_us);
        log.records.back().map_or(0, |last| last.total - before)
    }

    fn last(&self) -> Option<&Record> {
        self.0.as_ref().and_then(|log| log.records.back())
    }
}

impl Account for WindowLog {
    fn clock_us(now: Now) -> u64 {
        now.mono_us
    }

    fn horizon_us(terms: &Terms) -> u64 {
        terms.window_us
    }

    fn last_us(&self) -> u64 {
        self.last().map_or(0, |last| last.at_us)
    }

    fn is_idle(&self, terms: &Terms, now_us: u64) -> bool {
        self.count(terms, now_us) == 0
    }

    fn remaining(&self, terms: &Terms, now_us: u64) -> u64 {
        terms.requests.saturating_sub(self.count(terms, now_us))
    }

    fn debit(&mut self, terms: &Terms, cost: u64, now_us: u64) {
        let log = self.0.get_or_insert_default();
        let (expired, before) = log.expired(terms, now_us);
        log.records.drain(..expired);
        log.dropped = before;
        match log.records.back_mut() {
            Some(last) if last.at_us == now_us => last.total += cost,
            last => {
                let total = last.map_or(before, |last| last.total) + cost;
                log.records.push_back(Record { at_us: now_us, total });
            }
        }
    }

    fn reset_at_us(&self, terms: &Terms, now_us: u64) -> u64 {
        let whole_us = self.last().map_or(0, |last| last.at_us.saturating_add(terms.window_us));
        whole_us.max(now_us)
    }

    fn fits_at_us(&self, terms: &Terms, cost: u64, now_us: u64) -> Option<u64> {
        let room = terms.requests.checked_sub(cost)?;
        let Some(log) = &self.0 else { return Some(now_us) };
        let total = log.records.back().map_or(log.dropped, |last| last.total);
        // All records up to the first after which few enough permits are left must expire.
        let waited = log.records.partition_point(|record| total - record.total > room);
        let expires_us =
            log.records.get(waited).map_or(now_us, |record| record.at_us.saturating_add(terms.window_us));
        Some(expires_us.max(now_us))
    }
}
