//! What this node knows of the subjects of one shared limit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Now;
use crate::lease::{Denial, Lease, Terms};
use crate::limit::SubjectKey;
use crate::limit::slots::Slots;
use crate::store::{Key, Operation};

/// Subjects of which something is known, some 400 bytes each. Further ones ask for themselves.
const SUBJECTS_MAX: usize = 1 << 18;
const SHARDS: usize = 64;
/// Slots looked at for each subject that is new.
const SWEEP_SLOTS: usize = 8;
/// Shards looked through at once for permits to give back.
const TENDED_SHARDS: usize = SHARDS / 4;

/// A lost entry costs permits and never admits too much: what it held was debited from the root.
#[derive(Debug)]
pub(super) struct Known {
    shards: Box<[Padded]>,
    /// Where looking through goes on.
    tended: AtomicUsize,
}

#[derive(Debug)]
#[repr(align(128))]
struct Padded(Mutex<Shard>);

/// A limit has leases or, if every request asks, denials.
#[derive(Debug)]
pub(super) struct Shard {
    leases: Slots<Borrower>,
    denials: Slots<Option<Denial>>,
    wasted: u64,
}

#[derive(Debug)]
pub(super) struct Borrower {
    pub(super) key: Key,
    pub(super) lease: Lease,
}

/// What is held altogether.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holdings {
    pub(super) leases: u64,
    pub(super) held: u64,
    pub(super) wasted: u64,
}

impl Known {
    pub(super) fn new() -> Known {
        let shard = || Shard { leases: Slots::new(), denials: Slots::new(), wasted: 0 };
        let shards = (0..SHARDS).map(|_| Padded(Mutex::new(shard()))).collect();
        Known { shards, tended: AtomicUsize::new(0) }
    }

    pub(super) fn shard(&self, id: SubjectKey) -> MutexGuard<'_, Shard> {
        self.shards[id.shard_bits() & (SHARDS - 1)].lock()
    }

    /// What is offered back to the store: the surplus of a part of the subjects. Called four times, it has seen all.
    pub(super) fn surplus(&self, terms: &Terms, now: Now) -> Vec<(Key, Operation)> {
        let from = self.tended.fetch_add(TENDED_SHARDS, Ordering::Relaxed);
        let mut offered = Vec::new();
        for index in from..from + TENDED_SHARDS {
            self.shards[index % SHARDS].lock().sweep(usize::MAX, terms, now, |borrower| {
                let operation = borrower.lease.surplus(terms, now);
                offered.extend(operation.map(|operation| (borrower.key.clone(), operation)));
            });
        }
        offered
    }

    /// Everything that can be given back.
    pub(super) fn close(&self, terms: &Terms, now: Now) -> Vec<(Key, Operation)> {
        let mut offered = Vec::new();
        for shard in &self.shards {
            shard.lock().sweep(usize::MAX, terms, now, |borrower| {
                while let Some(operation) = borrower.lease.close(terms, now) {
                    offered.push((borrower.key.clone(), operation));
                }
            });
        }
        offered
    }

    pub(super) fn holdings(&self, now: Now) -> Holdings {
        let mut holdings = Holdings::default();
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.count_wasted(now);
            holdings.leases += shard.leases.len() as u64;
            holdings.held += shard.leases.iter().map(|borrower| borrower.lease.held(now)).sum::<u64>();
            holdings.wasted += shard.wasted;
        }
        holdings
    }
}

impl Padded {
    fn lock(&self) -> MutexGuard<'_, Shard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    pub(super) fn borrower(&mut self, id: SubjectKey) -> Option<&mut Borrower> {
        self.leases.find(id)
    }

    /// Whether there is room for a subject that is new. Where there is none, what it is granted beyond its request is lost.
    pub(super) fn has_room(&mut self, terms: &Terms, now: Now) -> bool {
        self.sweep(SWEEP_SLOTS, terms, now, |_| ());
        self.leases.len() < SUBJECTS_MAX / SHARDS
    }

    pub(super) fn insert(&mut self, id: SubjectKey, newcomer: Borrower) -> &mut Borrower {
        self.leases.insert(id, newcomer)
    }

    pub(super) fn denied(&mut self, id: SubjectKey, cost: u64, now: Now) -> Option<u64> {
        (*self.denials.find(id)?)?.retry_after_us(cost, now.mono_us)
    }

    pub(super) fn deny(&mut self, id: SubjectKey, denial: Denial, now: Now) {
        if let Some(known) = self.denials.find(id) {
            return denial.note(known, now.mono_us);
        }
        // No cost is too small for what has ended.
        let over = |denial: &mut Option<Denial>| {
            denial.is_none_or(|denial| denial.retry_after_us(u64::MAX, now.mono_us).is_none())
        };
        self.denials.sweep(SWEEP_SLOTS, over);
        if self.denials.len() < SUBJECTS_MAX / SHARDS {
            denial.note(self.denials.insert(id, None), now.mono_us);
        }
    }

    fn sweep(&mut self, slots: usize, terms: &Terms, now: Now, mut look: impl FnMut(&mut Borrower)) {
        let Shard { leases, wasted, .. } = self;
        leases.sweep(slots, |borrower| {
            look(borrower);
            *wasted += borrower.lease.take_wasted(now);
            borrower.lease.is_idle(terms, now)
        });
    }

    fn count_wasted(&mut self, now: Now) {
        let Shard { leases, wasted, .. } = self;
        leases.iter_mut().for_each(|borrower| *wasted += borrower.lease.take_wasted(now));
    }
}
