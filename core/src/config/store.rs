//! Where limits are counted that nodes share, as it is configured.

use std::path::PathBuf;
use std::time::Duration;

use super::RedisServer;
use super::document::Secret;

/// The one Redis of a fleet. `Debug` shows no secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub way: StoreWay,
    /// The first part of every key: `[A-Za-z0-9._-]{1,64}`.
    pub namespace: String,
    /// At least 16 bytes; keys the hash under which clients are stored.
    pub secret: Option<Secret>,
    /// Of one call, from being asked to its answer, connecting included.
    pub timeout: Duration,
    /// How many share the limits, where that is known: 1 to 100,000.
    pub nodes: Option<u32>,
    pub share: Share,
}

/// What nodes tell each other through the store, beside what they count in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub bans: bool,
    pub breakers: bool,
}

/// How the store is spoken to.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreWay {
    Redis(RedisStore),
    Rest(RestStore),
}

#[derive(Clone, Debug, PartialEq)]
pub struct RedisStore {
    /// 1 to 32, alike but for host and port; one if the topology is a single server.
    pub servers: Vec<RedisServer>,
    pub topology: RedisTopology,
    /// Only where the servers are reached through TLS.
    pub ca_file: Option<PathBuf>,
}

/// What the servers of a [`RedisStore`] are.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisTopology {
    Single,
    /// Some of its nodes. Their database is 0.
    Cluster,
    /// Sentinels, which have a user and a password of their own; those of the servers are the master's.
    Sentinel {
        master: String,
        user: Option<String>,
        password: Option<Secret>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct RestStore {
    /// `http://` or `https://`, without a trailing slash.
    pub url: String,
    /// Visible ASCII.
    pub token: Secret,
}
