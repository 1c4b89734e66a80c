//! Limits that a fleet shares through one store: what this node decides by what it holds, what it asks, and what it
//! does while there is nobody to ask.
//!
//! A [`SharedLimit`] is one limit of the policy with what this node knows of its subjects. Most requests are decided by
//! borrowed permits or by a denial of a moment ago ([`lease`](crate::lease)); the others ask, within a step that the
//! adapter performs. What no request waits for (refills, returns, refunds) is left in a bounded backlog as
//! [`StoreCall`]s, which the adapter sends when it can.

mod backlog;
mod health;
mod known;
mod limit;
mod notices;

use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use backlog::StoreCall;
pub use limit::SharedLimitStats;
pub(crate) use limit::{Answered, Ask, SharedLimit, Turn};
pub(crate) use notices::{News, Notices, TOLD_WITHIN_US};

use crate::config;
use crate::limit::Subject;
use crate::seed::mix;
use crate::store::{Call, Heard, Key, Part, Question, Rule};
use crate::{Gateway, Now};
use backlog::{Backlog, Job};
use health::Health;
pub use health::StoreState;

/// What the shared limits of one node have in common.
#[derive(Debug)]
pub(crate) struct Fleet {
    namespace: Box<str>,
    secret: [u8; 32],
    /// How many share the limits, where that is known.
    nodes: Option<u32>,
    health: Arc<Health>,
    backlog: Arc<Backlog>,
    /// What is shared beside limits.
    pub(crate) share: config::Share,
    pub(crate) notices: Arc<Notices>,
}

impl Fleet {
    /// What is known of the store's health, and what is on its way there, outlives a configuration.
    pub(crate) fn new(rules: &config::Store, known: Option<&Fleet>, seed: u64) -> Fleet {
        let secret = rules.secret.as_ref().map_or("", |secret| secret.expose());
        Fleet {
            namespace: rules.namespace.as_str().into(),
            secret: Sha256::digest(secret.as_bytes()).into(),
            nodes: rules.nodes,
            health: known.map_or_else(|| Arc::new(Health::new(seed)), |known| known.health.clone()),
            backlog: known.map(|known| known.backlog.clone()).unwrap_or_default(),
            share: rules.share,
            notices: known.map_or_else(|| Arc::new(Notices::new(mix(seed))), |known| known.notices.clone()),
        }
    }

    pub(crate) fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Asks the other nodes if it is time to, on behalf of `gateway`.
    pub(crate) fn ask_nodes(&self, gateway: &Arc<Gateway>, now: Now) -> Option<StoreCall> {
        if !(self.share.bans || self.share.breakers) {
            return None;
        }
        // A store that is left alone is not asked, and what was to be said waits.
        let ticket = self.health.admit(now)?;
        let exchange = self.notices.due(now)?;
        let call = Call::exchange(Key::notices(Part::Plain(&self.namespace)), exchange);
        Some(StoreCall { call, ticket, job: Job::Notices(gateway.clone()) })
    }

    /// What the other nodes said, each with how long it holds.
    pub(crate) fn heard(&self, call: &Call, answer: Option<&Heard>) -> Vec<(News, u64)> {
        match (answer, call.question()) {
            (Some(heard), _) => self.notices.heard(heard),
            (None, Question::Notices(exchange)) => {
                self.notices.failed(exchange.clone());
                Vec::new()
            }
            (None, Question::Limit(_)) => Vec::new(),
        }
    }

    pub(crate) fn store_state(&self, now: Now) -> StoreState {
        self.health.state(now)
    }

    /// Under other names or hashes the same subject is another one.
    fn counts_like(&self, other: &Fleet) -> bool {
        (&self.namespace, self.secret) == (&other.namespace, other.secret)
    }

    /// Where the store counts `limit` for `subject`. All nodes that have the same secret use the same name; nobody else can
    /// aim at it, and the name does not tell who it is about.
    fn key(&self, limit: &str, subject: Subject<'_>, rule: &Rule, leased: bool) -> Key {
        // A prefix serves as the key of the hash because half of the digest is cut off, so that it cannot be extended.
        let mut hash = Sha256::new_with_prefix(self.secret);
        subject.write_to(|bytes| hash.update(bytes));
        let digest: [u8; 32] = hash.finalize().into();
        let half = digest.first_chunk().expect("a digest has more than 16 bytes");
        let subject = match subject {
            Subject::Service => Part::Plain("service"),
            _ => Part::Hashed(*half),
        };
        let name = if leased { Key::leased } else { Key::new };
        name(Part::Plain(&self.namespace), subject, limit, rule)
    }
}
