//! The policy file: one configuration for every adapter.
//!
//! `load` reads a file, `from_bundle` what `bundle` compiled of one; either gives a [`Config`] that makes sense, with
//! warnings about what it does not do, or all that is wrong with it. They read no environment and no other file: those
//! come in through `Sources`.

mod bridge;
mod bundle;
mod cidr;
mod delivery;
pub mod document;
mod load;
mod model;
mod report;
mod secrecy;
mod store;
#[cfg(feature = "yaml")]
mod target;
mod tree;
mod validate;
#[cfg(feature = "yaml")]
mod yaml;

pub use bridge::{BridgeScope, BridgeToken, RedisBridge, RedisServer};
#[cfg(feature = "yaml")]
pub use bundle::bundle;
pub use bundle::from_bundle;
pub use cidr::CidrError;
pub use delivery::{
    Delivery, Kafka, KafkaAcks, KafkaSasl, KafkaTls, KafkaTopics, Relay, RelayAck, RelayLimits, RelayToken,
    Spool, SpoolOverflow,
};
pub use load::{Loaded, NoSources, Sources};
#[cfg(feature = "yaml")]
pub use load::{check, load, schema};
pub use model::*;
pub use report::{ConfigError, ConfigErrors, Position, Warning};
pub use store::{RedisStore, RedisTopology, RestStore, Share, Store, StoreWay};
#[cfg(feature = "yaml")]
pub use target::Target;
