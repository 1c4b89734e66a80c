//! Tollgate's core: every policy decision, and no I/O, clock, randomness, environment or `async`.
#![forbid(unsafe_code)]

pub mod config;
pub mod route;
mod time;
pub mod url;

pub use time::Now;
