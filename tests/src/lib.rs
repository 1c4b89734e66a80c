//! What the tests of all adapters share: scenarios are data, played by one runner against each of them.

pub mod differential;
pub mod gateway;
pub mod redis;
pub mod scenario;
pub mod wasmtime;
mod workerd;
