//! Tollgate at the edge: a Cloudflare Worker and a Spin component that decide with the same core as everything else.
//!
//! Both embed the policy that `build.rs` compiled, and translate only. For `wasm32-unknown-unknown` this crate is the
//! Worker ([`cloudflare`]), for `wasm32-wasip2` the component (`spin`).

#[cfg(not(target_os = "wasi"))]
pub mod cloudflare;
#[cfg(any(target_os = "wasi", test))]
mod signature;
#[cfg(target_os = "wasi")]
mod spin;
mod store;
