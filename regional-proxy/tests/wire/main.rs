//! What the running binary does on the wire, for clients and services that know nothing of it: protocols in full,
//! and what is left of them when somebody is slow, broken or hostile.

mod answers;
mod client_tls;
mod common;
mod connections;
mod grpc;
mod http2;
mod identity;
mod lifecycle;
mod semantics;
mod slow;
mod smuggling;
mod streaming;
mod upstream_tls;
mod websocket;
