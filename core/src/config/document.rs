//! The policy file as a user writes it: every key, its default and its meaning. The JSON Schema is derived from here.
//!
//! These structs say what a file may hold; `validate` says what makes sense and turns it into [`super::Config`].

mod auth;
mod bridge;
mod limits;
mod observation;
mod relay;
mod rewrite;
mod routing;
mod security;
mod server;
mod shapes;
mod store;
mod values;

#[cfg(feature = "yaml")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use auth::*;
pub use bridge::*;
pub use limits::*;
pub use observation::*;
pub use relay::*;
pub use rewrite::*;
pub use routing::*;
pub use security::*;
pub use server::*;
pub use shapes::*;
pub use store::*;
pub use values::*;

/// A gateway's policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "yaml", derive(JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// Listeners, whom to believe about clients, and what one request may take.
    pub server: Server,
    /// Which requests go where.
    pub routing: Routing,
    /// Who may come in.
    pub auth: Auth,
    /// How much each may ask for.
    pub rate_limit: RateLimit,
    /// Cached answers. Not served yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caching: Option<Caching>,
    /// TLS, CORS, floods and addresses.
    pub security: Security,
    /// Metrics, logs and traces.
    pub monitoring: Monitoring,
    /// Where the record of each decision goes.
    pub event_processing: EventProcessing,
    /// Redis over HTTP. Without it there is no such listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_bridge: Option<RedisBridge>,
    /// Takes the events of other nodes. Without it there is no such listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
}
