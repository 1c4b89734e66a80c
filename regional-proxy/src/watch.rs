//! Coarse deadlines of connections, kept without a timer a request.
//!
//! A deadline is one store into a cell; a sweep every [`TICK`] looks at all of them. At 8,000 connections that is
//! under 0.1 % of a core, whereas arming and disarming a timer wheel costs every request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use slab::Slab;

use crate::clock;

/// How often deadlines are looked at; they ring this much late at most.
pub(crate) const TICK: Duration = Duration::from_millis(20);

const OFF: u64 = u64::MAX;

/// Who is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Client,
    Upstream,
}

/// The deadlines of all connections of one thread.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    entries: RefCell<Slab<Rc<Entry>>>,
    /// The monotonic clock at the last sweep, ms.
    now_ms: Cell<u64>,
}

/// Two deadlines of one task, one for each party, which wake it when they pass.
#[derive(Debug)]
pub(crate) struct Watch {
    watches: Rc<Watches>,
    key: usize,
    entry: Rc<Entry>,
}

#[derive(Debug)]
struct Entry {
    due_ms: [Cell<u64>; 2],
    rung: [Cell<bool>; 2],
    waker: RefCell<Option<Waker>>,
}

impl Watches {
    pub(crate) fn new() -> Rc<Watches> {
        Rc::new(Watches { entries: RefCell::default(), now_ms: Cell::new(clock::mono_ms()) })
    }

    pub(crate) fn watch(self: &Rc<Self>) -> Watch {
        let entry = Rc::new(Entry {
            due_ms: [Cell::new(OFF), Cell::new(OFF)],
            rung: Default::default(),
            waker: RefCell::default(),
        });
        let key = self.entries.borrow_mut().insert(entry.clone());
        Watch { watches: self.clone(), key, entry }
    }

    /// The monotonic clock at the last sweep, ms; at most one [`TICK`] behind.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Rings what is due.
    pub(crate) fn sweep(&self) {
        let now_ms = clock::mono_ms();
        self.now_ms.set(now_ms);
        for (_, entry) in self.entries.borrow().iter() {
            for party in 0..2 {
                if entry.due_ms[party].get() <= now_ms {
                    entry.due_ms[party].set(OFF);
                    entry.rung[party].set(true);
                    entry.wake();
                }
            }
        }
    }

    /// Wakes every task that has a watch, whatever its deadlines.
    pub(crate) fn wake_all(&self) {
        for (_, entry) in self.entries.borrow().iter() {
            entry.wake();
        }
    }
}

impl Watch {
    /// Wants `party` to act within `after` from now, in place of any earlier deadline.
    pub(crate) fn set(&self, party: Party, after: Duration) {
        // The clock of the last sweep may be a tick old: without the addition a deadline could ring early.
        let due_ms = self.watches.now_ms.get() + (after + TICK).as_millis() as u64;
        self.entry.due_ms[party as usize].set(due_ms);
        self.entry.rung[party as usize].set(false);
    }

    /// As `set`, unless a deadline already runs.
    pub(crate) fn set_if_off(&self, party: Party, after: Duration) {
        if self.entry.due_ms[party as usize].get() == OFF && !self.has_rung(party) {
            self.set(party, after);
        }
    }

    pub(crate) fn clear(&self, party: Party) {
        self.entry.due_ms[party as usize].set(OFF);
        self.entry.rung[party as usize].set(false);
    }

    /// A deadline runs.
    pub(crate) fn is_set(&self, party: Party) -> bool {
        self.entry.due_ms[party as usize].get() != OFF
    }

    pub(crate) fn has_rung(&self, party: Party) -> bool {
        self.entry.rung[party as usize].get()
    }

    pub(crate) fn take_rung(&self, party: Party) -> bool {
        self.entry.rung[party as usize].take()
    }

    /// Names the task to wake. Cheap when it is the same as before.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut waker = self.entry.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watches.entries.borrow_mut().remove(self.key);
    }
}

impl Entry {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_rings_once_and_only_for_its_party() {
        let watches = Watches::new();
        let watch = watches.watch();
        watch.set(Party::Client, Duration::ZERO);
        std::thread::sleep(TICK * 2);
        watches.sweep();
        assert!(!watch.has_rung(Party::Upstream));
        assert!(watch.take_rung(Party::Client));
        watches.sweep();
        assert!(!watch.take_rung(Party::Client));
    }

    #[test]
    fn a_cleared_or_later_deadline_does_not_ring() {
        let watches = Watches::new();
        let watch = watches.watch();
        watch.set(Party::Client, Duration::ZERO);
        watch.clear(Party::Client);
        watch.set(Party::Upstream, Duration::ZERO);
        watch.set(Party::Upstream, Duration::from_secs(60));
        std::thread::sleep(TICK * 2);
        watches.sweep();
        assert!(!watch.has_rung(Party::Client) && !watch.has_rung(Party::Upstream));
    }

    #[test]
    fn a_dropped_watch_leaves_no_entry() {
        let watches = Watches::new();
        drop(watches.watch());
        assert!(watches.entries.borrow().is_empty());
    }
}
