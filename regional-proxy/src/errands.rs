//! What one lane asks the shared store: for the requests that wait, and what no request waits for.

use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::spawn_local;

use tollgate_core::store::{Call, Outcome};
use tollgate_core::{Gateway, StoreCall};

use crate::clock::now;
use crate::store::{Store, Stores};
use crate::worker::Worker;

/// The way to the store of one lane.
pub(crate) struct Errands {
    /// `None` where the policy named no store when the process started: then every call fails.
    store: Option<Store>,
    left: Notify,
}

impl Errands {
    pub(crate) fn new(stores: Option<&Stores>) -> Errands {
        Errands { store: stores.map(Stores::connect), left: Notify::new() }
    }

    /// An answer for each call, or none at all: core takes that for failures.
    pub(crate) async fn ask(&self, calls: &[Call]) -> Vec<Outcome> {
        match &self.store {
            Some(store) => store.run(calls).await,
            None => Vec::new(),
        }
    }

    /// To be called after a decision: sees to what it left to do.
    pub(crate) fn look(&self, gateway: &Gateway) {
        if gateway.has_store_calls() {
            self.left.notify_one();
        }
    }

    /// Runs calls that no request waits for. Those that get no answer are dropped, which core bears.
    pub(crate) async fn run(&self, errands: Vec<StoreCall>) {
        if errands.is_empty() {
            return;
        }
        let calls: Vec<Call> = errands.iter().map(|errand| errand.call().clone()).collect();
        let answers = self.ask(&calls).await;
        errands.into_iter().zip(answers).for_each(|(errand, answer)| errand.done(answer, now()));
    }
}

/// Takes what decisions leave for the store, as soon as they do. One batch does not wait for the one before: what makes
/// that slow is the store, and then its client bounds how many wait.
pub(crate) async fn run_all(worker: Rc<Worker>) {
    loop {
        worker.errands.left.notified().await;
        let errands = worker.gateway().store_calls();
        let worker = worker.clone();
        spawn_local(async move { worker.errands.run(errands).await });
    }
}
