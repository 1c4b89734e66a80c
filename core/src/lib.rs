//! Tollgate's core: every policy decision, and no I/O, clock, randomness, environment or `async`.
#![forbid(unsafe_code)]

pub mod config;
mod time;

pub use time::Now;
