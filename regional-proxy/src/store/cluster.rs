//! Redis Cluster: each call goes to the master of its key's slot.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout, timeout_at};

use tollgate_core::store::{Call, Command, Outcome, StoreFailure};

use super::link::Link;
use super::slots::{Address, Redirect, Slots};
use super::{Journal, exchange};
use crate::native::{self, Dialer, Route};

/// Times that one call is redirected. Each is a node's word that it did not run the call.
const REDIRECTS_MAX: usize = 3;
/// Between two looks at which node has which slot.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Until one node has said which node has which slot.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct Cluster {
    dialer: Dialer,
    seeds: Vec<Address>,
    journal: Arc<Journal>,
    known: Mutex<Known>,
    /// Held by whoever looks which node has which slot.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    slots: Option<Arc<Slots>>,
    looked_at: Option<Instant>,
    /// One a master, and those that a redirect named before they were in the map.
    links: HashMap<Address, Link>,
}

/// A call and where it goes next.
struct Errand<'a> {
    index: usize,
    call: &'a Call,
    to: Address,
    asking: bool,
}

impl Cluster {
    pub(super) fn new(dialer: Dialer, seeds: Vec<Address>, journal: Arc<Journal>) -> Cluster {
        Cluster { dialer, seeds, journal, known: Mutex::default(), looking: tokio::sync::Mutex::default() }
    }

    pub(super) async fn run(self: &Arc<Cluster>, calls: &[Call], deadline: Instant) -> Vec<Outcome> {
        let mut outcomes = vec![Err(StoreFailure::Unreachable); calls.len()];
        let slots = self.known().slots.clone();
        let slots = match slots {
            Some(slots) => Some(slots),
            None => timeout_at(deadline, self.look()).await.ok().flatten(),
        };
        let Some(slots) = slots else { return outcomes };
        let errand = |(index, call): (usize, &'_ Call)| {
            let to = slots.owner(call.key())?.clone();
            Some((index, to))
        };
        let mut errands: Vec<Errand<'_>> = calls
            .iter()
            .enumerate()
            .filter_map(errand)
            .map(|(index, to)| Errand { index, call: &calls[index], to, asking: false })
            .collect();
        // A slot without a node may have one by now.
        let mut stale = errands.len() < calls.len();
        for _ in 0..=REDIRECTS_MAX {
            if errands.is_empty() {
                break;
            }
            let (redirected, moved) = self.round(errands, &mut outcomes, deadline).await;
            (errands, stale) = (redirected, stale || moved);
        }
        if stale {
            let cluster = self.clone();
            tokio::spawn(async move { drop(cluster.look().await) });
        }
        outcomes
    }

    /// Sends each node its calls. Answers which of them are to be sent elsewhere, and whether the map looks old.
    async fn round<'a>(
        &self,
        errands: Vec<Errand<'a>>,
        outcomes: &mut [Outcome],
        deadline: Instant,
    ) -> (Vec<Errand<'a>>, bool) {
        let mut groups: HashMap<(Address, bool), Vec<Errand<'a>>> = HashMap::new();
        for errand in errands {
            groups.entry((errand.to.clone(), errand.asking)).or_default().push(errand);
        }
        let sent = groups.into_iter().map(async |((address, asking), errands)| {
            let link = self.link(&address);
            let answered = exchange::run(&link, &errands, asking, deadline).await;
            (errands, answered)
        });
        let (mut redirected, mut moved) = (Vec::new(), false);
        for (errands, answered) in join_all(sent).await {
            for (errand, outcome) in errands.into_iter().zip(answered) {
                let redirect = outcome.as_ref().ok().and_then(|value| Redirect::read(value, &errand.to.0));
                // A node that is gone may have a successor.
                moved |= outcome.is_err() || matches!(redirect, Some(Redirect::Moved(_)));
                outcomes[errand.index] = outcome;
                match redirect {
                    Some(Redirect::Moved(to)) => redirected.push(Errand { to, asking: false, ..errand }),
                    Some(Redirect::Ask(to)) => redirected.push(Errand { to, asking: true, ..errand }),
                    None => {}
                }
            }
        }
        (redirected, moved)
    }

    /// Asks one node after the other which has which slot; several that ask at once share the answer.
    async fn look(&self) -> Option<Arc<Slots>> {
        let _one_at_a_time = self.looking.lock().await;
        let (mut candidates, recent) = {
            let known = self.known();
            let recent = known.looked_at.is_some_and(|at| at.elapsed() < LOOK_EVERY);
            (known.slots.as_ref().map(|slots| slots.nodes().to_vec()).unwrap_or_default(), recent)
        };
        if recent {
            return self.known().slots.clone();
        }
        candidates
            .extend(self.seeds.iter().filter(|seed| !candidates.contains(seed)).cloned().collect::<Vec<_>>());
        for candidate in candidates {
            if let Ok(Some(slots)) = timeout(LOOK_TIMEOUT, self.ask(&candidate)).await {
                let slots = Arc::new(slots);
                let mut known = self.known();
                known.links.retain(|address, _| slots.nodes().contains(address));
                known.looked_at = Some(Instant::now());
                known.slots = Some(slots.clone());
                return Some(slots);
            }
        }
        let mut known = self.known();
        known.looked_at = known.slots.is_some().then(Instant::now);
        known.slots.clone()
    }

    async fn ask(&self, node: &Address) -> Option<Slots> {
        let mut connected = self.link(node).connected().await.ok()?;
        let command: Command = ["CLUSTER", "SLOTS"].map(|word| Bytes::from_static(word.as_bytes())).into();
        let answered = native::pipeline(&mut connected.connection, [&command].into_iter()).await.ok()?;
        let slots = Slots::read(answered.first()?, &node.0);
        if slots.is_none() {
            self.journal.tell(format_args!("{}:{} knows of no cluster", node.0, node.1));
        }
        slots
    }

    fn link(&self, (host, port): &Address) -> Link {
        let mut known = self.known();
        let link = known.links.entry((host.clone(), *port)).or_insert_with(|| {
            let route = Route::Server { dialer: self.dialer.clone(), host: host.clone(), port: *port };
            Link::new(route, self.journal.clone())
        });
        link.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Borrow<Call> for Errand<'_> {
    fn borrow(&self) -> &Call {
        self.call
    }
}
