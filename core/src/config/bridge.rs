//! The bridge from HTTP to Redis, as it is configured.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// The Upstash REST protocol on a listener of its own, in front of native Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisBridge {
    pub listen: SocketAddr,
    /// At least one, no name and no hash twice.
    pub tokens: Vec<BridgeToken>,
    /// Until Redis has answered a request, connecting included.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeToken {
    pub name: String,
    pub sha256: [u8; 32],
    pub scope: BridgeScope,
    /// Where its commands run, and as whom.
    pub redis: RedisServer,
}

/// What a token may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BridgeScope {
    /// The registered scripts, on keys that begin with the prefix, which is not empty.
    Gateway { prefix: String },
    /// What Redis allows the user.
    General,
}

/// One Redis and a user of its ACL. `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisServer {
    pub tls: bool,
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    pub database: u32,
    /// `None`: the default user.
    pub user: Option<String>,
    pub password: Option<String>,
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
