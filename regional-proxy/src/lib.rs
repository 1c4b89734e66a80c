//! The regional proxy: Tollgate's policy in front of the services of one region.
//!
//! The data path (`engine` and below) drives core from hyper, one runtime a thread; everything else (`process`,
//! `admin`, `bridge`, `relay`, `delivery`, `event_log`, `metrics`) runs beside it and never makes it wait.

pub mod admin;
mod body;
pub mod bridge;
pub mod clock;
mod connection;
pub mod delivery;
pub mod demo;
mod engine;
mod errands;
pub mod event_log;
pub mod issuer;
pub mod key_sets;
mod listener;
pub mod metrics;
mod native;
pub mod policy;
pub mod process;
mod proxy_protocol;
pub mod relay;
pub mod signature;
mod spool;
pub mod store;
mod tls;
mod tunnel;
mod upstream;
mod watch;
mod worker;

pub use engine::{EventSink, Running, Shared, SharedError, serve};
pub use listener::{ListenError, Listeners};
pub use tls::{TlsError, TlsServer};
