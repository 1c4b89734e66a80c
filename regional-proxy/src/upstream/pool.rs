//! Idle HTTP/1 connections of one thread to one endpoint.

use std::cell::RefCell;
use std::rc::Rc;

use super::h1::Link;
use crate::watch::Watches;

/// Idle connections kept, per thread and endpoint.
const MAX_IDLE: usize = 256;
/// Milliseconds that a connection may be idle. Less than what common servers allow (Go 120 s, nginx 75 s), so that
/// it is this side that closes as a rule.
const MAX_IDLE_MS: u64 = 60_000;
/// From this idle time on, in milliseconds, the socket itself is asked before reuse. Sooner, an end that has arrived
/// has been seen by the event loop but for a window of microseconds.
const ASK_SOCKET_AFTER_MS: u64 = 50;

/// Last in, first out: the connections that load needs stay warm and the others grow old.
pub(crate) struct Pool {
    watches: Rc<Watches>,
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    link: Box<Link>,
    since_ms: u64,
}

impl Pool {
    pub(super) fn new(watches: Rc<Watches>) -> Pool {
        Pool { watches, idle: RefCell::default() }
    }

    /// A connection whose other side is there as far as can be known: what is sent on it is sent once.
    pub(crate) fn take(&self) -> Option<Box<Link>> {
        let now_ms = self.watches.now_ms();
        loop {
            let Idle { mut link, since_ms } = self.idle.borrow_mut().pop()?;
            let idle_ms = now_ms.saturating_sub(since_ms);
            let is_open = idle_ms < MAX_IDLE_MS && !link.is_closed();
            if is_open && (idle_ms < ASK_SOCKET_AFTER_MS || link.is_silent()) {
                return Some(link);
            }
        }
    }

    pub(super) fn put(&self, link: Box<Link>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            idle.push(Idle { link, since_ms: self.watches.now_ms() });
        }
    }

    pub(super) fn tidy(&self) {
        let now_ms = self.watches.now_ms();
        self.idle
            .borrow_mut()
            .retain_mut(|idle| now_ms.saturating_sub(idle.since_ms) < MAX_IDLE_MS && !idle.link.is_closed());
    }
}
