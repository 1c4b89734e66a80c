//! One connection to Redis, which is there again after it failed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;
use tokio::time::Instant;

use tollgate_core::store::StoreFailure;

use super::Journal;
use crate::native::Route;

/// Between two attempts to connect, doubled after each that failed, and shortened by up to a half at random so that
/// nodes which lost the same Redis do not come back to it at once.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Clones are the same connection. It is opened by a task of its own, so that a call whose time is over does not take
/// the attempt with it: a handshake may take longer than a call may.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

/// A connection that was there a moment ago.
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    number: u64,
}

struct Inner {
    route: Route,
    journal: Arc<Journal>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    connection: Connection,
    /// Tells a connection from its successors.
    number: u64,
    /// Connections in a row that failed, or brought no answer.
    failures: u32,
}

enum Connection {
    Down { until: Option<Instant>, why: StoreFailure },
    Opening,
    Up(MultiplexedConnection),
}

impl Link {
    pub(super) fn new(route: Route, journal: Arc<Journal>) -> Link {
        let connection = Connection::Down { until: None, why: StoreFailure::Unreachable };
        let state = Mutex::new(State { connection, number: 0, failures: 0 });
        Link(Arc::new(Inner { route, journal, state, changed: Notify::new() }))
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// # Errors
    ///
    /// At once between two attempts to connect, with what the last one failed of.
    pub(super) async fn connected(&self) -> Result<Connected, StoreFailure> {
        loop {
            // Registered before looking: what changes in between is not missed.
            let changed = self.0.changed.notified();
            match self.look() {
                Some(outcome) => return outcome,
                None => changed.await,
            }
        }
    }

    /// A connection that was silent, broke or talked nonsense is not waited for again.
    pub(super) fn give_up(&self, number: u64, why: StoreFailure) {
        let mut state = self.0.state();
        if state.number == number && matches!(state.connection, Connection::Up(_)) {
            // One that had answered before is replaced at once.
            let until = state.failures.checked_sub(1).map(|failures| Instant::now() + pause(failures));
            state.failures = state.failures.saturating_add(1);
            state.connection = Connection::Down { until, why };
        }
    }

    pub(super) fn answered(&self, number: u64) {
        let mut state = self.0.state();
        if state.number == number {
            state.failures = 0;
        }
    }

    fn look(&self) -> Option<Result<Connected, StoreFailure>> {
        let mut state = self.0.state();
        match &state.connection {
            Connection::Up(connection) => {
                Some(Ok(Connected { connection: connection.clone(), number: state.number }))
            }
            Connection::Down { until: Some(until), why } if Instant::now() < *until => Some(Err(*why)),
            Connection::Down { .. } => {
                state.connection = Connection::Opening;
                tokio::spawn(open(self.0.clone()));
                None
            }
            Connection::Opening => None,
        }
    }
}

impl Connected {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open(link: Arc<Inner>) {
    let opened = link.route.dial().await;
    let mut state = link.state();
    state.number += 1;
    match opened {
        Ok(connection) => {
            state.connection = Connection::Up(connection);
            // Until it has answered, it counts as one that failed.
            state.failures = state.failures.max(1);
        }
        Err(error) => {
            link.journal.tell(&error);
            let until = Some(Instant::now() + pause(state.failures));
            state.failures = state.failures.saturating_add(1);
            state.connection = Connection::Down { until, why: error.failure() };
        }
    }
    drop(state);
    link.changed.notify_waiters();
}

fn pause(failures: u32) -> Duration {
    let most = PAUSE_MIN.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX);
    // Without random bytes nodes come back together, which is no reason to fail.
    let share = getrandom::u32().unwrap_or_default();
    most - most.mul_f64(f64::from(share) / f64::from(u32::MAX) / 2.0)
}
