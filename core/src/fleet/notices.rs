//! What the nodes of a fleet tell each other: addresses they refuse, and services that fail.
//!
//! A notice is left in the store at the next look (a quarter of a second) and every node asks once a second, so that what one
//! node says holds everywhere within [`TOLD_WITHIN_US`] and two answers of the store. A notice may come twice, and
//! late: what is left of its time comes with it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Now;
use crate::store::{Exchange, Heard, NOTICES_PER_CALL_MAX, Notice};

/// How often a node asks what the others said.
const ASK_EVERY_US: u64 = 1_000_000;
/// From what one node says to the others' asking, without the store's own time.
pub(crate) const TOLD_WITHIN_US: u64 = ASK_EVERY_US + crate::gateway::TEND_US;
/// An exchange without an answer after this time is taken for lost.
const ANSWER_MAX_US: u64 = 5_000_000;
/// Notices that wait to be said; further ones are not.
const WAITING_MAX: usize = 4_096;

/// What one node says to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Requests from this address are refused.
    Banned(IpAddr),
    /// They are served again.
    Lifted(IpAddr),
    /// The service's breaker opened.
    Opened(String),
}

#[derive(Debug)]
pub(crate) struct Notices(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// Tells this node's notices from the others'.
    node: u64,
    waiting: VecDeque<Notice>,
    seen: u64,
    ask_at_us: u64,
    /// When the exchange on its way was sent.
    asked_us: Option<u64>,
    unsaid: u64,
}

impl Notices {
    pub(super) fn new(node: u64) -> Notices {
        let waiting = VecDeque::new();
        Notices(Mutex::new(Inner { node, waiting, seen: 0, ask_at_us: 0, asked_us: None, unsaid: 0 }))
    }

    pub(crate) fn say(&self, news: &News, life_us: u64) {
        let mut inner = self.lock();
        if inner.waiting.len() >= WAITING_MAX {
            inner.unsaid += 1;
            return;
        }
        let text = news.text(inner.node);
        inner.waiting.push_back(Notice { life_us, text });
    }

    /// The exchange that is due, if one is.
    pub(super) fn due(&self, now: Now) -> Option<Exchange> {
        let mut inner = self.lock();
        let elapsed = |since: u64| now.mono_us.checked_sub(since);
        if inner.asked_us.and_then(elapsed).is_some_and(|elapsed| elapsed < ANSWER_MAX_US) {
            return None;
        }
        // A clock that was set back does not put the next one off.
        let early =
            inner.ask_at_us.checked_sub(now.mono_us).is_some_and(|left| (1..=ASK_EVERY_US).contains(&left));
        if inner.waiting.is_empty() && early {
            return None;
        }
        (inner.asked_us, inner.ask_at_us) = (Some(now.mono_us), now.mono_us + ASK_EVERY_US);
        let count = inner.waiting.len().min(NOTICES_PER_CALL_MAX);
        Some(Exchange { seen: inner.seen, notices: inner.waiting.drain(..count).collect() })
    }

    /// What the others said. Where there may be more, the next exchange is due at once.
    pub(super) fn heard(&self, heard: &Heard) -> Vec<(News, u64)> {
        let mut inner = self.lock();
        (inner.asked_us, inner.seen) = (None, heard.seen);
        if heard.notices.len() >= NOTICES_PER_CALL_MAX {
            inner.ask_at_us = 0;
        }
        let read = |notice: &Notice| Some((News::read(&notice.text, inner.node)?, notice.life_us));
        heard.notices.iter().filter_map(read).collect()
    }

    /// The store did not answer: it may have been told all the same, and is told once more.
    pub(super) fn failed(&self, exchange: Exchange) {
        let mut inner = self.lock();
        inner.asked_us = None;
        for notice in exchange.notices.into_iter().rev() {
            inner.waiting.push_front(notice);
        }
        let surplus = inner.waiting.len().saturating_sub(WAITING_MAX);
        inner.waiting.truncate(WAITING_MAX);
        inner.unsaid += surplus as u64;
    }

    /// Notices that were not said because too many waited.
    pub(crate) fn unsaid(&self) -> u64 {
        self.lock().unsaid
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News {
    fn text(&self, node: u64) -> String {
        match self {
            News::Banned(address) => format!("{node:016x} ban {address}"),
            News::Lifted(address) => format!("{node:016x} lift {address}"),
            News::Opened(service) => format!("{node:016x} open {service}"),
        }
    }

    /// `None` for what this node said itself, and for what a later version says.
    fn read(text: &str, node: u64) -> Option<News> {
        let (from, text) = text.split_once(' ')?;
        if u64::from_str_radix(from, 16) == Ok(node) {
            return None;
        }
        match text.split_once(' ')? {
            ("ban", address) => address.parse().ok().map(News::Banned),
            ("lift", address) => address.parse().ok().map(News::Lifted),
            ("open", service) => Some(News::Opened(service.to_owned())),
            _ => None,
        }
    }
}
